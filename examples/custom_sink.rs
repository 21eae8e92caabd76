//! A sink of one's own, in a program of one's own.
//!
//! ```text
//! cargo run --example custom_sink -- 'mongodb://localhost:27017/?replicaSet=rs0'
//! ```
//!
//! It watches `shop.orders`, counts the events by their name and prints the counts as they change. Insert an order, set its
//! `status` to `paid`, and see. Ctrl-C stops it.
//!
//! What a sink has to keep to is written at the trait [`Sink`]: return from `deliver` only when the events are taken for good,
//! keep the events of a partition key in order, and expect an event again, with the same id, after a failure or a crash.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeling::checkpoint::MemoryStore;
use changeling::event::{Event, EventId};
use changeling::metrics::Metrics;
use changeling::mongo_client;
use changeling::pipeline::{LaneParts, Pipeline, PipelineSettings, RuleSlot, Status, StopSignal};
use changeling::position::Start;
use changeling::rules::{self, RuleSet};
use changeling::secret::Secret;
use changeling::sink::{Envelope, EnvelopeSettings, FileDeadLetters, Sink, SinkError, Undelivered};
use changeling::source::{ChangeStreamSource, OnLostPosition, Plan, Scope, SourceSettings};
use changeling::yaml::SourceFile;

const RULES: &str = "
version: 1
defaults: {collection: shop.orders}
rules:
  - event: OrderPlaced
    on: insert
    data: {total: $.after.total}
  - event: OrderPaid
    when: {status: paid}
    data: {total: $.after.total}
tests:
  - name: an order is placed
    change: {insert: shop.orders, after: {_id: 1, total: 10}}
    expect: [{event: OrderPlaced, data: {total: 10}}]
  - name: an order is paid
    change: {update: shop.orders, before: {_id: 1, status: open, total: 10}, after: {_id: 1, status: paid, total: 10}}
    expect: [{event: OrderPaid, data: {total: 10}}]
";

/// Counts events by their name.
#[derive(Default)]
struct Counter {
    counts: BTreeMap<Arc<str>, u64>,
    /// Every event that was counted. A sink that outlives the process would keep this where it keeps its data.
    seen: HashSet<EventId>,
}

#[async_trait]
impl Sink for Counter {
    async fn open(&mut self) -> Result<(), SinkError> {
        // Nothing to connect to.
        Ok(())
    }

    async fn deliver(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered> {
        for event in events {
            // A repeat is delivered, but not counted twice.
            if self.seen.insert(event.id) {
                *self.counts.entry(event.name.clone()).or_default() += 1;
            }
        }
        let line: Vec<String> = self.counts.iter().map(|(name, count)| format!("{name}: {count}")).collect();
        writeln!(std::io::stdout(), "{}", line.join("   ")).map_err(|error| Undelivered {
            // They are counted; if they come again, `seen` knows them.
            delivered: 0,
            error: SinkError::Unusable {
                sink: "counter".to_owned(),
                reason: "the counts can not be printed".to_owned(),
                help: "keep standard output open".to_owned(),
                source: Some(Box::new(error)),
            },
        })
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let uri = std::env::args().nth(1).ok_or("usage: custom_sink <connection string of a replica set>")?;

    let read = rules::read(&[SourceFile { name: "rules".to_owned(), text: RULES.to_owned() }]);
    if read.diagnostics.has_errors() {
        return Err(read.diagnostics.render().into());
    }
    let rules = Arc::new(RuleSet::compile(read.rules));

    let metrics = Arc::new(Metrics::new()?);
    // What is not set here has its default.
    let settings: SourceSettings = serde_json::from_value(serde_json::json!({ "uri": uri }))?;
    let client = mongo_client::connect(&Secret::new(uri)).await?;
    let scope = Scope::covering(&rules.namespaces(), &[]);
    let source =
        ChangeStreamSource::new(client, &settings, Plan::new(scope, rules.image_needs_of_all()), metrics.clone());

    let envelope = Envelope::new(&EnvelopeSettings::default(), "custom-sink");
    let dead_letters = std::env::temp_dir().join("custom-sink-dead-letters.jsonl");
    let pipeline = Pipeline {
        source: Box::new(source),
        start: Start::Now,
        on_lost_position: OnLostPosition::Stop,
        rules: RuleSlot::from(rules),
        relays: changeling::explicit::Relays::default(),
        outboxes: None,
        lanes: vec![LaneParts { name: "counter".to_owned(), sink: Box::new(Counter::default()) }],
        dead_letters: Arc::new(FileDeadLetters::new(Path::new(&dead_letters), &envelope)),
        // A counter that is gone with the process may begin anew every time; others want a checkpoint that lasts.
        store: Arc::new(MemoryStore::new()),
        checkpoint_interval: Duration::from_secs(1),
        lease: Duration::from_secs(10),
        settings: PipelineSettings::default(),
        metrics,
        status: Arc::new(Status::new()),
    };

    let stop = StopSignal::new();
    let on_interrupt = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            on_interrupt.request();
        }
    });
    let report = pipeline.run(stop).await?;
    writeln!(std::io::stdout(), "{} changes, {} events", report.changes_count, report.events_count)?;
    Ok(())
}
