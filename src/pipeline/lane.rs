//! One sink's task: takes what is queued, delivers it in order and settles it, whatever it takes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::dead_letter_writer::DeadLetterWriter;
use super::error::{PipelineError, chain};
use super::lease::Lease;
use super::progress::Progress;
use super::queue::{Bounds, HangUpOnDrop};
use super::settings::PipelineSettings;
use super::status::Status;
use super::stop::StopSignal;
use crate::event::Event;
use crate::failure::Disposition;
use crate::metrics::Metrics;
use crate::sink::{DeadLetter, Sink, SinkError, Undelivered};

/// How long a sink may take to close after its lane has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// One sink's queue and task.
pub(super) struct Lane {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) sink: Box<dyn Sink>,
    pub(super) queue: HangUpOnDrop<Arc<Event>>,
    pub(super) progress: Arc<Progress>,
    pub(super) lease: Arc<Lease>,
    pub(super) dead_letters: DeadLetterWriter,
    pub(super) settings: PipelineSettings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) status: Arc<Status>,
    pub(super) stop: StopSignal,
    /// The events of a rule that this sink has taken; looked up once per rule.
    pub(super) counters: HashMap<Arc<str>, IntCounter>,
    /// The session of the sink's transactions that the checkpoint store knows.
    pub(super) noted_session: Option<bson::Document>,
}

/// What a lane remembers from one attempt to the next.
struct Attempts {
    backoff: Backoff,
    /// Open the sink again before the next attempt.
    must_open: bool,
    /// Deliver without the checkpoint next time, to find the one event that the transaction fails for.
    alone: bool,
}

impl Lane {
    /// The part's name in the status.
    pub(super) fn part(name: &str) -> String {
        format!("sink {name}")
    }

    /// Runs until the queue has ended, it is asked to give up, or only an operator can help.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let stop = self.stop.clone();
        let worked = tokio::select! {
            biased;
            () = stop.abandoned() => Ok(()),
            worked = self.work() => worked,
        };
        match tokio::time::timeout(CLOSE_TIMEOUT, self.sink.close()).await {
            Ok(Ok(())) => {}
            // Everything delivered is durable already; what closing could not do costs nothing.
            Ok(Err(error)) => tracing::warn!(sink = self.name, error = %chain(&error), "the sink could not be closed"),
            Err(_) => tracing::warn!(sink = self.name, "the sink did not close in time"),
        }
        worked
    }

    async fn work(&mut self) -> Result<(), PipelineError> {
        let mut attempts = Attempts { backoff: Backoff::new(&self.settings.retry), must_open: false, alone: false };
        let queue = self.queue.0.clone();
        tokio::select! {
            biased;
            // A sink that never opened must not hold up the end of a run that has nothing for it.
            () = queue.ended() => return Ok(()),
            opened = self.open(&mut attempts.backoff) => opened?,
        }
        let most = Bounds {
            count: self.settings.delivery_events_max,
            bytes: usize::try_from(self.settings.delivery_bytes_max.0).unwrap_or(usize::MAX),
        };
        let mut pending = VecDeque::with_capacity(self.settings.delivery_events_max.min(1_024));
        while queue.take(&mut pending, most).await {
            self.deliver(&mut pending, &mut attempts).await?;
        }
        Ok(())
    }

    /// Opens the sink, however often it takes.
    async fn open(&mut self, backoff: &mut Backoff) -> Result<(), PipelineError> {
        let part = Self::part(&self.name);
        self.status.waiting(&part, "opening");
        while let Err(error) = self.sink.open().await {
            match error.disposition() {
                Disposition::Retry => {
                    tracing::warn!(sink = self.name, error = %chain(&error), "the sink could not be opened; trying again");
                    self.status.waiting(&part, chain(&error));
                    backoff.pause().await;
                }
                Disposition::Reject | Disposition::Stop => return Err(self.error(error)),
            }
        }
        self.note_session(backoff).await?;
        tracing::info!(sink = self.name, "the sink is open");
        self.status.ready(&part);
        Ok(())
    }

    /// Tells our successor which session it must end if we die in a transaction.
    async fn note_session(&mut self, backoff: &mut Backoff) -> Result<(), PipelineError> {
        let session = if self.joins() { self.sink.session() } else { None };
        if session == self.noted_session {
            return Ok(());
        }
        if let Some(session) = &session {
            let _turn = self.progress.turn.lock().await;
            while let Err(error) = self.progress.store.note_session(session).await {
                match error.disposition() {
                    Disposition::Retry => {
                        tracing::warn!(sink = self.name, error = %chain(&error), "the session could not be noted; trying again");
                        backoff.pause().await;
                    }
                    Disposition::Reject | Disposition::Stop => return Err(PipelineError::Checkpoint(error)),
                }
            }
        }
        self.noted_session = session;
        Ok(())
    }

    /// Returns when every pending event has settled.
    async fn deliver(
        &mut self,
        pending: &mut VecDeque<Arc<Event>>,
        attempts: &mut Attempts,
    ) -> Result<(), PipelineError> {
        while !pending.is_empty() {
            if attempts.must_open {
                self.open(&mut attempts.backoff).await?;
                attempts.must_open = false;
            }
            if !self.lease.is_held() {
                tracing::warn!(
                    sink = self.name,
                    "the lease of the checkpoint has run out; deliveries wait until it is renewed"
                );
                self.lease.held().await;
            }
            let begun = Instant::now();
            let events = pending.make_contiguous();
            let delivered = self.attempt(events, attempts.alone).await;
            self.metrics
                .delivery_seconds
                .with_label_values(&[self.name.as_str()])
                .observe(begun.elapsed().as_secs_f64());
            match delivered {
                Ok(()) => {
                    self.settle(pending, pending.len(), true);
                    attempts.alone = false;
                    attempts.backoff.reset();
                }
                Err(undelivered) => self.failed(pending, undelivered, attempts).await?,
            }
        }
        Ok(())
    }

    /// Hands events to the sink, with the checkpoint in the same transaction where both can.
    async fn attempt(&mut self, events: &[Arc<Event>], alone: bool) -> Result<(), Undelivered> {
        let joins = !alone && self.joins();
        let timeout = self.settings.delivery_timeout.0;
        let name = &self.name;
        let late = || Undelivered {
            delivered: 0,
            error: SinkError::Unavailable {
                sink: name.clone(),
                reason: format!("it did not answer within {}", humantime::format_duration(timeout)),
                source: None,
            },
        };
        if joins {
            let _turn = self.progress.turn.lock().await;
            let settled = self.progress.ledger.settled_if(self.index, events.len() as u64);
            let write = settled
                .as_ref()
                .and_then(|settled| self.progress.store.transactional_write(&self.progress.checkpoint(settled)));
            if let (Some(settled), Some(write)) = (settled, write) {
                let delivery = self.sink.deliver_joined(events, &write);
                tokio::time::timeout(timeout, delivery).await.unwrap_or_else(|_| Err(late()))?;
                self.metrics.checkpoint_saves.inc();
                self.progress.saved_at(settled);
                return Ok(());
            }
        }
        tokio::time::timeout(timeout, self.sink.deliver(events)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn failed(
        &mut self,
        pending: &mut VecDeque<Arc<Event>>,
        undelivered: Undelivered,
        attempts: &mut Attempts,
    ) -> Result<(), PipelineError> {
        let Undelivered { delivered, error } = undelivered;
        if delivered > 0 {
            self.settle(pending, delivered, true);
            attempts.backoff.reset();
        }
        match error.disposition() {
            Disposition::Retry => {
                let is_last =
                    self.settings.retry.attempts_max.is_some_and(|max| attempts.backoff.attempts() + 1 >= max);
                if is_last {
                    attempts.backoff.reset();
                    return self.give_up(pending, &error).await;
                }
                self.metrics.delivery_retries.with_label_values(&[self.name.as_str()]).inc();
                let pause = attempts.backoff.next_pause();
                tracing::warn!(
                    sink = self.name,
                    error = %chain(&error),
                    attempts = attempts.backoff.attempts(),
                    pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                    "a delivery failed; trying again"
                );
                tokio::time::sleep(pause).await;
                // What the failure left behind in the sink is unknown, above all if it never answered: begin anew.
                attempts.must_open = true;
                Ok(())
            }
            // In a transaction nothing was delivered, and the event at fault may be any: find it without one.
            Disposition::Reject if !attempts.alone && self.joins() => {
                attempts.alone = true;
                Ok(())
            }
            Disposition::Reject => self.give_up(pending, &error).await,
            Disposition::Stop => Err(self.error(error)),
        }
    }

    /// Puts the first pending event into the dead letters.
    async fn give_up(&mut self, pending: &mut VecDeque<Arc<Event>>, error: &SinkError) -> Result<(), PipelineError> {
        let Some(event) = pending.front() else { return Ok(()) };
        let letter = DeadLetter {
            sink: Some(self.name.clone()),
            rule: Some(event.rule.clone()),
            reason: error.to_string(),
            at: bson::DateTime::now(),
            event: Some(event.clone()),
            change: None,
        };
        self.dead_letters.put(&letter).await?;
        self.settle(pending, 1, false);
        Ok(())
    }

    /// The first `count` pending events are settled: taken by the sink, or written to the dead letters.
    fn settle(&mut self, pending: &mut VecDeque<Arc<Event>>, count: usize, taken: bool) {
        let count = count.min(pending.len());
        let mut bytes = 0;
        for event in pending.drain(..count) {
            bytes += event.byte_count();
            if !taken {
                continue;
            }
            if let Some(counter) = self.counters.get(&event.rule) {
                counter.inc();
                continue;
            }
            let counter = self.metrics.events.with_label_values(&[&*event.rule, self.name.as_str()]);
            counter.inc();
            self.counters.insert(event.rule.clone(), counter);
        }
        self.progress.ledger.settle(self.index, count as u64);
        self.queue.0.release(count, bytes);
    }

    fn joins(&self) -> bool {
        self.progress.store.deployment().is_some_and(|deployment| self.sink.joins(&deployment))
    }

    fn error(&self, source: SinkError) -> PipelineError {
        PipelineError::Sink { sink: self.name.clone(), source }
    }
}
