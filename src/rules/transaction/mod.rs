//! Rules with `transaction`, compiled: what their members take of the changes of a transaction, and the event they make of it.
//!
//! Every member is compiled as a rule of its own that makes no event, so that the index, images and look-ups know it like any other.

#[cfg(test)]
mod agreement;
mod excerpt;
mod gathering;

use std::collections::HashSet;
use std::sync::Arc;

use bson::raw::CString;
use bson::{RawDocument, RawDocumentBuf};

use super::ast::{self, Member, UnknownPolicy, Where};
use super::group::Verdict;
use super::rule::{CompiledRule, Names};
use super::view::{Truth, View};
use super::{Outcome, Query, Template, TextPart, Undecided, UnknownReason};
use crate::change::{Change, Image, Operation, TransactionId};
use crate::event::Evidence;
use crate::position::ClusterTime;

use excerpt::Spot;
use gathering::Lead;

pub(super) use excerpt::visit_reads;
pub(super) use gathering::{Collected, Gathering, MemberChange};

/// The rules with `transaction` of a set, and their members.
#[derive(Debug, Default)]
pub(super) struct TransactionRules {
    /// The number of rules; in the list of compiled rules the members follow them.
    rule_count: usize,
    rules: Vec<TransactionRule>,
    /// The rule and the member of each compiled rule after the first `rule_count`.
    places: Vec<(usize, usize)>,
    /// The rules whose events some rule with `transaction` takes the place of.
    absorbed: HashSet<Arc<str>>,
}

/// A rule with `transaction`.
#[derive(Debug)]
pub(super) struct TransactionRule {
    /// Its number in the list of compiled rules: there is its event.
    number: usize,
    members: Vec<MemberPlan>,
    absorbs: HashSet<Arc<str>>,
    /// It takes conditions that are not known to hold.
    assumes: bool,
}

/// What a member takes and what is kept of it.
#[derive(Debug)]
pub(super) struct MemberPlan {
    name: CString,
    is_many: bool,
    is_optional: bool,
    spots: Vec<Spot>,
}

/// A transaction that has ended.
#[derive(Debug)]
pub(super) struct Committed<'t> {
    pub(super) session: &'t RawDocument,
    pub(super) number: i64,
    pub(super) cluster_time: ClusterTime,
}

impl TransactionRules {
    /// Compiles the members of all rules with `transaction`, and appends them to the list of rules.
    pub(super) fn new(rules: &[ast::Rule], compiled: &mut Vec<CompiledRule>) -> Self {
        let mut all = Self { rule_count: rules.len(), ..Self::default() };
        for (number, rule) in rules.iter().enumerate() {
            let Some(transaction) = &rule.transaction else { continue };
            let queries = queries(rule);
            let mut plans = Vec::new();
            for member in &transaction.members {
                // The reader of rule files refuses a name with a zero byte.
                let Ok(name) = CString::try_from(&*member.alias) else { continue };
                let spots = excerpt::spots(&member.alias, member.is_many, queries.iter().copied());
                compiled.push(CompiledRule::new(&as_rule(rule, member, &spots)));
                all.places.push((all.rules.len(), plans.len()));
                plans.push(MemberPlan { name, is_many: member.is_many, is_optional: member.is_optional, spots });
            }
            all.absorbed.extend(transaction.absorbs.iter().cloned());
            all.rules.push(TransactionRule {
                number,
                members: plans,
                absorbs: transaction.absorbs.iter().cloned().collect(),
                assumes: rule.unknown == UnknownPolicy::Assume,
            });
        }
        all
    }

    pub(super) fn rule_count(&self) -> usize {
        self.rule_count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn get(&self, number: usize) -> Option<&TransactionRule> {
        self.rules.get(number)
    }

    /// True if the events of the rule may give way to one of a transaction.
    pub(super) fn is_absorbed(&self, rule: &str) -> bool {
        self.absorbed.contains(rule)
    }

    /// True if the compiled rule with this number is a member.
    pub(super) fn is_member(&self, number: usize) -> bool {
        number >= self.rule_count
    }

    /// What the change is to the member that is the compiled rule with this number, if it is anything.
    pub(super) fn judge(
        &self,
        number: usize,
        rule: &CompiledRule,
        view: &View<'_>,
        names: &Names<'_>,
    ) -> Option<MemberChange> {
        let &(transaction_rule, member) = self.places.get(number.checked_sub(self.rule_count)?)?;
        let plan = self.rules.get(transaction_rule)?.members.get(member)?;
        let mut evidence = Evidence::Exact;
        let doubt = match rule.holds(view, &mut evidence) {
            Truth::False => return None,
            Truth::True => None,
            Truth::Unknown(reason) => Some(reason),
        };
        let lead = Lead {
            database: Arc::clone(names.database),
            collection: Arc::clone(names.collection),
            key: view.change.key.to_owned(),
            operation_index: view.change.operation_index,
            wall_time: view.change.wall_time,
            has_token: view.change.token.is_some(),
        };
        let excerpt = excerpt::take(&plan.spots, view);
        Some(MemberChange { rule: transaction_rule, member, doubt, evidence, excerpt, lead })
    }
}

impl TransactionRule {
    /// True if the events of this rule are those of the other for the changes that are members.
    pub(super) fn absorbs(&self, rule: &str) -> bool {
        self.absorbs.contains(rule)
    }

    pub(super) fn gathering(&self) -> Gathering {
        Gathering::new(self.members.len())
    }

    /// Whether the members have what they need, in three-valued logic.
    pub(super) fn answer(&self, gathering: &Gathering) -> Truth {
        gathering.answer(&self.members, self.assumes)
    }

    /// What is told of the rule where it can not be decided.
    pub(super) fn undecided(&self, rules: &[CompiledRule], reason: UnknownReason) -> Option<Undecided> {
        Some(rules.get(self.number)?.undecided(reason))
    }

    /// Appends what the rule makes of a transaction whose changes its members have taken. `event_number` counts the events of
    /// transactions at this cluster time. True if the rule fired.
    pub(super) fn apply(
        &self,
        rules: &[CompiledRule],
        gathering: &Gathering,
        committed: &Committed<'_>,
        event_number: &mut u16,
        outcome: &mut Outcome,
    ) -> bool {
        let answer = self.answer(gathering);
        match answer {
            Truth::False => return false,
            Truth::Unknown(reason) if !self.assumes => {
                outcome.undecided.extend(self.undecided(rules, reason));
                return false;
            }
            Truth::Unknown(_) | Truth::True => {}
        }
        let (Some(rule), Some(lead)) = (rules.get(self.number), gathering.lead(&self.members)) else { return false };
        let token = lead.has_token.then(RawDocumentBuf::new);
        let change = Change {
            operation: Operation::Update,
            database: &lead.database,
            collection: &lead.collection,
            key: &lead.key,
            before: Image::Unknown,
            after: Image::Unknown,
            description: None,
            cluster_time: committed.cluster_time,
            operation_index: lead.operation_index,
            wall_time: lead.wall_time,
            transaction: Some(TransactionId { session: committed.session, number: committed.number }),
            token: token.as_deref(),
        };
        let collected = gathering.collect(&self.members, &View::new(&change));
        let view = View::of_transaction(&change, &collected);
        let names = Names { database: &lead.database, collection: &lead.collection };
        let mut evidence = gathering.evidence();
        let answer = match (rule.holds(&view, &mut evidence), answer) {
            (Truth::True, answer) | (answer, _) => answer,
        };
        let events_before = outcome.events.len();
        let (_, reason) = rule.conclude(&view, &names, (answer, evidence), Verdict::No, event_number, outcome);
        outcome.undecided.extend(reason.map(|reason| rule.undecided(reason)));
        outcome.events.len() > events_before
    }
}

/// Every query of a rule: they all start from the transaction's document.
fn queries(rule: &ast::Rule) -> Vec<&Query> {
    let mut queries = Vec::new();
    of_template(&rule.data, &mut queries);
    let addresses = rule.to.iter().flatten().filter_map(|destination| destination.address.as_ref());
    for text in rule.key.iter().chain(&rule.subject).chain(addresses) {
        of_parts(&text.parts, &mut queries);
    }
    if let Some(filter) = &rule.filter {
        of_where(filter, &mut queries);
    }
    queries
}

fn of_template<'q>(template: &'q Template, queries: &mut Vec<&'q Query>) {
    match template {
        Template::Literal(_) => {}
        Template::Path { query, .. } => queries.push(query),
        Template::Text(text) => of_parts(&text.parts, queries),
        Template::Map(fields) => fields.iter().for_each(|(_, template)| of_template(template, queries)),
        Template::List(elements) => elements.iter().for_each(|template| of_template(template, queries)),
    }
}

fn of_parts<'q>(parts: &'q [TextPart], queries: &mut Vec<&'q Query>) {
    queries.extend(parts.iter().filter_map(|part| match part {
        TextPart::Query(query) => Some(query),
        TextPart::Text(_) => None,
    }));
}

fn of_where<'q>(filter: &'q Where, queries: &mut Vec<&'q Query>) {
    match filter {
        Where::All(all) => all.iter().for_each(|one| of_where(one, queries)),
        Where::Matches(query, _) | Where::Exists(query) => queries.push(query),
    }
}

/// A member as a rule: its conditions are the member's, and it reads what is kept of a change.
fn as_rule(rule: &ast::Rule, member: &Member, spots: &[Spot]) -> ast::Rule {
    let path =
        |spot: &Spot| Template::Path { query: Query::at(spot.root, spot.path.clone()), default: None, required: false };
    ast::Rule {
        when: member.when.clone(),
        filter: member.filter.clone(),
        enters: member.enters.clone(),
        leaves: member.leaves.clone(),
        data: Template::List(spots.iter().map(path).collect()),
        numbers: rule.numbers,
        ..ast::Rule::new(&rule.id, member.collections.clone(), member.operations)
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use crate::rules::sample::{see, update};
    use crate::rules::{RuleSet, read};
    use crate::yaml::SourceFile;

    fn rules() -> RuleSet {
        let text = "version: 1
rules:
  - event: OrderShipped
    transaction:
      order: {collection: shop.orders, when: {status: shipped}}
      parcels: {collection: shop.parcels, on: insert, many: true}
      old: {collection: shop.archive, on: delete, optional: true}
    data: {total: $.order.after.total, weights: \"$.parcels[*].after.weight\", text: $.old.before.text}
    to: {bus: \"{$.order.after.region}\"}
";
        let reading = read(&[SourceFile { name: "rules.yaml".to_owned(), text: text.to_owned() }]);
        assert!(!reading.diagnostics.has_errors(), "{}", reading.diagnostics.render());
        RuleSet::compile(reading.rules)
    }

    #[test]
    fn members_count_as_rules_where_collections_and_images_are_asked_for_and_nowhere_else() {
        let rules = rules();
        let needs = |collection: &str| {
            let needs = rules.image_needs("shop", collection);
            (needs.before, needs.after)
        };
        assert_eq!(needs("orders"), (true, true));
        assert_eq!(needs("parcels"), (false, false), "an insert tells its document");
        assert_eq!(needs("archive"), (true, false));
        assert_eq!(rules.namespaces().len(), 3);
        assert_eq!((rules.len(), rules.rule_ids().count()), (1, 1));
        assert_eq!(rules.rules_asking_what_was().map(|id| &**id).collect::<Vec<_>>(), ["OrderShipped"]);
    }

    #[test]
    fn the_document_of_a_member_is_looked_up_inside_a_transaction_only() {
        let rules = rules();
        let mut shipped = update(doc! {"status": "shipped"}, &[]);
        assert!(!see(&shipped, |change| rules.wants_look_up(change)));
        shipped.insert("lsid", doc! {"id": 1});
        shipped.insert("txnNumber", 1_i64);
        assert!(see(&shipped, |change| rules.wants_look_up(change)));
        let mut told = update(doc! {"status": "shipped", "total": 1, "region": "eu"}, &[]);
        told.insert("lsid", doc! {"id": 1});
        told.insert("txnNumber", 1_i64);
        assert!(!see(&told, |change| rules.wants_look_up(change)), "all that is read is told");
    }
}
