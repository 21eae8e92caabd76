//! One normalised shape for every insert, update, replace and delete, borrowed from the bytes the server sent.
//!
//! Nothing here copies a document: a [`Change`] is a set of slices into its [`Batch`], and values are found by walking the
//! raw bytes.

mod batch;
mod decode;
mod digits;
pub mod element;
pub mod number;
mod token;
pub mod value;

use bson::{RawArray, RawBsonRef, RawDocument};
use serde::{Deserialize, Serialize};

use crate::position::ClusterTime;

pub use batch::{Batch, LookUp};
pub use decode::{DecodeError, Entry, Notice, NoticeKind};
pub use token::{Place, Rank, token_facts};

/// What happened to the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The document did not exist before.
    Insert,
    /// Fields of the document were changed.
    Update,
    /// The whole document was replaced; rules treat it as an update.
    Replace,
    /// The document does not exist any more.
    Delete,
}

impl Operation {
    /// The word MongoDB uses in `operationType`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }
}

/// A document before or after a change, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub enum Image<'a> {
    /// The document as it was at the moment of the change.
    Exact(&'a RawDocument),
    /// The document as it was when we looked it up, some time after the change.
    LookedUp(&'a RawDocument),
    /// There was no document: before an insert, after a delete.
    Absent,
    /// There was a document, but nobody told us what it held.
    Unknown,
}

/// What an update says of itself (MongoDB's `updateDescription`).
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// Path (concatenated with dots) to new value.
    pub updated: &'a RawDocument,
    /// Paths of removed fields, as strings.
    pub removed: &'a RawArray,
    /// `{field, newSize}` for every array that lost its tail.
    pub truncated: Option<&'a RawArray>,
    /// Path to its segments, where dots or digits make a path ambiguous (servers from 6.1).
    pub disambiguated: Option<&'a RawDocument>,
}

/// The transaction a change belongs to: logical session and number.
#[derive(Clone, Copy, Debug)]
pub struct TransactionId<'a> {
    /// The logical session id document (`lsid`).
    pub session: &'a RawDocument,
    /// The transaction's number within the session.
    pub number: i64,
}

/// One document was inserted, updated, replaced or deleted.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What happened.
    pub operation: Operation,
    /// The database of the document.
    pub database: &'a str,
    /// The collection of the document.
    pub collection: &'a str,
    /// The document key: `_id`, and the shard key fields on a sharded collection.
    pub key: &'a RawDocument,
    /// The document before the change.
    pub before: Image<'a>,
    /// The document after the change.
    pub after: Image<'a>,
    /// The update's own description; only for [`Operation::Update`].
    pub description: Option<Description<'a>>,
    /// When the change was committed, by the cluster's logical clock.
    pub cluster_time: ClusterTime,
    /// Which operation of its transaction this is, from 0; 0 outside of one. Operations that change no document, such as the
    /// creation of a collection, take a number too.
    pub operation_index: u32,
    /// When the server wrote the change, by its wall clock; absent before MongoDB 6.0.
    pub wall_time: Option<bson::DateTime>,
    /// The transaction it belongs to, if any.
    pub transaction: Option<TransactionId<'a>>,
    /// The resume token of this change; absent where the source is not a change stream.
    pub token: Option<&'a RawDocument>,
}

impl<'a> Change<'a> {
    /// The value of `_id`, if the key has one.
    pub fn id(&self) -> Option<RawBsonRef<'a>> {
        self.key.get("_id").ok().flatten()
    }

    /// The wall time of the change, or, where the server gives none, its cluster time.
    pub fn time(&self) -> bson::DateTime {
        self.wall_time.unwrap_or_else(|| bson::DateTime::from_millis(self.cluster_time.as_millis()))
    }
}
