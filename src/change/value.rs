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

#[cfg(test)]
mod tests {
    use bson::{Bson, DateTime, Decimal128, Document, RawBson, Timestamp, bson, doc, oid::ObjectId};
    use proptest::prelude::*;

    use super::*;

    fn raw(value: &Bson) -> RawBson {
        RawBson::try_from(value.clone()).unwrap()
    }

    fn same(left: &Bson, right: &Bson, numbers: Numbers) -> bool {
        equal(raw(left).as_raw_bson_ref(), raw(right).as_raw_bson_ref(), numbers)
    }

    fn ordered(left: &Bson, right: &Bson) -> Option<Ordering> {
        order(raw(left).as_raw_bson_ref(), raw(right).as_raw_bson_ref())
    }

    fn decimal(text: &str) -> Bson {
        Bson::Decimal128(text.parse::<Decimal128>().unwrap())
    }

    #[test]
    fn numbers_of_any_type_are_equal_by_value_and_never_through_a_double() {
        let ones = [bson!(1), bson!(1_i64), bson!(1.0), decimal("1"), decimal("1.0"), decimal("10E-1")];
        for left in &ones {
            for right in &ones {
                assert!(same(left, right, Numbers::ByValue), "{left:?} {right:?}");
                let alike = left.element_type() == right.element_type();
                assert_eq!(same(left, right, Numbers::Strict), alike, "{left:?} {right:?}");
            }
        }
        for (left, right, wanted) in [
            (bson!(9_007_199_254_740_993_i64), bson!(9_007_199_254_740_992.0), Ordering::Greater),
            (bson!(i64::MAX), bson!(9_223_372_036_854_775_808.0), Ordering::Less),
            (bson!(i64::MAX), decimal("9223372036854775807"), Ordering::Equal),
            (bson!(i64::MIN), bson!(-9_223_372_036_854_775_808.0), Ordering::Equal),
            (bson!(0.1), decimal("0.1"), Ordering::Greater),
            (bson!(0.5), decimal("0.5"), Ordering::Equal),
            (bson!(0.0), bson!(-0.0), Ordering::Equal),
            (bson!(0), decimal("-0E+6111"), Ordering::Equal),
            (bson!(f64::MAX), decimal("1E+6111"), Ordering::Less),
            (bson!(f64::INFINITY), decimal("Infinity"), Ordering::Equal),
            (bson!(f64::NEG_INFINITY), decimal("-9E+6111"), Ordering::Less),
            (bson!(5e-324), decimal("0"), Ordering::Greater),
            (
                decimal("9999999999999999999999999999999999"),
                decimal("9999999999999999999999999999999998"),
                Ordering::Greater,
            ),
            (decimal("1E-6176"), bson!(0), Ordering::Greater),
            (decimal("1E+34"), decimal("1.000000000000000000000000000000000E+34"), Ordering::Equal),
        ] {
            assert_eq!(ordered(&left, &right), Some(wanted), "{left:?} {right:?}");
            assert_eq!(ordered(&right, &left), Some(wanted.reverse()), "{right:?} {left:?}");
            assert_eq!(same(&left, &right, Numbers::ByValue), wanted == Ordering::Equal, "{left:?} {right:?}");
        }
    }

    #[test]
    fn nan_equals_nan_and_has_no_order() {
        let nan = bson!(f64::NAN);
        assert!(same(&nan, &decimal("NaN"), Numbers::ByValue) && same(&nan, &nan, Numbers::Strict));
        assert!(!same(&nan, &bson!(0), Numbers::ByValue));
        assert_eq!(ordered(&nan, &bson!(1)), None);
        assert_eq!(ordered(&bson!(f64::INFINITY), &nan), None);
    }

    #[test]
    fn documents_are_equal_in_any_order_of_fields_and_arrays_only_in_order() {
        let left = bson!({"a": 1, "b": {"c": [1, 2], "d": null}});
        assert!(same(&left, &bson!({"b": {"d": null, "c": [1.0, 2_i64]}, "a": 1}), Numbers::ByValue));
        for right in [
            bson!({"a": 1, "b": {"c": [2, 1], "d": null}}),
            bson!({"a": 1, "b": {"c": [1, 2]}}),
            bson!({"a": 1, "b": {"c": [1, 2], "d": null}, "e": 1}),
            bson!({"a": 1, "b": {"c": [1, 2], "e": null}}),
            bson!({"b": {"c": [1, 2], "d": null}}),
            bson!([1]),
            Bson::Null,
        ] {
            assert!(!same(&left, &right, Numbers::ByValue), "{right}");
            assert!(!same(&right, &left, Numbers::ByValue), "{right}");
        }
        assert!(!same(&bson!([1]), &bson!({"0": 1}), Numbers::ByValue));
    }

    #[test]
    fn values_have_an_order_only_within_their_type_class() {
        let values = [
            vec![bson!(-1), bson!(0.5), decimal("2")],
            vec![bson!("A"), bson!("a"), bson!("aa")],
            vec![Bson::DateTime(DateTime::from_millis(-1)), Bson::DateTime(DateTime::from_millis(1))],
            vec![Bson::ObjectId(ObjectId::from_bytes([0; 12])), Bson::ObjectId(ObjectId::from_bytes([1; 12]))],
            vec![
                Bson::Timestamp(Timestamp { time: 1, increment: 9 }),
                Bson::Timestamp(Timestamp { time: 2, increment: 0 }),
            ],
            vec![bson!(false), bson!(true)],
        ];
        for (class, members) in values.iter().enumerate() {
            for (other_class, others) in values.iter().enumerate() {
                for (index, left) in members.iter().enumerate() {
                    for (other_index, right) in others.iter().enumerate() {
                        let wanted = (class == other_class).then(|| index.cmp(&other_index));
                        assert_eq!(ordered(left, right), wanted, "{left:?} {right:?}");
                    }
                }
            }
        }
    }

    /// A number as a fraction that has nothing to do with the code under test: its decimal expansion, digit by digit.
    fn expansion(value: &Bson) -> (bool, String, String) {
        let text = match value {
            Bson::Int32(number) => number.to_string(),
            Bson::Int64(number) => number.to_string(),
            // Every finite double has at most 1,074 places.
            Bson::Double(number) => format!("{number:.1074}"),
            Bson::Decimal128(number) => plain(&number.to_string()),
            _ => unreachable!("only numbers are made"),
        };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, &*text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
        (negative && !(whole.is_empty() && part.is_empty()), whole.to_owned(), part.to_owned())
    }

    /// `1.5E+3` without its exponent.
    fn plain(text: &str) -> String {
        let Some((digits, exponent)) = text.split_once('E') else { return text.to_owned() };
        let exponent: i64 = exponent.parse().unwrap();
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{part}");
        let point = whole.len() as i64 + exponent;
        if point <= 0 {
            return format!("{sign}0.{}{all}", "0".repeat(usize::try_from(-point).unwrap()));
        }
        let point = usize::try_from(point).unwrap();
        if point >= all.len() {
            return format!("{sign}{all}{}", "0".repeat(point - all.len()));
        }
        format!("{sign}{}.{}", &all[..point], &all[point..])
    }

    fn naive_order(left: &Bson, right: &Bson) -> Ordering {
        let (left, right) = (expansion(left), expansion(right));
        let magnitude = |(_, whole, part): &(bool, String, String)| (whole.len(), whole.clone(), part.clone());
        match (left.0, right.0) {
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => magnitude(&left).cmp(&magnitude(&right)),
            (true, true) => magnitude(&right).cmp(&magnitude(&left)),
        }
    }

    fn number() -> impl Strategy<Value = Bson> {
        let near = prop_oneof![
            -3_i64..3,
            Just((1 << 53) - 1),
            Just(1 << 53),
            Just((1 << 53) + 1),
            Just(i64::MAX),
            Just(i64::MIN),
            any::<i64>()
        ];
        let decimals =
            (any::<bool>(), any::<u64>(), any::<u32>(), -40_i32..40).prop_map(|(negative, high, low, exponent)| {
                let sign = if negative { "-" } else { "" };
                decimal(&format!("{sign}{high}{low}E{exponent}"))
            });
        let scaled = (near.clone(), 0..12_usize).prop_map(|(number, zeros)| {
            let text = format!("{number}{}E-{zeros}", "0".repeat(zeros));
            decimal(&text)
        });
        let doubles = prop_oneof![
            any::<f64>().prop_filter("finite", |number| number.is_finite()),
            (-100_i32..100).prop_map(|number| f64::from(number) / 8.0),
            near.clone().prop_map(|number| number as f64)
        ];
        prop_oneof![
            any::<i32>().prop_map(Bson::Int32),
            (-3_i32..3).prop_map(Bson::Int32),
            near.prop_map(Bson::Int64),
            doubles.prop_map(Bson::Double),
            decimals,
            scaled
        ]
    }

    fn any_value() -> impl Strategy<Value = Bson> {
        let leaf = prop_oneof![
            Just(Bson::Null),
            any::<bool>().prop_map(Bson::Boolean),
            "[ab]{0,2}".prop_map(Bson::String),
            number()
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let document = prop::collection::vec(("[abc]", inner.clone()), 0..3)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect::<Document>()));
            prop_oneof![prop::collection::vec(inner, 0..3).prop_map(Bson::Array), document]
        })
    }

    fn naive_equal(left: &Bson, right: &Bson) -> bool {
        let is_number =
            |value: &Bson| matches!(value, Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_));
        match (left, right) {
            (Bson::Document(left), Bson::Document(right)) => {
                let holds =
                    |(name, value): (&String, &Bson)| right.get(name).is_some_and(|other| naive_equal(value, other));
                left.len() == right.len() && left.iter().all(holds)
            }
            (Bson::Array(left), Bson::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| naive_equal(left, right))
            }
            (left, right) if is_number(left) && is_number(right) => naive_order(left, right) == Ordering::Equal,
            (left, right) => left == right,
        }
    }

    /// The same value in another dress: fields turned around, numbers as Decimal128 or int64.
    fn redressed(value: &Bson) -> Bson {
        match value {
            Bson::Document(document) => {
                let mut fields: Vec<_> =
                    document.iter().map(|(name, value)| (name.clone(), redressed(value))).collect();
                fields.reverse();
                Bson::Document(fields.into_iter().collect())
            }
            Bson::Array(array) => Bson::Array(array.iter().map(redressed).collect()),
            Bson::Int32(number) => Bson::Int64(i64::from(*number)),
            Bson::Int64(number) => decimal(&number.to_string()),
            other => other.clone(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn numbers_compare_as_their_decimal_expansions_do(left in number(), right in number()) {
            prop_assert_eq!(ordered(&left, &right), Some(naive_order(&left, &right)), "{:?} {:?}", left, right);
        }

        #[test]
        fn values_are_equal_as_the_naive_reference_says(left in any_value(), right in any_value()) {
            prop_assert_eq!(same(&left, &right, Numbers::ByValue), naive_equal(&left, &right));
            prop_assert!(same(&left, &redressed(&left), Numbers::ByValue), "{:?}", left);
        }
    }

    #[test]
    fn decode_and_print_of_a_decimal_agree() {
        use crate::change::number::Decimal;
        for text in ["0", "-1.5", "9999999999999999999999999999999999E+6111", "1E-6176"] {
            let parsed: Decimal128 = text.parse().unwrap();
            let Decimal::Finite { negative, coefficient, exponent } = Decimal::decode(parsed) else { panic!("{text}") };
            let printed = format!("{}{coefficient}E{exponent}", if negative { "-" } else { "" });
            assert_eq!(printed.parse::<Decimal128>().unwrap().bytes(), parsed.bytes(), "{text}");
        }
        assert_eq!(
            doc! {"x": decimal("NaN")}
                .get("x")
                .map(raw)
                .map(|raw| super::Number::of(raw.as_raw_bson_ref()).unwrap().is_nan()),
            Some(true)
        );
    }
}
