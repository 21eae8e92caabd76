//! What all relays do alike: an event from what was found in a document.

use std::collections::HashSet;
use std::sync::Arc;

use bson::{RawBsonRef, RawDocument};

use super::found::Found;
use crate::change::Change;
use crate::change::element;
use crate::event::{Destination, Event, EventId, EventOrigin, Evidence, Explicit};
use crate::namespace::Namespace;
use crate::position::ClusterTime;
use crate::rules::text;

/// How many names of events are remembered, so that equal ones share their memory.
const NAMES_MAX: usize = 1_024;

/// What the events of a relay have in common.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) database: Arc<str>,
    pub(super) collection: Arc<str>,
    pub(super) relay: Arc<str>,
    /// The word of the relay's kind.
    kind: &'static str,
    names: HashSet<Arc<str>, foldhash::fast::RandomState>,
    to: Option<Arc<[Destination]>>,
    /// Memory for what an id is made of.
    origin: Vec<u8>,
}

/// What is known of an event beside its document.
pub(super) struct Occasion {
    /// When it was written.
    pub(super) time: bson::DateTime,
    pub(super) sequence: String,
    pub(super) transaction: Option<String>,
    pub(super) evidence: Evidence,
}

impl Occasion {
    /// The event with this number among those of a change.
    pub(super) fn of_change(change: &Change<'_>, number: u16) -> Self {
        Self {
            time: change.time(),
            sequence: text::sequence(change.cluster_time, change.operation_index, number),
            transaction: change.transaction.as_ref().map(text::transaction),
            evidence: Evidence::Exact,
        }
    }

    /// An ObjectId tells when it was made, and in which order those of one process were. Another `_id` tells nothing.
    pub(super) fn of_document(document: &RawDocument, read_at: bson::DateTime) -> Self {
        let (time, increment) = match element::get(document, "_id") {
            Some(RawBsonRef::ObjectId(id)) => {
                let [.., first, second, third] = id.bytes();
                (id.timestamp(), u32::from_be_bytes([0, first, second, third]))
            }
            _ => (read_at, 0),
        };
        let seconds = u32::try_from(time.timestamp_millis().div_euclid(1_000)).unwrap_or(0);
        let sequence = text::sequence(ClusterTime { seconds, increment }, 0, 0);
        Self { time, sequence, transaction: None, evidence: Evidence::Exact }
    }
}

impl Sender {
    /// A relay of this kind, whose events go to the sinks of these names, or to all if there is none.
    pub(super) fn new(kind: &'static str, collection: &Namespace, to: &[String]) -> Self {
        let destinations = to.iter().map(|sink| Destination { sink: sink.as_str().into(), address: None });
        Self {
            database: collection.database.as_str().into(),
            collection: collection.collection.as_str().into(),
            relay: collection.to_string().into(),
            kind,
            names: HashSet::default(),
            to: (!to.is_empty()).then(|| destinations.collect()),
            origin: Vec::new(),
        }
    }

    pub(super) fn event(&mut self, id: EventId, found: Found<'_>, occasion: Occasion) -> Event {
        Event {
            id,
            name: self.name(found.name),
            rule: Arc::clone(&self.relay),
            database: Arc::clone(&self.database),
            collection: Arc::clone(&self.collection),
            subject: found.subject,
            time: found.time.unwrap_or(occasion.time),
            partition_key: found.key,
            sequence: occasion.sequence,
            evidence: occasion.evidence,
            transaction: occasion.transaction,
            rule_set: None,
            to: self.to.clone(),
            data: found.content.data,
            explicit: Some(Box::new(Explicit {
                id: found.id_text,
                headers: found.headers,
                route: found.route,
                payload: found.content.payload,
                form: found.form,
            })),
        }
    }

    /// The id of an event depends on where it is written and on the application's id for it, and on nothing that is not in its
    /// document: it is the same whenever and however often the document is read. `within` is the key of the document in which the id
    /// is one; empty if it is one in the whole collection.
    pub(super) fn event_id(&mut self, within: &[u8], id: RawBsonRef<'_>, text: &str) -> EventId {
        self.origin.clear();
        self.origin.extend_from_slice(within);
        // The number 1 is another id than the text 1.
        self.origin.push(id.element_type() as u8);
        self.origin.extend_from_slice(match id {
            RawBsonRef::Document(document) => document.as_bytes(),
            RawBsonRef::Array(array) => array.as_bytes(),
            _ => text.as_bytes(),
        });
        EventId::new(&EventOrigin {
            cluster_time: ClusterTime::default(),
            operation_index: 0,
            database: &self.database,
            collection: &self.collection,
            key: &self.origin,
            rule: self.kind,
            ordinal: 0,
        })
    }

    /// The id of an event to which the application gave none: that of its place in the log.
    pub(super) fn event_id_by_place(&self, change: &Change<'_>, rule: &str, ordinal: u32) -> EventId {
        EventId::new(&EventOrigin {
            cluster_time: change.cluster_time,
            operation_index: change.operation_index,
            database: change.database,
            collection: change.collection,
            key: change.key.as_bytes(),
            rule,
            ordinal,
        })
    }

    /// Applications name their events after a handful of types; if one does not, its names are forgotten again.
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }
}
