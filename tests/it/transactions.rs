//! Rules with `transaction` on a real server: how transactions arrive, where they end, and what a restart in their middle gives.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use changeling::change::Entry;
use changeling::event::Event;
use changeling::position::Start;
use changeling::rules::{self, Outcome, RuleSet, Translation, UnknownReason};
use changeling::yaml::SourceFile;
use changeling_servers::{ReplicaSet, ReplicaSetOptions, free_port};
use mongodb::{Client, ClientSession, Collection};

use crate::support::chance::Chance;
use crate::support::load::Expected;
use crate::support::received::{self, Received};
use crate::support::{IMAGES, Program, Running, Stream, free_name, wait_until};

const RULES: &str = r#"version: 1
rules:
  - {event: OrderPlaced, collection: DATABASE.orders, on: insert, subject: "{$.key._id}"}
  - {event: LineAdded, collection: DATABASE.lines, on: insert, subject: "{$.key._id}"}
  - event: CheckoutCompleted
    transaction:
      order: {collection: DATABASE.orders, on: insert}
      stock: {collection: DATABASE.stock, when: {available: decreased}, many: true}
      coupon: {collection: DATABASE.coupons, when: {usedBy: appears}, optional: true}
    absorbs: [OrderPlaced]
    subject: "{$.order.key._id}"
    data: {skus: "$.stock[*].key._id", left: "$.stock[*].after.available", coupon: $.coupon.key._id}
"#;

fn rule_file(database: &str) -> String {
    RULES.replace("DATABASE", database)
}

/// A database with its collections.
struct Shop {
    uri: String,
    client: Client,
    database: String,
}

impl Shop {
    async fn new(uri: String, client: Client) -> Self {
        let database = free_name("checkout");
        let shop = Self { uri, client, database };
        let images = doc! {"enabled": true};
        for name in ["orders", "lines", "stock", "coupons", "log"] {
            let create = doc! {"create": name, "changeStreamPreAndPostImages": images.clone()};
            shop.client.database(&shop.database).run_command(create).await.unwrap();
        }
        let stock = (0..10).map(|sku| doc! {"_id": sku, "available": 1_000});
        shop.collection("stock").insert_many(stock).await.unwrap();
        shop.collection("coupons").insert_one(doc! {"_id": "ten"}).await.unwrap();
        shop
    }

    async fn on_the_shared_server() -> Self {
        let set = changeling_servers::shared().await.unwrap();
        Self::new(set.uri(), set.client().await.unwrap()).await
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.database).collection(name)
    }

    async fn begin(&self) -> ClientSession {
        let mut session = self.client.start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        session
    }

    async fn insert(&self, session: &mut ClientSession, name: &str, document: Document) {
        self.collection(name).insert_one(document).session(session).await.unwrap();
    }

    async fn take(&self, session: &mut ClientSession, sku: i32) {
        let taken = doc! {"$inc": {"available": -1}};
        self.collection("stock").update_one(doc! {"_id": sku}, taken).session(session).await.unwrap();
    }

    fn rules(&self) -> Arc<RuleSet> {
        let file = SourceFile { name: "rules.yaml".to_owned(), text: rule_file(&self.database) };
        let reading = rules::read(&[file]);
        assert!(!reading.diagnostics.has_errors(), "{}", reading.diagnostics.render());
        Arc::new(RuleSet::compile(reading.rules))
    }

    /// Reads from the next change on, so many changes in a batch at most.
    async fn read(&self, batch_size: u32, bytes_max: usize) -> Reading {
        Reading::open(self, batch_size, bytes_max, &Start::Now).await
    }
}

/// What rules make of a stream.
struct Reading {
    stream: Stream,
    rules: Arc<RuleSet>,
    translation: Translation,
    outcome: Outcome,
    /// Positions at which a batch ended in the middle of a transaction.
    middles: Vec<Start>,
    most_bytes: usize,
}

impl Reading {
    async fn open(shop: &Shop, batch_size: u32, bytes_max: usize, start: &Start) -> Self {
        let settings = serde_json::json!({"uri": "unused", "await_time": "50ms", "batch_size": batch_size});
        let pattern = format!("{}.*", shop.database);
        let mut stream = Stream::with(&shop.uri, &[&pattern], IMAGES, settings).await;
        stream.open_at(start).await;
        let translation = Translation::new(bytes_max);
        let outcome = Outcome::default();
        Self { stream, rules: shop.rules(), translation, outcome, middles: Vec::new(), most_bytes: 0 }
    }

    /// Reads one batch.
    async fn step(&mut self) {
        self.stream.next().await.unwrap();
        let batch = self.stream.batches.last().unwrap();
        for entry in batch.entries() {
            if let Entry::Change(change) = entry.unwrap() {
                self.translation.apply(&self.rules, &change, &mut self.outcome);
                self.most_bytes = self.most_bytes.max(self.translation.byte_count());
            }
        }
        if self.translation.open_at().is_some_and(|time| batch.ends(time)) {
            self.translation.end(&mut self.outcome);
        } else if self.translation.is_open() {
            self.middles.extend(batch.end.clone().map(Start::Resume));
        }
    }

    /// Reads until the change of this document of the log, and what is before it has ended.
    async fn until_logged(&mut self, id: &str) -> Vec<String> {
        let is_it = |entry: &Entry<'_>| matches!(entry, Entry::Change(change) if change.id().and_then(|id| id.as_str()) == Some(id));
        while self.translation.is_open() || !self.stream.entries().iter().any(is_it) {
            self.step().await;
        }
        self.names()
    }

    fn names(&self) -> Vec<String> {
        self.outcome
            .events
            .iter()
            .map(|event| format!("{} {}", event.name, event.subject.as_deref().unwrap()))
            .collect()
    }

    fn event(&self, subject: &str) -> &Event {
        let is_it = |event: &&Event| &*event.name == "CheckoutCompleted" && event.subject.as_deref() == Some(subject);
        self.outcome.events.iter().find(is_it).unwrap()
    }

    fn data(&self, subject: &str) -> Document {
        Document::try_from(&*self.event(subject).data).unwrap()
    }
}

async fn log(shop: &Shop, id: &str) {
    shop.collection("log").insert_one(doc! {"_id": id}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_may_come_in_any_order_and_others_do_not_matter() {
    let shop = Shop::on_the_shared_server().await;
    for batch_size in [1, 2, 1_000] {
        let mut reading = shop.read(batch_size, 1 << 20).await;
        let first = i32::try_from(batch_size).unwrap() * 10;
        let mut session = shop.begin().await;
        shop.insert(&mut session, "orders", doc! {"_id": first}).await;
        shop.take(&mut session, 1).await;
        shop.take(&mut session, 2).await;
        session.commit_transaction().await.unwrap();
        session.start_transaction().await.unwrap();
        shop.take(&mut session, 3).await;
        shop.insert(&mut session, "log", doc! {"_id": format!("in {first}")}).await;
        let used = doc! {"$set": {"usedBy": first}};
        shop.collection("coupons").update_one(doc! {"_id": "ten"}, used).session(&mut session).await.unwrap();
        shop.insert(&mut session, "orders", doc! {"_id": first + 1}).await;
        session.commit_transaction().await.unwrap();
        session.start_transaction().await.unwrap();
        shop.insert(&mut session, "orders", doc! {"_id": first + 2}).await;
        session.commit_transaction().await.unwrap();
        shop.collection("coupons").update_one(doc! {"_id": "ten"}, doc! {"$unset": {"usedBy": 1}}).await.unwrap();
        log(&shop, &format!("after {first}")).await;
        let events = reading.until_logged(&format!("after {first}")).await;
        let wanted = [
            format!("CheckoutCompleted {first}"),
            format!("CheckoutCompleted {}", first + 1),
            format!("OrderPlaced {}", first + 2),
        ];
        assert_eq!(events, wanted, "{batch_size}");
        let without = reading.data(&first.to_string());
        assert_eq!(without.get_array("skus").unwrap(), &[1.into(), 2.into()]);
        assert!(!without.contains_key("coupon"));
        let with = reading.data(&(first + 1).to_string());
        assert_eq!((with.get_array("skus").unwrap().len(), with.get_str("coupon").unwrap()), (1, "ten"));
        assert_eq!(reading.event(&first.to_string()).evidence.as_str(), "exact");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_at_the_same_time_are_told_apart_and_an_aborted_transaction_gives_nothing() {
    let shop = Shop::on_the_shared_server().await;
    let mut reading = shop.read(3, 1 << 20).await;
    let (mut one, mut two, mut three) = (shop.begin().await, shop.begin().await, shop.begin().await);
    shop.insert(&mut one, "orders", doc! {"_id": 1}).await;
    shop.insert(&mut two, "orders", doc! {"_id": 2}).await;
    shop.insert(&mut three, "orders", doc! {"_id": 3}).await;
    shop.take(&mut two, 2).await;
    // A write that is tried again by itself has a session and a number too, but is no transaction.
    shop.collection("orders").insert_one(doc! {"_id": 4}).await.unwrap();
    shop.take(&mut one, 1).await;
    shop.take(&mut three, 3).await;
    two.commit_transaction().await.unwrap();
    three.abort_transaction().await.unwrap();
    one.commit_transaction().await.unwrap();
    log(&shop, "after").await;
    let events = reading.until_logged("after").await;
    assert_eq!(events, ["OrderPlaced 4", "CheckoutCompleted 2", "CheckoutCompleted 1"]);
    assert!(reading.outcome.undecided.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_has_ended_when_nothing_is_left_to_read() {
    let shop = Shop::on_the_shared_server().await;
    let mut reading = shop.read(1_000, 1 << 20).await;
    let mut session = shop.begin().await;
    shop.insert(&mut session, "orders", doc! {"_id": 1}).await;
    shop.take(&mut session, 1).await;
    session.commit_transaction().await.unwrap();
    // Nothing else is written here: the position stays in the transaction's cluster time.
    while reading.outcome.events.is_empty() {
        reading.step().await;
    }
    assert_eq!(reading.names(), ["CheckoutCompleted 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_larger_than_an_oplog_entry_is_one_and_a_restart_in_its_middle_repeats_it() {
    const LINES: i32 = 36;
    let shop = Shop::on_the_shared_server().await;
    let mut reading = shop.read(5, 1 << 20).await;
    let mut poor = shop.read(5, 2_000).await;
    poor.step().await;
    let before = poor.stream.resume();
    let mut session = shop.begin().await;
    shop.insert(&mut session, "orders", doc! {"_id": 1}).await;
    for line in 0..LINES {
        // More than the 16 MB of an oplog entry altogether.
        let text = "x".repeat(500_000);
        shop.insert(&mut session, "lines", doc! {"_id": line, "text": text}).await;
        shop.take(&mut session, line % 10).await;
    }
    session.commit_transaction().await.unwrap();
    log(&shop, "after").await;
    let events = reading.until_logged("after").await;
    assert_eq!(events.len(), usize::try_from(LINES).unwrap() + 1);
    assert_eq!(events.last().unwrap(), "CheckoutCompleted 1");
    assert_eq!(reading.data("1").get_array("left").unwrap().len(), usize::try_from(LINES).unwrap());
    assert!(reading.middles.len() > 5, "{} batches ended in the middle", reading.middles.len());
    assert!(reading.most_bytes < 64_000, "{} bytes of 18 MB were remembered", reading.most_bytes);
    let ids = |reading: &Reading| reading.outcome.events.iter().map(|event| event.id).collect::<Vec<_>>();

    let mut again = Reading::open(&shop, 7, 1 << 20, &before).await;
    again.until_logged("after").await;
    assert_eq!(ids(&again), ids(&reading), "the whole of it gives the same ids");

    let mut half = Reading::open(&shop, 1_000, 1 << 20, &reading.middles[2]).await;
    let events = half.until_logged("after").await;
    assert!(
        !events.iter().any(|event| event.starts_with("Checkout")),
        "what a saved position in the middle would cost"
    );

    let events = poor.until_logged("after").await;
    assert_eq!(events[0], "OrderPlaced 1");
    assert_eq!(events.len(), usize::try_from(LINES).unwrap() + 1);
    let undecided: Vec<UnknownReason> = poor.outcome.undecided.iter().map(|undecided| undecided.reason).collect();
    assert_eq!(undecided, [UnknownReason::TransactionTooLarge]);
    assert!(poor.most_bytes <= 4_000, "{}", poor.most_bytes);
}

/// How many lines a checkout has: many batches.
const LINES: i64 = 60;

/// Checks out until it is told to stop; gives what was committed.
async fn check_out(shop: &Shop, stop: &tokio_util::sync::CancellationToken) -> Expected {
    let mut expected = Expected::new();
    let mut order = 0;
    while !stop.is_cancelled() {
        order += 1;
        let mut session = shop.begin().await;
        shop.insert(&mut session, "orders", doc! {"_id": order}).await;
        for line in 0..LINES {
            shop.insert(&mut session, "lines", doc! {"_id": order * 1_000 + line}).await;
            expected.insert(("LineAdded".to_owned(), (order * 1_000 + line).to_string()));
        }
        shop.take(&mut session, i32::try_from(order % 10).unwrap()).await;
        session.commit_transaction().await.unwrap();
        expected.insert(("CheckoutCompleted".to_owned(), order.to_string()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    expected
}

async fn start(program: &Program) -> Running {
    let running = program.start(&["run", "-c", "changeling.yaml"]);
    wait_until("the source is open", async || {
        running.assert_runs();
        running.stderr().contains("the source is open")
    })
    .await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_transactions_every_one_gives_its_event_under_one_id() {
    const KILLS: u32 = 6;
    let (mut chance, seed) = Chance::seeded();
    println!("CHANGELING_SEED={seed}");
    let set = ReplicaSet::start(&ReplicaSetOptions::default()).await.unwrap();
    let shop = Arc::new(Shop::new(set.uri(), set.client().await.unwrap()).await);
    let (database, uri, facts) = (&shop.database, &shop.uri, format!("{}_facts", shop.database));
    let config = format!(
        "name: {database}\n\
         source: {{uri: \"{uri}\", await_time: 100ms, batch_size: 10}}\n\
         rules: [rules.yaml]\n\
         checkpoint: {{mongodb: {{collection: {database}_state.checkpoints}}, interval: 50ms, lease: 2s}}\n\
         http: {{listen: \"127.0.0.1:{}\"}}\n\
         pipeline: {{delivery_events_max: 7}}\n\
         sinks:\n  \
           lines: {{file: {{path: events.jsonl, fsync: never}}}}\n  \
           facts: {{mongodb: {{collection: {facts}.events}}}}\n",
        free_port()
    );
    let program = Program::with_config(&config).file("rules.yaml", &rule_file(database));
    let mut running = start(&program).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let writer = tokio::spawn({
        let (shop, stop) = (shop.clone(), stop.clone());
        async move { check_out(&shop, &stop).await }
    });
    for _ in 0..KILLS {
        let enough = received::count(&shop.client, &facts).await + 150;
        wait_until("events arrive", async || {
            running.assert_runs();
            received::count(&shop.client, &facts).await >= enough
        })
        .await;
        tokio::time::sleep(chance.milliseconds(0..100)).await;
        running.process().kill().unwrap();
        drop(running);
        running = start(&program).await;
    }
    stop.cancel();
    let expected = writer.await.unwrap();
    let lines = || {
        let mut lines = Received::default();
        lines.add_lines(&program.text("events.jsonl"));
        lines
    };
    let events = shop.client.database(&facts).collection("events");
    wait_until("every event is in both sinks", async || {
        running.assert_runs();
        received::count(&shop.client, &facts).await >= expected.len() as u64
            && Received::from_collection(&events).await.count_of(&expected) == expected.len()
            && lines().count_of(&expected) == expected.len()
    })
    .await;
    running.stopped().await.expect_code(0);
    Received::from_collection(&events).await.assert_is(&expected, "mongodb");
    lines().assert_is(&expected, "file");
    println!("{} events expected; repeated in the file with the same id: {}", expected.len(), lines().repeat_count());
}
