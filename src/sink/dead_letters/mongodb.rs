//! Dead letters as documents in a collection of MongoDB.

use async_trait::async_trait;
use bson::{Document, doc};
use mongodb::Collection;
use mongodb::options::{CollectionOptions, WriteConcern};
use tokio::sync::OnceCell;

use super::super::envelope::Envelope;
use super::super::mongodb::{MongodbSettings, Place, connection_fault};
use super::super::{DeadLetter, DeadLetters, SinkError};
use super::NAME;
use super::letter::{write_whole_document, write_whole_event};
use crate::mongo_client::{self, DatabaseError, Deployment};
use crate::secret::Secret;

/// The server takes no document that is larger; something is left for the other fields.
const TEXT_BYTES_MAX: usize = 15 * 1024 * 1024;

/// Inserts every letter as one document. Event and change are texts of canonical Extended JSON in it: whatever made MongoDB
/// refuse the event itself does not matter then.
pub struct MongodbDeadLetters {
    place: Place,
    uri: Secret,
    envelope: Envelope,
    letters: OnceCell<Collection<Document>>,
}

impl MongodbDeadLetters {
    /// Dead letters in a collection. `source_uri` is used if the settings have no connection string.
    pub fn new(settings: &MongodbSettings, envelope: &Envelope, source_uri: &Secret) -> Self {
        Self {
            place: Place { sink: NAME.to_owned(), collection: settings.collection.clone() },
            uri: settings.uri.clone().unwrap_or_else(|| source_uri.clone()),
            envelope: envelope.clone(),
            letters: OnceCell::new(),
        }
    }

    async fn letters(&self) -> Result<&Collection<Document>, SinkError> {
        self.letters.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Collection<Document>, SinkError> {
        let client = mongo_client::connect(&self.uri).await.map_err(|error| connection_fault(&self.place, error))?;
        Deployment::find(&client).await.map_err(|error| self.place.fault(error))?;
        let options = CollectionOptions::builder().write_concern(WriteConcern::majority()).build();
        let namespace = &self.place.collection;
        Ok(client.database(&namespace.database).collection_with_options(&namespace.collection, options))
    }

    fn document_of(&self, letter: &DeadLetter) -> Document {
        let mut document = doc! {"connector": self.envelope.name()};
        if let Some(sink) = &letter.sink {
            document.insert("sink", sink);
        }
        if let Some(rule) = &letter.rule {
            document.insert("rule", &**rule);
        }
        document.insert("reason", &letter.reason);
        document.insert("at", letter.at);
        if let Some(event) = &letter.event {
            document.insert("database", &*event.database);
            document.insert("collection", &*event.collection);
            document.insert("event_id", event.id.to_string());
            document.insert("event", text(|out| write_whole_event(out, event, &self.envelope)));
        }
        if let Some(change) = &letter.change {
            document.insert("change", text(|out| write_whole_document(out, change)));
        }
        document
    }
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[async_trait]
impl DeadLetters for MongodbDeadLetters {
    async fn open(&self) -> Result<(), SinkError> {
        self.letters().await.map(|_| ())
    }

    async fn put(&self, letter: &DeadLetter) -> Result<(), SinkError> {
        let document = self.document_of(letter);
        let text_byte_count =
            ["event", "change"].iter().filter_map(|name| document.get_str(name).ok()).map(str::len).sum();
        if TEXT_BYTES_MAX < text_byte_count {
            return Err(SinkError::Unusable {
                sink: self.place.sink.clone(),
                reason: "a dead letter is larger than the 16 MiB that MongoDB takes".to_owned(),
                help: "keep dead letters in a file: dead_letters: {file: <path>}".to_owned(),
                source: None,
            });
        }
        let inserted = self.letters().await?.insert_one(document).await;
        inserted.map(|_| ()).map_err(|error| self.place.fault(DatabaseError::new(&error)))
    }
}
