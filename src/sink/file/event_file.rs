//! Events in a new file, as the file sink writes them, for who only wants to look at them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::FileFault;
use crate::event::Event;
use crate::sink::encoding::write_event;
use crate::sink::envelope::Envelope;
use crate::sink::{JsonFormat, SinkError};

/// What messages call it.
const NAME: &str = "events";

/// A file of events that only its owner may read: they hold values of documents. Blocks the thread while it writes.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
    envelope: Envelope,
    lines: Vec<u8>,
}

impl EventFile {
    /// Makes the file.
    ///
    /// # Errors
    /// If there is one of this name, or it can not be made.
    pub fn create(path: &Path, envelope: &Envelope) -> Result<Self, SinkError> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file, envelope: envelope.clone(), lines: Vec::new() }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(SinkError::Unusable {
                sink: NAME.to_owned(),
                reason: format!("there is a file {}", path.display()),
                help: "give another name, or remove it".to_owned(),
                source: None,
            }),
            Err(error) => Err(FileFault::from(error).of_sink(NAME, path)),
        }
    }

    /// Adds an event.
    ///
    /// # Errors
    /// If it can not be written as JSON, or the file can not be written to.
    pub fn write(&mut self, event: &Event) -> Result<(), SinkError> {
        const ENOUGH: usize = 1 << 16;
        write_event(&mut self.lines, event, &self.envelope, JsonFormat::Natural)
            .map_err(|error| error.rejected_by(NAME))?;
        self.lines.push(b'\n');
        if self.lines.len() < ENOUGH {
            return Ok(());
        }
        self.put_lines().map_err(|error| self.fault(error))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If it can not be written to.
    pub fn finish(mut self) -> Result<(), SinkError> {
        self.put_lines().map_err(|error| self.fault(error))
    }

    fn put_lines(&mut self) -> io::Result<()> {
        self.file.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }

    fn fault(&self, error: io::Error) -> SinkError {
        FileFault::from(error).of_sink(NAME, &self.path)
    }
}
