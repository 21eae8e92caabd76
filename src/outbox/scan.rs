//! Reads what outboxes hold.
//!
//! Changes after a checkpoint come anyway, so outboxes are read as they were at its time (a snapshot, which servers keep for
//! `minSnapshotHistoryWindowInSeconds`, from 5.0 on), without what has been cleaned up since. Where the server can not do that, they are read as
//! they are now: then some documents come twice, with the same ids.

use std::collections::{HashSet, VecDeque};

use async_trait::async_trait;
use bson::{Bson, Document, RawBson, RawDocument, RawDocumentBuf, doc};
use futures_util::{StreamExt, TryStreamExt};
use mongodb::Client;
use mongodb::raw_batch_cursor::RawBatchCursor;

use super::fault::fault;
use super::place::Place;
use super::{Occasion, OutboxError, Scan};
use crate::mongo_client::{DatabaseError, Deployment, DeploymentKind, ErrorClass};
use crate::position::ClusterTime;

/// Documents asked for at once.
const BATCH_SIZE: u32 = 500;
/// What a server says of a snapshot that it can not give just now, because of changes to the collection itself.
const SNAPSHOT_UNAVAILABLE: i32 = 246;

/// As of when outboxes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// As they were then, without what has been cleaned up since.
    Then(ClusterTime),
    /// All at once as they are.
    Snapshot(ClusterTime),
    /// As they are, one batch after the other; at least all that was committed at the time.
    Current(Option<ClusterTime>),
}

impl View {
    /// What to try, in this order.
    fn ladder(occasion: Occasion, now: Option<ClusterTime>) -> VecDeque<Self> {
        let then = match occasion {
            Occasion::Checkpoint(time) => Some(Self::Then(time)),
            Occasion::NoCheckpoint | Occasion::LostPosition => None,
        };
        then.into_iter().chain(now.map(Self::Snapshot)).chain([Self::Current(now)]).collect()
    }

    fn read_concern(self) -> Document {
        match self {
            Self::Then(time) | Self::Snapshot(time) => {
                doc! {"level": "snapshot", "atClusterTime": bson::Timestamp::from(time)}
            }
            Self::Current(Some(time)) => doc! {"level": "majority", "afterClusterTime": bson::Timestamp::from(time)},
            Self::Current(None) => doc! {"level": "majority"},
        }
    }
}

/// Reads one outbox after the other.
pub(super) struct MongodbScan {
    client: Client,
    /// Those that have not been read to their end.
    places: VecDeque<Place>,
    /// How to read them: the first, and if the server can not do that, the next.
    views: VecDeque<View>,
    is_sharded: bool,
    cursor: Option<RawBatchCursor>,
}

impl MongodbScan {
    /// Finds out how the outboxes can be read.
    pub(super) async fn begin(client: &Client, places: &[Place], occasion: Occasion) -> Result<Self, OutboxError> {
        let places: VecDeque<Place> = places.iter().filter(|place| place.is_read_on(occasion)).cloned().collect();
        let (mut views, mut is_sharded) = (VecDeque::new(), false);
        if let Some(first) = places.front() {
            let found = Deployment::find(client).await.map_err(|error| fault(first, error))?;
            views = View::ladder(occasion, found.time);
            is_sharded = found.kind == DeploymentKind::Sharded;
        }
        Ok(Self { client: client.clone(), places, views, is_sharded, cursor: None })
    }

    /// The next batch of an outbox; `None` at its end.
    async fn read(&mut self, place: &Place, view: View) -> Result<Option<Vec<RawDocumentBuf>>, DatabaseError> {
        let told = |error: mongodb::error::Error| DatabaseError::new(&error);
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            None => {
                let database = self.client.database(&place.collection.database);
                let command = find(place, view, self.is_sharded);
                let run = database.run_cursor_command(command).batch_size(BATCH_SIZE);
                self.cursor.insert(run.batch().await.map_err(told)?)
            }
        };
        let Some(batch) = cursor.next().await else { return Ok(None) };
        let batch = batch.map_err(told)?;
        let documents = batch.doc_slices().map_err(told)?.into_iter();
        let documents = documents.filter_map(|document| Some(document.ok()?.as_document()?.to_owned()));
        let documents: Vec<RawDocumentBuf> = documents.collect();
        match view {
            View::Then(_) if !documents.is_empty() => self.without_relayed(place, documents).await.map(Some),
            View::Then(_) | View::Snapshot(_) | View::Current(_) => Ok(Some(documents)),
        }
    }

    /// Leaves out what has been cleaned up since.
    async fn without_relayed(
        &mut self,
        place: &Place,
        mut documents: Vec<RawDocumentBuf>,
    ) -> Result<Vec<RawDocumentBuf>, DatabaseError> {
        let told = |error: mongodb::error::Error| DatabaseError::new(&error);
        let ids = documents.iter().filter_map(|document| {
            let id = document.get("_id").ok().flatten()?;
            Bson::try_from(RawBson::from(id)).ok()
        });
        let filter = place.unrelayed_of(ids.collect());
        let database = self.client.database(&place.collection.database);
        let collection = database.collection::<RawDocumentBuf>(&place.collection.collection);
        let found = collection.find(filter).projection(doc! {"_id": 1}).batch_size(BATCH_SIZE).await.map_err(told)?;
        let left: Vec<RawDocumentBuf> = found.try_collect().await.map_err(told)?;
        let left: HashSet<Vec<u8>> = left.iter().filter_map(|document| id_bytes(document)).collect();
        documents.retain(|document| id_bytes(document).is_some_and(|id| left.contains(&id)));
        Ok(documents)
    }

    /// True if the server may be able to do it in another way.
    fn may_step_down(&self, error: &DatabaseError) -> bool {
        let is_of_snapshots = match error.class() {
            ErrorClass::Refused => true,
            ErrorClass::Interrupted => error.code() == Some(SNAPSHOT_UNAVAILABLE),
            ErrorClass::Unreachable | ErrorClass::Authentication | ErrorClass::Unauthorized | ErrorClass::Client => {
                false
            }
        };
        is_of_snapshots && self.views.len() > 1
    }
}

#[async_trait]
impl Scan for MongodbScan {
    async fn next(&mut self) -> Result<Vec<(usize, RawDocumentBuf)>, OutboxError> {
        while let (Some(place), Some(view)) = (self.places.front().cloned(), self.views.front().copied()) {
            match self.read(&place, view).await {
                Ok(Some(documents)) if documents.is_empty() => {}
                Ok(Some(documents)) => {
                    return Ok(documents.into_iter().map(|document| (place.relay, document)).collect());
                }
                Ok(None) => {
                    self.cursor = None;
                    self.places.pop_front();
                }
                Err(error) if self.may_step_down(&error) => {
                    self.cursor = None;
                    self.views.pop_front();
                    tracing::info!(
                        collection = %place.collection,
                        error = %error,
                        "the outbox can not be read as it was; it is read as it is: some events may be repeated, with the same ids"
                    );
                }
                Err(error) => {
                    self.cursor = None;
                    return Err(fault(&place, error));
                }
            }
        }
        Ok(Vec::new())
    }
}

/// In the order of insertion: a server keeps its documents in it, whatever their ids are. Several shards have no such order in common.
fn find(place: &Place, view: View, is_sharded: bool) -> Document {
    let mut command = doc! {
        "find": &place.collection.collection,
        "filter": place.unrelayed(),
        "batchSize": BATCH_SIZE,
        "readConcern": view.read_concern(),
    };
    match is_sharded {
        true => command.insert("sort", doc! {"_id": 1}),
        false => command.insert("hint", doc! {"$natural": 1}),
    };
    command
}

fn id_bytes(document: &RawDocument) -> Option<Vec<u8>> {
    let mut bytes = RawDocumentBuf::new();
    bytes.append(bson::cstr!("_id"), document.get("_id").ok().flatten()?);
    Some(bytes.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_checkpoint_its_time_is_tried_first_and_what_is_there_now_last() {
        let (then, now) = (ClusterTime { seconds: 1, increment: 1 }, ClusterTime { seconds: 9, increment: 1 });
        let ladder = |occasion, now| Vec::from(View::ladder(occasion, now));
        let current = [View::Snapshot(now), View::Current(Some(now))];
        assert_eq!(ladder(Occasion::LostPosition, Some(now)), current);
        assert_eq!(ladder(Occasion::NoCheckpoint, Some(now)), current);
        let with_checkpoint = [View::Then(then), View::Snapshot(now), View::Current(Some(now))];
        assert_eq!(ladder(Occasion::Checkpoint(then), Some(now)), with_checkpoint);
        assert_eq!(ladder(Occasion::NoCheckpoint, None), [View::Current(None)]);
    }
}
