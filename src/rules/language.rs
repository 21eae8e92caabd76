//! The parts a rule is made of: paths, queries, matchers, templates, namespace patterns.

use bson::Bson;

/// A dotted path inside a document, as `when` uses it: `address.city`, `items.0.sku`, `prices["a.b"].x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPath {
    /// The text as written.
    pub text: String,
    /// Its steps; at least one. A step of digits names an array index or a field, whichever is there.
    pub steps: Vec<String>,
}

/// A compiled JSONPath (RFC 9535) rooted in one of the roots of a change.
#[derive(Clone, Debug)]
pub struct Query {
    /// The text as written.
    pub text: String,
}

/// Why a path, query, template or pattern can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LanguageError {
    /// Where in the text, in characters from 0.
    pub offset: usize,
    /// A stable code, for example `R020`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

/// A condition on one value.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// Equal by value; `Bson::Null` matches a real null only.
    Equals(Bson),
    /// `gt gte lt lte`, within one type class.
    Compare(Comparison, Bson),
    /// At least one matches (a list, `in`).
    OneOf(Vec<Matcher>),
    /// Does not match (`not`, `ne`). A missing value does not match its inner matcher, so `not` holds for it.
    Not(Box<Matcher>),
    /// There is a value (null is one), or there is none.
    Exists(bool),
    /// The value has one of these BSON types, by MongoDB's names (`string`, `objectId`, `number`, ...).
    Type(Vec<String>),
    /// A text starts with this.
    Prefix(TextMatch),
    /// A text ends with this.
    Suffix(TextMatch),
    /// A text holds this text.
    Contains(TextMatch),
    /// A text equals this one (only needed with `ignore_case`).
    Text(TextMatch),
    /// A text matches a regular expression anywhere; compiled once.
    Regex(regex::Regex),
    /// Every one matches.
    All(Vec<Matcher>),
}

/// A text to compare with, and whether case counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextMatch {
    /// The text; already in lower case if `ignore_case`.
    pub text: String,
    /// True if upper and lower case are the same.
    pub ignore_case: bool,
}

/// An order comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
}

/// What builds a value of an event's payload.
#[derive(Clone, Debug)]
pub enum Template {
    /// The value itself.
    Literal(Bson),
    /// What a query selects: its value if it is singular, else an array. Left out if missing.
    Path {
        /// The query.
        query: Query,
        /// Taken where the query selects nothing.
        default: Option<Bson>,
        /// A missing value is an error of the event.
        required: bool,
    },
    /// A text with queries in braces.
    Text(TextTemplate),
    /// A sub-document.
    Map(Vec<(String, Template)>),
    /// An array.
    List(Vec<Template>),
}

/// A text with queries in braces: `order {$.key._id} is paid`. `{{` and `}}` stand for braces.
#[derive(Clone, Debug)]
pub struct TextTemplate {
    /// The parts in order.
    pub parts: Vec<TextPart>,
}

/// A part of a [`TextTemplate`].
#[derive(Clone, Debug)]
pub enum TextPart {
    /// Text as it is.
    Text(String),
    /// The value that a query selects, as text.
    Query(Query),
}

/// `database.collection` with a glob per part: `tenant_*.orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacePattern {
    /// The pattern of the database name.
    pub database: String,
    /// The pattern of the collection name (which may itself hold dots).
    pub collection: String,
}
