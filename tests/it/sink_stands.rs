//! The sinks under test, each with the real thing behind it and a way to see what arrived there.

use std::path::PathBuf;
use std::sync::Arc;

use async_nats::jetstream;
use changeling::event::{Event, EventId, EventOrigin, Evidence};
use changeling::position::ClusterTime;
use changeling::secret::Secret;
use changeling::sink::{self, Envelope, EnvelopeSettings, Sink, SinkSettings, StdoutSettings, StdoutSink};
use changeling_servers::{Nats, ReplicaSet, ReplicaSetOptions};
use mongodb::bson::{Document, RawDocumentBuf, Timestamp, doc, rawdoc};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::free_name;

/// The event of order `number`, one of the customer `key`, whose events have to stay in order.
pub fn event(number: u32, key: &str) -> Event {
    let origin = EventOrigin {
        cluster_time: ClusterTime { seconds: 1_700_000_000, increment: number },
        operation_index: 0,
        database: "shop",
        collection: "orders",
        key: &number.to_le_bytes(),
        rule: "OrderPaid",
        ordinal: 0,
    };
    Event {
        id: EventId::new(&origin),
        name: "OrderPaid".into(),
        rule: "OrderPaid".into(),
        database: "shop".into(),
        collection: "orders".into(),
        subject: Some(format!("order/{number}")),
        time: bson::DateTime::from_millis(1_700_000_000_123),
        partition_key: key.to_owned(),
        sequence: format!("{number:016x}"),
        evidence: Evidence::Exact,
        transaction: None,
        explicit: None,
        rule_set: None,
        to: None,
        data: rawdoc! { "number": i64::from(number), "secret": "a value of a document" },
    }
}

/// Events with the given numbers, of three customers in turn.
pub fn events(numbers: std::ops::Range<u32>) -> Vec<Arc<Event>> {
    numbers.map(|number| Arc::new(event(number, &format!("customer {}", number % 3)))).collect()
}

/// An event whose data no sink can read.
pub fn broken_event(number: u32) -> Event {
    // A string that claims to be longer than the document.
    let data = RawDocumentBuf::from_bytes(vec![12, 0, 0, 0, 2, b'a', 0, 99, 0, 0, 0, 0]).expect("the length is right");
    Event { data, ..event(number, "customer 0") }
}

/// An event with so much data that MongoDB and NATS take it no more.
pub fn large_event(number: u32) -> Event {
    Event { data: rawdoc! { "text": "a value of a document".repeat(850_000) }, ..event(number, "customer 0") }
}

pub fn envelope() -> Envelope {
    Envelope::new(&EnvelopeSettings::default(), "shop")
}

/// A sink from settings as a configuration gives them.
pub fn build(settings: Value, source_uri: &str) -> Box<dyn Sink> {
    let settings: SinkSettings = serde_json::from_value(settings).expect("settings");
    sink::build("facts", &settings, &envelope(), &Secret::new(source_uri)).expect("no contradiction")
}

/// One kind of sink and the real thing behind it.
pub trait Stand {
    /// True if a repeated id arrives once.
    const DROPS_REPEATS: bool;

    /// A new sink over what is behind.
    fn sink(&self) -> Box<dyn Sink>;

    /// The numbers of the orders whose events arrived, in their order.
    async fn received(&self) -> Vec<i64>;

    /// An event that the sink has to refuse.
    fn unacceptable_event(&self, number: u32) -> Event;

    /// Kills what is behind.
    async fn take_down(&self) {
        panic!("nothing is behind that could go down");
    }

    /// Starts it again.
    async fn bring_up(&self) {}

    /// Lets it stay silent.
    async fn pause(&self) {
        panic!("nothing is behind that could be slow");
    }

    /// Lets it go on.
    async fn resume(&self) {}
}

fn numbers_of_lines(path: &std::path::Path) -> Vec<i64> {
    let text = std::fs::read_to_string(path).expect("readable");
    let number = |line: &str| serde_json::from_str::<Value>(line).expect("a line of JSON")["data"]["number"].as_i64();
    text.lines().map(|line| number(line).expect("a number")).collect()
}

pub struct FileStand {
    folder: TempDir,
}

impl FileStand {
    pub async fn start() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("events.jsonl")
    }
}

impl Stand for FileStand {
    const DROPS_REPEATS: bool = false;

    fn sink(&self) -> Box<dyn Sink> {
        build(json!({"file": {"path": self.path()}}), "")
    }

    async fn received(&self) -> Vec<i64> {
        numbers_of_lines(&self.path())
    }

    fn unacceptable_event(&self, number: u32) -> Event {
        broken_event(number)
    }
}

/// The sink of standard output, over a file in its place.
pub struct StdoutStand {
    folder: TempDir,
}

impl StdoutStand {
    pub async fn start() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("stdout")
    }
}

impl Stand for StdoutStand {
    const DROPS_REPEATS: bool = false;

    fn sink(&self) -> Box<dyn Sink> {
        let out = std::fs::File::options().append(true).create(true).open(self.path()).expect("writable");
        let out = Box::new(tokio::fs::File::from_std(out));
        Box::new(StdoutSink::writing_to(out, "out", &StdoutSettings::default(), &envelope()))
    }

    async fn received(&self) -> Vec<i64> {
        numbers_of_lines(&self.path())
    }

    fn unacceptable_event(&self, number: u32) -> Event {
        broken_event(number)
    }
}

/// A MongoDB of its own, so that it can be killed.
pub struct MongodbStand {
    set: ReplicaSet,
    database: String,
    /// Before the first event.
    start: Timestamp,
}

impl MongodbStand {
    pub async fn start() -> Self {
        let set = ReplicaSet::start(&ReplicaSetOptions::default()).await.expect("mongod");
        let hello = set.admin(0).await.expect("a client").run_command(doc! {"hello": 1}).await.expect("an answer");
        let start = hello.get_timestamp("operationTime").expect("a replica set has a time");
        Self { set, database: free_name("sink"), start }
    }
}

impl Stand for MongodbStand {
    const DROPS_REPEATS: bool = true;

    fn sink(&self) -> Box<dyn Sink> {
        let uri = format!("{}&serverSelectionTimeoutMS=2000", self.set.uri());
        build(json!({"mongodb": {"collection": format!("{}.events", self.database), "uri": uri}}), "mongodb://nobody")
    }

    async fn received(&self) -> Vec<i64> {
        let database = self.set.client().await.expect("a client").database(&self.database);
        let events = database.collection::<Document>("events");
        let count = events.count_documents(doc! {}).await.expect("counted");
        // The natural order is not the order of arrival once a crashed server has recovered; the oplog always has it.
        let mut stream = events.watch().start_at_operation_time(self.start).await.expect("a change stream");
        let mut numbers = Vec::new();
        while (numbers.len() as u64) < count {
            let Some(change) = stream.next_if_any().await.expect("a change") else { continue };
            let event = change.full_document.expect("nothing but inserts");
            numbers.push(event.get_document("data").expect("data").get_i64("number").expect("a number"));
        }
        numbers
    }

    fn unacceptable_event(&self, number: u32) -> Event {
        large_event(number)
    }

    async fn take_down(&self) {
        self.set.kill(0).expect("killed");
    }

    async fn bring_up(&self) {
        self.set.restart(0).await.expect("started again");
    }

    async fn pause(&self) {
        self.set.pause(0).expect("paused");
    }

    async fn resume(&self) {
        self.set.resume(0).expect("resumed");
    }
}

/// A NATS server of its own, so that it can be killed.
pub struct NatsStand {
    server: Nats,
    stream: String,
}

impl NatsStand {
    pub async fn start() -> Self {
        Self { server: Nats::start().await.expect("nats-server"), stream: free_name("EVENTS") }
    }
}

impl Stand for NatsStand {
    const DROPS_REPEATS: bool = true;

    fn sink(&self) -> Box<dyn Sink> {
        let settings = json!({
            "servers": [self.server.url()], "stream": {"name": self.stream}, "window": 4,
            "acknowledgement_timeout": "2s", "subject": "shop.{collection}.{type}",
        });
        build(json!({"nats": settings}), "")
    }

    async fn received(&self) -> Vec<i64> {
        let messages = messages(&self.server.url(), &self.stream).await;
        let number =
            |payload: &[u8]| serde_json::from_slice::<Value>(payload).expect("JSON")["data"]["number"].as_i64();
        messages.iter().map(|message| number(&message.payload).expect("a number")).collect()
    }

    fn unacceptable_event(&self, number: u32) -> Event {
        large_event(number)
    }

    async fn take_down(&self) {
        self.server.kill().expect("killed");
    }

    async fn bring_up(&self) {
        self.server.restart().await.expect("started again");
    }

    async fn pause(&self) {
        self.server.pause().expect("paused");
    }

    async fn resume(&self) {
        self.server.resume().expect("resumed");
    }
}

/// Everything that a stream holds, in its order.
pub async fn messages(url: &str, stream: &str) -> Vec<jetstream::message::StreamMessage> {
    let client = async_nats::connect(url).await.expect("connected");
    let mut stream = jetstream::new(client).get_stream(stream).await.expect("the stream");
    let state = stream.info().await.expect("information").state.clone();
    let mut messages = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        messages.push(stream.get_raw_message(sequence).await.expect("a message"));
    }
    messages
}
