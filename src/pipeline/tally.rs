//! Counts changes without looking up a label per change: in plain numbers, added to the metrics at the end of a batch.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::IntCounter;

use crate::change::{Change, Operation};
use crate::metrics::Metrics;
use crate::rules::{Undecided, UnknownReason};

/// Collections that are counted by name. More are counted together: a metric must not grow without bound.
const COLLECTIONS_MAX: usize = 1_000;
/// What the others are counted as.
const OTHERS: &str = "(others)";
const OPERATIONS: [Operation; 4] = [Operation::Insert, Operation::Update, Operation::Replace, Operation::Delete];

/// The counts of the batch at hand.
pub(super) struct Tally {
    metrics: Arc<Metrics>,
    collections: Vec<Collection>,
    /// From the full name to the index in `collections`.
    index: HashMap<String, usize>,
    /// The index of the last change: most changes are of the same collection as the one before.
    last: usize,
    unknown: HashMap<UnknownReason, HashMap<Arc<str>, IntCounter>>,
}

struct Collection {
    name: String,
    read: [(u64, IntCounter); 4],
    unmatched: (u64, IntCounter),
}

impl Tally {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, collections: Vec::new(), index: HashMap::new(), last: 0, unknown: HashMap::new() }
    }

    /// One change was read; `fired` says whether a rule made an event of it.
    pub(super) fn count(&mut self, change: &Change<'_>, fired: bool) {
        if !self.collections.get(self.last).is_some_and(|collection| is_named(&collection.name, change)) {
            self.last = self.find(change);
        }
        let Some(collection) = self.collections.get_mut(self.last) else { return };
        let operation = match change.operation {
            Operation::Insert => 0,
            Operation::Update => 1,
            Operation::Replace => 2,
            Operation::Delete => 3,
        };
        collection.read[operation].0 += 1;
        collection.unmatched.0 += u64::from(!fired);
    }

    /// A rule could not be decided.
    pub(super) fn count_undecided(&mut self, undecided: &Undecided) {
        let rules = self.unknown.entry(undecided.reason).or_default();
        if let Some(counter) = rules.get(&undecided.rule) {
            return counter.inc();
        }
        let counter = self.metrics.rule_unknown.with_label_values(&[&*undecided.rule, undecided.reason.as_str()]);
        counter.inc();
        rules.insert(undecided.rule.clone(), counter);
    }

    /// Adds the counts of the batch to the metrics, and gives the number of changes.
    pub(super) fn flush(&mut self) -> u64 {
        let mut changes_count = 0;
        for collection in &mut self.collections {
            changes_count += collection.read.iter().map(|(count, _)| count).sum::<u64>();
            for (count, counter) in collection.read.iter_mut().chain([&mut collection.unmatched]) {
                if *count > 0 {
                    counter.inc_by(std::mem::take(count));
                }
            }
        }
        changes_count
    }

    fn find(&mut self, change: &Change<'_>) -> usize {
        let name = format!("{}.{}", change.database, change.collection);
        if let Some(&index) = self.index.get(&name) {
            return index;
        }
        let name = if self.collections.len() < COLLECTIONS_MAX { name } else { OTHERS.to_owned() };
        if let Some(&index) = self.index.get(&name) {
            return index;
        }
        let index = self.collections.len();
        let read = OPERATIONS
            .map(|operation| (0, self.metrics.changes.with_label_values(&[operation.as_str(), name.as_str()])));
        let unmatched = (0, self.metrics.changes_unmatched.with_label_values(&[name.as_str()]));
        self.index.insert(name.clone(), index);
        self.collections.push(Collection { name, read, unmatched });
        index
    }
}

fn is_named(name: &str, change: &Change<'_>) -> bool {
    let rest = name.strip_prefix(change.database).and_then(|rest| rest.strip_prefix('.'));
    rest == Some(change.collection)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::change::{Batch, Entry};

    #[test]
    fn changes_are_counted_by_collection_and_operation_and_the_many_together() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut tally = Tally::new(metrics.clone());
        for number in 0..COLLECTIONS_MAX + 5 {
            let document = rawdoc! {
                "operationType": "delete", "ns": {"db": "shop", "coll": format!("c{number}")},
                "documentKey": {"_id": 1}, "clusterTime": bson::Timestamp { time: 1, increment: 1 }
            };
            let batch = Batch::from_documents([&*document], None);
            let Some(Ok(Entry::Change(change))) = batch.entries().next() else { panic!("a change") };
            tally.count(&change, number % 2 == 0);
            tally.count(&change, true);
        }
        assert_eq!(tally.flush(), 2_010);
        assert_eq!(tally.flush(), 0, "what was added is not added again");
        let read = |collection: &str| metrics.changes.with_label_values(&["delete", collection]).get();
        assert_eq!((read("shop.c0"), read("shop.c7"), read(OTHERS)), (2, 2, 10));
        assert_eq!(metrics.changes_unmatched.with_label_values(&["shop.c1"]).get(), 1);
        assert_eq!(metrics.changes_unmatched.with_label_values(&["shop.c2"]).get(), 0);
    }
}
