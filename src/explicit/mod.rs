//! Explicit events: those that the application wrote itself, in an outbox, in an array of its documents, or in an event store.
//! Pure: no file, no clock, no network.
//!
//! A relay takes the changes of its collection and makes of each what the application meant, without any rule. The collections of
//! outboxes and event stores are for relays alone; a collection with an embedded outbox is for rules too.

mod custom;
mod embedded;
mod event_store;
mod found;
mod outbox;
mod reads;
mod relayed;
mod settings;

use std::sync::Arc;

use bson::{RawBson, RawDocument};

pub use embedded::{EmbeddedCleanUp, EmbeddedOutboxSettings};
pub use event_store::EventStoreSettings;
pub use outbox::{
    AdditionalMissing, CustomForm, CustomSettings, DebeziumFields, DebeziumRoute, DebeziumSettings, InvalidOperations,
    Layout, OutboxSettings, PayloadFormat,
};
pub use reads::{RelayReads, UpdatesRead};
pub use settings::{CleanUp, RelayError, RelaySettings};

use crate::change::Change;
use crate::namespace::Namespace;
use crate::rules::{ImageKind, ImageNeeds, ImageReason, Outcome, WithoutImage};
use embedded::EmbeddedOutbox;
use event_store::EventStore;
use outbox::Outbox;

/// The relays of one connector, and what they have to remember between changes.
#[derive(Debug, Default)]
pub struct Relays {
    relays: Vec<Relay>,
    reads: Vec<RelayReads>,
}

#[derive(Debug)]
enum Relay {
    Outbox(Box<Outbox>),
    Embedded(Box<EmbeddedOutbox>),
    EventStore(Box<EventStore>),
}

/// What relays found beside events.
#[derive(Debug, Default)]
pub struct Noted {
    /// What is to be cleaned up as soon as the events of the change have settled.
    pub done: Vec<Done>,
    /// Changes that no relay makes anything of although a user may have meant something by them.
    pub ignored: Vec<Ignored>,
    /// Events of a stream that came in another order than that of their versions.
    pub faults: Vec<StreamFault>,
    /// The relay of every stream that was first seen in its middle: whether its earlier events came, nobody can tell.
    pub unverified: Vec<usize>,
}

impl Noted {
    /// Makes it empty, keeping its memory.
    pub fn clear(&mut self) {
        self.done.clear();
        self.ignored.clear();
        self.faults.clear();
        self.unverified.clear();
    }

    /// True if nothing was found.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty() && self.ignored.is_empty() && self.faults.is_empty() && self.unverified.is_empty()
    }
}

/// An explicit event that the application's database need not hold any more once it has settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The number of the relay.
    pub relay: usize,
    /// The `_id` of the document.
    pub document: RawBson,
    /// The id of the element, in an embedded outbox.
    pub element: Option<RawBson>,
}

impl Done {
    /// The memory that it holds, about, in bytes.
    pub fn byte_count(&self) -> usize {
        let bytes = |value: &RawBson| match value {
            RawBson::String(text) => text.len(),
            RawBson::Document(document) => document.as_bytes().len(),
            RawBson::Array(array) => array.as_bytes().len(),
            RawBson::Binary(binary) => binary.bytes.len(),
            _ => 0,
        };
        size_of::<Self>() + bytes(&self.document) + self.element.as_ref().map_or(0, bytes)
    }
}

/// A change in an outbox that makes no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The number of the relay.
    pub relay: usize,
    /// What happened: a word fit for a metric label, such as `update`.
    pub what: &'static str,
    /// The user wants the connector to stop at it.
    pub is_fatal: bool,
}

/// A version of a stream that is not the next one.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamFault {
    /// The number of the relay.
    pub relay: usize,
    /// What is wrong.
    pub kind: StreamFaultKind,
    /// The version that was expected.
    pub expected: i64,
    /// The version that came.
    pub found: i64,
}

/// What is wrong with the order of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFaultKind {
    /// Versions are missing.
    Gap,
    /// The version, or a later one, came before.
    Repeat,
}

impl StreamFaultKind {
    /// The word of the metric label and of the gap event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Repeat => "repeat",
        }
    }
}

impl Relays {
    /// Relays with these settings.
    ///
    /// # Errors
    /// The first setting that can not be used.
    pub fn new(settings: &[RelaySettings]) -> Result<Self, RelayError> {
        let relays = settings.iter().enumerate().map(|(number, settings)| Relay::new(number, settings));
        let relays = relays.collect::<Result<_, RelayError>>()?;
        Ok(Self { relays, reads: settings.iter().map(RelayReads::of).collect() })
    }

    /// Of every relay whose settings can not be used, why.
    pub fn faults(settings: &[RelaySettings]) -> Vec<RelayError> {
        let relays = settings.iter().enumerate().map(|(number, settings)| Relay::new(number, settings));
        relays.filter_map(Result::err).collect()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    /// The collection of every relay, in the order of their numbers.
    pub fn collections(&self) -> impl Iterator<Item = &Namespace> {
        self.relays.iter().map(Relay::collection)
    }

    /// What every relay needs of the changes of its collection, in the order of their numbers.
    pub fn reads(&self) -> &[RelayReads] {
        &self.reads
    }

    /// True if changes of this collection are for a relay alone, so that no rule sees them.
    pub fn owns(&self, database: &str, collection: &str) -> bool {
        let is_it = |relay: &Relay| !matches!(relay, Relay::Embedded(_)) && relay.is_of(database, collection);
        self.relays.iter().any(is_it)
    }

    /// What relays need to know of the documents of a collection beyond a change's own description.
    pub fn image_needs(&self, database: &str, collection: &str) -> ImageNeeds {
        let relays = self.relays.iter().filter(|relay| relay.is_of(database, collection));
        relays.fold(ImageNeeds::default(), |needs, relay| needs.or(relay.image_needs()))
    }

    /// Why relays need images of a collection; empty if they need none.
    pub fn image_reasons(&self, database: &str, collection: &str) -> Vec<ImageReason> {
        let is_it = |reads: &&RelayReads| {
            let Namespace { database: own_database, collection: own } = &reads.collection;
            !reads.is_alone && own == collection && own_database == database
        };
        let reason = |reads: &RelayReads| ImageReason {
            image: ImageKind::Before,
            rule: Self::reader_name(&reads.collection),
            path: match &reads.updates {
                UpdatesRead::Touching(path) => path.clone(),
                UpdatesRead::All | UpdatesRead::NotSetting(_) => "the array of events".to_owned(),
            },
            part: "embedded_outbox",
            // Of an array that is written whole, nobody knows which elements are new.
            without: WithoutImage::Undecided,
        };
        self.reads.iter().filter(is_it).map(reason).collect()
    }

    /// What a relay is called among those that look at a collection.
    pub fn reader_name(collection: &Namespace) -> Arc<str> {
        format!("relay {collection}").into()
    }

    /// What relays need over all their collections: what the stream is opened with.
    pub fn image_needs_of_all(&self) -> ImageNeeds {
        self.relays.iter().fold(ImageNeeds::default(), |needs, relay| needs.or(relay.image_needs()))
    }

    /// Appends to `outcome` the explicit events of a change, and to `noted` what else was found. True if the change was for a
    /// relay.
    ///
    /// What can not be made an event is among the failed events of the outcome.
    pub fn apply(&mut self, change: &Change<'_>, outcome: &mut Outcome, noted: &mut Noted) -> bool {
        let mut is_taken = false;
        for relay in &mut self.relays {
            if relay.is_of(change.database, change.collection) {
                is_taken |= match relay {
                    Relay::Outbox(outbox) => outbox.apply(change, outcome, noted),
                    Relay::Embedded(embedded) => embedded.apply(change, outcome, noted),
                    Relay::EventStore(store) => store.apply(change, outcome, noted),
                };
            }
        }
        is_taken
    }

    /// The same of a document that the outbox with the number `relay` still holds, or of one that still holds elements of an embedded
    /// outbox: it has the very events, with the very ids, that the changes have which brought them. `read_at` is the time of events
    /// whose document tells none.
    pub fn recover(
        &mut self,
        relay: usize,
        document: &RawDocument,
        read_at: bson::DateTime,
        outcome: &mut Outcome,
        noted: &mut Noted,
    ) {
        match self.relays.get_mut(relay) {
            Some(Relay::Outbox(outbox)) => outbox.recover(document, read_at, outcome, noted),
            Some(Relay::Embedded(embedded)) => embedded.recover(document, read_at, outcome, noted),
            Some(Relay::EventStore(_)) | None => {}
        }
    }
}

impl Relay {
    fn new(number: usize, settings: &RelaySettings) -> Result<Self, RelayError> {
        Ok(match settings {
            RelaySettings::Outbox(settings) => Self::Outbox(Box::new(Outbox::new(number, settings)?)),
            RelaySettings::EmbeddedOutbox(settings) => Self::Embedded(Box::new(EmbeddedOutbox::new(number, settings)?)),
            RelaySettings::EventStore(settings) => Self::EventStore(Box::new(EventStore::new(number, settings)?)),
        })
    }

    fn collection(&self) -> &Namespace {
        match self {
            Self::Outbox(outbox) => outbox.collection(),
            Self::Embedded(embedded) => embedded.collection(),
            Self::EventStore(store) => store.collection(),
        }
    }

    fn is_of(&self, database: &str, collection: &str) -> bool {
        let own = self.collection();
        own.collection == collection && own.database == database
    }

    fn image_needs(&self) -> ImageNeeds {
        match self {
            // An array that is written whole shows what was appended only beside the one before it.
            Self::Embedded(_) => ImageNeeds { before: true, after: false },
            Self::Outbox(_) | Self::EventStore(_) => ImageNeeds::default(),
        }
    }
}
