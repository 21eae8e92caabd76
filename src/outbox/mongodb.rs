//! Outboxes in MongoDB.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::{Acknowledgment, CollectionOptions, WriteConcern};
use mongodb::{Client, Collection};

use super::fault::fault;
use super::place::{Place, Upkeep};
use super::preparation;
use super::pull;
use super::scan::MongodbScan;
use super::{Occasion, OutboxError, Outboxes, Scan};
use crate::explicit::{Done, RelaySettings};
use crate::mongo_client::{DatabaseError, Privileges};

/// Documents cleaned up by one command.
const COMMAND_DOCUMENTS_MAX: usize = 1_000;
/// Bytes of ids in one command, far below what the server takes.
const COMMAND_BYTES_MAX: usize = 4 << 20;
/// How long the server waits for a majority.
const MAJORITY_TIMEOUT_MS: u32 = 10_000;

/// The outboxes of one connector.
#[derive(Debug)]
pub struct MongodbOutboxes {
    client: Client,
    places: Vec<Place>,
}

impl MongodbOutboxes {
    /// What there is to do for these relays; `None` if nothing is to be read or cleaned up for any.
    pub fn new(client: &Client, relays: &[RelaySettings]) -> Option<Self> {
        let places = relays.iter().enumerate().filter_map(|(number, settings)| Place::new(number, settings));
        let places: Vec<Place> = places.collect();
        (!places.is_empty()).then(|| Self { client: client.clone(), places })
    }

    /// What stands in the way of the clean-up: missing permissions, an index with other options. Nothing is written.
    pub async fn problems(&self) -> Vec<OutboxError> {
        let mut problems = Vec::new();
        let privileges = self.privileges().await;
        for place in &self.places {
            problems.extend(preparation::inspect(&self.client, place, privileges.as_ref()).await.err());
        }
        problems
    }

    /// `None` also where they can not be asked for: then what is forbidden shows when it is done.
    async fn privileges(&self) -> Option<Privileges> {
        Privileges::find(&self.client).await.ok().flatten()
    }

    fn collection(&self, place: &Place) -> Collection<RawDocumentBuf> {
        // What is cleaned up must stay so if the primary changes: the position goes past it.
        let timeout = Duration::from_millis(MAJORITY_TIMEOUT_MS.into());
        let majority = WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(timeout).build();
        let options = CollectionOptions::builder().write_concern(majority).build();
        let database = self.client.database(&place.collection.database);
        database.collection_with_options(&place.collection.collection, options)
    }

    /// Takes elements out of their arrays, with one update for each document.
    async fn pull(&self, place: &Place, path: &str, ids: &[String], done: &[&Done]) -> Result<(), DatabaseError> {
        for chunk in chunks(done) {
            let command = doc! {
                "update": &place.collection.collection,
                "updates": pull::updates(path, ids, chunk),
                "ordered": false,
                "writeConcern": {"w": "majority", "wtimeout": MAJORITY_TIMEOUT_MS},
            };
            let reply = self.client.database(&place.collection.database).run_command(command).await;
            let reply = reply.map_err(|error| DatabaseError::new(&error))?;
            if let Some(error) = DatabaseError::of_writes(&reply) {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn clean_up_place(&self, place: &Place, done: &[&Done]) -> Result<(), DatabaseError> {
        let told = |error: mongodb::error::Error| DatabaseError::new(&error);
        if let Upkeep::Pull { path, ids } = &place.upkeep {
            return self.pull(place, path, ids, done).await;
        }
        let collection = self.collection(place);
        for chunk in chunks(done) {
            let ids: Vec<Bson> = chunk.iter().filter_map(|one| Bson::try_from(one.document.clone()).ok()).collect();
            match &place.upkeep {
                Upkeep::Keep | Upkeep::Pull { .. } => {}
                Upkeep::Delete => {
                    collection.delete_many(doc! {"_id": {"$in": ids}}).await.map_err(told)?;
                }
                Upkeep::Mark { field, .. } => {
                    let update: Document = doc! {"$currentDate": {field: true}};
                    // What was marked before must not live longer for it.
                    collection.update_many(place.unrelayed_of(ids), update).await.map_err(told)?;
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Outboxes for MongodbOutboxes {
    async fn prepare(&self) -> Result<(), OutboxError> {
        let privileges = self.privileges().await;
        for place in &self.places {
            preparation::inspect(&self.client, place, privileges.as_ref()).await?;
            preparation::make_index(&self.client, place).await?;
        }
        Ok(())
    }

    async fn scan(&self, occasion: Occasion) -> Result<Box<dyn Scan>, OutboxError> {
        Ok(Box::new(MongodbScan::begin(&self.client, &self.places, occasion).await?))
    }

    async fn clean_up(&self, done: &[Done]) -> Result<(), OutboxError> {
        let mut by_relay: BTreeMap<usize, Vec<&Done>> = BTreeMap::new();
        for one in done {
            by_relay.entry(one.relay).or_default().push(one);
        }
        for (relay, done) in by_relay {
            if let Some(place) = self.places.iter().find(|place| place.relay == relay) {
                self.clean_up_place(place, &done).await.map_err(|error| fault(place, error))?;
            }
        }
        Ok(())
    }
}

/// Parts that one command can hold each, in order.
fn chunks<'c, 'd>(mut done: &'c [&'d Done]) -> impl Iterator<Item = &'c [&'d Done]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = done.iter().take(COMMAND_DOCUMENTS_MAX).take_while(|one| {
            bytes += one.byte_count();
            bytes <= COMMAND_BYTES_MAX
        });
        let count = fitting.count().max(1).min(done.len());
        let (chunk, rest) = done.split_at(count);
        done = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use bson::RawBson;

    use super::*;

    #[test]
    fn a_command_holds_no_more_than_the_server_takes_and_nothing_is_left_out() {
        let large = Done { relay: 0, document: RawBson::String("x".repeat(3 << 20)), element: None };
        let small = Done { relay: 0, document: RawBson::Int32(1), element: None };
        let sizes = |done: &[&Done]| chunks(done).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), [0_usize; 0]);
        assert_eq!(sizes(&vec![&small; 2_500]), [1_000, 1_000, 500]);
        assert_eq!(sizes(&[&large, &large, &small]), [1, 2]);
        let huge = Done { relay: 0, document: RawBson::String("x".repeat(9 << 20)), element: None };
        assert_eq!(sizes(&[&huge, &small]), [1, 1]);
    }
}
