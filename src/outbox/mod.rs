//! What outboxes still hold: read once at the start, and cleaned up after the events have settled.

use async_trait::async_trait;
use bson::RawDocumentBuf;

use crate::explicit::Done;
use crate::failure::Disposition;
use crate::position::ClusterTime;

/// The outboxes of one connector, by the number of their relay.
#[async_trait]
pub trait Outboxes: Send + Sync {
    /// Begins to read what the outboxes hold that has perhaps not been relayed; what is cleaned up counts as relayed. With a time,
    /// as they were then, where the server still knows: then none of it comes with a change after that time.
    async fn begin(&mut self, as_of: Option<ClusterTime>) -> Result<(), OutboxError>;

    /// The next documents, each with the number of its relay, in the order of their `_id`; nothing when all have been read.
    async fn next(&mut self) -> Result<Vec<(usize, RawDocumentBuf)>, OutboxError>;

    /// Does to these what their relay's settings want of what has been relayed. What is not there any more is fine.
    async fn clean_up(&self, done: &[Done]) -> Result<(), OutboxError>;
}

/// Why an outbox can not be read or cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The database can not be reached just now.
    #[error("the outbox can not be reached: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
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
    },
}

impl OutboxError {
    /// What is to be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unavailable { .. } => Disposition::Retry,
            Self::Refused { .. } => Disposition::Stop,
        }
    }
}
