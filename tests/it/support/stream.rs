//! A change stream source on a real server, and what it gave so far.

use std::sync::Arc;

use changeling::change::{Batch, Change, Entry};
use changeling::failure::Disposition;
use changeling::metrics::Metrics;
use changeling::mongo_client;
use changeling::position::{Position, Start};
use changeling::rules::{ImageNeeds, NamespacePattern};
use changeling::secret::Secret;
use changeling::source::{ChangeStreamSource, Plan, Scope, Source, SourceError, SourceSettings};
use mongodb::Client;

use super::PATIENCE;

/// Both images.
pub const IMAGES: ImageNeeds = ImageNeeds { before: true, after: true };
/// No image.
pub const NO_IMAGES: ImageNeeds = ImageNeeds { before: false, after: false };

/// A source and all batches it gave.
pub struct Stream {
    pub source: ChangeStreamSource,
    pub plan: Plan,
    pub batches: Vec<Batch>,
    pub metrics: Arc<Metrics>,
}

impl Stream {
    /// A source that is not open yet; `patterns` are written `database.collection`.
    pub async fn new(uri: &str, patterns: &[&str], images: ImageNeeds) -> Self {
        Self::with(uri, patterns, images, serde_json::json!({"uri": "unused", "await_time": "50ms"})).await
    }

    /// The same with other settings.
    pub async fn with(uri: &str, patterns: &[&str], images: ImageNeeds, settings: serde_json::Value) -> Self {
        let client = mongo_client::connect(&Secret::new(uri)).await.expect("the uri is valid");
        Self::of(client, patterns, images, settings)
    }

    /// Over a client that is there already.
    pub fn with_client(client: Client, patterns: &[&str], images: ImageNeeds) -> Self {
        Self::of(client, patterns, images, serde_json::json!({"uri": "unused", "await_time": "50ms"}))
    }

    fn of(client: Client, patterns: &[&str], images: ImageNeeds, settings: serde_json::Value) -> Self {
        let settings: SourceSettings = serde_json::from_value(settings).expect("the settings are valid");
        let patterns: Vec<NamespacePattern> = patterns.iter().map(|text| pattern(text)).collect();
        let metrics = Arc::new(Metrics::new().expect("fresh"));
        let scope = Scope::covering(&patterns, &[]);
        let plan = Plan::new(scope, images);
        let source = ChangeStreamSource::new(client, &settings, plan.clone(), Arc::clone(&metrics));
        Self { source, plan, batches: Vec::new(), metrics }
    }

    /// Opened with the next change. Everything written from now on is in the stream.
    pub async fn open(uri: &str, patterns: &[&str], images: ImageNeeds) -> Self {
        let mut stream = Self::new(uri, patterns, images).await;
        stream.open_at(&Start::Now).await;
        stream
    }

    /// Opens the source; again where it failed by what may pass. Having heard of a shutdown, the driver asks the
    /// server anew only with its next heartbeat, as seldom as it gives up waiting for one: either may come first.
    pub async fn open_at(&mut self, start: &Start) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while let Err(error) = self.source.open(start).await {
            let may_pass = error.disposition() == Disposition::Retry && std::time::Instant::now() < deadline;
            assert!(may_pass, "the stream opens: {error:?}");
        }
    }

    /// Reads one batch and keeps it.
    pub async fn next(&mut self) -> Result<&Batch, SourceError> {
        let batch = tokio::time::timeout(PATIENCE, self.source.next()).await.expect("the source answers in time")?;
        self.batches.push(batch);
        Ok(self.batches.last().expect("just pushed"))
    }

    /// Reads until there are `count` entries (changes and notices), and a little more: to see that no other follows.
    pub async fn read(&mut self, count: usize) {
        while self.entries().len() < count || !self.batches.last().is_some_and(Batch::is_empty) {
            self.next().await.expect("the stream goes on");
        }
        assert_eq!(self.words().len(), count, "{:?}", self.words());
    }

    /// Reads until `is_enough` holds.
    pub async fn read_until(&mut self, what: &str, mut is_enough: impl FnMut(&Self) -> bool) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !is_enough(self) {
            assert!(std::time::Instant::now() < deadline, "read in vain until {what}: {:?}", self.words());
            self.next().await.expect("the stream goes on");
        }
    }

    /// All entries.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        let entries = self.batches.iter().flat_map(Batch::entries);
        entries.collect::<Result<_, _>>().expect("what a real server sends can be decoded")
    }

    /// All changes.
    pub fn changes(&self) -> Vec<Change<'_>> {
        let change = |entry| match entry {
            Entry::Change(change) => Some(change),
            Entry::Notice(_) => None,
        };
        self.entries().into_iter().filter_map(change).collect()
    }

    /// The server's word for every entry.
    pub fn words(&self) -> Vec<&str> {
        let word = |entry| match entry {
            Entry::Change(change) => change.operation.as_str(),
            Entry::Notice(notice) => notice.operation_type,
        };
        self.entries().into_iter().map(word).collect()
    }

    /// The integers that the documents have as `_id`, in order.
    pub fn ids(&self) -> Vec<i32> {
        self.changes().iter().filter_map(|change| change.id()?.as_i32()).collect()
    }

    /// The position after everything read.
    pub fn position(&self) -> Position {
        self.batches.iter().rev().find_map(|batch| batch.end.clone()).expect("a position is known")
    }

    /// Where to open another source to go on from here.
    pub fn resume(&self) -> Start {
        Start::Resume(self.position())
    }
}

fn pattern(text: &str) -> NamespacePattern {
    let (database, collection) = text.split_once('.').expect("database.collection");
    NamespacePattern { database: database.to_owned(), collection: collection.to_owned() }
}
