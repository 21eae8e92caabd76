//! The real program between a real MongoDB and a real NATS server: what a consumer of a Debezium outbox sees.

use async_nats::jetstream::message::StreamMessage;
use bson::oid::ObjectId;
use bson::{Document, doc};
use changeling_servers::{Nats, shared};
use serde_json::Value;

use crate::sink_stands::messages;
use crate::support::{Program, Running, free_name, wait_for, wait_until};

const RULES: &str = "version: 1\nrules: [{event: OrderPlaced, collection: DATABASE.orders, on: insert}]\n";

fn program(uri: &str, database: &str, nats: &str) -> Program {
    let config = format!(
        "name: shop\nsource: {{uri: \"{uri}\", await_time: 50ms}}\nrules: [rules.yaml]\n\
         explicit:\n  \
         - outbox: {{collection: {database}.outbox, layout: debezium, debezium: {{additional: ['type:header:eventType']}}}}\n  \
         - outbox: {{collection: {database}.second, layout: debezium, debezium: {{payload_format: debezium, tombstone_on_empty_payload: true}}}}\n\
         sinks: {{facts: {{nats: {{servers: [\"{nats}\"], stream: {{name: EVENTS}}}}}}}}\n\
         checkpoint: {{file: position}}\nhttp: {{listen: 127.0.0.1:0}}\n"
    );
    Program::with_config(&config).file("rules.yaml", &RULES.replace("DATABASE", database))
}

async fn opened(program: &Program) -> Running {
    let running = program.start(&["run"]);
    wait_until("the source is open", async || {
        running.assert_runs();
        running.stderr().contains("the source is open")
    })
    .await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debezium_outbox_reaches_its_consumers_as_they_know_it_beside_inferred_events() {
    let (server, nats) = (shared().await.unwrap(), Nats::start().await.unwrap());
    let name = free_name("to_nats");
    let database = server.client().await.unwrap().database(&name);
    let program = program(&server.uri(), &name, &nats.url());
    let running = opened(&program).await;
    let outbox = database.collection::<Document>("outbox");
    let (id, key) = (ObjectId::new(), ObjectId::new());
    let event = |id: ObjectId, aggregate_type: &str| {
        doc! {"_id": id, "aggregatetype": aggregate_type, "aggregateid": key, "type": "OrderPaid"}
    };
    let with = |mut event: Document, payload: bson::Bson| {
        event.insert("payload", payload);
        event
    };
    let at = bson::DateTime::from_millis(1_700_000_000_000);
    outbox.insert_one(with(event(id, "Order"), doc! {"total": 7_i64, "at": at}.into())).await.unwrap();
    outbox.insert_one(with(event(ObjectId::new(), "sales.Order"), "{\"a\": 1}".into())).await.unwrap();
    outbox.insert_one(with(event(ObjectId::new(), "Or der"), doc! {}.into())).await.unwrap();
    outbox.update_one(doc! {"_id": id}, doc! {"$set": {"seen": true}}).await.unwrap();
    outbox.delete_one(doc! {"_id": id}).await.unwrap();
    database.collection::<Document>("orders").insert_one(doc! {"_id": 1}).await.unwrap();
    let second = database.collection::<Document>("second");
    second.insert_one(with(event(ObjectId::new(), "Order"), doc! {"n": 42}.into())).await.unwrap();
    second.insert_one(with(event(ObjectId::new(), "Order"), bson::Bson::Null)).await.unwrap();
    let jetstream = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    wait_until("the stream is there", async || jetstream.get_stream("EVENTS").await.is_ok()).await;
    let messages = wait_for("all messages are there", async || {
        running.assert_runs();
        let messages = messages(&nats.url(), "EVENTS").await;
        (messages.len() >= 5).then_some(messages)
    })
    .await;
    let find = |subject: &str| {
        let found: Vec<_> = messages.iter().filter(|message| message.subject.as_str() == subject).collect();
        found
    };
    let header = |message: &StreamMessage, name: &str| {
        message.headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default()
    };
    let body = |message: &StreamMessage| String::from_utf8(message.payload.to_vec()).expect("UTF-8");
    let orders = find("outbox.event.Order");
    assert_eq!((orders.len(), messages.len()), (3, 5));
    let first = orders.iter().find(|message| header(message, "id") == id.to_hex()).expect("the id is a header");
    assert_eq!(body(first), r#"{"total":7,"at":{"$date":"2023-11-14T22:13:20Z"}}"#);
    assert_eq!((header(first, "eventType"), header(first, "ce-partitionkey")), ("OrderPaid".to_owned(), key.to_hex()));
    assert_eq!((header(first, "ce-origin"), header(first, "ce-eventid")), ("explicit".to_owned(), id.to_hex()));
    assert_eq!(header(first, "ce-relay"), format!("{name}.outbox"));
    assert_eq!(body(find("outbox.event.sales.Order")[0]), "{\"a\": 1}", "a text is passed on as it is");
    let canonical = "{\n  \"n\": {\n    \"$numberInt\": \"42\"\n  }\n}";
    assert!(orders.iter().any(|message| body(message) == canonical), "{:?}", orders.iter().map(|one| body(one)));
    let is_tombstone =
        |message: &StreamMessage| header(message, "ce-tombstone") == "true" && message.payload.is_empty();
    assert!(orders.iter().any(|message| is_tombstone(message)));
    let inferred: Value = serde_json::from_str(&body(find("events.OrderPlaced")[0])).expect("an envelope");
    assert_eq!((&inferred["origin"], &inferred["rule"]), (&"inferred".into(), &"OrderPlaced".into()));
    wait_until("the event with a bad subject is a dead letter", async || {
        program.text("dead_letters.jsonl").contains("holds a space")
    })
    .await;
    running.stopped().await.expect_code(0);
}
