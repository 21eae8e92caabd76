//! A log, sinks and a checkpoint store in memory that fail on demand: the world around a pipeline, under a test's control.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bson::{RawDocumentBuf, doc, rawdoc};
use changeling::change::{Batch, Entry};
use changeling::checkpoint::{Checkpoint, CheckpointError, MemoryStore, Store};
use changeling::event::{Event, EventId};
use changeling::position::{ClusterTime, Position, Resume, Start};
use changeling::rules::ast::{Operations, Rule};
use changeling::rules::{NamespacePattern, Outcome, RuleSet};
use changeling::sink::{DeadLetter, DeadLetters, Sink, SinkError, TransactionalWrite, Undelivered};
use changeling::source::{Source, SourceError};
use tokio::sync::Notify;

/// The cluster time of change 0.
const FIRST_SECOND: u32 = 1_000;

/// The log of a database that does not exist. Change n has token and cluster time n.
#[derive(Default)]
pub struct Log {
    changes: Mutex<Vec<RawDocumentBuf>>,
    grown: Notify,
    /// The first change that the log still holds.
    pub oldest: AtomicUsize,
    /// Batches handed out so far.
    pub batches_count: AtomicUsize,
    /// The next `next` fails this often.
    pub failures: AtomicUsize,
}

impl Log {
    pub fn len(&self) -> usize {
        self.changes.lock().unwrap().len()
    }

    fn append(&self, change: impl FnOnce(u32) -> RawDocumentBuf) {
        let mut changes = self.changes.lock().unwrap();
        let number = u32::try_from(changes.len()).unwrap();
        changes.push(change(number));
        self.grown.notify_waiters();
    }

    /// A change of the order `key` that the rules know.
    pub fn change_order(&self, key: i32) {
        self.append(|number| change(number, "orders", key));
    }

    /// Changes of orders in one transaction: they have the cluster time of the first.
    pub fn transaction(&self, keys: std::ops::Range<i32>) {
        let first = u32::try_from(self.len()).unwrap();
        for key in keys {
            self.append(|number| {
                let mut document = bson::Document::try_from(&*change(number, "orders", key)).unwrap();
                document.insert("clusterTime", bson::Timestamp::from(time(first)));
                document.insert("lsid", doc! {"id": 1});
                document.insert("txnNumber", i64::from(first));
                RawDocumentBuf::try_from(&document).unwrap()
            });
        }
    }

    /// An insert into a collection of the shop.
    pub fn insert(&self, collection: &str, document: &RawDocumentBuf) {
        self.append(|number| {
            rawdoc! {
                "_id": token(number),
                "operationType": "insert",
                "clusterTime": bson::Timestamp::from(time(number)),
                "wallTime": bson::DateTime::from_millis(i64::from(FIRST_SECOND + number) * 1_000),
                "ns": {"db": "shop", "coll": collection},
                "documentKey": {"_id": bson::RawBson::from(document.get("_id").unwrap().unwrap())},
                "fullDocument": document.clone(),
            }
        });
    }

    /// An update of an order, without images.
    pub fn update_order(&self, key: i32, updated: RawDocumentBuf) {
        self.append(|number| {
            let mut document = bson::Document::try_from(&*change(number, "orders", key)).unwrap();
            let updated = bson::Document::try_from(&*updated).unwrap();
            document.insert("updateDescription", doc! {"updatedFields": updated, "removedFields": []});
            RawDocumentBuf::try_from(&document).unwrap()
        });
    }

    /// A change that no rule names.
    pub fn change_other(&self) {
        self.append(|number| change(number, "other", 0));
    }

    /// Something that has no form of a change.
    pub fn append_garbage(&self) {
        self.append(|number| rawdoc! {"_id": token(number), "operationType": "update", "ns": {"db": "shop"}});
    }

    /// The events of all changes from `first` on, with their change's number, in order.
    pub fn events(&self, rules: &RuleSet, first: usize) -> Vec<(usize, Event)> {
        let changes = self.changes.lock().unwrap();
        let batch = Batch::from_documents(changes.iter().map(|change| &**change), None);
        let mut events = Vec::new();
        for (number, entry) in batch.entries().enumerate().skip(first) {
            let Ok(Entry::Change(change)) = entry else { continue };
            let mut outcome = Outcome::default();
            rules.apply(&change, &mut outcome);
            events.extend(outcome.events.into_iter().map(|event| (number, event)));
        }
        events
    }
}

fn token(number: u32) -> RawDocumentBuf {
    rawdoc! {"_data": number.to_string()}
}

fn time(number: u32) -> ClusterTime {
    ClusterTime { seconds: FIRST_SECOND + number, increment: 1 }
}

fn change(number: u32, collection: &str, key: i32) -> RawDocumentBuf {
    rawdoc! {
        "_id": token(number),
        "operationType": "update",
        "clusterTime": bson::Timestamp::from(time(number)),
        "wallTime": bson::DateTime::from_millis(i64::from(FIRST_SECOND + number) * 1_000),
        "ns": {"db": "shop", "coll": collection},
        "documentKey": {"_id": key},
        "updateDescription": {"updatedFields": {"n": i64::from(number)}, "removedFields": []},
    }
}

/// How many changes, from the first, lie before a position.
pub fn changes_before(position: &Position) -> usize {
    match &position.resume {
        Resume::After(token) => token.get_str("_data").unwrap().parse::<usize>().unwrap() + 1,
        Resume::AfterInvalidate(_) => panic!("nothing is invalidated here"),
        Resume::AtTime => (position.time.seconds - FIRST_SECOND) as usize,
    }
}

/// Two rules for every change of an order, so that one change makes two events.
pub fn rules() -> Arc<RuleSet> {
    rules_for("shop")
}

/// The same for the orders in another database.
pub fn rules_for(database: &str) -> Arc<RuleSet> {
    let collections = vec![NamespacePattern { database: database.to_owned(), collection: "orders".to_owned() }];
    let operations = Operations { insert: true, update: true, delete: false };
    let rule = |id: &str| Rule::new(id, collections.clone(), operations);
    Arc::new(RuleSet::compile(vec![rule("OrderChanged"), rule("OrderTouched")]))
}

/// Reads a log in batches.
pub struct LogSource {
    pub log: Arc<Log>,
    pub batch_size: usize,
    pub deployment: &'static str,
    pub scope: &'static str,
    /// Where it was opened, every time.
    pub opened: Arc<Mutex<Vec<Start>>>,
    next: usize,
}

impl LogSource {
    pub fn new(log: &Arc<Log>, batch_size: usize) -> Self {
        let opened = Arc::default();
        Self { log: log.clone(), batch_size, deployment: "memory", scope: "shop", opened, next: 0 }
    }

    fn end(&self) -> Position {
        match self.next.checked_sub(1) {
            Some(last) => {
                let changes = self.log.changes.lock().unwrap();
                let time = changes[last].get_timestamp("clusterTime").map(ClusterTime::from);
                let last = u32::try_from(last).unwrap();
                Position::after(&token(last), time.unwrap_or(self::time(last)))
            }
            None => Position::at_time(ClusterTime { seconds: FIRST_SECOND, increment: 0 }),
        }
    }
}

#[async_trait]
impl Source for LogSource {
    async fn open(&mut self, start: &Start) -> Result<(), SourceError> {
        self.opened.lock().unwrap().push(start.clone());
        let oldest = self.log.oldest.load(Ordering::Relaxed);
        self.next = match start {
            Start::Now => self.log.len(),
            Start::Beginning => oldest,
            Start::At(time) => time.seconds.saturating_sub(FIRST_SECOND) as usize,
            Start::Resume(position) | Start::Beyond(position) => changes_before(position),
        };
        if self.next < oldest {
            return Err(SourceError::LostPosition {
                code: 286,
                name: "ChangeStreamHistoryLost".to_owned(),
                position: Some(time(u32::try_from(self.next).unwrap())),
                oldest: Some(time(u32::try_from(oldest).unwrap())),
            });
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        let grown = self.log.clone();
        let grown = grown.grown.notified();
        tokio::pin!(grown);
        grown.as_mut().enable();
        if self.log.len() == self.next {
            let _ = tokio::time::timeout(Duration::from_secs(1), grown).await;
        }
        if self.log.failures.load(Ordering::Relaxed) > 0 {
            self.log.failures.fetch_sub(1, Ordering::Relaxed);
            return Err(SourceError::Closed);
        }
        self.log.batches_count.fetch_add(1, Ordering::Relaxed);
        let changes: Vec<RawDocumentBuf> =
            self.log.changes.lock().unwrap().iter().skip(self.next).take(self.batch_size).cloned().collect();
        self.next += changes.len();
        Ok(Batch::from_documents(changes.iter().map(|change| &**change), Some(self.end())))
    }

    async fn deployment(&mut self) -> Result<String, SourceError> {
        Ok(self.deployment.to_owned())
    }

    fn scope(&self) -> String {
        self.scope.to_owned()
    }
}

/// What a sink does with the events it is handed.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// It takes its time first.
    pub pause: Duration,
    /// So many become durable.
    pub works: usize,
    /// So many it admits to.
    pub admits: usize,
    pub then: Then,
}

/// How a delivery ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Succeed,
    BeAway,
    Reject,
    Hang,
    BeUnusable,
    BeFenced,
    Panic,
}

impl Act {
    /// All goes well.
    pub fn well(events: &[Arc<Event>]) -> Self {
        Self { pause: Duration::ZERO, works: events.len(), admits: events.len(), then: Then::Succeed }
    }

    /// Nothing is done, and then this happens.
    pub fn nothing(then: Then) -> Self {
        Self { pause: Duration::ZERO, works: 0, admits: 0, then }
    }
}

/// What is durable in a sink, in the order in which it became so, repeats included.
#[derive(Default)]
pub struct Durable {
    pub events: Mutex<Vec<Arc<Event>>>,
    /// Events handed over, whatever became of them.
    pub handed_count: AtomicUsize,
    pub opened_count: AtomicUsize,
    pub is_closed: Mutex<bool>,
}

impl Durable {
    pub fn ids(&self) -> HashSet<EventId> {
        self.events.lock().unwrap().iter().map(|event| event.id).collect()
    }

    pub fn count(&self) -> usize {
        self.events.lock().unwrap().len()
    }
}

/// Chooses what a sink does next.
pub type Script = Box<dyn FnMut(&[Arc<Event>]) -> Act + Send>;

/// A sink that does what a script says.
pub struct ScriptedSink {
    pub durable: Arc<Durable>,
    pub script: Script,
    /// The store whose checkpoint it can save with its events.
    pub joined: Option<Arc<SimulatedStore>>,
}

impl ScriptedSink {
    pub fn new(durable: &Arc<Durable>, script: impl FnMut(&[Arc<Event>]) -> Act + Send + 'static) -> Self {
        Self { durable: durable.clone(), script: Box::new(script), joined: None }
    }

    async fn act(&mut self, events: &[Arc<Event>], write: Option<&TransactionalWrite>) -> Result<(), Undelivered> {
        let act = (self.script)(events);
        self.durable.handed_count.fetch_add(events.len(), Ordering::Relaxed);
        tokio::time::sleep(act.pause).await;
        let works = match write {
            // A transaction is all or nothing.
            Some(_) if act.works < events.len() => 0,
            _ => act.works,
        };
        self.durable.events.lock().unwrap().extend(events[..works].iter().cloned());
        if let (Some(write), Some(store), true) = (write, &self.joined, works == events.len()) {
            store.commit(write).map_err(|()| Undelivered { delivered: 0, error: SinkError::Fenced })?;
        }
        let sink = "simulated".to_owned();
        let reason = "as the script says".to_owned();
        let error = match act.then {
            Then::Succeed => return Ok(()),
            Then::Hang => return std::future::pending().await,
            Then::Panic => panic!("as the script says"),
            Then::BeAway => SinkError::Unavailable { sink, reason, source: None },
            Then::Reject => SinkError::Rejected { sink, reason },
            Then::BeUnusable => SinkError::Unusable { sink, reason, help: "none".to_owned(), source: None },
            Then::BeFenced => SinkError::Fenced,
        };
        Err(Undelivered { delivered: act.admits.min(works), error })
    }
}

#[async_trait]
impl Sink for ScriptedSink {
    async fn open(&mut self) -> Result<(), SinkError> {
        self.durable.opened_count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn deliver(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered> {
        self.act(events, None).await
    }

    async fn deliver_joined(&mut self, events: &[Arc<Event>], write: &TransactionalWrite) -> Result<(), Undelivered> {
        self.act(events, Some(write)).await
    }

    fn joins(&self, _deployment: &str) -> bool {
        self.joined.is_some()
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        *self.durable.is_closed.lock().unwrap() = true;
        Ok(())
    }
}

/// Dead letters in memory.
#[derive(Default)]
pub struct Letters {
    pub letters: Mutex<Vec<DeadLetter>>,
    pub is_unusable: Mutex<bool>,
}

impl Letters {
    /// The ids of the events that a sink gave up.
    pub fn ids(&self, sink: &str) -> HashSet<EventId> {
        let letters = self.letters.lock().unwrap();
        let of_sink = letters.iter().filter(|letter| letter.sink.as_deref() == Some(sink));
        of_sink.filter_map(|letter| letter.event.as_ref()).map(|event| event.id).collect()
    }
}

impl Letters {
    /// The ids of the explicit events that a sink gave up.
    pub fn explicit_ids(&self, sink: &str) -> HashSet<EventId> {
        let letters = self.letters.lock().unwrap();
        let of_sink = letters.iter().filter(|letter| letter.sink.as_deref() == Some(sink));
        let events = of_sink.filter_map(|letter| letter.event.as_ref());
        events.filter(|event| event.explicit.is_some()).map(|event| event.id).collect()
    }
}

#[async_trait]
impl DeadLetters for Letters {
    async fn open(&self) -> Result<(), SinkError> {
        match *self.is_unusable.lock().unwrap() {
            false => Ok(()),
            true => Err(SinkError::Unusable {
                sink: "dead_letters".to_owned(),
                reason: "it is shut".to_owned(),
                help: "open it".to_owned(),
                source: None,
            }),
        }
    }

    async fn put(&self, letter: &DeadLetter) -> Result<(), SinkError> {
        self.letters.lock().unwrap().push(letter.clone());
        Ok(())
    }
}

/// A store that can be away, and that looks at every position before it is saved.
pub struct SimulatedStore {
    pub store: MemoryStore,
    pub is_away: Mutex<bool>,
    /// Whether sinks may save the checkpoint with their events.
    pub joins: bool,
    /// Asked of every position that is saved.
    pub check: Box<dyn Fn(&Position) + Send + Sync>,
    pub saves_count: AtomicUsize,
}

impl SimulatedStore {
    pub fn new(store: MemoryStore) -> Self {
        Self {
            store,
            is_away: Mutex::new(false),
            joins: false,
            check: Box::new(|_| {}),
            saves_count: AtomicUsize::new(0),
        }
    }

    fn answer(&self) -> Result<(), CheckpointError> {
        match *self.is_away.lock().unwrap() {
            true => Err(CheckpointError::Unavailable { reason: "as the test says".to_owned(), source: None }),
            false => Ok(()),
        }
    }

    fn save_now(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        use futures_util::FutureExt;
        self.store.save(checkpoint).now_or_never().expect("memory does not wait")?;
        self.saves_count.fetch_add(1, Ordering::Relaxed);
        (self.check)(&checkpoint.position);
        Ok(())
    }

    fn commit(&self, write: &TransactionalWrite) -> Result<(), ()> {
        let token = write.update.get_document("token").unwrap();
        let time = write.update.get_timestamp("time").unwrap();
        let token = RawDocumentBuf::try_from(token).unwrap();
        let checkpoint = Checkpoint {
            deployment: write.update.get_str("deployment").unwrap().to_owned(),
            scope: write.update.get_str("scope").unwrap().to_owned(),
            position: Position::after(&token, time.into()),
            parity: None,
        };
        self.save_now(&checkpoint).map_err(|_| ())
    }
}

#[async_trait]
impl Store for SimulatedStore {
    async fn acquire(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        self.answer()?;
        self.store.acquire().await
    }

    async fn renew(&self) -> Result<(), CheckpointError> {
        self.answer()?;
        self.store.renew().await
    }

    async fn save(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        tokio::task::yield_now().await;
        self.answer()?;
        self.save_now(checkpoint)
    }

    async fn release(&self) -> Result<(), CheckpointError> {
        self.answer()
    }

    fn deployment(&self) -> Option<String> {
        self.joins.then(|| "memory".to_owned())
    }

    fn transactional_write(&self, checkpoint: &Checkpoint) -> Option<TransactionalWrite> {
        let Resume::After(token) = &checkpoint.position.resume else { return None };
        let token = bson::Document::try_from(token.clone()).unwrap();
        let update = doc! {
            "deployment": &checkpoint.deployment,
            "scope": &checkpoint.scope,
            "token": token,
            "time": bson::Timestamp::from(checkpoint.position.time),
        };
        Some(TransactionalWrite { database: String::new(), collection: String::new(), filter: doc! {}, update })
    }
}
