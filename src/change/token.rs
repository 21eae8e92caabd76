//! The two facts we read from a resume token. Everything else of it is opaque.
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
    let text = token.get_str("_data").ok()?.as_bytes();
    let mut bytes = HexBytes(text);
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
    if version > 0 {
        bytes.integer()?; // the token's type: event or high-water mark
    }
    Some((time, bytes.integer()?))
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
    fn a_foreign_token_gives_nothing() {
        for text in ["", "8", "zz", "82", "0163A1B2C300000005", "8263A1B2C300000005FF"] {
            assert_eq!(token_facts(&rawdoc! {"_data": text}), None);
        }
        assert_eq!(token_facts(&rawdoc! {"other": 1}), None);
    }
}
