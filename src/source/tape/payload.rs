//! What a frame of changes holds: the changes as the server sent them, what was looked up for them, and the position after them.
//!
//! ```text
//! count (4), the changes (BSON, one after the other)
//! count (4), the look-ups: found (1: 1 or 0), count (4), the numbers of the changes (4 each), the document if it was found
//! nothing was left to read (1: 1 or 0)
//! kind of the position (1), and but for none: seconds (4), increment (4), the token (BSON) but for a mere time
//! ```

use std::ops::Range;
use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use bytes::Bytes;

use super::format::FRAME_BYTES_MAX;
use crate::change::{Batch, LookUp};
use crate::position::{ClusterTime, Position, Resume};

const NO_POSITION: u8 = 0;
const AFTER: u8 = 1;
const AFTER_INVALIDATE: u8 = 2;
const AT_TIME: u8 = 3;

/// The shortest BSON document, in bytes.
const DOCUMENT_BYTES_MIN: usize = 5;

/// A payload that was not written by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PayloadError(pub(super) &'static str);

/// Changes on their way into a frame.
#[derive(Debug, Default)]
pub(super) struct Payload {
    changes: Vec<u8>,
    count: u32,
    look_ups: Vec<(Vec<u32>, LookUp)>,
    look_up_byte_count: usize,
    end: Option<Position>,
    leaves_nothing: bool,
}

impl Payload {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && self.end.is_none()
    }

    pub(super) fn has_changes(&self) -> bool {
        self.count > 0
    }

    /// The bytes of documents in it.
    pub(super) fn byte_count(&self) -> usize {
        self.changes.len() + self.look_up_byte_count
    }

    pub(super) fn push(&mut self, change: &RawDocument, look_up: Option<&LookUp>) {
        self.changes.extend_from_slice(change.as_bytes());
        if let Some(look_up) = look_up {
            self.push_look_up(look_up);
        }
        self.count += 1;
        // It ends after this change now, which has a token of its own.
        self.end = None;
        self.leaves_nothing = false;
    }

    /// Says where what is in it ends, and whether nothing was left to read then.
    pub(super) fn end_at(&mut self, end: Option<Position>, leaves_nothing: bool) {
        self.end = end;
        self.leaves_nothing = leaves_nothing;
    }

    /// A document that several changes have in common is written once, if they follow each other closely.
    fn push_look_up(&mut self, look_up: &LookUp) {
        const RECENT_COUNT: usize = 32;
        let recent = self.look_ups.len().saturating_sub(RECENT_COUNT);
        if let Some((numbers, _)) = self.look_ups[recent..].iter_mut().find(|(_, other)| is_same(look_up, other)) {
            return numbers.push(self.count);
        }
        if let LookUp::Found(document) = look_up {
            self.look_up_byte_count += document.as_bytes().len();
        }
        self.look_ups.push((vec![self.count], look_up.clone()));
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.byte_count() + 1024);
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.changes);
        bytes.extend_from_slice(&(self.look_ups.len() as u32).to_le_bytes());
        for (numbers, look_up) in &self.look_ups {
            bytes.push(u8::from(matches!(look_up, LookUp::Found(_))));
            bytes.extend_from_slice(&(numbers.len() as u32).to_le_bytes());
            numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
            if let LookUp::Found(document) = look_up {
                bytes.extend_from_slice(document.as_bytes());
            }
        }
        bytes.push(u8::from(self.leaves_nothing));
        encode_position(self.end.as_ref(), &mut bytes);
        bytes
    }
}

fn is_same(one: &LookUp, other: &LookUp) -> bool {
    match (one, other) {
        (LookUp::Found(one), LookUp::Found(other)) => Arc::ptr_eq(one, other),
        (LookUp::Gone, LookUp::Gone) => true,
        (LookUp::Found(_), LookUp::Gone) | (LookUp::Gone, LookUp::Found(_)) => false,
    }
}

fn encode_position(position: Option<&Position>, bytes: &mut Vec<u8>) {
    let Some(position) = position else { return bytes.push(NO_POSITION) };
    let (kind, token) = match &position.resume {
        Resume::After(token) => (AFTER, Some(token)),
        Resume::AfterInvalidate(token) => (AFTER_INVALIDATE, Some(token)),
        Resume::AtTime => (AT_TIME, None),
    };
    bytes.push(kind);
    bytes.extend_from_slice(&position.time.seconds.to_le_bytes());
    bytes.extend_from_slice(&position.time.increment.to_le_bytes());
    if let Some(token) = token {
        bytes.extend_from_slice(token.as_bytes());
    }
}

/// The batch that the unpacked content of a frame of changes holds; the changes stay where they are. Never panics, and takes no
/// memory beyond a small multiple of what it is given.
///
/// # Errors
/// If it is anything else.
pub fn decode_changes(payload: Vec<u8>) -> Result<Batch, PayloadError> {
    if payload.len() > FRAME_BYTES_MAX {
        return Err(PayloadError("a frame is longer than any can be"));
    }
    let bytes = Bytes::from(payload);
    let mut cursor = Cursor { bytes: &bytes, at: 0 };
    let count = cursor.count(DOCUMENT_BYTES_MIN)?;
    let documents = (0..count).map(|_| cursor.document_range()).collect::<Result<Vec<_>, _>>()?;
    let mut look_ups = Vec::new();
    for _ in 0..cursor.count(5)? {
        look_ups.push(cursor.look_up(count)?);
    }
    let leaves_nothing = cursor.flag()?;
    let end = cursor.position()?;
    if cursor.at != bytes.len() {
        return Err(PayloadError("a frame holds more than it says"));
    }
    let mut batch = Batch::new(bytes.clone(), documents, end);
    batch.leaves_nothing = leaves_nothing;
    for (indexes, look_up) in &look_ups {
        batch.attach(indexes, look_up);
    }
    Ok(batch)
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

const SHORT: PayloadError = PayloadError("a frame holds less than it says");

impl<'b> Cursor<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], PayloadError> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, PayloadError> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn flag(&mut self) -> Result<bool, PayloadError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(PayloadError("a flag in a frame is neither yes nor no")),
        }
    }

    fn number(&mut self) -> Result<u32, PayloadError> {
        self.take(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// How many there are of things that take at least `bytes_each`: no more than there is room for.
    fn count(&mut self, bytes_each: usize) -> Result<usize, PayloadError> {
        let count = self.number()? as usize;
        if count > (self.bytes.len() - self.at) / bytes_each { Err(SHORT) } else { Ok(count) }
    }

    fn document_range(&mut self) -> Result<Range<usize>, PayloadError> {
        let start = self.at;
        let length = i32::from_le_bytes(self.number()?.to_le_bytes());
        let length = usize::try_from(length).map_err(|_| SHORT)?;
        self.at = start;
        let bytes = self.take(length)?;
        RawDocument::from_bytes(bytes).map_err(|_| PayloadError("a document in a frame is no BSON"))?;
        Ok(start..self.at)
    }

    fn document(&mut self) -> Result<RawDocumentBuf, PayloadError> {
        let range = self.document_range()?;
        RawDocumentBuf::from_bytes(self.bytes[range].to_vec())
            .map_err(|_| PayloadError("a document in a frame is no BSON"))
    }

    fn look_up(&mut self, change_count: usize) -> Result<(Vec<usize>, LookUp), PayloadError> {
        let is_found = self.flag()?;
        let mut indexes = Vec::new();
        for _ in 0..self.count(4)? {
            let index = self.number()? as usize;
            if index >= change_count {
                return Err(PayloadError("a look-up in a frame belongs to no change"));
            }
            indexes.push(index);
        }
        let look_up = if is_found { LookUp::Found(Arc::new(self.document()?)) } else { LookUp::Gone };
        Ok((indexes, look_up))
    }

    fn position(&mut self) -> Result<Option<Position>, PayloadError> {
        let kind = self.byte()?;
        if kind == NO_POSITION {
            return Ok(None);
        }
        let time = ClusterTime { seconds: self.number()?, increment: self.number()? };
        let resume = match kind {
            AFTER => Resume::After(self.document()?),
            AFTER_INVALIDATE => Resume::AfterInvalidate(self.document()?),
            AT_TIME => Resume::AtTime,
            _ => return Err(PayloadError("the position of a frame is of no known kind")),
        };
        Ok(Some(Position { time, resume }))
    }
}
