//! What makes two elements the same one: equal keys, or, without a key, equal values; and fingerprints that are equal where the
//! identities are.

use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hasher};

use bson::{RawBsonRef, RawDocument};
use foldhash::fast::RandomState;

use super::array::{ARRAY, DOCUMENT, NULL, find};
use crate::change::element::{Content, elements, plain_value};
use crate::change::number::{Decimal, Number};
use crate::change::value::{self, Numbers};
use crate::rules::path::Path;

// BSON's types of numbers, and of code with variables, whose order does not count.
const DOUBLE: u8 = 0x01;
const CODE_WITH_SCOPE: u8 = 0x0f;
const INT32: u8 = 0x10;
const INT64: u8 = 0x12;
const DECIMAL: u8 = 0x13;

/// What tells one element of an array from another.
#[derive(Debug)]
pub(super) struct Identity {
    /// The paths of the key inside an element; if empty, the whole element tells.
    key: Box<[Path]>,
    /// The key has one part: the first of the paths that an element has.
    is_first_of: bool,
    pub(super) numbers: Numbers,
    state: RandomState,
}

impl Identity {
    pub(super) fn new(key: impl Iterator<Item = Path>, numbers: Numbers) -> Self {
        Self { key: key.collect(), is_first_of: false, numbers, state: RandomState::default() }
    }

    /// The same, where the first of the paths that an element has is its key.
    pub(super) fn first_of(key: impl Iterator<Item = Path>, numbers: Numbers) -> Self {
        Self { is_first_of: true, ..Self::new(key, numbers) }
    }

    pub(super) fn key(&self) -> &[Path] {
        &self.key
    }

    /// True if the element has at least one part of the key. One that has none is told by its whole value.
    pub(super) fn has_key(&self, element: Content<'_>) -> bool {
        self.first(element).is_some()
    }

    /// The first part of the key that the element has, with its number. Where one part is enough, null is none.
    fn first<'e>(&self, element: Content<'e>) -> Option<(usize, Content<'e>)> {
        let parts = self.key.iter().enumerate();
        let mut found = parts.filter_map(|(number, part)| Some((number, find(element, &part.steps)?)));
        found.find(|(_, (kind, _))| !self.is_first_of || *kind != NULL)
    }

    /// True if both are the same element.
    pub(super) fn same(&self, left: Content<'_>, right: Content<'_>) -> bool {
        if self.is_first_of {
            return match (self.first(left), self.first(right)) {
                (None, None) => equal(left, right, self.numbers),
                (Some((of_left, left)), Some((of_right, right))) => {
                    of_left == of_right && equal(left, right, self.numbers)
                }
                _ => false,
            };
        }
        let mut has_key = false;
        for part in &self.key {
            match (find(left, &part.steps), find(right, &part.steps)) {
                (None, None) => {}
                (Some(left), Some(right)) if equal(left, right, self.numbers) => has_key = true,
                _ => return false,
            }
        }
        has_key || equal(left, right, self.numbers)
    }

    /// True if one of the others is the same element.
    pub(super) fn is_among<'o>(&self, element: Content<'_>, mut others: impl Iterator<Item = Content<'o>>) -> bool {
        if let [only] = &*self.key
            && let Some(part) = find(element, &only.steps)
        {
            return others.any(|other| find(other, &only.steps).is_some_and(|other| equal(part, other, self.numbers)));
        }
        others.any(|other| self.same(element, other))
    }

    /// A number that is equal for two elements that are the same.
    pub(super) fn fingerprint(&self, element: Content<'_>) -> u64 {
        let Some((number, first)) = self.first(element) else { return self.of_value(element) };
        if self.is_first_of {
            let mut hasher = self.state.build_hasher();
            hasher.write_usize(number);
            hasher.write_u64(self.of_value(first));
            return hasher.finish();
        }
        let mut hasher = self.state.build_hasher();
        for part in &self.key {
            hasher.write_u64(find(element, &part.steps).map_or(0, |part| self.of_value(part)));
        }
        hasher.finish()
    }

    fn of_value(&self, content: Content<'_>) -> u64 {
        let (kind, bytes) = content;
        let mut hasher = self.state.build_hasher();
        let inside = || RawDocument::from_bytes(bytes).ok().into_iter().flat_map(elements);
        if let Some(number) = plain_value(content).and_then(Number::of) {
            hasher.write_u64(nearest_double(number));
            return hasher.finish();
        }
        hasher.write_u8(kind);
        match kind {
            // Fields count in any order.
            DOCUMENT => {
                let fields = inside().map(|field| {
                    let mut hasher = self.state.build_hasher();
                    hasher.write(field.name);
                    hasher.write_u64(self.of_value(field.content));
                    hasher.finish()
                });
                hasher.write_u64(fields.fold(0, u64::wrapping_add));
            }
            ARRAY => inside().for_each(|element| hasher.write_u64(self.of_value(element.content))),
            CODE_WITH_SCOPE => {}
            _ => hasher.write(bytes),
        }
        hasher.finish()
    }
}

/// True if two values are the same, as [`value::equal`] says, without building them.
pub(super) fn equal(left: Content<'_>, right: Content<'_>, numbers: Numbers) -> bool {
    if left == right {
        return true;
    }
    match (left, right) {
        ((ARRAY, left), (ARRAY, right)) => equal_in_order(left, right, numbers) == Some(true),
        ((DOCUMENT, left), (DOCUMENT, right)) => equal_in_order(left, right, numbers).unwrap_or_else(|| {
            let document = |bytes| RawDocument::from_bytes(bytes).map_or(RawBsonRef::Null, RawBsonRef::Document);
            value::equal(document(left), document(right), numbers)
        }),
        // Of everything else that is no number, other bytes are another value.
        ((DOUBLE | INT32 | INT64 | DECIMAL, _), (DOUBLE | INT32 | INT64 | DECIMAL, _)) => {
            plain_value(left).zip(plain_value(right)).is_some_and(|(left, right)| value::equal(left, right, numbers))
        }
        _ => false,
    }
}

/// Compares what two documents or arrays hold, as long as both have the same names in the same order; nothing if not.
fn equal_in_order(left: &[u8], right: &[u8], numbers: Numbers) -> Option<bool> {
    let (mut left, mut right) =
        (elements(RawDocument::from_bytes(left).ok()?), elements(RawDocument::from_bytes(right).ok()?));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(true),
            (Some(left), Some(right)) if left.name == right.name => {
                if !equal(left.content, right.content, numbers) {
                    return Some(false);
                }
            }
            (Some(_), Some(_)) => return None,
            _ => return Some(false),
        }
    }
}

/// The bits of the double that is nearest to a number: the same for equal numbers of any type.
fn nearest_double(number: Number) -> u64 {
    let double = match number {
        Number::Integer(number) => number as f64,
        Number::Double(number) => number,
        Number::Decimal(Decimal::NotANumber) => f64::NAN,
        Number::Decimal(Decimal::Infinite { negative: false }) => f64::INFINITY,
        Number::Decimal(Decimal::Infinite { negative: true }) => f64::NEG_INFINITY,
        Number::Decimal(Decimal::Finite { negative, coefficient, exponent }) => {
            let mut text = ShortText::default();
            // At most 34 digits and an exponent of four: there is room.
            let _ = write!(text, "{coefficient}e{exponent}");
            let magnitude = text.as_str().parse().unwrap_or(0.0);
            if negative { -magnitude } else { magnitude }
        }
    };
    if double.is_nan() {
        return f64::NAN.to_bits();
    }
    // Minus zero equals zero.
    if double == 0.0 { 0 } else { double.to_bits() }
}

/// A text without memory of its own.
struct ShortText {
    bytes: [u8; 48],
    length: usize,
}

impl Default for ShortText {
    fn default() -> Self {
        Self { bytes: [0; 48], length: 0 }
    }
}

impl ShortText {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawArrayBuf, bson};

    use super::*;
    use crate::rules::{FieldPath, text};

    fn identity(key: &[&str], numbers: Numbers) -> Identity {
        Identity::new(key.iter().map(|path| Path::from(&FieldPath::parse(path).unwrap())), numbers)
    }

    fn array(values: &[Bson]) -> RawArrayBuf {
        let mut array = RawArrayBuf::new();
        values.iter().for_each(|value| array.push(text::raw(value)));
        array
    }

    /// Whether two elements are the same one.
    fn same(identity: &Identity, left: &Bson, right: &Bson) -> bool {
        let both = array(&[left.clone(), right.clone()]);
        let contents: Vec<_> =
            elements(RawDocument::from_bytes(both.as_bytes()).unwrap()).map(|element| element.content).collect();
        let [left, right] = contents.as_slice() else { panic!("two elements") };
        let same = identity.same(*left, *right);
        assert_eq!(same, identity.same(*right, *left));
        assert!(!same || identity.fingerprint(*left) == identity.fingerprint(*right), "equal, but other fingerprints");
        same
    }

    fn decimal(text: &str) -> Bson {
        Bson::Decimal128(text.parse().unwrap())
    }

    #[test]
    fn keys_are_equal_by_value_and_a_part_that_is_missing_is_a_value_too() {
        let by_sku = identity(&["sku"], Numbers::ByValue);
        let both = identity(&["sku", "at.size"], Numbers::ByValue);
        for (identity, left, right, wanted) in [
            (&by_sku, bson!({"sku": 1, "q": 1}), bson!({"q": 2, "sku": 1_i64}), true),
            (&by_sku, bson!({"sku": 1}), bson!({"sku": decimal("1.0")}), true),
            (&by_sku, bson!({"sku": 1}), bson!({"sku": "1"}), false),
            (&by_sku, bson!({"sku": null}), bson!({"sku": null, "q": 1}), true),
            (&by_sku, bson!({"sku": null}), bson!({"q": 1}), false),
            (&by_sku, bson!({"sku": {"a": 1, "b": [2]}}), bson!({"sku": {"b": [2.0], "a": 1}}), true),
            (&by_sku, bson!({"q": 1}), bson!({"q": 2}), false),
            (&by_sku, bson!({"q": 1}), bson!({"q": 1.0}), true),
            (&by_sku, bson!(5), bson!(5.0), true),
            (&by_sku, bson!(5), bson!({"sku": 5}), false),
            (&both, bson!({"sku": 1, "at": {"size": 2}}), bson!({"sku": 1, "at": {"size": 2, "x": 1}}), true),
            (&both, bson!({"sku": 1, "at": {"size": 2}}), bson!({"sku": 1, "at": {"size": 3}}), false),
            (&both, bson!({"sku": 1, "q": 1}), bson!({"sku": 1, "q": 2}), true),
            (&both, bson!({"sku": 1, "q": 1}), bson!({"sku": 1, "at": {"size": 2}}), false),
            (&both, bson!({"q": 1}), bson!({"q": 2}), false),
        ] {
            assert_eq!(same(identity, &left, &right), wanted, "{left} {right}");
        }
        assert!(!same(&identity(&["sku"], Numbers::Strict), &bson!({"sku": 1}), &bson!({"sku": 1.0})));
        assert!(same(&identity(&["0"], Numbers::ByValue), &bson!(["a", 1]), &bson!(["a", 2])));
    }

    #[test]
    fn equal_values_have_equal_fingerprints_whatever_their_types() {
        let whole = identity(&[], Numbers::ByValue);
        for (left, right) in [
            (bson!(0.0), bson!(-0.0)),
            (bson!(f64::NAN), decimal("NaN")),
            (bson!(0.5), decimal("0.50")),
            (bson!(9_007_199_254_740_993_i64), decimal("9007199254740993")),
            (bson!(f64::MAX), bson!(f64::MAX)),
            (bson!(f64::NEG_INFINITY), decimal("-Infinity")),
            (bson!(0), decimal("-0E+6111")),
            (decimal("1E+34"), decimal("1.000000000000000000000000000000000E+34")),
            (bson!([1, {"a": [2_i64]}]), bson!([1.0, {"a": [2]}])),
            (bson!({"a": 1, "b": "x"}), bson!({"b": "x", "a": 1_i64})),
        ] {
            assert!(same(&whole, &left, &right), "{left} {right}");
        }
        assert!(!same(&whole, &bson!([1, 2]), &bson!([2, 1])));
        assert!(!same(&whole, &bson!("a"), &Bson::Symbol("a".into())));
    }
}
