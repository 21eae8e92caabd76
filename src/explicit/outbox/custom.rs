//! The layout that is described by JSONPaths.

use std::sync::Arc;

use bson::{RawBson, RawBsonRef, RawDocument};

use super::found::{Content, Flaw, Found, name, needed_text, plain_text};
use super::settings::{CustomForm, CustomSettings};
use crate::event::{Address, AddressPart, Header, MessageForm};
use crate::rules::{LanguageError, Query, Selected, TextPart, TextTemplate, select, text};

/// The layout.
#[derive(Debug)]
pub(super) struct Custom {
    id: Query,
    event_type: Query,
    key: Query,
    data: Query,
    subject: Option<Query>,
    time: Option<Query>,
    headers: Vec<(Arc<str>, Query)>,
    route: Option<TextTemplate>,
    form: MessageForm,
}

/// A setting that can not be used.
#[derive(Debug)]
pub(super) struct CustomError {
    /// The key, below `custom`.
    pub(super) key: String,
    pub(super) reason: String,
    pub(super) help: String,
}

impl Custom {
    pub(super) fn new(settings: &CustomSettings) -> Result<Self, CustomError> {
        let optional = |key: &str, path: &Option<String>| path.as_deref().map(|path| singular(key, path)).transpose();
        let mut headers = Vec::with_capacity(settings.headers.len() + 2);
        for (name, path) in &settings.headers {
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
        for (name, path) in [("traceparent", &settings.traceparent), ("tracestate", &settings.tracestate)] {
            headers.extend(optional(name, path)?.map(|path| (name.into(), path)));
        }
        let route = settings.route.as_deref().map(|route| TextTemplate::parse_with(route, Query::parse_plain));
        Ok(Self {
            id: singular("id", &settings.id)?,
            event_type: singular("type", &settings.event_type)?,
            key: singular("key", &settings.key)?,
            data: query("data", &settings.data)?,
            subject: optional("subject", &settings.subject)?,
            time: optional("time", &settings.time)?,
            headers,
            route: route.transpose().map_err(|error| CustomError::of("route", error))?,
            form: match settings.form {
                CustomForm::Envelope => MessageForm::Envelope,
                CustomForm::Bare => MessageForm::Bare,
            },
        })
    }

    /// What an insert of this document says.
    pub(super) fn find<'d>(&self, document: &'d RawDocument, byte_count_max: usize) -> Result<Found<'d>, Flaw> {
        let id = needed(&self.id, document, "id")?;
        let data = select(&self.data, document);
        let data = data.value().ok_or_else(|| Flaw::Missing { place: place("payload", &self.data) })?;
        Ok(Found {
            id,
            id_text: needed_text(id, &|| place("id", &self.id))?,
            name: name(needed(&self.event_type, document, "type")?, &|| place("type", &self.event_type))?,
            key: needed_text(needed(&self.key, document, "key")?, &|| place("key", &self.key))?,
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

fn singular(key: &str, path: &str) -> Result<Query, CustomError> {
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

fn needed<'d>(query: &Query, document: &'d RawDocument, what: &str) -> Result<RawBsonRef<'d>, Flaw> {
    one(query, document).ok_or_else(|| Flaw::Missing { place: place(what, query) })
}

fn found_text(query: &Query, document: &RawDocument) -> Option<String> {
    one(query, document).map(plain_text).filter(|text| !text.is_empty())
}

fn place(what: &str, query: &Query) -> String {
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
