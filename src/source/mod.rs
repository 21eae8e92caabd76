//! Where changes come from.

use std::sync::Arc;

use async_trait::async_trait;

use crate::change::{Batch, Change};
use crate::failure::Disposition;
use crate::position::{ClusterTime, Start};

/// A log of changes that can be read from any position it still holds.
///
/// The reader of the pipeline owns a source and drives it: it opens it, asks for batches, and after a failure that may pass
/// opens it again at the position after the last batch it got. A source never retries on its own.
#[async_trait]
pub trait Source: Send {
    /// Opens the log; what was open before is closed. After success, `next` gives the changes from `start` on.
    async fn open(&mut self, start: &Start) -> Result<(), SourceError>;

    /// Waits for the next batch. It may be empty: then nothing was left to read, and only the position has moved.
    ///
    /// Not cancel-safe: poll it to its end in one task.
    async fn next(&mut self) -> Result<Batch, SourceError>;

    /// Looks up, in as few queries as possible, the documents of those updates in `batch` that `wants` asks for and whose
    /// document after the change is not known, and attaches what it finds.
    async fn look_up(&mut self, batch: &mut Batch, wants: &Wants<'_>) -> Result<(), SourceError> {
        let _ = (batch, wants);
        Ok(())
    }

    /// Identifies the deployment the log belongs to (replica set or cluster), to refuse a checkpoint of another one.
    async fn deployment(&mut self) -> Result<String, SourceError>;

    /// Identifies what is watched and how. A token is only good for the scope it came from; after a change of scope the
    /// source goes on from the cluster time instead.
    fn scope(&self) -> String;

    /// What can be asked about the log while `next` is waiting; absent where the log has no such facts.
    fn observer(&self) -> Option<Arc<dyn Observer>> {
        None
    }
}

/// Says of a change whether the document after it should be looked up.
pub type Wants<'w> = dyn for<'c> Fn(&Change<'c>) -> bool + Send + Sync + 'w;

/// Facts about a log, asked beside the reading.
#[async_trait]
pub trait Observer: Send + Sync {
    /// The oldest and newest entry of the log; `None` if we may not read that.
    async fn window(&self) -> Option<OplogWindow>;
}

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The server cannot be reached, or dropped the connection, or has no primary just now.
    #[error("the connection to MongoDB failed")]
    Unreachable(#[source] mongodb::error::Error),
    /// The oplog does not hold our position any more: changes are lost unless a copy of them exists elsewhere.
    #[error("the oplog of MongoDB does not hold the position {} any more (server error {code} {name}): the changes since then can not be read", DisplayTime(.position))]
    LostPosition {
        /// The server's error code: 286, 280, 260 or 136.
        code: i32,
        /// The server's name for it.
        name: String,
        /// Where we were; absent if we started without a position.
        position: Option<ClusterTime>,
        /// The oldest entry of the oplog, if we may read it.
        oldest: Option<ClusterTime>,
    },
}

struct DisplayTime<'a>(&'a Option<ClusterTime>);

impl std::fmt::Display for DisplayTime<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(time) => time.fmt(formatter),
            None => formatter.write_str("asked for"),
        }
    }
}

impl SourceError {
    /// What is to be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unreachable(_) => Disposition::Retry,
            Self::LostPosition { .. } => Disposition::Stop,
        }
    }

    /// True if history is lost, so that the policy `on_lost_position` applies.
    pub fn is_lost_position(&self) -> bool {
        matches!(self, Self::LostPosition { .. })
    }
}

/// The oldest and newest entry of the oplog: the window in which a position can be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OplogWindow {
    /// The oldest entry.
    pub first: ClusterTime,
    /// The newest entry.
    pub last: ClusterTime,
}
