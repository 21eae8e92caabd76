//! What an update's description says of one path. See MongoDB's manual, "update Event", for `updatedFields`, `removedFields`,
//! `truncatedArrays` and `disambiguatedPaths`.

use std::borrow::Cow;

use bson::{RawArray, RawBsonRef, RawDocument};

use super::path::{Path, Relation, find, find_dotted};
use crate::change::value::{self, Numbers};
use crate::change::{Description, element};

/// What an update's description says of one path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mention<'a> {
    /// Nothing: the value is the same before and after.
    Nothing,
    /// It was written: this is the value.
    Written(RawBsonRef<'a>),
    /// It was removed.
    Removed,
    /// A value around it was written, removed or cut short: this is what the path finds there now. What it found before may be the
    /// same.
    Inside(Option<RawBsonRef<'a>>),
    /// Something below it was written, removed or cut short.
    Below,
}

/// What the description says of a path.
pub(super) fn of<'a>(description: &Description<'a>, path: &Path) -> Mention<'a> {
    let mut mention = Mention::Nothing;
    for element in element::elements(description.updated) {
        match relation(description, path, element.name_text()) {
            Relation::Same => return element.value().map_or(Mention::Below, Mention::Written),
            Relation::Around(steps) => {
                return Mention::Inside(element.value().and_then(|value| find(value, &path.steps[steps..])));
            }
            Relation::Below => mention = Mention::Below,
            Relation::Apart => {}
        }
    }
    for name in description.removed.into_iter().flatten().filter_map(|name| name.as_str()) {
        match relation(description, path, name) {
            Relation::Same => return Mention::Removed,
            Relation::Around(_) => return Mention::Inside(None),
            Relation::Below => mention = Mention::Below,
            Relation::Apart => {}
        }
    }
    for (name, size) in truncated(description) {
        match relation(description, path, name) {
            Relation::Same | Relation::Below => mention = Mention::Below,
            Relation::Around(steps) if path.steps[steps].index.is_some_and(|index| index >= size) => {
                return Mention::Inside(None);
            }
            Relation::Around(_) | Relation::Apart => {}
        }
    }
    mention
}

/// True if one of the values below the path that the description names differs from what was there before.
pub(super) fn below_differs(
    description: &Description<'_>,
    path: &Path,
    before: &RawDocument,
    numbers: Numbers,
) -> bool {
    let below = |name: &str| relation(description, path, name) == Relation::Below;
    let written = description.updated.iter().flatten().any(|(name, value)| {
        below(name.as_str()) && {
            let was = match segments(description, name.as_str()) {
                Some(segments) => find_dotted(RawBsonRef::Document(before), names(segments)),
                None => find_dotted(RawBsonRef::Document(before), name.as_str().split('.').map(Cow::Borrowed)),
            };
            !was.is_some_and(|was| value::equal(was, value, numbers))
        }
    });
    // A removed field was there before, and an array is cut short only if it was longer.
    written
        || description.removed.into_iter().flatten().filter_map(|name| name.as_str()).any(below)
        || truncated(description)
            .any(|(name, _)| matches!(relation(description, path, name), Relation::Same | Relation::Below))
}

/// How a name of the description lies to a path.
pub(super) fn relation(description: &Description<'_>, path: &Path, name: &str) -> Relation {
    match segments(description, name) {
        Some(segments) => path.relation_to_steps(names(segments)),
        None => path.relation(name),
    }
}

fn segments<'a>(description: &Description<'a>, name: &str) -> Option<&'a RawArray> {
    description.disambiguated.and_then(|names| names.get_array(name).ok())
}

/// The steps of a name as the server tells them apart: texts for fields, integers for array indices.
fn names(segments: &RawArray) -> impl Iterator<Item = Cow<'_, str>> {
    segments.into_iter().flatten().filter_map(|segment| match segment {
        RawBsonRef::String(name) => Some(Cow::Borrowed(name)),
        RawBsonRef::Int32(index) => Some(Cow::Owned(index.to_string())),
        RawBsonRef::Int64(index) => Some(Cow::Owned(index.to_string())),
        _ => None,
    })
}

/// The arrays that lost their tails, each with its new length.
pub(super) fn truncated<'a>(description: &Description<'a>) -> impl Iterator<Item = (&'a str, usize)> {
    description.truncated.into_iter().flatten().flatten().filter_map(|entry| {
        let entry = entry.as_document()?;
        let size = match entry.get("newSize").ok()?? {
            RawBsonRef::Int32(size) => usize::try_from(size).ok()?,
            RawBsonRef::Int64(size) => usize::try_from(size).ok()?,
            _ => return None,
        };
        Some((entry.get_str("field").ok()?, size))
    })
}
