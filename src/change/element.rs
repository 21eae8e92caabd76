//! A quick walk over the elements of a raw document.
//!
//! The iterator of `bson` checks the text of every name and builds every value; most names are not the one that is looked for, and
//! most values are only compared as bytes. Here names stay bytes, and only a value that is asked for is built. What is malformed
//! ends the walk: it counts as not there.

use bson::{Decimal128, RawBsonRef, RawDocument, Timestamp, oid::ObjectId};

/// A type (bsonspec.org) and the bytes of a value; equal bytes are equal values.
pub type Content<'d> = (u8, &'d [u8]);

/// A field of a document, or an element of an array with its index in decimal digits as its name.
#[derive(Clone, Copy, Debug)]
pub struct Element<'d> {
    /// The name, without its NUL.
    pub name: &'d [u8],
    /// The type and the value, as they lie in the document.
    pub content: Content<'d>,
    document: &'d RawDocument,
}

/// Walks over the elements of a document.
#[derive(Clone, Debug)]
pub struct Elements<'d> {
    document: &'d RawDocument,
    rest: &'d [u8],
}

/// The elements of a document, in their order.
pub fn elements(document: &RawDocument) -> Elements<'_> {
    let bytes = document.as_bytes();
    let rest = bytes.len().checked_sub(1).and_then(|end| bytes.get(4..end)).unwrap_or_default();
    Elements { document, rest }
}

/// The elements of a document from one on that starts at this offset, as [`Elements::offset`] gave it.
pub fn elements_from(document: &RawDocument, offset: usize) -> Elements<'_> {
    let bytes = document.as_bytes();
    let rest = bytes.len().checked_sub(1).and_then(|end| bytes.get(offset..end)).unwrap_or_default();
    Elements { document, rest }
}

/// The value of a field, if it is there.
pub fn get<'d>(document: &'d RawDocument, name: &str) -> Option<RawBsonRef<'d>> {
    elements(document).find(|element| element.name == name.as_bytes())?.value()
}

impl Elements<'_> {
    /// Where the next element starts, in bytes from the start of the document.
    pub fn offset(&self) -> usize {
        (self.document.as_bytes().len() - 1).saturating_sub(self.rest.len())
    }
}

impl<'d> Iterator for Elements<'d> {
    type Item = Element<'d>;

    fn next(&mut self) -> Option<Element<'d>> {
        let (&kind, after_kind) = self.rest.split_first()?;
        let end = nul(after_kind)?;
        let (name, value) = (&after_kind[..end], &after_kind[end + 1..]);
        let size = size(kind, value)?;
        if size > value.len() {
            self.rest = &[];
            return None;
        }
        let (value, rest) = value.split_at(size);
        self.rest = rest;
        Some(Element { name, content: (kind, value), document: self.document })
    }
}

/// The place of the first NUL. Eight bytes are looked at together (Henry S. Warren, Hacker's Delight, 6-1): the ends of names are
/// most of what a walk over a document looks for.
fn nul(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (number, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        let zeros = word.wrapping_sub(ONES) & !word & HIGHS;
        if zeros != 0 {
            return Some(number * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&byte| byte == 0).map(|place| chunks.len() * 8 + place)
}

/// The size of a value, in bytes (bsonspec.org).
fn size(kind: u8, value: &[u8]) -> Option<usize> {
    let length =
        || value.first_chunk().map(|bytes| i32::from_le_bytes(*bytes)).and_then(|length| usize::try_from(length).ok());
    Some(match kind {
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x02 | 0x0d | 0x0e => length()?.checked_add(4)?,
        0x03 | 0x04 | 0x0f => length()?,
        0x05 => length()?.checked_add(5)?,
        0x06 | 0x0a | 0x7f | 0xff => 0,
        0x07 => 12,
        0x08 => 1,
        0x0b => {
            let pattern = value.iter().position(|&byte| byte == 0)? + 1;
            pattern + value[pattern..].iter().position(|&byte| byte == 0)? + 1
        }
        0x0c => length()?.checked_add(16)?,
        0x10 => 4,
        0x13 => 16,
        _ => return None,
    })
}

impl<'d> Element<'d> {
    /// The name as text; empty if it is none.
    pub fn name_text(&self) -> &'d str {
        std::str::from_utf8(self.name).unwrap_or_default()
    }

    /// The value; nothing if it is malformed.
    pub fn value(&self) -> Option<RawBsonRef<'d>> {
        // Only the library can build the others, an array among them.
        plain_value(self.content).or_else(|| self.document.get(std::str::from_utf8(self.name).ok()?).ok()?)
    }
}

/// The value of a content of the common types; nothing if it is of another, such as an array, or malformed.
pub fn plain_value((kind, bytes): Content<'_>) -> Option<RawBsonRef<'_>> {
    let eight = || bytes.first_chunk::<8>();
    Some(match kind {
        0x01 => RawBsonRef::Double(f64::from_le_bytes(*eight()?)),
        0x02 => RawBsonRef::String(std::str::from_utf8(bytes.get(4..bytes.len() - 1)?).ok()?),
        0x03 => RawBsonRef::Document(RawDocument::from_bytes(bytes).ok()?),
        0x07 => RawBsonRef::ObjectId(ObjectId::from_bytes(*bytes.first_chunk()?)),
        0x08 => RawBsonRef::Boolean(*bytes.first()? != 0),
        0x09 => RawBsonRef::DateTime(bson::DateTime::from_millis(i64::from_le_bytes(*eight()?))),
        0x0a => RawBsonRef::Null,
        0x10 => RawBsonRef::Int32(i32::from_le_bytes(*bytes.first_chunk()?)),
        0x11 => {
            let bits = u64::from_le_bytes(*eight()?);
            RawBsonRef::Timestamp(Timestamp { time: (bits >> 32) as u32, increment: bits as u32 })
        }
        0x12 => RawBsonRef::Int64(i64::from_le_bytes(*eight()?)),
        0x13 => RawBsonRef::Decimal128(Decimal128::from_bytes(*bytes.first_chunk()?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bson::{
        Binary, Bson, DbPointer, Document, JavaScriptCodeWithScope, RawDocumentBuf, Regex, bson, doc,
        spec::BinarySubtype,
    };
    use proptest::prelude::*;

    use super::*;

    fn every_type() -> Document {
        let pointer: DbPointer = bson::deserialize_from_slice::<Document>(
            &[vec![26, 0, 0, 0, 12, b'p', 0, 2, 0, 0, 0, b'n', 0], vec![7; 12], vec![0]].concat(),
        )
        .ok()
        .and_then(|document| match document.get("p") {
            Some(Bson::DbPointer(pointer)) => Some(pointer.clone()),
            _ => None,
        })
        .unwrap();
        doc! {
            "double": 1.5, "string": "ü", "document": {"a": {"b": 1}}, "array": [1, [2]], "empty": {},
            "binary": Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2] },
            "old": Binary { subtype: BinarySubtype::BinaryOld, bytes: vec![1, 2] },
            "undefined": Bson::Undefined, "id": ObjectId::from_bytes([3; 12]), "yes": true, "no": false,
            "date": bson::DateTime::from_millis(-5), "null": null,
            "regex": Regex { pattern: "a.*".try_into().unwrap(), options: "i".try_into().unwrap() },
            "pointer": pointer, "code": Bson::JavaScriptCode("x()".into()), "symbol": Bson::Symbol("s".into()),
            "scoped": JavaScriptCodeWithScope { code: "x()".into(), scope: doc! {"x": 1} },
            "int": -7, "timestamp": Timestamp { time: 5, increment: 6 }, "long": i64::MIN,
            "decimal": "1.5".parse::<Decimal128>().unwrap(), "min": Bson::MinKey, "max": Bson::MaxKey, "": "",
        }
    }

    #[test]
    fn every_type_is_walked_over_and_built_as_the_library_builds_it() {
        let raw = RawDocumentBuf::try_from(&every_type()).unwrap();
        let ours: Vec<_> = elements(&raw).map(|element| (element.name_text(), element.value().unwrap())).collect();
        let theirs: Vec<_> =
            raw.iter().map(|element| element.unwrap()).map(|(name, value)| (name.as_str(), value)).collect();
        assert_eq!(ours, theirs);
        assert_eq!(get(&raw, "long"), Some(RawBsonRef::Int64(i64::MIN)));
        assert_eq!(get(&raw, "absent"), None);
    }

    #[test]
    fn elements_of_an_array_are_walked_over_too() {
        let raw = RawDocumentBuf::try_from(&doc! {"a": bson!([1, "x", [true]])}).unwrap();
        let array = raw.get_array("a").unwrap();
        let document = RawDocument::from_bytes(array.as_bytes()).unwrap();
        let values: Vec<_> = elements(document).filter_map(|element| element.value()).collect();
        assert_eq!(values, array.into_iter().map(Result::unwrap).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_nul_is_found_wherever_it_is() {
        for length in 0..40 {
            for place in 0..length {
                let mut bytes = vec![0x80; length];
                bytes[place] = 0;
                bytes[length - 1] = 0;
                assert_eq!(nul(&bytes), Some(place));
            }
            assert_eq!(nul(&vec![1; length]), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn damaged_bytes_never_panic(place in any::<prop::sample::Index>(), byte in any::<u8>(), kept in any::<prop::sample::Index>()) {
            let mut bytes = RawDocumentBuf::try_from(&every_type()).unwrap().into_bytes();
            let place = 4 + place.index(bytes.len() - 5);
            bytes[place] = byte;
            let document = RawDocument::from_bytes(&bytes).unwrap();
            prop_assert!(elements(document).filter_map(|element| element.value()).count() <= 30);
            let mut short = bytes[..5 + kept.index(bytes.len() - 5)].to_vec();
            let length = i32::try_from(short.len()).unwrap();
            short[..4].copy_from_slice(&length.to_le_bytes());
            *short.last_mut().unwrap() = 0;
            let document = RawDocument::from_bytes(&short).unwrap();
            prop_assert!(elements(document).filter_map(|element| element.value()).count() <= 30);
        }
    }
}
