//! Two rule sets over the same changes: which events appear, vanish or change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::beside::Withheld;
use super::difference::{Difference, differences};
use super::{Account, Replay};
use crate::change::{Batch, Change};
use crate::event::{Event, EventId};
use crate::rules::RuleSet;

/// How many places are told apart, for each rule.
const PLACES_MAX: usize = 100;

/// The characters of an event's sequence that name its change: cluster time and index in the transaction.
const CHANGE_LENGTH: usize = 22;

/// Applies an old and a new rule set to the same changes.
///
/// Two events are the same fact if they have the same id, that is, if rules of one id made them of one change. If a rule has
/// another id now, its event is looked for among those of the same change by its name: consumers see another id then.
#[derive(Debug)]
pub struct Comparison {
    old: Replay,
    new: Replay,
    samples_max: usize,
    /// Events without a partner. They are given up one batch later: a set may tell of a transaction a little earlier than the other.
    waiting: Waiting,
    rules: Vec<RuleComparison>,
    numbers: HashMap<Arc<str>, usize>,
}

/// The events of one side that have no partner yet.
#[derive(Debug, Default)]
struct Waiting {
    old: Vec<Event>,
    new: Vec<Event>,
}

/// How the events of one rule differ.
#[derive(Clone, Debug)]
pub struct RuleComparison {
    /// The rule's id.
    pub rule: Arc<str>,
    /// Events that are the same in every respect.
    pub same_count: u64,
    /// Events that only the new rules make.
    pub appeared_count: u64,
    /// Events that only the old rules make.
    pub vanished_count: u64,
    /// Events that both make, and that differ.
    pub changed_count: u64,
    /// How often events differ at a place.
    pub places: BTreeMap<String, u64>,
    /// The first of each.
    pub samples: Vec<Pairing>,
}

/// An event of the old rules and one of the new that stand for the same fact.
#[derive(Clone, Debug)]
pub enum Pairing {
    /// Only the new rules make it.
    Appeared(Box<Event>),
    /// Only the old rules make it.
    Vanished(Box<Event>),
    /// Both make it, and it differs.
    Changed {
        /// The event of the new rules.
        new: Box<Event>,
        /// Where it differs.
        differences: Vec<Difference>,
    },
}

impl RuleComparison {
    fn new(rule: &Arc<str>) -> Self {
        Self {
            rule: Arc::clone(rule),
            same_count: 0,
            appeared_count: 0,
            vanished_count: 0,
            changed_count: 0,
            places: BTreeMap::new(),
            samples: Vec::new(),
        }
    }

    /// True if nothing of it differs.
    pub fn is_same(&self) -> bool {
        self.appeared_count == 0 && self.vanished_count == 0 && self.changed_count == 0
    }
}

impl Comparison {
    /// Keeps up to `samples_max` differing events of each kind for each rule.
    pub fn new(old: RuleSet, new: RuleSet, samples_max: usize) -> Self {
        let (old, new) = (Replay::new(old, 0), Replay::new(new, 0));
        let (waiting, rules, numbers) = (Waiting::default(), Vec::new(), HashMap::new());
        let mut comparison = Self { old, new, samples_max, waiting, rules, numbers };
        for rule in comparison.accounts_rules() {
            comparison.number(&rule);
        }
        comparison
    }

    /// The rules of the new set in file order, and then those that only the old one has.
    fn accounts_rules(&self) -> Vec<Arc<str>> {
        let of = |replay: &Replay| replay.account().rules.iter().map(|rule| Arc::clone(&rule.rule)).collect::<Vec<_>>();
        [of(&self.new), of(&self.old)].concat()
    }

    /// Applies both sets to every change of the batch, but for those that no rule may see.
    pub fn apply(&mut self, batch: &Batch, is_withheld: impl Fn(&Change<'_>) -> bool) {
        let (mut latest, mut beside) = (Waiting::default(), Withheld(is_withheld));
        self.old.apply(batch, &mut beside, |_, _| {}, |event| latest.old.push(event));
        self.new.apply(batch, &mut beside, |_, _| {}, |event| latest.new.push(event));
        let earlier = std::mem::take(&mut self.waiting);
        let [given_up, waiting] = self.pair([earlier, latest]);
        self.give_up(given_up);
        self.waiting = waiting;
    }

    /// Says that no change follows.
    pub fn finish(&mut self) {
        let mut latest = Waiting::default();
        self.old.finish(&mut (), |event| latest.old.push(event));
        self.new.finish(&mut (), |event| latest.new.push(event));
        let earlier = std::mem::take(&mut self.waiting);
        for waiting in self.pair([earlier, latest]) {
            self.give_up(waiting);
        }
    }

    /// What each set did: the old one, the new one.
    pub fn accounts(&self) -> (&Account, &Account) {
        (self.old.account(), self.new.account())
    }

    /// How the events differ, rule by rule: those of the new set in file order, then those that only the old one has.
    pub fn rules(&self) -> &[RuleComparison] {
        &self.rules
    }

    /// True if both sets make the same events and the same dead letters.
    pub fn is_same(&self) -> bool {
        let (old, new) = self.accounts();
        let failures = |account: &Account| {
            let failed = account.rules.iter().filter(|rule| rule.failures.count > 0);
            failed.map(|rule| (Arc::clone(&rule.rule), rule.failures.clone())).collect::<BTreeMap<_, _>>()
        };
        self.rules.iter().all(RuleComparison::is_same) && failures(old) == failures(new)
    }

    /// Counts the events that have the same id, and gives back the others.
    fn pair(&mut self, batches: [Waiting; 2]) -> [Waiting; 2] {
        let mut left = [Waiting::default(), Waiting::default()];
        let (mut by_id, mut news) = (HashMap::<EventId, (usize, Event)>::new(), Vec::new());
        for (age, Waiting { old, new }) in batches.into_iter().enumerate() {
            by_id.extend(old.into_iter().map(|event| (event.id, (age, event))));
            news.extend(new.into_iter().map(|event| (age, event)));
        }
        for (age, event) in news {
            match by_id.remove(&event.id) {
                Some((_, partner)) => self.both(&partner, event),
                None => left[age].new.push(event),
            }
        }
        for (age, event) in by_id.into_values() {
            left[age].old.push(event);
        }
        // In the order of the log again, so that a report is the same every time.
        left.iter_mut().for_each(|waiting| waiting.old.sort_by(|one, other| one.sequence.cmp(&other.sequence)));
        left
    }

    fn give_up(&mut self, Waiting { mut old, new }: Waiting) {
        for event in new {
            let is_same_fact = |other: &Event| {
                other.name == event.name
                    && other.sequence.get(..CHANGE_LENGTH) == event.sequence.get(..CHANGE_LENGTH)
                    && (&other.database, &other.collection) == (&event.database, &event.collection)
            };
            match old.iter().position(is_same_fact) {
                Some(index) => {
                    let partner = old.remove(index);
                    self.both(&partner, event);
                }
                None => {
                    let number = self.number(&event.rule);
                    self.rules[number].appeared_count += 1;
                    self.keep(number, Pairing::Appeared(Box::new(event)));
                }
            }
        }
        for event in old {
            let number = self.number(&event.rule);
            self.rules[number].vanished_count += 1;
            self.keep(number, Pairing::Vanished(Box::new(event)));
        }
    }

    fn both(&mut self, old: &Event, new: Event) {
        let differences = differences(old, &new);
        let number = self.number(&new.rule);
        let rule = &mut self.rules[number];
        if differences.is_empty() {
            rule.same_count += 1;
            return;
        }
        rule.changed_count += 1;
        for difference in &differences {
            if let Some(count) = rule.places.get_mut(&difference.place) {
                *count += 1;
            } else if rule.places.len() < PLACES_MAX {
                rule.places.insert(difference.place.clone(), 1);
            }
        }
        self.keep(number, Pairing::Changed { new: Box::new(new), differences });
    }

    fn keep(&mut self, number: usize, pairing: Pairing) {
        let samples = &mut self.rules[number].samples;
        let kind = std::mem::discriminant(&pairing);
        if samples.iter().filter(|sample| std::mem::discriminant(*sample) == kind).count() < self.samples_max {
            samples.push(pairing);
        }
    }

    fn number(&mut self, rule: &Arc<str>) -> usize {
        if let Some(&number) = self.numbers.get(rule) {
            return number;
        }
        let number = self.rules.len();
        self.numbers.insert(Arc::clone(rule), number);
        self.rules.push(RuleComparison::new(rule));
        number
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, RawDocumentBuf, Timestamp, doc};

    use super::*;
    use crate::rules;
    use crate::yaml::SourceFile;

    fn set(text: &str) -> RuleSet {
        let text = format!("version: 1\ndefaults: {{collection: shop.orders}}\nrules:\n{text}");
        let reading = rules::read(&[SourceFile { name: "rules.yaml".to_owned(), text }]);
        assert!(!reading.diagnostics.has_errors(), "{}", reading.diagnostics.render());
        RuleSet::compile(reading.rules)
    }

    fn change(number: i32, updated: Document) -> RawDocumentBuf {
        let document = doc! {
            "operationType": "update", "ns": {"db": "shop", "coll": "orders"}, "documentKey": {"_id": number},
            "clusterTime": Timestamp { time: 100 + number as u32, increment: 1 },
            "updateDescription": {"updatedFields": updated, "removedFields": []},
        };
        RawDocumentBuf::try_from(&document).unwrap()
    }

    fn compare(old: &str, new: &str) -> Comparison {
        let mut comparison = Comparison::new(set(old), set(new), 2);
        for first in [0, 10] {
            let changes: Vec<RawDocumentBuf> = (first..first + 10)
                .map(|number| {
                    let status = ["paid", "sent"][number as usize % 2];
                    change(number, doc! {"status": status, "total": number})
                })
                .collect();
            comparison.apply(&Batch::from_documents(changes.iter().map(|change| change.as_ref()), None), |_| false);
        }
        comparison.finish();
        comparison
    }

    const PAID: &str = "  - {event: Paid, when: {status: paid}, data: {total: $.after.total, id: $.key._id}}\n";

    fn counts(rule: &RuleComparison) -> (&str, [u64; 4]) {
        (&rule.rule, [rule.same_count, rule.appeared_count, rule.vanished_count, rule.changed_count])
    }

    #[test]
    fn equal_rules_give_equal_events_wherever_they_stand() {
        let sent = "  - {event: Sent, when: {status: sent}}\n";
        let comparison = compare(&format!("{PAID}{sent}"), &format!("{sent}{PAID}"));
        assert!(comparison.is_same());
        assert_eq!(
            comparison.rules().iter().map(counts).collect::<Vec<_>>(),
            [("Sent", [10, 0, 0, 0]), ("Paid", [10, 0, 0, 0])]
        );
        assert_eq!(comparison.accounts().0.changes_count, 20);
    }

    #[test]
    fn what_appears_vanishes_or_changes_is_told_by_rule_and_place() {
        let old = format!("{PAID}  - {{event: Gone, when: {{status: sent}}}}\n");
        let new = "  - {event: Paid, when: {status: [paid, sent]}, subject: 'order/{$.key._id}', data: {id: $.key._id, total: {literal: x}}}\n";
        let comparison = compare(&old, new);
        assert!(!comparison.is_same());
        assert_eq!(
            comparison.rules().iter().map(counts).collect::<Vec<_>>(),
            [("Paid", [0, 10, 0, 10]), ("Gone", [0, 0, 10, 0])]
        );
        let paid = &comparison.rules()[0];
        assert_eq!(
            paid.places.iter().map(|(place, count)| (place.as_str(), *count)).collect::<Vec<_>>(),
            [("data.total", 10), ("subject", 10)]
        );
        assert_eq!(paid.samples.len(), 4, "two of each kind");
    }

    #[test]
    fn a_rule_with_another_id_makes_the_same_events_under_other_ids() {
        let renamed = PAID.replace("event: Paid,", "event: Paid, id: PaidOrder,");
        let comparison = compare(PAID, &renamed);
        assert_eq!(
            comparison.rules().iter().map(counts).collect::<Vec<_>>(),
            [("PaidOrder", [0, 0, 0, 10]), ("Paid", [0, 0, 0, 0])]
        );
        assert_eq!(comparison.rules()[0].places.keys().collect::<Vec<_>>(), ["rule"]);
    }

    #[test]
    fn events_that_can_not_be_built_are_a_difference_too() {
        let strict = "  - {event: Paid, when: {status: paid}, data: {total: {path: $.after.total, required: true}, id: {path: $.after.none, required: true}}}\n";
        let comparison = compare(PAID, strict);
        assert!(!comparison.is_same());
        assert_eq!(comparison.accounts().1.failed_count() + comparison.accounts().1.rules[0].undecided_count(), 10);
    }
}
