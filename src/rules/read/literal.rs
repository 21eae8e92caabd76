//! From YAML values to BSON: as a MongoDB user expects, with `{date: ...}` and Extended JSON for what YAML does not know.

use bson::{Bson, DateTime, Document};

use crate::yaml::{Entry, Node, Span, Value, did_you_mean};

use super::codes;
use super::reader::{Reader, one_of};

/// Extended JSON v2: the key that says the type, and how it is written.
const EXTENDED: [(&str, &str); 16] = [
    ("$oid", "{$oid: \"<24 hexadecimal digits>\"}"),
    ("$date", "{$date: \"2026-01-31T12:00:00Z\"}"),
    ("$numberDecimal", "{$numberDecimal: \"10.50\"}"),
    ("$numberLong", "{$numberLong: \"42\"}"),
    ("$numberInt", "{$numberInt: \"42\"}"),
    ("$numberDouble", "{$numberDouble: \"1.5\"}"),
    ("$binary", "{$binary: {base64: \"AQID\", subType: \"00\"}}"),
    ("$uuid", "{$uuid: \"c8edabc3-f738-4ca3-b68d-ab92a91478a3\"}"),
    ("$timestamp", "{$timestamp: {t: 1700000000, i: 1}}"),
    ("$regularExpression", "{$regularExpression: {pattern: \"^a\", options: \"i\"}}"),
    ("$symbol", "{$symbol: \"text\"}"),
    ("$code", "{$code: \"function() {}\"}"),
    ("$minKey", "{$minKey: 1}"),
    ("$maxKey", "{$maxKey: 1}"),
    ("$dbPointer", "{$dbPointer: {$ref: \"shop.orders\", $id: {$oid: \"<24 hexadecimal digits>\"}}}"),
    ("$undefined", "{$undefined: true}"),
];

/// True if the node is a mapping that stands for one value: `{date: ...}` or Extended JSON.
pub(super) fn is_typed(node: &Node) -> bool {
    match node.as_map() {
        Some([entry]) if entry.key == "date" => entry.node.as_text().is_some_and(|text| date(text).is_some()),
        Some(entries) => entries.iter().any(|entry| is_extended_key(&entry.key)) || is_reference(entries),
        None => false,
    }
}

/// True for a DBRef, a plain document whose first keys begin with a dollar sign by convention (MongoDB manual, "Database
/// References"). One that asks for a value of the change is none.
fn is_reference(entries: &[Entry]) -> bool {
    let is_plain = |entry: &Entry| !entry.node.as_text().is_some_and(|text| text.starts_with('$'));
    match entries {
        [collection, id, ..] if collection.key == "$ref" && id.key == "$id" => entries.iter().all(is_plain),
        _ => false,
    }
}

/// Reports `{date: ...}` with a text that is no date, where a document can not be meant. True if it is one.
pub(super) fn is_bad_date(reader: &mut Reader<'_>, node: &Node) -> bool {
    let Some([entry]) = node.as_map() else { return false };
    if entry.key != "date" || is_typed(node) {
        return false;
    }
    reader
        .error(entry.node.span, codes::BAD_LITERAL, "this is no date in ISO 8601")
        .help("write {date: 2026-01-31} or {date: 2026-01-31T12:00:00Z}");
    true
}

/// True if a key with a dollar sign names a type of Extended JSON.
pub(super) fn is_extended_key(key: &str) -> bool {
    EXTENDED.iter().any(|(name, _)| *name == key)
}

/// The BSON value of a node. Whole numbers are int32 where they fit.
pub(super) fn value(reader: &mut Reader<'_>, node: &Node) -> Option<Bson> {
    Some(match &node.value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::Int(value) => i32::try_from(*value).map_or(Bson::Int64(*value), Bson::Int32),
        Value::Float(value) => Bson::Double(*value),
        Value::Text(text) => Bson::String(text.clone()),
        Value::List(nodes) => {
            // Every element is read before giving up, so that all problems are reported.
            let values: Vec<_> = nodes.iter().map(|node| value(reader, node)).collect();
            Bson::Array(values.into_iter().collect::<Option<_>>()?)
        }
        Value::Map(_) => return map(reader, node),
    })
}

/// The document of a node.
pub(super) fn document(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Document> {
    reader.map(node, what)?;
    match value(reader, node)? {
        Bson::Document(document) => Some(document),
        _ => {
            reader
                .error(node.span, codes::WRONG_TYPE, format!("{what} must be a document, not a single value"))
                .help("{date: ...} alone is a date: name a field in front, {at: {date: 2026-01-31}}");
            None
        }
    }
}

fn map(reader: &mut Reader<'_>, node: &Node) -> Option<Bson> {
    let entries = node.as_map()?;
    if let [entry] = entries
        && entry.key == "date"
        && let Some(date) = entry.node.as_text().and_then(date)
    {
        return Some(Bson::DateTime(date));
    }
    if let Some(entry) = entries.iter().find(|entry| is_extended_key(&entry.key)) {
        return extended(reader, node, &entry.key);
    }
    let mut document = Document::new();
    let mut complete = true;
    let is_reference = is_reference(entries);
    for entry in entries {
        let is_type = entry.key.starts_with('$') && !(is_reference && matches!(&*entry.key, "$ref" | "$id" | "$db"));
        match (is_type, value(reader, &entry.node)) {
            (true, _) => {
                unknown_type(reader, &entry.key, entry.key_span);
                complete = false;
            }
            (false, Some(value)) => {
                document.insert(entry.key.clone(), value);
            }
            (false, None) => complete = false,
        }
    }
    complete.then_some(Bson::Document(document))
}

fn extended(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Bson> {
    match Bson::try_from(node.to_json()) {
        Ok(value) => Some(value),
        Err(_) => {
            let form = EXTENDED.iter().find(|(name, _)| *name == key).map_or("", |(_, form)| form);
            reader
                .error(node.span, codes::BAD_LITERAL, format!("this is not a valid {key} of Extended JSON"))
                .help(format!("write it as {form}"));
            None
        }
    }
}

pub(super) fn unknown_type(reader: &mut Reader<'_>, key: &str, span: Span) {
    let names = EXTENDED.map(|(name, _)| name);
    let help = did_you_mean(key, names).unwrap_or_else(|| one_of(&names, "the types are"));
    reader.error(span, codes::BAD_LITERAL, format!("{key:?} is no type of Extended JSON")).help(help);
}

/// The moment of an ISO 8601 text: a date (midnight), or a date and time; UTC where it names no offset.
pub(super) fn date(text: &str) -> Option<DateTime> {
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00Z"));
    let offset_start = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, offset) = time.split_at(offset_start);
    let seconds = if clock.len() == "00:00".len() { ":00" } else { "" };
    let offset = if offset.is_empty() { "Z" } else { offset };
    DateTime::parse_rfc3339_str(format!("{day}T{clock}{seconds}{offset}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_may_leave_out_time_seconds_and_offset() {
        let millis = |text: &str| date(text).map(DateTime::timestamp_millis);
        for text in
            ["2026-01-31", "2026-01-31T00:00", "2026-01-31 00:00:00", "2026-01-31T00:00:00Z", "2026-01-31T01:00+01:00"]
        {
            assert_eq!(millis(text), Some(1_769_817_600_000), "{text}");
        }
        assert_eq!(millis("2026-01-31T00:00:00.250Z"), Some(1_769_817_600_250));
        for text in ["", "today", "2026-02-30", "31.01.2026", "2026-01-31T25:00:00Z"] {
            assert_eq!(millis(text), None, "{text}");
        }
    }
}
