//! A checkpoint in a file: JSON, replaced as a whole, durable when `save` returns.
//!
//! The owner holds a lock of the operating system on a second file beside it. The lock ends with the process, so that a
//! killed connector starts again at once. Where locks mean nothing (some network file systems), the epoch in the file still
//! keeps a paused process from overwriting its successor's checkpoint.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bson::RawDocumentBuf;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::process::Process;
use super::{Checkpoint, CheckpointError, Store};
use crate::position::{ClusterTime, Position, Resume};

/// The form of the file that this release writes.
const VERSION: u32 = 1;

/// Keeps the checkpoint of one connector in a file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    name: String,
    process: Process,
    lock: Mutex<Option<File>>,
    epoch: AtomicU64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    name: String,
    epoch: u64,
    owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<Saved>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    deployment: String,
    scope: String,
    seconds: u32,
    increment: u32,
    /// The resume token, its BSON in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_invalidate: Option<String>,
    saved_at: String,
    /// What is known of parity, in Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parity: Option<String>,
}

/// What can be read of a file of any version.
#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

impl FileStore {
    /// The checkpoint of the connector `name` in the file at `path`.
    pub fn new(path: impl Into<PathBuf>, name: &str) -> Self {
        Self {
            path: path.into(),
            name: name.to_owned(),
            process: Process::this(),
            lock: Mutex::new(None),
            epoch: AtomicU64::new(0),
        }
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        self.path.with_file_name(name)
    }

    /// Takes the lock, and leaves our name in its file for whoever finds it locked.
    async fn lock(&self) -> Result<(), CheckpointError> {
        let path = self.beside(".lock");
        tokio::fs::create_dir_all(self.folder()).await.map_err(|error| self.error("make the folder of", error))?;
        let mut options = tokio::fs::OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(&path).await;
        let file = opened.map_err(|error| self.error("lock", error))?.into_std().await;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = tokio::fs::read_to_string(&path).await.unwrap_or_default();
                let owner = if owner.trim().is_empty() { "another process" } else { owner.trim() }.to_owned();
                return Err(CheckpointError::Owned { name: self.name.clone(), owner, expires_at: None });
            }
            Err(TryLockError::Error(error)) => return Err(self.error("lock", error)),
        }
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        // Only for people; whether it can be written does not matter.
        if let Err(error) = tokio::fs::write(&path, format!("{}\n", self.process)).await {
            tracing::debug!(error = %error, "the name of the owner could not be written");
        }
        Ok(())
    }

    async fn read(&self) -> Result<Option<Content>, CheckpointError> {
        let text = match tokio::fs::read(&self.path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error("read", error)),
        };
        let damaged = |error| CheckpointError::Unusable {
            reason: format!("the file {} is damaged", self.path.display()),
            help: "restore it from a copy, or remove it to begin anew where `source.start` says".to_owned(),
            source: Some(Box::new(error)),
        };
        let AnyVersion { version } = serde_json::from_slice(&text).map_err(damaged)?;
        if version != VERSION {
            return Err(CheckpointError::Unusable {
                reason: format!(
                    "the file {} has version {version}, and this release reads version {VERSION}",
                    self.path.display()
                ),
                help: "use the release that wrote it, or a newer one".to_owned(),
                source: None,
            });
        }
        let content: Content = serde_json::from_slice(&text).map_err(damaged)?;
        if content.name != self.name {
            return Err(CheckpointError::Unusable {
                reason: format!(
                    "the file {} belongs to the connector \"{}\", and this one is \"{}\"",
                    self.path.display(),
                    content.name,
                    self.name
                ),
                help: "give every connector a file of its own: `checkpoint.file`".to_owned(),
                source: None,
            });
        }
        Ok(Some(content))
    }

    /// Replaces the file as a whole: whatever happens, either the old content is there or the new.
    async fn write(&self, content: &Content) -> Result<(), CheckpointError> {
        let mut text = serde_json::to_vec_pretty(content).map_err(|error| self.error("write", error.into()))?;
        text.push(b'\n');
        self.replace(&text).await.map_err(|error| self.error("write", error))
    }

    async fn replace(&self, text: &[u8]) -> io::Result<()> {
        let fresh = self.beside(".new");
        let mut file = tokio::fs::File::create(&fresh).await?;
        file.write_all(text).await?;
        // Only a flush tells that a write has failed; `sync_all` alone would hide it.
        file.flush().await?;
        file.sync_all().await?;
        tokio::fs::rename(&fresh, &self.path).await?;
        // The new name is durable only when the folder is.
        tokio::fs::File::open(self.folder()).await?.sync_all().await
    }

    /// The content, if it is still ours.
    async fn ours(&self) -> Result<Content, CheckpointError> {
        let fenced = |owner: String| CheckpointError::Fenced { name: self.name.clone(), owner };
        match self.read().await? {
            Some(content) if content.epoch == self.epoch.load(Ordering::Relaxed) => Ok(content),
            Some(content) => Err(fenced(content.owner)),
            None => Err(fenced("somebody who removed it".to_owned())),
        }
    }

    fn error(&self, verb: &str, error: io::Error) -> CheckpointError {
        let folder = self.folder().display();
        let help = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                format!("give the user that changeling runs as the right to write in the folder {folder}")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                format!("the folder {folder} is on a read-only file system: choose another one with `checkpoint.file`")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                format!("make room on the disk of the folder {folder}; nothing is lost, the position saved before is still there")
            }
            io::ErrorKind::Unsupported => {
                "this file system knows no locks: keep the checkpoint in MongoDB (`checkpoint: {mongodb: {}}`) or on a local disk".to_owned()
            }
            _ => format!("check the folder {folder}, or choose another place with `checkpoint.file`"),
        };
        let reason = format!("changeling can not {verb} the file {}", self.path.display());
        CheckpointError::Unusable { reason, help, source: Some(Box::new(error)) }
    }
}

#[async_trait]
impl Store for FileStore {
    async fn acquire(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        self.lock().await?;
        let found = self.read().await?;
        let saved = found.as_ref().and_then(|content| content.checkpoint.clone());
        let epoch = found.map_or(0, |content| content.epoch) + 1;
        let content = Content {
            version: VERSION,
            name: self.name.clone(),
            epoch,
            owner: self.process.to_string(),
            checkpoint: saved.clone(),
        };
        let checkpoint = match saved {
            Some(saved) => Some(saved.checkpoint().ok_or_else(|| CheckpointError::Unusable {
                reason: format!("the file {} does not hold a position that can be read", self.path.display()),
                help: "restore it from a copy, or remove it to begin anew where `source.start` says".to_owned(),
                source: None,
            })?),
            None => None,
        };
        self.write(&content).await?;
        self.epoch.store(epoch, Ordering::Relaxed);
        Ok(checkpoint)
    }

    async fn renew(&self) -> Result<(), CheckpointError> {
        self.ours().await.map(|_| ())
    }

    async fn save(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let mut content = self.ours().await?;
        content.checkpoint = Some(Saved::new(checkpoint));
        self.write(&content).await
    }

    async fn release(&self) -> Result<(), CheckpointError> {
        // Closing the file gives up the lock.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }
}

impl Saved {
    fn new(checkpoint: &Checkpoint) -> Self {
        let position = &checkpoint.position;
        let (after, after_invalidate) = match &position.resume {
            Resume::After(token) => (Some(hexadecimal(token.as_bytes())), None),
            Resume::AfterInvalidate(token) => (None, Some(hexadecimal(token.as_bytes()))),
            Resume::AtTime => (None, None),
        };
        Self {
            deployment: checkpoint.deployment.clone(),
            scope: checkpoint.scope.clone(),
            seconds: position.time.seconds,
            increment: position.time.increment,
            after,
            after_invalidate,
            saved_at: bson::DateTime::now().try_to_rfc3339_string().unwrap_or_default(),
            parity: checkpoint.parity.as_ref().map(|bytes| BASE64_STANDARD.encode(bytes)),
        }
    }

    fn checkpoint(self) -> Option<Checkpoint> {
        let token = |text: String| RawDocumentBuf::from_bytes(from_hexadecimal(&text)?).ok();
        let resume = match (self.after, self.after_invalidate) {
            (Some(value), _) => Resume::After(token(value)?),
            (None, Some(value)) => Resume::AfterInvalidate(token(value)?),
            (None, None) => Resume::AtTime,
        };
        let time = ClusterTime { seconds: self.seconds, increment: self.increment };
        let position = Position { time, resume };
        // Figures that can not be read are no reason to lose the position.
        let parity = self.parity.and_then(|text| BASE64_STANDARD.decode(text).ok());
        Some(Checkpoint { deployment: self.deployment, scope: self.scope, position, parity })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|character| character.to_digit(16)).collect();
    let pairs = digits?;
    let bytes = pairs.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high << 4 | low).ok(),
        _ => None,
    });
    bytes.collect()
}
