//! Speed and memory of the whole way, side by side with the raw driver in one run: `cargo bench --bench drain`.
//!
//! Drain: changes already written are read by the real program and written to a file, against the driver alone reading and
//! counting the very same change stream (its pipeline is taken from what the program asked the server for). Latency: from a
//! write's acknowledgement to the event in a sink, against the driver's own change stream, on the same writes.

mod draining;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anstream::println;
use async_trait::async_trait;
use bson::{Document, RawDocumentBuf, doc};
use changeling::app::App;
use changeling::config;
use changeling::event::Event;
use changeling::pipeline::StopSignal;
use changeling::sink::{Sink, SinkError, Undelivered};
use changeling::yaml::SourceFile;
use changeling_servers::{ReplicaSet, ReplicaSetOptions};
use comfy_table::Table;
use draining::{Failure, ROUNDS, Subject, config_text, series};
use futures_util::StreamExt;
use mongodb::{Client, Database};

/// Documents of one chunk: inserted and updated in a collection that rules name, and the same in one that none names.
const CHUNK: i32 = 1_000;
/// Chunks of 4 * CHUNK changes: 200,000 changes.
const CHUNKS: i32 = 50;
const WRITES_PER_SECOND: u64 = 200;
const LATENCY_SECONDS: u64 = 20;

/// What can only be decided with the document before the change.
const RULES_WITH_IMAGES: &str = r#"version: 1
defaults: {collection: bench.orders, subject: "order/{$.key._id}"}
rules:
  - {event: OrderPlaced, on: insert, data: {orderId: $.key._id, total: $.after.total, customer: $.after.customer}}
  - {event: OrderPaid, when: {status: {from: pending, to: paid}}, data: {orderId: $.key._id, total: $.after.total}}
  - {event: OrderCancelled, when: {status: {from: [pending, paid], to: cancelled}}, data: {orderId: $.key._id}}
"#;

/// What the changes say by themselves.
const RULES_WITHOUT_IMAGES: &str = r#"version: 1
defaults: {collection: bench.orders, subject: "order/{$.key._id}"}
rules:
  - {event: OrderPlaced, on: insert, data: {orderId: $.key._id, total: $.after.total, customer: $.after.customer}}
  - {event: CustomerGreeted, on: insert, where: {$.after.customer: {prefix: "customer 7"}}, data: {orderId: $.key._id}}
  - {event: OrderRemoved, on: delete, data: {orderId: $.key._id}}
"#;

fn main() -> Result<(), Failure> {
    // Cargo runs benches with --bench, and its test command runs them without: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> Result<(), Failure> {
    let options = ReplicaSetOptions { oplog_megabytes: Some(4_000), ..Default::default() };
    let set = ReplicaSet::start(&options).await?;
    let client = set.client().await?;
    println!("writing {} changes, half of them in a collection that no rule names", CHUNKS * CHUNK * 4);
    write_backlog(&client.database("bench")).await?;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "drain to a file",
        "changes sent",
        "events",
        "raw driver",
        "changeling",
        "ratio",
        "start",
        "peak memory",
    ]);
    for (name, rules) in [("rules that need images", RULES_WITH_IMAGES), ("rules that need none", RULES_WITHOUT_IMAGES)]
    {
        let subject = Subject { database: "bench", rules, more: "", is_pushed_down: true };
        let found = series(name, &subject, &set, &client).await?;
        table.add_row([
            name.to_owned(),
            found.changes_count.to_string(),
            found.events_count.to_string(),
            format!("{:.0}/s", found.raw_rate),
            format!("{:.0}/s", found.own_rate),
            format!("{:.3}", found.ratio),
            format!("{:.0} ms", found.start_seconds * 1_000.0),
            format!("{:.1} MiB", found.peak_kibibytes as f64 / 1024.0),
        ]);
    }
    println!(
        "\n{table}\nratio: changes per second against the raw driver, from opening the stream to the last event in the file, median of {ROUNDS} alternating rounds\nstart: from the start of the process until it opens the stream\n"
    );
    latency(&set, &client).await
}

async fn write_backlog(database: &Database) -> Result<(), Failure> {
    let images = doc! {"enabled": true};
    database.run_command(doc! {"create": "orders", "changeStreamPreAndPostImages": images}).await?;
    for chunk in 0..CHUNKS {
        let ids = chunk * CHUNK..(chunk + 1) * CHUNK;
        for name in ["orders", "sessions"] {
            let collection = database.collection::<Document>(name);
            collection.insert_many(ids.clone().map(order)).await?;
            let these = doc! {"_id": {"$gte": ids.start, "$lt": ids.end}};
            collection.update_many(these, doc! {"$set": {"status": "paid"}}).await?;
        }
    }
    Ok(())
}

fn order(id: i32) -> Document {
    doc! {
        "_id": id, "status": "pending", "total": f64::from(id) * 1.5, "customer": format!("customer {}", id % 97),
        "address": {"street": format!("{id} High Street"), "city": "Graz", "country": "AT"},
        "items": [{"sku": "tea-1", "qty": 2}, {"sku": "tea-2", "qty": 1}],
    }
}

/// When each order was seen, by its number.
type Seen = Arc<Mutex<Vec<Option<Instant>>>>;

fn note(seen: &Seen, order: usize) {
    if let Some(slot) = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_mut(order) {
        slot.get_or_insert_with(Instant::now);
    }
}

/// A sink that only notes when events come.
struct Clock(Seen);

#[async_trait]
impl Sink for Clock {
    async fn open(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered> {
        for event in events {
            if let Some(order) = event.data.get_i64("latency").ok().and_then(|order| usize::try_from(order).ok()) {
                note(&self.0, order);
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

const LATENCY_RULES: &str = r#"version: 1
rules:
  - {event: OrderPlaced, collection: bench.fresh, on: insert, data: {latency: $.after.latency}}
"#;

async fn latency(set: &ReplicaSet, client: &Client) -> Result<(), Failure> {
    let count = usize::try_from(WRITES_PER_SECOND * LATENCY_SECONDS)?;
    let (in_sink, in_driver): (Seen, Seen) =
        (Arc::new(Mutex::new(vec![None; count])), Arc::new(Mutex::new(vec![None; count])));
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("rules.yaml"), LATENCY_RULES)?;
    let path = folder.path().join("events.jsonl");
    let sinks = format!("sinks: {{out: {{file: {{path: \"{}\", fsync: never}}}}}}", path.display());
    let text = config_text(set, "bench", "start: now", &sinks);
    let file = SourceFile { name: "changeling.yaml".to_owned(), text };
    let config = config::read_text(&file, folder.path()).usable()?;
    let mut app = App::from_config(config).await?;
    app.add_sink("clock", Box::new(Clock(in_sink.clone())));
    let (stop, status) = (StopSignal::new(), app.status());
    let running = tokio::spawn(app.run(stop.clone()));
    while !status.readiness().is_good() && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut stream = client.database("bench").watch().await?.with_type::<RawDocumentBuf>();
    let seen_by_driver = in_driver.clone();
    let driver = tokio::spawn(async move {
        while let Some(Ok(change)) = stream.next().await {
            let order = change.get_document("fullDocument").ok().and_then(|document| document.get_i64("latency").ok());
            if let Some(order) = order.and_then(|order| usize::try_from(order).ok()) {
                note(&seen_by_driver, order);
            }
        }
    });
    let acknowledged = write_steadily(client, count).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    let complete = |seen: &Seen| seen.lock().is_ok_and(|seen| seen.iter().all(Option::is_some));
    while !(complete(&in_sink) && complete(&in_driver)) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.request();
    running.await??;
    driver.abort();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["from acknowledged to seen", "p50", "p99", "max"]);
    for (name, seen) in [("raw driver's change stream", &in_driver), ("event in a sink", &in_sink)] {
        table.add_row(latency_row(name, &acknowledged, seen)?);
    }
    println!("{table}\n{count} writes at {WRITES_PER_SECOND} per second, both on the same writes");
    Ok(())
}

async fn write_steadily(client: &Client, count: usize) -> Result<Vec<Instant>, Failure> {
    let fresh = client.database("bench").collection::<Document>("fresh");
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / WRITES_PER_SECOND));
    let mut acknowledged = Vec::with_capacity(count);
    for order in 0..i64::try_from(count)? {
        ticks.tick().await;
        fresh.insert_one(doc! {"latency": order, "status": "pending"}).await?;
        acknowledged.push(Instant::now());
    }
    Ok(acknowledged)
}

fn latency_row(name: &str, acknowledged: &[Instant], seen: &Seen) -> Result<Vec<String>, Failure> {
    let seen = seen.lock().map_err(|_| "a reader panicked")?;
    let mut milliseconds = Vec::with_capacity(acknowledged.len());
    for (order, acknowledged) in acknowledged.iter().enumerate() {
        let at = seen[order].ok_or_else(|| format!("{name}: write {order} was never seen"))?;
        // A change may be seen before its writer hears that it is done.
        milliseconds.push(at.saturating_duration_since(*acknowledged).as_secs_f64() * 1_000.0);
    }
    milliseconds.sort_by(f64::total_cmp);
    let part = |percent: usize| milliseconds[(milliseconds.len() * percent / 100).min(milliseconds.len() - 1)];
    Ok(vec![
        name.to_owned(),
        format!("{:.2} ms", part(50)),
        format!("{:.2} ms", part(99)),
        format!("{:.2} ms", part(100)),
    ])
}
