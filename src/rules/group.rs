//! `first_of`: of the rules of a group, only the first that matches a change fires.
//!
//! A group belongs to its file. Where it can not be decided whether an earlier rule matches, it can not be decided either
//! whether a later one is the first.

use std::collections::HashMap;

use super::ast::Rule;

/// What a rule of a group said of the change at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does not match.
    No,
    /// It matches, whether its event could be built or not.
    Matches,
    /// Nobody knows.
    Undecided,
}

impl Verdict {
    /// What a rule says that says so of one element of an array and so of the others.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Matches, _) | (_, Self::Matches) => Self::Matches,
            (Self::Undecided, _) | (_, Self::Undecided) => Self::Undecided,
            (Self::No, Self::No) => Self::No,
        }
    }
}

/// The group of each rule: the number of the first rule that is in it.
pub(super) fn numbers(rules: &[Rule]) -> Vec<Option<usize>> {
    let mut known: HashMap<(&str, &str), usize> = HashMap::new();
    let mut numbers = Vec::with_capacity(rules.len());
    for (number, rule) in rules.iter().enumerate() {
        let key = rule.first_of.as_deref().map(|group| (rule.file(), group));
        numbers.push(key.map(|key| *known.entry(key).or_insert(number)));
    }
    numbers
}

/// What the groups said of the change at hand; those of which no rule matched are absent.
#[derive(Debug, Default)]
pub(super) struct Groups(Vec<(usize, Verdict)>);

impl Groups {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What the rules of a group have said so far.
    pub(super) fn so_far(&self, group: usize) -> Verdict {
        self.0.iter().find(|(known, _)| *known == group).map_or(Verdict::No, |(_, verdict)| *verdict)
    }

    /// Notes what the next rule of a group says.
    pub(super) fn note(&mut self, group: usize, verdict: Verdict) {
        match self.0.iter_mut().find(|(known, _)| *known == group) {
            Some((_, known)) if verdict != Verdict::No => *known = verdict,
            None if verdict != Verdict::No => self.0.push((group, verdict)),
            _ => {}
        }
    }
}
