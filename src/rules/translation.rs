//! Rules applied to changes in the order of the log, with what has to be remembered between them: the transactions that have not
//! ended yet.
//!
//! Two transactions are told apart by session and number. All changes of one transaction have one cluster time, which other
//! changes may share (MongoDB manual, "Change events", `clusterTime`), so that a transaction has certainly ended when the log
//! has come past its cluster time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::RawDocumentBuf;

use super::transaction::{Committed, Gathering};
use super::view::Truth;
use super::{Outcome, RuleSet, UnknownReason};
use crate::change::{Change, TransactionId};
use crate::event::Event;
use crate::position::ClusterTime;

/// What an event that is held back weighs beyond itself, and a change that a member took beyond its document.
const OVERHEAD_BYTES: usize = 32;

/// Applies a rule set to changes in the order of the log.
///
/// - [`Translation::apply`] takes every change in order. Before a change of a later cluster time, what the transactions before
///   it gave comes first.
/// - When the source says that everything up to a time has been read ([`crate::change::Batch::ends`]), or there is no more,
///   [`Translation::end`] gives what is left.
/// - While [`Translation::is_open`], no position may be saved: going on from the middle of a transaction would lose what is
///   remembered of its start. Going on from before it gives the same events with the same ids.
/// - Another rule set may be given with any change. A transaction that has begun is finished by the set that began it.
#[derive(Debug)]
pub struct Translation {
    bytes_max: usize,
    moment: Option<Moment>,
}

/// The changes of one cluster time, from the first that is in a transaction on.
#[derive(Debug)]
struct Moment {
    time: ClusterTime,
    rules: Arc<RuleSet>,
    transactions: Vec<Open>,
    /// Events that may give way to one of a transaction, and all that follow them, so that the order stays.
    held: Vec<Held>,
    is_holding: bool,
    byte_count: usize,
    /// More would have to be remembered than may be: nothing is any more.
    is_too_large: bool,
}

/// A transaction that may go on.
#[derive(Debug)]
struct Open {
    session: RawDocumentBuf,
    number: i64,
    changes_count: u32,
    /// By the number of the rule among those with `transaction`.
    gatherings: BTreeMap<usize, Gathering>,
}

#[derive(Debug)]
struct Held {
    event: Event,
    /// The transaction, and the number of the change in it.
    origin: Option<(usize, u32)>,
}

impl Translation {
    /// Nothing is open yet. `bytes_max` bounds the memory for the transactions of one cluster time, in bytes; past it their rules
    /// are undecided.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, moment: None }
    }

    /// Appends to `outcome` what has ended before the change, and what the rules make of it. True if a rule fired on the change, or
    /// it is what a rule with `transaction` looks for.
    pub fn apply(&mut self, rules: &Arc<RuleSet>, change: &Change<'_>, outcome: &mut Outcome) -> bool {
        self.pass(change.cluster_time, outcome);
        if self.moment.is_none() && change.transaction.is_some() {
            self.moment = Some(Moment::new(change.cluster_time, Arc::clone(rules)));
        }
        match &mut self.moment {
            Some(moment) => moment.apply(change, self.bytes_max, outcome),
            None => {
                let before = (outcome.events.len(), outcome.failed.len());
                rules.apply(change, outcome);
                before != (outcome.events.len(), outcome.failed.len())
            }
        }
    }

    /// The same of a change that no rule may see, because something else makes its events.
    pub fn pass_by(&mut self, change: &Change<'_>, outcome: &mut Outcome) -> bool {
        self.pass(change.cluster_time, outcome);
        false
    }

    /// The log has come to `time`: ends what is open if that is of another time. True if something was.
    pub fn pass(&mut self, time: ClusterTime, outcome: &mut Outcome) -> bool {
        match &self.moment {
            Some(moment) if moment.time != time => self.end(outcome),
            _ => false,
        }
    }

    /// Ends what is open, and appends what it gives. True if something was open.
    pub fn end(&mut self, outcome: &mut Outcome) -> bool {
        let Some(moment) = self.moment.take() else { return false };
        moment.end(outcome);
        true
    }

    /// History was lost here: what is open will never be complete. Its events that were held back are appended, and its rules are
    /// undecided. True if something was open.
    pub fn cut(&mut self, outcome: &mut Outcome) -> bool {
        let Some(mut moment) = self.moment.take() else { return false };
        moment.release(outcome);
        moment.give_up(UnknownReason::TransactionIncomplete, outcome);
        true
    }

    /// True as long as a transaction may go on.
    pub fn is_open(&self) -> bool {
        self.moment.is_some()
    }

    /// The cluster time of what is open.
    pub fn open_at(&self) -> Option<ClusterTime> {
        self.moment.as_ref().map(|moment| moment.time)
    }

    /// The memory that is held for what is open, about, in bytes.
    pub fn byte_count(&self) -> usize {
        self.moment.as_ref().map_or(0, |moment| moment.byte_count)
    }
}

impl Moment {
    fn new(time: ClusterTime, rules: Arc<RuleSet>) -> Self {
        Self {
            time,
            rules,
            transactions: Vec::new(),
            held: Vec::new(),
            is_holding: false,
            byte_count: 0,
            is_too_large: false,
        }
    }

    fn apply(&mut self, change: &Change<'_>, bytes_max: usize, outcome: &mut Outcome) -> bool {
        let before = (outcome.events.len(), outcome.failed.len());
        self.rules.apply(change, outcome);
        let has_fired = before != (outcome.events.len(), outcome.failed.len());
        if self.rules.transactions.is_empty() {
            return has_fired;
        }
        let origin = change.transaction.as_ref().map(|transaction| self.enter(transaction));
        let is_member = self.gather(origin, outcome);
        self.hold(origin, before.0, outcome);
        if self.byte_count > bytes_max && !self.is_too_large {
            self.is_too_large = true;
            self.release(outcome);
            for gathering in self.transactions.iter_mut().flat_map(|open| open.gatherings.values_mut()) {
                gathering.forget();
            }
            self.byte_count = 0;
        }
        has_fired || is_member
    }

    /// The transaction, and the number of its next change.
    fn enter(&mut self, transaction: &TransactionId<'_>) -> (usize, u32) {
        let is_it = |open: &Open| {
            open.number == transaction.number && open.session.as_bytes() == transaction.session.as_bytes()
        };
        let index = self.transactions.iter().rposition(is_it).unwrap_or_else(|| {
            self.transactions.push(Open {
                session: transaction.session.to_owned(),
                number: transaction.number,
                changes_count: 0,
                gatherings: BTreeMap::new(),
            });
            self.transactions.len() - 1
        });
        let open = &mut self.transactions[index];
        open.changes_count += 1;
        (index, open.changes_count)
    }

    /// Takes what members made of the change. True if that was anything.
    fn gather(&mut self, origin: Option<(usize, u32)>, outcome: &mut Outcome) -> bool {
        let Some((index, number)) = origin else {
            outcome.members.clear();
            return false;
        };
        let is_member = !outcome.members.is_empty();
        for taken in outcome.members.drain(..) {
            let Some(rule) = self.rules.transactions.get(taken.rule) else { continue };
            let gatherings = &mut self.transactions[index].gatherings;
            let gathering = gatherings.entry(taken.rule).or_insert_with(|| rule.gathering());
            let bytes = gathering.add(taken, number, rule);
            if self.is_too_large {
                gathering.forget();
            } else if bytes > 0 {
                self.byte_count += bytes + OVERHEAD_BYTES;
            }
        }
        is_member
    }

    /// Holds back the events of the change, which start at `start`, from the first one on that may give way to another.
    fn hold(&mut self, origin: Option<(usize, u32)>, start: usize, outcome: &mut Outcome) {
        if self.is_too_large {
            return;
        }
        let may_give_way = |event: &Event| origin.is_some() && self.rules.transactions.is_absorbed(&event.rule);
        let first = match self.is_holding {
            true => Some(start),
            false => outcome.events[start..].iter().position(may_give_way).map(|index| start + index),
        };
        let Some(first) = first else { return };
        self.is_holding = true;
        for event in outcome.events.drain(first..) {
            self.byte_count += event.byte_count() + OVERHEAD_BYTES;
            self.held.push(Held { event, origin });
        }
    }

    fn release(&mut self, outcome: &mut Outcome) {
        self.is_holding = false;
        outcome.events.extend(self.held.drain(..).map(|held| held.event));
    }

    fn end(mut self, outcome: &mut Outcome) {
        if self.is_too_large {
            return self.give_up(UnknownReason::TransactionTooLarge, outcome);
        }
        let start = outcome.events.len();
        let rules = Arc::clone(&self.rules);
        let mut event_number = 0;
        for (index, open) in std::mem::take(&mut self.transactions).into_iter().enumerate() {
            let committed = Committed { session: &open.session, number: open.number, cluster_time: self.time };
            for (rule, gathering) in &open.gatherings {
                let Some(rule) = rules.transactions.get(*rule) else { continue };
                if rule.apply(&rules.rules, gathering, &committed, &mut event_number, outcome) && self.is_holding {
                    let members = gathering.changes();
                    self.held.retain(|held| {
                        let is_member =
                            held.origin.is_some_and(|(of, number)| of == index && members.contains(&number));
                        !(is_member && rule.absorbs(&held.event.rule))
                    });
                }
            }
        }
        for event in &mut outcome.events[start..] {
            event.rule_set = Some(Arc::clone(&rules.short_hash));
        }
        outcome.events.splice(start..start, self.held.into_iter().map(|held| held.event));
    }

    /// Tells of every rule that could have fired that it is undecided.
    fn give_up(&self, reason: UnknownReason, outcome: &mut Outcome) {
        for (number, gathering) in self.transactions.iter().flat_map(|open| &open.gatherings) {
            let Some(rule) = self.rules.transactions.get(*number) else { continue };
            let may_hold = reason == UnknownReason::TransactionIncomplete || rule.answer(gathering) != Truth::False;
            if may_hold {
                outcome.undecided.extend(rule.undecided(&self.rules.rules, reason));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, Timestamp, doc};

    use super::*;
    use crate::rules::ast::{Member, Operations, Rule, Transaction};
    use crate::rules::sample::{change, see, value_of};
    use crate::rules::{NamespacePattern, Query, Template};

    fn path(query: &str) -> Template {
        Template::Path { query: Query::parse_plain(query).unwrap(), default: None, required: false }
    }

    fn member(alias: &str, is_many: bool, is_optional: bool) -> Member {
        Member {
            alias: alias.into(),
            collections: vec![NamespacePattern::parse(&format!("shop.{alias}")).unwrap()],
            operations: Operations { insert: true, ..Operations::default() },
            when: None,
            filter: None,
            enters: None,
            leaves: None,
            is_many,
            is_optional,
        }
    }

    /// An order with its stock; `OrderPlaced` gives way to it.
    fn rules() -> Arc<RuleSet> {
        let inserts = Operations { insert: true, ..Operations::default() };
        let placed = Rule {
            data: Template::Map(vec![("id".into(), value_of("$.key._id"))]),
            ..Rule::new("OrderPlaced", vec![NamespacePattern::parse("shop.order").unwrap()], inserts)
        };
        let taken = Rule::new("StockTaken", vec![NamespacePattern::parse("shop.stock").unwrap()], inserts);
        let checkout = Rule {
            transaction: Some(Transaction {
                members: vec![member("order", false, false), member("stock", true, false)],
                absorbs: vec!["OrderPlaced".into()],
            }),
            data: Template::Map(vec![
                ("order".into(), path("$.order.key._id")),
                ("stock".into(), path("$.stock[*].key._id")),
            ]),
            ..Rule::new("CheckoutCompleted", Vec::new(), Operations::default())
        };
        Arc::new(RuleSet::compile(vec![placed, taken, checkout]))
    }

    fn insert(collection: &str, id: i32, time: u32, transaction: Option<i64>) -> Document {
        let mut change = change("insert");
        change.insert("ns", doc! {"db": "shop", "coll": collection});
        change.insert("documentKey", doc! {"_id": id});
        change.insert("fullDocument", doc! {"_id": id, "text": "x".repeat(100)});
        change.insert("clusterTime", Timestamp { time, increment: 1 });
        if let Some(number) = transaction {
            change.insert("lsid", doc! {"id": 1});
            change.insert("txnNumber", number);
        }
        change
    }

    fn apply(translation: &mut Translation, rules: &Arc<RuleSet>, change: &Document, outcome: &mut Outcome) {
        see(change, |change| translation.apply(rules, change, outcome));
    }

    fn names(outcome: &mut Outcome) -> Vec<String> {
        outcome.events.drain(..).map(|event| format!("{} {}", event.name, event.partition_key)).collect()
    }

    #[test]
    fn a_transaction_makes_its_event_when_a_change_of_a_later_time_comes() {
        let (rules, mut outcome) = (rules(), Outcome::default());
        let mut translation = Translation::new(1 << 20);
        for change in [insert("order", 7, 5, Some(1)), insert("stock", 1, 5, Some(1)), insert("stock", 2, 5, Some(1))] {
            apply(&mut translation, &rules, &change, &mut outcome);
            assert!(translation.is_open() && outcome.events.is_empty(), "{outcome:?}");
        }
        apply(&mut translation, &rules, &insert("order", 8, 6, None), &mut outcome);
        assert!(!translation.is_open());
        let data = Document::try_from(&*outcome.events[2].data).unwrap();
        assert_eq!(data, doc! {"order": 7, "stock": [1, 2]});
        assert!(outcome.events[2].transaction.is_some());
        assert!(outcome.events.is_sorted_by_key(|event| event.sequence.clone()));
        assert_eq!(names(&mut outcome), ["StockTaken 1", "StockTaken 2", "CheckoutCompleted 7", "OrderPlaced 8"]);
    }

    #[test]
    fn what_gives_way_is_sent_if_the_transaction_is_another() {
        let (rules, mut outcome) = (rules(), Outcome::default());
        let mut translation = Translation::new(1 << 20);
        for change in [insert("order", 7, 5, Some(1)), insert("other", 1, 5, Some(1))] {
            apply(&mut translation, &rules, &change, &mut outcome);
        }
        assert!(translation.end(&mut outcome));
        assert_eq!(names(&mut outcome), ["OrderPlaced 7"]);
        assert!(!translation.end(&mut outcome));
    }

    #[test]
    fn transactions_of_one_cluster_time_are_told_apart() {
        let (rules, mut outcome) = (rules(), Outcome::default());
        let mut translation = Translation::new(1 << 20);
        for change in [
            insert("order", 1, 5, Some(1)),
            insert("order", 2, 5, Some(2)),
            insert("stock", 1, 5, Some(1)),
            insert("order", 3, 5, None),
            insert("stock", 2, 5, Some(2)),
        ] {
            apply(&mut translation, &rules, &change, &mut outcome);
        }
        translation.end(&mut outcome);
        let wanted = ["StockTaken 1", "OrderPlaced 3", "StockTaken 2", "CheckoutCompleted 1", "CheckoutCompleted 2"];
        assert_eq!(names(&mut outcome), wanted);
    }

    #[test]
    fn past_its_memory_a_rule_is_undecided_and_nothing_is_held_back() {
        let (rules, mut outcome) = (rules(), Outcome::default());
        let mut translation = Translation::new(2_000);
        apply(&mut translation, &rules, &insert("order", 7, 5, Some(1)), &mut outcome);
        for id in 0..100 {
            apply(&mut translation, &rules, &insert("stock", id, 5, Some(1)), &mut outcome);
            assert!(translation.byte_count() <= 2_000, "{}", translation.byte_count());
        }
        assert_eq!(outcome.events.len(), 101);
        assert!(translation.end(&mut outcome));
        assert_eq!(outcome.undecided.len(), 1);
        assert_eq!(outcome.undecided[0].reason, UnknownReason::TransactionTooLarge);
        outcome.clear();
        for change in [insert("order", 8, 6, Some(2)), insert("stock", 1, 6, Some(2))] {
            apply(&mut translation, &rules, &change, &mut outcome);
        }
        translation.end(&mut outcome);
        assert_eq!(
            names(&mut outcome),
            ["StockTaken 1", "CheckoutCompleted 8"],
            "the next transaction is as good as any"
        );
    }

    #[test]
    fn a_transaction_that_was_cut_is_undecided_and_its_events_are_not_lost() {
        let (rules, mut outcome) = (rules(), Outcome::default());
        let mut translation = Translation::new(1 << 20);
        for change in [insert("order", 7, 5, Some(1)), insert("stock", 1, 5, Some(1))] {
            apply(&mut translation, &rules, &change, &mut outcome);
        }
        assert!(translation.cut(&mut outcome) && !translation.is_open());
        assert_eq!(outcome.undecided[0].reason, UnknownReason::TransactionIncomplete);
        assert_eq!(names(&mut outcome), ["OrderPlaced 7", "StockTaken 1"]);
    }

    #[test]
    fn a_transaction_is_finished_by_the_rules_that_began_it() {
        let (old, new, mut outcome) = (rules(), Arc::new(RuleSet::default()), Outcome::default());
        let mut translation = Translation::new(1 << 20);
        apply(&mut translation, &old, &insert("order", 7, 5, Some(1)), &mut outcome);
        apply(&mut translation, &new, &insert("stock", 1, 5, Some(1)), &mut outcome);
        apply(&mut translation, &new, &insert("order", 8, 6, None), &mut outcome);
        assert_eq!(names(&mut outcome), ["StockTaken 1", "CheckoutCompleted 7"]);
    }
}
