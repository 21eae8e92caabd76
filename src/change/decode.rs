//! A change document of a change stream, taken apart in one walk over its top-level fields.

use bson::{RawArray, RawBsonRef, RawDocument};

use super::{Change, Description, Image, Operation, TransactionId, token_facts};
use crate::position::ClusterTime;

/// One document of a change stream: a change, or a notice about something else.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A document was inserted, updated, replaced or deleted.
    Change(Change<'a>),
    /// Something else happened, for example a collection was dropped.
    Notice(Notice<'a>),
}

/// Something that is no change of a document.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// What it is.
    pub kind: NoticeKind,
    /// The word of the server (`operationType`).
    pub operation_type: &'a str,
    /// The database concerned, if any.
    pub database: Option<&'a str>,
    /// The collection concerned, if any.
    pub collection: Option<&'a str>,
    /// When it happened.
    pub cluster_time: ClusterTime,
    /// The resume token of the notice.
    pub token: Option<&'a RawDocument>,
}

/// The kinds of notices that need an answer of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// The stream ends here; it is opened again after this token with `startAfter`.
    Invalidate,
    /// A collection was dropped.
    Drop,
    /// A collection was renamed.
    Rename,
    /// A database was dropped.
    DropDatabase,
    /// Anything else, known or not: counted, and otherwise left alone.
    Other,
}

/// A change document that does not have the form MongoDB documents. It names fields, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field is absent or has the wrong type.
    #[error("the change document has no usable field \"{field}\"")]
    Malformed {
        /// The field's name.
        field: &'static str,
    },
}

#[derive(Default)]
struct Fields<'a> {
    token: Option<&'a RawDocument>,
    operation_type: Option<&'a str>,
    namespace: Option<&'a RawDocument>,
    key: Option<&'a RawDocument>,
    full_document: Option<RawBsonRef<'a>>,
    before: Option<RawBsonRef<'a>>,
    description: Option<&'a RawDocument>,
    cluster_time: Option<ClusterTime>,
    wall_time: Option<bson::DateTime>,
    session: Option<&'a RawDocument>,
    transaction_number: Option<i64>,
}

/// Takes one change document apart. Unknown fields and unknown operation types are no errors.
pub(super) fn entry(document: &RawDocument) -> Result<Entry<'_>, DecodeError> {
    let fields = fields(document)?;
    let operation_type = fields.operation_type.ok_or(DecodeError::Malformed { field: "operationType" })?;
    let operation = match operation_type {
        "insert" => Operation::Insert,
        "update" => Operation::Update,
        "replace" => Operation::Replace,
        "delete" => Operation::Delete,
        _ => return Ok(Entry::Notice(notice(operation_type, &fields))),
    };
    change(operation, &fields).map(Entry::Change)
}

fn fields(document: &RawDocument) -> Result<Fields<'_>, DecodeError> {
    let mut fields = Fields::default();
    for element in document {
        let (name, value) = element.map_err(|_| DecodeError::Malformed { field: "change" })?;
        match name.as_str() {
            "_id" => fields.token = value.as_document(),
            "operationType" => fields.operation_type = value.as_str(),
            "ns" => fields.namespace = value.as_document(),
            "documentKey" => fields.key = value.as_document(),
            "fullDocument" => fields.full_document = Some(value),
            "fullDocumentBeforeChange" => fields.before = Some(value),
            "updateDescription" => fields.description = value.as_document(),
            "clusterTime" => fields.cluster_time = value.as_timestamp().map(ClusterTime::from),
            "wallTime" => fields.wall_time = value.as_datetime(),
            "lsid" => fields.session = value.as_document(),
            "txnNumber" => fields.transaction_number = value.as_i64(),
            _ => {}
        }
    }
    Ok(fields)
}

fn change<'a>(operation: Operation, fields: &Fields<'a>) -> Result<Change<'a>, DecodeError> {
    let namespace = fields.namespace.ok_or(DecodeError::Malformed { field: "ns" })?;
    let database = namespace.get_str("db").map_err(|_| DecodeError::Malformed { field: "ns.db" })?;
    let collection = namespace.get_str("coll").map_err(|_| DecodeError::Malformed { field: "ns.coll" })?;
    let key = fields.key.ok_or(DecodeError::Malformed { field: "documentKey" })?;
    let facts = fields.token.and_then(token_facts);
    let cluster_time = match fields.cluster_time {
        Some(time) => time,
        None => facts.map(|facts| facts.0).ok_or(DecodeError::Malformed { field: "clusterTime" })?,
    };
    let transaction = match (fields.session, fields.transaction_number) {
        (Some(session), Some(number)) => Some(TransactionId { session, number }),
        _ => None,
    };
    // A field that is null says that the image was asked for and is not there; one that is absent, that it was not asked for.
    let image = |value: Option<RawBsonRef<'a>>| match value.and_then(|value| value.as_document()) {
        Some(document) => Image::Exact(document),
        None => Image::Unknown,
    };
    let (before, after) = match operation {
        Operation::Insert => (Image::Absent, image(fields.full_document)),
        Operation::Delete => (image(fields.before), Image::Absent),
        Operation::Update | Operation::Replace => (image(fields.before), image(fields.full_document)),
    };
    let description = match (operation, fields.description) {
        (Operation::Update, Some(description)) => Some(self::description(description)?),
        _ => None,
    };
    Ok(Change {
        operation,
        database,
        collection,
        key,
        before,
        after,
        description,
        cluster_time,
        operation_index: facts.map_or(0, |facts| facts.1),
        wall_time: fields.wall_time,
        transaction,
        token: fields.token,
    })
}

fn description(document: &RawDocument) -> Result<Description<'_>, DecodeError> {
    let mut updated: Option<&RawDocument> = None;
    let mut removed: Option<&RawArray> = None;
    let mut truncated = None;
    let mut disambiguated = None;
    for element in document {
        let (name, value) = element.map_err(|_| DecodeError::Malformed { field: "updateDescription" })?;
        match name.as_str() {
            "updatedFields" => updated = value.as_document(),
            "removedFields" => removed = value.as_array(),
            "truncatedArrays" => truncated = value.as_array().filter(|array| !array.is_empty()),
            "disambiguatedPaths" => disambiguated = value.as_document().filter(|document| !document.is_empty()),
            _ => {}
        }
    }
    Ok(Description {
        updated: updated.ok_or(DecodeError::Malformed { field: "updateDescription.updatedFields" })?,
        removed: removed.ok_or(DecodeError::Malformed { field: "updateDescription.removedFields" })?,
        truncated,
        disambiguated,
    })
}

fn notice<'a>(operation_type: &'a str, fields: &Fields<'a>) -> Notice<'a> {
    let kind = match operation_type {
        "invalidate" => NoticeKind::Invalidate,
        "drop" => NoticeKind::Drop,
        "rename" => NoticeKind::Rename,
        "dropDatabase" => NoticeKind::DropDatabase,
        _ => NoticeKind::Other,
    };
    let token_time = fields.token.and_then(token_facts).map(|facts| facts.0);
    Notice {
        kind,
        operation_type,
        database: fields.namespace.and_then(|namespace| namespace.get_str("db").ok()),
        collection: fields.namespace.and_then(|namespace| namespace.get_str("coll").ok()),
        cluster_time: fields.cluster_time.or(token_time).unwrap_or_default(),
        token: fields.token,
    }
}
