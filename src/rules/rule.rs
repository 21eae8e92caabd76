//! One rule, compiled: whether it fires on a change, and the event it makes.

use std::sync::Arc;

use super::ast::{self, Operations, UnknownPolicy};
use super::condition::{Condition, Conditions};
use super::each::{Each, Scratch};
use super::group::Verdict;
use super::guard::Guard;
use super::path::Path;
use super::payload::{Payload, text_of};
use super::query::Root;
use super::reads::{Read, Reads, touched};
use super::route::Route;
use super::transition::both;
use super::view::{Known, Truth, View};
use super::{FailedEvent, ImageNeeds, NamespacePattern, Outcome, TextTemplate, Undecided, UnknownReason, text};
use crate::change::Operation;
use crate::event::{Event, EventId, EventOrigin, Evidence};

/// A compiled rule.
#[derive(Debug)]
pub(super) struct CompiledRule {
    pub(super) id: Arc<str>,
    pub(super) event: Arc<str>,
    pub(super) collections: Vec<NamespacePattern>,
    pub(super) operations: Operations,
    /// The top-level fields of which one must be touched for the rule to fire on an update; absent if none needs to be.
    pub(super) touched: Option<Vec<String>>,
    /// What a touched field must become; it is the only one of `touched` then.
    pub(super) becomes: Option<Guard>,
    /// What a field must be after an insert.
    pub(super) after_is: Option<Guard>,
    /// What a field must have been before a delete.
    pub(super) before_is: Option<Guard>,
    pub(super) needs: ImageNeeds,
    /// What it reads of the documents.
    pub(super) reads: Vec<Read>,
    /// It reads the update's own description as a whole.
    pub(super) reads_description: bool,
    /// It reads how well the change as a whole is known.
    pub(super) reads_evidence: bool,
    /// Its changes may become dead letters, which hold the change as it came.
    pub(super) keeps_changes: bool,
    /// The group of rules of which only the first that matches fires.
    pub(super) group: Option<usize>,
    /// Even an update leaves the rule undecided without the document before it.
    pub(super) asks_what_was: bool,
    condition: Condition,
    each: Option<Each>,
    data: Payload,
    key: Option<TextTemplate>,
    subject: Option<TextTemplate>,
    to: Route,
    unknown: UnknownPolicy,
    /// The weakest evidence that it accepts.
    pub(super) evidence: Evidence,
    /// The places after the change that the rule reads, for deciding whether to look a document up.
    reads_after: Vec<Path>,
}

/// Where the events of one change go by name; shared by all of them.
pub(super) struct Names<'n> {
    pub(super) database: &'n Arc<str>,
    pub(super) collection: &'n Arc<str>,
}

impl CompiledRule {
    pub(super) fn new(rule: &ast::Rule) -> Self {
        let data = Payload::new(&rule.data);
        let conditions = Conditions::from(rule);
        let mut reads = Reads::default();
        reads.add_conditions(&conditions);
        if let Some(each) = &rule.each {
            reads.add_each(each);
        }
        reads.part = "data";
        data.visit_queries(&mut |query| reads.add_query(query));
        let to = Route::new(rule.to.as_deref());
        for (part, template) in [("key", &rule.key), ("subject", &rule.subject)] {
            reads.part = part;
            template.iter().for_each(|template| template.visit_queries(&mut |query| reads.add_query(query)));
        }
        reads.part = "to";
        for template in to.addresses() {
            template.visit_queries(&mut |query| reads.add_query(query));
        }
        let needs = reads.needs(rule.operations);
        let becomes = Guard::of_update(&conditions);
        let array = rule.each.as_ref().map(|each| Path::from(&each.path));
        let touched = match &becomes {
            Some(guard) => Some(vec![guard.field.clone()]),
            None => touched(&conditions).or_else(|| Some(vec![array.as_ref()?.top_level().to_owned()])),
        };
        // What asks for an element is asked of every one of them.
        let (of_change, of_element) = match (&rule.each, &rule.filter) {
            (Some(_), Some(filter)) => filter.split(&|query| query.roots().iter().any(|root| root.is_of_an_element())),
            (_, filter) => (filter.clone(), None),
        };
        Self {
            id: Arc::clone(&rule.id),
            event: Arc::clone(&rule.event),
            touched,
            after_is: Guard::of_insert(&conditions),
            before_is: Guard::of_delete(&conditions),
            becomes,
            collections: rule.collections.clone(),
            operations: rule.operations,
            needs,
            reads: reads.list(),
            reads_description: reads.description,
            reads_evidence: reads.evidence,
            keeps_changes: rule.unknown == UnknownPolicy::DeadLetter || data.may_lack(),
            group: None,
            // An update's own description says what is new, and is no exact evidence.
            asks_what_was: reads.asks_what_was(rule.operations) || (needs.before && rule.evidence == Evidence::Exact),
            condition: Condition::new(Conditions { filter: of_change.as_ref(), ..conditions }, rule.numbers),
            each: rule.each.as_ref().map(|each| Each::new(each, of_element.as_ref(), rule.numbers)),
            data,
            key: rule.key.clone(),
            subject: rule.subject.clone(),
            to,
            unknown: rule.unknown,
            evidence: rule.evidence,
            // An array that is looked up may hold what later changes did to it: it is not wanted for its elements.
            reads_after: reads.after.into_iter().filter(|path| Some(path) != array.as_ref()).collect(),
        }
    }

    /// The same rule in a group, of which only the first that matches fires.
    pub(super) fn in_group(self, group: Option<usize>) -> Self {
        Self { group, ..self }
    }

    pub(super) fn fires_on(&self, operation: Operation) -> bool {
        match operation {
            Operation::Insert => self.operations.insert,
            Operation::Update | Operation::Replace => self.operations.update,
            Operation::Delete => self.operations.delete,
        }
    }

    /// Appends what the rule makes of the change; `number` counts the events of the change. `earlier` is what the earlier rules of
    /// its group said of it, none of which matches.
    pub(super) fn apply(
        &self,
        view: &View<'_>,
        names: &Names<'_>,
        earlier: Verdict,
        number: &mut u16,
        outcome: &mut Outcome,
    ) -> Verdict {
        let mut evidence = Evidence::Exact;
        let truth = self.condition.holds(view, &mut evidence);
        let (verdict, reason) = match &self.each {
            None => self.conclude(view, names, (truth, evidence), earlier, number, outcome),
            Some(_) if truth == Truth::False => return Verdict::No,
            Some(each) => {
                // However many elements it concerns, a rule is undecided once.
                let (mut all, mut reason) = (Verdict::No, None);
                let mut scratch = std::mem::take(&mut outcome.elements);
                each.visit(view, &mut scratch, &mut |element, of_element, how| {
                    let answer = (both(truth, || of_element), evidence.max(how));
                    let (verdict, why) = self.conclude(element, names, answer, earlier, number, outcome);
                    all = all.or(verdict);
                    reason = reason.or(why);
                });
                outcome.elements = scratch;
                (all, reason)
            }
        };
        outcome.undecided.extend(reason.map(|reason| self.undecided(reason)));
        verdict
    }

    /// Appends what follows from the answer of the conditions, which holds on this evidence. The reason is why it was not decided.
    pub(super) fn conclude(
        &self,
        view: &View<'_>,
        names: &Names<'_>,
        (truth, mut evidence): (Truth, Evidence),
        earlier: Verdict,
        number: &mut u16,
        outcome: &mut Outcome,
    ) -> (Verdict, Option<UnknownReason>) {
        let reason = match truth {
            Truth::False => return (Verdict::No, None),
            Truth::True if earlier == Verdict::Undecided => Some(UnknownReason::EarlierRule),
            Truth::True => None,
            Truth::Unknown(reason) => Some(reason),
        };
        // What is assumed is not known: such an event rests on no more than what the change says of itself.
        if reason.is_some() {
            evidence = evidence.max(Evidence::Delta);
        }
        // Of an array that is not known, no element can be assumed.
        let has_element = self.each.is_none() || view.element.is_some();
        let is_assumed = self.unknown == UnknownPolicy::Assume && evidence <= self.evidence && has_element;
        let refused = match reason {
            Some(reason) if !is_assumed => Some(reason),
            _ => self.fire(view, names, evidence, number, outcome).err(),
        };
        (if refused.is_some() { Verdict::Undecided } else { Verdict::Matches }, refused.or(reason))
    }

    /// True if the conditions hold on the change, or on some element of it.
    pub(super) fn is_wanted_by(&self, view: &View<'_>) -> bool {
        if self.condition.holds(view, &mut Evidence::default()) != Truth::True {
            return false;
        }
        let Some(each) = &self.each else { return true };
        let mut holds = false;
        each.visit(view, &mut Scratch::default(), &mut |_, of_element, _| holds |= of_element == Truth::True);
        holds
    }

    /// What is told of the rule where it can not be decided.
    pub(super) fn undecided(&self, reason: UnknownReason) -> Undecided {
        Undecided { rule: Arc::clone(&self.id), reason, policy: self.unknown }
    }

    /// Whether the conditions hold. `evidence` is weakened to that of what made them hold.
    pub(super) fn holds(&self, view: &View<'_>, evidence: &mut Evidence) -> Truth {
        self.condition.holds(view, evidence)
    }

    /// Appends the event of a rule whose conditions hold on this evidence.
    ///
    /// # Errors
    ///
    /// Why the rule does not want the event: it is known on weaker evidence than the rule accepts.
    fn fire(
        &self,
        view: &View<'_>,
        names: &Names<'_>,
        mut evidence: Evidence,
        number: &mut u16,
        outcome: &mut Outcome,
    ) -> Result<(), UnknownReason> {
        if evidence > self.evidence {
            return Err(UnknownReason::WeakEvidence);
        }
        let id = self.event_id(view);
        let built = self.data.build(view, &mut evidence);
        let (data, to) = match built.and_then(|data| Ok((data, self.to.of(view, &mut evidence)?))) {
            Ok(built) => built,
            Err(missing) => {
                outcome.failed.push(FailedEvent { id, rule: Arc::clone(&self.id), reason: missing.reason });
                return Ok(());
            }
        };
        // CloudEvents knows no empty subject and no empty partition key.
        let mut text = |template: &TextTemplate| text_of(template, view, &mut evidence).filter(|text| !text.is_empty());
        let subject = self.subject.as_ref().and_then(&mut text);
        let key = self.key.as_ref().and_then(&mut text);
        if evidence > self.evidence {
            return Err(UnknownReason::WeakEvidence);
        }
        let change = view.change;
        // A transaction's own events come after those of all its operations.
        let index = if view.is_of_transaction() { text::OPERATIONS_MAX } else { change.operation_index };
        let sequence = text::sequence(change.cluster_time, index, *number);
        *number = number.saturating_add(1);
        outcome.events.push(Event {
            id,
            name: Arc::clone(&self.event),
            rule: Arc::clone(&self.id),
            database: Arc::clone(names.database),
            collection: Arc::clone(names.collection),
            subject,
            time: change.time(),
            partition_key: key.unwrap_or_else(|| text::key(change.key)),
            sequence,
            evidence,
            transaction: view.transaction().map(ToOwned::to_owned),
            // Said by the set, once all its rules were asked.
            explicit: None,
            rule_set: None,
            to,
            data,
        });
        Ok(())
    }

    /// True if the rule may fire and reads something after the change that is not known without a look-up.
    pub(super) fn wants_look_up(&self, view: &View<'_>) -> bool {
        // A rule that accepts no such evidence has nothing of it.
        if self.evidence < Evidence::LookUp || self.reads_after.is_empty() {
            return false;
        }
        if self.each.as_ref().is_some_and(|each| view.is_untouched(&each.path))
            || self.condition.holds(view, &mut Evidence::default()) == Truth::False
        {
            return false;
        }
        self.reads_after.iter().any(|path| matches!(view.fact(Root::After, path).known, Known::Unknown(_)))
    }

    /// The sinks that the rule names.
    pub(super) fn sinks(&self) -> impl Iterator<Item = &Arc<str>> {
        self.to.sinks()
    }

    fn event_id(&self, view: &View<'_>) -> EventId {
        EventId::new(&EventOrigin {
            cluster_time: view.change.cluster_time,
            operation_index: view.change.operation_index,
            database: view.change.database,
            collection: view.change.collection,
            key: view.change.key.as_bytes(),
            rule: &self.id,
            // The place of an element is the same however the change came, also if conditions leave out other elements.
            ordinal: view.element.as_ref().map_or(0, |element| element.index),
        })
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, RawDocumentBuf, Timestamp, bson, doc, oid::ObjectId};

    use super::*;
    use crate::rules::ast::{Direction, Rule, Transition, When, Where};
    use crate::rules::sample::{
        apply, becomes, change, equals, field, in_a_word, rule, rule_when, rule_where, see, see_looked_up, update,
        value_of, with_images,
    };
    use crate::rules::{Query, RuleSet, Template};

    fn text(text: &str) -> TextTemplate {
        TextTemplate::parse(text).unwrap()
    }

    fn data(event: &Event) -> Document {
        Document::try_from(&*event.data).unwrap()
    }

    fn insert(document: Document) -> Document {
        let mut insert = change("insert");
        insert.insert("fullDocument", document);
        insert
    }

    fn on_insert(rule: Rule) -> Rule {
        Rule { operations: Operations { insert: true, ..Operations::default() }, ..rule }
    }

    #[test]
    fn an_event_carries_what_the_change_and_the_rule_say() {
        let mut paid = update(doc! {"status": "paid"}, &[]);
        let session = bson::Uuid::from_bytes([7; 16]);
        paid.insert(
            "lsid",
            doc! {"id": session, "uid": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1] }},
        );
        paid.insert("txnNumber", 42_i64);
        let pays = |id: &str| Rule {
            event: "OrderPaid".into(),
            subject: Some(text("order/{$.key._id}")),
            data: Template::Map(vec![("orderId".into(), value_of("$.key._id"))]),
            ..Rule { id: id.into(), ..rule_when("status", becomes(None, Some(bson!("paid")))) }
        };
        let outcome = apply(vec![pays("first"), pays("second")], &paid);
        let [first, second] = outcome.events.as_slice() else { panic!("{outcome:?}") };
        assert_eq!((&*first.name, &*first.rule, &*second.rule), ("OrderPaid", "first", "second"));
        assert_eq!((&*first.database, &*first.collection), ("shop", "orders"));
        assert_eq!(first.subject.as_deref(), Some("order/1"));
        assert_eq!(first.partition_key, "1");
        assert_eq!(first.time.timestamp_millis(), 1_671_541_443_000);
        assert_eq!(first.sequence, "63a1b2c3000000050000000000");
        assert_eq!(second.sequence, "63a1b2c3000000050000000001");
        assert_eq!(first.transaction.as_deref(), Some("07070707-0707-0707-0707-070707070707:42"));
        assert_eq!(data(first), doc! {"orderId": 1});
        assert_ne!(first.id, second.id);
        let key = RawDocumentBuf::try_from(&doc! {"_id": 1}).unwrap();
        let origin = EventOrigin {
            cluster_time: Timestamp { time: 0x63A1_B2C3, increment: 5 }.into(),
            operation_index: 0,
            database: "shop",
            collection: "orders",
            key: key.as_bytes(),
            rule: "first",
            ordinal: 0,
        };
        assert_eq!(first.id, EventId::new(&origin));
    }

    #[test]
    fn the_rules_that_hold_are_those_that_fire_where_nothing_else_is_asked() {
        let rules = vec![
            Rule { id: "paid".into(), ..rule_when("status", becomes(None, Some(bson!("paid")))) },
            Rule { id: "sent".into(), ..rule_when("status", becomes(None, Some(bson!("sent")))) },
            Rule { id: "dearer".into(), ..rule_when("total", becomes(Some(bson!(1)), None)) },
        ];
        let set = RuleSet::compile(rules);
        for (updated, wanted) in [
            (doc! {"status": "paid", "total": 2}, vec!["paid"]),
            (doc! {"status": "sent"}, vec!["sent"]),
            (doc! {"note": 1}, vec![]),
        ] {
            let mut found = Vec::new();
            see(&update(updated, &[]), |change| set.find_holding(change, &mut found));
            assert_eq!(found.iter().map(|id| &***id).collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn payloads_keep_types_leave_out_what_is_missing_and_take_defaults() {
        let path = |query: &str, default: Option<Bson>| Template::Path {
            query: Query::parse(query).unwrap(),
            default,
            required: false,
        };
        let id = ObjectId::from_bytes([9; 12]);
        let order = doc! {"_id": id, "total": bson::Decimal128::from_bytes([1; 16]), "n": 5_i64, "items": [{"sku": "a"}, {"sku": "b"}], "none": null};
        let template = Template::Map(vec![
            ("id".into(), value_of("$.after._id")),
            ("total".into(), value_of("$.after.total")),
            ("n".into(), value_of("$.after.n")),
            ("none".into(), value_of("$.after.none")),
            ("missing".into(), value_of("$.after.missing")),
            ("note".into(), path("$.after.note", Some(bson!("")))),
            ("skus".into(), value_of("$.after.items[*].sku")),
            ("nothing".into(), value_of("$.after.items[*].price")),
            ("text".into(), Template::Text(text("{$.after.n} of {$.after._id}"))),
            ("gone".into(), Template::Text(text("{$.after.missing}!"))),
            ("fixed".into(), Template::Literal(bson!({"a": [1, "$.x"]}))),
            (
                "list".into(),
                Template::List(vec![value_of("$.after.n"), value_of("$.after.missing"), Template::Literal(bson!(1))]),
            ),
            ("inner".into(), Template::Map(vec![("op".into(), value_of("$.change.operation"))])),
        ]);
        let outcome = apply(vec![Rule { data: template, ..on_insert(rule("Rule")) }], &insert(order.clone()));
        assert_eq!(
            data(&outcome.events[0]),
            doc! {
                "id": id,
                "total": bson::Decimal128::from_bytes([1; 16]),
                "n": 5_i64,
                "none": null,
                "note": "",
                "skus": ["a", "b"],
                "nothing": [],
                "text": format!("5 of {id}"),
                "fixed": {"a": [1, "$.x"]},
                "list": [5_i64, 1],
                "inner": {"op": "insert"},
            }
        );
        let whole = apply(vec![Rule { data: value_of("$.after"), ..on_insert(rule("Rule")) }], &insert(order.clone()));
        assert_eq!(data(&whole.events[0]), order);
        let everything = apply(vec![Rule { data: value_of("$"), ..on_insert(rule("Rule")) }], &insert(order.clone()));
        assert_eq!(data(&everything.events[0]).keys().collect::<Vec<_>>(), ["after", "key", "change", "meta"]);
    }

    #[test]
    fn a_required_value_that_is_missing_fails_the_event_and_nothing_else() {
        let template = Template::Path { query: Query::parse("$.after.note").unwrap(), default: None, required: true };
        let needy = Rule { data: Template::Map(vec![("note".into(), template)]), ..on_insert(rule("Needy")) };
        let outcome = apply(vec![needy, on_insert(rule("Other"))], &insert(doc! {"_id": 1}));
        assert_eq!(outcome.failed.len(), 1);
        assert_eq!(&*outcome.failed[0].rule, "Needy");
        assert_eq!(outcome.failed[0].reason, "the required value at `$.after.note` is missing or not known");
        assert_eq!(outcome.events.len(), 1);
    }

    #[test]
    fn keys_are_texts_and_fall_back_on_the_document_key() {
        let key_of = |rule: Rule, key: Document| {
            let mut insert = insert(doc! {"customer": "c1", "empty": "", "at": bson::DateTime::from_millis(0)});
            insert.insert("documentKey", key);
            apply(vec![on_insert(rule)], &insert).events.remove(0).partition_key
        };
        assert_eq!(key_of(rule("R"), doc! {"_id": "a"}), "a");
        assert_eq!(key_of(rule("R"), doc! {"_id": ObjectId::from_bytes([1; 12])}), "010101010101010101010101");
        assert_eq!(key_of(rule("R"), doc! {"_id": {"a": 1, "b": "x"}}), "{\"a\":1,\"b\":\"x\"}");
        assert_eq!(key_of(rule("R"), doc! {"region": "eu", "_id": 1_i64}), "{\"region\":\"eu\",\"_id\":1}");
        assert_eq!(key_of(Rule { key: Some(text("{$.after.customer}")), ..rule("R") }, doc! {"_id": 1}), "c1");
        assert_eq!(
            key_of(Rule { key: Some(text("{$.after.at}")), ..rule("R") }, doc! {"_id": 1}),
            "1970-01-01T00:00:00Z"
        );
        assert_eq!(key_of(Rule { key: Some(text("{$.after.nobody}")), ..rule("R") }, doc! {"_id": 1}), "1");
        assert_eq!(key_of(Rule { key: Some(text("{$.after.empty}")), ..rule("R") }, doc! {"_id": 1}), "1");
    }

    #[test]
    fn evidence_is_that_of_what_the_rule_used() {
        let paid = || rule_when("status", becomes(None, Some(bson!("paid"))));
        let change = update(doc! {"status": "paid"}, &[]);
        let state = || rule_where("$.after.status", equals("paid"));
        for (rule, wanted) in [
            (state(), "exact"),
            (rule_where("$.change.updated.status", equals("paid")), "exact"),
            (paid(), "delta"),
            (Rule { data: Template::Map(vec![("s".into(), value_of("$.after.status"))]), ..state() }, "exact"),
            (Rule { data: Template::Map(vec![("t".into(), value_of("$.after.total"))]), ..state() }, "delta"),
        ] {
            assert_eq!(in_a_word(&apply(vec![rule.clone()], &change)), wanted, "{rule:?}");
        }
        let looked_up = |rule: Rule| {
            let (rules, mut outcome) = (RuleSet::compile(vec![rule]), Outcome::default());
            see_looked_up(&change, Some(doc! {"status": "sent", "total": 7}), |change| {
                rules.apply(change, &mut outcome)
            });
            in_a_word(&outcome)
        };
        assert_eq!(looked_up(paid()), "delta");
        assert_eq!(looked_up(state()), "exact");
        assert_eq!(looked_up(rule_where("$.after.total", equals(7))), "lookup");
        let weak = Rule { evidence: Evidence::Delta, ..rule_where("$.after.total", equals(7)) };
        assert_eq!(looked_up(weak), "weak_evidence");
    }

    #[test]
    fn image_needs_follow_from_what_the_rules_read() {
        let needs = |rule: Rule| {
            let rule = CompiledRule::new(&rule);
            [rule.asks_what_was, rule.needs.before, rule.needs.after]
        };
        let with = |query: &str| Template::Map(vec![("x".into(), value_of(query))]);
        let paid = || rule_when("status", becomes(None, Some(bson!("paid"))));
        assert_eq!(needs(rule("R")), [false, false, false]);
        assert_eq!(needs(paid()), [false, true, false]);
        assert_eq!(needs(Rule { data: with("$.after.status"), ..paid() }), [false, true, false]);
        assert_eq!(needs(Rule { data: with("$.after.total"), ..paid() }), [false, true, true]);
        assert_eq!(needs(Rule { data: with("$.before.status"), ..paid() }), [true, true, false]);
        assert_eq!(needs(rule_when("status", becomes(Some(bson!("new")), None))), [true, true, false]);
        assert_eq!(
            needs(rule_when("n", Transition::Moves { direction: Direction::Up, by: None, by_percent: None })),
            [true, true, false]
        );
        assert_eq!(needs(Rule { data: with("$"), ..rule("R") }), [true, true, true]);
        assert_eq!(needs(Rule { data: with("$.after.total"), ..on_insert(rule("R")) }), [false, false, false]);
        assert_eq!(needs(rule_where("$.after.items[?@.x == $.before.y]", equals(1))), [true, true, true]);
        let whole = becomes(None, Some(bson!({"city": "Ulm"})));
        assert_eq!(needs(rule_when("address", whole)), [false, true, true]);
        let any = When::Any(vec![field("a", becomes(None, Some(bson!(1)))), field("b", Transition::Changed)]);
        assert_eq!(needs(Rule { when: Some(any), ..rule("R") }), [false, true, true]);
    }

    #[test]
    fn a_look_up_is_wanted_only_for_what_is_not_known_of_a_rule_that_may_fire() {
        let total = Template::Map(vec![("total".into(), value_of("$.after.total"))]);
        let paid = Rule { data: total, ..rule_when("status", becomes(None, Some(bson!("paid")))) };
        let rules = RuleSet::compile(vec![paid.clone()]);
        assert!(rules.hash().starts_with(&**rules.short_hash()) && rules.short_hash().len() == 12);
        let wants = |change: &Document| see(change, |change| rules.wants_look_up(change));
        assert!(wants(&update(doc! {"status": "paid"}, &[])));
        assert!(!wants(&update(doc! {"status": "sent"}, &[])));
        assert!(!wants(&update(doc! {"other": 1}, &[])));
        assert!(!wants(&update(doc! {"status": "paid", "total": 5}, &[])));
        assert!(!wants(&with_images(update(doc! {"status": "paid"}, &[]), None, Some(doc! {"total": 5}))));
        assert!(!wants(&with_images(update(doc! {"status": "paid"}, &[]), Some(doc! {"total": 5}), None)));
        let also = Rule { filter: Some(Where::Exists(Query::parse("$.change.updated.force").unwrap())), ..paid };
        let rules = RuleSet::compile(vec![also]);
        assert!(!see(&update(doc! {"status": "paid"}, &[]), |change| rules.wants_look_up(change)));
    }
}
