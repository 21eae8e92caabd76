//! What the rules of a run do not explain, kept for who asks.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::change::Change;
use crate::rules::coverage::{Coverage, Proposals};
use crate::rules::{Outcome, RuleSet};

/// How many shapes are told.
const SHAPES_TOLD_MAX: usize = 100;

/// The changes of a run that fired no rule, and the rules that fired on none.
#[derive(Debug)]
pub struct CoverageLog {
    coverage: Coverage,
    changes_count: u64,
    unmatched_count: u64,
    undecided_count: u64,
    /// The rules in force, and the hash of their set.
    rules: Vec<Arc<str>>,
    hash: String,
    fired: HashSet<Arc<str>>,
}

impl CoverageLog {
    /// Nothing has happened yet. Without values, no transition of a field is kept.
    pub fn new(has_values: bool) -> Self {
        Self {
            coverage: Coverage::new(has_values),
            changes_count: 0,
            unmatched_count: 0,
            undecided_count: 0,
            rules: Vec::new(),
            hash: String::new(),
            fired: HashSet::new(),
        }
    }

    /// Notes what came of a change under the rules in force.
    pub(super) fn note(&mut self, rules: &RuleSet, change: &Change<'_>, is_matched: bool, is_undecided: bool) {
        if self.hash != rules.hash() {
            self.hash = rules.hash().to_owned();
            self.rules = rules.rule_ids().cloned().collect();
        }
        self.changes_count += 1;
        if is_matched {
            return;
        }
        self.unmatched_count += u64::from(!is_undecided);
        self.undecided_count += u64::from(is_undecided);
        self.coverage.add(change, is_undecided);
    }

    /// Notes which rules have fired.
    pub(super) fn note_fired(&mut self, outcome: &Outcome) {
        let events = outcome.events.iter().map(|event| &event.rule);
        for rule in events.chain(outcome.failed.iter().map(|failed| &failed.rule)) {
            if !self.fired.contains(rule) {
                self.fired.insert(rule.clone());
            }
        }
    }

    /// Everything as JSON: the most frequent shapes first, each with a rule that would fire on it.
    pub fn to_json(&self) -> Value {
        let mut proposals = Proposals::beside(self.rules.iter().map(|rule| &**rule));
        let shapes = self.coverage.shapes();
        let told = shapes.iter().take(SHAPES_TOLD_MAX).map(|shape| {
            json!({
                "count": shape.count,
                "undecided": shape.undecided_count,
                "collection": format!("{}.{}", shape.database, shape.collection),
                "what": shape.to_string(),
                "rule": proposals.rule(shape),
            })
        });
        let told: Vec<Value> = told.collect();
        let never_fired: Vec<&Arc<str>> = self.rules.iter().filter(|rule| !self.fired.contains(*rule)).collect();
        json!({
            "changes": self.changes_count,
            "unmatched": self.unmatched_count,
            "undecided": self.undecided_count,
            "other": self.coverage.other_count(),
            "shapes": told,
            "never_fired": never_fired,
        })
    }
}
