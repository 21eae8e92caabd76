//! Queries on any document: to try a JSONPath out, and to find the parts of documents that no rule is about.

use std::ops::ControlFlow;

use bson::{Bson, RawArrayBuf, RawBsonRef, RawDocument};

use super::path::{Path, find};
use super::query::{self, Query, Root};
use super::text;

struct Document<'v>(RawBsonRef<'v>);

impl<'v> query::Roots<'v> for Document<'v> {
    fn value(&self, _: Root, path: &Path) -> Option<RawBsonRef<'v>> {
        find(self.0, &path.steps)
    }
}

/// The values that a query selects of a document, in the order of RFC 9535. The query comes from [`Query::parse_plain`]; one
/// from [`Query::parse`] is taken as if its root were the document.
pub fn query(query: &Query, document: &Bson) -> Vec<Bson> {
    let raw = text::raw(document);
    let root = raw.as_raw_bson_ref();
    let mut selected = Vec::new();
    if let Some(start) = find(root, &query.path().steps) {
        let _ = query::nodes(&Document(root), start, query.rest(), &mut |node| {
            selected.extend(Bson::try_from(node));
            ControlFlow::Continue(())
        });
    }
    selected
}

/// What a query selects, without building more than that takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Selected<'v> {
    /// Nothing, though the query is singular.
    Nothing,
    /// The value of a singular query, where it lies.
    Value(RawBsonRef<'v>),
    /// The values of a query that is not singular, also if there are none.
    Values(RawArrayBuf),
}

impl Selected<'_> {
    /// The value, or an array of the values; nothing for [`Selected::Nothing`].
    pub fn value(&self) -> Option<RawBsonRef<'_>> {
        match self {
            Self::Nothing => None,
            Self::Value(value) => Some(*value),
            Self::Values(values) => Some(RawBsonRef::Array(values)),
        }
    }
}

/// [`query`] on bytes that are only borrowed.
pub fn select<'v>(query: &Query, document: &'v RawDocument) -> Selected<'v> {
    let root = RawBsonRef::Document(document);
    let start = find(root, &query.path().steps);
    if query.is_path() {
        return start.map_or(Selected::Nothing, Selected::Value);
    }
    if query.is_singular() {
        let mut only = Selected::Nothing;
        if let Some(start) = start {
            let _ = query::nodes(&Document(root), start, query.rest(), &mut |node| {
                only = Selected::Value(node);
                ControlFlow::Break(())
            });
        }
        return only;
    }
    let mut values = RawArrayBuf::new();
    if let Some(start) = start {
        let _ = query::nodes(&Document(root), start, query.rest(), &mut |node| {
            values.push(node);
            ControlFlow::Continue(())
        });
    }
    Selected::Values(values)
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, bson, doc};

    use super::*;

    #[test]
    fn both_forms_select_the_same() {
        let document = doc! {"_id": 1, "a": {"b": [1, "x", {"c": null}]}, "list": [{"n": 1}, {"n": 2}]};
        let raw = RawDocumentBuf::try_from(&document).unwrap();
        for (text, is_singular) in [
            ("$", true),
            ("$._id", true),
            ("$.a.b[1]", true),
            ("$.a.b[-1].c", true),
            ("$.a.b[-9]", true),
            ("$.nothing.here", true),
            ("$.list[*].n", false),
            ("$..n", false),
            ("$.list[?@.n == $.list[1].n]", false),
            ("$.nothing[*]", false),
        ] {
            let parsed = Query::parse_plain(text).unwrap();
            let wanted = query(&parsed, &Bson::Document(document.clone()));
            match select(&parsed, &raw) {
                Selected::Values(values) => {
                    assert!(!is_singular, "{text}");
                    let values = Bson::try_from(RawBsonRef::Array(&values)).unwrap();
                    assert_eq!(values, bson!(wanted), "{text}");
                }
                Selected::Value(value) => assert_eq!(vec![Bson::try_from(value).unwrap()], wanted, "{text}"),
                Selected::Nothing => assert!(is_singular && wanted.is_empty(), "{text}"),
            }
        }
    }
}
