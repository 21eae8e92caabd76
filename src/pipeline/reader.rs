//! Reads the source ahead of the rules, and opens it again when it fails.

use std::sync::Arc;

use super::backoff::Backoff;
use super::error::{PipelineError, chain};
use super::gap;
use super::queue::{CloseOnDrop, Weigh};
use super::rule_slot::RuleSlot;
use super::settings::RetrySettings;
use super::status::Status;
use super::stop::StopSignal;
use crate::change::Batch;
use crate::event::Event;
use crate::failure::Disposition;
use crate::metrics::Metrics;
use crate::position::Start;
use crate::rules::RuleSet;
use crate::source::{OnLostPosition, Source, SourceError};

/// The part's name in the status.
pub(super) const PART: &str = "source";

/// What the reader hands on, in order.
#[derive(Debug)]
pub(super) enum Read {
    /// A batch and the rules in force when it came.
    Batch {
        batch: Batch,
        rules: Arc<RuleSet>,
        /// When it arrived, in milliseconds since 1970.
        received_at_ms: i64,
    },
    /// History was lost here. What follows was committed after the gap.
    Gap(Arc<Event>),
}

impl Weigh for Read {
    fn byte_count(&self) -> usize {
        match self {
            Self::Batch { batch, .. } => batch.byte_count(),
            Self::Gap(event) => event.byte_count(),
        }
    }
}

/// Owns the source.
pub(super) struct Reader {
    pub(super) source: Box<dyn Source>,
    /// Where to open the source: after the last batch it gave.
    pub(super) start: Start,
    pub(super) on_lost_position: OnLostPosition,
    pub(super) rules: RuleSlot,
    pub(super) out: CloseOnDrop<Read>,
    pub(super) retry: RetrySettings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) status: Arc<Status>,
    pub(super) stop: StopSignal,
    /// The loss of a position that no gap event speaks of yet, and the position.
    pub(super) lost: Option<(SourceError, Start)>,
}

impl Reader {
    /// Runs until it is asked to stop or the source can not go on.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let stop = self.stop.clone();
        let read = tokio::select! {
            biased;
            // The source is dropped with us: nobody minds that it was in the middle of something.
            () = stop.requested() => Ok(()),
            read = self.read() => read,
        };
        self.metrics.source_open.set(0);
        self.status.waiting(PART, "reading has ended");
        read
    }

    async fn read(&mut self) -> Result<(), PipelineError> {
        let mut backoff = Backoff::new(&self.retry);
        let mut must_open = true;
        loop {
            let read = match must_open {
                true => self.open().await,
                false => self.read_batch().await,
            };
            match read {
                Ok(()) => {
                    // Only a batch shows that the source works: an opening that succeeds may lead to the same failure.
                    if !must_open {
                        backoff.reset();
                    }
                    must_open = false;
                }
                Err(error) => {
                    self.metrics.source_open.set(0);
                    self.failed(error, &mut backoff).await?;
                    must_open = true;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(), SourceError> {
        self.source.open(&self.start).await?;
        if let Some((error, start)) = self.lost.take()
            && let Some(event) = gap::event(&error, &start, bson::DateTime::now())
        {
            self.metrics.gaps.inc();
            self.out.0.push_all([Read::Gap(Arc::new(event))]).await;
        }
        tracing::info!("the source is open");
        self.metrics.source_open.set(1);
        self.status.ready(PART);
        Ok(())
    }

    async fn read_batch(&mut self) -> Result<(), SourceError> {
        let mut batch = self.source.next().await?;
        let received_at_ms = bson::DateTime::now().timestamp_millis();
        self.metrics.source_batches.inc();
        self.metrics.source_bytes.inc_by(batch.byte_count() as u64);
        let rules = self.rules.current();
        let may_look_up = !batch.is_empty() && rules.image_needs_of_all().after;
        loop {
            // Looked-up documents may weigh much more than their changes: then a batch goes on in parts.
            let rest = if may_look_up {
                let done = self.source.look_up(&mut batch, &|change| rules.wants_look_up(change)).await?;
                batch.split_off(done)
            } else {
                None
            };
            let end = batch.end.clone();
            self.out.0.push_all([Read::Batch { batch, rules: rules.clone(), received_at_ms }]).await;
            if let Some(end) = end {
                self.start = Start::Resume(end);
            }
            match rest {
                Some(rest) => batch = rest,
                None => return Ok(()),
            }
        }
    }

    async fn failed(&mut self, error: SourceError, backoff: &mut Backoff) -> Result<(), PipelineError> {
        // Whoever starts now has no position to lose.
        let has_position = self.start != Start::Now;
        if has_position && error.is_lost_position() && self.on_lost_position == OnLostPosition::Gap {
            tracing::error!(error = %chain(&error), "history is lost; reading goes on from now, and a gap event will say so");
            self.metrics.source_reconnects.with_label_values(&[error.reason()]).inc();
            let start = std::mem::replace(&mut self.start, Start::Now);
            self.lost = Some((error, start));
            return Ok(());
        }
        match error.disposition() {
            Disposition::Retry => {
                let pause = backoff.next_pause();
                tracing::warn!(
                    error = %chain(&error),
                    attempts = backoff.attempts(),
                    pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                    "reading failed; opening the source again"
                );
                self.status.waiting(PART, chain(&error));
                self.metrics.source_reconnects.with_label_values(&[error.reason()]).inc();
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Disposition::Reject | Disposition::Stop => Err(PipelineError::Source(error)),
        }
    }
}
