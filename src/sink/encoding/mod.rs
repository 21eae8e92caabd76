//! Events as bytes: CloudEvents 1.0 in structured JSON, written straight from the raw BSON.

mod json;
mod text;

use bson::{RawBson, RawBsonRef, RawDocument};

use super::SinkError;
use super::attributes::{Attribute, HEADERS, each_attribute, extensions, header_text, other_headers};
use super::envelope::Envelope;
use super::settings::JsonFormat;
use crate::canonical_json::{self, CanonicalJsonError};
use crate::event::{Event, Explicit, MessageForm, Payload};

use text::{write_number, write_text};
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
    fn of(error: CanonicalJsonError) -> Self {
        match error {
            CanonicalJsonError::Malformed => Self::Malformed,
            CanonicalJsonError::TooDeep => Self::TooDeep,
        }
    }

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
    let mut separator = b'{';
    each_attribute(event, |name, attribute| {
        out.push(separator);
        separator = b',';
        write_plain_name(out, name);
        write_attribute(out, attribute, event, envelope);
    });
    if let Some(explicit) = &event.explicit {
        write_headers(out, explicit);
    }
    if let Err(error) = write_data(out, event, format) {
        out.truncate(start);
        return Err(error);
    }
    out.push(b'}');
    Ok(())
}

fn write_attribute(out: &mut Vec<u8>, attribute: Attribute<'_>, event: &Event, envelope: &Envelope) {
    match attribute {
        Attribute::Text(text) => write_string(out, text),
        Attribute::Id(id) => {
            out.push(b'"');
            write_hexadecimal(out, id.as_bytes());
            out.push(b'"');
        }
        Attribute::Source => {
            out.push(b'"');
            envelope.each_piece_of_source(event, |piece| write_text(out, piece));
            out.push(b'"');
        }
        Attribute::Type => {
            out.push(b'"');
            write_text(out, envelope.type_prefix(event));
            write_text(out, &event.name);
            out.push(b'"');
        }
        Attribute::Time(time) => write_time(out, time),
        Attribute::True => out.extend_from_slice(b"true"),
    }
}

/// Appends a name that needs no escape, with its quotation marks and a colon.
fn write_plain_name(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends the headers: as attributes, or, since CloudEvents has no attributes with parts, in a text of JSON.
fn write_headers(out: &mut Vec<u8>, explicit: &Explicit) {
    for header in extensions(explicit) {
        out.push(b',');
        write_plain_name(out, &header.name);
        match &header.value {
            RawBson::Boolean(truth) => write_number(out, truth),
            RawBson::Int32(number) => write_number(out, number),
            value => write_string(out, &header_text(value)),
        }
    }
    let mut text = Vec::new();
    for header in other_headers(explicit) {
        text.push(if text.is_empty() { b'{' } else { b',' });
        write_string(&mut text, &header.name);
        text.push(b':');
        let start = text.len();
        if write_value(&mut text, header.value.as_raw_bson_ref(), JsonFormat::Natural).is_err() {
            text.truncate(start);
            text.extend_from_slice(b"null");
        }
    }
    if !text.is_empty() {
        text.push(b'}');
        out.push(b',');
        write_plain_name(out, HEADERS);
        write_string(out, &String::from_utf8_lossy(&text));
    }
}

fn write_data(out: &mut Vec<u8>, event: &Event, format: JsonFormat) -> Result<(), EncodingError> {
    const DATA: &[u8] = b",\"data\":";
    match event.explicit.as_ref().map(|explicit| &explicit.payload) {
        None | Some(Payload::Document) => {
            out.extend_from_slice(DATA);
            write_document(out, &event.data, format)?;
        }
        Some(Payload::Value(value)) => {
            out.extend_from_slice(DATA);
            write_value(out, value.as_raw_bson_ref(), format)?;
        }
        Some(Payload::Text(text)) => {
            out.extend_from_slice(DATA);
            write_string(out, text);
        }
        Some(Payload::Binary(bytes)) => {
            out.extend_from_slice(b",\"data_base64\":\"");
            json::Writer { out, format }.base64(bytes);
            out.push(b'"');
        }
        Some(Payload::Nothing | Payload::Tombstone) => {}
    }
    Ok(())
}

/// Appends the payload alone, as a message of this form holds it. On an error `out` may end with a part of it.
pub(super) fn write_payload(out: &mut Vec<u8>, event: &Event, form: MessageForm) -> Result<(), EncodingError> {
    let is_canonical = form == MessageForm::BareCanonical;
    match event.explicit.as_ref().map(|explicit| &explicit.payload) {
        None | Some(Payload::Document) if is_canonical => {
            canonical_json::write_document(out, &event.data).map_err(EncodingError::of)
        }
        None | Some(Payload::Document) => write_document(out, &event.data, JsonFormat::Relaxed),
        // Debezium writes only documents as Extended JSON.
        Some(Payload::Value(value)) => {
            let format = if is_canonical { JsonFormat::Natural } else { JsonFormat::Relaxed };
            write_value(out, value.as_raw_bson_ref(), format)
        }
        Some(Payload::Text(text)) => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        Some(Payload::Binary(bytes)) => {
            out.extend_from_slice(bytes);
            Ok(())
        }
        Some(Payload::Nothing | Payload::Tombstone) => Ok(()),
    }
}

/// Appends a document as one JSON object. On an error `out` may end with a part of it.
pub(super) fn write_document(
    out: &mut Vec<u8>,
    document: &RawDocument,
    format: JsonFormat,
) -> Result<(), EncodingError> {
    json::Writer { out, format }.document(document, 0)
}

/// Appends any value as JSON. On an error `out` may end with a part of it.
pub(super) fn write_value(out: &mut Vec<u8>, value: RawBsonRef<'_>, format: JsonFormat) -> Result<(), EncodingError> {
    json::Writer { out, format }.value(value, 0)
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
