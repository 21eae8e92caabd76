//! Saves the settled position and keeps the lease alive.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::{PipelineError, chain};
use super::lease::Lease;
use super::progress::Progress;
use super::status::Status;
use crate::checkpoint::CheckpointError;
use crate::failure::Disposition;
use crate::metrics::Metrics;

/// The part's name in the status.
pub(super) const PART: &str = "checkpoint";

/// How often the last position is tried to be saved before it is left to the next start.
const LAST_ATTEMPTS: u32 = 5;

/// Writes checkpoints.
pub(super) struct Saver {
    pub(super) progress: Arc<Progress>,
    pub(super) lease: Arc<Lease>,
    /// How long the store keeps us the owner after a sign of life.
    pub(super) lease_time: Duration,
    pub(super) interval: Duration,
    pub(super) metrics: Arc<Metrics>,
    pub(super) status: Arc<Status>,
    /// Given when the lanes have ended: save what is left and end.
    pub(super) finish: CancellationToken,
    /// Given when nothing may be saved any more.
    pub(super) forget: CancellationToken,
}

impl Saver {
    /// Runs until it is told to finish, or the checkpoint is lost to another owner or unusable.
    pub(super) async fn run(self) -> Result<(), PipelineError> {
        let forget = self.forget.clone();
        tokio::select! {
            biased;
            () = forget.cancelled() => Ok(()),
            saved = self.save_until_finished() => saved,
        }
    }

    async fn save_until_finished(&self) -> Result<(), PipelineError> {
        self.status.waiting(PART, "the first position is not saved yet");
        let mut next_save = Instant::now() + self.interval;
        let mut next_renewal = Instant::now() + self.lease_time / 3;
        loop {
            tokio::select! {
                biased;
                () = self.finish.cancelled() => return self.save_last().await,
                () = tokio::time::sleep_until(next_renewal) => {
                    self.renew().await?;
                    next_renewal = Instant::now() + self.lease_time / 3;
                }
                () = self.progress.ledger.first_settled.notified() => self.save_in_turn().await?,
                () = tokio::time::sleep_until(next_save) => {
                    self.save_in_turn().await?;
                    next_save = Instant::now() + self.interval;
                }
            }
        }
    }

    /// Saves unless a lane is just saving with its events: then there is nothing to do for us.
    async fn save_in_turn(&self) -> Result<(), PipelineError> {
        if let Ok(_turn) = self.progress.turn.try_lock() {
            self.save().await?;
        }
        Ok(())
    }

    /// True if nothing is left to save.
    async fn save(&self) -> Result<bool, PipelineError> {
        let Some(settled) = self.progress.unsaved() else { return Ok(true) };
        let begun = Instant::now();
        match self.progress.store.save(&self.progress.checkpoint(&settled)).await {
            Ok(()) => {
                self.metrics.checkpoint_seconds.observe(begun.elapsed().as_secs_f64());
                self.metrics.checkpoint_saves.inc();
                self.progress.saved_at(settled);
                self.lease.renewed(begun + self.lease_time);
                self.status.ready(PART);
                Ok(true)
            }
            Err(error) => self.failed(error, "the checkpoint could not be saved; trying again").map(|()| false),
        }
    }

    async fn renew(&self) -> Result<(), PipelineError> {
        let begun = Instant::now();
        match self.progress.store.renew().await {
            Ok(()) => {
                self.lease.renewed(begun + self.lease_time);
                if self.progress.has_saved() {
                    self.status.ready(PART);
                }
                Ok(())
            }
            Err(error) => self.failed(error, "the lease of the checkpoint could not be renewed; trying again"),
        }
    }

    /// The lanes have ended: saves what has settled, with some patience.
    async fn save_last(&self) -> Result<(), PipelineError> {
        let _turn = self.progress.turn.lock().await;
        for _ in 0..LAST_ATTEMPTS {
            if self.save().await? {
                return Ok(());
            }
            tokio::time::sleep(self.interval.min(Duration::from_secs(1))).await;
        }
        tracing::error!(
            "the last position could not be saved; events that were delivered are sent again after the next start"
        );
        Ok(())
    }

    fn failed(&self, error: CheckpointError, what: &str) -> Result<(), PipelineError> {
        self.metrics.checkpoint_failures.inc();
        match error.disposition() {
            Disposition::Retry => {
                tracing::warn!(error = %chain(&error), "{what}");
                self.status.waiting(PART, chain(&error));
                Ok(())
            }
            Disposition::Reject | Disposition::Stop => Err(PipelineError::Checkpoint(error)),
        }
    }
}
