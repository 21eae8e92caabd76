//! Rules that are exchanged while the real program runs against a real database under writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use changeling_servers::{Login, ReplicaSet, ReplicaSetOptions, free_port, shared};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::support::{Program, Running, free_name, wait_for, wait_until};

/// One version of the rules. Some watch another collection, some need the document before a change: then the stream that they
/// are read from is another.
fn rules(database: &str, version: i64) -> String {
    let mut text = format!(
        "version: 1\ndefaults: {{data: {{version: {version}, number: $.after.number}}}}\nrules:\n  \
         - {{event: OrderPlaced, collection: {database}.orders, on: insert}}\n"
    );
    if watches_extra(version) {
        writeln!(text, "  - {{event: ExtraPlaced, collection: {database}.extra, on: insert}}").unwrap();
    }
    if version % 4 >= 2 {
        writeln!(text, "  - {{event: OrderMoved, collection: {database}.orders, when: {{place: {{from: a, to: b}}}}}}")
            .unwrap();
    }
    text
}

fn watches_extra(version: i64) -> bool {
    version % 3 == 1
}

struct Scene {
    program: Program,
    database: String,
    address: String,
}

impl Scene {
    fn new(uri: &str, more: &str) -> Self {
        let database = free_name("reload");
        let address = format!("127.0.0.1:{}", free_port());
        let config = format!(
            "name: {database}\nsource: {{uri: \"{uri}\", await_time: 50ms, batch_size: 50}}\nrules: [rules]\n\
             checkpoint: {{file: position, interval: 100ms}}\nhttp: {{listen: \"{address}\"}}\n\
             sinks: {{lines: {{file: {{path: events.jsonl, fsync: never}}}}}}\n{more}"
        );
        let program = Program::with_config(&config).file("rules/orders.yaml", &rules(&database, 0));
        Self { program, database, address }
    }

    /// Puts a rule file in place at once, as a careful editor does.
    fn install(&self, text: &str) {
        let (new, path) = (self.program.path("new.yaml"), self.program.path("rules/orders.yaml"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    async fn started(&self) -> Running {
        const OPEN: &str = "the source is open";
        let before = self.program.text("stderr").matches(OPEN).count();
        let running = self.program.start(&["run"]);
        wait_until(OPEN, async || {
            running.assert_runs();
            running.stderr().matches(OPEN).count() > before
        })
        .await;
        running
    }

    /// The value of a metric, with its labels; 0 if it is absent.
    async fn metric(&self, name: &str) -> f64 {
        let text = match reqwest::get(format!("http://{}/metrics", self.address)).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or_default()
    }

    async fn wait_for_metric(&self, running: &Running, name: &str, at_least: f64) {
        wait_until(&format!("{name} is at least {at_least}"), async || {
            running.assert_runs();
            self.metric(name).await >= at_least
        })
        .await;
    }

    fn events(&self) -> Vec<Value> {
        let text = self.program.text("events.jsonl");
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The events of one type, in the order of their arrival: number and version.
    fn placed(&self, event_type: &str) -> Vec<(i64, i64)> {
        let number = |event: &Value, name: &str| event["data"][name].as_i64().unwrap();
        let of_type = |event: &&Value| event["type"] == event_type;
        self.events().iter().filter(of_type).map(|event| (number(event, "number"), number(event, "version"))).collect()
    }
}

const ADOPTED: &str = "changeling_rules_reloads_total{result=\"adopted\"}";
const REFUSED: &str = "changeling_rules_reloads_total{result=\"refused\"}";

/// Writes without a pause: an order, an extra, and now and then some orders in one transaction. Gives the number of the last one.
async fn write(client: Client, database: String, stop: Arc<AtomicBool>) -> i64 {
    const IN_TRANSACTION: i64 = 5;
    let orders = client.database(&database).collection::<Document>("orders");
    let extra = client.database(&database).collection::<Document>("extra");
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        orders.insert_one(doc! {"_id": number, "number": number, "place": "a"}).await.unwrap();
        extra.insert_one(doc! {"_id": number, "number": number}).await.unwrap();
        if number % 7 == 0 {
            let mut session = client.start_session().await.unwrap();
            session.start_transaction().await.unwrap();
            for _ in 0..IN_TRANSACTION {
                number += 1;
                orders.insert_one(doc! {"_id": number, "number": number}).session(&mut session).await.unwrap();
            }
            session.commit_transaction().await.unwrap();
        }
        orders.update_one(doc! {"_id": number - 3}, doc! {"$set": {"place": "b"}}).await.unwrap();
    }
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_comes_once_under_one_rule_set_however_often_the_rules_are_exchanged() {
    const RELOADS: i64 = 24;
    let server = shared().await.unwrap();
    let client = server.client().await.unwrap();
    let scene = Scene::new(&server.uri(), "reload: {interval: 50ms}\n");
    let orders = doc! {"create": "orders", "changeStreamPreAndPostImages": {"enabled": true}};
    client.database(&scene.database).run_command(orders).await.unwrap();
    client.database(&scene.database).create_collection("extra").await.unwrap();
    let running = scene.started().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(client, scene.database.clone(), stop.clone()));
    for version in 1..=RELOADS {
        let seen = scene.placed("OrderPlaced").len();
        wait_until("events arrive", async || scene.placed("OrderPlaced").len() > seen + 5).await;
        scene.install(&rules(&scene.database, version));
        if version % 2 == 0 {
            running.process().hang_up().unwrap();
        }
        scene.wait_for_metric(&running, ADOPTED, version as f64).await;
    }
    stop.store(true, Ordering::Relaxed);
    let last = writer.await.unwrap();
    wait_until("the last order has its event", async || {
        scene.placed("OrderPlaced").iter().any(|(number, _)| *number == last)
    })
    .await;
    let log = running.stopped().await.expect_code(0).stderr;
    let reopened = log.matches("reopened=true").count();
    assert!((5..RELOADS as usize).contains(&reopened), "the source was opened again {reopened} times:\n{log}");

    let placed = scene.placed("OrderPlaced");
    let numbers: Vec<i64> = placed.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "every order once, in order");
    let versions: Vec<i64> = placed.iter().map(|(_, version)| *version).collect();
    assert!(versions.is_sorted(), "a set comes back: {versions:?}");
    assert_eq!((versions[0], versions[versions.len() - 1]), (0, RELOADS), "every set has had its turn");
    // A transaction has one cluster time, and is never put to two sets.
    let version_of: BTreeMap<i64, i64> = placed.iter().copied().collect();
    let with_extra: BTreeSet<i64> = numbers_with_extra().take_while(|number| *number <= last).collect();
    for number in (1..last).filter(|number| !with_extra.contains(number) && !with_extra.contains(&(number + 1))) {
        assert_eq!(version_of[&number], version_of[&(number + 1)], "the transaction of {number}");
    }
    check_extra(&scene, &version_of, &with_extra);
    check_hashes(&scene.events());
}

/// Between two orders that were put to one set there is an extra: that set has seen it, or never would.
fn check_extra(scene: &Scene, version_of: &BTreeMap<i64, i64>, with_extra: &BTreeSet<i64>) {
    let mut seen: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (number, version) in scene.placed("ExtraPlaced") {
        seen.entry(number).or_default().push(version);
    }
    assert!(seen.len() > 20, "only {} extras were seen", seen.len());
    for (number, versions) in &seen {
        assert_eq!(versions.len(), 1, "the extra {number} came under {versions:?}");
        assert!(watches_extra(versions[0]));
    }
    for (number, version) in version_of {
        if version_of.get(&(number + 1)) == Some(version) && watches_extra(*version) && with_extra.contains(number) {
            assert_eq!(seen.get(number), Some(&vec![*version]), "the extra {number} under {version}");
        }
    }
}

/// The orders that are followed by an extra: all but those written in transactions.
fn numbers_with_extra() -> impl Iterator<Item = i64> {
    let mut number = 0;
    std::iter::from_fn(move || {
        if number > 0 && number % 7 == 0 {
            number += 5;
        }
        number += 1;
        Some(number)
    })
}

/// Each set has one hash of its own, and every event names it.
fn check_hashes(events: &[Value]) {
    let mut hashes: BTreeMap<i64, String> = BTreeMap::new();
    for event in events {
        let hash = event["ruleset"].as_str().unwrap();
        assert_eq!(hash.len(), 12);
        let version = event["data"]["version"].as_i64().unwrap();
        assert_eq!(hashes.entry(version).or_insert_with(|| hash.to_owned()), hash, "of version {version}");
    }
    let distinct: BTreeSet<&String> = hashes.values().collect();
    assert_eq!(distinct.len(), hashes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rules_are_refused_and_told_and_those_before_stay_in_force() {
    let server = shared().await.unwrap();
    let client = server.client().await.unwrap();
    let ledger = free_name("ledger") + ".ledger";
    let more = format!("reload: {{watch: false}}\nexplicit: [{{event_store: {{collection: {ledger}}}}}]\n");
    let scene = Scene::new(&server.uri(), &more);
    let orders = client.database(&scene.database).collection::<Document>("orders");
    let running = scene.started().await;
    // However early and however often it comes, it never ends the program.
    for _ in 0..20 {
        running.process().hang_up().unwrap();
    }
    let mut refused = 0.0;
    let failing = rules(&scene.database, 1)
        + &format!(
            "tests:\n  - name: this one fails\n    change: {{insert: {}.orders, after: {{}}}}\n    expect: []\n",
            scene.database
        );
    let misspelt = rules(&scene.database, 1).replace("on: insert", "on: isnert");
    for (bad, told) in [
        (misspelt, vec!["the new rules are refused", "R009", "isnert", "did you mean \\\"insert\\\"?"]),
        (failing, vec!["this one fails", "rules/orders.yaml:"]),
        ("rules: [".to_owned(), vec!["Y001"]),
        (rules(&scene.database, 1).replace("on: insert", "on: insert, to: [nowhere]"), vec!["C017", "nowhere"]),
        (rules(&scene.database, 1).replace(&format!("{}.extra", scene.database), &ledger), vec!["a relay takes"]),
    ] {
        refused += 1.0;
        scene.install(&bad);
        running.process().hang_up().unwrap();
        scene.wait_for_metric(&running, REFUSED, refused).await;
        assert_eq!(scene.metric("changeling_rules_refused").await, 1.0);
        // One of the many signals at the start may have counted a refusal too: the log says that it was this one.
        for part in told {
            wait_until(&format!("{part:?} is told"), async || {
                let log = running.stderr();
                log.contains(part) || log.contains(&part.replace('\\', ""))
            })
            .await;
        }
    }
    orders.insert_one(doc! {"number": 1}).await.unwrap();
    wait_until("the set before makes an event", async || scene.placed("OrderPlaced") == [(1, 0)]).await;
    // Without the watch, only the signal has them read.
    scene.install(&rules(&scene.database, 1));
    running.process().hang_up().unwrap();
    scene.wait_for_metric(&running, ADOPTED, 1.0).await;
    assert_eq!(scene.metric("changeling_rules_refused").await, 0.0);
    orders.insert_one(doc! {"number": 2}).await.unwrap();
    wait_until("the new set makes an event", async || scene.placed("OrderPlaced") == [(1, 0), (2, 1)]).await;
    running.stopped().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_for_what_may_not_be_read_are_refused_and_reading_goes_on_where_it_was() {
    let login = Login { user: "root".to_owned(), password: "secret".to_owned() };
    let options = ReplicaSetOptions { login: Some(login), ..ReplicaSetOptions::default() };
    let server = ReplicaSet::start(&options).await.unwrap();
    let client = server.client().await.unwrap();
    let scene = Scene::new(&server.uri_as(Some(("reader", "hunter2"))), "reload: {interval: 50ms}\n");
    let user = doc! {"createUser": "reader", "pwd": "hunter2", "roles": [{"role": "read", "db": &scene.database}]};
    client.database("admin").run_command(user).await.unwrap();
    let orders = client.database(&scene.database).collection::<Document>("orders");
    let running = scene.started().await;
    orders.insert_one(doc! {"number": 1}).await.unwrap();
    wait_until("the first event is there", async || scene.placed("OrderPlaced").len() == 1).await;
    let elsewhere = rules(&scene.database, 1).replace(&format!("{}.extra", scene.database), "another_database.extra");
    scene.install(&elsewhere);
    scene.wait_for_metric(&running, REFUSED, 1.0).await;
    orders.insert_one(doc! {"number": 2}).await.unwrap();
    wait_for("the second event is there, once, under the set before", async || {
        (scene.placed("OrderPlaced") == [(1, 0), (2, 0)]).then_some(())
    })
    .await;
    assert!(running.stderr().contains("may not read"), "{}", running.stderr());
    running.stopped().await.expect_code(0);
    // The checkpoint is that of the scope before: a restart goes on from it.
    scene.install(&rules(&scene.database, 0));
    let again = scene.started().await;
    assert!(again.stderr().contains("reading goes on from the checkpoint"), "{}", again.stderr());
    again.stopped().await.expect_code(0);
    assert_eq!(scene.placed("OrderPlaced"), [(1, 0), (2, 0)]);
}
