//! What a layout finds in a document, and what can be wrong with one.

use std::sync::Arc;

use bson::{RawBson, RawBsonRef, RawDocumentBuf};

use crate::canonical_json::CanonicalJsonError;
use crate::event::{Address, Header, MessageForm, Payload};
use crate::rules::{text, type_name};

/// The parts of an event.
pub(super) struct Found<'d> {
    /// The id that the application gave it.
    pub(super) id: RawBsonRef<'d>,
    /// The same as text.
    pub(super) id_text: String,
    pub(super) name: &'d str,
    pub(super) key: String,
    pub(super) subject: Option<String>,
    /// The time that the layout finds, if it does.
    pub(super) time: Option<bson::DateTime>,
    pub(super) headers: Vec<Header>,
    pub(super) route: Option<Arc<Address>>,
    pub(super) content: Content,
    pub(super) form: MessageForm,
}

/// A payload, and the document that is the event's data if the payload is one.
#[derive(Debug, PartialEq)]
pub(super) struct Content {
    pub(super) payload: Payload,
    pub(super) data: RawDocumentBuf,
}

/// Why a document can not be an event. It names places, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("{place} is missing")]
    Missing { place: String },
    #[error("{place} is empty")]
    Empty { place: String },
    #[error("{place} is of the type {found}, and {wanted} is wanted")]
    Type { place: String, found: &'static str, wanted: &'static str },
    #[error("{place} has {byte_count} bytes, and payload_bytes_max allows {byte_count_max}")]
    Oversize { place: String, byte_count: usize, byte_count_max: usize },
    #[error("{place} can not be written as JSON: {reason}")]
    Unwritable { place: String, reason: CanonicalJsonError },
    #[error("{place} leads to an empty topic")]
    EmptyRoute { place: String },
}

impl Flaw {
    pub(super) fn of_type(place: String, found: RawBsonRef<'_>, wanted: &'static str) -> Self {
        match found {
            RawBsonRef::Null | RawBsonRef::Undefined => Self::Missing { place },
            _ => Self::Type { place, found: type_name(found), wanted },
        }
    }
}

impl Content {
    pub(super) fn of(payload: Payload) -> Self {
        Self { payload, data: RawDocumentBuf::new() }
    }

    pub(super) fn of_document(data: RawDocumentBuf) -> Self {
        Self { payload: Payload::Document, data }
    }

    /// The content of a value; `place` names it where it can not be one.
    pub(super) fn of_value(
        value: RawBsonRef<'_>,
        byte_count_max: usize,
        place: &dyn Fn() -> String,
    ) -> Result<Self, Flaw> {
        let byte_count = byte_count(value);
        if byte_count > byte_count_max {
            return Err(Flaw::Oversize { place: place(), byte_count, byte_count_max });
        }
        Ok(match value {
            RawBsonRef::Document(document) => Self::of_document(document.to_owned()),
            RawBsonRef::String(text) | RawBsonRef::Symbol(text) => Self::of(Payload::Text(text.to_owned())),
            RawBsonRef::Binary(binary) => Self::of(Payload::Binary(binary.bytes.to_vec())),
            RawBsonRef::Null | RawBsonRef::Undefined => Self::of(Payload::Nothing),
            RawBsonRef::Array(_)
            | RawBsonRef::Boolean(_)
            | RawBsonRef::Int32(_)
            | RawBsonRef::Int64(_)
            | RawBsonRef::Double(_)
            | RawBsonRef::Decimal128(_)
            | RawBsonRef::ObjectId(_)
            | RawBsonRef::DateTime(_)
            | RawBsonRef::Timestamp(_) => Self::of(Payload::Value(plain(value))),
            RawBsonRef::RegularExpression(_)
            | RawBsonRef::JavaScriptCode(_)
            | RawBsonRef::JavaScriptCodeWithScope(_)
            | RawBsonRef::DbPointer(_)
            | RawBsonRef::MinKey
            | RawBsonRef::MaxKey => {
                return Err(Flaw::of_type(
                    place(),
                    value,
                    "a document, an array, a text, a number, a time or binary data",
                ));
            }
        })
    }
}

fn byte_count(value: RawBsonRef<'_>) -> usize {
    match value {
        RawBsonRef::Document(document) => document.as_bytes().len(),
        RawBsonRef::Array(array) => array.as_bytes().len(),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => text.len(),
        RawBsonRef::Binary(binary) => binary.bytes.len(),
        _ => 0,
    }
}

/// A value as Debezium's converter gives it to consumers: ObjectIds and decimals as texts, times as milliseconds since 1970.
pub(super) fn plain(value: RawBsonRef<'_>) -> RawBson {
    match value {
        RawBsonRef::ObjectId(id) => RawBson::String(id.to_hex()),
        RawBsonRef::Decimal128(number) => RawBson::String(number.to_string()),
        RawBsonRef::DateTime(date) => RawBson::Int64(date.timestamp_millis()),
        RawBsonRef::Timestamp(time) => RawBson::Int64(i64::from(time.time) * 1_000),
        RawBsonRef::Symbol(text) => RawBson::String(text.to_owned()),
        RawBsonRef::Undefined => RawBson::Null,
        other => other.into(),
    }
}

/// The same as text. What has no text of its own, nothing, is an empty one.
pub(super) fn plain_text(value: RawBsonRef<'_>) -> String {
    let mut out = String::with_capacity(24);
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined => {}
        RawBsonRef::DateTime(date) => text::write(&mut out, RawBsonRef::Int64(date.timestamp_millis())),
        RawBsonRef::Timestamp(time) => text::write(&mut out, RawBsonRef::Int64(i64::from(time.time) * 1_000)),
        other => text::write(&mut out, other),
    }
    out
}

/// A text that is needed: of an id or a key.
pub(super) fn needed_text(value: RawBsonRef<'_>, place: &dyn Fn() -> String) -> Result<String, Flaw> {
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined => Err(Flaw::Missing { place: place() }),
        value => Some(plain_text(value)).filter(|text| !text.is_empty()).ok_or_else(|| Flaw::Empty { place: place() }),
    }
}

/// The name of an event.
pub(super) fn name<'d>(value: RawBsonRef<'d>, place: &dyn Fn() -> String) -> Result<&'d str, Flaw> {
    match value {
        RawBsonRef::String("") => Err(Flaw::Empty { place: place() }),
        RawBsonRef::String(name) => Ok(name),
        other => Err(Flaw::of_type(place(), other, "a text")),
    }
}
