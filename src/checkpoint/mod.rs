//! The position up to which everything has settled, saved.

mod file;
mod memory;
mod mongodb;
mod process;
mod settings;

use std::sync::Arc;

use ::mongodb::Client;
use async_trait::async_trait;

pub use self::file::FileStore;
pub use self::memory::MemoryStore;
pub use self::mongodb::MongodbStore;
pub use self::settings::{CheckpointPlace, CheckpointSettings, CheckpointSettingsError, MongodbCheckpointSettings};

use crate::failure::Disposition;
use crate::mongo_client::{ConnectError, connect};
use crate::position::Position;
use crate::transactional_write::TransactionalWrite;

/// What is saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Identifies the deployment that the position belongs to; a checkpoint of another one is refused.
    pub deployment: String,
    /// Identifies what was watched, and how. Where it differs, the source goes on from the position's cluster time.
    pub scope: String,
    /// Everything before this position has settled.
    pub position: Position,
    /// What is known of parity, in a form of its own; absent if events are not compared.
    pub parity: Option<Vec<u8>>,
}

/// A place that keeps one checkpoint per connector name, owned by one live process at a time.
#[async_trait]
pub trait Store: Send + Sync {
    /// Becomes the owner, waiting for no one: [`CheckpointError::Owned`] if another live process is the owner.
    /// Gives the saved checkpoint, if there is one.
    async fn acquire(&self) -> Result<Option<Checkpoint>, CheckpointError>;

    /// Says that we are still alive. Called every third of the lease.
    async fn renew(&self) -> Result<(), CheckpointError>;

    /// Saves a checkpoint, durably. [`CheckpointError::Fenced`] if another process has become the owner: nothing is written then.
    async fn save(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError>;

    /// Gives up the ownership, so that the next process need not wait.
    async fn release(&self) -> Result<(), CheckpointError>;

    /// The deployment in whose transactions a checkpoint can be saved; absent where there is no such thing.
    fn deployment(&self) -> Option<String> {
        None
    }

    /// Keeps the id of a logical session (`lsid`) whose transactions carry our checkpoint, for our successor to end: it must not
    /// wait for a transaction that died with us.
    async fn note_session(&self, session: &bson::Document) -> Result<(), CheckpointError> {
        let _ = session;
        Ok(())
    }

    /// The same as [`Store::save`], as a write for a transaction in [`Store::deployment`].
    fn transactional_write(&self, checkpoint: &Checkpoint) -> Option<TransactionalWrite> {
        let _ = checkpoint;
        None
    }
}

/// Why a checkpoint can not be read or saved.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another live process owns the name.
    #[error(
        "the checkpoint \"{name}\" is owned by {owner}\nhelp: stop that process, or give this connector another name; an owner that died is replaced when its lease ends"
    )]
    Owned {
        /// The connector's name.
        name: String,
        /// Host and process id of the owner, and until when its lease runs.
        owner: String,
        /// When its lease ends, by the store's clock; absent if the owner is known to be alive.
        expires_at: Option<bson::DateTime>,
    },
    /// Another process has become the owner while we were paused.
    #[error(
        "the checkpoint \"{name}\" was taken over by {owner} while this process was paused; nothing was overwritten"
    )]
    Fenced {
        /// The connector's name.
        name: String,
        /// The new owner.
        owner: String,
    },
    /// The store can not be reached just now.
    #[error("the checkpoint store is not available: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
        /// The library's error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// What is saved can not be used, or nothing can be saved.
    #[error("the checkpoint can not be used: {reason}\nhelp: {help}")]
    Unusable {
        /// What is wrong.
        reason: String,
        /// The way out.
        help: String,
        /// The library's error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl CheckpointError {
    /// What is to be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unavailable { .. } => Disposition::Retry,
            Self::Owned { .. } | Self::Fenced { .. } | Self::Unusable { .. } => Disposition::Stop,
        }
    }
}

/// Why no store can be made of settings.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The settings can not be used.
    #[error(transparent)]
    Settings(#[from] CheckpointSettingsError),
    /// The connection string of the checkpoint's own MongoDB can not be used.
    #[error("the MongoDB that is to keep the checkpoint can not be used")]
    Connect(#[source] ConnectError),
}

/// The store that the settings describe, for the connector `name`. `source` is the client of the source's deployment, which
/// keeps the checkpoint if nothing else is said.
///
/// # Errors
/// If the settings, or the connection string in them, can not be used. Nothing is read or written yet.
pub async fn build(settings: &CheckpointSettings, name: &str, source: &Client) -> Result<Arc<dyn Store>, BuildError> {
    let mongodb = match settings.check()? {
        CheckpointPlace::File(path) => return Ok(Arc::new(FileStore::new(path, name))),
        CheckpointPlace::Mongodb(mongodb) => mongodb,
    };
    let (database, collection) = (&mongodb.collection.database, &mongodb.collection.collection);
    let store = |client: &Client| MongodbStore::new(client, database, collection, name, settings.lease.0);
    Ok(match &mongodb.uri {
        Some(uri) => {
            let client = connect(uri).await.map_err(BuildError::Connect)?;
            Arc::new(store(&client).apart_from_source())
        }
        None => Arc::new(store(source)),
    })
}
