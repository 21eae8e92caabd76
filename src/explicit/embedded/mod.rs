//! The relay of an embedded outbox: every element that a change appends to the array of events of a document is an event.

mod settings;
#[cfg(test)]
mod tests;

use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

pub use settings::{EmbeddedCleanUp, EmbeddedOutboxSettings};

use super::custom::{Custom, CustomError, Given, Paths};
use super::found::{Flaw, plain_text};
use super::relayed::{Occasion, Sender};
use super::settings::RelayError;
use super::{Done, Ignored, Noted};
use crate::change::element::{self, elements};
use crate::change::{Change, Image, Operation};
use crate::namespace::Namespace;
use crate::position::ClusterTime;
use crate::rules::{
    Appended, AppendedElements, FailedEvent, FieldPath, NewElement, Outcome, Query, Selected, select, text,
};

/// The word of this kind of relay.
const KIND: &str = "embedded_outbox";
/// The events of rules on the same change are numbered from 0.
const FIRST_NUMBER: u16 = 0x8000;

/// The relay of one embedded outbox.
#[derive(Debug)]
pub(super) struct EmbeddedOutbox {
    collection: Namespace,
    appended: AppendedElements,
    maker: Maker,
}

/// Makes the events of elements.
#[derive(Debug)]
struct Maker {
    number: usize,
    path: String,
    /// The id of an element is the first of these that it has.
    ids: Vec<Query>,
    sender: Sender,
    custom: Custom,
    payload_bytes_max: usize,
    is_pulled: bool,
    /// Whether the change at hand had something for the relay, and its next event.
    is_taken: bool,
    next_number: u16,
    /// Whether the change is not the one that appended the elements: then those without an id of their own can not be told.
    is_recovering: bool,
}

impl EmbeddedOutbox {
    pub(super) fn new(number: usize, settings: &EmbeddedOutboxSettings) -> Result<Self, RelayError> {
        let error = |key: &str, reason: String, help: String| RelayError {
            relay: number,
            kind: KIND,
            key: key.to_owned(),
            reason,
            help,
        };
        let path = FieldPath::parse(&settings.path)
            .map_err(|found| error("path", found.message, found.help.unwrap_or_default()))?;
        let ids = settings.id_paths().iter().map(|id| Query::parse_plain(id)).collect::<Result<Vec<_>, _>>();
        let ids = ids.map_err(|found| error("id", found.message, found.help.unwrap_or_default()))?;
        let appended = AppendedElements::new(&path, &ids).ok_or_else(|| {
            let help = "name the field alone, as in $.id or $.meta.id".to_owned();
            error("id", "elements can not be told apart by such a path".to_owned(), help)
        })?;
        if settings.payload_bytes_max.0 == 0 {
            return Err(error(
                "payload_bytes_max",
                "no payload would be passed on".to_owned(),
                "write at least 1".to_owned(),
            ));
        }
        let custom = Custom::new(&Paths {
            id: None,
            event_type: &settings.event_type,
            key: settings.key.as_deref(),
            data: &settings.data,
            subject: settings.subject.as_deref(),
            time: settings.time.as_deref(),
            headers: &settings.headers,
            traceparent: settings.traceparent.as_deref(),
            tracestate: settings.tracestate.as_deref(),
            route: settings.route.as_deref(),
            form: settings.form,
        });
        let custom = custom.map_err(|CustomError { key, reason, help }| error(&key, reason, help))?;
        Ok(Self {
            collection: settings.collection.clone(),
            appended,
            maker: Maker {
                number,
                path: settings.path.clone(),
                ids,
                sender: Sender::new(KIND, &settings.collection, &settings.to),
                custom,
                payload_bytes_max: usize::try_from(settings.payload_bytes_max.0).unwrap_or(usize::MAX),
                is_pulled: settings.clean_up == EmbeddedCleanUp::Pull,
                is_taken: false,
                next_number: 0,
                is_recovering: false,
            },
        })
    }

    pub(super) fn collection(&self) -> &Namespace {
        &self.collection
    }

    /// Takes what the change appended. True if the change is explained by that, or by the array alone: what is taken out of it or
    /// changed in it, as by the clean-up, is nothing that a rule should tell.
    pub(super) fn apply(&mut self, change: &Change<'_>, outcome: &mut Outcome, noted: &mut Noted) -> bool {
        let maker = &mut self.maker;
        (maker.is_taken, maker.next_number) = (false, FIRST_NUMBER);
        self.appended.visit(change, &mut |appended| {
            maker.is_taken = true;
            match appended {
                Appended::New(element) => maker.take(change, &element, outcome, noted),
                Appended::Altered => {
                    noted.ignored.push(Ignored { relay: maker.number, what: "altered", is_fatal: false });
                }
                Appended::Unseen { index } => maker.fail_unseen(change, index, outcome),
            }
        });
        maker.is_taken || self.is_of_array_alone(change)
    }

    /// True for an update that touches nothing but the array.
    fn is_of_array_alone(&self, change: &Change<'_>) -> bool {
        let (Operation::Update, Some(description)) = (change.operation, &change.description) else { return false };
        let path = self.maker.path.as_bytes();
        let is_within = |name: &[u8]| name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'.');
        let is_named_within =
            |name: Option<RawBsonRef<'_>>| matches!(name, Some(RawBsonRef::String(name)) if is_within(name.as_bytes()));
        let truncated = description.truncated.into_iter().flatten();
        elements(description.updated).all(|element| is_within(element.name))
            && description.removed.into_iter().all(|removed| is_named_within(removed.ok()))
            && truncated
                .flatten()
                .all(|one| one.as_document().is_some_and(|one| is_named_within(element::get(one, "field"))))
    }

    /// Takes what a document still holds, as if it had just been inserted: an element with an id has the very event, with the very
    /// id, that the change which appended it has. One without is left alone.
    pub(super) fn recover(
        &mut self,
        document: &RawDocument,
        read_at: bson::DateTime,
        outcome: &mut Outcome,
        noted: &mut Noted,
    ) {
        let Some(id) = element::get(document, "_id") else { return };
        let mut key = RawDocumentBuf::new();
        key.append(bson::cstr!("_id"), id);
        let Namespace { database, collection } = self.collection.clone();
        let seconds = u32::try_from(read_at.timestamp_millis().div_euclid(1_000)).unwrap_or(0);
        let change = Change {
            operation: Operation::Insert,
            database: &database,
            collection: &collection,
            key: &key,
            before: Image::Absent,
            after: Image::Exact(document),
            description: None,
            cluster_time: ClusterTime { seconds, increment: 0 },
            operation_index: 0,
            wall_time: Some(read_at),
            transaction: None,
            token: None,
        };
        self.maker.is_recovering = true;
        self.apply(&change, outcome, noted);
        self.maker.is_recovering = false;
    }
}

impl Maker {
    fn take(&mut self, change: &Change<'_>, element: &NewElement<'_>, outcome: &mut Outcome, noted: &mut Noted) {
        let id = self.id_of(element.value);
        if self.is_recovering && id.is_none() {
            return;
        }
        let id_text = id.map(plain_text).unwrap_or_default();
        let event_id = match id {
            // An id is one of its document; the other fields of a sharded collection's key may change.
            Some(id) => {
                let within =
                    elements(change.key).find(|field| field.name == b"_id").map_or(&[][..], |field| field.content.1);
                self.sender.event_id(within, id, &id_text)
            }
            None => self.sender.event_id_by_place(change, &self.sender.relay, element.index),
        };
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        let found = match element.value {
            RawBsonRef::Document(document) => {
                let given = Given { id, key: Some(text::key(change.key)) };
                self.custom.find(document, given, self.payload_bytes_max)
            }
            other => Err(Flaw::of_type("it".to_owned(), other, "a document")),
        };
        match found {
            Ok(mut found) => {
                if id.is_none() {
                    found.id_text = event_id.to_string();
                }
                let occasion = Occasion { evidence: element.evidence, ..Occasion::of_change(change, number) };
                outcome.events.push(self.sender.event(event_id, found, occasion));
            }
            Err(flaw) => {
                let (index, path, relay) = (element.index, &self.path, &self.sender.relay);
                let reason =
                    format!("the element {index} of {path:?} in a document of {relay} can not be an event: {flaw}");
                outcome.failed.push(FailedEvent { id: event_id, rule: relay.clone(), reason });
            }
        }
        // One that can not be an event is done with, too: its dead letter holds all of it.
        if let (true, Some(id), Some(document)) = (self.is_pulled, id, change.id()) {
            let (document, element) = (RawBson::from(document), Some(RawBson::from(id)));
            noted.done.push(Done { relay: self.number, document, element });
        }
    }

    /// The id of an element; one that is null or an empty text is none.
    fn id_of<'e>(&self, element: RawBsonRef<'e>) -> Option<RawBsonRef<'e>> {
        let RawBsonRef::Document(document) = element else { return None };
        self.ids.iter().find_map(|query| match select(query, document) {
            Selected::Value(RawBsonRef::Null | RawBsonRef::Undefined | RawBsonRef::String("")) => None,
            Selected::Value(id) => Some(id),
            Selected::Nothing | Selected::Values(_) => None,
        })
    }

    fn fail_unseen(&self, change: &Change<'_>, index: u32, outcome: &mut Outcome) {
        let (path, relay) = (&self.path, &self.sender.relay);
        let reason = format!(
            "the element {index} of {path:?} in a document of {relay} became another one by a write inside of it, and is only known \
             with the document before the change\nhelp: let the server keep it (`changeling check` names the command), or append with \
             $push"
        );
        let id = self.sender.event_id_by_place(change, relay, index);
        outcome.failed.push(FailedEvent { id, rule: relay.clone(), reason });
    }
}
