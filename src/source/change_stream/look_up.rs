//! Looks documents up by their keys, many per query: a tenth of the price of the server's own `updateLookup`.

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Bson, Document, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, ClientSession};

use crate::change::{Batch, DecodeError, Entry, Image, LookUp, Operation};
use crate::mongo_client::DatabaseError;
use crate::namespace::Namespace;
use crate::position::ClusterTime;
use crate::source::Wants;

/// Keys per query.
const KEYS_MAX: usize = 500;

/// The documents looked up for one part of a batch take about this much memory, in bytes.
const PART_BYTES_MAX: usize = 8 << 20;

/// Changes of the first step, and the fewest of any: as long as nothing is known of the documents' size, little is asked for.
const STEP_MIN: usize = 32;

/// For how many changes a document was found, and for how many it is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub found: u64,
    pub gone: u64,
    /// The documents that the changes found have, each counted once.
    pub documents: usize,
}

/// The updates of one collection that ask for their document, by the bytes of their key.
#[derive(Default)]
struct Wanted {
    keys: HashMap<Vec<u8>, Key>,
}

struct Key {
    document: RawDocumentBuf,
    changes: Vec<usize>,
}

/// Looks documents up in steps, and learns from each how large they are.
#[derive(Debug, Default)]
pub(super) struct Looker {
    /// The mean size of the documents of the last step that found some, in bytes.
    document_bytes: Option<usize>,
}

impl Looker {
    /// Attaches to every update that `wants` asks for the document as it is now, from the first change on until the documents
    /// weigh too much. Gives the number of changes that are done.
    pub(super) async fn look_up(
        &mut self,
        client: &Client,
        batch: &mut Batch,
        wants: &Wants<'_>,
        counts: &mut Counts,
    ) -> Result<usize, DatabaseError> {
        let wanting = wanting(batch, wants);
        let Some(mut session) = self.session(client, batch, &wanting).await? else { return Ok(batch.len()) };
        let mut left = wanting.as_slice();
        while !left.is_empty() && batch.looked_up_byte_count() < PART_BYTES_MAX {
            let (step, rest) = left.split_at(self.step().min(left.len()));
            self.look_up_step(&mut session, batch, step, counts).await?;
            left = rest;
        }
        // What no rule asks about is done as well, up to the next change that waits for its document.
        Ok(left.first().copied().unwrap_or(batch.len()))
    }

    async fn session(
        &self,
        client: &Client,
        batch: &Batch,
        wanting: &[usize],
    ) -> Result<Option<ClientSession>, DatabaseError> {
        if wanting.is_empty() {
            return Ok(None);
        }
        let mut session = client.start_session().await.map_err(|error| DatabaseError::new(&error))?;
        // A secondary that the URI prefers may be behind the stream: it must have the changes before it is asked.
        if let Some(time) = newest(batch) {
            session.advance_operation_time(time.into());
        }
        Ok(Some(session))
    }

    /// How many documents to ask for next, so that they fit.
    fn step(&self) -> usize {
        match self.document_bytes {
            Some(bytes) => (PART_BYTES_MAX / bytes.max(1)).clamp(STEP_MIN, KEYS_MAX),
            None => STEP_MIN,
        }
    }

    async fn look_up_step(
        &mut self,
        session: &mut ClientSession,
        batch: &mut Batch,
        step: &[usize],
        counts: &mut Counts,
    ) -> Result<(), DatabaseError> {
        let (bytes_before, documents_before) = (batch.looked_up_byte_count(), counts.documents);
        for (namespace, wanted) in wanted(batch, step) {
            look_up_chunk(session, &namespace, wanted.keys.into_values().collect(), batch, counts).await?;
        }
        let bytes = batch.looked_up_byte_count() - bytes_before;
        self.document_bytes = bytes.checked_div(counts.documents - documents_before).or(self.document_bytes);
        Ok(())
    }
}

/// The changes that wait for their document, by their place in the batch.
fn wanting(batch: &Batch, wants: &Wants<'_>) -> Vec<usize> {
    let waits = |entry: Result<Entry<'_>, DecodeError>| match entry {
        Ok(Entry::Change(change)) => {
            matches!(change.operation, Operation::Update) && matches!(change.after, Image::Unknown) && wants(&change)
        }
        Ok(Entry::Notice(_)) | Err(_) => false,
    };
    batch.entries().enumerate().filter_map(|(index, entry)| waits(entry).then_some(index)).collect()
}

/// The cluster time of the last change.
fn newest(batch: &Batch) -> Option<ClusterTime> {
    let times = batch.entries().filter_map(|entry| match entry {
        Ok(Entry::Change(change)) => Some(change.cluster_time),
        Ok(Entry::Notice(_)) | Err(_) => None,
    });
    times.max()
}

fn wanted(batch: &Batch, step: &[usize]) -> HashMap<Namespace, Wanted> {
    let mut wanted: HashMap<Namespace, Wanted> = HashMap::new();
    for &index in step {
        let Some(Ok(Entry::Change(change))) = batch.entry(index) else { continue };
        let namespace = Namespace { database: change.database.to_owned(), collection: change.collection.to_owned() };
        let keys = &mut wanted.entry(namespace).or_default().keys;
        let new = || Key { document: change.key.to_owned(), changes: Vec::new() };
        keys.entry(change.key.as_bytes().to_vec()).or_insert_with(new).changes.push(index);
    }
    wanted
}

async fn look_up_chunk(
    session: &mut ClientSession,
    namespace: &Namespace,
    chunk: Vec<Key>,
    batch: &mut Batch,
    counts: &mut Counts,
) -> Result<(), DatabaseError> {
    let collection = session.client().database(&namespace.database).collection::<RawDocumentBuf>(&namespace.collection);
    let told = |error: mongodb::error::Error| DatabaseError::new(&error);
    let batch_size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
    let find = collection.find(filter(&chunk)).batch_size(batch_size).session(&mut *session);
    let mut cursor = find.await.map_err(told)?;
    let documents: Vec<RawDocumentBuf> = cursor.stream(&mut *session).try_collect().await.map_err(told)?;
    let mut by_id: HashMap<Vec<u8>, Vec<Arc<RawDocumentBuf>>> = HashMap::new();
    for document in documents {
        if let Some(id) = id_bytes(&document) {
            by_id.entry(id).or_default().push(Arc::new(document));
        }
    }
    for key in chunk {
        let candidates = id_bytes(&key.document).and_then(|id| by_id.get(&id));
        let found = candidates.and_then(|documents| documents.iter().find(|document| has_key(document, &key.document)));
        counts.documents += usize::from(found.is_some());
        let (count, look_up) = match found {
            Some(document) => (&mut counts.found, LookUp::Found(document.clone())),
            None => (&mut counts.gone, LookUp::Gone),
        };
        *count += key.changes.len() as u64;
        batch.attach(&key.changes, &look_up);
    }
    Ok(())
}

/// By `_id` alone where that is the whole key; by the full key on a sharded collection, so that one shard answers and an `_id`
/// that two shards use is not mixed up.
fn filter(chunk: &[Key]) -> Document {
    let is_plain = chunk.iter().all(|key| key.document.iter().count() == 1);
    if is_plain {
        let ids: Vec<Bson> = chunk.iter().filter_map(|key| id(&key.document)).collect();
        return doc! {"_id": {"$in": ids}};
    }
    let keys: Vec<Document> =
        chunk.iter().filter_map(|key| Document::try_from(key.document.as_ref()).ok()).map(exact).collect();
    doc! {"$or": keys}
}

/// `{field: {$eq: value}}`, so that no value of a key is taken for an operator.
fn exact(key: Document) -> Document {
    key.into_iter().map(|(name, value)| (name, Bson::Document(doc! {"$eq": value}))).collect()
}

fn id(document: &RawDocument) -> Option<Bson> {
    let value = document.get("_id").ok().flatten()?;
    Bson::try_from(RawBson::from(value)).ok()
}

fn id_bytes(document: &RawDocument) -> Option<Vec<u8>> {
    let mut bytes = RawDocumentBuf::new();
    bytes.append(bson::cstr!("_id"), document.get("_id").ok().flatten()?);
    Some(bytes.as_bytes().to_vec())
}

/// True if every field of the key has the same value in the document. A missing field equals null, as in a shard key.
fn has_key(document: &RawDocument, key: &RawDocument) -> bool {
    key.iter().all(|element| {
        element.is_ok_and(|(name, value)| match at_path(document, name.as_str()) {
            Some(found) => found == value,
            None => value == RawBsonRef::Null,
        })
    })
}

fn at_path<'d>(document: &'d RawDocument, path: &str) -> Option<RawBsonRef<'d>> {
    if let Ok(Some(value)) = document.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    at_path(document.get(first).ok().flatten()?.as_document()?, rest)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn key(document: RawDocumentBuf) -> Key {
        Key { document, changes: Vec::new() }
    }

    #[test]
    fn a_plain_key_is_asked_for_by_id_and_a_shard_key_in_full() {
        assert_eq!(filter(&[key(rawdoc! {"_id": 1}), key(rawdoc! {"_id": "a"})]), doc! {"_id": {"$in": [1, "a"]}});
        assert_eq!(
            filter(&[key(rawdoc! {"region": {"$ne": 1}, "_id": 1})]),
            doc! {"$or": [{"region": {"$eq": {"$ne": 1}}, "_id": {"$eq": 1}}]}
        );
    }

    #[test]
    fn a_document_belongs_to_a_key_if_all_its_fields_are_equal() {
        let document = rawdoc! {"_id": 1, "address": {"country": "fr"}};
        assert!(has_key(&document, &rawdoc! {"address.country": "fr", "_id": 1}));
        assert!(has_key(&document, &rawdoc! {"missing": null, "_id": 1}));
        assert!(!has_key(&document, &rawdoc! {"address.country": "de", "_id": 1}));
    }
}
