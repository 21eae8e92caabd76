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
    /// How many bytes of `lines` the output has taken.
    written_count: usize,
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
        Self {
            name: name.to_owned(),
            json: settings.json,
            envelope: envelope.clone(),
            out,
            lines: Vec::new(),
            written_count: 0,
        }
    }

    async fn write_lines(&mut self) -> Result<(), SinkError> {
        self.write().await.map_err(|error| unusable(&self.name, error))
    }

    /// Whatever was taken when this is dropped half-way is known, so that it can be gone on with.
    async fn write(&mut self) -> io::Result<()> {
        while self.written_count < self.lines.len() {
            match self.out.write(&self.lines[self.written_count..]).await? {
                0 => return Err(ErrorKind::WriteZero.into()),
                count => self.written_count += count,
            }
        }
        self.out.flush().await
    }

    /// Ends the line that a delivery was in when its time ran out, and forgets the rest, which is delivered again.
    async fn end_cut_line(&mut self) -> Result<(), SinkError> {
        let (written, rest) = self.lines.split_at(self.written_count);
        let is_cut = written.last().is_some_and(|byte| *byte != b'\n');
        let rest_count = rest.iter().position(|byte| *byte == b'\n').filter(|_| is_cut).map_or(0, |place| place + 1);
        self.lines.truncate(self.written_count + rest_count);
        self.write_lines().await?;
        self.lines.clear();
        self.written_count = 0;
        Ok(())
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
        self.end_cut_line().await.map_err(|error| Undelivered { delivered: 0, error })?;
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
        self.end_cut_line().await
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

    #[tokio::test]
    async fn a_line_that_was_cut_by_the_time_is_ended_before_it_is_repeated() {
        use tokio::io::AsyncReadExt;

        let (ours, mut theirs) = tokio::io::duplex(100);
        let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
        let mut sink = StdoutSink::writing_to(Box::new(ours), "out", &StdoutSettings::default(), &envelope);
        let events = [Arc::new(event(1)), Arc::new(event(2))];
        let late = tokio::time::timeout(std::time::Duration::from_millis(10), sink.deliver(&events)).await;
        assert!(late.is_err(), "nobody reads");
        let mut text = String::new();
        let ((), _) = tokio::join!(
            async {
                sink.deliver(&events).await.expect("delivered");
                drop(sink);
            },
            theirs.read_to_string(&mut text)
        );
        let is_event = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        assert!(text.lines().all(is_event), "{text}");
        assert_eq!(text.lines().count(), 3, "the first event twice, the second once: {text}");
    }
}
