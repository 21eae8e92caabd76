//! The layout of Debezium's outbox event router for MongoDB: what its consumers see, they see here.

use std::collections::HashMap;
use std::sync::Arc;

use bson::raw::cstr;
use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::placement::{self, Additional, Place, PlacementError};
use super::route::{Router, RouterError};
use super::settings::{AdditionalMissing, DebeziumSettings, PayloadFormat};
use super::trace::properties;
use crate::canonical_json;
use crate::change::element::{self, Element, elements};
use crate::event::{Address, AddressPart, Header, MessageForm, Payload};
use crate::explicit::found::{Content, Flaw, Found, name, needed_text, plain};

/// How many topics are remembered. There are as many as types of aggregates; more than a handful is somebody's mistake.
const TOPICS_MAX: usize = 1_024;

/// What a field of a document is there for.
#[derive(Clone, Copy)]
enum Role {
    Id,
    Key,
    Type,
    Payload,
    Route,
    Trace,
    Timestamp,
}

const ROLE_COUNT: usize = 7;

/// The layout.
#[derive(Debug)]
pub(super) struct Debezium {
    /// The names of the fields, by [`Role`].
    names: [Option<Box<str>>; ROLE_COUNT],
    additional: Vec<Additional>,
    /// Some additional field goes beside the payload.
    has_envelope: bool,
    missing: AdditionalMissing,
    router: Router,
    topics: HashMap<Box<str>, Arc<Address>, foldhash::fast::RandomState>,
    is_tombstone_wanted: bool,
    format: PayloadFormat,
    header_names: HeaderNames,
}

/// Names that headers share.
#[derive(Debug)]
struct HeaderNames {
    id: Arc<str>,
    traceparent: Arc<str>,
    tracestate: Arc<str>,
}

/// The fields of one document, by [`Role`].
type Fields<'d> = [Option<Element<'d>>; ROLE_COUNT];

/// A setting that can not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DebeziumError {
    #[error(transparent)]
    Router(#[from] RouterError),
    #[error(transparent)]
    Placement(#[from] PlacementError),
    #[error("the name of a field is empty")]
    Field { key: &'static str },
}

impl Debezium {
    pub(super) fn new(settings: &DebeziumSettings) -> Result<Self, DebeziumError> {
        let fields = &settings.fields;
        let named = [
            ("fields.id", Some(&fields.id)),
            ("fields.key", Some(&fields.key)),
            ("fields.type", Some(&fields.event_type)),
            ("fields.payload", Some(&fields.payload)),
            ("route.by", Some(&settings.route.by)),
            ("fields.trace", Some(&fields.trace)),
            ("fields.timestamp", fields.timestamp.as_ref()),
        ];
        if let Some((key, _)) = named.iter().find(|(_, name)| name.is_some_and(String::is_empty)) {
            return Err(DebeziumError::Field { key });
        }
        let additional = placement::parse(&settings.additional)?;
        Ok(Self {
            names: named.map(|(_, name)| name.map(|name| name.as_str().into())),
            has_envelope: additional.iter().any(|one| matches!(one.place, Place::Envelope(_))),
            additional,
            missing: settings.additional_missing,
            router: Router::new(&settings.route.regex, &settings.route.replacement)?,
            topics: HashMap::default(),
            is_tombstone_wanted: settings.tombstone_on_empty_payload,
            format: settings.payload_format,
            header_names: HeaderNames {
                id: "id".into(),
                traceparent: "traceparent".into(),
                tracestate: "tracestate".into(),
            },
        })
    }

    /// What an insert of this document says.
    pub(super) fn find<'d>(&mut self, document: &'d RawDocument, byte_count_max: usize) -> Result<Found<'d>, Flaw> {
        let fields = self.fields(document);
        let id = self.value(&fields, Role::Id)?;
        let id_text = needed_text(id, &|| self.place(Role::Id))?;
        let key = needed_text(self.value(&fields, Role::Key)?, &|| self.place(Role::Key))?;
        let name = name(self.value(&fields, Role::Type)?, &|| self.place(Role::Type))?;
        let time = self.time(&fields)?;
        let content = self.content(document, &fields, byte_count_max)?;
        let headers = self.headers(document, &fields, id)?;
        let route = Some(self.topic(&fields)?);
        let form = match self.format {
            PayloadFormat::Debezium if !self.has_envelope => MessageForm::BareCanonical,
            PayloadFormat::Debezium | PayloadFormat::Relaxed => MessageForm::Bare,
        };
        Ok(Found { id, id_text, name, key, subject: None, time, headers, route, content, form })
    }

    /// One walk finds all that every document has.
    fn fields<'d>(&self, document: &'d RawDocument) -> Fields<'d> {
        let mut fields: Fields<'d> = [None; ROLE_COUNT];
        for element in elements(document) {
            for (name, field) in self.names.iter().zip(&mut fields) {
                if name.as_deref().is_some_and(|name| name.as_bytes() == element.name) && field.is_none() {
                    *field = Some(element);
                }
            }
        }
        fields
    }

    fn value<'d>(&self, fields: &Fields<'d>, role: Role) -> Result<RawBsonRef<'d>, Flaw> {
        let value = fields[role as usize].as_ref().and_then(Element::value);
        value.ok_or_else(|| Flaw::Missing { place: self.place(role) })
    }

    /// The field with this role, for people.
    fn place(&self, role: Role) -> String {
        format!("the field {:?}", self.names[role as usize].as_deref().unwrap_or_default())
    }

    /// Debezium takes milliseconds alone; a date is what MongoDB's own applications write.
    fn time(&self, fields: &Fields<'_>) -> Result<Option<bson::DateTime>, Flaw> {
        if self.names[Role::Timestamp as usize].is_none() {
            return Ok(None);
        }
        match self.value(fields, Role::Timestamp)? {
            RawBsonRef::Int64(millis) => Ok(Some(bson::DateTime::from_millis(millis))),
            RawBsonRef::DateTime(date) => Ok(Some(date)),
            other => Err(Flaw::of_type(self.place(Role::Timestamp), other, "an int64 of milliseconds or a date")),
        }
    }

    fn content(&self, document: &RawDocument, fields: &Fields<'_>, byte_count_max: usize) -> Result<Content, Flaw> {
        let value = match self.value(fields, Role::Payload)? {
            RawBsonRef::String(text) if text.trim().is_empty() => RawBsonRef::Null,
            value => value,
        };
        let is_nothing = matches!(value, RawBsonRef::Null | RawBsonRef::Undefined);
        let content = match is_nothing && self.is_tombstone_wanted {
            true => Content::of(Payload::Tombstone),
            false => Content::of_value(value, byte_count_max, &|| self.place(Role::Payload))?,
        };
        if !self.has_envelope || content.payload == Payload::Tombstone {
            // A missing field of an envelope is an error also where there is none in the end.
            self.envelope(document, None)?;
            return Ok(content);
        }
        Ok(Content::of_document(self.envelope(document, Some(value))?))
    }

    /// The payload with the further fields beside it; without a value, only whether they are there.
    fn envelope(&self, document: &RawDocument, value: Option<RawBsonRef<'_>>) -> Result<RawDocumentBuf, Flaw> {
        let mut envelope = RawDocumentBuf::new();
        match value {
            // Inside of a value, Debezium's text is a text.
            Some(RawBsonRef::Document(payload)) if self.format == PayloadFormat::Debezium => {
                let mut text = Vec::with_capacity(2 * payload.as_bytes().len());
                let unwritable = |reason| Flaw::Unwritable { place: self.place(Role::Payload), reason };
                canonical_json::write_document(&mut text, payload).map_err(unwritable)?;
                envelope.append(cstr!("payload"), &*String::from_utf8_lossy(&text));
            }
            Some(value @ (RawBsonRef::Document(_) | RawBsonRef::Array(_))) => envelope.append(cstr!("payload"), value),
            Some(value) => envelope.append(cstr!("payload"), plain(value)),
            None => {}
        }
        for Additional { field, place } in &self.additional {
            if let Place::Envelope(alias) = place
                && let Some(found) = self.further(document, field)?
                && value.is_some()
            {
                envelope.append(alias, plain(found));
            }
        }
        Ok(envelope)
    }

    fn further<'d>(&self, document: &'d RawDocument, field: &str) -> Result<Option<RawBsonRef<'d>>, Flaw> {
        match (element::get(document, field), self.missing) {
            (None, AdditionalMissing::Error) => Err(Flaw::Missing { place: format!("the field {field:?}") }),
            (found, _) => Ok(found),
        }
    }

    fn headers(&self, document: &RawDocument, fields: &Fields<'_>, id: RawBsonRef<'_>) -> Result<Vec<Header>, Flaw> {
        let mut headers = Vec::with_capacity(1 + self.additional.len());
        headers.push(Header { name: Arc::clone(&self.header_names.id), value: plain(id) });
        for Additional { field, place } in &self.additional {
            if let Place::Header(alias) = place
                && let Some(found) = self.further(document, field)?
            {
                headers.push(Header { name: Arc::clone(alias), value: plain(found) });
            }
        }
        // Tracing never stands in the way of an event.
        if let Some(RawBsonRef::String(text)) = fields[Role::Trace as usize].as_ref().and_then(Element::value) {
            for (name, value) in properties(text) {
                let name = match name.as_str() {
                    "traceparent" => &self.header_names.traceparent,
                    "tracestate" => &self.header_names.tracestate,
                    _ => continue,
                };
                headers.push(Header { name: Arc::clone(name), value: value.into() });
            }
        }
        Ok(headers)
    }

    fn topic(&mut self, fields: &Fields<'_>) -> Result<Arc<Address>, Flaw> {
        let by = match self.value(fields, Role::Route)? {
            RawBsonRef::String(by) => by,
            other => return Err(Flaw::of_type(self.place(Role::Route), other, "a text")),
        };
        if let Some(topic) = self.topics.get(by) {
            return Ok(Arc::clone(topic));
        }
        let topic = self.router.topic(by);
        if topic.is_empty() {
            return Err(Flaw::EmptyRoute { place: self.place(Role::Route) });
        }
        // The application named the topic. What a sink can not take it must refuse, not rename.
        let topic = Arc::new(Address { parts: vec![AddressPart::Text(topic)] });
        if self.topics.len() >= TOPICS_MAX {
            self.topics.clear();
        }
        self.topics.insert(by.into(), Arc::clone(&topic));
        Ok(topic)
    }
}
