//! Whole numbers of any size: just what comparing and subtracting numbers of a document takes.

use std::cmp::Ordering;

/// A whole number, at least 0; the least significant 32 bits first, without zeros at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digits(Vec<u32>);

impl From<u128> for Digits {
    fn from(mut number: u128) -> Self {
        let mut digits = Vec::with_capacity(4);
        while number > 0 {
            digits.push(low(number as u64));
            number >>= 32;
        }
        Self(digits)
    }
}

/// The low half of 64 bits.
fn low(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}

impl Digits {
    /// integer * 2^twos * 10^tens; the exponents are at least 0.
    pub(super) fn scaled(integer: u128, twos: i32, tens: i32) -> Self {
        Self::from(integer).scale(twos, tens)
    }

    /// self * 2^twos * 10^tens; the exponents are at least 0.
    pub(super) fn scale(&self, twos: i32, tens: i32) -> Self {
        let mut result = self.clone();
        let mut tens = u32::try_from(tens).unwrap_or(0);
        while tens > 0 {
            let step = tens.min(9);
            result.multiply_small(10_u32.pow(step));
            tens -= step;
        }
        result.shift_left(u32::try_from(twos).unwrap_or(0));
        result
    }

    fn multiply_small(&mut self, factor: u32) {
        let mut carry = 0_u64;
        for digit in &mut self.0 {
            carry += u64::from(*digit) * u64::from(factor);
            *digit = low(carry);
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(low(carry));
        }
    }

    fn shift_left(&mut self, count: u32) {
        if self.is_zero() {
            return;
        }
        self.multiply_small(1 << (count % 32));
        self.0.splice(0..0, std::iter::repeat_n(0, (count / 32) as usize));
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut carry = 0_u64;
        let mut sum = Vec::with_capacity(self.0.len().max(other.0.len()) + 1);
        for index in 0..self.0.len().max(other.0.len()) {
            carry += u64::from(self.digit(index)) + u64::from(other.digit(index));
            sum.push(low(carry));
            carry >>= 32;
        }
        sum.push(low(carry));
        Self(sum).trimmed()
    }

    /// The difference; `other` is at most as large.
    pub(super) fn minus(&self, other: &Self) -> Self {
        let mut borrow = 0_i64;
        let mut difference = Vec::with_capacity(self.0.len());
        for index in 0..self.0.len() {
            let digit = i64::from(self.digit(index)) - i64::from(other.digit(index)) + borrow;
            difference.push(low(digit as u64));
            borrow = digit >> 32;
        }
        Self(difference).trimmed()
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let mut product = vec![0_u32; self.0.len() + other.0.len()];
        for (start, &factor) in self.0.iter().enumerate() {
            let mut carry = 0_u64;
            for (offset, place) in product[start..].iter_mut().enumerate() {
                carry += u64::from(*place) + u64::from(factor) * u64::from(other.digit(offset));
                *place = low(carry);
                carry >>= 32;
            }
        }
        Self(product).trimmed()
    }

    fn digit(&self, index: usize) -> u32 {
        self.0.get(index).copied().unwrap_or(0)
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }
}
