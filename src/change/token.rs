//! The few facts we read from a resume token. Everything else of it is opaque.
//!
//! A token is a KeyString in hexadecimal: type byte `82` (Timestamp), four bytes of seconds, four of increment, the token's
//! version, its type, and the index of the operation in its transaction (source: `resume_token.cpp` of MongoDB; checked on
//! a real server by the tests).

use bson::RawDocument;

use crate::position::ClusterTime;

const TIMESTAMP: u8 = 0x82;
const INTEGER_ZERO: u8 = 0x29;

/// The cluster time of a resume token and the index of its operation in its transaction.
///
/// `None` where the token has another form (databases that only speak MongoDB's protocol): then the caller falls back on
/// the change's own fields.
pub fn token_facts(token: &RawDocument) -> Option<(ClusterTime, u32)> {
    let place = Place::of(token)?;
    Some((place.time, place.index))
}

/// Where a resume token stands in the log: the order of the derived comparison is that of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place<'t> {
    /// The cluster time of the place.
    pub time: ClusterTime,
    /// How it lies to the changes of that very time.
    pub rank: Rank,
    /// Which operation of its transaction the change is, from 0.
    pub index: u32,
    /// The token's text. Two changes of one time and one index come from two shards, and a router sorts them by it.
    pub text: &'t str,
}

/// How a place lies to the changes of its own cluster time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Before all of them: a high-water mark.
    Mark,
    /// At one of them.
    Change,
    /// After all of them.
    End,
}

impl<'t> Place<'t> {
    /// The place of a token; `None` where [`token_facts`] gives nothing.
    pub fn of(token: &'t RawDocument) -> Option<Self> {
        place(token.get_str("_data").ok()?)
    }

    /// Before every change of this time.
    pub fn before(time: ClusterTime) -> Self {
        Self { time, rank: Rank::Mark, index: 0, text: "" }
    }

    /// After every change of this time.
    pub fn after(time: ClusterTime) -> Self {
        Self { time, rank: Rank::End, index: 0, text: "" }
    }
}

fn place(text: &str) -> Option<Place<'_>> {
    let mut bytes = HexBytes(text.as_bytes());
    if bytes.next()? != TIMESTAMP {
        return None;
    }
    let seconds = bytes.big_endian(4)?;
    let increment = bytes.big_endian(4)?;
    let time = ClusterTime { seconds, increment };
    let version = bytes.integer()?;
    if version > 2 {
        return None;
    }
    // The token's type is 0 for a high-water mark and 128 for an event; the first version knew only events.
    let rank = if version > 0 && bytes.integer()? == 0 { Rank::Mark } else { Rank::Change };
    Some(Place { time, rank, index: bytes.integer()?, text })
}

struct HexBytes<'t>(&'t [u8]);

impl HexBytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (high, low) = (*self.0.first()?, *self.0.get(1)?);
        self.0 = &self.0[2..];
        let digit = |character: u8| (character as char).to_digit(16);
        u8::try_from(digit(high)? << 4 | digit(low)?).ok()
    }

    fn big_endian(&mut self, count: usize) -> Option<u32> {
        let mut value = 0_u32;
        for _ in 0..count {
            value = value.checked_mul(256)?.checked_add(u32::from(self.next()?))?;
        }
        Some(value)
    }

    /// A small non-negative integer: `29` is zero, `2b`, `2c`, ... are followed by 1, 2, ... bytes of the doubled value.
    fn integer(&mut self) -> Option<u32> {
        match self.next()? {
            INTEGER_ZERO => Some(0),
            kind @ 0x2b..=0x2e => Some(self.big_endian(usize::from(kind - 0x2a))? >> 1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn a_token_of_version_1_gives_time_and_operation_index() {
        let token = rawdoc! {"_data": "8263A1B2C3000000052B022C0100296E5A1004"};
        assert_eq!(token_facts(&token), Some((ClusterTime { seconds: 0x63A1_B2C3, increment: 5 }, 0)));
        let third = rawdoc! {"_data": "8263A1B2C3000000052B022C01002B046E5A1004"};
        assert_eq!(token_facts(&third).map(|facts| facts.1), Some(2));
    }

    #[test]
    fn places_order_as_the_log_does() {
        let time = |increment| ClusterTime { seconds: 0x63A1_B2C3, increment };
        let (first, third) = (
            rawdoc! {"_data": "8263A1B2C3000000052B022C0100296E5A1004"},
            rawdoc! {"_data": "8263A1B2C3000000052B022C01002B046E5A1004"},
        );
        let mark = rawdoc! {"_data": "8263A1B2C3000000052B0229296E04"};
        let places = [
            Place::after(time(4)),
            Place::of(&mark).unwrap(),
            Place::of(&first).unwrap(),
            Place::of(&third).unwrap(),
            Place::after(time(5)),
            Place::before(time(6)),
        ];
        assert_eq!(places[1].rank, Rank::Mark);
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn a_foreign_token_gives_nothing() {
        for text in ["", "8", "zz", "82", "0163A1B2C300000005", "8263A1B2C300000005FF"] {
            assert_eq!(token_facts(&rawdoc! {"_data": text}), None);
        }
        assert_eq!(token_facts(&rawdoc! {"other": 1}), None);
    }
}
