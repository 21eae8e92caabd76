//! A dead letter as JSON. Documents are in canonical Extended JSON, so that every value keeps its type.

use bson::spec::BinarySubtype;
use bson::{Binary, RawBson, RawDocument, RawDocumentBuf, rawdoc};

use super::super::DeadLetter;
use super::super::encoding::{write_document, write_event, write_string, write_time};
use super::super::envelope::Envelope;
use super::super::settings::JsonFormat;
use crate::event::{Event, Payload};

/// Appends a letter as one JSON object without a line break.
pub(super) fn write_letter(out: &mut Vec<u8>, letter: &DeadLetter, envelope: &Envelope) {
    out.extend_from_slice(b"{\"connector\":");
    write_string(out, envelope.name());
    write_field(out, "sink", letter.sink.as_deref());
    write_field(out, "rule", letter.rule.as_deref());
    write_field(out, "reason", Some(&letter.reason));
    out.extend_from_slice(b",\"at\":");
    write_time(out, letter.at);
    if let Some(event) = &letter.event {
        write_field(out, "database", Some(&event.database));
        write_field(out, "collection", Some(&event.collection));
        out.extend_from_slice(b",\"event\":");
        write_whole_event(out, event, envelope);
    }
    if let Some(change) = &letter.change {
        out.extend_from_slice(b",\"change\":");
        write_whole_document(out, change);
    }
    out.push(b'}');
}

/// Appends the event; data that is not valid BSON is kept as its bytes.
pub(super) fn write_whole_event(out: &mut Vec<u8>, event: &Event, envelope: &Envelope) {
    if write_event(out, event, envelope, JsonFormat::Canonical).is_err() {
        let explicit = event.explicit.clone().map(|mut explicit| {
            keep_as_bytes(&mut explicit.payload);
            explicit
        });
        let kept = Event { data: as_bytes(&event.data), explicit, ..event.clone() };
        // Can not fail: the bytes of a binary value are not looked into.
        let _ = write_event(out, &kept, envelope, JsonFormat::Canonical);
    }
}

/// Appends the document; one that is not valid BSON is kept as its bytes.
pub(super) fn write_whole_document(out: &mut Vec<u8>, document: &RawDocument) {
    let start = out.len();
    if write_document(out, document, JsonFormat::Canonical).is_err() {
        out.truncate(start);
        let _ = write_document(out, &as_bytes(document), JsonFormat::Canonical);
    }
}

fn keep_as_bytes(payload: &mut Payload) {
    let bytes = match payload {
        Payload::Value(RawBson::Document(document)) => document.as_bytes().to_vec(),
        Payload::Value(RawBson::Array(array)) => array.as_bytes().to_vec(),
        _ => return,
    };
    *payload = Payload::Binary(bytes);
}

fn as_bytes(document: &RawDocument) -> RawDocumentBuf {
    rawdoc! { "undecodable": Binary { subtype: BinarySubtype::Generic, bytes: document.as_bytes().to_vec() } }
}

fn write_field(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.push(b',');
        write_string(out, name);
        out.push(b':');
        write_string(out, value);
    }
}
