//! What a source hands over at once, in the order of the log.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use bytes::Bytes;

use super::decode::{self, DecodeError, Entry};
use super::{Image, Operation};
use crate::position::{ClusterTime, Position};

/// A batch of change documents and the position after the last of them.
///
/// The documents stay in the memory the reply arrived in; cloning a batch copies no document. An empty batch only says
/// that the position has moved and that, at that moment, nothing was left to read.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Bytes,
    documents: Vec<Range<usize>>,
    looked_up: HashMap<usize, LookUp>,
    looked_up_byte_count: usize,
    /// The position after everything in this batch; absent where the server did not say.
    pub end: Option<Position>,
    /// Everything that was committed when the batch was asked for has been read. An empty batch says so by itself; a source that
    /// puts several logs together, as a router of a sharded cluster does, takes it back.
    pub leaves_nothing: bool,
}

/// The answer to a look-up of a document by its key, some time after the change.
#[derive(Clone, Debug)]
pub enum LookUp {
    /// The document as it is now; shared, because a batch may hold thousands of changes of one large document.
    Found(Arc<RawDocumentBuf>),
    /// It does not exist any more.
    Gone,
}

impl Batch {
    /// A batch over documents that lie at `documents` in `bytes`.
    pub fn new(bytes: Bytes, documents: Vec<Range<usize>>, end: Option<Position>) -> Self {
        let leaves_nothing = documents.is_empty();
        Self { bytes, documents, looked_up: HashMap::new(), looked_up_byte_count: 0, end, leaves_nothing }
    }

    /// A batch with no change, which only moves the position.
    pub fn empty(end: Option<Position>) -> Self {
        Self::new(Bytes::new(), Vec::new(), end)
    }

    /// A batch made of separate documents (copied together); for tapes and tests.
    pub fn from_documents<'d>(documents: impl IntoIterator<Item = &'d RawDocument>, end: Option<Position>) -> Self {
        let mut bytes = Vec::new();
        let mut ranges = Vec::new();
        for document in documents {
            let start = bytes.len();
            bytes.extend_from_slice(document.as_bytes());
            ranges.push(start..bytes.len());
        }
        Self::new(Bytes::from(bytes), ranges, end)
    }

    /// The number of change documents.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// True if the batch holds no change document.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// True if no change of this cluster time follows, so that the transactions of that time have ended. The end of a batch by
    /// itself is none: the next one may go on in the middle of a transaction.
    pub fn ends(&self, time: ClusterTime) -> bool {
        self.leaves_nothing || self.end.as_ref().is_some_and(|end| end.time > time)
    }

    /// The memory that the batch holds, documents that were looked up included, in bytes.
    pub fn byte_count(&self) -> usize {
        self.bytes.len() + self.looked_up_byte_count
    }

    /// The raw change document at `index`.
    pub fn document(&self, index: usize) -> Option<&RawDocument> {
        let range = self.documents.get(index)?.clone();
        RawDocument::from_bytes(self.bytes.get(range)?).ok()
    }

    /// Adds what a look-up of the document that the changes at `indexes` have in common found.
    pub fn attach(&mut self, indexes: &[usize], look_up: &LookUp) {
        if let LookUp::Found(document) = look_up {
            self.looked_up_byte_count += document.as_bytes().len();
        }
        self.looked_up.extend(indexes.iter().map(|index| (*index, look_up.clone())));
    }

    /// What a look-up for the change at `index` found, if there was one.
    pub fn look_up(&self, index: usize) -> Option<&LookUp> {
        self.looked_up.get(&index)
    }

    /// Forgets the first `count` changes.
    pub fn skip_first(&mut self, count: usize) {
        let count = count.min(self.documents.len());
        self.documents.drain(..count);
        let looked_up = self.looked_up.drain().filter(|(index, _)| *index >= count);
        self.looked_up = looked_up.map(|(index, look_up)| (index - count, look_up)).collect();
    }

    /// Keeps the first `count` changes and gives the rest, if there is one; no document is copied. Documents that were looked up
    /// must belong to the changes that are kept.
    ///
    /// The position after what is kept is that of its last change; absent if that is none, or has no token.
    pub fn split_off(&mut self, count: usize) -> Option<Self> {
        if count == 0 || count >= self.documents.len() {
            return None;
        }
        let documents = self.documents.split_off(count);
        let end = match self.entries().last() {
            Some(Ok(Entry::Change(change))) => change.token.map(|token| Position::after(token, change.cluster_time)),
            _ => None,
        };
        Some(Self::new(self.bytes.clone(), documents, std::mem::replace(&mut self.end, end)))
    }

    /// Leaves out the first `count` changes. Only for a batch that nothing was attached to.
    pub fn drop_first(&mut self, count: usize) {
        self.documents.drain(..count.min(self.documents.len()));
    }

    /// The bytes of the documents that were looked up.
    pub fn looked_up_byte_count(&self) -> usize {
        self.looked_up_byte_count
    }

    /// Every entry in order. An entry that cannot be decoded is an error of its own; the others are not lost.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry<'_>, DecodeError>> {
        (0..self.documents.len()).filter_map(|index| self.entry(index))
    }

    /// The entry at `index`.
    pub fn entry(&self, index: usize) -> Option<Result<Entry<'_>, DecodeError>> {
        let range = self.documents.get(index)?.clone();
        let document = self.bytes.get(range).and_then(|bytes| RawDocument::from_bytes(bytes).ok());
        let decoded = document.ok_or(DecodeError::Malformed { field: "change" }).and_then(decode::entry);
        Some(decoded.map(|mut entry| {
            if !self.looked_up.is_empty() {
                self.add_look_up(index, &mut entry);
            }
            entry
        }))
    }

    fn add_look_up<'a>(&'a self, index: usize, entry: &mut Entry<'a>) {
        let Entry::Change(change) = entry else { return };
        if !matches!(change.operation, Operation::Update) || !matches!(change.after, Image::Unknown) {
            return;
        }
        // A document that is gone by now stays unknown: the change left one behind, whatever happened to it later.
        if let Some(LookUp::Found(document)) = self.looked_up.get(&index) {
            change.after = Image::LookedUp(document);
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn a_document_that_many_changes_have_in_common_is_held_and_weighed_once() {
        let change = rawdoc! {
            "operationType": "update", "ns": {"db": "shop", "coll": "orders"}, "documentKey": {"_id": 1},
            "clusterTime": bson::Timestamp { time: 1, increment: 1 },
            "updateDescription": {"updatedFields": {"x": 1}, "removedFields": []},
        };
        let mut batch = Batch::from_documents([&*change, &*change, &*change], None);
        let before = batch.byte_count();
        let document = Arc::new(rawdoc! {"_id": 1, "x": "y".repeat(1_000)});
        batch.attach(&[0, 2], &LookUp::Found(document.clone()));
        assert_eq!(batch.byte_count(), before + document.as_bytes().len());
        let is_looked_up = |entry: Result<Entry<'_>, DecodeError>| matches!(entry, Ok(Entry::Change(change)) if matches!(change.after, Image::LookedUp(_)));
        assert_eq!(batch.entries().map(is_looked_up).collect::<Vec<bool>>(), [true, false, true]);
    }

    #[test]
    fn a_time_has_ended_where_nothing_is_left_or_the_position_is_past_it() {
        let time = |seconds| ClusterTime { seconds, increment: 1 };
        let at = |seconds| Some(Position::after(&rawdoc! {"_data": "x"}, time(seconds)));
        let change = rawdoc! {"x": 1};
        let full = |end| Batch::from_documents([&*change], end);
        assert!(!full(at(5)).ends(time(5)) && !full(None).ends(time(5)));
        assert!(full(at(6)).ends(time(5)));
        assert!(Batch::empty(at(5)).ends(time(5)));
        let of_a_router = |end| Batch { leaves_nothing: false, ..Batch::empty(end) };
        assert!(!of_a_router(at(5)).ends(time(5)) && of_a_router(at(6)).ends(time(5)));
    }

    #[test]
    fn a_part_ends_after_its_last_change_and_the_rest_where_the_whole_did() {
        let change = |number: u32| {
            rawdoc! {
                "_id": {"_data": number.to_string()}, "operationType": "insert", "ns": {"db": "shop", "coll": "orders"},
                "documentKey": {"_id": 1}, "fullDocument": {"_id": 1},
                "clusterTime": bson::Timestamp { time: number, increment: 1 },
            }
        };
        let changes = [change(1), change(2), change(3)];
        let end = Some(Position::after(&rawdoc! {"_data": "end"}, crate::position::ClusterTime::default()));
        let mut batch = Batch::from_documents(changes.iter().map(|change| &**change), end.clone());
        assert!(batch.split_off(0).is_none());
        assert!(batch.split_off(3).is_none());
        let rest = batch.split_off(2).unwrap();
        assert_eq!((batch.len(), rest.len()), (2, 1));
        assert_eq!(batch.end.unwrap().time.seconds, 2);
        assert_eq!(rest.end, end);
        assert_eq!(rest.document(0).unwrap(), &*changes[2]);
    }
}
