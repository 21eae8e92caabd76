//! Cleans up what has been relayed, once its events have settled at every sink.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::error::{PipelineError, chain};
use super::lease::Lease;
use super::progress::Progress;
use super::queue::{Bounds, CloseOnDrop, HangUpOnDrop, Weigh};
use super::settings::RetrySettings;
use super::status::Status;
use super::stop::StopSignal;
use crate::explicit::{Done, Noted};
use crate::failure::Disposition;
use crate::metrics::Metrics;
use crate::outbox::{OutboxError, Outboxes};

/// The part's name in the status.
pub(super) const PART: &str = "clean-up";

/// How long more is waited for before the next clean-up, so that few events at a time do not make a command each.
const PAUSE: Duration = Duration::from_millis(50);

/// What is to be cleaned up as soon as so many events have settled.
#[derive(Debug)]
pub(super) struct Portion {
    /// The number of events, from the first, that every lane must have settled.
    pub(super) after: u64,
    pub(super) done: Vec<Done>,
}

impl Weigh for Portion {
    fn byte_count(&self) -> usize {
        size_of::<Self>() + self.done.iter().map(Done::byte_count).sum::<usize>()
    }
}

/// The way to the cleaner. A portion is sent only after its events were handed to the lanes, so that waiting for room can not
/// hold up what it waits for.
pub(super) struct CleanerEntrance {
    pub(super) queue: CloseOnDrop<Portion>,
    pub(super) progress: Arc<Progress>,
    pub(super) metrics: Arc<Metrics>,
    /// Of the events that have not been handed to the lanes.
    pub(super) done: Vec<Done>,
}

impl CleanerEntrance {
    /// To be told of what was noted of a change before its events are told to the ledger.
    pub(super) fn announce(&self, noted: &Noted) {
        if self.done.is_empty() && !noted.done.is_empty() {
            self.progress.ledger.announce_portion();
        }
    }

    /// To be told when the events are on their way for certain.
    pub(super) fn keep(&mut self, noted: &mut Noted) {
        self.done.append(&mut noted.done);
    }

    /// Sends what was kept; every event made so far must have been handed to the lanes.
    pub(super) async fn send(&mut self) {
        if self.done.is_empty() {
            return;
        }
        let portion = Portion { after: self.progress.ledger.counts().0, done: std::mem::take(&mut self.done) };
        self.metrics.outboxes.waiting.add(count(portion.done.len()));
        self.queue.0.push_all([portion]).await;
    }
}

/// Owns the clean-up.
pub(super) struct Cleaner {
    pub(super) outboxes: Arc<dyn Outboxes>,
    pub(super) queue: HangUpOnDrop<Portion>,
    pub(super) progress: Arc<Progress>,
    pub(super) lease: Arc<Lease>,
    /// How long one clean-up may take.
    pub(super) timeout: Duration,
    pub(super) retry: RetrySettings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) status: Arc<Status>,
    pub(super) stop: StopSignal,
    /// Given when no lane is left that could settle anything.
    pub(super) lanes_ended: CancellationToken,
    /// What was cleaned up, by the number of the relay.
    pub(super) cleaned: Vec<IntCounter>,
}

impl Cleaner {
    /// Runs until the queue has ended, nothing more can settle, it is asked to give up, or only an operator can help.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let stop = self.stop.clone();
        let worked = tokio::select! {
            biased;
            () = stop.abandoned() => Ok(()),
            worked = self.work() => worked,
        };
        // What is left is cleaned up after the next start: the position is not past it.
        self.metrics.outboxes.waiting.set(0);
        worked
    }

    async fn work(&mut self) -> Result<(), PipelineError> {
        const EVERYTHING: Bounds = Bounds { count: usize::MAX, bytes: usize::MAX };
        self.status.ready(PART);
        let queue = self.queue.0.clone();
        let mut settled = self.progress.ledger.settled_events();
        let mut pending: VecDeque<Portion> = VecDeque::new();
        while queue.take(&mut pending, EVERYTHING).await {
            while let Some(first) = pending.front() {
                if !self.has_settled(&mut settled, first.after).await {
                    return Ok(());
                }
                let everywhere = *settled.borrow();
                let end = pending.partition_point(|portion| portion.after <= everywhere);
                let portions: Vec<Portion> = pending.drain(..end).collect();
                if !self.clean_up(&portions).await? {
                    return Ok(());
                }
                queue.release(portions.len(), portions.iter().map(Weigh::byte_count).sum());
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = self.stop.requested() => {}
                }
            }
        }
        Ok(())
    }

    /// Waits until so many events have settled; false if they never will.
    async fn has_settled(&self, settled: &mut watch::Receiver<u64>, events_count: u64) -> bool {
        tokio::select! {
            biased;
            grown = settled.wait_for(|settled| *settled >= events_count) => grown.is_ok(),
            () = self.lanes_ended.cancelled() => *self.progress.ledger.settled_events().borrow() >= events_count,
        }
    }

    /// False if it was given up because a stop is asked for.
    async fn clean_up(&self, portions: &[Portion]) -> Result<bool, PipelineError> {
        let done: Vec<Done> = portions.iter().flat_map(|portion| &portion.done).cloned().collect();
        let mut backoff = Backoff::new(&self.retry);
        loop {
            if !self.lease.is_held() {
                tracing::warn!("the lease of the checkpoint has run out; the clean-up waits until it is renewed");
                self.lease.held().await;
            }
            let cleaned_up = tokio::time::timeout(self.timeout, self.outboxes.clean_up(&done)).await;
            let late = |_| Err(OutboxError::Late { after: self.timeout });
            let Err(error) = cleaned_up.unwrap_or_else(late) else { break };
            self.metrics.outboxes.failures.inc();
            match error.disposition() {
                Disposition::Retry => {}
                Disposition::Reject | Disposition::Stop => return Err(PipelineError::Outbox(Box::new(error))),
            }
            if self.stop.is_requested() {
                tracing::warn!(error = %chain(&error), waiting = done.len(), "the clean-up failed; it is left to the next start");
                return Ok(false);
            }
            tracing::warn!(error = %chain(&error), attempts = backoff.attempts() + 1, "the clean-up failed; trying again");
            self.status.waiting(PART, chain(&error));
            tokio::select! {
                () = backoff.pause() => {}
                () = self.stop.requested() => {}
            }
        }
        self.status.ready(PART);
        self.progress.ledger.cleaned_up(portions.len() as u64);
        self.metrics.outboxes.waiting.sub(count(done.len()));
        for one in &done {
            if let Some(cleaned) = self.cleaned.get(one.relay) {
                cleaned.inc();
            }
        }
        Ok(true)
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
