//! The attributes of an event, whatever they are written as: those of every event, and those that headers of the application become.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bson::RawBson;

use super::encoding::write_value;
use super::settings::JsonFormat;
use crate::event::{Event, EventId, Explicit, Header, Payload};

/// The attribute that holds the headers which can not be attributes themselves.
pub(super) const HEADERS: &str = "headers";

/// What no header may be called to become an attribute: it has a meaning already.
const TAKEN: [&str; 21] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "partitionkey",
    "sequence",
    "origin",
    "rule",
    "relay",
    "eventid",
    "tombstone",
    "evidence",
    "transaction",
    "ruleset",
    "data",
    "database64",
    HEADERS,
];

/// The value of an attribute.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attribute<'e> {
    /// A text.
    Text(&'e str),
    /// The event's id.
    Id(&'e EventId),
    /// The source, which the envelope knows.
    Source,
    /// The name with its prefix, which the envelope knows.
    Type,
    /// A time.
    Time(bson::DateTime),
    /// Yes.
    True,
}

/// Hands out the attributes that an event has by itself, in the order in which they are written.
pub(super) fn each_attribute<'e>(event: &'e Event, mut each: impl FnMut(&'static str, Attribute<'e>)) {
    each("specversion", Attribute::Text("1.0"));
    each("id", Attribute::Id(&event.id));
    each("source", Attribute::Source);
    each("type", Attribute::Type);
    if let Some(subject) = &event.subject {
        each("subject", Attribute::Text(subject));
    }
    each("time", Attribute::Time(event.time));
    if let Some(content_type) = content_type(event) {
        each("datacontenttype", Attribute::Text(content_type));
    }
    each("partitionkey", Attribute::Text(&event.partition_key));
    each("sequence", Attribute::Text(&event.sequence));
    each("origin", Attribute::Text(event.origin()));
    match &event.explicit {
        None => each("rule", Attribute::Text(&event.rule)),
        Some(explicit) => {
            each("relay", Attribute::Text(&event.rule));
            each("eventid", Attribute::Text(&explicit.id));
            if explicit.payload == Payload::Tombstone {
                each("tombstone", Attribute::True);
            }
        }
    }
    each("evidence", Attribute::Text(event.evidence.as_str()));
    if let Some(transaction) = &event.transaction {
        each("transaction", Attribute::Text(transaction));
    }
    if let Some(rule_set) = &event.rule_set {
        each("ruleset", Attribute::Text(rule_set));
    }
}

/// The media type of an event's data, if it has data.
pub(super) fn content_type(event: &Event) -> Option<&'static str> {
    match event.explicit.as_ref().map(|explicit| &explicit.payload) {
        None | Some(Payload::Document | Payload::Value(_)) => Some("application/json"),
        Some(Payload::Text(_)) => Some("text/plain; charset=utf-8"),
        Some(Payload::Binary(_)) => Some("application/octet-stream"),
        Some(Payload::Nothing | Payload::Tombstone) => None,
    }
}

/// The headers that are attributes of their own: those whose name and value CloudEvents allows, such as `traceparent`.
pub(super) fn extensions(explicit: &Explicit) -> impl Iterator<Item = &Header> {
    headers(explicit).filter(|header| is_extension(header))
}

/// The other headers.
pub(super) fn other_headers(explicit: &Explicit) -> impl Iterator<Item = &Header> {
    headers(explicit).filter(|header| !is_extension(header))
}

/// The headers of which an envelope says more than it does anyway: of several with one name the first, and not the id again.
fn headers(explicit: &Explicit) -> impl Iterator<Item = &Header> {
    explicit.headers.iter().enumerate().filter_map(|(place, header)| {
        let is_repeat = explicit.headers[..place].iter().any(|other| other.name == header.name);
        let is_id = &*header.name == "id" && header_text(&header.value) == explicit.id;
        (!is_repeat && !is_id).then_some(header)
    })
}

fn is_extension(header: &Header) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_simple = !matches!(header.value, RawBson::Document(_) | RawBson::Array(_) | RawBson::Null);
    is_simple && !header.name.is_empty() && header.name.bytes().all(is_fit) && !TAKEN.contains(&&*header.name)
}

/// The value of a header as text: an ObjectId as its 24 hexadecimal digits, a date as RFC 3339, a document as relaxed Extended JSON.
pub(super) fn header_text(value: &RawBson) -> Cow<'_, str> {
    match value {
        RawBson::String(text) | RawBson::Symbol(text) | RawBson::JavaScriptCode(text) => text.into(),
        RawBson::Null => "".into(),
        RawBson::Binary(binary) if value.as_raw_bson_ref().as_binary().is_some_and(|one| one.bytes.len() != 16) => {
            STANDARD.encode(&binary.bytes).into()
        }
        RawBson::RegularExpression(regex) => format!("/{}/{}", regex.pattern.as_str(), regex.options.as_str()).into(),
        RawBson::Document(_) | RawBson::Array(_) => json_text(value, JsonFormat::Relaxed).into(),
        // Of what is left, JSON has nothing to escape.
        _ => json_text(value, JsonFormat::Natural).trim_matches('"').to_owned().into(),
    }
}

fn json_text(value: &RawBson, format: JsonFormat) -> String {
    let mut out = Vec::new();
    match write_value(&mut out, value.as_raw_bson_ref(), format) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::spec::BinarySubtype;
    use bson::{Binary, rawbson, rawdoc};

    use super::*;

    fn header(name: &str, value: impl Into<RawBson>) -> Header {
        Header { name: name.into(), value: value.into() }
    }

    #[test]
    fn a_header_that_cloud_events_allows_is_an_attribute_and_any_other_is_not() {
        let explicit = Explicit {
            id: "7".into(),
            headers: vec![
                header("id", 7),
                header("traceparent", "00-0af7-b7ad-01"),
                header("eventType", "OrderPaid"),
                header("source", "the application"),
                header("traceparent", "again"),
                header("nothing", RawBson::Null),
                header("parts", rawdoc! {"a": 1}),
                header("tenant2", 7),
            ],
            ..Explicit::default()
        };
        let names = |headers: Vec<&Header>| headers.iter().map(|header| header.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(extensions(&explicit).collect()), ["traceparent", "tenant2"]);
        assert_eq!(names(other_headers(&explicit).collect()), ["eventType", "source", "nothing", "parts"]);
        let other_id = Explicit { id: "8".into(), ..explicit };
        assert_eq!(other_headers(&other_id).next().map(|header| &*header.name), Some("id"));
    }

    #[test]
    fn a_header_is_a_text_as_people_write_it() {
        let binary = |bytes: &[u8], subtype| RawBson::Binary(Binary { subtype, bytes: bytes.to_vec() });
        for (value, text) in [
            (RawBson::from("a \"b\""), "a \"b\""),
            (7.into(), "7"),
            (i64::MAX.into(), "9223372036854775807"),
            (1.5.into(), "1.5"),
            (true.into(), "true"),
            (RawBson::Null, ""),
            (ObjectId::from_bytes([1; 12]).into(), "010101010101010101010101"),
            (bson::DateTime::from_millis(1_700_000_000_123).into(), "2023-11-14T22:13:20.123Z"),
            (binary(&[1, 2], BinarySubtype::Generic), "AQI="),
            (binary(&[1; 16], BinarySubtype::Uuid), "01010101-0101-0101-0101-010101010101"),
            (rawdoc! {"a": [1, "x"]}.into(), r#"{"a":[1,"x"]}"#),
            (rawbson!([1, 2]), "[1,2]"),
        ] {
            assert_eq!(header_text(&value), text);
        }
    }
}
