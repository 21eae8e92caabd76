//! The promise under fire for explicit events: whatever is killed, each is published, in order, and cleaned up.

use std::collections::BTreeSet;
use std::time::Duration;

use changeling::mongo_client::Deployment;
use changeling::position::ClusterTime;
use changeling_servers::{ReplicaSet, ReplicaSetOptions, free_port};
use mongodb::Client;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

use crate::crash::{kill_count, kill_early, start};
use crate::support::chance::Chance;
use crate::support::explicit_load::{self, ExplicitLoad, RELAYS, Relayed, STEPS, Shop};
use crate::support::{Program, Running, free_name, wait_until};

/// An application with explicit events, and the program that relays them into a file.
struct Scene {
    client: Client,
    database: String,
    shop: Shop,
    program: Program,
    port: u16,
}

impl Scene {
    async fn new(set: &ReplicaSet, more: &str) -> Self {
        let client = set.client().await.unwrap();
        let database = free_name("explicit");
        explicit_load::prepare(&client, &database).await;
        let port = free_port();
        let config = format!(
            "name: {database}\n\
             source: {{uri: \"{}\", await_time: 200ms{more}}}\n\
             rules: [rules.yaml]\n\
             {}\
             checkpoint: {{mongodb: {{collection: {database}_state.checkpoints}}, interval: 200ms, lease: 2s}}\n\
             pipeline: {{queue_events_max: 500, retry: {{initial: 20ms, max: 200ms}}}}\n\
             http: {{listen: \"127.0.0.1:{port}\"}}\n\
             sinks: {{lines: {{file: {{path: events.jsonl, fsync: never}}}}}}\n",
            set.uri(),
            explicit_load::relays(&database),
        );
        let program = Program::with_config(&config).file("rules.yaml", &explicit_load::rules(&database));
        let shop = Shop::new(&client, &database);
        Self { client, database, shop, program, port }
    }

    async fn start(&self) -> Running {
        start(&self.program, self.port).await
    }

    fn relayed(&self) -> Relayed {
        Relayed::in_lines(&self.program.text("events.jsonl"))
    }

    /// Waits until a good deal more is published than now.
    async fn progress(&self, running: &Running) {
        const MORE: usize = 30;
        let enough = self.relayed().count_of("outbox") + MORE;
        wait_until("events arrive", async || {
            running.assert_runs();
            self.relayed().count_of("outbox") >= enough
        })
        .await;
    }

    async fn until_all_is_published(&self, running: &Running, relays: &[&str], orders: &BTreeSet<i64>) {
        let wanted = orders.len() * STEPS.len();
        wait_until("everything is published", async || {
            running.assert_runs();
            let relayed = self.relayed();
            relays.iter().all(|relay| relayed.count_of(relay) >= wanted)
        })
        .await;
    }

    async fn until_all_is_cleaned_up(&self, running: &Running) {
        wait_until("everything is cleaned up", async || {
            running.assert_runs();
            self.shop.left().await == (0, 0)
        })
        .await;
    }

    /// Waits until everything is published and cleaned up, then stops the program and compares.
    async fn settle(&self, running: Running, relays: &[&str], orders: &BTreeSet<i64>) {
        self.until_all_is_published(&running, relays, orders).await;
        self.until_all_is_cleaned_up(&running).await;
        running.stopped().await.expect_code(0);
        let relayed = self.relayed();
        for relay in relays {
            relayed.assert_is(relay, orders);
        }
        let letters = self.client.database(&format!("{}_state", self.database));
        let letters = letters.collection::<Document>("dead_letters").count_documents(doc! {}).await.unwrap();
        assert_eq!(letters, 0, "nothing is given up");
        println!("{} orders; repeated with the same id: {}", orders.len(), relayed.repeat_count());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_publishes_every_explicit_event_in_order_and_cleans_up() {
    let (mut chance, seed) = Chance::seeded();
    let kills = kill_count();
    println!("CHANGELING_SEED={seed} CHANGELING_KILLS={kills}");
    let set = ReplicaSet::start(&ReplicaSetOptions::default()).await.unwrap();
    let scene = Scene::new(&set, "").await;
    let mut running = scene.start().await;
    let load = ExplicitLoad::start(&scene.client, &scene.database, Duration::from_millis(20));
    let mut killed = 0;
    while killed < kills {
        if chance.happens(66) {
            scene.progress(&running).await;
        }
        tokio::time::sleep(chance.milliseconds(0..500)).await;
        running.process().kill().unwrap();
        killed += 1;
        if killed < kills && chance.happens(33) {
            killed += u32::from(kill_early(&scene.program, chance.milliseconds(0..3_000)).await);
        }
        running = scene.start().await;
    }
    scene.progress(&running).await;
    let orders = load.finish().await;
    println!("{killed} kills");
    scene.settle(running, &RELAYS, &orders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_publishing_and_cleaning_up_it_publishes_again_with_the_same_ids_and_cleans_up() {
    let options = ReplicaSetOptions { test_commands: true, ..Default::default() };
    let set = ReplicaSet::start(&options).await.unwrap();
    let scene = Scene::new(&set, "").await;
    let running = scene.start().await;
    let app = concat!("changeling/", env!("CARGO_PKG_VERSION"));
    // WriteConflict: it is tried again, and nothing is thought wrong with the server. Only the clean-up deletes.
    let data = doc! {"failCommands": ["delete"], "errorCode": 112, "appName": app};
    set.fail_point(0, "failCommand", Bson::from("alwaysOn"), data).await.unwrap();
    for order in 1..=20 {
        scene.shop.live(order).await;
    }
    let orders: BTreeSet<i64> = (1..=20).collect();
    scene.until_all_is_published(&running, &RELAYS, &orders).await;
    assert_eq!(scene.shop.left().await.0, 60, "nothing can be deleted");
    running.process().kill().unwrap();
    set.fail_point(0, "failCommand", Bson::from("off"), doc! {}).await.unwrap();
    let before = scene.relayed().repeat_count();
    let running = scene.start().await;
    scene.settle(running, &RELAYS, &orders).await;
    assert!(scene.relayed().repeat_count() >= before + 60, "what was not cleaned up was published again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_position_loses_no_event_of_an_outbox_that_is_cleaned_up() {
    let options = ReplicaSetOptions { oplog_megabytes: Some(1), ..Default::default() };
    let set = ReplicaSet::start(&options).await.unwrap();
    let scene = Scene::new(&set, ", on_lost_position: gap").await;
    let running = scene.start().await;
    scene.shop.live(1).await;
    scene.until_all_is_cleaned_up(&running).await;
    running.stopped().await.expect_code(0);
    // While it is away, what the application does leaves the oplog.
    for order in 2..=10 {
        scene.shop.live(order).await;
    }
    flood(&set, &scene).await;
    let running = scene.start().await;
    for order in 11..=15 {
        scene.shop.live(order).await;
    }
    let orders: BTreeSet<i64> = (1..=15).collect();
    // What an event store had in the gap is in the event store.
    scene.settle(running, &["outbox", "orders"], &orders).await;
    assert!(scene.program.text("events.jsonl").contains("changeling.gap"), "the position was lost");
}

/// Writes until the oplog holds nothing of what was written before.
async fn flood(set: &ReplicaSet, scene: &Scene) {
    let client = set.client().await.unwrap();
    let before = Deployment::find(&client).await.unwrap().time.unwrap();
    let noise = scene.shop.collection("noise");
    noise.insert_many((0..5).map(|_| doc! {"text": "x".repeat(1 << 20)})).await.unwrap();
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    // The server cuts its oplog about once a minute, when something is written.
    wait_until("the oplog has forgotten", async || {
        noise.insert_one(doc! {}).await.unwrap();
        let oldest = oplog.find_one(doc! {}).sort(doc! {"$natural": 1}).await.ok().flatten();
        oldest.is_some_and(|oldest| ClusterTime::from(oldest.get_timestamp("ts").unwrap()) > before)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_reads_what_an_old_outbox_holds_it_publishes_all_of_it() {
    const ORDERS: i64 = 1_500;
    let set = ReplicaSet::start(&ReplicaSetOptions::default()).await.unwrap();
    let scene = Scene::new(&set, "").await;
    // The outbox was there long before.
    let documents = (1..=STEPS.len() as i64).flat_map(|step| {
        (1..=ORDERS).map(move |order| {
            doc! {
                "_id": ObjectId::new(), "aggregatetype": "Order", "aggregateid": order.to_string(),
                "type": STEPS[(step - 1) as usize], "payload": {"order": order, "step": step},
            }
        })
    });
    scene.shop.collection("outbox").insert_many(documents).await.unwrap();
    let mut reached = 0;
    while reached < 4_000 {
        let running = scene.program.start(&["run", "-c", "changeling.yaml"]);
        wait_until("more is published", async || {
            running.assert_runs();
            scene.relayed().count_of("outbox") > reached
        })
        .await;
        running.process().kill().unwrap();
        reached += 2_000;
    }
    let running = scene.start().await;
    let orders: BTreeSet<i64> = (1..=ORDERS).collect();
    scene.settle(running, &["outbox"], &orders).await;
}
