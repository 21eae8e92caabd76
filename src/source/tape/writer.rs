//! Writes a tape.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::TapeError;
use super::format::{COMPRESSION_LEVEL, FORMAT_VERSION, FrameHead, FrameKind, MAGIC};
use super::header::TapeHeader;
use super::payload::Payload;
use crate::change::Batch;

/// A frame is ended when it holds about this much, in bytes: enough to be packed well, little enough to be held twice.
const FRAME_BYTES_AIM: usize = 1 << 20;

/// Writes changes into frames. What is in a frame that is not ended yet is lost if the process dies.
pub struct TapeWriter<W> {
    output: W,
    name: String,
    compressor: zstd::bulk::Compressor<'static>,
    payload: Payload,
    changes_count: u64,
    byte_count: u64,
}

impl<W> std::fmt::Debug for TapeWriter<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TapeWriter").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TapeWriter<File> {
    /// A tape in a new file that only its owner may read: it holds documents.
    ///
    /// # Errors
    /// If there is a file of this name, or it can not be made.
    pub fn create(path: &Path, header: &TapeHeader) -> Result<Self, TapeError> {
        let name = path.display().to_string();
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => Self::new(file, name, header),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(TapeError::Exists { name }),
            Err(source) => Err(TapeError::Unwritable { name, source }),
        }
    }
}

impl<W: Write> TapeWriter<W> {
    /// A tape in `output`; `name` is for messages.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn new(output: W, name: impl Into<String>, header: &TapeHeader) -> Result<Self, TapeError> {
        let name = name.into();
        let compressor = match zstd::bulk::Compressor::new(COMPRESSION_LEVEL) {
            Ok(compressor) => compressor,
            Err(source) => return Err(TapeError::Unwritable { name, source }),
        };
        let mut writer =
            Self { output, name, compressor, payload: Payload::default(), changes_count: 0, byte_count: 0 };
        writer.put(&MAGIC)?;
        writer.put(&FORMAT_VERSION.to_le_bytes())?;
        writer.put_frame(FrameKind::Header, &header.encode())?;
        Ok(writer)
    }

    /// Adds those entries of a batch whose index `keeps` says yes to, with what was looked up for them, and the position after
    /// the batch.
    ///
    /// # Errors
    /// If they can not be written.
    pub fn write(&mut self, batch: &Batch, mut keeps: impl FnMut(usize) -> bool) -> Result<(), TapeError> {
        for index in (0..batch.len()).filter(|index| keeps(*index)) {
            let Some(document) = batch.document(index) else { continue };
            self.payload.push(document, batch.look_up(index));
            self.changes_count += 1;
            if self.payload.byte_count() >= FRAME_BYTES_AIM {
                self.end_frame()?;
            }
        }
        self.payload.end_at(batch.end.clone(), batch.leaves_nothing);
        Ok(())
    }

    /// Entries written so far, notices included.
    pub fn changes_count(&self) -> u64 {
        self.changes_count
    }

    /// Bytes of the file so far.
    pub fn byte_count(&self) -> u64 {
        self.byte_count
    }

    /// Ends the frame at hand, so that the changes in it are not lost if the process dies. A mere position is kept for later.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn flush(&mut self) -> Result<(), TapeError> {
        if self.payload.has_changes() {
            self.end_frame()?;
        }
        self.output.flush().map_err(|source| self.unwritable(source))
    }

    /// Ends the tape, and gives back what it was written into.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn finish(mut self) -> Result<W, TapeError> {
        self.end_frame()?;
        self.put_frame(FrameKind::End, &self.changes_count.to_le_bytes())?;
        self.output.flush().map_err(|source| self.unwritable(source))?;
        Ok(self.output)
    }

    fn end_frame(&mut self) -> Result<(), TapeError> {
        if self.payload.is_empty() {
            return Ok(());
        }
        let payload = std::mem::take(&mut self.payload).encode();
        self.put_frame(FrameKind::Changes, &payload)
    }

    fn put_frame(&mut self, kind: FrameKind, plain: &[u8]) -> Result<(), TapeError> {
        let packed = self.compressor.compress(plain).map_err(|source| self.unwritable(source))?;
        let head = FrameHead::of(kind, &packed, plain.len()).ok_or(TapeError::Oversize { byte_count: plain.len() })?;
        self.put(&head.encode())?;
        self.put(&packed)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), TapeError> {
        self.output.write_all(bytes).map_err(|source| self.unwritable(source))?;
        self.byte_count += bytes.len() as u64;
        Ok(())
    }

    fn unwritable(&self, source: io::Error) -> TapeError {
        TapeError::Unwritable { name: self.name.clone(), source }
    }
}
