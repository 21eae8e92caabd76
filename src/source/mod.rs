//! Where changes come from.

use std::sync::Arc;

use async_trait::async_trait;

use crate::change::{Batch, Change};
use crate::position::{ClusterTime, Start};

pub mod change_stream;
mod settings;
mod source_error;
pub mod tape;

pub use change_stream::{
    ChangeStreamSource, Finding, Grade, KeptImages, Plan, Scope, StreamPlan, Target, enable_images, kept_images,
    missing_images, probe,
};
pub use settings::{
    ImageSetting, OnLostPosition, SettingsError, SourceKind, SourceSettings, StartSetting, StreamCount,
};
pub use source_error::SourceError;
pub use tape::{TapeError, TapeHeader, TapeSource, TapeWriter};

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

    /// Looks up, in few queries, the documents of those updates in `batch` that `wants` asks for and whose document after the
    /// change is not known, and attaches what it finds. Gives the number of changes, from the first, that are done: fewer than
    /// all where the documents together would take too much memory; the rest is for another call.
    async fn look_up(&mut self, batch: &mut Batch, wants: &Wants<'_>) -> Result<usize, SourceError> {
        let _ = wants;
        Ok(batch.len())
    }

    /// Identifies the deployment the log belongs to (replica set or cluster), to refuse a checkpoint of another one.
    async fn deployment(&mut self) -> Result<String, SourceError>;

    /// Identifies what is watched and how. A token is only good for the scope it came from; after a change of scope the
    /// source goes on from the cluster time instead.
    fn scope(&self) -> String;

    /// Reads by another plan from now on, for a rule set that takes the place of another. Gives true if that makes a difference:
    /// then the source is closed and has another [`Source::scope`], and must be opened again with [`Start::Beyond`] at the
    /// position after the last batch (see [`Start::in_another_scope`]), which loses and repeats nothing.
    fn adopt(&mut self, plan: &Plan) -> bool {
        let _ = plan;
        false
    }

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

/// The oldest and newest entry of the oplog: the window in which a position can be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OplogWindow {
    /// The oldest entry.
    pub first: ClusterTime,
    /// The newest entry.
    pub last: ClusterTime,
}
