//! What rules make of changes that have happened already, counted: the way to see a rule at work before anything is delivered.
//! Pure, as all of the rules are; somebody else reads the changes.

mod account;
mod comparison;
mod difference;

pub use account::{Account, Failures, RuleAccount};
pub use comparison::{Comparison, Pairing, RuleComparison};
pub use difference::{Difference, differences};

use super::{Outcome, RuleSet};
use crate::change::{Batch, Change, Entry};
use crate::event::Event;

/// Applies one rule set to changes, batch by batch, and keeps account.
#[derive(Debug)]
pub struct Replay {
    rules: RuleSet,
    outcome: Outcome,
    account: Account,
}

impl Replay {
    /// Keeps up to `samples_max` events of each rule, the first ones.
    pub fn new(rules: RuleSet, samples_max: usize) -> Self {
        let account = Account::new(rules.rule_ids(), samples_max);
        Self { rules, outcome: Outcome::default(), account }
    }

    /// Applies the rules to every change of the batch, in order. `see` is told of each change what came of it; `take` gets the
    /// events.
    pub fn apply(&mut self, batch: &Batch, mut see: impl FnMut(&Change<'_>, Fate), mut take: impl FnMut(Event)) {
        for entry in batch.entries() {
            let change = match entry {
                Ok(Entry::Change(change)) => change,
                Ok(Entry::Notice(_)) => {
                    self.account.notices_count += 1;
                    continue;
                }
                Err(_) => {
                    self.account.undecodable_count += 1;
                    continue;
                }
            };
            self.rules.apply(&change, &mut self.outcome);
            let fate = Fate::of(&self.outcome);
            self.account.add(&change, fate, &self.outcome);
            see(&change, fate);
            self.outcome.events.drain(..).for_each(&mut take);
            self.outcome.clear();
        }
    }

    /// What has been counted so far.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Some rule fired.
    Fired,
    /// No rule fired, and some could not be decided.
    Undecided,
    /// No rule fired.
    Unmatched,
}

impl Fate {
    /// What came of the change that `outcome` is of.
    pub fn of(outcome: &Outcome) -> Self {
        if !outcome.events.is_empty() || !outcome.failed.is_empty() {
            Self::Fired
        } else if !outcome.undecided.is_empty() {
            Self::Undecided
        } else {
            Self::Unmatched
        }
    }
}
