//! Parity on a real MongoDB: the figures of a connector that is killed again and again are those of one that is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bson::{Document, doc};
use changeling_servers::free_port;
use mongodb::{Client, ClientSession, Collection};
use serde_json::Value;

use crate::support::chance::Chance;
use crate::support::{Program, Running, free_name, wait_until};

const RULES: &str = "version: 1\n\
    defaults: {collection: DATABASE.orders, data: {order: $.key._id}}\n\
    rules:\n  \
      - {event: OrderPaid, when: {status: paid}}\n  \
      - {event: OrderCancelled, when: {status: cancelled}}\n  \
      - {event: OrderSent, when: {status: sent}}\n  \
      - {event: OrderNoted, when: {note: changed}}\n";

/// A database that an application writes to, with an outbox.
struct Shop {
    client: Client,
    database: String,
    uri: String,
}

impl Shop {
    async fn new() -> Self {
        let set = changeling_servers::shared().await.unwrap();
        let shop = Self { client: set.client().await.unwrap(), database: free_name("parity"), uri: set.uri() };
        for name in ["orders", "outbox", "noise"] {
            shop.client.database(&shop.database).create_collection(name).await.unwrap();
        }
        shop
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.database).collection(name)
    }

    /// A connector with a checkpoint and sinks of its own.
    fn program(&self, name: &str, port: u16, checkpoint: &str, sink: &str) -> Program {
        let (uri, database) = (&self.uri, &self.database);
        let config = format!(
            "name: {name}\n\
             source: {{uri: \"{uri}\", watch: [{database}], await_time: 200ms}}\n\
             rules: [rules.yaml]\n\
             explicit: [{{outbox: {{collection: {database}.outbox, layout: debezium}}}}]\n\
             parity: {{window: 4s, ignore: [reason]}}\n\
             checkpoint: {{{checkpoint}, interval: 100ms, lease: 2s}}\n\
             http: {{listen: \"127.0.0.1:{port}\"}}\n\
             sinks: {{out: {sink}}}\n"
        );
        Program::with_config(&config).file("rules.yaml", &RULES.replace("DATABASE", database))
    }

    async fn update(&self, session: Option<&mut ClientSession>, order: i64, fields: Document) {
        let orders = self.collection("orders");
        let update = orders.update_one(doc! {"_id": order}, doc! {"$set": fields});
        match session {
            Some(session) => update.session(session).await.unwrap(),
            None => update.await.unwrap(),
        };
    }

    async fn record(&self, session: Option<&mut ClientSession>, kind: &str, order: i64) {
        let document = doc! {
            "aggregatetype": "order", "aggregateid": order.to_string(), "type": kind,
            "payload": {"order": order, "reason": "asked"},
        };
        let outbox = self.collection("outbox");
        let insert = outbox.insert_one(document);
        match session {
            Some(session) => insert.session(session).await.unwrap(),
            None => insert.await.unwrap(),
        };
    }

    /// What an application does with one order.
    async fn live(&self, order: i64) {
        self.collection("orders").insert_one(doc! {"_id": order, "status": "new", "note": ""}).await.unwrap();
        let mut session = self.client.start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        self.update(Some(&mut session), order, doc! {"status": "paid"}).await;
        self.record(Some(&mut session), "OrderPaid", order).await;
        session.commit_transaction().await.unwrap();
        session.start_transaction().await.unwrap();
        self.update(Some(&mut session), order, doc! {"status": "cancelled"}).await;
        let kind = if order % 3 == 0 { "OrderRefused" } else { "OrderCancelled" };
        self.record(Some(&mut session), kind, order).await;
        session.commit_transaction().await.unwrap();
        // Outside of transactions: recorded later, before, or never.
        if order % 4 == 1 {
            self.record(None, "OrderSent", order).await;
        }
        self.update(None, order, doc! {"status": "sent"}).await;
        if order % 4 == 2 {
            self.record(None, "OrderSent", order).await;
        }
        self.update(None, order, doc! {"note": "changed"}).await;
    }

    /// Writes until it is told to stop; gives the number of orders.
    async fn write(self: Arc<Self>, stop: Arc<AtomicBool>) -> i64 {
        let mut order = 0;
        while !stop.load(Ordering::Relaxed) {
            order += 1;
            self.live(order).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        order
    }
}

async fn figures(port: u16) -> Option<Value> {
    let text = reqwest::get(format!("http://127.0.0.1:{port}/parity")).await.ok()?.text().await.ok()?;
    serde_json::from_str(&text).ok()
}

/// Starts it, as a supervisor would: again, while the lease of the one before runs.
async fn start(program: &Program, port: u16) -> Running {
    loop {
        let running = program.start(&["run", "-c", "changeling.yaml"]);
        let mut is_ready = false;
        wait_until("the program is ready or ends", async || {
            let answer = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await;
            is_ready = answer.is_ok_and(|answer| answer.status().is_success());
            is_ready || !running.runs()
        })
        .await;
        if is_ready {
            return running;
        }
        let finished = running.finished().await;
        assert!(finished.code() == 3 && finished.stderr.contains("is owned by"), "{finished}");
    }
}

/// The sum of all events of all types, and the figures once nothing waits. Something is written meanwhile: the clock is the log's.
async fn settled(shop: &Shop, running: &Running, port: u16, orders: i64) -> Value {
    let mut last = Value::Null;
    wait_until("every event is decided", async || {
        running.assert_runs();
        shop.collection("noise").insert_one(doc! {}).await.unwrap();
        last = figures(port).await.unwrap_or_default();
        let sent = last["types"].as_array().into_iter().flatten().find(|kind| kind["name"] == "OrderNoted");
        sent.is_some_and(|sent| sent["inferred_count"] == orders) && last["pending_count"] == 0
    })
    .await;
    last["until_ms"] = Value::Null;
    last
}

fn kill_count() -> u32 {
    std::env::var("CHANGELING_KILLS").map_or(6, |kills| kills.parse().expect("CHANGELING_KILLS is a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_after_many_kills_are_those_of_an_undisturbed_run() {
    let (mut chance, seed) = Chance::seeded();
    let kills = kill_count();
    println!("CHANGELING_SEED={seed} CHANGELING_KILLS={kills}");
    let shop = Arc::new(Shop::new().await);
    let database = &shop.database;
    let in_mongodb = format!("mongodb: {{collection: {database}_state.checkpoints}}");
    let joined = format!("{{mongodb: {{collection: {database}_facts.events}}}}");
    let ports = [free_port(), free_port(), free_port()];
    let file = "{file: {path: events.jsonl, fsync: never}}";
    let programs = [
        shop.program("alone", ports[0], &in_mongodb, file),
        shop.program("joined", ports[1], &in_mongodb, &joined),
        shop.program("file", ports[2], "file: state/position", file),
    ];
    let alone = start(&programs[0], ports[0]).await;
    let mut killed = [start(&programs[1], ports[1]).await, start(&programs[2], ports[2]).await];
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(shop.clone().write(stop.clone()));
    for kill in 0..kills {
        tokio::time::sleep(chance.milliseconds(300..1_500)).await;
        let number = usize::try_from(kill % 2).unwrap();
        killed[number].process().kill().unwrap();
        killed[number] = start(&programs[number + 1], ports[number + 1]).await;
    }
    stop.store(true, Ordering::Relaxed);
    let orders = writing.await.unwrap();
    let wanted = settled(&shop, &alone, ports[0], orders).await;
    println!("{kills} kills, {orders} orders\n{wanted:#}");
    let paid = wanted["types"].as_array().unwrap().iter().find(|kind| kind["name"] == "OrderPaid").unwrap();
    assert_eq!(paid["matched_count"], orders);
    let refused = wanted["types"].as_array().unwrap().iter().find(|kind| kind["name"] == "OrderRefused").unwrap();
    assert_eq!(refused["missing_count"], orders / 3);
    assert_eq!(refused["judgement"]["verdict"], "needs_an_outbox");
    for (running, port) in killed.iter().zip(&ports[1..]) {
        assert_eq!(settled(&shop, running, *port, orders).await, wanted);
    }
    let metrics = reqwest::get(format!("http://127.0.0.1:{}/metrics", ports[0])).await.unwrap().text().await.unwrap();
    let line = format!("changeling_parity_events_total{{result=\"matched\",type=\"OrderPaid\"}} {orders}");
    assert!(metrics.contains(&line), "{metrics}");
    for running in killed.into_iter().chain([alone]) {
        running.stopped().await.expect_code(0);
    }
}
