//! The explicit side of a history that is played: relays beside the rules, and both compared.

use std::collections::BTreeMap;

use crate::change::Change;
use crate::explicit::{Noted, Relays};
use crate::namespace::Namespace;
use crate::parity::Parity;
use crate::position::ClusterTime;
use crate::rules::Outcome;
use crate::rules::replay::Beside;

/// Relays beside the rules of a [`Replay`](crate::rules::replay::Replay), and what they found.
#[derive(Debug, Default)]
pub struct Relaying {
    relays: Relays,
    collections: Vec<Namespace>,
    noted: Noted,
    /// Compares the events of both sides, where that is wanted.
    pub parity: Option<Parity>,
    account: RelayAccount,
}

/// What relays found beside events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayAccount {
    /// Changes that made no event although somebody may have meant one, by relay and by what they were.
    pub ignored: BTreeMap<(String, &'static str), u64>,
    /// Versions that were not the next one of their stream, by relay.
    pub faults: BTreeMap<String, u64>,
}

impl Relaying {
    /// These relays; nothing is compared.
    pub fn new(relays: Relays) -> Self {
        let collections = relays.collections().cloned().collect();
        Self { relays, collections, ..Self::default() }
    }

    /// These relays, compared with the rules.
    pub fn compared(relays: Relays, parity: Parity) -> Self {
        Self { parity: Some(parity), ..Self::new(relays) }
    }

    /// The names of the relays, which are their collections.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.collections.iter().map(Namespace::to_string)
    }

    /// What was found beside events.
    pub fn account(&self) -> &RelayAccount {
        &self.account
    }

    /// True if changes of the collection are for a relay alone.
    pub fn owns(&self, database: &str, collection: &str) -> bool {
        self.relays.owns(database, collection)
    }

    fn name(&self, relay: usize) -> String {
        self.collections.get(relay).map(Namespace::to_string).unwrap_or_default()
    }
}

impl Beside for Relaying {
    fn owns(&self, change: &Change<'_>) -> bool {
        self.relays.owns(change.database, change.collection)
    }

    fn apply(&mut self, change: &Change<'_>, outcome: &mut Outcome) -> bool {
        let is_taken = self.relays.apply(change, outcome, &mut self.noted);
        if !self.noted.is_empty() {
            let noted = std::mem::take(&mut self.noted);
            for ignored in &noted.ignored {
                *self.account.ignored.entry((self.name(ignored.relay), ignored.what)).or_default() += 1;
            }
            for fault in &noted.faults {
                *self.account.faults.entry(self.name(fault.relay)).or_default() += 1;
            }
            self.noted = noted;
            self.noted.clear();
        }
        is_taken
    }

    fn note(&mut self, change: &Change<'_>, outcome: &Outcome) {
        if let Some(parity) = &mut self.parity {
            parity.note(change, self.relays.owns(change.database, change.collection), &outcome.events);
        }
    }

    fn note_ended(&mut self, time: ClusterTime, outcome: &Outcome) {
        if let Some(parity) = &mut self.parity {
            parity.note_ended(time, &outcome.events);
        }
    }
}
