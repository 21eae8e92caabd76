//! From raw BSON to JSON, without a tree in between.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bson::spec::BinarySubtype;
use bson::{RawArray, RawBinaryRef, RawBsonRef, RawDocument};

use super::super::settings::JsonFormat;
use super::EncodingError;
use super::text::{Milliseconds, double_word, write_double, write_number, write_rfc3339, write_string, write_time};

/// MongoDB allows 100 levels in what clients write, and some more in what it stores itself.
pub(super) const DEPTH_MAX: usize = 250;

/// The integers that a double holds exactly: beyond, many readers of JSON would change the number.
const EXACT_INTEGER_MAX: i64 = (1 << 53) - 1;

/// Appends values to `out` in one format.
pub(super) struct Writer<'o> {
    pub(super) out: &'o mut Vec<u8>,
    pub(super) format: JsonFormat,
}

impl Writer<'_> {
    pub(super) fn document(&mut self, document: &RawDocument, depth: usize) -> Result<(), EncodingError> {
        if depth == DEPTH_MAX {
            return Err(EncodingError::TooDeep);
        }
        let mut separator = b'{';
        for element in document.iter_elements() {
            let element = element.map_err(|_| EncodingError::Malformed)?;
            self.out.push(separator);
            separator = b',';
            write_string(self.out, element.key().as_str());
            self.out.push(b':');
            self.value(element.value().map_err(|_| EncodingError::Malformed)?, depth + 1)?;
        }
        self.out.extend_from_slice(if separator == b'{' { b"{}" } else { b"}" });
        Ok(())
    }

    fn array(&mut self, array: &RawArray, depth: usize) -> Result<(), EncodingError> {
        if depth == DEPTH_MAX {
            return Err(EncodingError::TooDeep);
        }
        let mut separator = b'[';
        for value in array {
            self.out.push(separator);
            separator = b',';
            self.value(value.map_err(|_| EncodingError::Malformed)?, depth + 1)?;
        }
        self.out.extend_from_slice(if separator == b'[' { b"[]" } else { b"]" });
        Ok(())
    }

    pub(super) fn value(&mut self, value: RawBsonRef<'_>, depth: usize) -> Result<(), EncodingError> {
        match value {
            RawBsonRef::Document(document) => return self.document(document, depth),
            RawBsonRef::Array(array) => return self.array(array, depth),
            RawBsonRef::String(text) => write_string(self.out, text),
            RawBsonRef::Boolean(true) => self.literal("true"),
            RawBsonRef::Boolean(false) => self.literal("false"),
            RawBsonRef::Null => self.literal("null"),
            RawBsonRef::JavaScriptCodeWithScope(code) => {
                self.literal(if self.is_extended() { r#"{"$code":"# } else { r#"{"code":"# });
                write_string(self.out, code.code);
                self.literal(if self.is_extended() { r#","$scope":"# } else { r#","scope":"# });
                self.document(code.scope, depth)?;
                self.out.push(b'}');
            }
            // Deprecated for a long time, and only serde can see into it.
            RawBsonRef::DbPointer(pointer) => {
                serde_json::to_writer(&mut *self.out, &pointer).map_err(|_| EncodingError::Malformed)?;
            }
            value if self.is_extended() => self.extended(value),
            value => self.natural(value),
        }
        Ok(())
    }

    fn is_extended(&self) -> bool {
        self.format != JsonFormat::Natural
    }

    fn literal(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A value without parts, as people write JSON.
    fn natural(&mut self, value: RawBsonRef<'_>) {
        match value {
            RawBsonRef::Int32(number) => write_number(self.out, number),
            RawBsonRef::Int64(number) if (-EXACT_INTEGER_MAX..=EXACT_INTEGER_MAX).contains(&number) => {
                write_number(self.out, number);
            }
            RawBsonRef::Int64(number) => self.quoted(number),
            RawBsonRef::Double(double) => match double_word(double) {
                Some(word) => self.quoted(word),
                None => write_double(self.out, double),
            },
            RawBsonRef::Decimal128(decimal) => self.quoted(decimal),
            RawBsonRef::ObjectId(id) => self.hexadecimal(&id.bytes()),
            RawBsonRef::DateTime(date) => write_time(self.out, date),
            RawBsonRef::Binary(binary) => self.natural_binary(binary),
            RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => write_string(self.out, text),
            RawBsonRef::RegularExpression(regex) => {
                write_string(self.out, &format!("/{}/{}", regex.pattern.as_str(), regex.options.as_str()));
            }
            RawBsonRef::Timestamp(timestamp) => {
                write_number(self.out, format_args!(r#"{{"t":{},"i":{}}}"#, timestamp.time, timestamp.increment));
            }
            RawBsonRef::MinKey => self.quoted("MinKey"),
            RawBsonRef::MaxKey => self.quoted("MaxKey"),
            // What has parts was written before; `undefined` has no better word in JSON.
            _ => self.literal("null"),
        }
    }

    fn natural_binary(&mut self, binary: RawBinaryRef<'_>) {
        match (binary.subtype, <[u8; 16]>::try_from(binary.bytes)) {
            (BinarySubtype::Uuid, Ok(bytes)) => self.quoted(bson::Uuid::from_bytes(bytes)),
            _ => {
                self.out.push(b'"');
                self.base64(binary.bytes);
                self.out.push(b'"');
            }
        }
    }

    /// A value without parts, in Extended JSON v2.
    fn extended(&mut self, value: RawBsonRef<'_>) {
        let is_canonical = self.format == JsonFormat::Canonical;
        match value {
            RawBsonRef::Int32(number) if is_canonical => self.wrapped("$numberInt", number),
            RawBsonRef::Int32(number) => write_number(self.out, number),
            RawBsonRef::Int64(number) if is_canonical => self.wrapped("$numberLong", number),
            RawBsonRef::Int64(number) => write_number(self.out, number),
            RawBsonRef::Double(double) => match double_word(double) {
                Some(word) => self.wrapped("$numberDouble", word),
                None if is_canonical => self.wrapped("$numberDouble", format_args!("{double:?}")),
                None => write_double(self.out, double),
            },
            RawBsonRef::Decimal128(decimal) => self.wrapped("$numberDecimal", decimal),
            RawBsonRef::ObjectId(id) => {
                self.literal(r#"{"$oid":"#);
                self.hexadecimal(&id.bytes());
                self.out.push(b'}');
            }
            RawBsonRef::DateTime(date) => self.extended_date(date),
            RawBsonRef::Binary(binary) => {
                self.literal(r#"{"$binary":{"base64":""#);
                self.base64(binary.bytes);
                self.literal(r#"","subType":""#);
                super::write_hexadecimal(self.out, &[u8::from(binary.subtype)]);
                self.literal(r#""}}"#);
            }
            RawBsonRef::Symbol(text) => self.wrapped_text("$symbol", text),
            RawBsonRef::JavaScriptCode(text) => self.wrapped_text("$code", text),
            RawBsonRef::RegularExpression(regex) => {
                self.literal(r#"{"$regularExpression":{"pattern":"#);
                write_string(self.out, regex.pattern.as_str());
                self.literal(r#","options":"#);
                write_string(self.out, regex.options.as_str());
                self.literal("}}");
            }
            RawBsonRef::Timestamp(timestamp) => {
                let (time, increment) = (timestamp.time, timestamp.increment);
                write_number(self.out, format_args!(r#"{{"$timestamp":{{"t":{time},"i":{increment}}}}}"#));
            }
            RawBsonRef::MinKey => self.literal(r#"{"$minKey":1}"#),
            RawBsonRef::MaxKey => self.literal(r#"{"$maxKey":1}"#),
            // What has parts was written before.
            _ => self.literal(r#"{"$undefined":true}"#),
        }
    }

    fn extended_date(&mut self, date: bson::DateTime) {
        let millis = date.timestamp_millis();
        let start = self.out.len();
        if self.format == JsonFormat::Relaxed && millis >= 0 {
            self.literal(r#"{"$date":""#);
            if write_rfc3339(self.out, date, Milliseconds::IfNotZero) {
                return self.literal(r#""}"#);
            }
            self.out.truncate(start);
        }
        self.literal(r#"{"$date":"#);
        self.wrapped("$numberLong", millis);
        self.out.push(b'}');
    }

    fn quoted(&mut self, value: impl std::fmt::Display) {
        self.out.push(b'"');
        write_number(self.out, value);
        self.out.push(b'"');
    }

    fn wrapped(&mut self, name: &str, value: impl std::fmt::Display) {
        self.literal("{\"");
        self.literal(name);
        self.literal("\":");
        self.quoted(value);
        self.out.push(b'}');
    }

    fn wrapped_text(&mut self, name: &str, text: &str) {
        self.literal("{\"");
        self.literal(name);
        self.literal("\":");
        write_string(self.out, text);
        self.out.push(b'}');
    }

    fn hexadecimal(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        super::write_hexadecimal(self.out, bytes);
        self.out.push(b'"');
    }

    /// Appends bytes, without quotation marks.
    pub(super) fn base64(&mut self, bytes: &[u8]) {
        let start = self.out.len();
        let length = base64::encoded_len(bytes.len(), true).unwrap_or(0);
        self.out.resize(start + length, 0);
        let written = STANDARD.encode_slice(bytes, &mut self.out[start..]).unwrap_or(0);
        self.out.truncate(start + written);
    }
}
