//! Reads the source ahead of the rules, and opens it again when it fails.

use std::sync::Arc;

use bson::RawDocumentBuf;

use super::backoff::Backoff;
use super::catch_up::CatchUp;
use super::error::{PipelineError, chain};
use super::exchange::Reopening;
use super::gap;
use super::queue::{CloseOnDrop, Weigh};
use super::rule_slot::{Proposal, RuleSlot};
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
    /// What outboxes held, each document with the number of its relay, before anything that is read after it.
    Recovered(Vec<(usize, RawDocumentBuf)>),
    /// History was lost here. What follows was committed after the gap.
    Gap(Arc<Event>),
    /// Positions from here on are those of a source with this scope.
    Scope(String),
}

impl Weigh for Read {
    fn byte_count(&self) -> usize {
        match self {
            Self::Batch { batch, .. } => batch.byte_count(),
            Self::Recovered(documents) => documents.iter().map(|(_, document)| document.as_bytes().len()).sum(),
            Self::Gap(event) => event.byte_count(),
            Self::Scope(scope) => scope.len(),
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
    /// What is to be read before the first batch is handed on.
    pub(super) catch_up: CatchUp,
    /// The loss of a position that no gap event speaks of yet, and the position.
    pub(super) lost: Option<(SourceError, Start)>,
    /// The source is not open.
    pub(super) must_open: bool,
    /// A rule set that is to be put in force.
    pub(super) waiting: Option<Proposal>,
    /// A rule set for which the source is being opened again.
    pub(super) reopening: Option<Reopening>,
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
        loop {
            let must_open = self.must_open;
            let read = match (must_open, self.catch_up.due) {
                (true, _) => self.open().await,
                (false, None) => self.read_batch().await,
                (false, Some(_)) if self.must_hold() => self.hold().await,
                (false, Some(occasion)) => {
                    self.catch_up(occasion).await?;
                    Ok(())
                }
            };
            match read {
                Ok(()) => {
                    // Only a batch shows that the source works: an opening that succeeds may lead to the same failure.
                    if !must_open {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    self.metrics.source_open.set(0);
                    self.must_open = true;
                    self.failed(error, &mut backoff).await?;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(), SourceError> {
        self.source.open(&self.start).await?;
        self.must_open = false;
        self.reopened().await;
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
        let (batch, received_at_ms) = match self.catch_up.held.take() {
            Some(held) => held,
            None => self.next_batch().await?,
        };
        if let Some(proposal) = self.rules.take_proposal()
            && let Some(earlier) = self.waiting.replace(proposal)
        {
            earlier.supersede();
        }
        match self.waiting {
            None => self.hand_on(batch, received_at_ms).await,
            Some(_) => self.exchange(batch, received_at_ms).await,
        }
    }

    /// The next batch, and when it came, in milliseconds since 1970.
    pub(super) async fn next_batch(&mut self) -> Result<(Batch, i64), SourceError> {
        let batch = self.source.next().await?;
        self.metrics.source_batches.inc();
        self.metrics.source_bytes.inc_by(batch.byte_count() as u64);
        Ok((batch, bson::DateTime::now().timestamp_millis()))
    }

    /// Hands a batch to the rules in force.
    pub(super) async fn hand_on(&mut self, mut batch: Batch, received_at_ms: i64) -> Result<(), SourceError> {
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
        if self.takes_back(&error) {
            return Ok(());
        }
        // Whoever starts now has no position to lose.
        let has_position = self.start != Start::Now;
        if has_position && error.is_lost_position() && self.on_lost_position == OnLostPosition::Gap {
            tracing::error!(error = %chain(&error), "history is lost; reading goes on from now, and a gap event will say so");
            self.metrics.source_reconnects.with_label_values(&[error.reason()]).inc();
            let start = std::mem::replace(&mut self.start, Start::Now);
            self.lost = Some((error, start));
            self.catch_up.position_lost();
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
