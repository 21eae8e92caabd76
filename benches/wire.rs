//! What crosses the wire, and what it costs the server, by what the server leaves out and in how many streams it is read:
//! `cargo bench --bench wire`.
//!
//! A shop's history is read again and again from the same place by the library's own source: one collection whose rules need images,
//! four whose rules need none, and documents with a large field that no rule reads.

use std::sync::Arc;
use std::time::Instant;

use anstream::println;
use bson::{Document, doc};
use changeling::change::{Batch, Entry};
use changeling::metrics::Metrics;
use changeling::mongo_client;
use changeling::position::{ClusterTime, Start};
use changeling::rules::{self, Outcome, RuleSet};
use changeling::secret::Secret;
use changeling::source::{ChangeStreamSource, Plan, Source, SourceSettings, StreamCount};
use changeling::yaml::SourceFile;
use changeling_servers::{ReplicaSet, ReplicaSetOptions};
use comfy_table::Table;
use mongodb::Database;

type Failure = Box<dyn std::error::Error>;

const DOCUMENTS: i32 = 4_000;
const ROUNDS: usize = 3;
const OTHERS: [&str; 4] = ["carts", "people", "visits", "stock"];

const RULES: &str = r#"version: 1
rules:
  - {event: OrderPaid, collection: shop.orders, when: {status: {from: pending, to: paid}}, data: {total: $.after.total}}
  - {event: TotalRaised, collection: shop.orders, when: {total: increased}, data: {was: $.before.total, is: $.after.total}}
  - {event: Arrived, collection: [shop.carts, shop.people, shop.visits, shop.stock], on: insert, data: {status: $.after.status}}
  - {event: Touched, collection: [shop.carts, shop.people, shop.visits, shop.stock], on: [update, delete]}
"#;

fn main() -> Result<(), Failure> {
    // Cargo runs benches with --bench, and its test command runs them without: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> Result<(), Failure> {
    let options = ReplicaSetOptions { oplog_megabytes: Some(2_000), ..Default::default() };
    let set = ReplicaSet::start(&options).await?;
    let client = mongo_client::connect(&Secret::new(set.uri())).await?;
    let database = client.database("shop");
    let (start, end) = write(&database).await?;
    let read = rules::read(&[SourceFile { name: "rules".to_owned(), text: RULES.to_owned() }]);
    let rules = RuleSet::compile(read.rules);
    let plan = |streams, is_pushed_down| {
        Plan::for_rules(
            &rules,
            &changeling::explicit::Relays::default(),
            &rules.namespaces(),
            &[],
            streams,
            is_pushed_down,
        )
    };
    let plans = [
        ("one stream, everything", plan(StreamCount::One, false)),
        ("one stream, what rules read", plan(StreamCount::One, true)),
        ("two streams, everything", plan(StreamCount::Two, false)),
        ("two streams, what rules read", plan(StreamCount::Two, true)),
    ];
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["read as", "changes sent", "megabytes sent", "events", "seconds", "server CPU seconds"]);
    for round in 0..ROUNDS {
        for (name, plan) in &plans {
            let settings: SourceSettings = serde_json::from_value(serde_json::json!({"uri": "unused"}))?;
            let mut source =
                ChangeStreamSource::new(client.clone(), &settings, plan.clone(), Arc::new(Metrics::new()?));
            let (begun, cpu) = (Instant::now(), cpu_seconds(set.process_id(0)));
            source.open(&Start::At(start)).await?;
            let read = drain(&mut source, &rules, end).await?;
            let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(set.process_id(0)) - cpu);
            if round + 1 == ROUNDS {
                table.add_row([
                    (*name).to_owned(),
                    read.changes_count.to_string(),
                    format!("{:.1}", read.bytes as f64 / 1e6),
                    read.events_count.to_string(),
                    format!("{seconds:.2}"),
                    format!("{cpu:.2}"),
                ]);
            }
        }
    }
    println!(
        "\n{table}\nthe last of {ROUNDS} rounds; the same {DOCUMENTS} documents and their updates in each of five collections\n"
    );
    Ok(())
}

/// Inserts and updates, the same in every collection; one in three updates is one that some rule waits for.
async fn write(database: &Database) -> Result<(ClusterTime, ClusterTime), Failure> {
    let images = doc! {"create": "orders", "changeStreamPreAndPostImages": {"enabled": true}};
    database.run_command(images).await?;
    let start = time(database).await?;
    for name in OTHERS.into_iter().chain(["orders"]) {
        let collection = database.collection::<Document>(name);
        let note = "n".repeat(1_500);
        let new = |id| doc! {"_id": id, "status": "pending", "total": id, "visits": 0, "note": &note};
        collection.insert_many((0..DOCUMENTS).map(new)).await?;
        for update in [
            doc! {"$inc": {"visits": 1}},
            doc! {"$set": {"status": "paid"}},
            doc! {"$set": {"note": "m".repeat(1_500)}},
        ] {
            collection.update_many(doc! {}, update).await?;
        }
    }
    Ok((start, time(database).await?))
}

async fn time(database: &Database) -> Result<ClusterTime, Failure> {
    database.collection::<Document>("marks").insert_one(doc! {}).await?;
    Ok(database.run_command(doc! {"ping": 1}).await?.get_timestamp("operationTime")?.into())
}

struct Read {
    changes_count: usize,
    events_count: usize,
    bytes: usize,
}

async fn drain(source: &mut ChangeStreamSource, rules: &RuleSet, end: ClusterTime) -> Result<Read, Failure> {
    let mut read = Read { changes_count: 0, events_count: 0, bytes: 0 };
    let mut outcome = Outcome::default();
    loop {
        let batch: Batch = source.next().await?;
        read.changes_count += batch.len();
        read.bytes +=
            (0..batch.len()).filter_map(|index| batch.document(index)).map(|one| one.as_bytes().len()).sum::<usize>();
        for entry in batch.entries() {
            if let Entry::Change(change) = entry? {
                outcome.clear();
                rules.apply(&change, &mut outcome);
                read.events_count += outcome.events.len();
            }
        }
        if batch.is_empty() && batch.end.as_ref().is_some_and(|position| position.time >= end) {
            return Ok(read);
        }
    }
}

/// The time that a process has computed, in the kernel's hundredths of a second (`proc(5)`).
fn cpu_seconds(process_id: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok());
    f64::from(ticks.sum::<u32>()) / 100.0
}
