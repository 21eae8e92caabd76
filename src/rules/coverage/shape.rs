//! The changes of one shape, by the transitions of its fields.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::fields::Word;

/// How many sets of transitions are told apart for each shape.
const TRANSITIONS_MAX: usize = 32;

/// What a field that looks like an enumeration was and is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Transition {
    /// The path of the field.
    pub path: String,
    /// What it was.
    pub before: Side,
    /// What it is.
    pub after: Side,
}

/// What a field is at one side of a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// Nobody told.
    Unknown,
    /// It is not there.
    Missing,
    /// It is this.
    Is(Word),
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("?"),
            Self::Missing => formatter.write_str("(none)"),
            Self::Is(word) => word.fmt(formatter),
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} -> {}", self.path, self.before, self.after)
    }
}

/// Counts by transitions.
#[derive(Debug, Default)]
pub(super) struct Shape {
    counts: HashMap<Vec<Transition>, (u64, u64)>,
}

impl Shape {
    pub(super) fn add(&mut self, transitions: Vec<Transition>, is_undecided: bool, count: u64) {
        self.add_counts(transitions, (count, u64::from(is_undecided)));
    }

    fn add_counts(&mut self, mut transitions: Vec<Transition>, (count, undecided_count): (u64, u64)) {
        if self.counts.len() >= TRANSITIONS_MAX && !self.counts.contains_key(&transitions) {
            transitions.clear();
        }
        let counts = self.counts.entry(transitions).or_default();
        counts.0 += count;
        counts.1 += undecided_count;
    }

    /// The same with no other transitions than those of fields that `keeps` says yes to.
    pub(super) fn only(&self, keeps: impl Fn(&str) -> bool) -> Self {
        let mut only = Self::default();
        for (transitions, counts) in &self.counts {
            let kept = transitions.iter().filter(|transition| keeps(&transition.path)).cloned().collect();
            only.add_counts(kept, *counts);
        }
        only
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (transitions, counts) in other.counts {
            self.add_counts(transitions, counts);
        }
    }

    /// Transitions, count, count of those undecided.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&[Transition], u64, u64)> {
        self.counts.iter().map(|(transitions, (count, undecided))| (transitions.as_slice(), *count, *undecided))
    }
}
