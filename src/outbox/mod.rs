//! What of the application's own is read and written for explicit events: documents of outboxes that may not have been relayed
//! are read at the start, and what has been relayed is cleaned up once its events have settled.

mod fault;
mod mongodb;
mod place;
mod preparation;
mod pull;
mod scan;

use std::time::Duration;

use async_trait::async_trait;
use bson::RawDocumentBuf;

pub use self::mongodb::MongodbOutboxes;

use crate::explicit::Done;
use crate::failure::Disposition;
use crate::mongo_client::DatabaseError;
use crate::position::ClusterTime;

/// Why outboxes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Nothing has been relayed under this name before.
    NoCheckpoint,
    /// Changes after this time come anyway. What is older has been relayed, unless its relay is new.
    Checkpoint(ClusterTime),
    /// Changes were lost, and with them what they would have brought.
    LostPosition,
}

/// What the relays of one connector read from and clean up in the application's database, by the number of their relay.
#[async_trait]
pub trait Outboxes: Send + Sync {
    /// Sees that everything can be done that the settings ask for, and makes the indexes that it takes.
    async fn prepare(&self) -> Result<(), OutboxError>;

    /// Begins to read the documents that have perhaps not been relayed. What is cleaned up counts as relayed.
    ///
    /// Everything that was committed before this call and does not come with a change after the time of a checkpoint is read;
    /// what does come with one is left out where the server still knows which that is.
    async fn scan(&self, occasion: Occasion) -> Result<Box<dyn Scan>, OutboxError>;

    /// Does to these what their relay's settings want of what has been relayed. What is not there any more is fine.
    async fn clean_up(&self, done: &[Done]) -> Result<(), OutboxError>;
}

/// The reading of outboxes.
#[async_trait]
pub trait Scan: Send {
    /// The next documents, each with the number of its relay, in the order in which they were inserted, as far as the server knows
    /// it; nothing when all have been read.
    async fn next(&mut self) -> Result<Vec<(usize, RawDocumentBuf)>, OutboxError>;
}

/// Why an outbox can not be read or cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The database can not be reached just now.
    #[error("the outbox {collection} can not be used just now")]
    Unavailable {
        /// The collection.
        collection: String,
        /// What the database says.
        #[source]
        source: Box<DatabaseError>,
    },
    /// The database does not answer.
    #[error("MongoDB did not clean up within {}", humantime::format_duration(*.after))]
    Late {
        /// How long was waited.
        after: Duration,
    },
    /// The database refuses.
    #[error("the outbox {collection} can not be used: {reason}\nhelp: {help}")]
    Refused {
        /// The collection.
        collection: String,
        /// What is wrong.
        reason: String,
        /// The way out.
        help: String,
        /// What the database says, if it was asked to do it.
        #[source]
        source: Option<Box<DatabaseError>>,
    },
}

impl OutboxError {
    /// What is to be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unavailable { .. } | Self::Late { .. } => Disposition::Retry,
            Self::Refused { .. } => Disposition::Stop,
        }
    }
}
