//! Looks documents up by their keys, many per query: a tenth of the price of the server's own `updateLookup`.

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Bson, Document, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, ClientSession};

use crate::change::{Batch, Entry, Image, LookUp, Operation};
use crate::mongo_client::DatabaseError;
use crate::namespace::Namespace;
use crate::position::ClusterTime;
use crate::source::Wants;

/// Keys per query.
const KEYS_MAX: usize = 500;

/// How many documents were found, and how many are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub found: u64,
    pub gone: u64,
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

/// Attaches to every update that `wants` asks for the document as it is now.
pub(super) async fn look_up(client: &Client, batch: &mut Batch, wants: &Wants<'_>) -> Result<Counts, DatabaseError> {
    let mut counts = Counts::default();
    let wanted = wanted(batch, wants);
    if wanted.is_empty() {
        return Ok(counts);
    }
    let mut session = client.start_session().await.map_err(|error| DatabaseError::new(&error))?;
    // A secondary that the URI prefers may be behind the stream: it must have the changes before it is asked.
    if let Some(time) = newest(batch) {
        session.advance_operation_time(time.into());
    }
    for (namespace, wanted) in wanted {
        let mut keys = wanted.keys.into_values();
        loop {
            let chunk: Vec<Key> = keys.by_ref().take(KEYS_MAX).collect();
            if chunk.is_empty() {
                break;
            }
            look_up_chunk(&mut session, &namespace, chunk, batch, &mut counts).await?;
        }
    }
    Ok(counts)
}

/// The cluster time of the last change.
fn newest(batch: &Batch) -> Option<ClusterTime> {
    let times = batch.entries().filter_map(|entry| match entry {
        Ok(Entry::Change(change)) => Some(change.cluster_time),
        Ok(Entry::Notice(_)) | Err(_) => None,
    });
    times.max()
}

fn wanted(batch: &Batch, wants: &Wants<'_>) -> HashMap<Namespace, Wanted> {
    let mut wanted: HashMap<Namespace, Wanted> = HashMap::new();
    for (index, entry) in batch.entries().enumerate() {
        let Ok(Entry::Change(change)) = entry else { continue };
        if !matches!(change.operation, Operation::Update) || !matches!(change.after, Image::Unknown) || !wants(&change)
        {
            continue;
        }
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
