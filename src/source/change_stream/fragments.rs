//! Joins events that `$changeStreamSplitLargeEvent` has cut into fragments.
//!
//! A fragment is a change document with `splitEvent: {fragment, of}` and some of the event's top-level fields. All fragments of
//! an event together are over 16 MB, so they never fit into one reply: the last document of a reply tells whether one is cut.

use bson::{RawDocument, RawDocumentBuf};
use bytes::Bytes;

use super::reply::Reply;
use crate::change::{Batch, token_facts};
use crate::mongo_client::DatabaseError;
use crate::position::{ClusterTime, Position};

/// The fragments of one event that have arrived so far.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    parts: Vec<Bytes>,
}

impl Fragments {
    /// Forgets what has arrived; for a stream that is opened again before it.
    pub fn clear(&mut self) {
        self.parts.clear();
    }

    /// True if an event is incomplete.
    pub fn is_waiting(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Takes the fragments out of a reply. Gives the event that they complete, if they do. If the reply ends within an event,
    /// its token is changed to the place before that event, since nothing can go on from within.
    pub fn take(&mut self, reply: &mut Reply) -> Result<Option<Batch>, DatabaseError> {
        let joined = if self.is_waiting() { self.take_front(reply)? } else { None };
        if !self.is_waiting() {
            self.take_back(reply);
        }
        Ok(joined)
    }

    fn take_front(&mut self, reply: &mut Reply) -> Result<Option<Batch>, DatabaseError> {
        let mut count = 0;
        let mut is_complete = false;
        for range in &reply.documents {
            let place = reply.document(range).and_then(place);
            let (fragment, of) = place.ok_or_else(|| DatabaseError::unusable_reply("splitEvent"))?;
            self.parts.push(reply.bytes.slice(range.clone()));
            count += 1;
            if fragment == of {
                is_complete = true;
                break;
            }
        }
        reply.documents.drain(..count);
        if !is_complete {
            return Ok(None);
        }
        let parts = std::mem::take(&mut self.parts);
        join(&parts).map(Some).ok_or_else(|| DatabaseError::unusable_reply("splitEvent"))
    }

    fn take_back(&mut self, reply: &mut Reply) {
        while let Some(range) = reply.documents.last().cloned() {
            match reply.document(&range).and_then(place) {
                // Fragments are taken from the last to the first, which ends the loop.
                Some((fragment, _)) => {
                    self.parts.insert(0, reply.bytes.slice(range));
                    reply.documents.pop();
                    if fragment == 1 {
                        break;
                    }
                }
                None => break,
            }
        }
        if self.is_waiting() {
            let last = reply.documents.last().and_then(|range| reply.document(range));
            reply.token = last.and_then(|last| last.get_document("_id").ok()).map(RawDocument::to_owned);
        }
    }
}

/// `splitEvent: {fragment, of}`; `None` if the event is whole.
fn place(document: &RawDocument) -> Option<(i32, i32)> {
    let split = document.get_document("splitEvent").ok()?;
    Some((split.get_i32("fragment").ok()?, split.get_i32("of").ok()?))
}

/// One change document with all fields, and the token of the last fragment.
fn join(parts: &[Bytes]) -> Option<Batch> {
    let documents: Vec<&RawDocument> = parts.iter().filter_map(|part| RawDocument::from_bytes(part).ok()).collect();
    let token = documents.last()?.get_document("_id").ok()?;
    let mut whole = RawDocumentBuf::new();
    whole.append(bson::cstr!("_id"), token);
    let mut time = token_facts(token).map(|facts| facts.0);
    for document in &documents {
        for element in *document {
            let (name, value) = element.ok()?;
            match name.as_str() {
                "_id" | "splitEvent" => {}
                _ => whole.append(name, value),
            }
        }
        time = time.or_else(|| document.get_timestamp("clusterTime").ok().map(ClusterTime::from));
    }
    let end = time.map(|time| Position::after(token, time));
    Some(Batch::from_documents([whole.as_ref()], end))
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;
    use crate::position::Resume;

    fn reply(documents: &[Document]) -> Reply {
        let mut bytes = Vec::new();
        let mut ranges = Vec::new();
        for document in documents {
            let start = bytes.len();
            bytes.extend_from_slice(RawDocumentBuf::try_from(document).unwrap().as_bytes());
            ranges.push(start..bytes.len());
        }
        let token = documents.last().map(|last| token(last.get_document("_id").unwrap().get_str("_data").unwrap()));
        Reply { bytes: Bytes::from(bytes), documents: ranges, token, is_last: false }
    }

    fn token(data: &str) -> RawDocumentBuf {
        RawDocumentBuf::try_from(&doc! {"_data": data}).unwrap()
    }

    fn fragment(data: &str, fragment: i32, of: i32, field: &str) -> Document {
        let mut document = doc! {"_id": {"_data": data}, "splitEvent": {"fragment": fragment, "of": of}, field: 1};
        if fragment == 1 {
            document.insert("clusterTime", bson::Timestamp { time: 9, increment: 1 });
        }
        document
    }

    #[test]
    fn an_event_in_three_fragments_over_three_replies_is_joined() {
        let mut fragments = Fragments::default();
        let mut first = reply(&[doc! {"_id": {"_data": "a"}, "n": 1}, fragment("b1", 1, 3, "x")]);
        assert!(fragments.take(&mut first).unwrap().is_none());
        assert_eq!(first.documents.len(), 1, "what was whole stays");
        assert_eq!(first.token, Some(token("a")), "the position stays before the event");

        let mut second = reply(&[fragment("b2", 2, 3, "y")]);
        assert!(fragments.take(&mut second).unwrap().is_none());
        assert!(second.documents.is_empty() && fragments.is_waiting());

        let mut third = reply(&[fragment("b3", 3, 3, "z"), doc! {"_id": {"_data": "c"}, "n": 2}]);
        let joined = fragments.take(&mut third).unwrap().unwrap();
        assert_eq!(third.documents.len(), 1);
        assert!(!fragments.is_waiting());
        let whole = joined.document(0).unwrap();
        for field in ["x", "y", "z"] {
            assert_eq!(whole.get_i32(field).ok(), Some(1), "{field}");
        }
        assert!(whole.get("splitEvent").unwrap().is_none());
        assert_eq!(joined.end.unwrap().resume, Resume::After(token("b3")));
    }

    #[test]
    fn two_fragments_at_the_end_of_a_reply_wait_in_their_order() {
        let mut fragments = Fragments::default();
        let mut first = reply(&[fragment("b1", 1, 3, "x"), fragment("b2", 2, 3, "y")]);
        assert!(fragments.take(&mut first).unwrap().is_none());
        assert_eq!(first.token, None, "there is no place before the event in this reply");
        let mut second = reply(&[fragment("b3", 3, 3, "z"), fragment("c1", 1, 2, "x")]);
        let joined = fragments.take(&mut second).unwrap().unwrap();
        let names: Vec<&str> = joined.document(0).unwrap().iter().map(|element| element.unwrap().0.as_str()).collect();
        assert_eq!(names, ["_id", "x", "clusterTime", "y", "z"]);
        assert!(fragments.is_waiting(), "the next event is cut again");
    }

    #[test]
    fn a_whole_event_where_a_fragment_must_follow_is_an_error() {
        let mut fragments = Fragments::default();
        fragments.take(&mut reply(&[fragment("b1", 1, 2, "x")])).unwrap();
        assert!(fragments.take(&mut reply(&[doc! {"_id": {"_data": "c"}}])).is_err());
    }
}
