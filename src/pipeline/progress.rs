//! What has been saved, and who may save next: shared by the saver and the lanes that save with their events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::RunReport;
use super::ledger::{Ledger, Settled};
use super::parity_log::ParityLog;
use crate::checkpoint::{Checkpoint, Store};
use crate::position::{Position, Sequence};

/// The way from settled to saved.
pub(super) struct Progress {
    pub(super) ledger: Ledger,
    pub(super) store: Arc<dyn Store>,
    pub(super) deployment: String,
    /// What is saved beside every position, if anything is.
    parity: Option<Arc<ParityLog>>,
    /// The scopes of the source, each with the sequence number after which it begins; at least one.
    scopes: Mutex<Vec<(Sequence, String)>>,
    /// Held while a checkpoint is written, so that two writes of ours never meet in the store.
    pub(super) turn: tokio::sync::Mutex<()>,
    saved: Mutex<Saved>,
    changes_count: AtomicU64,
}

#[derive(Debug)]
struct Saved {
    /// The position in the store: ours, or the one we began with.
    position: Option<Position>,
    sequence: Sequence,
    is_ours: bool,
    /// When the checkpoint was last known to be true.
    true_at: Option<Instant>,
}

impl Progress {
    pub(super) fn new(
        ledger: Ledger,
        store: Arc<dyn Store>,
        deployment: String,
        scope: String,
        position: Option<Position>,
        parity: Option<Arc<ParityLog>>,
    ) -> Self {
        let saved = Saved { position, sequence: Sequence::default(), is_ours: false, true_at: None };
        Self {
            ledger,
            store,
            deployment,
            parity,
            scopes: Mutex::new(vec![(Sequence::default(), scope)]),
            turn: tokio::sync::Mutex::new(()),
            saved: Mutex::new(saved),
            changes_count: AtomicU64::new(0),
        }
    }

    /// So many more changes were read.
    pub(super) fn add_changes(&self, count: u64) {
        self.changes_count.fetch_add(count, Ordering::Relaxed);
    }

    /// What the run has done so far.
    pub(super) fn report(&self) -> RunReport {
        let (events_count, unsettled_events_count) = self.ledger.counts();
        let changes_count = self.changes_count.load(Ordering::Relaxed);
        RunReport { changes_count, events_count, unsettled_events_count, position: self.position() }
    }

    /// Positions after `from` are those of another scope.
    pub(super) fn begin_scope(&self, from: Sequence, scope: String) {
        let saved = self.saved().sequence;
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.push((from, scope));
        // Nothing is saved any more at a position before the one that was saved last.
        while scopes.get(1).is_some_and(|(next, _)| *next < saved) {
            scopes.remove(0);
        }
    }

    /// A checkpoint at a position.
    pub(super) fn checkpoint(&self, settled: &Settled) -> Checkpoint {
        let scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let scope = scopes.iter().rev().find(|(from, _)| *from < settled.sequence).or(scopes.first());
        Checkpoint {
            deployment: self.deployment.clone(),
            scope: scope.map(|(_, scope)| scope.clone()).unwrap_or_default(),
            position: settled.position.clone(),
            parity: self.parity.as_ref().map(|parity| parity.save()),
        }
    }

    /// What has settled and is not saved, if anything. A position that is saved already is no reason to write, and makes
    /// the checkpoint true, unless a sink, or the clean-up, still owes something. Only asked by who has the turn.
    pub(super) fn unsaved(&self) -> Option<Settled> {
        let settled = self.ledger.settled()?;
        let mut saved = self.saved();
        if saved.is_ours && (settled.sequence <= saved.sequence || Some(&settled.position) == saved.position.as_ref()) {
            // The settled position may be older only where a lane has saved and not yet told the ledger.
            if self.ledger.is_settled() {
                saved.true_at = Some(Instant::now());
            }
            return None;
        }
        Some(settled)
    }

    /// A position has been saved.
    pub(super) fn saved_at(&self, settled: Settled) {
        let mut saved = self.saved();
        *saved = Saved {
            position: Some(settled.position),
            sequence: settled.sequence,
            is_ours: true,
            true_at: Some(Instant::now()),
        };
    }

    /// The position in the store.
    pub(super) fn position(&self) -> Option<Position> {
        self.saved().position.clone()
    }

    /// True once this run has saved a checkpoint.
    pub(super) fn has_saved(&self) -> bool {
        self.saved().is_ours
    }

    /// When the checkpoint was last known to be true.
    pub(super) fn true_at(&self) -> Option<Instant> {
        self.saved().true_at
    }

    fn saved(&self) -> MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::MemoryStore;
    use crate::position::ClusterTime;

    #[test]
    fn a_position_is_saved_with_the_scope_that_it_is_of() {
        let store = Arc::new(MemoryStore::default());
        let progress = Progress::new(Ledger::new(1), store, "a".to_owned(), "first".to_owned(), None, None);
        let settled = |sequence| Settled {
            sequence: Sequence(sequence),
            position: Position::at_time(ClusterTime { seconds: 1, increment: 1 }),
        };
        let scope_at = |sequence| progress.checkpoint(&settled(sequence)).scope;
        progress.begin_scope(Sequence(10), "second".to_owned());
        progress.begin_scope(Sequence(20), "third".to_owned());
        assert_eq!([1, 10, 11, 20, 21].map(scope_at), ["first", "first", "second", "second", "third"]);
        // What is saved already needs no scope any more, what is still on its way does.
        progress.saved_at(settled(15));
        progress.begin_scope(Sequence(30), "fourth".to_owned());
        assert_eq!([16, 20, 21, 31].map(scope_at), ["second", "second", "third", "fourth"]);
    }
}
