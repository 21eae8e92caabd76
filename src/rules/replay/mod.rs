//! What rules make of changes that have happened already, counted: the way to see a rule at work before anything is delivered.
//! Pure, as all of the rules are; somebody else reads the changes.

mod account;
mod beside;
mod comparison;
mod difference;

pub use account::{Account, Failures, RuleAccount};
pub use beside::Beside;
pub use comparison::{Comparison, Pairing, RuleComparison};
pub use difference::{Difference, differences};

use std::sync::Arc;

use super::{Outcome, RuleSet, Translation};
use crate::change::{Batch, Change, Entry};
use crate::event::Event;
use crate::position::ClusterTime;

/// The memory for transactions that have not ended: as much as a run allows by itself, in bytes.
const TRANSACTION_BYTES_MAX: usize = 64 << 20;

/// Applies one rule set to changes, batch by batch, and keeps account.
#[derive(Debug)]
pub struct Replay {
    rules: Arc<RuleSet>,
    translation: Translation,
    outcome: Outcome,
    account: Account,
}

impl Replay {
    /// Keeps up to `samples_max` events of each rule, the first ones.
    pub fn new(rules: RuleSet, samples_max: usize) -> Self {
        let account = Account::new(rules.rule_ids(), samples_max);
        let translation = Translation::new(TRANSACTION_BYTES_MAX);
        Self { rules: Arc::new(rules), translation, outcome: Outcome::default(), account }
    }

    /// Applies the rules, and what stands `beside` them, to every change of the batch, in order. `see` is told of each change what
    /// came of it; `take` gets the events.
    pub fn apply(
        &mut self,
        batch: &Batch,
        beside: &mut impl Beside,
        mut see: impl FnMut(&Change<'_>, Fate),
        mut take: impl FnMut(Event),
    ) {
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
            // What ended before this change did not come of it.
            let open_at = self.translation.open_at();
            if self.translation.pass(change.cluster_time, &mut self.outcome) {
                self.hand_over_ended(open_at, beside, &mut take);
            }
            let is_withheld = beside.owns(&change);
            let is_matched = match is_withheld {
                true => self.translation.pass_by(&change, &mut self.outcome),
                false => self.translation.apply(&self.rules, &change, &mut self.outcome),
            };
            let is_matched = beside.apply(&change, &mut self.outcome) || is_matched || is_withheld;
            let fate = Fate::of(is_matched, &self.outcome);
            self.account.note(&change, fate);
            see(&change, fate);
            beside.note(&change, &self.outcome);
            self.hand_over(&mut take);
        }
        let open_at = self.translation.open_at();
        if open_at.is_some_and(|time| batch.ends(time)) {
            self.translation.end(&mut self.outcome);
            self.hand_over_ended(open_at, beside, &mut take);
        }
    }

    /// Says that no change follows. A transaction that has not ended by then is not whole, and its rules are undecided.
    pub fn finish(&mut self, beside: &mut impl Beside, mut take: impl FnMut(Event)) {
        let open_at = self.translation.open_at();
        self.translation.cut(&mut self.outcome);
        self.hand_over_ended(open_at, beside, &mut take);
    }

    fn hand_over_ended(&mut self, time: Option<ClusterTime>, beside: &mut impl Beside, take: &mut impl FnMut(Event)) {
        if let Some(time) = time {
            beside.note_ended(time, &self.outcome);
        }
        self.hand_over(take);
    }

    fn hand_over(&mut self, take: &mut impl FnMut(Event)) {
        self.account.add(&self.outcome);
        self.outcome.events.drain(..).for_each(take);
        self.outcome.clear();
    }

    /// What has been counted so far.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Some rule fired on it, a rule with `transaction` looks for it, or it was for what stands beside the rules.
    Fired,
    /// No rule fired, and some could not be decided.
    Undecided,
    /// No rule fired.
    Unmatched,
}

impl Fate {
    fn of(is_matched: bool, outcome: &Outcome) -> Self {
        if is_matched {
            Self::Fired
        } else if !outcome.undecided.is_empty() {
            Self::Undecided
        } else {
            Self::Unmatched
        }
    }
}
