//! Gives up events and changes without losing them: a dead letter is tried again until it is durable.

use std::sync::Arc;

use super::backoff::Backoff;
use super::error::{PipelineError, chain};
use super::settings::RetrySettings;
use crate::failure::Disposition;
use crate::metrics::Metrics;
use crate::sink::{DeadLetter, DeadLetters};

/// Writes dead letters, however long it takes.
#[derive(Clone)]
pub(super) struct DeadLetterWriter {
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) retry: RetrySettings,
    pub(super) metrics: Arc<Metrics>,
}

impl DeadLetterWriter {
    /// Returns when the letter is durable.
    ///
    /// # Errors
    /// [`PipelineError::DeadLetters`] if it can not be: then nothing may be given up, and the pipeline must stop.
    pub(super) async fn put(&self, letter: &DeadLetter) -> Result<(), PipelineError> {
        let sink = letter.sink.as_deref().unwrap_or_default();
        let rule = letter.rule.as_deref().unwrap_or_default();
        let mut backoff = Backoff::new(&self.retry);
        while let Err(error) = self.dead_letters.put(letter).await {
            match error.disposition() {
                Disposition::Retry => {
                    tracing::warn!(error = %chain(&error), sink, rule, "a dead letter could not be written; trying again");
                    backoff.pause().await;
                }
                Disposition::Reject | Disposition::Stop => return Err(PipelineError::DeadLetters(error)),
            }
        }
        tracing::warn!(sink, rule, reason = letter.reason, "put into the dead letters");
        self.metrics.dead_letters.with_label_values(&[sink, rule]).inc();
        Ok(())
    }
}
