//! Speed and memory of the whole way, side by side with the raw driver in one run: `cargo bench --bench drain`.
//!
//! Drain: changes already written are read by the real program and written to a file, against the driver alone reading and
//! counting the very same change stream (its pipeline is taken from what the program asked the server for). Latency: from a
//! write's acknowledgement to the event in a sink, against the driver's own change stream, on the same writes.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
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
use changeling_servers::{Files, Guarded, ReplicaSet, ReplicaSetOptions};
use comfy_table::Table;
use futures_util::StreamExt;
use mongodb::options::CursorType;
use mongodb::{Client, Database};

type Failure = Box<dyn std::error::Error>;

/// Documents of one chunk: inserted and updated in a collection that rules name, and the same in one that none names.
const CHUNK: i32 = 1_000;
/// Chunks of 4 * CHUNK changes: 200,000 changes.
const CHUNKS: i32 = 50;
const ROUNDS: usize = 3;
const BATCH_SIZE: u32 = 2_000;
const WRITES_PER_SECOND: u64 = 200;
const LATENCY_SECONDS: u64 = 20;

/// What the program logs just before it opens the stream.
const BEGINS_TO_READ: &str = "reading begins with the oldest change";

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
        table.add_row(drain_series(name, rules, &set, &client).await?);
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

/// What the program left in its folder, and what it took.
struct Drained {
    /// From the start of the process until it begins to read.
    start_seconds: f64,
    /// From then until the last event is in the file.
    seconds: f64,
    peak_kibibytes: u64,
    file_bytes: u64,
    events_count: usize,
}

async fn drain_series(name: &str, rules: &str, set: &ReplicaSet, client: &Client) -> Result<Vec<String>, Failure> {
    // The first round tells how large the file gets and which stream the program opens.
    let pipeline = Mutex::new(None);
    let first = drain_program(rules, set, None, async || {
        let found = open_stream(client).await;
        if let Some(found) = found {
            *pipeline.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(found);
        }
    })
    .await?;
    let pipeline = pipeline.into_inner()?.ok_or("the server knows no change stream of changeling")?;
    println!("{name}: the stream is {}", shown(&pipeline));
    let (mut ratios, mut raw_rates, mut own_rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut peak, mut sent, mut starts) = (first.peak_kibibytes, 0, vec![first.start_seconds]);
    for round in 1..=ROUNDS {
        let (count, raw_seconds) = drain_raw(set, &pipeline).await?;
        let own = drain_program(rules, set, Some(first.file_bytes), async || {}).await?;
        sent = count;
        starts.push(own.start_seconds);
        peak = peak.max(own.peak_kibibytes);
        let (raw_rate, own_rate) = (f64::from(count) / raw_seconds, f64::from(count) / own.seconds);
        println!(
            "{name}, round {round}: raw {raw_rate:.0}/s, changeling {own_rate:.0}/s, ratio {:.3}",
            own_rate / raw_rate
        );
        raw_rates.push(raw_rate);
        own_rates.push(own_rate);
        ratios.push(own_rate / raw_rate);
    }
    Ok(vec![
        name.to_owned(),
        sent.to_string(),
        first.events_count.to_string(),
        format!("{:.0}/s", median(raw_rates)),
        format!("{:.0}/s", median(own_rates)),
        format!("{:.3}", median(ratios)),
        format!("{:.0} ms", median(starts) * 1_000.0),
        format!("{:.1} MiB", peak as f64 / 1024.0),
    ])
}

/// Runs the real program until its file has `file_bytes`, or, if that is not known yet, stops growing.
async fn drain_program(
    rules: &str,
    set: &ReplicaSet,
    file_bytes: Option<u64>,
    mut meanwhile: impl AsyncFnMut(),
) -> Result<Drained, Failure> {
    const QUIET: Duration = Duration::from_secs(5);
    const PATIENCE: Duration = Duration::from_secs(300);
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let sinks = "sinks: {out: {file: {path: events.jsonl}}}";
    fs::write(path("changeling.yaml"), config_text(set, "beginning", sinks))?;
    fs::write(path("rules.yaml"), rules)?;
    let files = Files { stdout: path("stdout"), stderr: path("stderr"), folder: None };
    let program = Path::new(env!("CARGO_BIN_EXE_changeling"));
    let arguments: Vec<OsString> = ["run", "-c", "changeling.yaml"].into_iter().map(OsString::from).collect();
    let started = Instant::now();
    let mut reads_since = None;
    let process = Guarded::start(program, &arguments, [], folder.path(), &files)?;
    let (mut length, mut grown) = (0, Instant::now());
    let finished = loop {
        let now = fs::metadata(path("events.jsonl")).map_or(0, |metadata| metadata.len());
        if reads_since.is_none() && fs::read_to_string(path("stderr"))?.contains(BEGINS_TO_READ) {
            reads_since = Some(Instant::now());
        }
        if now > length {
            (length, grown) = (now, Instant::now());
            meanwhile().await;
        }
        match file_bytes {
            Some(expected) if length >= expected => break grown,
            None if length > 0 && grown.elapsed() > QUIET => break grown,
            Some(_) | None => {}
        }
        if process.ended().is_some() || started.elapsed() > PATIENCE {
            return Err(format!("changeling did not drain: {}", process.last_words()).into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let peak_kibibytes = peak_kibibytes(process.id())?;
    process.terminate()?;
    let events_count = fs::read(path("events.jsonl"))?.iter().filter(|byte| **byte == b'\n').count();
    let reads_since = reads_since.ok_or("changeling did not say when it begins to read")?;
    Ok(Drained {
        start_seconds: (reads_since - started).as_secs_f64(),
        seconds: (finished - reads_since).as_secs_f64(),
        peak_kibibytes,
        file_bytes: length,
        events_count,
    })
}

fn config_text(set: &ReplicaSet, start: &str, sinks: &str) -> String {
    let name = format!("bench-{}", bson::oid::ObjectId::new());
    format!(
        "name: {name}\nsource: {{uri: \"{}\", watch: [bench], start: {start}}}\nrules: [rules.yaml]\nhttp: {{listen: \"off\"}}\n{sinks}\n",
        set.uri()
    )
}

/// The largest resident memory that the process has had.
fn peak_kibibytes(process_id: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{process_id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// The pipeline of the change stream that changeling has open, as the server knows it.
async fn open_stream(client: &Client) -> Option<Vec<Document>> {
    let stages = [
        doc! {"$currentOp": {"allUsers": true, "idleCursors": true}},
        doc! {"$match": {"appName": {"$regex": "^changeling"}, "cursor.originatingCommand.pipeline.0.$changeStream": {"$exists": true}}},
    ];
    let mut operations = client.database("admin").aggregate(stages).await.ok()?;
    let operation = operations.next().await?.ok()?;
    let command = operation.get_document("cursor").ok()?.get_document("originatingCommand").ok()?;
    let stages = command.get_array("pipeline").ok()?;
    stages.iter().map(|stage| stage.as_document().cloned()).collect()
}

fn shown(pipeline: &[Document]) -> String {
    pipeline.iter().map(Document::to_string).collect::<Vec<_>>().join(" | ")
}

/// The driver alone, with a client of its own that is connected: opens the same stream, and counts to the last change.
async fn drain_raw(set: &ReplicaSet, pipeline: &[Document]) -> Result<(u32, f64), Failure> {
    let client = Client::with_uri_str(set.uri()).await?;
    client.database("admin").run_command(doc! {"ping": 1}).await?;
    let started = Instant::now();
    let command = doc! {"aggregate": 1, "pipeline": pipeline, "cursor": {"batchSize": BATCH_SIZE}};
    let mut batches = client
        .database("bench")
        .run_cursor_command(command)
        .cursor_type(CursorType::TailableAwait)
        .batch_size(BATCH_SIZE)
        .max_time(Duration::from_secs(1))
        .batch()
        .await?;
    let (mut count, mut last) = (0, started);
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let mut here = 0;
        for document in batch.doc_slices()? {
            document?;
            here += 1;
        }
        if here == 0 && count > 0 {
            break;
        }
        if here > 0 {
            (count, last) = (count + here, Instant::now());
        }
    }
    Ok((count, (last - started).as_secs_f64()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
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
    let text = config_text(set, "now", &sinks);
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
