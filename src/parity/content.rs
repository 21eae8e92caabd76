//! How the data of two events differ, in words without values.

use std::collections::BTreeSet;

use bson::{Bson, RawArray, RawBson, RawBsonRef, RawDocument};

use super::item::Content;
use crate::change::element::{self, elements};
use crate::change::value::{self, Numbers};
use crate::rules::coverage::is_id_like;
use crate::rules::type_name;

/// How many differences of one pair are told.
const DIFFERENCES_MAX: usize = 32;
/// The name of the data as a whole.
const WHOLE: &str = "(data)";

/// What differs: dotted path, and in words.
pub(super) type Differences = BTreeSet<(String, String)>;

/// Paths whose differences do not count.
#[derive(Clone, Debug, Default)]
pub(super) struct Ignored(Vec<String>);

impl Ignored {
    pub(super) fn new(paths: &[String]) -> Self {
        Self(paths.iter().map(|path| path.strip_prefix("data.").unwrap_or(path).to_owned()).collect())
    }

    fn covers(&self, path: &str) -> bool {
        let is_above = |ignored: &String| {
            path.strip_prefix(ignored.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.0.iter().any(is_above)
    }
}

/// Every place, up to a bound, at which the data of an explicit event and of an inferred one differ. Numbers are compared by value,
/// documents without regard to the order of their fields.
pub(super) fn differences(explicit: &Content, inferred: &Content, ignored: &Ignored) -> Differences {
    let mut comparing = Comparing { found: Differences::new(), path: String::new(), ignored, is_json: false };
    match (explicit, inferred) {
        (Content::Document(explicit), Content::Document(inferred)) => comparing.documents(explicit, inferred),
        (Content::Nothing, Content::Document(inferred)) => {
            for element in elements(inferred) {
                comparing.values(element.name_text(), None, element.value());
            }
        }
        (Content::Text(text), Content::Document(inferred)) => comparing.text(text, inferred),
        (Content::Value(value), Content::Document(inferred)) => {
            comparing.values(WHOLE, Some(value.as_raw_bson_ref()), Some(RawBsonRef::Document(inferred)));
        }
        // Rules make documents.
        (_, Content::Text(_) | Content::Value(_) | Content::Nothing) => {}
    }
    comparing.found
}

struct Comparing<'i> {
    found: Differences,
    /// The path so far.
    path: String,
    ignored: &'i Ignored,
    /// The explicit side was JSON, which has no dates, ids and decimals of its own.
    is_json: bool,
}

impl Comparing<'_> {
    /// A text that is JSON is compared by what it says.
    fn text(&mut self, text: &str, inferred: &RawDocument) {
        let parsed = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|json| Bson::try_from(json).ok());
        match parsed.and_then(|parsed| RawBson::try_from(parsed).ok()) {
            Some(RawBson::Document(explicit)) => {
                self.is_json = true;
                self.documents(&explicit, inferred);
            }
            Some(other) => {
                self.values(WHOLE, Some(other.as_raw_bson_ref()), Some(RawBsonRef::Document(inferred)));
            }
            None => self.values(WHOLE, Some(RawBsonRef::String(text)), Some(RawBsonRef::Document(inferred))),
        }
    }

    fn documents(&mut self, explicit: &RawDocument, inferred: &RawDocument) {
        if explicit.as_bytes() == inferred.as_bytes() {
            return;
        }
        for element in elements(explicit) {
            self.values(element.name_text(), element.value(), element::get(inferred, element.name_text()));
        }
        for element in elements(inferred) {
            if element::get(explicit, element.name_text()).is_none() {
                self.values(element.name_text(), None, element.value());
            }
        }
    }

    fn arrays(&mut self, explicit: &RawArray, inferred: &RawArray) {
        let (mut explicit, mut inferred) = (explicit.into_iter().flatten(), inferred.into_iter().flatten());
        loop {
            match (explicit.next(), inferred.next()) {
                (None, None) => return,
                (Some(explicit), Some(inferred)) => self.values("*", Some(explicit), Some(inferred)),
                (Some(_), None) => return self.found("more elements"),
                (None, Some(_)) => return self.found("fewer elements"),
            }
        }
    }

    fn values(&mut self, name: &str, explicit: Option<RawBsonRef<'_>>, inferred: Option<RawBsonRef<'_>>) {
        if self.found.len() >= DIFFERENCES_MAX {
            return;
        }
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        // A name may be a value: an id under which something is kept.
        self.path.push_str(if is_id_like(name) { "*" } else { name });
        match (explicit, inferred) {
            (Some(RawBsonRef::Document(explicit)), Some(RawBsonRef::Document(inferred))) => {
                self.documents(explicit, inferred);
            }
            (Some(RawBsonRef::Array(explicit)), Some(RawBsonRef::Array(inferred))) => self.arrays(explicit, inferred),
            (Some(explicit), Some(inferred)) => {
                let is_same = value::equal(explicit, inferred, Numbers::ByValue)
                    || self.is_json && is_same_as_json(explicit, inferred);
                if !is_same {
                    self.differ(explicit, inferred);
                }
            }
            (Some(_), None) => self.found("only explicit"),
            (None, Some(_)) => self.found("only inferred"),
            (None, None) => {}
        }
        self.path.truncate(length);
    }

    fn differ(&mut self, explicit: RawBsonRef<'_>, inferred: RawBsonRef<'_>) {
        let is_number = |value: RawBsonRef<'_>| {
            matches!(
                value,
                RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_)
            )
        };
        let is_alike = explicit.element_type() == inferred.element_type() || is_number(explicit) && is_number(inferred);
        match is_alike {
            true => self.found("other value"),
            false => {
                let words = format!("{} and {}", type_name(explicit), type_name(inferred));
                self.found(&words);
            }
        }
    }

    fn found(&mut self, what: &str) {
        if !self.ignored.covers(&self.path) {
            self.found.insert((self.path.clone(), what.to_owned()));
        }
    }
}

/// True if a value of JSON is how the other would be written there.
fn is_same_as_json(json: RawBsonRef<'_>, value: RawBsonRef<'_>) -> bool {
    let parsed = |text: &str| text.parse().ok();
    match (json, value) {
        (RawBsonRef::String(text), RawBsonRef::ObjectId(id)) => text.eq_ignore_ascii_case(&id.to_hex()),
        (RawBsonRef::String(text), RawBsonRef::DateTime(time)) => {
            bson::DateTime::parse_rfc3339_str(text).is_ok_and(|parsed| parsed == time)
        }
        (RawBsonRef::String(text), RawBsonRef::Decimal128(_)) => {
            parsed(text).is_some_and(|decimal| value::equal(RawBsonRef::Decimal128(decimal), value, Numbers::ByValue))
        }
        (RawBsonRef::String(text), RawBsonRef::Binary(binary)) => {
            let uuid = binary.bytes.try_into().ok().map(bson::Uuid::from_bytes);
            uuid.is_some_and(|uuid| text.eq_ignore_ascii_case(&uuid.to_string()))
        }
        // 12.3 is a double where it is read, and its text is that of the decimal.
        (RawBsonRef::Double(number), RawBsonRef::Decimal128(_)) => parsed(&number.to_string())
            .is_some_and(|decimal| value::equal(RawBsonRef::Decimal128(decimal), value, Numbers::ByValue)),
        // Milliseconds since 1970, as many libraries write dates.
        (RawBsonRef::Int64(number), RawBsonRef::DateTime(time)) => number == time.timestamp_millis(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{RawDocumentBuf, doc, rawdoc};

    use super::*;

    fn found(explicit: &Content, inferred: bson::Document, ignored: &[&str]) -> Vec<String> {
        let ignored = Ignored::new(&ignored.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        let inferred = Content::Document(RawDocumentBuf::try_from(&inferred).unwrap());
        differences(explicit, &inferred, &ignored).into_iter().map(|(path, what)| format!("{path}: {what}")).collect()
    }

    #[test]
    fn differences_name_paths_and_kinds_and_never_values() {
        let explicit = Content::Document(rawdoc! {
            "id": 1_i64, "total": 10, "by": "ann", "lines": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}], "at": "noon",
            "per": {"507f1f77bcf86cd799439011": 1}, "more": [1, 2],
        });
        let inferred = doc! {
            "total": 11.0, "id": 1.0, "lines": [{"n": 1, "sku": "a"}, {"sku": "b", "n": 3}], "at": 12, "extra": true,
            "per": {"507f1f77bcf86cd799439011": 2}, "more": [1],
        };
        let all = [
            "at: string and int",
            "by: only explicit",
            "extra: only inferred",
            "lines.*.n: other value",
            "more: more elements",
            "per.*: other value",
            "total: other value",
        ];
        assert_eq!(found(&explicit, inferred.clone(), &[]), all);
        let some = found(&explicit, inferred, &["by", "lines.*.n", "per", "data.total", "mor"]);
        assert_eq!(some, ["at: string and int", "extra: only inferred", "more: more elements"]);
    }

    #[test]
    fn a_text_that_is_json_is_compared_by_what_it_says() {
        let id = ObjectId::from_bytes([7; 12]);
        let time = bson::DateTime::from_millis(1_700_000_000_123);
        let inferred = doc! {"id": id, "at": time, "total": "12.50".parse::<bson::Decimal128>().unwrap(), "n": 3_i64};
        let text = |text: String| Content::Text(text);
        let plain = format!(r#"{{"id": "{id}", "at": "2023-11-14T22:13:20.123Z", "total": 12.5, "n": 3}}"#);
        assert_eq!(found(&text(plain), inferred.clone(), &[]), [""; 0]);
        let canonical = r#"{"id": {"$oid": "070707070707070707070707"}, "at": {"$date": {"$numberLong": "1700000000123"}}, "total": {"$numberDecimal": "12.5"}, "n": {"$numberInt": "3"}}"#;
        assert_eq!(found(&text(canonical.to_owned()), inferred.clone(), &[]), [""; 0]);
        assert_eq!(found(&text(r#"{"n": 4}"#.to_owned()), doc! {"n": 3}, &[]), ["n: other value"]);
        assert_eq!(found(&text("paid".to_owned()), doc! {"n": 3}, &[]), ["(data): string and object"]);
        assert_eq!(found(&Content::Nothing, doc! {}, &[]), [""; 0]);
        assert_eq!(found(&Content::Nothing, doc! {"n": 1}, &[]), ["n: only inferred"]);
    }
}
