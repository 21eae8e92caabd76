//! The whole way on a real MongoDB: change stream, rules, events and checkpoint in one transaction, and its one owner.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use changeling::checkpoint::{CheckpointError, MongodbStore, Store};
use changeling::metrics::Metrics;
use changeling::mongo_client::connect;
use changeling::pipeline::{
    LaneParts, Pipeline, PipelineError, PipelineSettings, RuleSlot, RunReport, Status, StopSignal,
};
use changeling::position::Start;
use changeling::quantity::Period;
use changeling::rules::ImageNeeds;
use changeling::secret::Secret;
use changeling::sink::{Envelope, EnvelopeSettings, SinkSettings, build};
use changeling::source::{ChangeStreamSource, OnLostPosition, Plan, Scope, SourceSettings};
use mongodb::{Client, Collection};
use tokio::task::JoinHandle;

use crate::simulated::{Letters, rules_for};
use crate::support::{free_name, wait_for, wait_until};

const LEASE: Duration = Duration::from_secs(3);

/// A database of its own, with its orders, events and checkpoints.
struct Place {
    uri: Secret,
    client: Client,
    database: String,
}

/// A pipeline that runs.
struct Running {
    task: JoinHandle<Result<RunReport, PipelineError>>,
    status: Arc<Status>,
    stop: StopSignal,
}

impl Place {
    async fn new(stem: &str) -> Self {
        let uri = Secret::new(changeling_servers::shared().await.unwrap().uri());
        let client = connect(&uri).await.unwrap();
        Self { uri, client, database: free_name(stem) }
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.database).collection(name)
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}.{name}", self.database)
    }

    async fn insert_orders(&self, ids: std::ops::Range<i32>) {
        let orders = ids.map(|id| doc! {"_id": id, "status": "pending"});
        self.collection("orders").insert_many(orders).await.unwrap();
    }

    async fn count_events(&self) -> u64 {
        self.collection("events").count_documents(doc! {}).await.unwrap()
    }

    async fn checkpoint(&self) -> Option<Document> {
        self.collection("checkpoints").find_one(doc! {"_id": "shop"}).await.unwrap()
    }

    fn store(&self) -> MongodbStore {
        MongodbStore::new(&self.client, &self.database, "checkpoints", "shop", LEASE)
    }

    fn run(&self, store: Arc<dyn Store>) -> Running {
        let metrics = Arc::new(Metrics::new().unwrap());
        let status = Arc::new(Status::new());
        let rules = rules_for(&self.database);
        let source: SourceSettings =
            serde_json::from_value(serde_json::json!({"uri": "unused", "await_time": "50ms"})).unwrap();
        let scope = Scope::covering(&rules.namespaces(), &[]);
        let plan = Plan::new(scope, ImageNeeds::default());
        let source = ChangeStreamSource::new(self.client.clone(), &source, plan, metrics.clone());
        let sink: SinkSettings =
            serde_json::from_value(serde_json::json!({"mongodb": {"collection": self.namespace("events")}})).unwrap();
        let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
        let sink = build("facts", &sink, &envelope, &self.uri).unwrap();
        let mut settings = PipelineSettings { delivery_events_max: 20, ..PipelineSettings::default() };
        settings.retry.max = Period::seconds(1);
        let pipeline = Pipeline {
            source: Box::new(source),
            start: Start::Now,
            on_lost_position: OnLostPosition::Stop,
            rules: RuleSlot::from(rules),
            relays: changeling::explicit::Relays::default(),
            outboxes: None,
            lanes: vec![LaneParts { name: "facts".to_owned(), sink }],
            dead_letters: Arc::new(Letters::default()),
            store,
            checkpoint_interval: Duration::from_millis(200),
            lease: LEASE,
            settings,
            metrics,
            status: status.clone(),
        };
        let stop = StopSignal::new();
        Running { task: tokio::spawn(pipeline.run(stop.clone())), status, stop }
    }

    fn start(&self) -> Running {
        self.run(Arc::new(self.store()))
    }
}

impl Running {
    async fn ready(self) -> Self {
        wait_until("the pipeline is ready", async || {
            assert!(!self.task.is_finished(), "the pipeline ended");
            self.status.readiness().is_good()
        })
        .await;
        self
    }

    async fn stopped(self) -> RunReport {
        self.stop.request();
        self.task.await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_checkpoint_are_written_in_one_transaction() {
    let place = Place::new("joined").await;
    let running = place.start().ready().await;
    place.insert_orders(0..100).await;
    wait_until("every event has arrived", async || place.count_events().await == 200).await;
    let report = running.stopped().await;
    assert_eq!((report.changes_count, report.events_count, report.unsettled_events_count), (100, 200, 0));

    // The oplog shows what was committed together.
    let oplog = place.client.database("local").collection::<Document>("oplog.rs");
    let events = place.namespace("events");
    let checkpoints = place.namespace("checkpoints");
    let with_events = doc! {"$or": [{"ns": &events, "op": "i"}, {"o.applyOps.ns": &events}]};
    let count = oplog.count_documents(with_events.clone()).await.unwrap();
    assert!(count >= 10, "at most 20 events at once: {count}");
    let alone = doc! {"$and": [with_events, {"o.applyOps.ns": {"$ne": &checkpoints}}]};
    let alone = oplog.find_one(alone).await.unwrap();
    assert_eq!(alone.map(|entry| entry.keys().cloned().collect::<Vec<_>>()), None, "events without their checkpoint");

    // The position in the transaction is that of the events in it: what comes after a stop goes on from there.
    place.insert_orders(100..110).await;
    let running = place.start().ready().await;
    wait_until("the rest has arrived", async || place.count_events().await == 220).await;
    assert_eq!(running.stopped().await.changes_count, 10, "nothing was read twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_dies_under_load_goes_on_without_gap_or_repeat() {
    let place = Arc::new(Place::new("dies").await);
    place.start().ready().await.stopped().await;
    let writer = tokio::spawn({
        let place = place.clone();
        async move {
            for first in (0..600).step_by(10) {
                place.insert_orders(first..first + 10).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let mut deaths = 0_u64;
    while !writer.is_finished() {
        let before = place.count_events().await;
        // As after a kill and a start on another machine, but without the wait for the lease.
        let update = doc! {"$set": {"owner.expiresAt": bson::DateTime::MIN}};
        place.collection("checkpoints").update_one(doc! {"_id": "shop"}, update).await.unwrap();
        let running = place.start();
        wait_until("it delivers, or there is nothing more", async || {
            place.count_events().await > before + 20 || writer.is_finished()
        })
        .await;
        tokio::time::sleep(Duration::from_millis(deaths * 37 % 100)).await;
        running.task.abort();
        assert!(running.task.await.unwrap_err().is_cancelled());
        deaths += 1;
    }
    writer.await.unwrap();
    let running = place.start();
    wait_until("every event has arrived", async || place.count_events().await >= 1_200).await;
    running.stopped().await;
    let ids = place.collection("events").distinct("subject", doc! {}).await.unwrap();
    assert!(ids.len() <= 600, "{}", ids.len());
    assert_eq!(place.count_events().await, 1_200, "after {deaths} deaths");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_live_owner_is_refused_and_the_successor_of_a_dead_one_goes_on() {
    let place = Place::new("owners").await;
    let first = place.start().ready().await;
    let second = place.start();
    let error = second.task.await.unwrap().unwrap_err();
    assert!(matches!(error, PipelineError::Checkpoint(CheckpointError::Owned { .. })), "{error:?}");

    place.insert_orders(0..5).await;
    wait_until("the first has delivered", async || place.count_events().await == 10).await;
    // It dies without a word; to the store it looks like any live process, because this test lives on.
    first.task.abort();
    assert!(first.task.await.unwrap_err().is_cancelled());
    place.insert_orders(5..10).await;
    let successor = place.start().ready().await;
    wait_until("the successor has delivered", async || place.count_events().await == 20).await;
    successor.stopped().await;
    assert!(!place.checkpoint().await.unwrap().contains_key("owner"), "the next one need not wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_owner_that_wakes_up_overwrites_nothing() {
    let place = Place::new("paused").await;
    let paused = Arc::new(place.store());
    assert_eq!(paused.acquire().await.unwrap(), None);
    // While it sleeps its lease ends, and a successor takes over and gets on.
    let successor = place.start().ready().await;
    place.insert_orders(0..10).await;
    wait_until("the successor has delivered", async || place.count_events().await == 20).await;
    successor.stopped().await;
    let saved = place.checkpoint().await.unwrap();

    /// Wakes up with the ownership it remembers.
    struct Awake(Arc<MongodbStore>);
    #[async_trait::async_trait]
    impl Store for Awake {
        async fn acquire(&self) -> Result<Option<changeling::checkpoint::Checkpoint>, CheckpointError> {
            Ok(None)
        }
        async fn renew(&self) -> Result<(), CheckpointError> {
            self.0.renew().await
        }
        async fn save(&self, checkpoint: &changeling::checkpoint::Checkpoint) -> Result<(), CheckpointError> {
            self.0.save(checkpoint).await
        }
        async fn release(&self) -> Result<(), CheckpointError> {
            self.0.release().await
        }
    }
    let woken = place.run(Arc::new(Awake(paused)));
    let error = woken.task.await.unwrap().unwrap_err();
    assert!(matches!(error, PipelineError::Checkpoint(CheckpointError::Fenced { .. })), "{error:?}");
    assert_eq!(place.checkpoint().await.unwrap(), saved);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_another_replica_set_is_refused() {
    let place = Place::new("elsewhere").await;
    place.start().ready().await.stopped().await;
    let update = doc! {"$set": {"deployment": "replica-set another 65a0"}};
    place.collection("checkpoints").update_one(doc! {"_id": "shop"}, update).await.unwrap();
    let error = place.start().task.await.unwrap().unwrap_err();
    assert!(matches!(error, PipelineError::OtherDeployment { .. }), "{error:?}");
    assert!(error.to_string().contains("replica-set another 65a0"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_database_keeps_its_place() {
    let place = Place::new("quiet").await;
    let running = place.start().ready().await;
    let position = async || place.checkpoint().await.and_then(|saved| saved.get_document("position").cloned().ok());
    let first = position().await;
    // Something else is written, which no rule and no stream of ours sees.
    place.client.database("admin").run_command(doc! {"appendOplogNote": 1, "data": {"quiet": true}}).await.unwrap();
    wait_for("the position moves", async || position().await.filter(|now| Some(now) != first.as_ref())).await;
    running.stopped().await;
}
