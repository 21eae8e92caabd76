//! What outboxes still hold is published before the first change is: read by the reader, made events of by the translator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;
use prometheus::IntCounter;

use super::backoff::Backoff;
use super::error::{PipelineError, chain};
use super::reader::{self, Read, Reader};
use super::translator::{Made, Translator};
use crate::change::Batch;
use crate::failure::Disposition;
use crate::outbox::{Occasion, OutboxError, Outboxes};
use crate::position::Start;
use crate::source::SourceError;

/// How often the log tells how far it has come.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What the reader has to catch up on.
pub(super) struct CatchUp {
    pub(super) outboxes: Option<Arc<dyn Outboxes>>,
    /// Why the outboxes are to be read before anything else is; absent if they need not be.
    pub(super) due: Option<Occasion>,
    /// The first batch of a source that begins with the next change: it tells where that is, for a source that must be opened
    /// again before it can be handed on.
    pub(super) held: Option<(Batch, i64)>,
    /// Documents read, by the number of the relay.
    pub(super) documents: Vec<IntCounter>,
}

impl CatchUp {
    pub(super) fn new(outboxes: Option<Arc<dyn Outboxes>>, occasion: Occasion, documents: Vec<IntCounter>) -> Self {
        let due = outboxes.is_some().then_some(occasion);
        Self { outboxes, due, held: None, documents }
    }

    /// Changes were lost: what the outboxes hold may not have come with any.
    pub(super) fn position_lost(&mut self) {
        self.due = self.outboxes.is_some().then_some(Occasion::LostPosition);
    }
}

impl Reader {
    /// True if the first batch must be read before the outboxes are: nobody knows yet where to go on if the source fails.
    pub(super) fn must_hold(&self) -> bool {
        self.start == Start::Now && self.catch_up.held.is_none()
    }

    /// Reads the first batch and keeps it for later.
    pub(super) async fn hold(&mut self) -> Result<(), SourceError> {
        self.catch_up.held = Some(self.next_batch().await?);
        Ok(())
    }

    /// Hands on what the outboxes hold. The source is open meanwhile, so that nothing is missed between the two; what comes with
    /// both has the same id.
    pub(super) async fn catch_up(&mut self, occasion: Occasion) -> Result<(), PipelineError> {
        let Some(outboxes) = self.catch_up.outboxes.clone() else { return Ok(()) };
        let mut backoff = Backoff::new(&self.retry);
        self.status.waiting(reader::PART, "reading what the outboxes hold");
        while let Err(error) = self.read_outboxes(&*outboxes, occasion).await {
            match error.disposition() {
                Disposition::Retry => {
                    tracing::warn!(error = %chain(&error), "the outboxes could not be read; trying again from their beginning");
                    self.status.waiting(reader::PART, chain(&error));
                    backoff.pause().await;
                }
                Disposition::Reject | Disposition::Stop => return Err(PipelineError::Outbox(Box::new(error))),
            }
        }
        self.catch_up.due = None;
        self.status.ready(reader::PART);
        Ok(())
    }

    async fn read_outboxes(&mut self, outboxes: &dyn Outboxes, occasion: Occasion) -> Result<(), OutboxError> {
        let mut scan = outboxes.scan(occasion).await?;
        let (mut count, mut told) = (0_u64, Instant::now());
        loop {
            let documents = scan.next().await?;
            if documents.is_empty() {
                break;
            }
            count += documents.len() as u64;
            for (relay, _) in &documents {
                if let Some(counter) = self.catch_up.documents.get(*relay) {
                    counter.inc();
                }
            }
            self.out.0.push_all([Read::Recovered(documents)]).await;
            if told.elapsed() >= TOLD_EVERY {
                tracing::info!(documents = count, "still reading what the outboxes hold");
                told = Instant::now();
            }
        }
        match count {
            0 => tracing::debug!("the outboxes hold nothing that may not have been relayed"),
            _ => tracing::info!(documents = count, "what the outboxes held is on its way to the sinks"),
        }
        Ok(())
    }
}

impl Translator {
    /// Makes events of what outboxes held. They have no position: the first that is saved is that of a change after them.
    pub(super) async fn recover(&mut self, documents: &[(usize, RawDocumentBuf)]) -> Result<(), PipelineError> {
        let read_at = bson::DateTime::now();
        for (relay, document) in documents {
            self.sequence.0 += 1;
            self.relays.recover(*relay, document, read_at, &mut self.outcome, &mut self.noted);
            self.announce_done();
            self.collect(Made::of_document(document)).await?;
            self.keep_done();
            if self.is_chunk_full() {
                self.hand_over().await;
                if self.stop.is_requested() {
                    return Ok(());
                }
            }
        }
        self.hand_over().await;
        Ok(())
    }
}
