//! A checkpoint that is gone with the process: for tests, and for runs that begin anew every time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Checkpoint, CheckpointError, Store};

/// Keeps one checkpoint in memory. Whoever acquires it is the owner at once; the owner before is fenced off.
#[derive(Debug, Default)]
pub struct MemoryStore {
    place: Arc<Mutex<Place>>,
    epoch: AtomicU64,
}

#[derive(Debug, Default)]
struct Place {
    epoch: u64,
    checkpoint: Option<Checkpoint>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same place, seen by another owner.
    pub fn successor(&self) -> Self {
        Self { place: self.place.clone(), epoch: AtomicU64::new(0) }
    }

    /// What is saved.
    pub fn saved(&self) -> Option<Checkpoint> {
        self.place().checkpoint.clone()
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place, if it is still ours.
    fn owned(&self) -> Result<MutexGuard<'_, Place>, CheckpointError> {
        let place = self.place();
        match place.epoch == self.epoch.load(Ordering::Relaxed) {
            true => Ok(place),
            false => Err(CheckpointError::Fenced {
                name: "in memory".to_owned(),
                owner: "another part of this process".to_owned(),
            }),
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn acquire(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let mut place = self.place();
        place.epoch += 1;
        self.epoch.store(place.epoch, Ordering::Relaxed);
        Ok(place.checkpoint.clone())
    }

    async fn renew(&self) -> Result<(), CheckpointError> {
        self.owned().map(|_| ())
    }

    async fn save(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        self.owned()?.checkpoint = Some(checkpoint.clone());
        Ok(())
    }

    async fn release(&self) -> Result<(), CheckpointError> {
        Ok(())
    }
}
