//! Tapes, replays and coverage: the real program on a real server, and over tapes that are made here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bson::{Document, RawDocumentBuf, doc};
use changeling::change::Batch;
use changeling::source::tape::read_slice;
use changeling::source::{TapeError, TapeHeader, TapeWriter};
use changeling_servers::shared;
use mongodb::{Client, Collection};
use regex::Regex;
use serde_json::Value;

use crate::support::{Program, free_name, wait_for, wait_until};

/// Rules over a shop: one needs the document before, one a look-up, one a whole transaction.
fn rules(database: &str) -> String {
    format!(
        "\
version: 1
rules:
  - {{event: OrderPlaced, collection: {database}.orders, on: insert, subject: 'order/{{$.key._id}}', data: {{total: $.after.total}}}}
  - {{event: OrderPaid, collection: {database}.orders, when: {{status: {{from: pending, to: paid}}}}, data: {{total: $.after.total}}}}
  - {{event: NoteRead, collection: {database}.notes, when: {{seen: true}}, data: {{text: $.after.text}}}}
  - {{event: NeverHappens, collection: {database}.orders, when: {{status: lost}}}}
  - {{event: StockTaken, collection: {database}.stock, on: insert}}
  - event: CheckoutCompleted
    transaction:
      order: {{collection: {database}.orders, on: insert}}
      stock: {{collection: {database}.stock, on: insert, many: true}}
    data: {{orderId: $.order.key._id}}
"
    )
}

/// A database of its own, and a folder with a configuration for it.
struct Shop {
    client: Client,
    database: String,
    /// Just before the first change, as `--since` takes it.
    begun: String,
    program: Program,
}

impl Shop {
    async fn new(stem: &str, more: &str) -> Self {
        let server = shared().await.unwrap();
        let client = server.client().await.unwrap();
        let database = free_name(stem);
        let images = doc! {"create": "orders", "changeStreamPreAndPostImages": {"enabled": true}};
        client.database(&database).run_command(images).await.unwrap();
        let hello = client.database("admin").run_command(doc! {"hello": 1}).await.unwrap();
        let now = hello.get_timestamp("operationTime").unwrap().time;
        let begun = bson::DateTime::from_millis(i64::from(now) * 1_000).try_to_rfc3339_string().unwrap();
        let config = format!(
            "name: {database}\nsource: {{uri: \"{}\", watch: [{database}], start: {begun}, await_time: 100ms}}\nrules: [rules.yaml]\n\
             sinks: {{out: {{file: {{path: delivered.jsonl}}}}}}\ncheckpoint: {{file: state/position, interval: 100ms}}\n\
             http: {{listen: \"127.0.0.1:0\"}}\nlog: {{format: json}}\n{more}",
            server.uri()
        );
        let program = Program::with_config(&config).file("rules.yaml", &rules(&database));
        Self { client, database, begun, program }
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.database).collection(name)
    }

    /// Ten orders: placed, paid, refunded, every second one in a transaction with its stock; and a note that is read.
    async fn live(&self) {
        let (orders, stock, notes) = (self.collection("orders"), self.collection("stock"), self.collection("notes"));
        for id in 0..10_i32 {
            let order = doc! {"_id": id, "status": "pending", "total": id * 10};
            if id % 2 == 0 {
                let mut session = self.client.start_session().await.unwrap();
                session.start_transaction().await.unwrap();
                orders.insert_one(&order).session(&mut session).await.unwrap();
                stock.insert_one(doc! {"_id": format!("{id}-a")}).session(&mut session).await.unwrap();
                stock.insert_one(doc! {"_id": format!("{id}-b")}).session(&mut session).await.unwrap();
                session.commit_transaction().await.unwrap();
            } else {
                orders.insert_one(&order).await.unwrap();
            }
            for status in ["paid", "refunded"] {
                orders.update_one(doc! {"_id": id}, doc! {"$set": {"status": status}}).await.unwrap();
            }
        }
        notes.insert_one(doc! {"_id": 1, "text": "hunter2", "seen": false}).await.unwrap();
        notes.update_one(doc! {"_id": 1}, doc! {"$set": {"seen": true}}).await.unwrap();
    }

    /// Lets the connector deliver everything, and gives the lines that it wrote.
    async fn delivered(&self) -> BTreeSet<String> {
        let running = self.program.start(&["run"]);
        wait_until("36 events are delivered", async || {
            running.assert_runs();
            self.program.text("delivered.jsonl").lines().count() >= 36
        })
        .await;
        running.stopped().await.expect_code(0);
        lines(&self.program, "delivered.jsonl")
    }
}

fn lines(program: &Program, name: &str) -> BTreeSet<String> {
    program.text(name).lines().map(str::to_owned).collect()
}

fn ids(lines: &BTreeSet<String>) -> BTreeSet<String> {
    let id = |line: &String| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    lines.iter().map(id).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_gives_what_a_run_delivers_and_touches_nothing() {
    let shop = Shop::new("tape", "").await;
    shop.live().await;
    let delivered = shop.delivered().await;
    assert_eq!(delivered.len(), 36, "{delivered:?}");
    let position = fs::read(shop.program.path("state/position")).unwrap();

    let recorded = shop.program.run(&["record", "--out", "shop.tape", "--since", &shop.begun]).await.expect_code(0);
    assert!(recorded.stdout.contains("42 changes"), "{recorded}");
    assert!(recorded.stderr.contains("holds the values of documents"), "{recorded}");
    let again = shop.program.run(&["record", "--out", "shop.tape"]).await.expect_code(3);
    assert!(again.stderr.contains("there is a file of this name"), "{again}");

    let replayed =
        shop.program.run(&["replay", "--tape", "shop.tape", "--events", "tape.jsonl", "--json"]).await.expect_code(0);
    assert_eq!(lines(&shop.program, "tape.jsonl"), delivered, "line by line what was delivered");
    let report = json(&replayed.stdout);
    assert_eq!((&report["events"], &report["read"]["changes"]), (&Value::from(36), &Value::from(42)), "{replayed}");
    assert_eq!(report["never_fired"], serde_json::json!(["NeverHappens"]));
    assert!(!replayed.stdout.contains("hunter2"), "values are not shown unless asked for\n{replayed}");

    // Straight over the log the same comes, but for what a run looks up.
    let since = ["replay", "--since", &shop.begun, "--events", "log.jsonl", "--samples", "1"];
    let direct = shop.program.run(&since).await.expect_code(0);
    let log = lines(&shop.program, "log.jsonl");
    assert_eq!(ids(&log), ids(&delivered), "{direct}");
    let others: Vec<&String> = delivered.difference(&log).collect();
    assert!(
        others.len() == 1 && others[0].contains("NoteRead") && others[0].contains("hunter2"),
        "{others:?}\n{direct}"
    );
    assert!(direct.stdout.contains("a run looks up documents"), "{direct}");
    assert!(direct.stdout.contains("{total: int}") && !direct.stdout.contains("order/"), "{direct}");

    assert_eq!(fs::read(shop.program.path("state/position")).unwrap(), position, "the checkpoint is as it was");
    assert_eq!(lines(&shop.program, "delivered.jsonl"), delivered, "nothing was delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn coverage_lists_what_no_rule_explains_and_its_rules_explain_it() {
    let shop = Shop::new("covered", "coverage: on\n").await;
    shop.live().await;
    shop.program.run(&["record", "--out", "shop.tape", "--since", &shop.begun]).await.expect_code(0);
    let covered = shop.program.run(&["coverage", "--tape", "shop.tape", "--json"]).await.expect_code(0);
    let report = json(&covered.stdout);
    let first = &report["shapes"][0];
    assert_eq!(first["what"], "update of status: paid -> refunded", "{covered}");
    assert_eq!((&first["count"], &report["unmatched"]), (&Value::from(10), &Value::from(11)), "{covered}");
    assert_eq!(report["never_fired"], serde_json::json!(["NeverHappens"]));

    let proposed = shop.program.run(&["coverage", "--since", &shop.begun, "--yaml"]).await.expect_code(0).stdout;
    assert!(proposed.contains("event: OrderRefunded"), "{proposed}");
    fs::write(shop.program.path("new.yaml"), &proposed).unwrap();
    let both = ["replay", "--tape", "shop.tape", "--rules", "rules.yaml", "new.yaml", "--json"];
    let replayed = shop.program.run(&both).await.expect_code(0);
    assert_eq!(
        json(&replayed.stdout)["unmatched"],
        Value::from(0),
        "with the proposed rules all is explained\n{replayed}"
    );

    // A running connector tells the same.
    let running = shop.program.start(&["run"]);
    let live = wait_for("the running connector has seen everything", async || {
        running.assert_runs();
        let log = running.stderr();
        let (_, rest) = log.split_once("\"address\":\"")?;
        let url = format!("http://{}/coverage", rest.split('"').next()?);
        let answer = reqwest::get(url).await.ok()?.text().await.ok()?;
        let live = serde_json::from_str::<Value>(&answer).ok()?;
        (live["changes"].as_u64() == Some(42)).then_some(live)
    })
    .await;
    running.stopped().await.expect_code(0);
    assert_eq!(live["shapes"], report["shapes"], "{live:#}");
    assert_eq!(live["never_fired"], report["never_fired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_stopped_is_a_whole_tape() {
    let shop = Shop::new("stopped", "").await;
    let running = shop.program.start(&["record", "--out", "live.tape"]);
    let (orders, mut id) = (shop.collection("orders"), 0_i32);
    // What was written before the stream is open is not on the tape: so until something is.
    let length = || fs::metadata(shop.program.path("live.tape")).map(|file| file.len()).unwrap_or(0);
    wait_until("the tape grows", async || {
        running.assert_runs();
        id += 1;
        orders.insert_one(doc! {"_id": id, "status": "pending"}).await.unwrap();
        length() > 600
    })
    .await;
    running.stopped().await.expect_code(0);
    let replayed = shop.program.run(&["replay", "--tape", "live.tape", "--json"]).await.expect_code(0);
    let report = json(&replayed.stdout);
    assert_eq!(report["events"], report["read"]["changes"], "{replayed}");
    assert!(report["events"].as_u64().unwrap() > 0 && report["read"]["complete"] == Value::Bool(true), "{replayed}");
    let three = shop.program.run(&["record", "--out", "three.tape", "--since", &shop.begun, "--changes", "3"]).await;
    assert!(three.expect_code(0).stdout.contains("3 changes"));
}

/// A change as a server without images sends it.
fn change(number: u32, operation: &str, more: Document) -> RawDocumentBuf {
    let time = bson::Timestamp { time: 1_767_225_600 + number, increment: 1 };
    let mut document = doc! {
        "_id": {"_data": format!("82{:08X}000000012B022C0100296E", time.time)}, "operationType": operation,
        "clusterTime": time, "ns": {"db": "shop", "coll": "orders"}, "documentKey": {"_id": number as i32 / 2},
    };
    document.extend(more);
    RawDocumentBuf::try_from(&document).unwrap()
}

/// A tape of twenty orders that are placed and paid.
fn write_tape(path: &Path) {
    let header = TapeHeader {
        version: "0.1.0".to_owned(),
        name: "shop".to_owned(),
        scope: "change_stream database shop".to_owned(),
        deployment: TapeHeader::deployment_of("replica-set rs0"),
        created_at: bson::DateTime::from_millis(1_767_225_600_000),
        has_before: false,
        has_after: false,
        has_look_ups: false,
    };
    let mut writer = TapeWriter::create(path, &header).unwrap();
    for number in 0..20 {
        let id = number as i32;
        let order = doc! {"_id": id, "status": "pending", "total": id * 10, "customer": {"name": "Ada"}};
        let changes = [
            change(number * 2, "insert", doc! {"fullDocument": order}),
            change(
                number * 2 + 1,
                "update",
                doc! {"updateDescription": {"updatedFields": {"status": "paid", "paid": id * 10}, "removedFields": []}},
            ),
        ];
        writer.write(&Batch::from_documents(changes.iter().map(|one| one.as_ref()), None), |_| true).unwrap();
        writer.flush().unwrap();
    }
    drop(writer.finish().unwrap());
}

const OLD: &str = "\
version: 1
defaults: {collection: shop.orders}
rules:
  - {event: OrderPlaced, on: insert, data: {orderId: $.key._id, total: $.after.total, customer: {name: $.after.customer.name}}}
  - {event: OrderPaid, when: {status: paid}, data: {orderId: $.key._id, amount: $.after.paid}}
  - {event: BigOrderPlaced, on: insert, where: {$.after.total: {gte: 180}}}
";

const NEW: &str = "\
version: 1
defaults: {collection: shop.orders, subject: 'order/{$.key._id}'}
rules:
  - {event: OrderPlaced, on: insert, data: {orderId: '{$.key._id}', total: $.after.total, customer: {called: $.after.customer.name}}}
  - {event: OrderPaid, when: {status: paid}, where: {$.after.paid: {gte: 50}}, data: {orderId: $.key._id, amount: $.after.paid}}
  - {event: OrderSettled, when: {paid: changed}, data: {amount: {path: $.after.gone, required: true}}}
  - {event: FreeOrderPlaced, on: insert, where: {$.after.total: 0}}
";

#[tokio::test]
async fn a_comparison_reads_as_a_review_of_the_change() {
    let program = Program::new().file("old/orders.yaml", OLD).file("new/orders.yaml", NEW);
    write_tape(&program.path("shop.tape"));
    let same =
        program.run(&["replay", "--tape", "shop.tape", "--compare", "old", "old/orders.yaml"]).await.expect_code(0);
    assert!(same.stdout.contains("the same events"), "{same}");
    let mut found = String::new();
    for values in [&["--samples", "1"][..], &["--samples", "1", "--show-values"]] {
        let arguments = [&["replay", "--tape", "shop.tape", "--compare", "old", "new"], values].concat();
        let finished = program.run(&arguments).await.expect_code(1);
        assert!(finished.stderr.is_empty(), "{finished}");
        found.push_str(&format!("$ changeling {}\n{}\n", arguments.join(" "), finished.stdout));
    }
    let found = Regex::new(r"read in .*").unwrap().replace_all(&found, "read in ...").into_owned();
    let path = "tests/data/replay/comparison.txt";
    if std::env::var_os("CHANGELING_UPDATE").is_some() {
        fs::create_dir_all("tests/data/replay").unwrap();
        fs::write(path, &found).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "--- expected\n{expected}\n--- found\n{found}\n\nIf that is right: CHANGELING_UPDATE=1");
    let report =
        json(&program.run(&["replay", "--tape", "shop.tape", "--compare", "old", "new", "--json"]).await.stdout);
    assert_eq!(
        (&report["same"], &report["rules"][0]["changed"]),
        (&Value::Bool(false), &Value::from(20)),
        "{report:#}"
    );
}

#[tokio::test]
async fn a_damaged_tape_is_replayed_up_to_the_damage_and_the_place_is_told() {
    let program = Program::new().file("rules.yaml", OLD);
    write_tape(&program.path("shop.tape"));
    let whole = fs::read(program.path("shop.tape")).unwrap();
    fs::write(program.path("cut.tape"), &whole[..whole.len() / 2]).unwrap();
    let cut = program.run(&["replay", "--tape", "cut.tape", "--rules", "rules.yaml"]).await.expect_code(3);
    assert!(cut.stdout.contains(" events;"), "what stands before is told\n{cut}");
    assert!(cut.stderr.contains("the tape cut.tape ends in the middle, at byte"), "{cut}");
    let none = program.run(&["replay", "--tape", "rules.yaml", "--rules", "rules.yaml"]).await;
    assert!(none.stderr.contains("rules.yaml is not a tape"), "{none}");
    let nothing = program.run(&["replay", "--rules", "rules.yaml"]).await.expect_code(2);
    assert!(nothing.stderr.contains("nothing says which changes to read"), "{nothing}");
}

#[test]
fn a_tape_of_this_format_that_was_recorded_earlier_can_still_be_read() {
    let kept = |name: &str| fs::read(format!("fuzz/seeds/tape/{name}.tape")).expect("the fuzzer's seeds are there");
    assert_eq!(read_slice(&kept("whole")).unwrap(), 6, "a change of the format needs a number of its own");
    assert!(matches!(read_slice(&kept("cut")).unwrap_err(), TapeError::Truncated { .. }));
}
