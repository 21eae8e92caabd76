//! Values described for people: by their types alone, or as they are.

use std::fmt::Write;

use bson::{RawArray, RawBsonRef, RawDocument};

use super::check::TYPE_NAMES;
use super::text;

/// How much of a value is told.
const DEPTH_MAX: usize = 5;
const FIELDS_MAX: usize = 30;
const TEXT_LENGTH_MAX: usize = 80;
const ELEMENTS_MAX: usize = 3;

/// The value in a few words: `{id: int, items: [3 x {sku: string}]}`, or with its values `{id: 1, items: [{sku: "a"}, ...]}`.
/// Without values it holds the names of fields and MongoDB's names of types, and nothing else of the document.
pub fn described(value: RawBsonRef<'_>, with_values: bool) -> String {
    let mut text = String::new();
    write(&mut text, value, with_values, 0);
    text
}

fn write(out: &mut String, value: RawBsonRef<'_>, with_values: bool, depth: usize) {
    match value {
        RawBsonRef::Document(document) => write_document(out, document, with_values, depth),
        RawBsonRef::Array(array) if with_values => write_elements(out, array, depth),
        RawBsonRef::Array(array) => write_array_type(out, array, depth),
        value if with_values => write_value(out, value),
        value => out.push_str(type_name(value)),
    }
}

/// MongoDB's name of the value's type.
pub fn type_name(value: RawBsonRef<'_>) -> &'static str {
    let element_type = value.element_type();
    TYPE_NAMES.iter().find(|(_, one)| *one == element_type).map_or("unknown", |(name, _)| name)
}

fn write_document(out: &mut String, document: &RawDocument, with_values: bool, depth: usize) {
    if depth >= DEPTH_MAX {
        return out.push_str("object");
    }
    out.push('{');
    for (index, element) in document.into_iter().enumerate() {
        let Ok((name, value)) = element else { break };
        if index > 0 {
            out.push_str(", ");
        }
        if index == FIELDS_MAX {
            out.push_str("...");
            break;
        }
        let _ = write!(out, "{name}: ");
        write(out, value, with_values, depth + 1);
    }
    out.push('}');
}

fn write_elements(out: &mut String, array: &RawArray, depth: usize) {
    if depth >= DEPTH_MAX {
        return out.push_str("array");
    }
    out.push('[');
    for (index, element) in array.into_iter().enumerate() {
        let Ok(value) = element else { break };
        if index > 0 {
            out.push_str(", ");
        }
        if index == ELEMENTS_MAX {
            out.push_str("...");
            break;
        }
        write(out, value, true, depth + 1);
    }
    out.push(']');
}

fn write_array_type(out: &mut String, array: &RawArray, depth: usize) {
    let count = array.into_iter().count();
    match array.into_iter().next() {
        Some(Ok(first)) if depth < DEPTH_MAX => {
            let _ = write!(out, "[{count} x ");
            write(out, first, false, depth + 1);
            out.push(']');
        }
        _ => out.push_str("[]"),
    }
}

fn write_value(out: &mut String, value: RawBsonRef<'_>) {
    let mut whole = String::new();
    text::write_json(&mut whole, value);
    match whole.char_indices().nth(TEXT_LENGTH_MAX) {
        Some((end, _)) => {
            let _ = write!(out, "{}...", &whole[..end]);
        }
        None => out.push_str(&whole),
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn types_tell_nothing_of_the_values_and_values_are_cut() {
        let document = rawdoc! {
            "id": 1, "name": "Ada", "items": [{"sku": "a"}, {"sku": "b"}], "none": [], "at": bson::DateTime::from_millis(0),
            "deep": {"a": {"b": {"c": {"d": {"e": "secret"}}}}}
        };
        let value = RawBsonRef::Document(&document);
        let shape =
            "{id: int, name: string, items: [2 x {sku: string}], none: [], at: date, deep: {a: {b: {c: {d: object}}}}}";
        assert_eq!(described(value, false), shape);
        let long = rawdoc! {"text": "x".repeat(500), "many": [1, 2, 3, 4]};
        let told = described(RawBsonRef::Document(&long), true);
        assert!(told.len() < 150 && told.contains("...") && told.contains("[1, 2, 3, ...]"), "{told}");
    }
}
