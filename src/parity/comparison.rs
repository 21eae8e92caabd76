//! The comparison itself.

use std::sync::Arc;

use super::types::Types;
use super::{Figures, ParitySettings};
use crate::change::Change;
use crate::event::Event;
use crate::position::ClusterTime;

/// Compares inferred and explicit events in the order of the log.
///
/// Every change is to be told with the events that it made ([`Parity::note`]), and the events of transactions when these have ended
/// ([`Parity::note_ended`]). Where nothing more comes, [`Parity::finish`] decides what still waits.
#[derive(Debug)]
pub struct Parity {
    types: Types,
    since: Option<ClusterTime>,
    /// The log has come to here.
    now: ClusterTime,
}

impl Parity {
    /// Nothing has been compared.
    pub fn new(settings: &ParitySettings) -> Self {
        Self { types: Types::new(&settings.types), since: None, now: ClusterTime::default() }
    }

    /// Says which types of events the rules in force may make: an explicit event of another type need not wait for a partner.
    /// Figures are of one rule set: with another one, named by its hash, they begin anew.
    pub fn expect<'n>(&mut self, _rule_set: &str, names: impl IntoIterator<Item = &'n Arc<str>>) {
        self.types.expect(names);
    }

    /// Notes a change with the events, inferred and explicit, that were made of it by itself. `is_relayed` says that it belongs to an
    /// outbox or an event store, so that it is no business change. Changes without events have to be told too: they are what lies
    /// behind the explicit events of their transaction.
    pub fn note(&mut self, change: &Change<'_>, _is_relayed: bool, events: &[Event]) {
        self.note_ended(change.cluster_time, events);
    }

    /// Notes the events of transactions, committed at `time`, that were made when these had ended. Their changes were noted before,
    /// and no change of a later time was.
    pub fn note_ended(&mut self, time: ClusterTime, events: &[Event]) {
        self.pass(time);
        for event in events {
            self.since.get_or_insert(time);
            self.types.count(event);
        }
    }

    /// The log has come to `time`: everything before it has been noted.
    pub fn pass(&mut self, time: ClusterTime) {
        self.now = self.now.max(time);
    }

    /// Nothing that was committed so far is left to be noted: transactions that were noted have ended.
    pub fn caught_up(&mut self) {}

    /// History was lost here: what waits is given up.
    pub fn cut(&mut self) {}

    /// Nothing more comes: decides what still waits.
    pub fn finish(&mut self) {}

    /// What it came to so far. Values of documents appear (in shapes, as transitions of fields that look like enumerations) only with
    /// `has_values`.
    pub fn figures(&self, _has_values: bool) -> Figures {
        let millis = |time: ClusterTime| time.as_millis();
        let until_ms = Some(self.now).filter(|now| *now != ClusterTime::default()).map(millis);
        Figures { since_ms: self.since.map(millis), until_ms, types: self.types.figures(), ..Figures::default() }
    }
}
