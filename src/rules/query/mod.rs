//! JSONPath (RFC 9535) queries: parsed once, checked more strictly than the parser does, and run over raw BSON.
//!
//! `jsonpath-rust` is the parser. What it lets through although the RFC does not is found in the text before (`scan`); its tree
//! is turned into our own (`compile`), which keeps the singular prefix apart, compiles patterns once, and is run by `select`
//! on the bytes of the document, without building a value.

#[cfg(test)]
mod agreement;
mod compile;
mod pattern;
mod scan;
mod select;
mod tree;

use std::fmt;

use super::LanguageError;
use super::path::Path;

pub(super) use select::{Roots, nodes};
pub(super) use tree::{Segment, Selector, Start};

/// A compiled JSONPath (RFC 9535) rooted in one of the roots of a change.
#[derive(Clone, Debug)]
pub struct Query {
    /// The text as written.
    pub text: String,
    /// What it starts from.
    root: Root,
    /// The steps from the root on that need no walk: names, and indices from the start.
    path: Path,
    /// What follows them: from the first segment on that selects several nodes, or counts from an array's end.
    rest: Vec<Segment>,
}

/// What a query starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// `$` itself: every root of a change together, or the document of a plain query.
    Whole,
    /// The document before the change.
    Before,
    /// The document after the change.
    After,
    /// The document key.
    Key,
    /// The facts of the change: operation, names, description.
    Change,
    /// The facts about the change: times, transaction, evidence.
    Meta,
    /// The element of an array that a rule with `each` looks at.
    Item,
    /// The same element before the change.
    ItemBefore,
    /// Where the element stands in its array, from 0.
    Index,
}

impl Root {
    /// The roots that a query of a rule may name.
    pub const NAMED: [Root; 5] = [Root::Before, Root::After, Root::Key, Root::Change, Root::Meta];
    /// The further roots of a rule with `each`.
    pub const OF_AN_ELEMENT: [Root; 3] = [Root::Item, Root::ItemBefore, Root::Index];

    /// The name after `$.`; empty for [`Root::Whole`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Before => "before",
            Self::After => "after",
            Self::Key => "key",
            Self::Change => "change",
            Self::Meta => "meta",
            Self::Item => "item",
            Self::ItemBefore => "itemBefore",
            Self::Index => "index",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().chain(Self::OF_AN_ELEMENT).find(|root| root.as_str() == name)
    }

    /// True if the root has a meaning only inside a rule with `each`.
    pub fn is_of_an_element(self) -> bool {
        Self::OF_AN_ELEMENT.contains(&self)
    }
}

impl Query {
    /// Reads a query of a rule: `$` alone, or a path that starts with one of the roots of a change.
    ///
    /// # Errors
    ///
    /// With the exact offset where it can be known, a stable code and the way out.
    pub fn parse(text: &str) -> Result<Self, LanguageError> {
        compile::query(text, compile::Roots::OfAChange)
    }

    /// Reads a query of a rule with `each`: it may also start with `$.item`, `$.itemBefore` or `$.index`.
    ///
    /// # Errors
    ///
    /// As [`Query::parse`].
    pub fn parse_in_each(text: &str) -> Result<Self, LanguageError> {
        compile::query(text, compile::Roots::OfAnElement)
    }

    /// Reads a query on any document, with `$` as that document.
    ///
    /// # Errors
    ///
    /// As [`Query::parse`], but every name may follow `$`.
    pub fn parse_plain(text: &str) -> Result<Self, LanguageError> {
        compile::query(text, compile::Roots::AnyDocument)
    }

    /// The query of one place below a root.
    pub(super) fn at(root: Root, path: Path) -> Self {
        let mut text = String::from("$");
        for name in [root.as_str(), path.dotted()].into_iter().filter(|name| !name.is_empty()) {
            text.push('.');
            text.push_str(name);
        }
        Self { text, root, path, rest: Vec::new() }
    }

    /// What the query starts from.
    pub fn root(&self) -> Root {
        self.root
    }

    /// True if the query selects at most one node, whatever the document.
    pub fn is_singular(&self) -> bool {
        self.rest.iter().all(Segment::is_singular)
    }

    /// True if nothing follows the singular prefix: the query is a path of names and of indices from the start.
    pub(super) fn is_path(&self) -> bool {
        self.rest.is_empty()
    }

    /// What the query selects as a dotted path, if names and indices from the start are all that it has.
    pub fn dotted(&self) -> Option<&str> {
        self.is_path().then(|| self.path.dotted())
    }

    /// Every root that the query reads, its filters included.
    pub fn roots(&self) -> Vec<Root> {
        let mut roots = vec![self.root];
        for segment in &self.rest {
            segment.visit_nodes(&mut |nodes| {
                if let Start::Root(root) = nodes.start {
                    roots.push(root);
                }
            });
        }
        roots.dedup();
        roots
    }

    /// The singular prefix, from the root on.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What follows the singular prefix.
    pub(super) fn rest(&self) -> &[Segment] {
        &self.rest
    }
}

impl fmt::Display for Query {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
