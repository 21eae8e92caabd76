//! A file that only ever holds whole lines, whatever fails while they are written.

use std::fs::TryLockError;
use std::io::{self, ErrorKind, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::super::SinkError;

/// A locked, append-only file and how much of it is good.
#[derive(Debug)]
pub(in crate::sink) struct LineFile {
    path: PathBuf,
    file: File,
    /// A pipe or device can neither be cut nor forced onto a disk.
    is_regular: bool,
    /// The length up to the last whole line that was written without a failure, in bytes.
    length: u64,
    /// How much of it is known to be on the disk, in bytes.
    synced_length: u64,
    /// There may be more in the file than `length`: a write failed or was given up half-way.
    is_suspect: bool,
    /// When the first line was written.
    begun: SystemTime,
}

/// Why a file can not be opened or written to.
#[derive(Debug)]
pub(in crate::sink) enum FileFault {
    /// Another process, or another sink of this one, has locked the file.
    Locked,
    /// The operating system refuses.
    Refused(io::Error),
}

impl From<io::Error> for FileFault {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

impl LineFile {
    /// Opens or creates the file and takes care that it ends with a whole line: a half line, which a crash left behind before
    /// it was settled, is cut off.
    pub(in crate::sink) async fn open(path: &Path) -> Result<Self, FileFault> {
        // Asked first, because opening a pipe for reading and writing would take the place of its reader.
        let is_regular = match tokio::fs::metadata(path).await {
            Ok(metadata) => metadata.is_file(),
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(error.into()),
        };
        let mut file = OpenOptions::new().read(is_regular).append(true).create(true).open(path).await?;
        let metadata = file.metadata().await?;
        let mut length = 0;
        if is_regular {
            let held = file.into_std().await;
            match held.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(FileFault::Locked),
                // Some network file systems know no locks; then the operator's care must do.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            file = File::from_std(held);
            length = end_with_a_whole_line(&mut file, path, metadata.len()).await?;
            sync_folder_of(path).await?;
        }
        let begun = metadata.created().unwrap_or_else(|_| SystemTime::now());
        Ok(Self { path: path.to_owned(), file, is_regular, length, synced_length: length, is_suspect: false, begun })
    }

    /// Appends whole lines. After a failure, or if the future is dropped half-way, the file is as before, at the latest when
    /// something is written again.
    pub(in crate::sink) async fn append(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        if self.is_suspect {
            self.cut_back().await?;
        }
        if self.length == 0 {
            self.begun = SystemTime::now();
        }
        self.is_suspect = true;
        let written = match self.write(lines).await {
            Ok(()) if sync => self.sync_data().await,
            written => written,
        };
        if let Err(error) = written {
            if let Err(again) = self.cut_back().await {
                tracing::warn!(path = %self.path.display(), error = %again, "a half-written line could not be cut off yet");
            }
            return Err(error);
        }
        self.length += lines.len() as u64;
        self.is_suspect = false;
        if sync {
            self.synced_length = self.length;
        }
        Ok(())
    }

    /// Forces what was written onto the disk.
    pub(in crate::sink) async fn sync(&mut self) -> io::Result<()> {
        self.sync_data().await?;
        self.synced_length = self.length;
        Ok(())
    }

    /// The length up to the last whole line, in bytes.
    pub(in crate::sink) fn length(&self) -> u64 {
        self.length
    }

    /// The length that is known to be on the disk, in bytes.
    pub(in crate::sink) fn synced_length(&self) -> u64 {
        self.synced_length
    }

    /// When the first line was written; where the file system does not tell, when it was opened.
    pub(super) fn begun(&self) -> SystemTime {
        self.begun
    }

    /// False for a pipe or a device.
    pub(super) fn is_regular(&self) -> bool {
        self.is_regular
    }

    async fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines).await?;
        // The write happens on another thread; only now are its failures known.
        self.file.flush().await
    }

    async fn sync_data(&mut self) -> io::Result<()> {
        if self.is_regular { self.file.sync_data().await } else { Ok(()) }
    }

    async fn cut_back(&mut self) -> io::Result<()> {
        // Waits for a write that goes on although nobody waited for it; its failure was reported or does not matter.
        let _ = self.file.flush().await;
        if self.is_regular && self.file.metadata().await?.len() > self.length {
            self.file.set_len(self.length).await?;
        }
        self.is_suspect = false;
        Ok(())
    }
}

/// Makes a file of `length` bytes end with a line break, and gives its new length.
async fn end_with_a_whole_line(file: &mut File, path: &Path, length: u64) -> io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let mut tail = Vec::new();
    let mut start = length;
    // Backwards, to the line break before the half line.
    let good_length = loop {
        if start == 0 {
            break 0;
        }
        let step = STEP.min(start);
        start -= step;
        let mut bytes = vec![0; step as usize];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut bytes).await?;
        let line_break = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.extend_from_slice(&tail);
        tail = bytes;
        if let Some(place) = line_break {
            tail.drain(..=place);
            break start + place as u64 + 1;
        }
    };
    if tail.is_empty() {
        return Ok(length);
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(&tail).is_ok() {
        // Whole, only the line break is missing; perhaps the file was edited by hand.
        file.write_all(b"\n").await?;
        file.flush().await?;
        file.sync_data().await?;
        return Ok(length + 1);
    }
    tracing::warn!(path = %path.display(), bytes = tail.len(), "a half-written last line was cut off");
    file.set_len(good_length).await?;
    file.sync_data().await?;
    Ok(good_length)
}

/// Makes a new or renamed file in the folder of `path` survive a power failure.
pub(super) async fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).await?.sync_all().await
}

impl FileFault {
    /// The same as an error of the sink `sink`: what passes by itself is tried again, for the rest there is a way out.
    pub(in crate::sink) fn of_sink(self, sink: &str, path: &Path) -> SinkError {
        let path = path.display();
        let unusable = |reason: String, help: &str, source: Option<io::Error>| SinkError::Unusable {
            sink: sink.to_owned(),
            reason,
            help: help.to_owned(),
            source: source.map(|error| Box::new(error) as _),
        };
        let error = match self {
            Self::Locked => {
                let help = "stop that process, or give each sink a file of its own";
                return unusable(format!("another process writes to {path}"), help, None);
            }
            Self::Refused(error) => error,
        };
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                unusable(format!("the folder of {path} does not exist"), "create the folder", Some(error))
            }
            ErrorKind::IsADirectory => unusable(format!("{path} is a folder"), "name a file in it", Some(error)),
            ErrorKind::PermissionDenied => {
                let help = "give the user of this process the right to write there, or choose another path";
                unusable(format!("{path} may not be written to"), help, Some(error))
            }
            ErrorKind::ReadOnlyFilesystem => {
                let help = "choose a path on a file system that is mounted for writing";
                unusable(format!("the file system of {path} is read-only"), help, Some(error))
            }
            kind => {
                let reason = match kind {
                    ErrorKind::StorageFull => format!("no space is left for {path}"),
                    ErrorKind::QuotaExceeded => format!("the quota of the user is used up by {path}"),
                    ErrorKind::FileTooLarge => format!("{path} has reached the largest size that is allowed"),
                    _ => format!("{path} can not be written to"),
                };
                SinkError::Unavailable { sink: sink.to_owned(), reason, source: Some(Box::new(error)) }
            }
        }
    }
}
