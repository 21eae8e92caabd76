//! What one rule set made of many changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Fate;
use crate::change::Change;
use crate::event::Event;
use crate::position::ClusterTime;
use crate::rules::ast::UnknownPolicy;
use crate::rules::{Outcome, UnknownReason};

/// How many reasons for events that could not be built are told apart, for each rule.
const REASONS_MAX: usize = 20;

/// What one rule set made of many changes.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Changes that were read.
    pub changes_count: u64,
    /// What was read and is no change: drops, renames and so on.
    pub notices_count: u64,
    /// Changes that could not be decoded, each a dead letter.
    pub undecodable_count: u64,
    /// Changes that fired no rule and left none undecided.
    pub unmatched_count: u64,
    /// Changes that fired no rule and left some undecided.
    pub undecided_count: u64,
    /// Events that would have been delivered.
    pub events_count: u64,
    /// The times of the first and the last change.
    pub times: Option<(ClusterTime, ClusterTime)>,
    /// What each rule did, in file order, and then what each relay did.
    pub rules: Vec<RuleAccount>,
    numbers: HashMap<Arc<str>, usize>,
    samples_max: usize,
}

/// What one rule did.
#[derive(Clone, Debug)]
pub struct RuleAccount {
    /// The rule's id, or the name of a relay.
    pub rule: Arc<str>,
    /// True of a relay: its events were written by the application.
    pub is_explicit: bool,
    /// Events it made.
    pub events_count: u64,
    /// How often it could not be decided, by reason.
    pub undecided: BTreeMap<UnknownReason, u64>,
    /// What would be dead letters: events of it that could not be built, and changes that it could not be decided for where its
    /// policy keeps those.
    pub failures: Failures,
    /// How often a run would stop, because the rule could not be decided and its policy says so.
    pub stops_count: u64,
    /// Its first events.
    pub samples: Vec<Event>,
}

/// What would be dead letters, by what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many there are.
    pub count: u64,
    /// The first reasons, and how often each came; they name paths, never values.
    pub reasons: BTreeMap<String, u64>,
}

impl Account {
    pub(super) fn new<'r>(rules: impl Iterator<Item = &'r Arc<str>>, samples_max: usize) -> Self {
        let mut account = Self { samples_max, ..Self::default() };
        for rule in rules {
            account.number(rule);
        }
        account
    }

    /// Where the rule stands in `rules`; it is added if it is not there.
    fn number(&mut self, rule: &Arc<str>) -> usize {
        if let Some(&number) = self.numbers.get(rule) {
            return number;
        }
        let number = self.rules.len();
        self.numbers.insert(Arc::clone(rule), number);
        self.rules.push(RuleAccount {
            rule: Arc::clone(rule),
            is_explicit: false,
            events_count: 0,
            undecided: BTreeMap::new(),
            failures: Failures::default(),
            stops_count: 0,
            samples: Vec::new(),
        });
        number
    }

    pub(super) fn note(&mut self, change: &Change<'_>, fate: Fate) {
        self.changes_count += 1;
        let time = change.cluster_time;
        self.times = Some((self.times.map_or(time, |(first, _)| first), time));
        match fate {
            Fate::Fired => {}
            Fate::Undecided => self.undecided_count += 1,
            Fate::Unmatched => self.unmatched_count += 1,
        }
    }

    pub(super) fn add(&mut self, outcome: &Outcome) {
        for event in &outcome.events {
            self.events_count += 1;
            let number = self.number(&event.rule);
            let rule = &mut self.rules[number];
            rule.events_count += 1;
            rule.is_explicit = event.explicit.is_some();
            if rule.samples.len() < self.samples_max {
                rule.samples.push(event.clone());
            }
        }
        for undecided in &outcome.undecided {
            let number = self.number(&undecided.rule);
            let rule = &mut self.rules[number];
            *rule.undecided.entry(undecided.reason).or_default() += 1;
            match undecided.policy {
                UnknownPolicy::Skip | UnknownPolicy::Assume => {}
                UnknownPolicy::DeadLetter => rule.failures.add(undecided.reason.explanation()),
                UnknownPolicy::Stop => rule.stops_count += 1,
            }
        }
        for failed in &outcome.failed {
            let number = self.number(&failed.rule);
            self.rules[number].failures.add(&failed.reason);
        }
    }

    /// What would be dead letters, of all rules.
    pub fn failed_count(&self) -> u64 {
        self.rules.iter().map(|rule| rule.failures.count).sum()
    }

    /// The rules that made nothing, not even an event that could not be built.
    pub fn never_fired(&self) -> impl Iterator<Item = &RuleAccount> {
        self.rules.iter().filter(|rule| rule.events_count == 0 && rule.failures.count == 0)
    }
}

impl RuleAccount {
    /// How often it could not be decided, whatever the reason.
    pub fn undecided_count(&self) -> u64 {
        self.undecided.values().sum()
    }
}

impl Failures {
    fn add(&mut self, reason: &str) {
        self.count += 1;
        if let Some(count) = self.reasons.get_mut(reason) {
            *count += 1;
        } else if self.reasons.len() < REASONS_MAX {
            self.reasons.insert(reason.to_owned(), 1);
        }
    }
}
