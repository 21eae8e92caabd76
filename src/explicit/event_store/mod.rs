//! The relay of an event store: every document that is inserted is an event, the next one of its stream.

mod settings;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bson::{RawBsonRef, RawDocument, rawdoc};

pub use settings::EventStoreSettings;

use super::custom::{Custom, CustomError, Given, Paths, needed, place, singular};
use super::found::{Flaw, needed_text, plain_text};
use super::relayed::{Occasion, Sender};
use super::settings::RelayError;
use super::{Ignored, Noted, StreamFault, StreamFaultKind};
use crate::change::{Change, Image, Operation, element};
use crate::event::{Event, Evidence, GAP, Header};
use crate::namespace::Namespace;
use crate::rules::{FailedEvent, Outcome, Query, text};
use streams::{Place, Streams};

/// The word of this kind of relay.
const KIND: &str = "event_store";
/// The number of an event among those of its change: a gap event comes before it.
const NUMBER: u16 = 1;

/// The relay of one event store.
#[derive(Debug)]
pub(super) struct EventStore {
    number: usize,
    collection: Namespace,
    stream: Query,
    version: Query,
    version_header: Arc<str>,
    custom: Custom,
    sender: Sender,
    payload_bytes_max: usize,
    streams: Streams,
}

impl EventStore {
    pub(super) fn new(number: usize, settings: &EventStoreSettings) -> Result<Self, RelayError> {
        let error = |CustomError { key, reason, help }| RelayError { relay: number, kind: KIND, key, reason, help };
        if settings.payload_bytes_max.0 == 0 {
            let (reason, help) = ("no payload would be passed on".to_owned(), "write at least 1".to_owned());
            return Err(error(CustomError { key: "payload_bytes_max".to_owned(), reason, help }));
        }
        let mut headers = settings.headers.clone();
        headers.entry("metadata".to_owned()).or_insert_with(|| settings.metadata.clone());
        let custom = Custom::new(&Paths {
            id: Some(&settings.id),
            event_type: &settings.event_type,
            key: None,
            data: &settings.data,
            subject: settings.subject.as_deref(),
            time: settings.time.as_deref(),
            headers: &headers,
            traceparent: settings.traceparent.as_deref(),
            tracestate: settings.tracestate.as_deref(),
            route: settings.route.as_deref(),
            form: settings.form,
        });
        // A path of its own here, a header there.
        let named = |error: CustomError| match error.key.as_str() {
            "headers.metadata" if !settings.headers.contains_key("metadata") => {
                CustomError { key: "metadata".to_owned(), ..error }
            }
            _ => error,
        };
        Ok(Self {
            number,
            stream: singular("stream", &settings.stream).map_err(error)?,
            version: singular("version", &settings.version).map_err(error)?,
            version_header: "streamversion".into(),
            custom: custom.map_err(|found| error(named(found)))?,
            sender: Sender::new(KIND, &settings.collection, &settings.to),
            collection: settings.collection.clone(),
            payload_bytes_max: usize::try_from(settings.payload_bytes_max.0).unwrap_or(usize::MAX),
            streams: Streams::new(settings.first_version),
        })
    }

    pub(super) fn collection(&self) -> &Namespace {
        &self.collection
    }

    /// Takes every change of the collection.
    pub(super) fn apply(&mut self, change: &Change<'_>, outcome: &mut Outcome, noted: &mut Noted) -> bool {
        match (change.operation, change.after) {
            (Operation::Insert, Image::Exact(document) | Image::LookedUp(document)) => {
                self.take(change, document, outcome, noted);
            }
            (Operation::Insert, Image::Absent | Image::Unknown) => {
                let reason = format!("an insert into {} came without its document", self.collection);
                self.fail(change, reason, outcome);
            }
            (Operation::Update | Operation::Replace | Operation::Delete, _) => {
                noted.ignored.push(Ignored { relay: self.number, what: change.operation.as_str(), is_fatal: false });
            }
        }
        true
    }

    fn take(&mut self, change: &Change<'_>, document: &RawDocument, outcome: &mut Outcome, noted: &mut Noted) {
        let (stream, version) = match self.place_of(document) {
            Ok(place) => place,
            Err(flaw) => return self.fail(change, self.reason(&flaw), outcome),
        };
        // An event that can not be passed on takes its place in the stream all the same.
        match self.streams.take(&stream, version) {
            Place::Next => {}
            Place::Unverified => noted.unverified.push(self.number),
            Place::Fault { kind, expected } => {
                noted.faults.push(StreamFault { relay: self.number, kind, expected, found: version });
                outcome.events.push(self.gap(change, &stream, (kind, expected, version)));
            }
        }
        let given = Given { id: None, key: Some(stream) };
        match self.custom.find(document, given, self.payload_bytes_max) {
            Ok(mut found) => {
                let value = bson::RawBson::Int64(version);
                found.headers.push(Header { name: Arc::clone(&self.version_header), value });
                let id = self.sender.event_id(&[], found.id, &found.id_text);
                outcome.events.push(self.sender.event(id, found, Occasion::of_change(change, NUMBER)));
            }
            Err(flaw) => self.fail(change, self.reason(&flaw), outcome),
        }
    }

    /// The stream of an event, and its version there.
    fn place_of(&self, document: &RawDocument) -> Result<(String, i64), Flaw> {
        let stream = needed_text(needed(&self.stream, document, "stream")?, &|| place("stream", &self.stream))?;
        let version = needed(&self.version, document, "version")?;
        // Applications in languages without integers write doubles.
        let whole = match version {
            RawBsonRef::Int32(number) => Some(i64::from(number)),
            RawBsonRef::Int64(number) => Some(number),
            RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() < 2_f64.powi(53) => Some(number as i64),
            _ => None,
        };
        let whole = whole.ok_or_else(|| Flaw::of_type(place("version", &self.version), version, "a whole number"))?;
        Ok((stream, whole))
    }

    /// Says, right before the event with the version that was found, what is wrong with its stream: in the stream's own order.
    fn gap(&self, change: &Change<'_>, stream: &str, (kind, expected, found): (StreamFaultKind, i64, i64)) -> Event {
        Event {
            id: self.sender.event_id_by_place(change, GAP, 0),
            name: GAP.into(),
            rule: GAP.into(),
            database: Arc::clone(&self.sender.database),
            collection: Arc::clone(&self.sender.collection),
            subject: None,
            time: change.time(),
            partition_key: stream.to_owned(),
            sequence: text::sequence(change.cluster_time, change.operation_index, 0),
            evidence: Evidence::Exact,
            transaction: change.transaction.as_ref().map(text::transaction),
            explicit: None,
            rule_set: None,
            to: None,
            data: rawdoc! {
                "reason": "stream",
                "kind": kind.as_str(),
                "relay": &*self.sender.relay,
                "stream": stream,
                "expected": expected,
                "found": found,
            },
        }
    }

    fn reason(&self, flaw: &Flaw) -> String {
        format!("a document of {} can not be an event: {flaw}", self.collection)
    }

    fn fail(&mut self, change: &Change<'_>, reason: String, outcome: &mut Outcome) {
        let id = element::get(change.key, "_id").unwrap_or(RawBsonRef::Null);
        let id = self.sender.event_id(&[], id, &plain_text(id));
        outcome.failed.push(FailedEvent { id, rule: Arc::clone(&self.sender.relay), reason });
    }
}
