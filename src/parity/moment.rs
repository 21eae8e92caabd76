//! The transactions of the present cluster time: all changes of one transaction have one.

use std::collections::HashSet;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::footprint::{add_shape, add_unseen};
use super::item::Item;
use crate::change::TransactionId;
use crate::event::EventId;
use crate::position::ClusterTime;

/// How many events of transactions of one time are kept, and how many bytes of them.
const COUNT_MAX: usize = 10_000;
const BYTES_MAX: usize = 4 << 20;

/// A transaction that may go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Unit {
    session: Vec<u8>,
    number: i64,
    /// The text that events of the transaction carry, once it is needed.
    #[serde(skip)]
    text: Option<String>,
    /// The index that the next of its changes has, if every change is seen.
    next_operation: u32,
    /// The shapes of its business changes, in order.
    pub(super) shapes: Vec<u32>,
    pub(super) items: Vec<Item>,
}

/// What has come of the present cluster time.
#[derive(Debug, Default)]
pub(super) struct Moment {
    pub(super) time: ClusterTime,
    units: Vec<Unit>,
    count: usize,
    byte_count: usize,
    is_too_large: bool,
    /// The ids of the events that have been taken of this time: they are not taken again after a restart.
    taken: Vec<u8>,
    /// The same, of those before the restart.
    restored: HashSet<[u8; 16], FixedState>,
}

/// The same, to be kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptMoment {
    time: bson::Timestamp,
    units: Vec<Unit>,
    is_too_large: bool,
    taken: bson::Binary,
}

impl Moment {
    /// Another time begins; gives the transactions of the one before.
    pub(super) fn begin(&mut self, time: ClusterTime) -> Vec<Unit> {
        self.time = time;
        self.taken.clear();
        if !self.restored.is_empty() {
            self.restored = HashSet::default();
        }
        self.is_too_large = false;
        self.end()
    }

    /// The transactions of this time have ended.
    pub(super) fn end(&mut self) -> Vec<Unit> {
        self.count = 0;
        self.byte_count = 0;
        std::mem::take(&mut self.units)
    }

    /// True if the event has not been taken before; it is from now on.
    pub(super) fn takes(&mut self, id: &EventId) -> bool {
        if !self.restored.is_empty() && self.restored.contains(id.as_bytes()) {
            return false;
        }
        if self.taken.len() < COUNT_MAX * 16 {
            self.taken.extend_from_slice(id.as_bytes());
        }
        true
    }

    /// The number of the transaction.
    pub(super) fn unit_of(&mut self, transaction: &TransactionId<'_>) -> usize {
        let is_it = |unit: &Unit| unit.number == transaction.number && unit.session == transaction.session.as_bytes();
        self.units.iter().rposition(is_it).unwrap_or_else(|| {
            self.units.push(Unit {
                session: transaction.session.as_bytes().to_vec(),
                number: transaction.number,
                text: None,
                next_operation: 0,
                shapes: Vec::new(),
                items: Vec::new(),
            });
            self.units.len() - 1
        })
    }

    /// The number of the transaction whose events carry this text, if one of its changes has come.
    pub(super) fn unit_with_text(&mut self, text: &str) -> Option<usize> {
        self.units.iter_mut().position(|unit| unit.text() == Some(text))
    }

    /// A change with this index came. Where indexes before it are left out, there are changes that nobody showed us.
    pub(super) fn see_operation(&mut self, unit: usize, index: u32) {
        let Some(unit) = self.units.get_mut(unit) else { return };
        if index > unit.next_operation {
            add_unseen(&mut unit.shapes);
        }
        // A smaller one is a repeat after a restart, or of another shard.
        unit.next_operation = unit.next_operation.max(index.saturating_add(1));
    }

    pub(super) fn add_shape(&mut self, unit: usize, shape: Option<u32>) {
        if let Some(unit) = self.units.get_mut(unit) {
            add_shape(&mut unit.shapes, shape);
        }
    }

    /// Adds an event to a transaction; gives the number of events that there is no room for.
    pub(super) fn add(&mut self, unit: usize, item: Item) -> u64 {
        let Some(unit) = self.units.get_mut(unit) else { return 0 };
        if self.is_too_large {
            return 1;
        }
        self.count += 1;
        self.byte_count += item.byte_count();
        unit.items.push(item);
        if self.count <= COUNT_MAX && self.byte_count <= BYTES_MAX {
            return 0;
        }
        self.is_too_large = true;
        // Half a transaction compares to nothing.
        self.units.iter_mut().map(|unit| std::mem::take(&mut unit.items).len() as u64).sum()
    }

    pub(super) fn kept(&self) -> KeptMoment {
        let mut taken = self.taken.clone();
        taken.extend(self.restored.iter().flatten());
        KeptMoment {
            time: self.time.into(),
            units: self.units.clone(),
            is_too_large: self.is_too_large,
            taken: bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: taken },
        }
    }

    pub(super) fn restored(kept: KeptMoment) -> Self {
        let KeptMoment { time, units, is_too_large, taken } = kept;
        let count = units.iter().map(|unit| unit.items.len()).sum();
        let byte_count = units.iter().flat_map(|unit| &unit.items).map(Item::byte_count).sum();
        let restored = taken.bytes.as_chunks::<16>().0.iter().copied().collect();
        Self { time: time.into(), units, count, byte_count, is_too_large, restored, ..Self::default() }
    }
}

impl Unit {
    fn text(&mut self) -> Option<&str> {
        if self.text.is_none() {
            let session = bson::RawDocument::from_bytes(&self.session).ok()?;
            self.text = Some(crate::rules::text::transaction(&TransactionId { session, number: self.number }));
        }
        self.text.as_deref()
    }
}
