//! Explicit events and parity, side by side in one run: `cargo bench --bench relay`.
//!
//! Relay: an outbox that was filled already is read by the real program and written to a file, against the driver alone reading and
//! counting the very same change stream. Parity: orders and an outbox, written in one transaction each, with parity and without.

mod draining;

use anstream::println;
use bson::{Document, doc, oid::ObjectId};
use changeling_servers::{ReplicaSet, ReplicaSetOptions};
use comfy_table::Table;
use draining::{Failure, ROUNDS, Subject, drain_program, median, series};
use mongodb::{Client, Database};

const RELAYED_COUNT: i32 = 200_000;
const CHUNK: i32 = 1_000;
/// Orders, each of them placed and paid in a transaction of its own: twice as many transactions, four times as many changes.
const ORDERS_COUNT: i32 = 20_000;
const WRITERS: i32 = 4;

const NO_RULES: &str = "version: 1\nrules: []\n";
const RULES: &str = r#"version: 1
defaults: {collection: orders.orders, key: "{$.key._id}"}
rules:
  - {event: OrderPlaced, on: insert, data: {orderId: $.key._id, total: $.after.total, customer: $.after.customer}}
  - {event: OrderPaid, when: {status: {from: pending, to: paid}}, data: {orderId: $.key._id, total: $.after.total}}
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
    println!("writing {RELAYED_COUNT} events into an outbox");
    fill_outbox(&client.database("outbox")).await?;
    let mut table = table([
        "drain to a file",
        "changes sent",
        "events",
        "raw driver",
        "changeling",
        "ratio",
        "start",
        "peak memory",
    ]);
    for (name, layout) in [("layout debezium", DEBEZIUM), ("layout custom", CUSTOM)] {
        let subject = Subject { database: "outbox", rules: NO_RULES, more: layout, is_pushed_down: true };
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
        "\n{table}\nratio: changes per second against the raw driver on the same stream, median of {ROUNDS} alternating rounds\n"
    );
    parity(&set, &client).await
}

const DEBEZIUM: &str = "explicit: [{outbox: {collection: outbox.outbox, layout: debezium}}]";
const CUSTOM: &str = "explicit: [{outbox: {collection: outbox.outbox, layout: custom, custom: {type: $.type, key: $.aggregateid, data: $.payload}}}]";
const OF_ORDERS: &str = "explicit: [{outbox: {collection: orders.outbox, layout: debezium}}]";

fn table<const COUNT: usize>(header: [&str; COUNT]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    table
}

async fn fill_outbox(database: &Database) -> Result<(), Failure> {
    let outbox = database.collection::<Document>("outbox");
    for chunk in 0..RELAYED_COUNT / CHUNK {
        let ids = chunk * CHUNK..(chunk + 1) * CHUNK;
        outbox.insert_many(ids.map(|id| placed(id, "Order"))).await?;
    }
    Ok(())
}

fn placed(id: i32, aggregate: &str) -> Document {
    let payload = doc! {"orderId": id, "total": f64::from(id) * 1.5, "customer": format!("customer {}", id % 97)};
    doc! {"_id": ObjectId::new(), "aggregatetype": aggregate, "aggregateid": id, "type": "OrderPlaced", "payload": payload}
}

fn paid(id: i32) -> Document {
    let payload = doc! {"orderId": id, "total": f64::from(id) * 1.5};
    doc! {"_id": ObjectId::new(), "aggregatetype": "Order", "aggregateid": id, "type": "OrderPaid", "payload": payload}
}

/// With parity and without, in turn: the same changes, the same events. With parity the server leaves nothing out, and so there is a
/// third run without parity, over the very stream that parity has.
async fn parity(set: &ReplicaSet, client: &Client) -> Result<(), Failure> {
    println!("writing {} transactions", ORDERS_COUNT * 2);
    let images = doc! {"enabled": true};
    let database = client.database("orders");
    database.run_command(doc! {"create": "orders", "changeStreamPreAndPostImages": images}).await?;
    database.create_collection("outbox").await?;
    let share = ORDERS_COUNT / WRITERS;
    let writers = (0..WRITERS).map(|writer| write_orders(client, writer * share..(writer + 1) * share));
    futures_util::future::try_join_all(writers).await?;
    let with_parity = format!("{OF_ORDERS}\nparity: {{}}");
    let subject = |more| Subject { database: "orders", rules: RULES, more, is_pushed_down: true };
    let off = subject(OF_ORDERS);
    let (same_stream, on) = (Subject { is_pushed_down: false, ..off }, subject(&with_parity));
    let first = drain_program(&off, set, None, async || {}).await?;
    let mut seconds = [Vec::new(), Vec::new(), Vec::new()];
    let mut peak_kibibytes = 0;
    for round in 1..=ROUNDS {
        for (subject, seconds) in [&off, &same_stream, &on].into_iter().zip(&mut seconds) {
            let drained = drain_program(subject, set, Some(first.file_bytes), async || {}).await?;
            seconds.push(drained.seconds);
            peak_kibibytes = peak_kibibytes.max(drained.peak_kibibytes);
        }
        println!("parity, round {round}: {:?} s", seconds.each_ref().map(|seconds| seconds[round - 1]));
    }
    let [off, same_stream, on] = seconds.map(median);
    let rate = |seconds: f64| format!("{:.0}/s", f64::from(ORDERS_COUNT * 4) / seconds);
    let mut table =
        table(["events", "parity off", "off, same stream", "parity on", "on / off", "on / same", "peak memory"]);
    table.add_row([
        first.events_count.to_string(),
        rate(off),
        rate(same_stream),
        rate(on),
        format!("{:.3}", on / off),
        format!("{:.3}", on / same_stream),
        format!("{:.1} MiB", peak_kibibytes as f64 / 1024.0),
    ]);
    println!(
        "\n{table}\nchanges per second, and times by each other; {ORDERS_COUNT} orders placed and paid, each with its outbox entry in one transaction"
    );
    Ok(())
}

async fn write_orders(client: &Client, ids: std::ops::Range<i32>) -> Result<(), Failure> {
    let database = client.database("orders");
    let (orders, outbox) = (database.collection::<Document>("orders"), database.collection::<Document>("outbox"));
    let mut session = client.start_session().await?;
    for id in ids {
        let total = f64::from(id) * 1.5;
        let order = doc! {"_id": id, "status": "pending", "total": total, "customer": format!("customer {}", id % 97)};
        session.start_transaction().await?;
        orders.insert_one(order).session(&mut session).await?;
        outbox.insert_one(placed(id, "Order")).session(&mut session).await?;
        session.commit_transaction().await?;
        session.start_transaction().await?;
        let pays = doc! {"$set": {"status": "paid"}};
        orders.update_one(doc! {"_id": id}, pays).session(&mut session).await?;
        outbox.insert_one(paid(id)).session(&mut session).await?;
        session.commit_transaction().await?;
    }
    Ok(())
}
