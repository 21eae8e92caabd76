//! Numbers of BSON compared and subtracted exactly, whatever their types.
//!
//! Every finite number of BSON is an integer times a power of two times a power of ten. Two of them are compared by bringing them
//! to a common scale in whole numbers; nothing goes through a double, so 2^53 and 2^53 + 1 differ, as do a double 0.1 and a
//! Decimal128 0.1 (the double is not exactly one tenth).

use std::cmp::Ordering;

use bson::{Decimal128, RawBsonRef};

use super::digits::Digits;

/// A number of a document.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// Int32 and int64.
    Integer(i64),
    /// A double.
    Double(f64),
    /// A Decimal128, taken apart.
    Decimal(Decimal),
}

/// A Decimal128, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decimal {
    /// (-1)^negative * coefficient * 10^exponent.
    Finite {
        /// True for a number below zero (and for minus zero).
        negative: bool,
        /// At most 34 decimal digits.
        coefficient: u128,
        /// From -6176 to 6111.
        exponent: i32,
    },
    /// Plus or minus infinity.
    Infinite {
        /// True for minus infinity.
        negative: bool,
    },
    /// Not a number.
    NotANumber,
}

const COEFFICIENT_MAX: u128 = 10_u128.pow(34) - 1;

impl Decimal {
    /// Takes a Decimal128 apart (format: IEEE 754-2008, binary integer significand).
    pub fn decode(decimal: Decimal128) -> Self {
        let bits = u128::from_le_bytes(decimal.bytes());
        let negative = bits >> 127 == 1;
        let top = (bits >> 122) & 0x1f;
        if top == 0x1f {
            return Self::NotANumber;
        }
        if top == 0x1e {
            return Self::Infinite { negative };
        }
        // With both first bits of the combination set, the coefficient would have more than 34 digits; such a number counts as 0.
        let (biased, coefficient) =
            if top >> 3 == 3 { ((bits >> 111) & 0x3fff, 0) } else { ((bits >> 113) & 0x3fff, bits & ((1 << 113) - 1)) };
        let coefficient = if coefficient > COEFFICIENT_MAX { 0 } else { coefficient };
        Self::Finite { negative, coefficient, exponent: i32::try_from(biased).unwrap_or(0) - 6176 }
    }
}

/// A number in a form that has no type: what it is compared by.
#[derive(Clone, Copy)]
enum Form {
    NotANumber,
    Infinite {
        negative: bool,
    },
    /// sign * integer * 2^twos * 10^tens.
    Finite {
        negative: bool,
        integer: u128,
        twos: i32,
        tens: i32,
    },
}

impl Number {
    /// The number that a value is, if it is one.
    pub fn of(value: RawBsonRef<'_>) -> Option<Self> {
        match value {
            RawBsonRef::Int32(number) => Some(Self::Integer(i64::from(number))),
            RawBsonRef::Int64(number) => Some(Self::Integer(number)),
            RawBsonRef::Double(number) => Some(Self::Double(number)),
            RawBsonRef::Decimal128(number) => Some(Self::Decimal(Decimal::decode(number))),
            _ => None,
        }
    }

    /// The order of two numbers by value. NaN equals NaN and is less than every other number, as in MongoDB's sort order.
    pub fn compare(self, other: Self) -> Ordering {
        // Whole numbers up to 2^53 are doubles as they are; only what is left needs the long way.
        let double = |number: i64| (number.unsigned_abs() <= 1 << 53).then_some(number as f64);
        let quick = match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => return left.cmp(&right),
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(&right),
            (Self::Integer(left), Self::Double(right)) => double(left).and_then(|left| left.partial_cmp(&right)),
            (Self::Double(left), Self::Integer(right)) => double(right).and_then(|right| left.partial_cmp(&right)),
            _ => None,
        };
        if let Some(order) = quick {
            return order;
        }
        compare_forms(self.form(), other.form())
    }

    /// True if the number is NaN.
    pub fn is_nan(self) -> bool {
        matches!(self.form(), Form::NotANumber)
    }

    fn form(self) -> Form {
        match self {
            Self::Integer(number) => {
                Form::Finite { negative: number < 0, integer: u128::from(number.unsigned_abs()), twos: 0, tens: 0 }
            }
            Self::Double(number) if number.is_nan() => Form::NotANumber,
            Self::Double(number) if number.is_infinite() => Form::Infinite { negative: number < 0.0 },
            Self::Double(number) => {
                let (integer, twos) = parts(number);
                Form::Finite { negative: number < 0.0, integer: u128::from(integer), twos, tens: 0 }
            }
            Self::Decimal(Decimal::NotANumber) => Form::NotANumber,
            Self::Decimal(Decimal::Infinite { negative }) => Form::Infinite { negative },
            Self::Decimal(Decimal::Finite { negative, coefficient, exponent }) => {
                Form::Finite { negative, integer: coefficient, twos: 0, tens: exponent }
            }
        }
    }

    /// The exact difference `self - other`; `None` if one of them is not finite.
    pub fn minus(self, other: Self) -> Option<Exact> {
        Exact::of(self).zip(Exact::of(other)).map(|(left, right)| left.minus(&right))
    }
}

/// The magnitude of a finite double as integer * 2^exponent.
fn parts(number: f64) -> (u64, i32) {
    let bits = number.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0);
    let (mut integer, mut twos) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    if integer == 0 {
        return (0, 0);
    }
    let zeros = integer.trailing_zeros();
    integer >>= zeros;
    twos += i32::try_from(zeros).unwrap_or(0);
    (integer, twos)
}

fn compare_forms(left: Form, right: Form) -> Ordering {
    let rank = |form: Form| match form {
        Form::NotANumber => 0,
        Form::Infinite { negative: true } => 1,
        Form::Finite { negative: true, integer: 1.., .. } => 2,
        Form::Finite { integer: 0, .. } => 3,
        Form::Finite { .. } => 4,
        Form::Infinite { negative: false } => 5,
    };
    let ranks = rank(left).cmp(&rank(right));
    let (
        Form::Finite { integer: left_integer, twos: left_twos, tens: left_tens, negative },
        Form::Finite { integer: right_integer, twos: right_twos, tens: right_tens, .. },
    ) = (left, right)
    else {
        return ranks;
    };
    if ranks != Ordering::Equal || left_integer == 0 {
        return ranks;
    }
    let magnitudes = compare_magnitudes((left_integer, left_twos, left_tens), (right_integer, right_twos, right_tens));
    if negative { magnitudes.reverse() } else { magnitudes }
}

/// Compares integer * 2^twos * 10^tens, both above zero.
fn compare_magnitudes(left: (u128, i32, i32), right: (u128, i32, i32)) -> Ordering {
    // Most numbers differ in size; then logarithms with a margin for their own error decide.
    let logarithm = |(integer, twos, tens): (u128, i32, i32)| {
        (integer as f64).log2() + f64::from(twos) + f64::from(tens) * std::f64::consts::LOG2_10
    };
    let (left_size, right_size) = (logarithm(left), logarithm(right));
    if (left_size - right_size).abs() > 0.001 {
        return left_size.total_cmp(&right_size);
    }
    let (twos, tens) = (left.1.min(right.1), left.2.min(right.2));
    if let (Some(left), Some(right)) = (scaled(left, twos, tens), scaled(right, twos, tens)) {
        return left.cmp(&right);
    }
    Digits::scaled(left.0, left.1 - twos, left.2 - tens).compare(&Digits::scaled(
        right.0,
        right.1 - twos,
        right.2 - tens,
    ))
}

/// The integer at a smaller scale, where it fits.
fn scaled((integer, twos, tens): (u128, i32, i32), twos_wanted: i32, tens_wanted: i32) -> Option<u128> {
    let power = 10_u128.checked_pow(u32::try_from(tens - tens_wanted).ok()?)?;
    let shift = u32::try_from(twos - twos_wanted).ok()?;
    let product = integer.checked_mul(power)?;
    (shift <= product.leading_zeros()).then(|| product << shift)
}

/// An exact number: the difference of two numbers of a document, or a share of one.
#[derive(Clone, Debug)]
pub struct Exact {
    negative: bool,
    digits: Digits,
    twos: i32,
    tens: i32,
}

impl Exact {
    /// The exact value of a finite number.
    pub fn of(number: Number) -> Option<Self> {
        match number.form() {
            Form::Finite { negative, integer, twos, tens } => {
                Some(Self { negative, digits: Digits::from(integer), twos, tens })
            }
            Form::NotANumber | Form::Infinite { .. } => None,
        }
    }

    /// The number without its sign.
    #[must_use]
    pub fn magnitude(mut self) -> Self {
        self.negative = false;
        self
    }

    /// `self - other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let (left, right, twos, tens) = self.aligned(other);
        let (negative, digits) = if self.negative != other.negative {
            (self.negative, left.plus(&right))
        } else {
            match left.compare(&right) {
                Ordering::Less => (!self.negative, right.minus(&left)),
                Ordering::Equal | Ordering::Greater => (self.negative, left.minus(&right)),
            }
        };
        Self { negative, digits, twos, tens }
    }

    /// `self * other`.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        Self {
            negative: self.negative != other.negative,
            digits: self.digits.times(&other.digits),
            twos: self.twos + other.twos,
            tens: self.tens + other.tens,
        }
    }

    /// `self * 100`.
    #[must_use]
    pub fn hundredfold(mut self) -> Self {
        self.tens += 2;
        self
    }

    /// True for 0.
    pub fn is_zero(&self) -> bool {
        self.digits.is_zero()
    }

    /// The order of two exact numbers.
    pub fn compare(&self, other: &Self) -> Ordering {
        let difference = self.minus(other);
        match (difference.is_zero(), difference.negative) {
            (true, _) => Ordering::Equal,
            (false, true) => Ordering::Less,
            (false, false) => Ordering::Greater,
        }
    }

    fn aligned(&self, other: &Self) -> (Digits, Digits, i32, i32) {
        let (twos, tens) = (self.twos.min(other.twos), self.tens.min(other.tens));
        (
            self.digits.scale(self.twos - twos, self.tens - tens),
            other.digits.scale(other.twos - twos, other.tens - tens),
            twos,
            tens,
        )
    }
}

#[cfg(test)]
mod tests {
    use bson::Decimal128;
    use proptest::prelude::*;

    use super::*;

    /// A number of thousandths as each of the types that can hold it.
    fn dresses(thousandths: i64) -> Vec<Number> {
        let decimal: Decimal128 = format!("{thousandths}E-3").parse().unwrap();
        let mut dresses = vec![Number::Decimal(Decimal::decode(decimal))];
        if thousandths % 1_000 == 0 {
            dresses.push(Number::Integer(thousandths / 1_000));
        }
        if thousandths % 125 == 0 {
            dresses.push(Number::Double(thousandths as f64 / 1_000.0));
        }
        dresses
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn differences_and_products_are_exact(left in -40_i64..40, right in -40_i64..40, factor in -9_i64..9) {
            let (left, right) = (left * 125, right * 125);
            let number = |thousandths: i64| Exact::of(dresses(thousandths)[0]).unwrap();
            for left_number in dresses(left) {
                for right_number in dresses(right) {
                    let difference = left_number.minus(right_number).unwrap();
                    prop_assert_eq!(difference.compare(&number(left - right)), Ordering::Equal);
                    prop_assert_eq!(difference.is_zero(), left == right);
                    prop_assert_eq!(difference.clone().magnitude().compare(&number((left - right).abs())), Ordering::Equal);
                    prop_assert_eq!(difference.hundredfold().compare(&number((left - right) * 100)), Ordering::Equal);
                    let whole = Exact::of(Number::Integer(factor)).unwrap();
                    prop_assert_eq!(number(left).times(&whole).compare(&number(right)), (left * factor).cmp(&right));
                }
            }
        }

        #[test]
        fn differences_of_any_whole_numbers_fit(left in any::<i64>(), right in any::<i64>()) {
            let difference = Number::Integer(left).minus(Number::Integer(right)).unwrap();
            let wanted = i128::from(left) - i128::from(right);
            let text: Decimal128 = wanted.to_string().parse().unwrap();
            prop_assert_eq!(difference.compare(&Exact::of(Number::Decimal(Decimal::decode(text))).unwrap()), Ordering::Equal);
        }
    }
}
