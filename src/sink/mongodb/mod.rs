//! Documents in a collection of MongoDB: the events table.
//!
//! Every event is there once, because its id is the `_id`. What is sent again after a failure or a restart is found by its
//! id, and only what is missing is inserted.

mod document;
mod fault;
mod insertion;

use std::sync::Arc;

use async_trait::async_trait;
use bson::RawDocumentBuf;
use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use fault::{Place, connection_fault};
use insertion::{EventsTable, Failure, TransactionSession};

use super::envelope::Envelope;
use super::settings::WrittenCollection;
use super::{Sink, SinkError, TransactionalWrite, Undelivered};
use crate::event::Event;
use crate::mongo_client::{self, Deployment, DeploymentKind, is_same_deployment};
use crate::namespace::Namespace;
use crate::secret::Secret;

/// One document per event in a collection; `_id` is the event's id, so that every event is there once. Sort by `sequence` to
/// read them in their order.
///
/// In the deployment that also holds the checkpoint, events and checkpoint are written in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MongodbSettings {
    /// The collection, for example `shop.events`. No rule may watch it.
    pub collection: Namespace,
    /// The connection string; default: that of the source.
    #[serde(default)]
    pub uri: Option<Secret>,
}

impl MongodbSettings {
    pub(super) fn written_collection(&self, source_uri: &Secret) -> WrittenCollection<'_> {
        let in_source = self.uri.as_ref().is_none_or(|uri| uri == source_uri);
        WrittenCollection { collection: &self.collection, in_source }
    }
}

/// Inserts every event as one document.
pub struct MongodbSink {
    place: Place,
    uri: Secret,
    is_in_source: bool,
    envelope: Envelope,
    connection: Option<Connection>,
}

struct Connection {
    table: EventsTable,
    deployment: Deployment,
    transactions: TransactionSession,
}

impl MongodbSink {
    /// The sink `name`; nothing is connected yet. `source_uri` is used if the settings have no connection string.
    pub fn new(name: &str, settings: &MongodbSettings, envelope: &Envelope, source_uri: &Secret) -> Self {
        Self {
            place: Place { sink: name.to_owned(), collection: settings.collection.clone() },
            uri: settings.uri.clone().unwrap_or_else(|| source_uri.clone()),
            is_in_source: settings.uri.is_none(),
            envelope: envelope.clone(),
            connection: None,
        }
    }

    async fn connect(&self) -> Result<Connection, SinkError> {
        let client = mongo_client::connect(&self.uri).await.map_err(|error| connection_fault(&self.place, error))?;
        let deployment = Deployment::find(&client).await.map_err(|error| self.place.fault(error))?;
        let table = EventsTable::new(&client, &self.place.collection);
        table.create().await.map_err(|error| self.place.fault(error))?;
        let transactions = TransactionSession::start(&client).await.map_err(|error| self.place.fault(error))?;
        Ok(Connection { table, deployment, transactions })
    }

    /// The documents of the events before the first that can not become one, and why that one can not.
    fn documents_of(&self, events: &[Arc<Event>]) -> (Vec<RawDocumentBuf>, Option<SinkError>) {
        let mut documents = Vec::with_capacity(events.len());
        for event in events {
            let reason = match document::document_of(event, &self.envelope) {
                Some(document) if document.as_bytes().len() <= document::DOCUMENT_BYTES_MAX => {
                    documents.push(document);
                    continue;
                }
                Some(_) => "as a document it is larger than the 16 MiB that MongoDB takes",
                None => "its data is not valid BSON",
            };
            return (documents, Some(self.place.rejection(reason)));
        }
        (documents, None)
    }

    /// Inserts the documents one after another, without a transaction.
    async fn insert(&mut self, documents: &[RawDocumentBuf]) -> Result<(), Undelivered> {
        if self.connection.is_none() {
            self.open().await.map_err(|error| Undelivered { delivered: 0, error })?;
        }
        let Some(connection) = &self.connection else { return Ok(()) };
        connection.table.insert(documents).await.map_err(|failure| self.undelivered(failure))
    }

    fn undelivered(&self, failure: Failure) -> Undelivered {
        match failure {
            Failure::Database(error) => Undelivered { delivered: 0, error: self.place.fault(error) },
            Failure::Refused { index, code } => {
                Undelivered { delivered: index, error: self.place.rejection(&self.place.refusal(code)) }
            }
            Failure::Fenced => Undelivered { delivered: 0, error: SinkError::Fenced },
            Failure::Restless => Undelivered {
                delivered: 0,
                error: SinkError::Unavailable {
                    sink: self.place.sink.clone(),
                    reason: "transactions fail again and again because others write to the same documents".to_owned(),
                    source: None,
                },
            },
        }
    }
}

#[async_trait]
impl Sink for MongodbSink {
    async fn open(&mut self) -> Result<(), SinkError> {
        if self.connection.is_none() {
            self.connection = Some(self.connect().await?);
        }
        Ok(())
    }

    async fn deliver(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered> {
        let (documents, rejected) = self.documents_of(events);
        self.insert(&documents).await?;
        match rejected {
            Some(error) => Err(Undelivered { delivered: documents.len(), error }),
            None => Ok(()),
        }
    }

    async fn deliver_joined(&mut self, events: &[Arc<Event>], write: &TransactionalWrite) -> Result<(), Undelivered> {
        let (documents, rejected) = self.documents_of(events);
        let refused = match rejected {
            Some(error) => Undelivered { delivered: documents.len(), error },
            None => {
                self.open().await.map_err(|error| Undelivered { delivered: 0, error })?;
                let Some(Connection { table, transactions, .. }) = &mut self.connection else { return Ok(()) };
                match table.insert_joined(transactions, &documents, write).await {
                    Ok(()) => return Ok(()),
                    Err(failure) => self.undelivered(failure),
                }
            }
        };
        // With one event refused nothing of the transaction is there. The write speaks of all events, so it has to wait; those
        // before the refused one are inserted without it, because they count as delivered.
        self.insert(&documents[..refused.delivered]).await?;
        Err(refused)
    }

    fn joins(&self, deployment: &str) -> bool {
        let Some(Connection { deployment: own, .. }) = &self.connection else { return false };
        if own.kind == DeploymentKind::Standalone {
            return false;
        }
        // An identity without an id is only good enough if the connection string is the same, too.
        own.identity == deployment && !own.is_identity_weak
            || self.is_in_source && is_same_deployment(&own.identity, deployment)
    }

    fn session(&self) -> Option<bson::Document> {
        self.connection.as_ref().map(|connection| connection.transactions.id().clone())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.connection = None;
        Ok(())
    }
}
