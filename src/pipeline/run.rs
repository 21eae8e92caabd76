//! Starts the tasks of a pipeline, watches them and stops them in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::begin::{Beginning, begin};
use super::catch_up::CatchUp;
use super::cleaner::{self, Cleaner, CleanerEntrance};
use super::crew::Crew;
use super::dead_letter_writer::DeadLetterWriter;
use super::error::{PipelineError, chain};
use super::lane::Lane;
use super::lease::Lease;
use super::ledger::Ledger;
use super::observation::observe;
use super::parity_log::ParityLog;
use super::progress::Progress;
use super::queue::{Bounds, CloseOnDrop, HangUpOnDrop, Queue};
use super::reader::{self, Read, Reader};
use super::relay_log::RelayLog;
use super::saver::{self, Saver};
use super::settings::PipelineSettings;
use super::status::Status;
use super::stop::StopSignal;
use super::tally::Tally;
use super::translator::{Chunk, Entrance, Translator};
use super::{LaneParts, Pipeline, RunReport};
use crate::checkpoint::{CheckpointError, Store};
use crate::explicit::{Noted, Relays};
use crate::metrics::Metrics;
use crate::outbox::Outboxes;
use crate::position::Sequence;
use crate::rules::{Outcome, Translation};
use crate::sink::SinkError;
use crate::source::Observer;

/// Batches read ahead of the rules, the one they are at included.
const READ_AHEAD_BATCHES: usize = 3;
/// How long the last save may take, and how long if nobody wants to wait any more.
const LAST_SAVE_TIMEOUT: Duration = Duration::from_secs(20);
const HASTY_TIMEOUT: Duration = Duration::from_secs(5);

impl Pipeline {
    /// Runs until `stop` is given or a part fails in a way that only an operator can mend.
    ///
    /// A stop first ends the reading, then lets every lane empty its queue within `drain_timeout`, then saves the position,
    /// closes the sinks and gives up the ownership of the checkpoint.
    ///
    /// # Errors
    /// What failed, after the lanes that still work have drained.
    pub async fn run(mut self, stop: StopSignal) -> Result<RunReport, PipelineError> {
        let store = self.store.clone();
        let status = self.status.clone();
        let begun = tokio::select! {
            biased;
            () = stop.requested() => None,
            begun = begin(&mut self) => Some(begun),
        };
        let beginning = match begun {
            Some(Ok(beginning)) => beginning,
            Some(Err(error)) => {
                status.failed("start", chain(&error));
                release(&*store).await;
                return Err(error);
            }
            None => {
                release(&*store).await;
                return Ok(RunReport::default());
            }
        };
        // A part that fails stops this run, and nothing else that may hang on the caller's signal.
        Run::start(self, beginning, stop.child()).supervise().await
    }
}

/// A pipeline whose tasks run.
struct Run {
    /// Reader, translator and lanes: they end when everything is drained.
    workers: Crew,
    /// Saver and observation: they end when the workers have.
    keepers: Crew,
    progress: Arc<Progress>,
    lease: Arc<Lease>,
    dead_letters: DeadLetterWriter,
    settings: PipelineSettings,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    stop: StopSignal,
    finish: CancellationToken,
    forget: CancellationToken,
    errors: Vec<PipelineError>,
}

impl Run {
    fn start(pipeline: Pipeline, beginning: Beginning, stop: StopSignal) -> Self {
        let Beginning { start, deployment, scope, position, parity, occasion, lease } = beginning;
        let ledger = Ledger::new(pipeline.lanes.len());
        let compared = pipeline.status.parity().cloned();
        if let Some(compared) = &compared {
            compared.restore(parity.as_deref());
        }
        let progress = Progress::new(ledger, pipeline.store.clone(), deployment, scope, position, compared.clone());
        let mut run = Self {
            workers: Crew::default(),
            keepers: Crew::default(),
            progress: Arc::new(progress),
            lease: Arc::new(lease),
            dead_letters: DeadLetterWriter {
                dead_letters: pipeline.dead_letters,
                retry: pipeline.settings.retry.clone(),
                metrics: pipeline.metrics.clone(),
            },
            settings: pipeline.settings,
            metrics: pipeline.metrics,
            status: pipeline.status,
            stop,
            finish: CancellationToken::new(),
            forget: CancellationToken::new(),
            errors: Vec::new(),
        };
        let rules = pipeline.rules.current();
        run.metrics.rule_set.set(rules.short_hash(), rules.len());
        let lanes_ended = CancellationToken::new();
        let until_end = Arc::new(lanes_ended.clone().drop_guard());
        let lanes = pipeline.lanes.into_iter().enumerate();
        let queues = lanes.map(|(index, parts)| run.start_lane(index, parts, until_end.clone())).collect();
        drop(until_end);
        let relays: Vec<String> = pipeline.relays.collections().map(ToString::to_string).collect();
        let cleaner = pipeline.outboxes.clone().map(|outboxes| run.start_cleaner(outboxes, &relays, lanes_ended));
        let batches = run.start_translator(queues, pipeline.relays, cleaner, compared);
        run.start_keepers(pipeline.source.observer(), pipeline.lease, pipeline.checkpoint_interval);
        let caught_up = &run.metrics.outboxes.caught_up;
        let caught_up = relays.iter().map(|relay| caught_up.with_label_values(&[relay.as_str()])).collect();
        let reader = Reader {
            source: pipeline.source,
            start,
            on_lost_position: pipeline.on_lost_position,
            rules: pipeline.rules,
            out: batches,
            retry: run.settings.retry.clone(),
            metrics: run.metrics.clone(),
            status: run.status.clone(),
            stop: run.stop.clone(),
            catch_up: CatchUp::new(pipeline.outboxes, occasion, caught_up),
            lost: None,
            must_open: true,
            waiting: None,
            reopening: None,
        };
        run.workers.spawn(reader::PART, reader.run());
        run
    }

    fn start_lane(&mut self, index: usize, parts: LaneParts, until_end: Arc<DropGuard>) -> Entrance {
        let LaneParts { name, sink } = parts;
        let label = [name.as_str()];
        let lane_events = self.metrics.lane_events.with_label_values(&label);
        let lane_bytes = self.metrics.lane_bytes.with_label_values(&label);
        let bounds = Bounds { count: self.settings.queue_events_max, bytes: bytes(self.settings.queue_bytes_max.0) };
        let queue = Arc::new(Queue::new(bounds, Some((lane_events, lane_bytes))));
        let part = Lane::part(&name);
        let entrance = Entrance { name: name.clone(), queue: CloseOnDrop(queue.clone()) };
        self.status.waiting(&part, "opening");
        let lane = Lane {
            index,
            name,
            sink,
            queue: HangUpOnDrop(queue.clone()),
            progress: self.progress.clone(),
            lease: self.lease.clone(),
            dead_letters: self.dead_letters.clone(),
            settings: self.settings.clone(),
            metrics: self.metrics.clone(),
            status: self.status.clone(),
            stop: self.stop.clone(),
            counters: HashMap::new(),
            noted_session: None,
        };
        self.workers.spawn(part, async move {
            let _until_end = until_end;
            lane.run().await
        });
        entrance
    }

    fn start_cleaner(
        &mut self,
        outboxes: Arc<dyn Outboxes>,
        relays: &[String],
        lanes_ended: CancellationToken,
    ) -> CleanerEntrance {
        // As much as the lanes hold: it never is what holds the events up, as long as it is as fast as they are.
        let bounds = Bounds { count: self.settings.queue_events_max, bytes: bytes(self.settings.queue_bytes_max.0) };
        let queue = Arc::new(Queue::new(bounds, None));
        let cleaned = &self.metrics.outboxes.cleaned;
        let cleaner = Cleaner {
            outboxes,
            queue: HangUpOnDrop(queue.clone()),
            progress: self.progress.clone(),
            lease: self.lease.clone(),
            timeout: self.settings.delivery_timeout.0,
            retry: self.settings.retry.clone(),
            metrics: self.metrics.clone(),
            status: self.status.clone(),
            stop: self.stop.clone(),
            lanes_ended,
            cleaned: relays.iter().map(|relay| cleaned.with_label_values(&[relay.as_str()])).collect(),
        };
        self.workers.spawn(cleaner::PART, cleaner.run());
        CleanerEntrance {
            queue: CloseOnDrop(queue),
            progress: self.progress.clone(),
            metrics: self.metrics.clone(),
            done: Vec::new(),
        }
    }

    fn start_translator(
        &mut self,
        lanes: Vec<Entrance>,
        relays: Relays,
        cleaner: Option<CleanerEntrance>,
        parity: Option<Arc<ParityLog>>,
    ) -> CloseOnDrop<Read> {
        let bounds = Bounds { count: READ_AHEAD_BATCHES, bytes: bytes(self.settings.read_ahead_bytes_max.0) };
        let batches = Arc::new(Queue::new(bounds, None));
        let translator = Translator {
            input: HangUpOnDrop(batches.clone()),
            lanes,
            cleaner,
            progress: self.progress.clone(),
            dead_letters: self.dead_letters.clone(),
            metrics: self.metrics.clone(),
            tally: Tally::new(self.metrics.clone()),
            status: self.status.clone(),
            stop: self.stop.clone(),
            parity,
            sequence: Sequence::default(),
            end: None,
            translation: Translation::new(bytes(self.settings.transaction_bytes_max.0)),
            relay_log: RelayLog::new(&relays, self.metrics.clone()),
            relays,
            outcome: Outcome::default(),
            noted: Noted::default(),
            chunk: Chunk::default(),
        };
        self.workers.spawn("rules", translator.run());
        CloseOnDrop(batches)
    }

    fn start_keepers(&mut self, observer: Option<Arc<dyn Observer>>, lease_time: Duration, interval: Duration) {
        let saver = Saver {
            progress: self.progress.clone(),
            lease: self.lease.clone(),
            lease_time,
            interval,
            metrics: self.metrics.clone(),
            status: self.status.clone(),
            finish: self.finish.clone(),
            forget: self.forget.clone(),
        };
        self.keepers.spawn(saver::PART, saver.run());
        let observation = observe(self.progress.clone(), observer, self.metrics.clone());
        let finished = self.finish.clone();
        self.keepers.spawn("observation", async move {
            tokio::select! {
                () = observation => {}
                () = finished.cancelled() => {}
            }
            Ok(())
        });
    }

    async fn supervise(mut self) -> Result<RunReport, PipelineError> {
        let stop = self.stop.clone();
        let drain_timeout = self.settings.drain_timeout.0;
        let drain_is_over = async {
            stop.requested().await;
            tracing::info!("stopping: reading has ended, the sinks empty their queues");
            tokio::time::sleep(drain_timeout).await;
        };
        tokio::pin!(drain_is_over);
        loop {
            tokio::select! {
                ended = self.workers.next() => match ended {
                    Some((name, Err(error))) => self.failed(&name, error),
                    Some((_, Ok(()))) => {}
                    None => break,
                },
                Some((name, Err(error))) = self.keepers.next() => self.failed(&name, error),
                () = &mut drain_is_over, if !stop.is_abandoned() => {
                    tracing::warn!("the time to drain is over");
                    stop.abandon();
                }
            }
        }
        self.finish().await
    }

    /// Stops the others: at once if another process owns the checkpoint, else when they have drained.
    fn failed(&mut self, name: &str, error: PipelineError) {
        // Why is told at the end, by whoever ran us.
        tracing::error!(task = name, error = %error, "a task failed; stopping");
        self.status.failed(name, chain(&error));
        if is_fenced(&error) {
            self.forget.cancel();
            self.stop.abandon();
        }
        self.stop.drain();
        self.errors.push(error);
    }

    async fn finish(mut self) -> Result<RunReport, PipelineError> {
        self.finish.cancel();
        let timeout = if self.stop.is_abandoned() { HASTY_TIMEOUT } else { LAST_SAVE_TIMEOUT };
        let last_save = async {
            while let Some((name, ended)) = self.keepers.next().await {
                if let Err(error) = ended {
                    self.failed(&name, error);
                }
            }
        };
        if tokio::time::timeout(timeout, last_save).await.is_err() {
            tracing::error!(
                "the last position could not be saved in time; events that were delivered are sent again after the next start"
            );
        }
        if !self.errors.iter().any(is_fenced) {
            release(&*self.progress.store).await;
        }
        let report = self.progress.report();
        if report.unsettled_events_count > 0 {
            tracing::warn!(
                events = report.unsettled_events_count,
                "events were not settled; they are sent again after the next start"
            );
        }
        match PipelineError::gather(self.errors) {
            Some(error) => Err(error),
            None => Ok(report),
        }
    }
}

/// Lets the next process start at once. If that fails, it only has to wait for the lease to end.
async fn release(store: &dyn Store) {
    match tokio::time::timeout(HASTY_TIMEOUT, store.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %chain(&error), "the checkpoint could not be released"),
        Err(_) => tracing::warn!("the checkpoint could not be released in time"),
    }
}

fn is_fenced(error: &PipelineError) -> bool {
    matches!(
        error,
        PipelineError::Checkpoint(CheckpointError::Fenced { .. })
            | PipelineError::Sink { source: SinkError::Fenced, .. }
    )
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
