//! The MongoDB sink beyond the contract: one transaction with the checkpoint, and what the server may refuse.

use std::sync::Arc;

use changeling::failure::Disposition;
use changeling::mongo_client::{self, Deployment};
use changeling::secret::Secret;
use changeling::sink::{self, DeadLetter, DeadLetterSettings, Sink, SinkError, TransactionalWrite};
use changeling_servers::{Login, ReplicaSet, ReplicaSetOptions};
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database, IndexModel};
use serde_json::json;

use crate::sink_stands::{build, envelope, event, events, large_event};
use crate::support::{Program, free_name};

/// A database with a checkpoint that the owner 7 holds.
struct Place {
    uri: String,
    database: Database,
}

impl Place {
    async fn new() -> Self {
        Self::on(changeling_servers::shared().await.expect("mongod")).await
    }

    async fn on(set: &ReplicaSet) -> Self {
        let database = set.client().await.expect("a client").database(&free_name("joined"));
        let checkpoint = doc! {"_id": "shop", "owner": 7, "position": 0};
        database.collection("checkpoints").insert_one(checkpoint).await.expect("inserted");
        Self { uri: set.uri(), database }
    }

    async fn sink(&self) -> Box<dyn Sink> {
        let mut sink = build(json!({"mongodb": {"collection": format!("{}.events", self.database.name())}}), &self.uri);
        sink.open().await.expect("opened");
        sink
    }

    fn write(&self, owner: i32, position: i32) -> TransactionalWrite {
        TransactionalWrite {
            database: self.database.name().to_owned(),
            collection: "checkpoints".to_owned(),
            filter: doc! {"_id": "shop", "owner": owner},
            update: doc! {"$set": {"position": position}},
        }
    }

    fn events(&self) -> Collection<Document> {
        self.database.collection("events")
    }

    async fn event_count(&self) -> u64 {
        self.events().count_documents(doc! {}).await.expect("counted")
    }

    async fn position(&self) -> i32 {
        let checkpoints = self.database.collection::<Document>("checkpoints");
        let checkpoint = checkpoints.find_one(doc! {"_id": "shop"}).await.expect("found").expect("there");
        checkpoint.get_i32("position").expect("a position")
    }
}

#[tokio::test]
async fn events_and_checkpoint_are_there_together() {
    let place = Place::new().await;
    let mut sink = place.sink().await;
    sink.deliver_joined(&events(0..10), &place.write(7, 1)).await.expect("delivered");
    assert_eq!((place.event_count().await, place.position().await), (10, 1));
    sink.deliver_joined(&[], &place.write(7, 2)).await.expect("a checkpoint alone");
    assert_eq!((place.event_count().await, place.position().await), (10, 2));
    let found =
        place.events().find_one(doc! {"_id": event(3, "").id.to_string()}).await.expect("found").expect("there");
    assert_eq!(found.get_str("type").expect("a field"), "OrderPaid");
    assert_eq!(found.get_str("source").expect("a field"), "/changeling/shop/shop.orders");
    assert_eq!(found.get_document("data").expect("data").get_i64("number").expect("a field"), 3);
}

#[tokio::test]
async fn an_owner_that_was_replaced_delivers_nothing() {
    let place = Place::new().await;
    let mut sink = place.sink().await;
    let failure = sink.deliver_joined(&events(0..10), &place.write(6, 1)).await.expect_err("fenced");
    assert!(matches!(failure.error, SinkError::Fenced) && failure.delivered == 0);
    assert_eq!((place.event_count().await, place.position().await), (0, 0));
}

#[tokio::test]
async fn of_events_that_are_there_already_only_the_missing_are_added() {
    let place = Place::new().await;
    let mut sink = place.sink().await;
    sink.deliver(&events(5..8)).await.expect("delivered");
    sink.deliver(&events(2..3)).await.expect("delivered");
    sink.deliver_joined(&events(0..10), &place.write(7, 1)).await.expect("delivered");
    assert_eq!((place.event_count().await, place.position().await), (10, 1));
    sink.deliver_joined(&events(0..10), &place.write(7, 2)).await.expect("all are there");
    assert_eq!((place.event_count().await, place.position().await), (10, 2));
}

#[tokio::test]
async fn with_a_refused_event_the_checkpoint_waits_and_the_events_before_it_are_there() {
    let place = Place::new().await;
    let validator = doc! {"data.number": {"$ne": 5_i64}};
    place.database.create_collection("events").validator(validator).await.expect("created");
    let mut sink = place.sink().await;
    let failure = sink.deliver_joined(&events(0..10), &place.write(7, 1)).await.expect_err("refused");
    assert_eq!((failure.delivered, failure.error.disposition()), (5, Disposition::Reject));
    let text = failure.error.to_string();
    assert!(text.contains("validation rules") && !text.contains("a value"), "{text}");
    assert_eq!((place.event_count().await, place.position().await), (5, 0));
    sink.deliver_joined(&events(6..10), &place.write(7, 1)).await.expect("delivered");
    assert_eq!((place.event_count().await, place.position().await), (9, 1));
    let mut batch = events(20..22);
    batch.insert(1, Arc::new(large_event(30)));
    let failure = sink.deliver_joined(&batch, &place.write(7, 2)).await.expect_err("too large");
    assert_eq!((failure.delivered, failure.error.disposition()), (1, Disposition::Reject));
    assert_eq!((place.event_count().await, place.position().await), (10, 1));
}

#[tokio::test]
async fn a_unique_index_of_somebody_else_rejects_the_event_and_tells_no_value() {
    let place = Place::new().await;
    let unique = mongodb::options::IndexOptions::builder().unique(true).build();
    let index = IndexModel::builder().keys(doc! {"data.secret": 1}).options(unique).build();
    place.events().create_index(index).await.expect("created");
    let mut sink = place.sink().await;
    for joined in [false, true] {
        let batch = events(0..3);
        let delivered = match joined {
            false => sink.deliver(&batch).await,
            true => sink.deliver_joined(&batch, &place.write(7, 1)).await,
        };
        let failure = delivered.expect_err("refused");
        assert_eq!((failure.delivered, failure.error.disposition()), (1, Disposition::Reject));
        let text = failure.error.to_string();
        assert!(text.contains("unique index") && !text.contains("a value"), "{text}");
        assert_eq!((place.event_count().await, place.position().await), (1, 0));
    }
}

#[tokio::test]
async fn a_transaction_that_the_server_breaks_is_repeated_and_events_are_there_once() {
    let options = ReplicaSetOptions { test_commands: true, ..Default::default() };
    let set = ReplicaSet::start(&options).await.expect("mongod");
    let place = Place::on(&set).await;
    let mut sink = place.sink().await;
    let mut start = 0;
    for data in [
        doc! {"failCommands": ["insert"], "errorCode": 112, "errorLabels": ["TransientTransactionError"]},
        doc! {"failCommands": ["commitTransaction"], "errorCode": 251, "errorLabels": ["TransientTransactionError"]},
        doc! {"failCommands": ["commitTransaction"], "closeConnection": true},
        // The commit happens, and the answer says that nobody knows.
        doc! {"failCommands": ["commitTransaction"], "writeConcernError": {"code": 91, "errmsg": "shutting down"}},
        doc! {"failCommands": ["update"], "closeConnection": true},
    ] {
        set.fail_point(0, "failCommand", doc! {"times": 1}, data.clone()).await.expect("set");
        let batch = events(start..start + 10);
        start += 10;
        let mut attempts = 0;
        while let Err(failure) = sink.deliver_joined(&batch, &place.write(7, start as i32)).await {
            assert_eq!((failure.delivered, failure.error.disposition()), (0, Disposition::Retry), "{data}");
            attempts += 1;
            assert!(attempts < 10, "{data}: {}", failure.error);
        }
        assert_eq!((place.event_count().await, place.position().await), (u64::from(start), start as i32), "{data}");
    }
    set.fail_point(0, "failCommand", doc! {"times": 1}, doc! {"failCommands": ["insert"], "closeConnection": true})
        .await
        .expect("set");
    sink.deliver(&events(0..60)).await.expect("the driver repeats an insert by itself");
    assert_eq!(place.event_count().await, 60);
}

#[tokio::test]
async fn a_sink_joins_only_a_checkpoint_of_its_own_deployment() {
    let place = Place::new().await;
    let mut sink = build(json!({"mongodb": {"collection": format!("{}.events", place.database.name())}}), &place.uri);
    let client = mongo_client::connect(&Secret::new(&*place.uri)).await.expect("a client");
    let deployment = Deployment::find(&client).await.expect("a deployment").identity;
    assert!(!sink.joins(&deployment), "nobody knows before it is opened");
    sink.open().await.expect("opened");
    assert!(sink.joins(&deployment));
    assert!(!sink.joins("replica-set changeling 0123456789abcdef01234567"));
    let standalone = ReplicaSetOptions { standalone: true, ..Default::default() };
    let standalone = ReplicaSet::start(&standalone).await.expect("mongod");
    let mut sink = build(json!({"mongodb": {"collection": "shop.events", "uri": standalone.uri()}}), &place.uri);
    sink.open().await.expect("opened");
    assert!(!sink.joins(&deployment) && !sink.joins("standalone"));
    sink.deliver(&events(0..3)).await.expect("delivered without a transaction");
}

#[tokio::test]
async fn a_user_without_permission_is_told_what_to_ask_for() {
    let login = Login { user: "root".to_owned(), password: "rootPassword".to_owned() };
    let set = ReplicaSet::start(&ReplicaSetOptions { login: Some(login), ..Default::default() }).await.expect("mongod");
    let admin = set.client().await.expect("a client").database("admin");
    admin.run_command(doc! {"createUser": "reader", "pwd": "readerPassword", "roles": ["read"]}).await.expect("made");
    let uri = format!("{}&authSource=admin", set.uri_as(Some(("reader", "readerPassword"))));
    let mut sink = build(json!({"mongodb": {"collection": "shop.events"}}), &uri);
    sink.open().await.expect("opened");
    let failure = sink.deliver(&events(0..1)).await.expect_err("not allowed");
    let text = failure.error.to_string();
    assert_eq!(failure.error.disposition(), Disposition::Stop, "{text}");
    assert!(text.contains("may not write to shop.events") && text.contains("grantRolesToUser"), "{text}");
    let uri = format!("{}&authSource=admin", set.uri_as(Some(("reader", "wrongPassword"))));
    let error = build(json!({"mongodb": {"collection": "shop.events"}}), &uri).open().await.expect_err("not let in");
    let text = error.to_string();
    assert_eq!(error.disposition(), Disposition::Stop, "{text}");
    assert!(text.contains("does not accept the user") && !text.contains("wrongPassword"), "{text}");
}

#[tokio::test]
async fn dead_letters_are_documents_with_all_there_is_to_replay() {
    let place = Place::new().await;
    let settings = json!({"mongodb": {"collection": format!("{}.dead", place.database.name())}});
    let settings: DeadLetterSettings = serde_json::from_value(settings).expect("settings");
    let letters = sink::build_dead_letters(&settings, &envelope(), &Secret::new(&*place.uri)).expect("built");
    letters.open().await.expect("opened");
    let letter = DeadLetter {
        sink: Some("facts".into()),
        rule: Some("OrderPaid".into()),
        reason: "too large".into(),
        at: bson::DateTime::from_millis(1_700_000_000_000),
        event: Some(Arc::new(event(1, "customer 1"))),
        change: Some(bson::rawdoc! {"operationType": "insert", "n": 1_i64}),
    };
    letters.put(&letter).await.expect("written");
    let dead = place.database.collection::<Document>("dead");
    let found = dead.find_one(doc! {"sink": "facts", "rule": "OrderPaid"}).await.expect("found").expect("there");
    assert_eq!(found.get_str("connector").expect("a field"), "shop");
    assert_eq!(found.get_str("change").expect("a field"), r#"{"operationType":"insert","n":{"$numberLong":"1"}}"#);
    let event_text = found.get_str("event").expect("the event");
    let event_json: serde_json::Value = serde_json::from_str(event_text).expect("JSON");
    assert_eq!(event_json["id"], event(1, "").id.to_string());
    assert_eq!(event_json["data"]["number"], json!({"$numberLong": "1"}));
}

#[tokio::test]
async fn a_sink_that_writes_what_is_watched_by_another_name_of_the_server_is_refused() {
    let server = changeling_servers::shared().await.unwrap();
    let database = free_name("ring");
    let program = |collection: &str| {
        let config = format!(
            "name: {database}\n\
             source: {{uri: \"{}\"}}\n\
             rules: [rules.yaml]\n\
             checkpoint: {{file: checkpoint.json}}\n\
             http: {{listen: \"off\"}}\n\
             sinks: {{facts: {{mongodb: {{collection: {database}.{collection}, uri: \"{}\"}}}}}}\n",
            server.uri(),
            server.uri().replace("127.0.0.1", "localhost"),
        );
        let rules = format!("version: 1\nrules: [{{event: OrderPlaced, collection: {database}.orders, on: insert}}]\n");
        Program::with_config(&config).file("rules.yaml", &rules)
    };
    let refused = program("orders").run(&["run"]).await.expect_code(2);
    assert!(
        refused.stderr.contains("of the very deployment that is watched") && refused.stderr.contains("help:"),
        "{refused}"
    );
    let checked = program("orders").run(&["check"]).await.expect_code(1);
    assert!(format!("{checked}").contains("events would make events without end"), "{checked}");
    program("facts").run(&["check"]).await.expect_code(0);
}
