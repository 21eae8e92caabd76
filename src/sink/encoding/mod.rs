//! Events as bytes: CloudEvents 1.0 in structured JSON, written straight from the raw BSON.

mod json;
mod text;

use bson::RawDocument;

use super::SinkError;
use super::envelope::Envelope;
use super::settings::JsonFormat;
use crate::event::Event;

use text::write_text;
pub(super) use text::{write_string, write_time};

/// The media type of one encoded event.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Why a document can not be written as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EncodingError {
    /// The bytes are not what BSON allows.
    #[error("its data is not valid BSON")]
    Malformed,
    /// Deeper than any document of MongoDB can be.
    #[error("its data is nested deeper than {} levels", json::DEPTH_MAX)]
    TooDeep,
}

impl EncodingError {
    /// The same as an error of the sink `sink`: the event will never be taken.
    pub(super) fn rejected_by(self, sink: &str) -> SinkError {
        SinkError::Rejected { sink: sink.to_owned(), reason: self.to_string() }
    }
}

/// Appends the event as one JSON object without a line break. On an error `out` is as before.
pub(super) fn write_event(
    out: &mut Vec<u8>,
    event: &Event,
    envelope: &Envelope,
    format: JsonFormat,
) -> Result<(), EncodingError> {
    let start = out.len();
    out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
    write_hexadecimal(out, event.id.as_bytes());
    out.extend_from_slice(b"\",\"source\":\"");
    envelope.each_piece_of_source(event, |piece| write_text(out, piece));
    out.extend_from_slice(b"\",\"type\":\"");
    write_text(out, envelope.type_prefix(event));
    write_text(out, &event.name);
    out.push(b'"');
    if let Some(subject) = &event.subject {
        write_attribute(out, "subject", subject);
    }
    out.extend_from_slice(b",\"time\":");
    write_time(out, event.time);
    out.extend_from_slice(b",\"datacontenttype\":\"application/json\"");
    write_attribute(out, "partitionkey", &event.partition_key);
    write_attribute(out, "sequence", &event.sequence);
    write_attribute(out, "rule", &event.rule);
    write_attribute(out, "evidence", event.evidence.as_str());
    if let Some(transaction) = &event.transaction {
        write_attribute(out, "transaction", transaction);
    }
    if let Some(rule_set) = &event.rule_set {
        write_attribute(out, "ruleset", rule_set);
    }
    out.extend_from_slice(b",\"data\":");
    if let Err(error) = write_document(out, &event.data, format) {
        out.truncate(start);
        return Err(error);
    }
    out.push(b'}');
    Ok(())
}

/// Appends a document as one JSON object. On an error `out` may end with a part of it.
pub(super) fn write_document(
    out: &mut Vec<u8>,
    document: &RawDocument,
    format: JsonFormat,
) -> Result<(), EncodingError> {
    json::Writer { out, format }.document(document, 0)
}

fn write_attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write_string(out, value);
}

/// Appends two hexadecimal digits per byte.
fn write_hexadecimal(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests;
