//! Values of raw documents compared as rules compare them: by value, without building anything.

use std::cmp::Ordering;

use bson::{RawArray, RawBsonRef, RawDocument};

use super::number::Number;

/// How numbers are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Numbers {
    /// By value: int32 1, int64 1, double 1.0 and Decimal128 1.0 are equal.
    #[default]
    ByValue,
    /// By type and value.
    Strict,
}

/// True if two values are the same: numbers by value (or also by type, if `numbers` says so), NaN equal to NaN, documents without
/// regard to the order of their fields, arrays in order, everything else by type and content.
pub fn equal(left: RawBsonRef<'_>, right: RawBsonRef<'_>, numbers: Numbers) -> bool {
    if let (Some(left_number), Some(right_number)) = (Number::of(left), Number::of(right)) {
        let comparable = numbers == Numbers::ByValue || left.element_type() == right.element_type();
        return comparable && left_number.compare(right_number) == Ordering::Equal;
    }
    match (left, right) {
        (RawBsonRef::Document(left), RawBsonRef::Document(right)) => equal_documents(left, right, numbers),
        (RawBsonRef::Array(left), RawBsonRef::Array(right)) => equal_arrays(left, right, numbers),
        (RawBsonRef::JavaScriptCodeWithScope(left), RawBsonRef::JavaScriptCodeWithScope(right)) => {
            left.code == right.code && equal_documents(left.scope, right.scope, numbers)
        }
        (left, right) => left == right,
    }
}

/// True if two documents hold equal values under the same names, in any order.
pub fn equal_documents(left: &RawDocument, right: &RawDocument, numbers: Numbers) -> bool {
    if left.as_bytes() == right.as_bytes() {
        return true;
    }
    let (mut in_left, mut in_right) = (left.iter(), right.iter());
    // As long as both have the same names in the same order, one walk is enough.
    loop {
        match (in_left.next(), in_right.next()) {
            (None, None) => return true,
            (Some(Ok((left_name, left_value))), Some(Ok((right_name, right_value)))) if left_name == right_name => {
                if !equal(left_value, right_value, numbers) {
                    return false;
                }
            }
            (Some(Ok(_)), Some(Ok(_))) => break,
            _ => return false,
        }
    }
    equal_in_any_order(left, right, numbers)
}

fn equal_in_any_order(left: &RawDocument, right: &RawDocument, numbers: Numbers) -> bool {
    let mut count = 0_usize;
    for element in left {
        let Ok((name, value)) = element else { return false };
        match right.get(name.as_str()) {
            Ok(Some(other)) if equal(value, other, numbers) => count += 1,
            _ => return false,
        }
    }
    right.iter().count() == count
}

fn equal_arrays(left: &RawArray, right: &RawArray, numbers: Numbers) -> bool {
    if left.as_bytes() == right.as_bytes() {
        return true;
    }
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(Ok(left)), Some(Ok(right))) if equal(left, right, numbers) => {}
            _ => return false,
        }
    }
}

/// The order of two values of one type class: numbers (NaN has no order, but equals NaN), texts by bytes, dates, timestamps,
/// ObjectIds, booleans (false first), binary data, arrays and documents only if equal. `None` otherwise.
pub fn order(left: RawBsonRef<'_>, right: RawBsonRef<'_>) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
        let order = left.compare(right);
        return (order == Ordering::Equal || !(left.is_nan() || right.is_nan())).then_some(order);
    }
    match (left, right) {
        (
            RawBsonRef::String(left) | RawBsonRef::Symbol(left),
            RawBsonRef::String(right) | RawBsonRef::Symbol(right),
        ) => Some(left.cmp(right)),
        (RawBsonRef::DateTime(left), RawBsonRef::DateTime(right)) => {
            Some(left.timestamp_millis().cmp(&right.timestamp_millis()))
        }
        (RawBsonRef::Timestamp(left), RawBsonRef::Timestamp(right)) => {
            Some((left.time, left.increment).cmp(&(right.time, right.increment)))
        }
        (RawBsonRef::ObjectId(left), RawBsonRef::ObjectId(right)) => Some(left.bytes().cmp(&right.bytes())),
        (RawBsonRef::Boolean(left), RawBsonRef::Boolean(right)) => Some(left.cmp(&right)),
        // As MongoDB sorts binary data: by length, then by subtype, then by content.
        (RawBsonRef::Binary(left), RawBsonRef::Binary(right)) => {
            let form = |subtype: bson::spec::BinarySubtype| u8::from(subtype);
            Some((left.bytes.len(), form(left.subtype), left.bytes).cmp(&(
                right.bytes.len(),
                form(right.subtype),
                right.bytes,
            )))
        }
        (left, right) => equal(left, right, Numbers::ByValue).then_some(Ordering::Equal),
    }
}
