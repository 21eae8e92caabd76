//! The relay of an outbox: a collection into which the application inserts its events. Every insert is one; what its document means
//! is told by the layout.

mod debezium;
mod placement;
mod route;
mod settings;
#[cfg(test)]
mod tests;
mod trace;

use bson::{RawBson, RawBsonRef, RawDocument};

pub(super) use settings::payload_bytes_max;
pub use settings::{
    AdditionalMissing, CustomForm, CustomSettings, DebeziumFields, DebeziumRoute, DebeziumSettings, InvalidOperations,
    Layout, OutboxSettings, PayloadFormat,
};

use super::custom::{Custom, CustomError, Given};
use super::found::{Flaw, plain_text};
use super::relayed::{Occasion, Sender};
use super::settings::{CleanUp, RelayError};
use super::{Done, Ignored, Noted};
use crate::change::element::{self, elements};
use crate::change::{Change, Image, Operation};
use crate::namespace::Namespace;
use crate::rules::{FailedEvent, Outcome};
use debezium::{Debezium, DebeziumError};
use placement::PlacementError;
use route::RouterError;

/// The word of this kind of relay.
const KIND: &str = "outbox";

/// The relay of one outbox.
#[derive(Debug)]
pub(super) struct Outbox {
    number: usize,
    collection: Namespace,
    sender: Sender,
    reader: Reader,
    payload_bytes_max: usize,
    clean_up: CleanUp,
    invalid_operations: InvalidOperations,
}

#[derive(Debug)]
enum Reader {
    Debezium(Box<Debezium>),
    Custom(Box<Custom>),
}

impl Outbox {
    pub(super) fn new(number: usize, settings: &OutboxSettings) -> Result<Self, RelayError> {
        let error = |key: &str, reason: &str, help: &str| RelayError {
            relay: number,
            kind: KIND,
            key: key.to_owned(),
            reason: reason.to_owned(),
            help: help.to_owned(),
        };
        let reader = match (settings.layout, &settings.debezium, &settings.custom) {
            (Layout::Debezium, _, Some(_)) => {
                return Err(error("custom", "the layout is debezium", "write layout: custom, or leave this out"));
            }
            (Layout::Custom, Some(_), _) => {
                return Err(error("debezium", "the layout is custom", "write layout: debezium, or leave this out"));
            }
            (Layout::Custom, None, None) => {
                let help = "add custom: {type: $.type, key: $.key, data: $.data}, with the places of your documents";
                return Err(error("layout", "the layout custom needs to be told where to find what", help));
            }
            (Layout::Debezium, settings, None) => {
                let debezium = Debezium::new(&settings.clone().unwrap_or_default());
                Reader::Debezium(Box::new(debezium.map_err(|found| debezium_error(number, &found))?))
            }
            (Layout::Custom, None, Some(settings)) => {
                let relay_error = |CustomError { key, reason, help }: CustomError| RelayError {
                    relay: number,
                    kind: KIND,
                    key: format!("custom.{key}"),
                    reason,
                    help,
                };
                Reader::Custom(Box::new(Custom::new(&settings.into()).map_err(relay_error)?))
            }
        };
        if settings.payload_bytes_max.0 == 0 {
            return Err(error("payload_bytes_max", "no payload would be passed on", "write at least 1"));
        }
        if let CleanUp::Mark { field, .. } = &settings.clean_up
            && (field.is_empty() || field == "_id" || field.starts_with('$') || field.contains(['.', '\0']))
        {
            let help = "name a field of the document itself that the application does not use, such as relayedAt";
            return Err(error("clean_up.mark.field", "a mark can not be put there", help));
        }
        Ok(Self {
            number,
            sender: Sender::new(KIND, &settings.collection, &settings.to),
            collection: settings.collection.clone(),
            reader,
            payload_bytes_max: usize::try_from(settings.payload_bytes_max.0).unwrap_or(usize::MAX),
            clean_up: settings.clean_up.clone(),
            invalid_operations: settings.debezium.as_ref().map(|one| one.invalid_operations).unwrap_or_default(),
        })
    }

    pub(super) fn collection(&self) -> &Namespace {
        &self.collection
    }

    /// Takes every change of the collection.
    pub(super) fn apply(&mut self, change: &Change<'_>, outcome: &mut Outcome, noted: &mut Noted) -> bool {
        match change.operation {
            Operation::Insert => match change.after {
                Image::Exact(document) | Image::LookedUp(document) => {
                    self.take(document, Occasion::of_change(change, 0), outcome, noted);
                }
                Image::Absent | Image::Unknown => {
                    let reason = format!("an insert into {} came without its document", self.collection);
                    self.fail(change.id(), reason, outcome);
                }
            },
            Operation::Update | Operation::Replace => {
                if !self.is_own_mark(change) {
                    self.note_invalid(change, outcome, noted);
                }
            }
            // Whoever cleans up deletes.
            Operation::Delete => {}
        }
        true
    }

    pub(super) fn recover(
        &mut self,
        document: &RawDocument,
        read_at: bson::DateTime,
        outcome: &mut Outcome,
        noted: &mut Noted,
    ) {
        self.take(document, Occasion::of_document(document, read_at), outcome, noted);
    }

    /// Makes the event of a document. One that can not be an event is done with, too: its dead letter holds all of it, and it would
    /// be one again at every start.
    fn take(&mut self, document: &RawDocument, occasion: Occasion, outcome: &mut Outcome, noted: &mut Noted) {
        let found = match &mut self.reader {
            Reader::Debezium(debezium) => debezium.find(document, self.payload_bytes_max),
            Reader::Custom(custom) => custom.find(document, Given::default(), self.payload_bytes_max),
        };
        let id = element::get(document, "_id");
        match found {
            Ok(found) => {
                let id = self.sender.event_id(&[], found.id, &found.id_text);
                outcome.events.push(self.sender.event(id, found, occasion));
            }
            Err(flaw) => self.fail(id, self.reason(&flaw), outcome),
        }
        if self.clean_up != CleanUp::Keep {
            let document = id.map(RawBson::from);
            noted.done.extend(document.map(|document| Done { relay: self.number, document, element: None }));
        }
    }

    fn reason(&self, flaw: &Flaw) -> String {
        format!("a document of {} can not be an event: {flaw}", self.collection)
    }

    fn fail(&mut self, document: Option<RawBsonRef<'_>>, reason: String, outcome: &mut Outcome) {
        let document = document.unwrap_or(RawBsonRef::Null);
        let id = self.sender.event_id(&[], document, &plain_text(document));
        outcome.failed.push(FailedEvent { id, rule: self.sender.relay.clone(), reason });
    }

    /// True for an update that does nothing but mark a document as relayed.
    fn is_own_mark(&self, change: &Change<'_>) -> bool {
        let (CleanUp::Mark { field, .. }, Some(description)) = (&self.clean_up, &change.description) else {
            return false;
        };
        let mut updated = elements(description.updated);
        let is_marked = updated.next().is_some_and(|element| element.name == field.as_bytes());
        is_marked && updated.next().is_none() && description.removed.is_empty() && description.truncated.is_none()
    }

    fn note_invalid(&mut self, change: &Change<'_>, outcome: &mut Outcome, noted: &mut Noted) {
        let ignored = Ignored { relay: self.number, what: change.operation.as_str(), is_fatal: false };
        match self.invalid_operations {
            InvalidOperations::Warn => noted.ignored.push(ignored),
            InvalidOperations::Fatal => noted.ignored.push(Ignored { is_fatal: true, ..ignored }),
            InvalidOperations::Error => {
                let reason =
                    format!("a document of {} was changed ({}), which makes no event", self.collection, ignored.what);
                self.fail(change.id(), reason, outcome);
            }
        }
    }
}

fn debezium_error(relay: usize, error: &DebeziumError) -> RelayError {
    let (key, help) = match error {
        DebeziumError::Router(RouterError::Expression { .. }) => (
            "route.regex",
            "the syntax is that of Java without look-around and back-references; the default is (?<routedByValue>.*)",
        ),
        DebeziumError::Router(RouterError::Replacement { .. }) => {
            ("route.replacement", "write $1, or $${name} in a configuration file, where $$ stands for a dollar sign")
        }
        DebeziumError::Placement(error) => ("additional", PlacementError::help(error)),
        DebeziumError::Field { key } => (*key, "name the field, or leave this out for Debezium's default"),
    };
    RelayError { relay, kind: KIND, key: format!("debezium.{key}"), reason: error.to_string(), help: help.to_owned() }
}
