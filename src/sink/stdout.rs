//! JSON lines on standard output.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::encoding::write_event;
use super::envelope::Envelope;
use super::settings::JsonFormat;
use super::{Sink, SinkError, Undelivered};
use crate::event::Event;

/// One event per line on standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StdoutSettings {
    /// How `data` is written; default: `natural`.
    pub json: JsonFormat,
}

/// Writes every event as one line and flushes after each batch.
pub struct StdoutSink {
    name: String,
    json: JsonFormat,
    envelope: Envelope,
    out: Box<dyn AsyncWrite + Send + Unpin>,
    lines: Vec<u8>,
}

impl StdoutSink {
    /// The sink `name` over the standard output of this process.
    ///
    /// # Errors
    /// [`SinkError::Unusable`] if this process has no standard output.
    pub fn new(name: &str, settings: &StdoutSettings, envelope: &Envelope) -> Result<Self, SinkError> {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(|error| unusable(name, error))?;
        let stdout = tokio::fs::File::from_std(std::fs::File::from(stdout));
        Ok(Self::writing_to(Box::new(stdout), name, settings, envelope))
    }

    /// The same over another writer, for a program that embeds changeling.
    pub fn writing_to(
        out: Box<dyn AsyncWrite + Send + Unpin>,
        name: &str,
        settings: &StdoutSettings,
        envelope: &Envelope,
    ) -> Self {
        Self { name: name.to_owned(), json: settings.json, envelope: envelope.clone(), out, lines: Vec::new() }
    }

    async fn write_lines(&mut self) -> Result<(), SinkError> {
        let result = match self.out.write_all(&self.lines).await {
            Ok(()) => self.out.flush().await,
            Err(error) => Err(error),
        };
        result.map_err(|error| unusable(&self.name, error))
    }
}

fn unusable(name: &str, error: io::Error) -> SinkError {
    let (reason, help) = match error.kind() {
        ErrorKind::BrokenPipe => {
            ("the reader of standard output is gone", "start changeling again together with its reader")
        }
        _ => ("standard output can not be written to", "check where the output of changeling is redirected to"),
    };
    SinkError::Unusable {
        sink: name.to_owned(),
        reason: reason.to_owned(),
        help: help.to_owned(),
        source: Some(Box::new(error)),
    }
}

#[async_trait]
impl Sink for StdoutSink {
    async fn open(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered> {
        self.lines.clear();
        let mut rejected = None;
        let mut encoded_count = 0;
        for event in events {
            if let Err(error) = write_event(&mut self.lines, event, &self.envelope, self.json) {
                rejected = Some(error.rejected_by(&self.name));
                break;
            }
            self.lines.push(b'\n');
            encoded_count += 1;
        }
        // How much of a failed write came through is not known; a failure here stops the connector, and all is sent again.
        self.write_lines().await.map_err(|error| Undelivered { delivered: 0, error })?;
        match rejected {
            Some(error) => Err(Undelivered { delivered: encoded_count, error }),
            None => Ok(()),
        }
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.lines.clear();
        self.write_lines().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::envelope::EnvelopeSettings;
    use crate::sink::samples::event;

    #[tokio::test]
    async fn a_reader_that_is_gone_stops_the_sink_with_a_clear_message() {
        let (ours, theirs) = tokio::io::duplex(64);
        drop(theirs);
        let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
        let mut sink = StdoutSink::writing_to(Box::new(ours), "out", &StdoutSettings::default(), &envelope);
        let failure = sink.deliver(&[Arc::new(event(1))]).await.expect_err("no reader");
        assert_eq!(failure.delivered, 0);
        assert_eq!(failure.error.disposition(), crate::failure::Disposition::Stop);
        assert!(failure.error.to_string().contains("the reader of standard output is gone"), "{}", failure.error);
    }
}
