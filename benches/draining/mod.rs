//! Drains of a backlog by the real program and by the driver alone, reading and counting the very same change stream: its pipeline
//! is taken from what the program asked the server for.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anstream::println;
use bson::{Document, doc};
use changeling_servers::{Files, Guarded, ReplicaSet};
use futures_util::StreamExt;
use mongodb::Client;
use mongodb::options::CursorType;

pub type Failure = Box<dyn std::error::Error>;

pub const ROUNDS: usize = 3;
const BATCH_SIZE: u32 = 2_000;

/// What the program logs just before it opens the stream.
const BEGINS_TO_READ: &str = "reading begins with the oldest change";

/// What is drained, and how.
#[derive(Clone, Copy)]
pub struct Subject<'s> {
    /// The database that is watched.
    pub database: &'s str,
    /// The rule file.
    pub rules: &'s str,
    /// Further lines of the configuration.
    pub more: &'s str,
    /// Whether the server leaves out what nobody reads.
    pub is_pushed_down: bool,
}

/// What the program left in its folder, and what it took.
pub struct Drained {
    /// From the start of the process until it begins to read.
    pub start_seconds: f64,
    /// From then until the last event is in the file.
    pub seconds: f64,
    pub peak_kibibytes: u64,
    pub file_bytes: u64,
    pub events_count: usize,
}

/// Drains of the whole program and of the driver alone, in turn.
pub struct Series {
    /// The changes that the server sent.
    pub changes_count: u32,
    /// The events that came out.
    pub events_count: usize,
    /// Changes per second of the driver alone, in the middle.
    pub raw_rate: f64,
    /// The same of the program.
    pub own_rate: f64,
    /// The program's rate, with that of the driver as 1, in the middle of the rounds.
    pub ratio: f64,
    /// How long the program takes until it opens the stream, in seconds, in the middle.
    pub start_seconds: f64,
    /// The largest resident memory of the program.
    pub peak_kibibytes: u64,
}

/// Drains in turn by the driver alone and by the program, reading the very same stream.
pub async fn series(name: &str, subject: &Subject<'_>, set: &ReplicaSet, client: &Client) -> Result<Series, Failure> {
    // The first round tells how large the file gets and which stream the program opens.
    let pipeline = Mutex::new(None);
    let first = drain_program(subject, set, None, async || {
        let found = open_stream(client).await;
        if let Some(found) = found {
            *pipeline.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(found);
        }
    })
    .await?;
    let pipeline = pipeline.into_inner()?.ok_or("the server knows no change stream of changeling")?;
    println!("{name}: the stream is {}", shown(&pipeline));
    let (mut ratios, mut raw_rates, mut own_rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut peak_kibibytes, mut changes_count, mut starts) = (first.peak_kibibytes, 0, vec![first.start_seconds]);
    for round in 1..=ROUNDS {
        let (count, raw_seconds) = drain_raw(set, subject.database, &pipeline).await?;
        let own = drain_program(subject, set, Some(first.file_bytes), async || {}).await?;
        changes_count = count;
        starts.push(own.start_seconds);
        peak_kibibytes = peak_kibibytes.max(own.peak_kibibytes);
        let (raw_rate, own_rate) = (f64::from(count) / raw_seconds, f64::from(count) / own.seconds);
        println!(
            "{name}, round {round}: raw {raw_rate:.0}/s, changeling {own_rate:.0}/s, ratio {:.3}",
            own_rate / raw_rate
        );
        raw_rates.push(raw_rate);
        own_rates.push(own_rate);
        ratios.push(own_rate / raw_rate);
    }
    Ok(Series {
        changes_count,
        events_count: first.events_count,
        raw_rate: median(raw_rates),
        own_rate: median(own_rates),
        ratio: median(ratios),
        start_seconds: median(starts),
        peak_kibibytes,
    })
}

/// Runs the real program until its file has `file_bytes`, or, if that is not known yet, stops growing.
pub async fn drain_program(
    subject: &Subject<'_>,
    set: &ReplicaSet,
    file_bytes: Option<u64>,
    mut meanwhile: impl AsyncFnMut(),
) -> Result<Drained, Failure> {
    const QUIET: Duration = Duration::from_secs(5);
    const PATIENCE: Duration = Duration::from_secs(300);
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let more = format!("sinks: {{out: {{file: {{path: events.jsonl}}}}}}\n{}", subject.more);
    let source = format!("start: beginning, push_down: {}", subject.is_pushed_down);
    fs::write(path("changeling.yaml"), config_text(set, subject.database, &source, &more))?;
    fs::write(path("rules.yaml"), subject.rules)?;
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

/// A configuration that watches the whole database; `source` is what is added to its source, `more` to the whole.
pub fn config_text(set: &ReplicaSet, database: &str, source: &str, more: &str) -> String {
    let name = format!("bench-{}", bson::oid::ObjectId::new());
    format!(
        "name: {name}\nsource: {{uri: \"{}\", watch: [{database}], {source}}}\nrules: [rules.yaml]\nhttp: {{listen: \"off\"}}\n{more}\n",
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
async fn drain_raw(set: &ReplicaSet, database: &str, pipeline: &[Document]) -> Result<(u32, f64), Failure> {
    let client = Client::with_uri_str(set.uri()).await?;
    client.database("admin").run_command(doc! {"ping": 1}).await?;
    let started = Instant::now();
    let command = doc! {"aggregate": 1, "pipeline": pipeline, "cursor": {"batchSize": BATCH_SIZE}};
    let mut batches = client
        .database(database)
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

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
