//! How two events differ that stand for the same fact.

use bson::{RawBson, RawBsonRef, RawDocument};

use crate::change::element::{self, elements};
use crate::change::value::{self, Numbers};
use crate::event::Event;

/// A place at which two events differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The place: `event`, `rule`, `key`, `subject`, `evidence`, `data`, or a path in the data such as `data.total`.
    pub place: String,
    /// What the old rules give there, if anything.
    pub old: Option<RawBson>,
    /// What the new rules give there, if anything.
    pub new: Option<RawBson>,
}

/// Every place at which the events differ.
pub fn differences(old: &Event, new: &Event) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut text = |place: &str, old: Option<&str>, new: Option<&str>| {
        if old != new {
            let value = |text: Option<&str>| text.map(|text| RawBson::String(text.to_owned()));
            found.push(Difference { place: place.to_owned(), old: value(old), new: value(new) });
        }
    };
    text("event", Some(&old.name), Some(&new.name));
    text("rule", Some(&old.rule), Some(&new.rule));
    text("key", Some(&old.partition_key), Some(&new.partition_key));
    text("subject", old.subject.as_deref(), new.subject.as_deref());
    text("evidence", Some(old.evidence.as_str()), Some(new.evidence.as_str()));
    documents("data", &old.data, &new.data, &mut found);
    found
}

fn documents(place: &str, old: &RawDocument, new: &RawDocument, found: &mut Vec<Difference>) {
    if old.as_bytes() == new.as_bytes() {
        return;
    }
    let before = found.len();
    for element in elements(old) {
        let name = element.name_text();
        values(&format!("{place}.{name}"), element.value(), element::get(new, name), found);
    }
    for element in elements(new) {
        let name = element.name_text();
        if element::get(old, name).is_none() {
            values(&format!("{place}.{name}"), None, element.value(), found);
        }
    }
    if found.len() == before {
        // Only the order of fields is another; consumers may hash what they get.
        let value = |document: &RawDocument| Some(RawBson::Document(document.to_owned()));
        found.push(Difference { place: format!("{place} (order of fields)"), old: value(old), new: value(new) });
    }
}

fn values(place: &str, old: Option<RawBsonRef<'_>>, new: Option<RawBsonRef<'_>>, found: &mut Vec<Difference>) {
    match (old, new) {
        (Some(RawBsonRef::Document(old)), Some(RawBsonRef::Document(new))) => documents(place, old, new, found),
        (Some(old), Some(new)) if value::equal(old, new, Numbers::Strict) => {}
        (old, new) => {
            found.push(Difference { place: place.to_owned(), old: old.map(RawBson::from), new: new.map(RawBson::from) })
        }
    }
}
