//! Values as text: in text templates, keys and subjects.

use std::fmt::Write;

use bson::spec::BinarySubtype;
use bson::{Bson, RawBson, RawBsonRef};

use crate::change::TransactionId;
use crate::position::ClusterTime;

/// The largest index of an operation in its transaction that a sequence can tell. The events of a transaction as a whole have it:
/// they come after those of all its operations.
pub(crate) const OPERATIONS_MAX: u32 = 0xff_ffff;

/// Appends a value as people read it: texts as they are, ObjectIds as 24 hexadecimal digits, dates as RFC 3339 in UTC, numbers
/// plain, UUIDs in their own form, other binary data in base64, documents and arrays as compact JSON.
pub(crate) fn write(out: &mut String, value: RawBsonRef<'_>) {
    match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => out.push_str(text),
        RawBsonRef::Document(_) | RawBsonRef::Array(_) => write_json(out, value),
        scalar => write_scalar(out, scalar),
    }
}

fn write_scalar(out: &mut String, value: RawBsonRef<'_>) {
    // Writing to a String cannot fail.
    let _ = match value {
        RawBsonRef::Int32(number) => write!(out, "{number}"),
        RawBsonRef::Int64(number) => write!(out, "{number}"),
        RawBsonRef::Double(number) if number.is_nan() => write!(out, "NaN"),
        RawBsonRef::Double(number) if number.is_infinite() => {
            write!(out, "{}Infinity", if number < 0.0 { "-" } else { "" })
        }
        RawBsonRef::Double(number) => write!(out, "{number}"),
        RawBsonRef::Decimal128(number) => write!(out, "{number}"),
        RawBsonRef::Boolean(truth) => write!(out, "{truth}"),
        RawBsonRef::ObjectId(id) => {
            write_hex(out, &id.bytes());
            Ok(())
        }
        RawBsonRef::Timestamp(time) => write!(out, "{}.{}", time.time, time.increment),
        RawBsonRef::DateTime(date) => match date.try_to_rfc3339_string() {
            Ok(text) => write!(out, "{text}"),
            // RFC 3339 has no years outside of 0 to 9999.
            Err(_) => write!(out, "{}", date.timestamp_millis()),
        },
        RawBsonRef::Binary(binary) => match (binary.subtype, <[u8; 16]>::try_from(binary.bytes)) {
            (BinarySubtype::Uuid, Ok(bytes)) => write!(out, "{}", bson::Uuid::from_bytes(bytes)),
            _ => {
                write_base64(out, binary.bytes);
                Ok(())
            }
        },
        RawBsonRef::RegularExpression(regex) => write!(out, "/{}/{}", regex.pattern.as_str(), regex.options.as_str()),
        RawBsonRef::MinKey => write!(out, "MinKey"),
        RawBsonRef::MaxKey => write!(out, "MaxKey"),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => write!(out, "{text}"),
        RawBsonRef::JavaScriptCodeWithScope(code) => write!(out, "{}", code.code),
        RawBsonRef::DbPointer(_) => write!(out, "DBPointer"),
        RawBsonRef::Null | RawBsonRef::Undefined | RawBsonRef::Document(_) | RawBsonRef::Array(_) => {
            write!(out, "null")
        }
    };
}

/// Appends a value as compact JSON, with numbers and booleans bare and everything else that is no document or array as text.
pub(crate) fn write_json(out: &mut String, value: RawBsonRef<'_>) {
    match value {
        RawBsonRef::Document(document) => {
            out.push('{');
            for (index, (name, value)) in document.iter().flatten().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_quoted(out, name.as_str());
                out.push(':');
                write_json(out, value);
            }
            out.push('}');
        }
        RawBsonRef::Array(array) => {
            out.push('[');
            for (index, value) in array.into_iter().flatten().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(out, value);
            }
            out.push(']');
        }
        RawBsonRef::Double(number) if !number.is_finite() => {
            out.push('"');
            write_scalar(out, value);
            out.push('"');
        }
        RawBsonRef::Int64(number) if number.unsigned_abs() > (1 << 53) - 1 => {
            let _ = write!(out, "\"{number}\"");
        }
        RawBsonRef::Int32(_)
        | RawBsonRef::Int64(_)
        | RawBsonRef::Double(_)
        | RawBsonRef::Boolean(_)
        | RawBsonRef::Null
        | RawBsonRef::Undefined => write_scalar(out, value),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => write_quoted(out, text),
        other => {
            let mut text = String::new();
            write_scalar(&mut text, other);
            write_quoted(out, &text);
        }
    }
}

fn write_quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

/// Appends bytes as lower-case hexadecimal digits; several times as fast as a formatter.
pub(super) fn write_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn write_base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 63;
            out.push(if place <= chunk.len() as u32 { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
}

/// A document key as text: the value of `_id`, or, with several fields, the whole as compact JSON.
pub(crate) fn key(key: &bson::RawDocument) -> String {
    let mut text = String::with_capacity(24);
    let mut fields = key.iter().flatten();
    match (fields.next(), fields.next()) {
        (Some((_, only)), None) => write(&mut text, only),
        _ => write_json(&mut text, RawBsonRef::Document(key)),
    }
    text
}

/// A transaction as text: `<logical session>:<number>`.
pub(crate) fn transaction(transaction: &TransactionId<'_>) -> String {
    let mut text = String::new();
    match transaction.session.get("id").ok().flatten() {
        Some(id) => write(&mut text, id),
        None => write_json(&mut text, RawBsonRef::Document(transaction.session)),
    }
    let _ = write!(text, ":{}", transaction.number);
    text
}

/// The `sequence` of an event: the time of its change, the operation's index in its transaction, and the event's number among those of
/// the change, each with as many digits as it can have.
pub(crate) fn sequence(time: ClusterTime, operation_index: u32, number: u16) -> String {
    let mut text = String::with_capacity(26);
    write_hex(&mut text, &time.seconds.to_be_bytes());
    write_hex(&mut text, &time.increment.to_be_bytes());
    // Three bytes are enough for the operations of one transaction.
    write_hex(&mut text, &operation_index.min(OPERATIONS_MAX).to_be_bytes()[1..]);
    write_hex(&mut text, &number.to_be_bytes());
    text
}

/// A value in the raw form that documents are made of; a value that BSON cannot hold raw (a name with a NUL) becomes null.
pub(super) fn raw(value: &Bson) -> RawBson {
    RawBson::try_from(value.clone()).unwrap_or(RawBson::Null)
}
