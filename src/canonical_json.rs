//! Canonical Extended JSON over several lines: byte for byte what the Java driver of MongoDB writes, and with it Debezium's outbox
//! router, so that a consumer which compares texts notices no difference.
//!
//! Source: `StrictCharacterStreamJsonWriter` and the converters of `JsonMode.EXTENDED` in `org.bson.json`, versions 4 and 5, with
//! `indent(true)`, two spaces and `\n`.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bson::{RawArray, RawBsonRef, RawDocument};
use regex::Regex;

/// Deeper than any document that MongoDB takes.
const DEPTH_MAX: usize = 250;

/// Why a document can not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalJsonError {
    /// The bytes are not what BSON allows.
    #[error("it is not valid BSON")]
    Malformed,
    /// Deeper than any document of MongoDB can be.
    #[error("it is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// Appends a document.
///
/// # Errors
/// If the bytes are not valid BSON, or nested too deep; `out` may end with a part of it then.
pub fn write_document(out: &mut Vec<u8>, document: &RawDocument) -> Result<(), CanonicalJsonError> {
    Indented { out, depth: 0 }.document(document)
}

struct Indented<'o> {
    out: &'o mut Vec<u8>,
    depth: usize,
}

impl Indented<'_> {
    fn document(&mut self, document: &RawDocument) -> Result<(), CanonicalJsonError> {
        self.open(b'{')?;
        let mut is_first = true;
        for element in document.iter_elements() {
            let element = element.map_err(|_| CanonicalJsonError::Malformed)?;
            self.name(element.key().as_str(), is_first);
            is_first = false;
            self.value(element.value().map_err(|_| CanonicalJsonError::Malformed)?)?;
        }
        self.close(b'}', is_first);
        Ok(())
    }

    fn array(&mut self, array: &RawArray) -> Result<(), CanonicalJsonError> {
        self.open(b'[')?;
        let mut is_first = true;
        for value in array {
            self.begin_element(is_first);
            is_first = false;
            self.value(value.map_err(|_| CanonicalJsonError::Malformed)?)?;
        }
        self.close(b']', is_first);
        Ok(())
    }

    fn value(&mut self, value: RawBsonRef<'_>) -> Result<(), CanonicalJsonError> {
        match value {
            RawBsonRef::Document(document) => return self.document(document),
            RawBsonRef::Array(array) => return self.array(array),
            RawBsonRef::String(text) => self.string(text),
            RawBsonRef::Boolean(true) => self.plain("true"),
            RawBsonRef::Boolean(false) => self.plain("false"),
            RawBsonRef::Null => self.plain("null"),
            RawBsonRef::Int32(number) => return self.wrapped("$numberInt", &number.to_string()),
            RawBsonRef::Int64(number) => return self.wrapped("$numberLong", &number.to_string()),
            RawBsonRef::Double(double) => return self.wrapped("$numberDouble", &java_double(double)),
            RawBsonRef::Decimal128(decimal) => return self.wrapped("$numberDecimal", &decimal.to_string()),
            RawBsonRef::ObjectId(id) => return self.wrapped("$oid", &id.to_hex()),
            RawBsonRef::Symbol(text) => return self.wrapped("$symbol", text),
            RawBsonRef::JavaScriptCode(text) => return self.wrapped("$code", text),
            RawBsonRef::MinKey => return self.object(&[("$minKey", Part::Plain("1"))]),
            RawBsonRef::MaxKey => return self.object(&[("$maxKey", Part::Plain("1"))]),
            RawBsonRef::Undefined => return self.object(&[("$undefined", Part::Plain("true"))]),
            RawBsonRef::DateTime(date) => {
                let millis = date.timestamp_millis().to_string();
                return self.object(&[("$date", Part::Object(&[("$numberLong", Part::Text(&millis))]))]);
            }
            RawBsonRef::Timestamp(timestamp) => {
                let (time, increment) = (timestamp.time.to_string(), timestamp.increment.to_string());
                let parts = [("t", Part::Plain(&time)), ("i", Part::Plain(&increment))];
                return self.object(&[("$timestamp", Part::Object(&parts))]);
            }
            RawBsonRef::Binary(binary) => {
                let (base64, subtype) = (STANDARD.encode(binary.bytes), format!("{:02X}", u8::from(binary.subtype)));
                let parts = [("base64", Part::Text(&base64)), ("subType", Part::Text(&subtype))];
                return self.object(&[("$binary", Part::Object(&parts))]);
            }
            RawBsonRef::RegularExpression(regex) => {
                let parts =
                    [("pattern", Part::Text(regex.pattern.as_str())), ("options", Part::Text(regex.options.as_str()))];
                return self.object(&[("$regularExpression", Part::Object(&parts))]);
            }
            RawBsonRef::JavaScriptCodeWithScope(code) => return self.code_with_scope(code.code, code.scope),
            RawBsonRef::DbPointer(pointer) => {
                // Only serde can see into it.
                let pointer = serde_json::to_value(pointer).map_err(|_| CanonicalJsonError::Malformed)?;
                let part = |path: &str| pointer.pointer(path).and_then(serde_json::Value::as_str);
                let (namespace, id) = (part("/$dbPointer/$ref"), part("/$dbPointer/$id/$oid"));
                let id = [("$oid", Part::Text(id.ok_or(CanonicalJsonError::Malformed)?))];
                let namespace = Part::Text(namespace.ok_or(CanonicalJsonError::Malformed)?);
                return self
                    .object(&[("$dbPointer", Part::Object(&[("$ref", namespace), ("$id", Part::Object(&id))]))]);
            }
        }
        Ok(())
    }

    fn code_with_scope(&mut self, code: &str, scope: &RawDocument) -> Result<(), CanonicalJsonError> {
        self.open(b'{')?;
        self.name("$code", true);
        self.string(code);
        self.name("$scope", false);
        self.document(scope)?;
        self.close(b'}', false);
        Ok(())
    }

    fn wrapped(&mut self, name: &str, text: &str) -> Result<(), CanonicalJsonError> {
        self.object(&[(name, Part::Text(text))])
    }

    fn object(&mut self, parts: &[(&str, Part<'_>)]) -> Result<(), CanonicalJsonError> {
        self.open(b'{')?;
        for (place, (name, part)) in parts.iter().enumerate() {
            self.name(name, place == 0);
            match part {
                Part::Text(text) => self.string(text),
                Part::Plain(text) => self.plain(text),
                Part::Object(parts) => self.object(parts)?,
            }
        }
        self.close(b'}', false);
        Ok(())
    }

    fn open(&mut self, bracket: u8) -> Result<(), CanonicalJsonError> {
        // What stands for a value may be two levels more.
        if self.depth == DEPTH_MAX + 2 {
            return Err(CanonicalJsonError::TooDeep);
        }
        self.out.push(bracket);
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self, bracket: u8, is_empty: bool) {
        self.depth -= 1;
        if !is_empty {
            self.break_line();
        }
        self.out.push(bracket);
    }

    fn begin_element(&mut self, is_first: bool) {
        if !is_first {
            self.out.push(b',');
        }
        self.break_line();
    }

    fn break_line(&mut self) {
        self.out.push(b'\n');
        self.out.resize(self.out.len() + 2 * self.depth, b' ');
    }

    fn name(&mut self, name: &str, is_first: bool) {
        self.begin_element(is_first);
        self.string(name);
        self.plain(": ");
    }

    fn plain(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self, text: &str) {
        self.out.push(b'"');
        for character in text.chars() {
            self.character(character);
        }
        self.out.push(b'"');
    }

    fn character(&mut self, character: char) {
        match character {
            '"' => self.plain("\\\""),
            '\\' => self.plain("\\\\"),
            '\u{8}' => self.plain("\\b"),
            '\u{c}' => self.plain("\\f"),
            '\n' => self.plain("\\n"),
            '\r' => self.plain("\\r"),
            '\t' => self.plain("\\t"),
            ' '..='~' => self.out.push(character as u8),
            _ => {
                let mut text = [0; 4];
                let text = character.encode_utf8(&mut text);
                if character.len_utf16() == 1 && !ESCAPED.is_match(text) {
                    return self.out.extend_from_slice(text.as_bytes());
                }
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    self.plain(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}

/// A piece of what stands for a value.
enum Part<'p> {
    Text(&'p str),
    Plain(&'p str),
    Object(&'p [(&'p str, Part<'p>)]),
}

/// The categories of characters that the Java driver escapes. It looks at units of UTF-16, so every character of two is escaped, too.
static ESCAPED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{M}\p{Lm}\p{Zl}\p{Zp}]$").expect("a valid expression"));

/// A double as `Double.toString` of Java writes it: the fewest digits, at least two, with an exponent outside 10^-3 to 10^7.
fn java_double(double: f64) -> String {
    if double.is_nan() {
        return "NaN".to_owned();
    }
    if double.is_infinite() {
        return if double > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if double == 0.0 || (1e-3..1e7).contains(&double.abs()) {
        return format!("{double:?}");
    }
    let fewest = format!("{double:e}");
    // Where one digit is enough, Java takes the nearest of all numbers with two.
    let text = if fewest.contains('.') { fewest } else { format!("{double:.1e}") };
    text.replace('e', "E")
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::spec::BinarySubtype;
    use bson::{Binary, DateTime, RawBson, RawDocumentBuf, RawJavaScriptCodeWithScope, Regex, Timestamp, rawdoc};

    use super::*;

    fn written(document: &RawDocumentBuf) -> String {
        let mut out = Vec::new();
        write_document(&mut out, document).expect("valid");
        String::from_utf8(out).expect("UTF-8")
    }

    /// The text of the value of the one field, moved to the left.
    fn value(value: impl Into<RawBson>) -> String {
        let mut document = RawDocumentBuf::new();
        document.append(bson::raw::cstr!("x"), value.into().as_raw_bson_ref());
        let text = written(&document);
        let text = text.strip_prefix("{\n  \"x\": ").and_then(|rest| rest.strip_suffix("\n}"));
        text.expect("one field").replace("\n  ", "\n")
    }

    #[test]
    fn documents_and_arrays_are_indented_and_empty_ones_stay_on_their_line() {
        assert_eq!(written(&rawdoc! {}), "{}");
        let document = rawdoc! {"a": {}, "b": [], "c": {"d": [true, {"e": "x"}, [null]]}, "f": "y"};
        let expected = r#"{
  "a": {},
  "b": [],
  "c": {
    "d": [
      true,
      {
        "e": "x"
      },
      [
        null
      ]
    ]
  },
  "f": "y"
}"#;
        assert_eq!(written(&document), expected);
    }

    #[test]
    fn every_type_is_written_as_the_java_driver_writes_it() {
        let code = RawJavaScriptCodeWithScope { code: "f()".into(), scope: rawdoc! {"n": 1} };
        let binary = Binary { subtype: BinarySubtype::UserDefined(0xab), bytes: vec![1, 2, 3] };
        let regex = Regex {
            pattern: "a.\"b".to_owned().try_into().expect("no zero byte"),
            options: "im".to_owned().try_into().expect("no zero byte"),
        };
        let decimal: bson::Decimal128 = "1.50E+3".parse().expect("a number");
        let pointer: bson::Bson = serde_json::from_value::<bson::Bson>(serde_json::json!(
            {"$dbPointer": {"$ref": "shop.orders", "$id": {"$oid": "0102030405060708090a0b0c"}}}
        ))
        .expect("a pointer");
        let pointer = RawBson::try_from(pointer).expect("a pointer");
        for (value_text, expected) in [
            (value(42), "{\n  \"$numberInt\": \"42\"\n}"),
            (value(-42_i64), "{\n  \"$numberLong\": \"-42\"\n}"),
            (value(10.0), "{\n  \"$numberDouble\": \"10.0\"\n}"),
            (value(decimal), "{\n  \"$numberDecimal\": \"1.50E+3\"\n}"),
            (value(ObjectId::from_bytes([10; 12])), "{\n  \"$oid\": \"0a0a0a0a0a0a0a0a0a0a0a0a\"\n}"),
            (
                value(DateTime::from_millis(1_700_000_000_123)),
                "{\n  \"$date\": {\n    \"$numberLong\": \"1700000000123\"\n  }\n}",
            ),
            (value(Timestamp { time: 7, increment: 2 }), "{\n  \"$timestamp\": {\n    \"t\": 7,\n    \"i\": 2\n  }\n}"),
            (value(binary), "{\n  \"$binary\": {\n    \"base64\": \"AQID\",\n    \"subType\": \"AB\"\n  }\n}"),
            (
                value(regex),
                "{\n  \"$regularExpression\": {\n    \"pattern\": \"a.\\\"b\",\n    \"options\": \"im\"\n  }\n}",
            ),
            (value(RawBson::Symbol("s".into())), "{\n  \"$symbol\": \"s\"\n}"),
            (value(RawBson::JavaScriptCode("f()".into())), "{\n  \"$code\": \"f()\"\n}"),
            (
                value(code),
                "{\n  \"$code\": \"f()\",\n  \"$scope\": {\n    \"n\": {\n      \"$numberInt\": \"1\"\n    }\n  }\n}",
            ),
            (value(RawBson::MinKey), "{\n  \"$minKey\": 1\n}"),
            (value(RawBson::MaxKey), "{\n  \"$maxKey\": 1\n}"),
            (value(RawBson::Undefined), "{\n  \"$undefined\": true\n}"),
            (
                value(pointer),
                "{\n  \"$dbPointer\": {\n    \"$ref\": \"shop.orders\",\n    \"$id\": {\n      \"$oid\": \"0102030405060708090a0b0c\"\n    }\n  }\n}",
            ),
            (value(RawBson::Null), "null"),
            (value(true), "true"),
            (value("text"), "\"text\""),
        ] {
            assert_eq!(value_text, expected);
        }
    }

    #[test]
    fn texts_are_escaped_where_the_java_driver_escapes_them() {
        for (text, expected) in [
            ("a/b 'c' é ß 漢 € ½ « » ²", "a/b 'c' é ß 漢 € ½ « » ²"),
            ("\"\\\u{8}\u{c}\n\r\t", r#"\"\\\b\f\n\r\t"#),
            ("\0\u{1f}\u{7f}\u{80}", r"\u0000\u001f\u007f\u0080"),
            // A combining mark, a modifier letter, a soft hyphen, a line separator, a private character.
            ("e\u{301}\u{2b0}\u{ad}\u{2028}\u{e000}", r"e\u0301\u02b0\u00ad\u2028\ue000"),
            ("\u{1f600}", r"\ud83d\ude00"),
        ] {
            assert_eq!(value(text), format!("\"{expected}\""));
        }
    }

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        for (double, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (0.001, "0.001"),
            (0.000_999, "9.99E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (12_345_678.9, "1.23456789E7"),
            (1e300, "1.0E300"),
            (-2.5e-10, "-2.5E-10"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::from_bits(1), "4.9E-324"),
            (2e23, "2.0E23"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(java_double(double), text);
        }
    }

    #[test]
    fn what_is_no_bson_is_refused() {
        let broken = RawDocumentBuf::from_bytes(vec![14, 0, 0, 0, 2, b'a', 0, 99, 0, 0, 0, b'x', 0, 0]);
        let mut out = Vec::new();
        assert_eq!(write_document(&mut out, &broken.expect("right length")), Err(CanonicalJsonError::Malformed));
        let mut deep = rawdoc! {};
        for _ in 0..DEPTH_MAX + 3 {
            deep = rawdoc! { "a": deep };
        }
        assert_eq!(write_document(&mut out, &deep), Err(CanonicalJsonError::TooDeep));
    }
}
