//! An event store on a real server, relayed by the real program: the order of every stream, and what is told where it is broken.

use bson::{Document, doc};
use changeling_servers::free_port;
use mongodb::{Client, Collection};
use serde_json::Value;

use crate::support::{Program, Running, free_name, wait_until};

const STREAM_COUNT: usize = 5;
const VERSION_COUNT: i64 = 40;

struct Store {
    client: Client,
    events: Collection<Document>,
    program: Program,
    port: u16,
    namespace: String,
}

impl Store {
    async fn new() -> Self {
        let server = changeling_servers::shared().await.unwrap();
        let client = server.client().await.unwrap();
        let (database, port) = (free_name("store"), free_port());
        let namespace = format!("{database}.events");
        let config = format!(
            "name: {database}\n\
             source: {{uri: \"{}\", await_time: 50ms}}\n\
             rules: [rules.yaml]\n\
             explicit: [{{event_store: {{collection: {namespace}}}}}]\n\
             checkpoint: {{file: checkpoint.json, interval: 50ms}}\n\
             http: {{listen: \"127.0.0.1:{port}\"}}\n\
             sinks: {{lines: {{file: {{path: events.jsonl, fsync: never}}}}}}\n",
            server.uri()
        );
        let rules = format!("version: 1\nrules: [{{event: OrderPlaced, collection: {database}.orders, on: insert}}]\n");
        let program = Program::with_config(&config).file("rules.yaml", &rules);
        let events = client.database(&database).collection("events");
        Self { client, events, program, port, namespace }
    }

    async fn start(&self) -> Running {
        let running = self.program.start(&["run"]);
        wait_until("the program is ready", async || {
            running.assert_runs();
            let ready = reqwest::get(format!("http://127.0.0.1:{}/readyz", self.port)).await;
            ready.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        running
    }

    async fn append(&self, stream: &str, version: i64) {
        let event = doc! {"stream": stream, "version": version, "type": "Moved", "data": {"to": version}};
        self.events.insert_one(event).await.unwrap();
    }

    fn lines(&self) -> Vec<Value> {
        let text = self.program.text("events.jsonl");
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn until(&self, running: &Running, count: usize) {
        wait_until("all events are in the file", async || {
            running.assert_runs();
            self.lines().len() >= count
        })
        .await;
        assert_eq!(self.lines().len(), count);
    }

    async fn metric(&self, line: &str) -> bool {
        let page = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.port)).await.unwrap().text().await.unwrap();
        page.lines().any(|other| other == line)
    }

    /// The events of a stream in short: its versions, and `gap 3-5` or `repeat 4-2` for what was expected and what was found.
    fn told(&self, stream: &str) -> Vec<String> {
        let lines = self.lines();
        let of_stream = lines.iter().filter(|event| event["partitionkey"] == stream);
        let word = |event: &Value| match event["type"].as_str() {
            Some("changeling.gap") => {
                let data = &event["data"];
                assert_eq!(
                    (&data["stream"], &data["relay"]),
                    (&Value::from(stream), &Value::from(self.namespace.as_str()))
                );
                format!("{} {}-{}", data["kind"].as_str().unwrap(), data["expected"], data["found"])
            }
            _ => event["data"]["to"].to_string(),
        };
        of_stream.map(word).collect()
    }
}

/// Appends to several streams at once: some events one by one, some in transactions over two streams.
async fn append_concurrently(store: &Store) {
    let tasks = (0..STREAM_COUNT).map(|number| {
        let (client, events) = (store.client.clone(), store.events.clone());
        tokio::spawn(async move {
            let event = |stream: String, version: i64| {
                doc! {"stream": stream, "version": version, "type": "Moved", "data": {"to": version}}
            };
            for version in 1..=VERSION_COUNT {
                let (own, shared) = (event(format!("own {number}"), version), event(format!("both {number}"), version));
                if version % 3 == 0 {
                    let mut session = client.start_session().await.unwrap();
                    session.start_transaction().await.unwrap();
                    events.insert_one(own).session(&mut session).await.unwrap();
                    events.insert_one(shared).session(&mut session).await.unwrap();
                    session.commit_transaction().await.unwrap();
                } else {
                    events.insert_many([own, shared]).await.unwrap();
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn every_stream_is_published_in_its_order_and_what_breaks_it_is_told_before_the_event() {
    let store = Store::new().await;
    // A transaction does not create a collection while the program reads it for the first time.
    store.events.insert_one(doc! {"stream": "first", "version": 1, "type": "Moved", "data": {"to": 1}}).await.unwrap();
    let running = store.start().await;
    append_concurrently(&store).await;
    let count = 2 * STREAM_COUNT * usize::try_from(VERSION_COUNT).unwrap();
    store.until(&running, count).await;
    let all: Vec<String> = (1..=VERSION_COUNT).map(|version| version.to_string()).collect();
    for number in 0..STREAM_COUNT {
        assert_eq!(store.told(&format!("own {number}")), all);
        assert_eq!(store.told(&format!("both {number}")), all);
    }
    for version in [1, 2, 5, 3, 6] {
        store.append("secret-stream", version).await;
    }
    store.append("late", 9).await;
    store.events.update_one(doc! {"stream": "late"}, doc! {"$set": {"type": "Other"}}).await.unwrap();
    store.append("late", 10).await;
    store.until(&running, count + 9).await;
    assert_eq!(store.told("secret-stream"), ["1", "2", "gap 3-5", "5", "repeat 6-3", "3", "6"]);
    assert_eq!(store.told("late"), ["9", "10"]);
    let relay = &store.namespace;
    for line in [
        format!("changeling_stream_faults_total{{kind=\"gap\",relay=\"{relay}\"}} 1"),
        format!("changeling_stream_faults_total{{kind=\"repeat\",relay=\"{relay}\"}} 1"),
        format!("changeling_streams_unverified_total{{relay=\"{relay}\"}} 1"),
        format!("changeling_relay_ignored_total{{kind=\"update\",relay=\"{relay}\"}} 1"),
        format!("changeling_events_total{{rule=\"{relay}\",sink=\"lines\"}} {}", count + 7),
        "changeling_events_total{rule=\"changeling.gap\",sink=\"lines\"} 2".to_owned(),
    ] {
        wait_until(&line, async || store.metric(&line).await).await;
    }
    let finished = running.stopped().await.expect_code(0);
    let log = format!("{}{}", finished.stdout, finished.stderr);
    assert!(log.contains("out of order") && !log.contains("secret-stream"), "{log}");
    // After a restart nothing is known of the streams, and nothing is taken for a repeat.
    let running = store.start().await;
    store.append("secret-stream", 7).await;
    store.until(&running, count + 10).await;
    assert!(store.metric(&format!("changeling_streams_unverified_total{{relay=\"{relay}\"}} 1")).await);
    running.stopped().await.expect_code(0);
    assert_eq!(store.told("secret-stream").last().map(String::as_str), Some("7"));
}
