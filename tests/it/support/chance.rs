//! Chance that repeats: a failing test says its seed, and the seed gives the same moments again.

use std::time::{Duration, SystemTime};

/// A small generator of random numbers (SplitMix64, by Sebastiano Vigna, public domain).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Chance from `$CHANGELING_SEED`, or from the clock, and the seed.
    pub fn seeded() -> (Self, u64) {
        let clock =
            || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos().into());
        let seed = std::env::var("CHANGELING_SEED")
            .ok()
            .map_or_else(clock, |seed| seed.parse().expect("CHANGELING_SEED is a number"));
        (Self(seed), seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// True in `percent` of 100 cases.
    pub fn happens(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).expect("it is below a usize")
    }

    /// One of these.
    pub fn pick<'o, T>(&mut self, options: &'o [T]) -> &'o T {
        &options[self.below(options.len())]
    }

    /// A time in the range of milliseconds.
    pub fn milliseconds(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.next() % (range.end - range.start))
    }
}
