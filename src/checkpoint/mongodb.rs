//! Checkpoints in a collection of MongoDB, one document per connector.
//!
//! `{_id: name, version, epoch, owner: {host, pid, ..., expiresAt}, deployment, scope, position, savedAt}`. All times are
//! the server's. Every owner has an epoch of its own, one higher than the one before, and every write asks for it: a paused
//! process that wakes up finds another epoch and writes nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::options::{
    Acknowledgment, CollectionOptions, ReadConcern, ReadPreference, ReturnDocument, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection};

use super::process::Process;
use super::{Checkpoint, CheckpointError, Store};
use crate::mongo_client::{DatabaseError, Deployment, DeploymentKind, ErrorClass};
use crate::position::{Position, Resume};
use crate::transactional_write::TransactionalWrite;

/// The form of the document that this release writes.
const VERSION: i32 = 1;
/// How long the server waits for a majority.
const MAJORITY_TIMEOUT: Duration = Duration::from_secs(10);
/// The field that holds what is known of parity.
const PARITY: &str = "parity";
/// The code of a repeated `_id`.
const DUPLICATE_KEY: i32 = 11_000;

/// Keeps the checkpoint of one connector in a collection.
#[derive(Debug)]
pub struct MongodbStore {
    client: Client,
    collection: Collection<Document>,
    name: String,
    lease: Duration,
    process: Process,
    /// Tells this store from another one in the same process.
    instance: ObjectId,
    /// Our epoch; 0 until we are the owner.
    epoch: AtomicI64,
    /// Whether the collection is in the deployment of the source, reached with the same connection string.
    is_in_source: bool,
    /// The deployment that the collection is in.
    deployment: Mutex<Option<String>>,
}

impl MongodbStore {
    /// The checkpoint of the connector `name` in `database.collection`.
    pub fn new(client: &Client, database: &str, collection: &str, name: &str, lease: Duration) -> Self {
        let options = CollectionOptions::builder()
            .write_concern(WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(MAJORITY_TIMEOUT).build())
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        Self {
            client: client.clone(),
            collection: client.database(database).collection_with_options(collection, options),
            name: name.to_owned(),
            lease,
            process: Process::this(),
            instance: ObjectId::new(),
            epoch: AtomicI64::new(0),
            is_in_source: true,
            deployment: Mutex::new(None),
        }
    }

    /// The same, reached with a connection string of its own. Which deployment that is, is not always told for certain; so no
    /// sink is asked to save this checkpoint in its transactions.
    #[must_use]
    pub fn apart_from_source(self) -> Self {
        Self { is_in_source: false, ..self }
    }

    /// The document, with `isExpired` beside its fields; made if there is none.
    async fn document(&self) -> Result<Document, CheckpointError> {
        let find = async || {
            let is_expired = doc! {"$lte": ["$owner.expiresAt", "$$NOW"]};
            let pipeline = [doc! {"$match": {"_id": &self.name}}, doc! {"$set": {"isExpired": is_expired}}];
            self.collection.aggregate(pipeline).await?.try_next().await
        };
        if let Some(document) = find().await.map_err(|error| self.error(&error))? {
            return Ok(document);
        }
        let fresh = doc! {"_id": &self.name, "version": VERSION, "epoch": 0_i64};
        match self.collection.insert_one(&fresh).await {
            Ok(_) => Ok(fresh),
            Err(error) if DatabaseError::new(&error).code() == Some(DUPLICATE_KEY) => {
                let document = find().await.map_err(|error| self.error(&error))?;
                Ok(document.unwrap_or(fresh))
            }
            Err(error) => Err(self.error(&error)),
        }
    }

    /// Changes our document; nothing is written if it is not ours any more.
    async fn update(&self, update: Vec<Document>) -> Result<(), CheckpointError> {
        let updated = self.collection.update_one(self.filter(), update).await.map_err(|error| self.error(&error))?;
        match updated.matched_count {
            0 => Err(self.fenced().await),
            _ => Ok(()),
        }
    }

    fn filter(&self) -> Document {
        doc! {"_id": &self.name, "epoch": self.epoch.load(Ordering::Relaxed)}
    }

    fn expires_at(&self) -> Document {
        doc! {"$add": ["$$NOW", i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)]}
    }

    async fn fenced(&self) -> CheckpointError {
        let document = self.collection.find_one(doc! {"_id": &self.name}).await.ok().flatten();
        let owner = document.as_ref().and_then(|document| document.get_document("owner").ok());
        let owner = match (owner, &document) {
            (Some(owner), _) => Process::from_document(owner).to_string(),
            (None, Some(_)) => "another process, which has ended,".to_owned(),
            (None, None) => "somebody who removed it".to_owned(),
        };
        CheckpointError::Fenced { name: self.name.clone(), owner }
    }

    fn owned(&self, document: &Document) -> CheckpointError {
        let owner = document.get_document("owner").cloned().unwrap_or_default();
        let expires_at = owner.get_datetime("expiresAt").ok().copied();
        let until = expires_at.and_then(|time| time.try_to_rfc3339_string().ok()).unwrap_or_default();
        let owner = format!("{} (its lease runs until {until})", Process::from_document(&owner));
        // A document that we could not take, and that has no owner, was taken and left this very moment: ask again.
        let expires_at = Some(expires_at.unwrap_or(bson::DateTime::MIN));
        CheckpointError::Owned { name: self.name.clone(), owner, expires_at }
    }

    fn unusable(&self, reason: String, help: String) -> CheckpointError {
        CheckpointError::Unusable { reason, help, source: None }
    }

    fn error(&self, error: &mongodb::error::Error) -> CheckpointError {
        self.database_error(DatabaseError::new(error))
    }

    fn database_error(&self, error: DatabaseError) -> CheckpointError {
        let namespace = self.collection.namespace();
        let what = format!("the collection {namespace}");
        let (reason, help) = match error.class() {
            ErrorClass::Unreachable | ErrorClass::Interrupted => {
                let reason = format!("MongoDB does not answer for {what}");
                return CheckpointError::Unavailable { reason, source: Some(Box::new(error)) };
            }
            ErrorClass::Authentication => (
                format!("MongoDB does not accept the user that is to write {what}"),
                "check user, password and authSource of the connection string".to_owned(),
            ),
            ErrorClass::Unauthorized => (
                format!("the user may not read and write {what}"),
                format!(
                    "grant it: db.getSiblingDB(\"admin\").grantRolesToUser(\"<user>\", [{{role: \"readWrite\", db: \"{}\"}}]); or keep the checkpoint in a file: `checkpoint: {{file: state/position}}`",
                    namespace.db
                ),
            ),
            ErrorClass::Refused | ErrorClass::Client => (
                format!("MongoDB refuses to read or write {what}"),
                "choose another collection with `checkpoint.mongodb.collection`, or keep the checkpoint in a file: `checkpoint: {file: state/position}`".to_owned(),
            ),
        };
        CheckpointError::Unusable { reason, help, source: Some(Box::new(error)) }
    }

    fn parse(&self, document: &Document) -> Result<Option<Checkpoint>, CheckpointError> {
        let remove = format!(
            "if it was damaged, restore it or remove it to begin anew: db.getSiblingDB(\"{}\").getCollection(\"{}\").deleteOne({{_id: \"{}\"}})",
            self.collection.namespace().db,
            self.collection.namespace().coll,
            self.name
        );
        let version = document.get_i32("version").unwrap_or(VERSION);
        if version != VERSION {
            let reason = format!("its document has version {version}, and this release reads version {VERSION}");
            return Err(self.unusable(reason, "use the release that wrote it, or a newer one".to_owned()));
        }
        if !document.contains_key("position") {
            return Ok(None);
        }
        match checkpoint(document) {
            Some(checkpoint) => Ok(Some(checkpoint)),
            None => Err(self.unusable("its document does not hold a position that can be read".to_owned(), remove)),
        }
    }

    /// Asks once which deployment this is.
    async fn find_deployment(&self) -> Result<(), CheckpointError> {
        if !self.is_in_source || self.deployment().is_some() {
            return Ok(());
        }
        let found = match Deployment::find(&self.client).await {
            Ok(found) => Some(found).filter(|found| found.kind != DeploymentKind::Standalone),
            Err(error) if error.is_transient() => return Err(self.database_error(error)),
            Err(_) => None,
        };
        *self.deployment.lock().unwrap_or_else(PoisonError::into_inner) = found.map(|found| found.identity);
        Ok(())
    }

    /// Ends the transactions that an owner left behind. Otherwise the server does, after `transactionLifetimeLimitSeconds`.
    async fn end_sessions(&self, owner: &Document) {
        let Some(sessions) = owner.get_array("sessions").ok().filter(|sessions| !sessions.is_empty()) else { return };
        // Everybody may end sessions of the same user.
        let command = doc! {"killSessions": sessions.clone()};
        if let Err(error) = self.client.database("admin").run_command(command).await {
            tracing::debug!(error = %DatabaseError::new(&error), "the sessions of the owner before could not be ended");
        }
    }
}

#[async_trait]
impl Store for MongodbStore {
    async fn acquire(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        self.find_deployment().await?;
        let document = self.document().await?;
        self.parse(&document)?;
        let epoch = document.get_i64("epoch").unwrap_or_default();
        let mut filter = doc! {"_id": &self.name, "epoch": epoch};
        if let Ok(owner) = document.get_document("owner") {
            let is_ours = owner.get_object_id("instance").is_ok_and(|instance| instance == self.instance);
            let is_dead = !is_ours && Process::from_document(owner).is_dead();
            if !is_ours && !is_dead {
                filter.insert("$expr", doc! {"$lte": ["$owner.expiresAt", "$$NOW"]});
            }
            if is_dead || !is_ours && document.get_bool("isExpired").unwrap_or_default() {
                self.end_sessions(owner).await;
            }
        }
        let mut owner = self.process.document();
        owner.insert("instance", self.instance);
        let mut owner = Document::from_iter(owner.into_iter().map(|(name, value)| (name, literal(value))));
        owner.insert("expiresAt", self.expires_at());
        let next_epoch = epoch.wrapping_add(1);
        let update = vec![doc! {"$set": {"version": VERSION, "epoch": next_epoch, "owner": owner}}];
        let taken = self.collection.find_one_and_update(filter, update).return_document(ReturnDocument::After).await;
        match taken.map_err(|error| self.error(&error))? {
            Some(document) => {
                self.epoch.store(next_epoch, Ordering::Relaxed);
                self.parse(&document)
            }
            None => Err(self.owned(&document)),
        }
    }

    async fn renew(&self) -> Result<(), CheckpointError> {
        self.update(vec![doc! {"$set": {"owner.expiresAt": self.expires_at()}}]).await
    }

    async fn save(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let fields = fields(checkpoint).into_iter().map(|(name, value)| (name, literal(value)));
        let mut set = Document::from_iter(fields);
        if checkpoint.parity.is_none() {
            // Figures end where events are not compared any more: they could not be told from complete ones.
            set.insert(PARITY, "$$REMOVE");
        }
        set.insert("savedAt", "$$NOW");
        set.insert("owner.expiresAt", self.expires_at());
        self.update(vec![doc! {"$set": set}]).await
    }

    async fn release(&self) -> Result<(), CheckpointError> {
        if self.epoch.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        match self.update(vec![doc! {"$unset": "owner"}]).await {
            // Who is not the owner has nothing to give up.
            Err(CheckpointError::Fenced { .. }) => Ok(()),
            released => released,
        }
    }

    fn deployment(&self) -> Option<String> {
        self.deployment.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn note_session(&self, session: &Document) -> Result<(), CheckpointError> {
        let update = doc! {"$addToSet": {"owner.sessions": session}};
        let updated = self.collection.update_one(self.filter(), update).await.map_err(|error| self.error(&error))?;
        match updated.matched_count {
            0 => Err(self.fenced().await),
            _ => Ok(()),
        }
    }

    fn transactional_write(&self, checkpoint: &Checkpoint) -> Option<TransactionalWrite> {
        let namespace = self.collection.namespace();
        let mut update = doc! {"$set": fields(checkpoint), "$currentDate": {"savedAt": true}};
        if checkpoint.parity.is_none() {
            update.insert("$unset", doc! {PARITY: ""});
        }
        Some(TransactionalWrite { database: namespace.db, collection: namespace.coll, filter: self.filter(), update })
    }
}

/// A value that a pipeline update takes as it is, whatever `$` it holds.
fn literal(value: Bson) -> Bson {
    doc! {"$literal": value}.into()
}

fn fields(checkpoint: &Checkpoint) -> Document {
    let position = &checkpoint.position;
    let mut document = doc! {"time": bson::Timestamp::from(position.time)};
    match &position.resume {
        Resume::After(token) => insert_token(&mut document, "after", token),
        Resume::AfterInvalidate(token) => insert_token(&mut document, "afterInvalidate", token),
        Resume::AtTime => {}
    }
    let mut fields = doc! {"deployment": &checkpoint.deployment, "scope": &checkpoint.scope, "position": document};
    if let Some(bytes) = &checkpoint.parity {
        fields.insert(PARITY, bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: bytes.clone() });
    }
    fields
}

fn insert_token(document: &mut Document, field: &str, token: &RawDocumentBuf) {
    // A token that came from the server is valid BSON; were it not, the time would do.
    if let Ok(token) = Document::try_from(token.clone()) {
        document.insert(field, token);
    }
}

fn checkpoint(document: &Document) -> Option<Checkpoint> {
    let position = document.get_document("position").ok()?;
    let time = position.get_timestamp("time").ok()?.into();
    let token = |field: &str| {
        let token = position.get(field)?.as_document();
        Some(token.and_then(|token| RawDocumentBuf::try_from(token).ok()))
    };
    let resume = match (token("after"), token("afterInvalidate")) {
        (Some(token), _) => Resume::After(token?),
        (None, Some(token)) => Resume::AfterInvalidate(token?),
        (None, None) => Resume::AtTime,
    };
    Some(Checkpoint {
        deployment: document.get_str("deployment").ok()?.to_owned(),
        scope: document.get_str("scope").ok()?.to_owned(),
        position: Position { time, resume },
        parity: document.get_binary_generic(PARITY).ok().cloned(),
    })
}
