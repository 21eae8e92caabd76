//! A reply of the server as a batch of changes, without copying it.

use std::ops::Range;

use bson::{RawDocument, RawDocumentBuf};
use bytes::Bytes;
use mongodb::raw_batch_cursor::RawBatch;

use crate::change::{Batch, token_facts};
use crate::mongo_client::DatabaseError;
use crate::position::{ClusterTime, Position, Resume};

/// The documents of one reply and what the server says of the cursor.
#[derive(Debug)]
pub(super) struct Reply {
    /// The whole reply.
    pub bytes: Bytes,
    /// Where the change documents lie in it.
    pub documents: Vec<Range<usize>>,
    /// The server's token for the place after this reply.
    pub token: Option<RawDocumentBuf>,
    /// True if the server has closed the cursor.
    pub is_last: bool,
}

/// Lends the driver's memory to [`Bytes`].
struct Owner(RawBatch);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.as_raw_document().as_bytes()
    }
}

impl Reply {
    /// Finds the documents in a reply.
    pub fn new(batch: RawBatch) -> Result<Self, DatabaseError> {
        let reply = batch.as_raw_document();
        let cursor = reply.get_document("cursor").map_err(|_| DatabaseError::unusable_reply("cursor"))?;
        let mut documents = Vec::new();
        let mut token = None;
        let mut is_last = false;
        let start = reply.as_bytes().as_ptr().addr();
        for element in cursor {
            let (name, value) = element.map_err(|_| DatabaseError::unusable_reply("cursor"))?;
            match name.as_str() {
                "id" => is_last = value.as_i64() == Some(0),
                "postBatchResumeToken" => token = value.as_document().map(RawDocument::to_owned),
                "firstBatch" | "nextBatch" => {
                    let array = value.as_array().ok_or_else(|| DatabaseError::unusable_reply("cursor.nextBatch"))?;
                    for document in array {
                        let document = document.ok().and_then(|document| document.as_document());
                        let document = document.ok_or_else(|| DatabaseError::unusable_reply("cursor.nextBatch"))?;
                        // The document is a part of the reply, so the distance of the two is its place in it.
                        let offset = document.as_bytes().as_ptr().addr() - start;
                        documents.push(offset..offset + document.as_bytes().len());
                    }
                }
                _ => {}
            }
        }
        Ok(Self { bytes: Bytes::from_owner(Owner(batch)), documents, token, is_last })
    }

    /// The change document at `range`.
    pub fn document(&self, range: &Range<usize>) -> Option<&RawDocument> {
        RawDocument::from_bytes(self.bytes.get(range.clone())?).ok()
    }

    /// True if the stream ends here because what it covers is gone.
    pub fn is_invalidated(&self) -> bool {
        let last = self.documents.last().and_then(|range| self.document(range));
        last.is_some_and(|document| document.get_str("operationType").is_ok_and(|word| word == "invalidate"))
    }

    /// The position after this reply; `before` is the one before it, for its time.
    pub fn end(&self, before: Option<&Position>) -> Option<Position> {
        let last = self.documents.last().and_then(|range| self.document(range));
        let last_token = last.and_then(|last| last.get_document("_id").ok());
        // Not only where the server has closed the cursor: a reply that is full does not tell yet that it is the last.
        if self.is_invalidated() {
            let token = last_token?;
            return Some(Position {
                time: time(token, last, before)?,
                resume: Resume::AfterInvalidate(token.to_owned()),
            });
        }
        let token = self.token.as_deref().or(last_token)?;
        // As long as nothing happens, the server's token for the place after an `invalidate` is that of the `invalidate`.
        if let Some(position @ Position { resume: Resume::AfterInvalidate(invalidate), .. }) = before
            && **invalidate == *token
        {
            return Some(position.clone());
        }
        Some(Position { time: time(token, last, before)?, resume: Resume::After(token.to_owned()) })
    }

    /// Hands the documents over, with the position after them.
    pub fn into_batch(self, end: Option<Position>) -> Batch {
        Batch::new(self.bytes, self.documents, end)
    }
}

/// The cluster time of a place: what its token says, else its last change, else the place before (then time stands still, and
/// going on from it repeats, which is safe).
fn time(token: &RawDocument, last: Option<&RawDocument>, before: Option<&Position>) -> Option<ClusterTime> {
    let of_token = token_facts(token).map(|facts| facts.0);
    let of_last = || last?.get_timestamp("clusterTime").ok().map(ClusterTime::from);
    of_token.or_else(of_last).or_else(|| before.map(|position| position.time))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn reply(operations: &[&str], token: &str, is_last: bool) -> Reply {
        let mut bytes = Vec::new();
        let mut documents = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            let document = rawdoc! {
                "_id": {"_data": number.to_string()}, "operationType": *operation,
                "clusterTime": bson::Timestamp { time: 7, increment: 1 },
            };
            documents.push(bytes.len()..bytes.len() + document.as_bytes().len());
            bytes.extend_from_slice(document.as_bytes());
        }
        Reply { bytes: Bytes::from(bytes), documents, token: Some(rawdoc! {"_data": token}), is_last }
    }

    #[test]
    fn the_place_after_an_invalidate_is_one_for_start_after_until_something_follows() {
        let after_invalidate = Resume::AfterInvalidate(rawdoc! {"_data": "1"});
        for is_last in [true, false] {
            let end = reply(&["drop", "invalidate"], "1", is_last).end(None).unwrap();
            assert_eq!(end.resume, after_invalidate, "{is_last}");
            let idle = reply(&[], "1", false).end(Some(&end)).unwrap();
            assert_eq!(idle, end, "the server gives the same token until something happens");
            let moved = reply(&[], "2", false).end(Some(&idle)).unwrap();
            assert_eq!(moved.resume, Resume::After(rawdoc! {"_data": "2"}));
            let next = reply(&["insert"], "0", false).end(Some(&idle)).unwrap();
            assert_eq!(next.resume, Resume::After(rawdoc! {"_data": "0"}));
        }
    }
}
