//! JSON lines in a file.

mod event_file;
mod line_file;
mod rotation;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

pub use event_file::EventFile;
pub(super) use line_file::{FileFault, LineFile};
pub use rotation::RotationSettings;

use super::encoding::write_event;
use super::envelope::Envelope;
use super::settings::JsonFormat;
use super::{Sink, SinkError, Undelivered};
use crate::event::Event;
use crate::quantity::Period;

/// One event per line in a file, which only this sink may write to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// The file; it is made if it is not there, and appended to if it is. Its folder must exist.
    pub path: PathBuf,
    /// How `data` is written; default: `natural`.
    #[serde(default)]
    pub json: JsonFormat,
    /// When the file is forced onto the disk; default: `batch`.
    #[serde(default)]
    pub fsync: FileSync,
    /// When a new file is begun; default: never.
    #[serde(default)]
    pub rotate: RotationSettings,
}

/// When what was written is forced onto the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileSync {
    /// Once after every batch, before it counts as delivered: nothing is lost even if the power fails.
    #[default]
    Batch,
    /// With a batch, but at most once per this period: if the power fails (not if only changeling does), what was written
    /// since may be lost.
    Every(Period),
    /// When the operating system sees fit.
    Never,
}

/// Writes every event as one line.
#[derive(Debug)]
pub struct FileSink {
    name: String,
    settings: FileSettings,
    envelope: Envelope,
    file: Option<LineFile>,
    synced: Option<Instant>,
    lines: Vec<u8>,
}

impl FileSink {
    /// The sink `name`; the file is not opened yet.
    pub fn new(name: &str, settings: &FileSettings, envelope: &Envelope) -> Self {
        Self {
            name: name.to_owned(),
            settings: settings.clone(),
            envelope: envelope.clone(),
            file: None,
            synced: None,
            lines: Vec::new(),
        }
    }

    /// The file to write to: opened if it is not, put aside before if that is due.
    async fn current_file(&mut self) -> Result<&mut LineFile, FileFault> {
        let now = SystemTime::now();
        if let Some(file) = &mut self.file
            && self.settings.rotate.is_due(file, now)
        {
            file.sync().await?;
            self.settings.rotate.put_aside(&self.settings.path, now).await?;
            self.file = None;
        }
        if self.file.is_none() {
            self.file = Some(LineFile::open(&self.settings.path).await?);
        }
        // Only just filled.
        self.file.as_mut().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound).into())
    }

    fn is_sync_due(&self, now: Instant) -> bool {
        match self.settings.fsync {
            FileSync::Batch => true,
            FileSync::Every(period) => self.synced.is_none_or(|synced| now.duration_since(synced) >= period.0),
            FileSync::Never => false,
        }
    }

    async fn append_lines(&mut self) -> Result<(), FileFault> {
        let now = Instant::now();
        let sync = self.is_sync_due(now);
        let lines = std::mem::take(&mut self.lines);
        let file = self.current_file().await?;
        let written = file.append(&lines, sync).await;
        self.lines = lines;
        written?;
        if sync {
            self.synced = Some(now);
        }
        Ok(())
    }

    fn fault(&self, fault: FileFault) -> SinkError {
        fault.of_sink(&self.name, &self.settings.path)
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn open(&mut self) -> Result<(), SinkError> {
        match self.current_file().await {
            Ok(_) => Ok(()),
            Err(fault) => Err(self.fault(fault)),
        }
    }

    async fn deliver(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered> {
        self.lines.clear();
        let mut rejected = None;
        let mut encoded_count = 0;
        for event in events {
            if let Err(error) = write_event(&mut self.lines, event, &self.envelope, self.settings.json) {
                rejected = Some(error.rejected_by(&self.name));
                break;
            }
            self.lines.push(b'\n');
            encoded_count += 1;
        }
        if encoded_count > 0
            && let Err(fault) = self.append_lines().await
        {
            return Err(Undelivered { delivered: 0, error: self.fault(fault) });
        }
        match rejected {
            Some(error) => Err(Undelivered { delivered: encoded_count, error }),
            None => Ok(()),
        }
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        if self.settings.fsync != FileSync::Never && file.synced_length() < file.length() {
            file.sync().await.map_err(|error| self.fault(error.into()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
