//! How much later the explicit events of pairs were committed than the inferred ones: counted in buckets that grow with the value, so
//! that the middle is right within an eighth, in little memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Values below this are counted exactly, in milliseconds.
const EXACT_BELOW_MS: u64 = 16;
/// Every power of two has this many buckets: 8, as a power of two.
const BUCKETS_BITS: u32 = 3;

/// Counts by bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lags {
    counts: BTreeMap<i32, u64>,
}

impl Lags {
    pub(super) fn add(&mut self, lag_ms: i64) {
        let bucket = i32::try_from(bucket(lag_ms.unsigned_abs())).unwrap_or(i32::MAX);
        *self.counts.entry(if lag_ms < 0 { -bucket } else { bucket }).or_default() += 1;
    }

    /// The middle, in milliseconds; nothing without a value.
    pub(super) fn median_ms(&self) -> Option<f64> {
        let total: u64 = self.counts.values().sum();
        let mut before = 0;
        let middle = self.counts.iter().find(|(_, count)| {
            before += **count;
            before * 2 >= total
        });
        middle.map(|(bucket, _)| {
            let value = value(u64::from(bucket.unsigned_abs()));
            if *bucket < 0 { -value } else { value }
        })
    }

    pub(super) fn kept(&self) -> Vec<(i32, i64)> {
        self.counts.iter().map(|(bucket, count)| (*bucket, i64::try_from(*count).unwrap_or(i64::MAX))).collect()
    }

    pub(super) fn restored(kept: Vec<(i32, i64)>) -> Self {
        Self { counts: kept.into_iter().map(|(bucket, count)| (bucket, u64::try_from(count).unwrap_or(0))).collect() }
    }
}

/// The kept form is a list: BSON has no maps with numbers as names.
impl Serialize for Lags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.kept().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lags {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::restored)
    }
}

fn bucket(value: u64) -> u64 {
    if value < EXACT_BELOW_MS {
        return value;
    }
    let power = value.ilog2();
    let rest = (value >> (power - BUCKETS_BITS)) & ((1 << BUCKETS_BITS) - 1);
    EXACT_BELOW_MS + u64::from(power - EXACT_BELOW_MS.ilog2()) * (1 << BUCKETS_BITS) + rest
}

/// The middle of a bucket.
fn value(bucket: u64) -> f64 {
    if bucket < EXACT_BELOW_MS {
        return bucket as f64;
    }
    let above = bucket - EXACT_BELOW_MS;
    let (power, rest) = ((above >> BUCKETS_BITS) + 4, above & ((1 << BUCKETS_BITS) - 1));
    let width = (1_u64 << power.min(62)) as f64 / f64::from(1 << BUCKETS_BITS);
    width * ((1 << BUCKETS_BITS) as f64 + rest as f64 + 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_right_within_an_eighth_on_both_sides_of_zero() {
        assert_eq!(Lags::default().median_ms(), None);
        for value in [0, 1, 15, 16, 17, 100, 999, 30_000, 86_400_000, 1 << 40] {
            for sign in [1, -1] {
                let mut lags = Lags::default();
                (0..3).for_each(|_| lags.add(sign * value));
                let median = lags.median_ms().unwrap();
                assert!((median - (sign * value) as f64).abs() <= value as f64 / 8.0, "{value}: {median}");
            }
        }
        let mut lags = Lags::default();
        [-5, -5, 1, 7, 2_000].into_iter().for_each(|lag| lags.add(lag));
        assert_eq!(lags.median_ms(), Some(1.0));
        assert_eq!(Lags::restored(lags.kept()), lags);
    }
}
