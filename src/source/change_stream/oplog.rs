//! The first and last entry of the oplog, where we may read them.

use async_trait::async_trait;
use bson::{Document, RawDocumentBuf, doc};
use mongodb::Client;

use crate::mongo_client::DatabaseError;
use crate::position::ClusterTime;
use crate::source::{Observer, OplogWindow};

/// Asks the oplog beside the reading, over connections of its own from the client's pool.
#[derive(Debug)]
pub(super) struct OplogObserver {
    pub client: Client,
}

#[async_trait]
impl Observer for OplogObserver {
    async fn window(&self) -> Option<OplogWindow> {
        let first = oldest(&self.client).await.ok()??;
        let last = entry(&self.client, -1).await.ok()??;
        Some(OplogWindow { first, last })
    }
}

/// The oldest entry of the oplog; `None` if there is no oplog to read (behind `mongos`).
pub(super) async fn oldest(client: &Client) -> Result<Option<ClusterTime>, DatabaseError> {
    entry(client, 1).await
}

async fn entry(client: &Client, direction: i32) -> Result<Option<ClusterTime>, DatabaseError> {
    let oplog = client.database("local").collection::<RawDocumentBuf>("oplog.rs");
    let options: Document = doc! {"$natural": direction};
    let found = oplog.find_one(doc! {}).sort(options).projection(doc! {"_id": 0, "ts": 1}).await;
    let found = found.map_err(|error| DatabaseError::new(&error))?;
    Ok(found.and_then(|entry| entry.get_timestamp("ts").ok()).map(ClusterTime::from))
}
