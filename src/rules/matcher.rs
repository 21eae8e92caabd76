//! Conditions on one value.

use bson::Bson;

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
