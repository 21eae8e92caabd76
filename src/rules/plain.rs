//! Queries on any document: to try a JSONPath out.

use std::ops::ControlFlow;

use bson::{Bson, RawBsonRef};

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
