//! An event as a document: `_id` is its id, the other CloudEvents attributes are fields, `data` keeps its BSON types.

use bson::raw::{CStr, cstr};
use bson::spec::BinarySubtype;
use bson::{RawBinaryRef, RawBson, RawDocument, RawDocumentBuf};

use super::super::attributes::{Attribute, each_attribute, extensions, other_headers};
use super::super::envelope::Envelope;
use crate::event::{Event, Explicit, Header, Payload};

/// The server takes no document that is larger.
pub(super) const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The document of an event; `None` if its data is not valid BSON.
pub(super) fn document_of(event: &Event, envelope: &Envelope) -> Option<RawDocumentBuf> {
    let explicit = event.explicit.as_deref();
    if !is_whole(&event.data, 0) || !explicit.is_none_or(has_whole_values) {
        return None;
    }
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), event.id.to_string());
    each_attribute(event, |name, attribute| {
        let Some(name) = field_name(name).filter(|_| name != "id") else { return };
        match attribute {
            Attribute::Text(text) => document.append(name, text),
            Attribute::Id(id) => document.append(name, id.to_string()),
            Attribute::Source => document.append(name, envelope.source(event)),
            Attribute::Type => document.append(name, envelope.event_type(event)),
            Attribute::Time(time) => document.append(name, time),
            Attribute::True => document.append(name, true),
        }
    });
    let Some(explicit) = explicit else {
        document.append(cstr!("data"), &*event.data);
        return Some(document);
    };
    append_headers(&mut document, extensions(explicit));
    let mut others = RawDocumentBuf::new();
    append_headers(&mut others, other_headers(explicit));
    if !others.is_empty() {
        document.append(cstr!("headers"), others);
    }
    match &explicit.payload {
        Payload::Document => document.append(cstr!("data"), &*event.data),
        Payload::Text(text) => document.append(cstr!("data"), text.as_str()),
        Payload::Binary(bytes) => {
            document.append(cstr!("data"), RawBinaryRef { subtype: BinarySubtype::Generic, bytes });
        }
        Payload::Value(value) => document.append(cstr!("data"), value.as_raw_bson_ref()),
        Payload::Nothing | Payload::Tombstone => {}
    }
    Some(document)
}

/// Appends headers with their types; no document has a field whose name holds a zero byte.
fn append_headers<'h>(document: &mut RawDocumentBuf, headers: impl Iterator<Item = &'h Header>) {
    for header in headers {
        if let Some(name) = field_name(&header.name) {
            document.append(name, header.value.as_raw_bson_ref());
        }
    }
}

fn field_name(name: &str) -> Option<&CStr> {
    name.try_into().ok()
}

fn has_whole_values(explicit: &Explicit) -> bool {
    let payload = match &explicit.payload {
        Payload::Value(value) => Some(value),
        Payload::Document | Payload::Text(_) | Payload::Binary(_) | Payload::Nothing | Payload::Tombstone => None,
    };
    payload.into_iter().chain(explicit.headers.iter().map(|header| &header.value)).all(|value| match value {
        RawBson::Document(document) => is_whole(document, 1),
        RawBson::Array(array) => RawDocument::from_bytes(array.as_bytes()).is_ok_and(|array| is_whole(array, 1)),
        _ => true,
    })
}

/// True if every element can be read. The server would refuse the whole command otherwise, and with it good events.
fn is_whole(document: &RawDocument, depth: usize) -> bool {
    const DEPTH_MAX: usize = 250;
    use bson::RawBsonRef;
    depth < DEPTH_MAX
        && document.iter().all(|element| match element {
            Ok((_, RawBsonRef::Document(inner))) => is_whole(inner, depth + 1),
            Ok((_, RawBsonRef::Array(inner))) => {
                RawDocument::from_bytes(inner.as_bytes()).is_ok_and(|inner| is_whole(inner, depth + 1))
            }
            Ok(_) => true,
            Err(_) => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::EnvelopeSettings;
    use crate::sink::samples::event;

    #[test]
    fn a_document_holds_the_attributes_and_the_data_with_its_types() {
        let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
        let event = event(7);
        let document = document_of(&event, &envelope).expect("whole");
        let document = bson::Document::try_from(&*document).expect("valid");
        let expected = bson::doc! {
            "_id": event.id.to_string(), "specversion": "1.0", "source": "/changeling/shop/shop.orders",
            "type": "OrderPaid", "subject": "order/7", "time": event.time, "datacontenttype": "application/json",
            "partitionkey": "7", "sequence": "0000000000000007", "origin": "inferred", "rule": "OrderPaid",
            "evidence": "exact", "ruleset": "2f1e9c07ab34", "data": {"orderId": 7_i64, "total": 10.5},
        };
        assert_eq!(document, expected);
    }

    #[test]
    fn the_document_of_an_explicit_event_keeps_the_types_of_payload_and_headers() {
        let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
        let document = |payload: Payload| {
            let header = |name: &str, value: RawBson| Header { name: name.into(), value };
            let headers = vec![
                header("id", "a7".into()),
                header("traceparent", "00-0af7".into()),
                header("eventType", bson::DateTime::from_millis(7).into()),
                header("a\0b", 1.into()),
            ];
            let explicit = Explicit { id: "a7".into(), headers, payload, ..Explicit::default() };
            let event = Event { rule: "shop.outbox".into(), explicit: Some(Box::new(explicit)), ..event(7) };
            bson::Document::try_from(&*document_of(&event, &envelope).expect("whole")).expect("valid")
        };
        let text = document(Payload::Text("{}".into()));
        let expected = bson::doc! {
            "_id": event(7).id.to_string(), "specversion": "1.0", "source": "/changeling/shop/shop.orders",
            "type": "OrderPaid", "subject": "order/7", "time": event(7).time,
            "datacontenttype": "text/plain; charset=utf-8", "partitionkey": "7", "sequence": "0000000000000007",
            "origin": "explicit", "relay": "shop.outbox", "eventid": "a7", "evidence": "exact", "ruleset": "2f1e9c07ab34",
            "traceparent": "00-0af7", "headers": {"eventType": bson::DateTime::from_millis(7)}, "data": "{}",
        };
        assert_eq!(text, expected);
        let binary = bson::Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2] };
        assert_eq!(document(Payload::Binary(vec![1, 2])).get("data"), Some(&binary.into()));
        assert_eq!(document(Payload::Value(7_i64.into())).get("data"), Some(&7_i64.into()));
        assert_eq!(document(Payload::Document).get_document("data").map(|data| data.len()).ok(), Some(2));
        let tombstone = document(Payload::Tombstone);
        assert!(!tombstone.contains_key("data") && !tombstone.contains_key("datacontenttype"), "{tombstone}");
        assert_eq!(tombstone.get_bool("tombstone").ok(), Some(true));
        assert!(!document(Payload::Nothing).contains_key("tombstone"));
    }

    #[test]
    fn broken_data_makes_no_document() {
        let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
        let mut event = event(1);
        event.data = RawDocumentBuf::from_bytes(vec![12, 0, 0, 0, 2, b'a', 0, 99, 0, 0, 0, 0]).expect("right length");
        assert!(document_of(&event, &envelope).is_none());
    }
}
