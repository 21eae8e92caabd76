//! Events that are described by JSONPaths: the layout `custom` of an outbox, and what the other relays have like it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::{RawBson, RawBsonRef, RawDocument};

use super::found::{Content, Flaw, Found, name, needed_text, plain_text};
use super::outbox::{CustomForm, CustomSettings};
use crate::event::{Address, AddressPart, Header, MessageForm};
use crate::rules::{LanguageError, Query, Selected, TextPart, TextTemplate, select, text};

/// The JSONPaths, compiled.
#[derive(Debug)]
pub(super) struct Custom {
    id: Option<Query>,
    event_type: Query,
    key: Option<Query>,
    data: Query,
    subject: Option<Query>,
    time: Option<Query>,
    headers: Vec<(Arc<str>, Query)>,
    route: Option<TextTemplate>,
    form: MessageForm,
}

/// The JSONPaths as they are written. What is absent of id and key comes with the document.
pub(super) struct Paths<'s> {
    pub(super) id: Option<&'s str>,
    pub(super) event_type: &'s str,
    pub(super) key: Option<&'s str>,
    pub(super) data: &'s str,
    pub(super) subject: Option<&'s str>,
    pub(super) time: Option<&'s str>,
    pub(super) headers: &'s BTreeMap<String, String>,
    pub(super) traceparent: Option<&'s str>,
    pub(super) tracestate: Option<&'s str>,
    pub(super) route: Option<&'s str>,
    pub(super) form: CustomForm,
}

impl<'s> From<&'s CustomSettings> for Paths<'s> {
    fn from(settings: &'s CustomSettings) -> Self {
        Self {
            id: Some(&settings.id),
            event_type: &settings.event_type,
            key: Some(&settings.key),
            data: &settings.data,
            subject: settings.subject.as_deref(),
            time: settings.time.as_deref(),
            headers: &settings.headers,
            traceparent: settings.traceparent.as_deref(),
            tracestate: settings.tracestate.as_deref(),
            route: settings.route.as_deref(),
            form: settings.form,
        }
    }
}

/// What is known of an event beside its document, where no path leads to it.
#[derive(Default)]
pub(super) struct Given<'d> {
    pub(super) id: Option<RawBsonRef<'d>>,
    pub(super) key: Option<String>,
}

/// A setting that can not be used.
#[derive(Debug)]
pub(super) struct CustomError {
    /// The key among the paths.
    pub(super) key: String,
    pub(super) reason: String,
    pub(super) help: String,
}

impl Custom {
    pub(super) fn new(paths: &Paths<'_>) -> Result<Self, CustomError> {
        let optional = |key: &str, path: Option<&str>| path.map(|path| singular(key, path)).transpose();
        let mut headers = Vec::with_capacity(paths.headers.len() + 2);
        for (name, path) in paths.headers {
            let key = format!("headers.{name}");
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
                let reason = "a header can not be called so".to_owned();
                return Err(CustomError {
                    key,
                    reason,
                    help: "use printable ASCII without blanks and colons".to_owned(),
                });
            }
            headers.push((name.as_str().into(), query(&key, path)?));
        }
        for (name, path) in [("traceparent", paths.traceparent), ("tracestate", paths.tracestate)] {
            headers.extend(optional(name, path)?.map(|path| (name.into(), path)));
        }
        let route = paths.route.map(|route| TextTemplate::parse_with(route, Query::parse_plain));
        Ok(Self {
            id: optional("id", paths.id)?,
            event_type: singular("type", paths.event_type)?,
            key: optional("key", paths.key)?,
            data: query("data", paths.data)?,
            subject: optional("subject", paths.subject)?,
            time: optional("time", paths.time)?,
            headers,
            route: route.transpose().map_err(|error| CustomError::of("route", error))?,
            form: match paths.form {
                CustomForm::Envelope => MessageForm::Envelope,
                CustomForm::Bare => MessageForm::Bare,
            },
        })
    }

    /// What this document says. An id that neither a path nor who asks knows is null, and its text is empty.
    pub(super) fn find<'d>(
        &self,
        document: &'d RawDocument,
        given: Given<'d>,
        byte_count_max: usize,
    ) -> Result<Found<'d>, Flaw> {
        let (id, id_text) = match &self.id {
            Some(path) => {
                let id = needed(path, document, "id")?;
                (id, needed_text(id, &|| place("id", path))?)
            }
            None => (given.id.unwrap_or(RawBsonRef::Null), given.id.map(plain_text).unwrap_or_default()),
        };
        let key = match &self.key {
            Some(path) => needed_text(needed(path, document, "key")?, &|| place("key", path))?,
            None => given.key.unwrap_or_default(),
        };
        let data = select(&self.data, document);
        let data = data.value().ok_or_else(|| Flaw::Missing { place: place("payload", &self.data) })?;
        Ok(Found {
            id,
            id_text,
            name: name(needed(&self.event_type, document, "type")?, &|| place("type", &self.event_type))?,
            key,
            subject: self.subject.as_ref().and_then(|query| found_text(query, document)),
            time: self.time(document)?,
            headers: self.headers(document),
            route: self.route.as_ref().map(|route| address(route, document)).transpose()?,
            content: Content::of_value(data, byte_count_max, &|| place("payload", &self.data))?,
            form: self.form,
        })
    }

    /// A document without a time has that of its change.
    fn time(&self, document: &RawDocument) -> Result<Option<bson::DateTime>, Flaw> {
        const WANTED: &str = "a date, an int64 of milliseconds or a text of RFC 3339";
        let Some(query) = &self.time else { return Ok(None) };
        match one(query, document) {
            None | Some(RawBsonRef::Null) => Ok(None),
            Some(RawBsonRef::DateTime(date)) => Ok(Some(date)),
            Some(RawBsonRef::Int64(millis)) => Ok(Some(bson::DateTime::from_millis(millis))),
            Some(other) => {
                let time = other.as_str().and_then(|text| bson::DateTime::parse_rfc3339_str(text).ok());
                time.map(Some).ok_or_else(|| Flaw::of_type(place("time", query), other, WANTED))
            }
        }
    }

    fn headers(&self, document: &RawDocument) -> Vec<Header> {
        let found = self.headers.iter().filter_map(|(name, query)| {
            let value = select(query, document).value().map(RawBson::from)?;
            Some(Header { name: Arc::clone(name), value })
        });
        found.collect()
    }
}

impl CustomError {
    fn of(key: &str, error: LanguageError) -> Self {
        Self { key: key.to_owned(), reason: error.message, help: error.help.unwrap_or_default() }
    }
}

fn query(key: &str, path: &str) -> Result<Query, CustomError> {
    Query::parse_plain(path).map_err(|error| CustomError::of(key, error))
}

pub(super) fn singular(key: &str, path: &str) -> Result<Query, CustomError> {
    let query = query(key, path)?;
    if query.is_singular() {
        return Ok(query);
    }
    let reason = "the path may select several values, and one is wanted".to_owned();
    Err(CustomError {
        key: key.to_owned(),
        reason,
        help: "use names and indices alone, as in $.items[0].sku".to_owned(),
    })
}

/// The value of a singular query.
fn one<'d>(query: &Query, document: &'d RawDocument) -> Option<RawBsonRef<'d>> {
    match select(query, document) {
        Selected::Value(value) => Some(value),
        Selected::Nothing | Selected::Values(_) => None,
    }
}

pub(super) fn needed<'d>(query: &Query, document: &'d RawDocument, what: &str) -> Result<RawBsonRef<'d>, Flaw> {
    one(query, document).ok_or_else(|| Flaw::Missing { place: place(what, query) })
}

fn found_text(query: &Query, document: &RawDocument) -> Option<String> {
    one(query, document).map(plain_text).filter(|text| !text.is_empty())
}

pub(super) fn place(what: &str, query: &Query) -> String {
    format!("the {what} at `{query}`")
}

fn address(route: &TextTemplate, document: &RawDocument) -> Result<Arc<Address>, Flaw> {
    let part = |part: &TextPart| {
        let query = match part {
            TextPart::Text(text) => return Ok(AddressPart::Text(text.clone())),
            TextPart::Query(query) => query,
        };
        let selected = select(query, document);
        let value = selected.value().filter(|value| !matches!(value, RawBsonRef::Null | RawBsonRef::Undefined));
        let mut out = String::new();
        text::write(&mut out, value.ok_or_else(|| Flaw::Missing { place: place("route", query) })?);
        Ok(AddressPart::Value(out))
    };
    Ok(Arc::new(Address { parts: route.parts.iter().map(part).collect::<Result<_, Flaw>>()? }))
}
