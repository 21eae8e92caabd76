//! A business fact, ready to be delivered.

use std::fmt;
use std::sync::Arc;

use bson::{RawBson, RawDocumentBuf};
use sha2::{Digest, Sha256};

use crate::position::ClusterTime;

/// The name of the events about the connector itself that say that something is missing or out of order.
pub const GAP: &str = "changeling.gap";

/// How the conditions and data of an event were known. The order is from the strongest to the weakest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// Before and after are those of the change itself.
    #[default]
    Exact,
    /// Only the change's own description (updated and removed fields) was used.
    Delta,
    /// A document was looked up later and may be newer than the change.
    LookUp,
}

impl Evidence {
    /// The word of the CloudEvents attribute `evidence`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Delta => "delta",
            Self::LookUp => "lookup",
        }
    }
}

/// The deterministic id of an event: 128 bits, printed as 32 hexadecimal digits.
///
/// It is a hash of (cluster time, operation index in its transaction, namespace, document key, rule id, ordinal): the same
/// from any source and after any crash, so that every sink can tell a repeat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId([u8; 16]);

/// What an event's id is made of.
#[derive(Clone, Copy, Debug)]
pub struct EventOrigin<'a> {
    /// The commit time of the change.
    pub cluster_time: ClusterTime,
    /// The operation's index in its transaction, from 0.
    pub operation_index: u32,
    /// The change's database.
    pub database: &'a str,
    /// The change's collection.
    pub collection: &'a str,
    /// The raw BSON bytes of the document key.
    pub key: &'a [u8],
    /// The id of the rule.
    pub rule: &'a str,
    /// Which event of the rule for this change, from 0.
    pub ordinal: u32,
}

impl EventId {
    /// The id of the event that comes from `origin`.
    pub fn new(origin: &EventOrigin<'_>) -> Self {
        let (time, index, ordinal) = (origin.cluster_time.as_u64(), origin.operation_index, origin.ordinal);
        let head = [&time.to_be_bytes()[..], &index.to_be_bytes(), &ordinal.to_be_bytes()];
        // Each part is preceded by its length, so that no two lists of parts give the same bytes.
        let parts = [origin.database.as_bytes(), origin.collection.as_bytes(), origin.key, origin.rule.as_bytes()];
        let lengths = parts.map(|part| (part.len() as u64).to_be_bytes());
        let parts = lengths.iter().zip(&parts).flat_map(|(length, part)| [length, *part]);
        // Hashing many short pieces costs more than copying them together first.
        let (mut joined, mut end) = ([0; 256], 0);
        let mut hash = Sha256::new();
        for piece in head.into_iter().chain(parts) {
            if end + piece.len() > joined.len() {
                hash.update(&joined[..end]);
                end = 0;
            }
            match joined.get_mut(end..end + piece.len()) {
                Some(room) => {
                    room.copy_from_slice(piece);
                    end += piece.len();
                }
                None => hash.update(piece),
            }
        }
        hash.update(&joined[..end]);
        let digest = hash.finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// The 16 bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        formatter.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A sink that gets an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The sink's name.
    pub sink: Arc<str>,
    /// The topic or subject there, instead of the one that the sink's settings give.
    pub address: Option<Address>,
}

/// A topic or subject that a rule gave, in parts: what may stand in one, and with what the rest is replaced, is known to the
/// sink alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The parts, in order.
    pub parts: Vec<AddressPart>,
}

/// A part of an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressPart {
    /// Text of the rule.
    Text(String),
    /// A value of the change, filled in.
    Value(String),
}

impl Destination {
    fn byte_count(&self) -> usize {
        let parts = self.address.iter().flat_map(|address| &address.parts);
        size_of::<Self>() + parts.map(|part| size_of::<AddressPart>() + part.as_str().len()).sum::<usize>()
    }
}

impl AddressPart {
    /// The text, wherever it came from.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Value(text) => text,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| formatter.write_str(part.as_str()))
    }
}

/// What an event that the application wrote itself has beyond one that a rule made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explicit {
    /// The id that the application gave it, as text.
    pub id: String,
    /// What goes into the headers of a message, in order, beside those that every event has.
    pub headers: Vec<Header>,
    /// The topic or subject that the application chose, at every sink that has such a thing.
    pub route: Option<Arc<Address>>,
    /// What its payload is.
    pub payload: Payload,
    /// Whether messages hold the payload alone, with everything else in headers.
    pub form: MessageForm,
}

/// A header of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Its name.
    pub name: Arc<str>,
    /// Its value, with its type.
    pub value: RawBson,
}

/// The payload of an explicit event.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Payload {
    /// The document that is the event's `data`.
    #[default]
    Document,
    /// A text, passed on as it is.
    Text(String),
    /// Bytes, passed on as they are.
    Binary(Vec<u8>),
    /// Any other value, such as an array or a number.
    Value(RawBson),
    /// Nothing: a message with an empty body.
    Nothing,
    /// A message that says that what its key names is no more.
    Tombstone,
}

/// What the body of a message holds, at sinks that send messages with headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageForm {
    /// The whole event in its envelope.
    #[default]
    Envelope,
    /// The payload alone, a document as relaxed Extended JSON; the envelope's attributes are headers (the binary mode of CloudEvents).
    Bare,
    /// The same, a document as canonical Extended JSON over several lines, as Debezium's outbox router for MongoDB writes it.
    BareCanonical,
}

impl Explicit {
    fn byte_count(&self) -> usize {
        let payload = match &self.payload {
            Payload::Text(text) => text.len(),
            Payload::Binary(bytes) => bytes.len(),
            Payload::Value(value) => value_byte_count(value),
            Payload::Document | Payload::Nothing | Payload::Tombstone => 0,
        };
        let headers = self.headers.iter();
        let headers = headers.map(|one| size_of::<Header>() + one.name.len() + value_byte_count(&one.value));
        size_of::<Self>() + self.id.len() + payload + headers.sum::<usize>()
    }
}

fn value_byte_count(value: &RawBson) -> usize {
    match value {
        RawBson::String(text) => text.len(),
        RawBson::Document(document) => document.as_bytes().len(),
        RawBson::Array(array) => array.as_bytes().len(),
        RawBson::Binary(binary) => binary.bytes.len(),
        _ => 0,
    }
}

/// A business event, not yet encoded for a sink.
#[derive(Clone, Debug)]
pub struct Event {
    /// The deterministic id.
    pub id: EventId,
    /// The business name, for example `OrderPaid`; the CloudEvents `type` without its prefix.
    pub name: Arc<str>,
    /// The id of the rule that made it, or of the relay that passed it on.
    pub rule: Arc<str>,
    /// The database and collection of the change; empty for events about the connector itself.
    pub database: Arc<str>,
    /// See `database`.
    pub collection: Arc<str>,
    /// The CloudEvents subject, if the rule gives one.
    pub subject: Option<String>,
    /// The wall time of the change.
    pub time: bson::DateTime,
    /// The text by which events are ordered and partitioned.
    pub partition_key: String,
    /// Orders the events of one connector as text: cluster time, operation index, rule, ordinal.
    pub sequence: String,
    /// How the event was known.
    pub evidence: Evidence,
    /// The transaction of the change, as text.
    pub transaction: Option<String>,
    /// The short hash of the rule set that made it; absent for events about the connector itself.
    pub rule_set: Option<Arc<str>>,
    /// The sinks that get it; all of them where absent.
    pub to: Option<Arc<[Destination]>>,
    /// The payload, in BSON types; each sink encodes it as it needs.
    pub data: RawDocumentBuf,
    /// What it has beyond that if the application wrote it; absent for one that a rule inferred.
    pub explicit: Option<Box<Explicit>>,
}

impl Event {
    /// True if the sink of this name gets it.
    pub fn goes_to(&self, sink: &str) -> bool {
        self.to.as_ref().is_none_or(|to| to.iter().any(|one| *one.sink == *sink))
    }

    /// The topic or subject that the rule gave for the sink of this name, or that the application chose.
    pub fn address_at(&self, sink: &str) -> Option<&Address> {
        let given = self.to.as_ref().and_then(|to| to.iter().find(|one| *one.sink == *sink)?.address.as_ref());
        given.or_else(|| self.explicit.as_ref()?.route.as_deref())
    }

    /// The word of the attribute `origin`.
    pub fn origin(&self) -> &'static str {
        if self.explicit.is_some() { "explicit" } else { "inferred" }
    }

    /// The memory that the event holds, about, in bytes; what queues are bounded by.
    pub fn byte_count(&self) -> usize {
        const FIXED: usize = size_of::<Event>();
        FIXED
            + self.data.as_bytes().len()
            + self.subject.as_ref().map_or(0, String::len)
            + self.partition_key.len()
            + self.sequence.len()
            + self.transaction.as_ref().map_or(0, String::len)
            + self.to.as_ref().map_or(0, |to| to.iter().map(Destination::byte_count).sum())
            + self.explicit.as_ref().map_or(0, |explicit| explicit.byte_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> EventOrigin<'static> {
        EventOrigin {
            cluster_time: ClusterTime { seconds: 1, increment: 2 },
            operation_index: 0,
            database: "shop",
            collection: "orders",
            key: &[1, 2, 3],
            rule: "OrderPaid",
            ordinal: 0,
        }
    }

    #[test]
    fn the_id_depends_on_every_part_of_the_origin_and_on_nothing_else() {
        let id = EventId::new(&origin());
        assert_eq!(id, EventId::new(&origin()));
        assert_eq!(id.to_string().len(), 32);
        let others = [
            EventOrigin { cluster_time: ClusterTime { seconds: 1, increment: 3 }, ..origin() },
            EventOrigin { operation_index: 1, ..origin() },
            EventOrigin { database: "sho", collection: "porders", ..origin() },
            EventOrigin { key: &[1, 2], ..origin() },
            EventOrigin { rule: "OrderPaid2", ..origin() },
            EventOrigin { ordinal: 1, ..origin() },
        ];
        for other in others {
            assert_ne!(id, EventId::new(&other), "{other:?}");
        }
    }

    #[test]
    fn an_id_never_changes_whatever_the_length_of_what_it_is_made_of() {
        // Sinks keep ids for good. Here they are hashed piece by piece, as they are defined.
        for length in [3, 200, 900] {
            let long = vec![7; length];
            let origin = EventOrigin { key: &long, ..origin() };
            let mut hash = Sha256::new();
            hash.update(origin.cluster_time.as_u64().to_be_bytes());
            hash.update([0; 8]);
            for part in [b"shop".as_slice(), b"orders", &long, b"OrderPaid"] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            assert_eq!(EventId::new(&origin).as_bytes()[..], hash.finalize()[..16], "{length}");
        }
    }
}
