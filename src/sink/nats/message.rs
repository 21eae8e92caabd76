//! What a message holds: its body and its headers.
//!
//! An event in its envelope is the body, in the structured mode of CloudEvents. A bare message is in the binary mode: the body is the
//! payload alone, and the attributes are headers that begin with `ce-`. Headers that the application gave are there in both.

use std::fmt::Write;

use async_nats::HeaderMap;

use super::super::attributes::{Attribute, content_type, each_attribute, header_text};
use super::super::encoding::{CONTENT_TYPE, EncodingError, write_event, write_payload};
use super::super::envelope::Envelope;
use super::super::settings::JsonFormat;
use crate::event::{Event, Header, MessageForm};

const CONTENT_TYPE_NAME: &str = "content-type";

/// Body and headers of the message of an event.
pub(super) fn content_of(
    event: &Event,
    envelope: &Envelope,
    json: JsonFormat,
) -> Result<(Vec<u8>, HeaderMap), EncodingError> {
    let mut body = Vec::with_capacity(512);
    let mut headers = HeaderMap::new();
    let explicit = event.explicit.as_deref();
    for header in explicit.iter().flat_map(|explicit| &explicit.headers) {
        add(&mut headers, header);
    }
    match explicit.map_or(MessageForm::Envelope, |explicit| explicit.form) {
        MessageForm::Envelope => {
            write_event(&mut body, event, envelope, json)?;
            headers.insert(CONTENT_TYPE_NAME, CONTENT_TYPE);
        }
        form @ (MessageForm::Bare | MessageForm::BareCanonical) => {
            write_payload(&mut body, event, form)?;
            add_attributes(&mut headers, event, envelope);
            // The application knows better what its own payload is.
            if let Some(content_type) = content_type(event)
                && headers.get(CONTENT_TYPE_NAME).is_none()
            {
                headers.insert(CONTENT_TYPE_NAME, content_type);
            }
        }
    }
    Ok((body, headers))
}

/// Adds a header of the application. What its name may not hold becomes `_`, and control characters in its value become blanks.
fn add(headers: &mut HeaderMap, Header { name, value }: &Header) {
    let is_fit = |character: &char| character.is_ascii_graphic() && *character != ':';
    let mut name: String = name.chars().map(|character| if is_fit(&character) { character } else { '_' }).collect();
    if name.eq_ignore_ascii_case(CONTENT_TYPE_NAME) {
        name.make_ascii_lowercase();
    }
    // To the server, such a header is a command, for instance to forget earlier messages.
    let is_command = name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("nats-"));
    if is_command || name.is_empty() {
        name.insert(0, '_');
    }
    let value = header_text(value);
    let value: String = value.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    headers.append(name, value);
}

fn add_attributes(headers: &mut HeaderMap, event: &Event, envelope: &Envelope) {
    each_attribute(event, |name, attribute| {
        // In the binary mode, the content type says it.
        if name == "datacontenttype" {
            return;
        }
        let mut value = String::new();
        match attribute {
            Attribute::Text(text) => push_encoded(&mut value, text),
            Attribute::Id(id) => value = id.to_string(),
            Attribute::Source => envelope.each_piece_of_source(event, |piece| push_encoded(&mut value, piece)),
            Attribute::Type => {
                push_encoded(&mut value, envelope.type_prefix(event));
                push_encoded(&mut value, &event.name);
            }
            Attribute::Time(time) => value = time.try_to_rfc3339_string().unwrap_or_default(),
            Attribute::True => value.push_str("true"),
        }
        if !value.is_empty() {
            headers.insert(format!("ce-{name}"), value);
        }
    });
}

/// Appends a text as CloudEvents wants it in headers: blanks, quotation marks, percent signs and all that is not plain ASCII are
/// written as `%` and two hexadecimal digits for each byte (HTTP binding 1.0.2, section 3.1.3.2).
fn push_encoded(value: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' => {}
            b'!'..=b'~' => {
                value.push(char::from(byte));
                continue;
            }
            _ => {}
        }
        // Writing into memory can not fail.
        let _ = write!(value, "%{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawBson, rawdoc};

    use super::*;
    use crate::event::{Explicit, Payload};
    use crate::sink::EnvelopeSettings;
    use crate::sink::samples::event;

    fn content(explicit: Explicit) -> (String, Vec<(String, String)>) {
        let mut event = event(7);
        event.rule = "shop.outbox".into();
        event.partition_key = "customer \"ü\" 100%\n".into();
        event.data = rawdoc! {"total": 7};
        event.explicit = Some(Box::new(explicit));
        let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
        let (body, headers) = content_of(&event, &envelope, JsonFormat::Natural).expect("valid");
        let header = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
            let values: Vec<&str> = values.iter().map(async_nats::HeaderValue::as_str).collect();
            (name.to_string(), values.join(" and "))
        };
        let mut headers: Vec<_> = headers.iter().map(header).collect();
        headers.sort();
        (String::from_utf8(body).expect("UTF-8"), headers)
    }

    fn header(name: &str, value: impl Into<RawBson>) -> Header {
        Header { name: name.into(), value: value.into() }
    }

    fn bare(payload: Payload) -> Explicit {
        Explicit { id: "7".into(), payload, form: MessageForm::Bare, ..Explicit::default() }
    }

    #[test]
    fn a_bare_message_is_the_payload_with_the_attributes_as_headers() {
        let (body, headers) = content(Explicit { headers: vec![header("id", "7")], ..bare(Payload::Document) });
        assert_eq!(body, r#"{"total":7}"#);
        let text = |(name, value): &(String, String)| format!("{name}: {value}");
        let headers: Vec<String> = headers.iter().map(text).collect();
        assert_eq!(
            headers,
            [
                "ce-eventid: 7",
                "ce-evidence: exact",
                &format!("ce-id: {}", event(7).id),
                "ce-origin: explicit",
                "ce-partitionkey: customer%20%22%C3%BC%22%20100%25%0A",
                "ce-relay: shop.outbox",
                "ce-ruleset: 2f1e9c07ab34",
                "ce-sequence: 0000000000000007",
                "ce-source: /changeling/shop/shop.orders",
                "ce-specversion: 1.0",
                "ce-subject: order/7",
                "ce-time: 2023-11-14T22:13:20.123Z",
                "ce-type: OrderPaid",
                "content-type: application/json",
                "id: 7",
            ]
        );
    }

    #[test]
    fn each_payload_has_its_body_and_content_type() {
        let of = |explicit: Explicit| {
            let (body, headers) = content(explicit);
            let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            (body, find("content-type").unwrap_or_default(), find("ce-tombstone").unwrap_or_default())
        };
        for (payload, body, content_type, tombstone) in [
            (Payload::Text("{\"a\": 1}\r\n".into()), "{\"a\": 1}\r\n", "text/plain; charset=utf-8", ""),
            (Payload::Binary(b"\0x".to_vec()), "\0x", "application/octet-stream", ""),
            (Payload::Value(7_i64.into()), "7", "application/json", ""),
            (Payload::Nothing, "", "", ""),
            (Payload::Tombstone, "", "", "true"),
        ] {
            let expected = (body.to_owned(), content_type.to_owned(), tombstone.to_owned());
            assert_eq!(of(bare(payload)), expected);
        }
        let canonical = Explicit { form: MessageForm::BareCanonical, ..bare(Payload::Document) };
        assert_eq!(of(canonical).0, "{\n  \"total\": {\n    \"$numberInt\": \"7\"\n  }\n}");
        let own = Explicit { headers: vec![header("Content-Type", "application/avro")], ..bare(Payload::Nothing) };
        assert_eq!(of(own.clone()).1, "application/avro");
        let envelope = Explicit { form: MessageForm::Envelope, ..own };
        assert_eq!(of(envelope).1, "application/cloudevents+json");
    }

    #[test]
    fn headers_of_the_application_can_neither_break_the_message_nor_command_the_server() {
        let headers = vec![
            header("a b:ü", "x\r\nNats-Rollup: all"),
            header("nats-rollup", "all"),
            header("", 1),
            header("ce-id", "mine"),
            header("many", 1),
            header("many", true),
        ];
        let (_, headers) = content(Explicit { headers, ..bare(Payload::Nothing) });
        let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(find("a_b__"), Some("x  Nats-Rollup: all"));
        assert_eq!((find("nats-rollup"), find("_nats-rollup")), (None, Some("all")));
        assert_eq!((find("_"), find("many")), (Some("1"), Some("1 and true")));
        assert_eq!(find("ce-id"), Some(&*event(7).id.to_string()));
    }
}
