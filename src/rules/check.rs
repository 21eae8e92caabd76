//! Matchers, compiled: what can be prepared is, and a check of a value allocates nothing.

use std::cmp::Ordering;

use bson::spec::ElementType;
use bson::{RawBson, RawBsonRef};

use super::{Comparison, Matcher, TextMatch, text};
use crate::change::number::{Exact, Number};
use crate::change::value::{self, Numbers};

/// A compiled [`Matcher`].
#[derive(Debug)]
pub(super) enum Check {
    Equals(RawBson, Numbers),
    Compare(Comparison, RawBson),
    OneOf(Vec<Check>),
    Not(Box<Check>),
    Exists(bool),
    Type(Vec<TypeName>),
    Prefix(TextMatch),
    Suffix(TextMatch),
    Contains(TextMatch),
    Text(TextMatch),
    Regex(regex::Regex),
    All(Vec<Check>),
}

/// What a type name of MongoDB stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeName {
    /// Any of the four number types.
    Number,
    One(ElementType),
}

/// MongoDB's names of the BSON types, as `$type` takes them.
pub(super) const TYPE_NAMES: [(&str, ElementType); 21] = [
    ("double", ElementType::Double),
    ("string", ElementType::String),
    ("object", ElementType::EmbeddedDocument),
    ("array", ElementType::Array),
    ("binData", ElementType::Binary),
    ("undefined", ElementType::Undefined),
    ("objectId", ElementType::ObjectId),
    ("bool", ElementType::Boolean),
    ("date", ElementType::DateTime),
    ("null", ElementType::Null),
    ("regex", ElementType::RegularExpression),
    ("dbPointer", ElementType::DbPointer),
    ("javascript", ElementType::JavaScriptCode),
    ("symbol", ElementType::Symbol),
    ("javascriptWithScope", ElementType::JavaScriptCodeWithScope),
    ("int", ElementType::Int32),
    ("timestamp", ElementType::Timestamp),
    ("long", ElementType::Int64),
    ("decimal", ElementType::Decimal128),
    ("minKey", ElementType::MinKey),
    ("maxKey", ElementType::MaxKey),
];

impl Matcher {
    /// The names that [`Matcher::Type`] knows: MongoDB's own, and `number` for any number.
    pub fn type_names() -> impl Iterator<Item = &'static str> {
        TYPE_NAMES.iter().map(|(name, _)| *name).chain(["number"])
    }
}

impl TypeName {
    fn of(name: &str) -> Option<Self> {
        let one = || TYPE_NAMES.iter().find(|(known, _)| *known == name).map(|(_, element)| Self::One(*element));
        if name == "number" { Some(Self::Number) } else { one() }
    }

    fn matches(self, value: RawBsonRef<'_>) -> bool {
        match self {
            Self::Number => Number::of(value).is_some(),
            Self::One(element) => value.element_type() == element,
        }
    }
}

impl Check {
    pub(super) fn new(matcher: &Matcher, numbers: Numbers) -> Self {
        let all = |matchers: &[Matcher]| matchers.iter().map(|matcher| Self::new(matcher, numbers)).collect();
        match matcher {
            Matcher::Equals(value) => Self::Equals(text::raw(value), numbers),
            Matcher::Compare(comparison, value) => Self::Compare(*comparison, text::raw(value)),
            Matcher::OneOf(matchers) => Self::OneOf(all(matchers)),
            Matcher::Not(matcher) => Self::Not(Box::new(Self::new(matcher, numbers))),
            Matcher::Exists(wanted) => Self::Exists(*wanted),
            Matcher::Type(names) => Self::Type(names.iter().filter_map(|name| TypeName::of(name)).collect()),
            Matcher::Prefix(text) => Self::Prefix(text.clone()),
            Matcher::Suffix(text) => Self::Suffix(text.clone()),
            Matcher::Contains(text) => Self::Contains(text.clone()),
            Matcher::Text(text) => Self::Text(text.clone()),
            Matcher::Regex(regex) => Self::Regex(regex.clone()),
            Matcher::All(matchers) => Self::All(all(matchers)),
        }
    }

    /// True if a value, or the lack of one, matches.
    pub(super) fn matches(&self, found: Option<RawBsonRef<'_>>) -> bool {
        match self {
            Self::OneOf(checks) => return checks.iter().any(|check| check.matches(found)),
            Self::All(checks) => return checks.iter().all(|check| check.matches(found)),
            Self::Not(check) => return !check.matches(found),
            Self::Exists(wanted) => return found.is_some() == *wanted,
            _ => {}
        }
        let Some(value) = found else { return false };
        match self {
            Self::Equals(wanted, numbers) => value::equal(value, wanted.as_raw_bson_ref(), *numbers),
            Self::Compare(comparison, with) => {
                value::order(value, with.as_raw_bson_ref()).is_some_and(|order| comparison.holds(order))
            }
            Self::Type(names) => names.iter().any(|name| name.matches(value)),
            Self::Prefix(text) => with_text(value, |value| text.starts(value)),
            Self::Suffix(text) => with_text(value, |value| text.ends(value)),
            Self::Contains(text) => with_text(value, |value| text.is_within(value)),
            Self::Text(text) => with_text(value, |value| text.equals(value)),
            Self::Regex(regex) => with_text(value, |value| regex.is_match(value)),
            Self::OneOf(_) | Self::All(_) | Self::Not(_) | Self::Exists(_) => false,
        }
    }

    /// The answer for a document or an array of which nothing else is known, if there is one.
    pub(super) fn of_container(&self) -> Option<bool> {
        match self {
            Self::Equals(RawBson::Document(_) | RawBson::Array(_), _) => None,
            Self::Exists(wanted) => Some(*wanted),
            Self::Not(check) => check.of_container().map(|holds| !holds),
            Self::OneOf(checks) => of_containers(checks, true),
            Self::All(checks) => of_containers(checks, false),
            Self::Type(names) => {
                let has = |element| names.contains(&TypeName::One(element));
                let (document, array) = (has(ElementType::EmbeddedDocument), has(ElementType::Array));
                (document == array).then_some(document)
            }
            Self::Equals(..)
            | Self::Compare(..)
            | Self::Prefix(_)
            | Self::Suffix(_)
            | Self::Contains(_)
            | Self::Text(_)
            | Self::Regex(_) => Some(false),
        }
    }

    /// True if an exact share `part / whole` matches; `whole` is above 0.
    pub(super) fn matches_share(&self, part: &Exact, whole: &Exact) -> bool {
        match self {
            Self::Equals(wanted, _) => share_order(part, whole, wanted) == Some(Ordering::Equal),
            Self::Compare(comparison, with) => {
                share_order(part, whole, with).is_some_and(|order| comparison.holds(order))
            }
            Self::OneOf(checks) => checks.iter().any(|check| check.matches_share(part, whole)),
            Self::All(checks) => checks.iter().all(|check| check.matches_share(part, whole)),
            Self::Not(check) => !check.matches_share(part, whole),
            Self::Exists(wanted) => *wanted,
            Self::Type(_) | Self::Prefix(_) | Self::Suffix(_) | Self::Contains(_) | Self::Text(_) | Self::Regex(_) => {
                false
            }
        }
    }
}

/// The joint answer, where one `decisive` answer decides.
fn of_containers(checks: &[Check], decisive: bool) -> Option<bool> {
    let answers = || checks.iter().map(Check::of_container);
    if answers().any(|answer| answer == Some(decisive)) {
        return Some(decisive);
    }
    answers().all(|answer| answer.is_some()).then_some(!decisive)
}

fn share_order(part: &Exact, whole: &Exact, with: &RawBson) -> Option<Ordering> {
    let number = Number::of(with.as_raw_bson_ref())?;
    match Exact::of(number) {
        Some(exact) => Some(part.compare(&exact.times(whole))),
        None if number.is_nan() => None,
        // Everything exact lies between the infinities.
        None => Some(Number::Integer(0).compare(number)),
    }
}

fn with_text(value: RawBsonRef<'_>, check: impl FnOnce(&str) -> bool) -> bool {
    match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => check(text),
        _ => false,
    }
}

impl Comparison {
    /// True if values in this order satisfy the comparison.
    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
        }
    }
}

/// The lower case of a character. The sigma at the end of a word is the same letter as any other.
fn folded(character: char) -> impl DoubleEndedIterator<Item = char> {
    character.to_lowercase().map(|lower| if lower == 'ς' { 'σ' } else { lower })
}

fn lower(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(folded)
}

fn backwards(text: &str) -> impl Iterator<Item = char> {
    text.chars().rev().flat_map(|character| folded(character).rev())
}

impl TextMatch {
    fn equals(&self, value: &str) -> bool {
        if self.ignore_case { lower(value).eq(lower(&self.text)) } else { value == self.text }
    }

    fn starts(&self, value: &str) -> bool {
        if !self.ignore_case {
            return value.starts_with(&self.text);
        }
        let mut value = lower(value);
        lower(&self.text).all(|wanted| value.next() == Some(wanted))
    }

    fn ends(&self, value: &str) -> bool {
        if !self.ignore_case {
            return value.ends_with(&self.text);
        }
        let mut value = backwards(value);
        backwards(&self.text).all(|wanted| value.next() == Some(wanted))
    }

    fn is_within(&self, value: &str) -> bool {
        if !self.ignore_case {
            return value.contains(&self.text);
        }
        self.text.is_empty() || value.char_indices().any(|(start, _)| self.starts(&value[start..]))
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, DateTime, bson, oid::ObjectId};

    use super::*;

    fn matches(matcher: &Matcher, value: Option<Bson>) -> bool {
        let raw = value.map(|value| text::raw(&value));
        Check::new(matcher, Numbers::ByValue).matches(raw.as_ref().map(RawBson::as_raw_bson_ref))
    }

    fn text_match(text: &str) -> TextMatch {
        TextMatch { text: text.to_lowercase(), ignore_case: true }
    }

    #[test]
    fn order_comparisons_hold_only_within_a_type_class() {
        let greater = |value: Bson| Matcher::Compare(Comparison::Greater, value);
        assert!(matches(&greater(bson!(5)), Some(bson!(5.5))));
        assert!(matches(&greater(bson!("a")), Some(bson!("b"))));
        assert!(matches(
            &greater(Bson::DateTime(DateTime::from_millis(1))),
            Some(Bson::DateTime(DateTime::from_millis(2)))
        ));
        assert!(matches(
            &greater(Bson::ObjectId(ObjectId::from_bytes([0; 12]))),
            Some(Bson::ObjectId(ObjectId::from_bytes([1; 12])))
        ));
        for value in [
            bson!("6"),
            bson!(null),
            bson!([6]),
            bson!(f64::NAN),
            Bson::DateTime(DateTime::from_millis(9)),
            bson!(true),
        ] {
            assert!(!matches(&greater(bson!(5)), Some(value.clone())), "{value}");
        }
        assert!(!matches(&greater(bson!(5)), None));
    }

    #[test]
    fn missing_is_not_null_and_not_holds_for_missing() {
        let null = Matcher::Equals(Bson::Null);
        assert!(matches(&null, Some(Bson::Null)) && !matches(&null, None));
        assert!(matches(&Matcher::Not(Box::new(Matcher::Equals(bson!("draft")))), None));
        assert!(matches(&Matcher::Exists(false), None) && matches(&Matcher::Exists(true), Some(Bson::Null)));
        assert!(matches(&Matcher::OneOf(vec![null, Matcher::Exists(false)]), None));
    }

    #[test]
    fn texts_match_with_and_without_case() {
        for (matcher, value, holds) in [
            (Matcher::Prefix(text_match("ÄB")), "äbc", true),
            (Matcher::Suffix(text_match("BÖ")), "abö", true),
            (Matcher::Suffix(text_match("abc")), "c", false),
            (Matcher::Contains(text_match("BC")), "aBcd", true),
            (Matcher::Contains(text_match("bd")), "abcd", false),
            (Matcher::Text(text_match("Gold")), "GOLD", true),
            (Matcher::Text(text_match("ΟΔΟΣ")), "ΟΔΟΣ", true),
            (Matcher::Suffix(text_match("ΟΣ")), "οδός οδος", true),
            (Matcher::Prefix(TextMatch { text: "A".into(), ignore_case: false }), "abc", false),
            (Matcher::Regex(regex::Regex::new("^a.c$").unwrap()), "abc", true),
        ] {
            assert_eq!(matches(&matcher, Some(bson!(value))), holds, "{matcher:?} {value}");
        }
        assert!(!matches(&Matcher::Prefix(text_match("1")), Some(bson!(12))));
    }

    #[test]
    fn types_go_by_mongodbs_names() {
        let types = |names: &[&str]| Matcher::Type(names.iter().map(ToString::to_string).collect());
        assert!(matches(&types(&["number"]), Some(bson!(1_i64))));
        assert!(matches(&types(&["string", "int"]), Some(bson!(1_i32))));
        assert!(!matches(&types(&["long"]), Some(bson!(1_i32))));
        assert!(matches(&types(&["object"]), Some(bson!({}))) && !matches(&types(&["object"]), Some(bson!([]))));
        assert_eq!(Matcher::type_names().count(), 22);
    }
}
