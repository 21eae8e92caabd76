//! An event as far as parity needs it.

use bson::{RawBson, RawDocumentBuf};
use serde::{Deserialize, Serialize};

use super::footprint::FootprintNumber;
use super::types::TypeNumber;
use crate::event::{Event, Evidence, Payload};

/// Who made an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    /// The application.
    Explicit,
    /// A rule.
    Inferred,
}

impl Side {
    pub(super) fn of(event: &Event) -> Self {
        if event.explicit.is_some() { Self::Explicit } else { Self::Inferred }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Explicit => Self::Inferred,
            Self::Inferred => Self::Explicit,
        }
    }
}

/// The data of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    /// A document.
    Document(RawDocumentBuf),
    /// A text, perhaps JSON.
    Text(String),
    /// Any other value.
    Value(RawBson),
    /// Nothing.
    Nothing,
}

impl Content {
    fn of(event: &Event) -> Self {
        match event.explicit.as_ref().map(|explicit| &explicit.payload) {
            None | Some(Payload::Document) => Self::Document(event.data.clone()),
            Some(Payload::Text(text)) => Self::Text(text.clone()),
            Some(Payload::Binary(bytes)) => Self::Value(RawBson::Binary(bson::Binary {
                subtype: bson::spec::BinarySubtype::Generic,
                bytes: bytes.clone(),
            })),
            Some(Payload::Value(value)) => Self::Value(value.clone()),
            Some(Payload::Nothing | Payload::Tombstone) => Self::Nothing,
        }
    }

    fn byte_count(&self) -> usize {
        match self {
            Self::Document(document) => document.as_bytes().len(),
            Self::Text(text) => text.len(),
            Self::Value(RawBson::Binary(binary)) => binary.bytes.len(),
            Self::Value(RawBson::Array(array)) => array.as_bytes().len(),
            Self::Value(_) | Self::Nothing => 0,
        }
    }
}

/// An event that is to be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) side: Side,
    pub(super) kind: TypeNumber,
    pub(super) key: Box<str>,
    /// When it was committed, by the logical clock, in seconds: what the window is measured by.
    pub(super) seconds: u32,
    /// The same by the wall clock, in milliseconds: what leads and lags are measured by.
    pub(super) time_ms: i64,
    /// It was known on weaker evidence than exact.
    pub(super) is_weak: bool,
    pub(super) content: Content,
    /// The transaction, or the change outside of one, that it is of.
    pub(super) unit: u64,
    /// What that did to the business documents; absent if that is not known.
    pub(super) footprint: Option<FootprintNumber>,
    /// The type of the event of the other side that was found without a partner beside it.
    pub(super) confused_with: Option<TypeNumber>,
    /// What the change of the inferred one of these two did, if nothing is known of what the explicit one tells of.
    pub(super) beside: Option<FootprintNumber>,
    /// Explicit, and its transaction has an inferred event of its type under another key.
    pub(super) is_under_other_key: bool,
    /// It counts only where it has a partner: an inferred event of a type that is not compared yet.
    pub(super) is_tentative: bool,
}

impl Item {
    pub(super) fn new(event: &Event, kind: TypeNumber, seconds: u32) -> Self {
        Self {
            side: Side::of(event),
            kind,
            key: event.partition_key.as_str().into(),
            seconds,
            time_ms: event.time.timestamp_millis(),
            is_weak: event.evidence != Evidence::Exact,
            content: Content::of(event),
            unit: 0,
            footprint: None,
            confused_with: None,
            beside: None,
            is_under_other_key: false,
            is_tentative: false,
        }
    }

    /// The memory it holds, about, in bytes.
    pub(super) fn byte_count(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.content.byte_count()
    }

    /// True if the two are the same fact, by type and key.
    pub(super) fn is_partner_of(&self, other: &Self) -> bool {
        self.side != other.side && self.kind == other.kind && self.key == other.key
    }
}
