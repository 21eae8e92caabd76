//! Inserting what is missing, alone or in one transaction with the checkpoint.

use std::collections::HashSet;

use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::error::{
    Error, ErrorKind, IndexedWriteError, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
};
use mongodb::options::{CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, ClientSession, Collection};

use super::super::TransactionalWrite;
use crate::mongo_client::DatabaseError;
use crate::namespace::Namespace;

/// The server's code for a second document with the same value in a unique index.
pub(super) const DUPLICATE_KEY: i32 = 11_000;

/// The server's code for a collection that is there already.
const NAMESPACE_EXISTS: i32 = 48;

/// How often an insert or a transaction is tried before the pipeline is asked to pause.
const ATTEMPTS: usize = 5;

/// Why events were not inserted.
#[derive(Debug)]
pub(super) enum Failure {
    /// The operation failed as a whole.
    Database(DatabaseError),
    /// The server refuses one document for good; those before it are inserted (without a transaction).
    Refused { index: usize, code: i32 },
    /// The write that was to be joined found no document.
    Fenced,
    /// Others got in the way every time.
    Restless,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Database(DatabaseError::new(&error))
    }
}

/// The collection, with the concerns that make "inserted" mean durable.
#[derive(Debug)]
pub(super) struct EventsTable {
    events: Collection<RawDocumentBuf>,
}

/// The session that runs every transaction of a sink.
pub(super) struct TransactionSession {
    session: ClientSession,
    /// A transaction was begun and not ended, because its delivery was dropped in the middle.
    is_cut_off: bool,
}

impl TransactionSession {
    pub(super) async fn start(client: &Client) -> Result<Self, DatabaseError> {
        let session = client.start_session().await.map_err(|error| DatabaseError::new(&error))?;
        Ok(Self { session, is_cut_off: false })
    }

    /// The logical session's id (`lsid`).
    pub(super) fn id(&self) -> &Document {
        self.session.id()
    }
}

/// What came of one attempt, where it is neither success nor failure.
enum Attempt {
    Done,
    /// The document at `index` (of those that were tried) is there already, or another unique index refuses it.
    Duplicate {
        index: usize,
    },
    /// The transaction was aborted by the server and may succeed when it is tried again.
    Again,
}

impl EventsTable {
    pub(super) fn new(client: &Client, namespace: &Namespace) -> Self {
        // The connection string may ask for less; events need this much.
        let options = CollectionOptions::builder()
            .write_concern(WriteConcern::majority())
            .read_concern(ReadConcern::local())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        Self { events: client.database(&namespace.database).collection_with_options(&namespace.collection, options) }
    }

    /// Creates the collection if it is not there: before MongoDB 4.4 a transaction can not.
    pub(super) async fn create(&self) -> Result<(), DatabaseError> {
        let namespace = self.events.namespace();
        let created = self.events.client().database(&namespace.db).create_collection(namespace.coll).await;
        match created.as_ref().map_err(DatabaseError::new) {
            // Whoever may insert need not be allowed to create; if it is not there, the first insert will tell.
            Err(error) if matches!(error.code(), Some(NAMESPACE_EXISTS | 13)) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Inserts the documents in order, except those whose `_id` is there already.
    pub(super) async fn insert(&self, documents: &[RawDocumentBuf]) -> Result<(), Failure> {
        let mut missing: Vec<usize> = (0..documents.len()).collect();
        for _ in 0..ATTEMPTS {
            if missing.is_empty() {
                return Ok(());
            }
            let inserted = self.events.insert_many(missing.iter().map(|index| &documents[*index])).await;
            match attempt(inserted.err(), &missing)? {
                Attempt::Done => return Ok(()),
                Attempt::Again => {}
                Attempt::Duplicate { index } => {
                    // Those before it were inserted just now.
                    missing.drain(..index);
                    self.drop_repeats(documents, &mut missing).await?;
                }
            }
        }
        Err(Failure::Restless)
    }

    /// Inserts the documents that are not there yet, and runs `write`, in one transaction.
    pub(super) async fn insert_joined(
        &self,
        transactions: &mut TransactionSession,
        documents: &[RawDocumentBuf],
        write: &TransactionalWrite,
    ) -> Result<(), Failure> {
        if transactions.is_cut_off {
            abort(&mut transactions.session).await;
        }
        transactions.is_cut_off = true;
        let inserted = self.insert_in_transaction(&mut transactions.session, documents, write).await;
        transactions.is_cut_off = false;
        inserted
    }

    async fn insert_in_transaction(
        &self,
        session: &mut ClientSession,
        documents: &[RawDocumentBuf],
        write: &TransactionalWrite,
    ) -> Result<(), Failure> {
        let mut missing: Vec<usize> = (0..documents.len()).collect();
        for _ in 0..ATTEMPTS {
            match self.try_joined(session, documents, &missing, write).await? {
                Attempt::Done => return Ok(()),
                Attempt::Again => {}
                Attempt::Duplicate { index } => {
                    // Nothing of the transaction is there, but those before it would have been taken.
                    let taken = missing.drain(..index).collect::<Vec<usize>>();
                    self.drop_repeats(documents, &mut missing).await?;
                    missing.splice(..0, taken);
                }
            }
        }
        Err(Failure::Restless)
    }

    async fn try_joined(
        &self,
        session: &mut ClientSession,
        documents: &[RawDocumentBuf],
        missing: &[usize],
        write: &TransactionalWrite,
    ) -> Result<Attempt, Failure> {
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let start = session.start_transaction().write_concern(WriteConcern::majority());
        start.read_concern(ReadConcern::snapshot()).selection_criteria(primary).await?;
        // First, because it finds out at once whether another process has taken over.
        let target = session.client().database(&write.database).collection::<Document>(&write.collection);
        let written = target.update_one(write.filter.clone(), write.update.clone()).session(&mut *session).await;
        match written {
            Ok(written) if written.matched_count == 0 => {
                abort(session).await;
                return Err(Failure::Fenced);
            }
            Ok(_) => {}
            Err(error) => {
                abort(session).await;
                return attempt(Some(error), &[]);
            }
        }
        if !missing.is_empty() {
            let tried = missing.iter().map(|index| &documents[*index]);
            let inserted = self.events.insert_many(tried).session(&mut *session).await;
            if let Err(error) = inserted {
                abort(session).await;
                return attempt(Some(error), missing);
            }
        }
        commit(session).await
    }

    /// Drops from `missing`, whose first was refused as a duplicate, all whose `_id` is in the collection.
    async fn drop_repeats(&self, documents: &[RawDocumentBuf], missing: &mut Vec<usize>) -> Result<(), Failure> {
        let refused = missing[0];
        let id_of = |index: &usize| documents[*index].get_str("_id").unwrap_or_default();
        let ids: Vec<&str> = missing.iter().map(id_of).collect();
        let found = self.events.find(doc! {"_id": {"$in": ids}}).projection(doc! {"_id": 1}).await?;
        let found: HashSet<String> = found
            .try_filter_map(|found| async move { Ok(found.get_str("_id").ok().map(str::to_owned)) })
            .try_collect()
            .await?;
        missing.retain(|index| !found.contains(id_of(index)));
        // The duplicate was not in `_id`, so it is none of ours.
        if missing.first() == Some(&refused) {
            return Err(Failure::Refused { index: refused, code: DUPLICATE_KEY });
        }
        Ok(())
    }
}

/// Sorts the outcome of an ordered insert of the documents `tried`.
fn attempt(error: Option<Error>, tried: &[usize]) -> Result<Attempt, Failure> {
    let Some(error) = error else { return Ok(Attempt::Done) };
    if error.contains_label(TRANSIENT_TRANSACTION_ERROR) {
        return Ok(Attempt::Again);
    }
    let told = DatabaseError::new(&error);
    let Some(refused) = refused_document(&error).filter(|_| !told.is_transient()) else {
        return Err(Failure::Database(told));
    };
    match refused.code {
        DUPLICATE_KEY => Ok(Attempt::Duplicate { index: refused.index }),
        13 | 14_031 | 12_501 => Err(Failure::Database(told)),
        code => Err(Failure::Refused { index: tried.get(refused.index).copied().unwrap_or(0), code }),
    }
}

/// The document that the server refused; `None` if the failure is of another kind, or durability is in doubt as well.
fn refused_document(error: &Error) -> Option<&IndexedWriteError> {
    match error.kind.as_ref() {
        ErrorKind::InsertMany(many) if many.write_concern_error.is_none() => many.write_errors.as_ref()?.first(),
        _ => None,
    }
}

async fn commit(session: &mut ClientSession) -> Result<Attempt, Failure> {
    let mut failure = Failure::Restless;
    for _ in 0..ATTEMPTS {
        match session.commit_transaction().await {
            Ok(()) => return Ok(Attempt::Done),
            Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => failure = error.into(),
            Err(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => return Ok(Attempt::Again),
            Err(error) => return Err(error.into()),
        }
    }
    Err(failure)
}

/// A transaction that can not be aborted now is aborted by the server in time.
async fn abort(session: &mut ClientSession) {
    if let Err(error) = session.abort_transaction().await {
        tracing::debug!(error = %DatabaseError::new(&error), "a transaction could not be aborted");
    }
}
