//! Two streams that are read as one.

use std::sync::Arc;

use bson::{Document, doc};
use changeling::change::{Change, Entry};
use changeling::metrics::Metrics;
use changeling::mongo_client;
use changeling::position::Start;
use changeling::rules::{self, RuleSet};
use changeling::secret::Secret;
use changeling::source::{ChangeStreamSource, Plan, SourceSettings, StreamCount};
use changeling::yaml::SourceFile;
use mongodb::{Client, Database};

use crate::support::{Stream, free_name};

const RULES: &str = "\
version: 1
rules:
  - {event: Paid, collection: DATABASE.orders, when: {status: {from: new, to: paid}}}
  - {event: Seen, collection: [DATABASE.carts, DATABASE.people], on: [insert, update, delete]}
";

struct Two {
    stream: Stream,
    database: Database,
    session_of: Client,
}

/// A source of two streams in a database of its own, not open yet.
async fn two() -> Two {
    let server = changeling_servers::shared().await.unwrap();
    let name = free_name("streams");
    let text = RULES.replace("DATABASE", &name);
    let read = rules::read(&[SourceFile { name: "rules".to_owned(), text }]);
    let rules = RuleSet::compile(read.rules);
    let plan = Plan::for_rules(
        &rules,
        &changeling::explicit::Relays::default(),
        &rules.namespaces(),
        &[],
        StreamCount::Two,
        true,
    );
    assert_eq!(plan.streams().len(), 2);
    let client = mongo_client::connect(&Secret::new(server.uri())).await.unwrap();
    let database = client.database(&name);
    let images = doc! {"create": "orders", "changeStreamPreAndPostImages": {"enabled": true}};
    database.run_command(images).await.unwrap();
    for collection in ["carts", "people"] {
        database.create_collection(collection).await.unwrap();
    }
    let stream = Stream {
        source: source(&client, &plan),
        plan,
        batches: Vec::new(),
        metrics: Arc::new(Metrics::new().unwrap()),
    };
    Two { stream, database, session_of: client }
}

fn source(client: &Client, plan: &Plan) -> ChangeStreamSource {
    let settings: SourceSettings =
        serde_json::from_value(serde_json::json!({"uri": "unused", "await_time": "50ms"})).unwrap();
    ChangeStreamSource::new(client.clone(), &settings, plan.clone(), Arc::new(Metrics::new().unwrap()))
}

impl Two {
    async fn insert(&self, collection: &str, id: i32) {
        self.database.collection::<Document>(collection).insert_one(doc! {"_id": id}).await.unwrap();
    }

    /// Another source of the same plan.
    fn again(&self) -> Stream {
        let source = source(&self.session_of, &self.stream.plan);
        Stream {
            source,
            plan: self.stream.plan.clone(),
            batches: Vec::new(),
            metrics: Arc::clone(&self.stream.metrics),
        }
    }
}

/// The ids of the documents in what was read, notices left out.
fn ids(stream: &Stream) -> Vec<i32> {
    stream.changes().iter().filter_map(|change: &Change<'_>| change.id()?.as_i32()).collect()
}

async fn read(stream: &mut Stream, count: usize) {
    while ids(stream).len() < count {
        stream.next().await.unwrap();
    }
}

#[tokio::test]
async fn a_lone_change_of_either_stream_comes_without_another_and_is_not_read_twice() {
    let mut two = two().await;
    two.stream.open_at(&Start::Now).await;
    two.stream.next().await.unwrap();
    // `orders` takes updates only: the insert itself is left out, and moves the position all the same.
    two.insert("orders", 1).await;
    for id in [2, 3] {
        two.insert("carts", id).await;
        let count = ids(&two.stream).len() + 1;
        read(&mut two.stream, count).await;
        let mut again = two.again();
        again.open_at(&two.stream.resume()).await;
        two.database
            .collection::<Document>("orders")
            .update_one(doc! {"_id": 1}, doc! {"$set": {"status": "paid", "n": id}})
            .await
            .unwrap();
        two.database
            .collection::<Document>("orders")
            .update_one(doc! {"_id": 1}, doc! {"$set": {"status": "new", "n": id}})
            .await
            .unwrap();
        read(&mut two.stream, if id == 2 { 2 } else { 4 }).await;
        read(&mut again, 1).await;
        assert_eq!(ids(&again)[0], 1, "what was read before is not read again");
    }
    assert_eq!(ids(&two.stream), [2, 1, 3, 1]);
}

#[tokio::test]
async fn a_transaction_over_both_streams_comes_in_one_piece_and_in_its_order() {
    let mut two = two().await;
    two.database.collection::<Document>("orders").insert_one(doc! {"_id": 1, "status": "new"}).await.unwrap();
    two.stream.open_at(&Start::Now).await;
    let mut session = two.session_of.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    for id in [10, 11] {
        two.database.collection::<Document>("carts").insert_one(doc! {"_id": id}).session(&mut session).await.unwrap();
        let paid = doc! {"$set": {"status": "paid", "n": id}};
        two.database
            .collection::<Document>("orders")
            .update_one(doc! {"_id": 1}, paid)
            .session(&mut session)
            .await
            .unwrap();
    }
    session.commit_transaction().await.unwrap();
    read(&mut two.stream, 3).await;
    // The second update gives no field a value that a rule waits for: `status` is `paid` already.
    assert_eq!(ids(&two.stream), [10, 1, 11]);
    let changes = two.stream.changes();
    assert_eq!(changes.iter().map(|change| change.operation_index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(changes.iter().all(|change| change.cluster_time == changes[0].cluster_time));
    let time = changes[0].cluster_time;
    let position = two.stream.position();
    assert!(position.time >= time);
    // It has an end although nothing follows.
    while !two.stream.batches.last().is_some_and(|batch| batch.ends(time)) {
        two.stream.next().await.unwrap();
    }
}

#[tokio::test]
async fn the_position_moves_while_nothing_is_read_and_can_be_gone_on_from() {
    let mut two = two().await;
    two.stream.open_at(&Start::Now).await;
    two.stream.next().await.unwrap();
    let before = two.stream.position();
    two.insert("elsewhere", 1).await;
    while two.stream.position().time <= before.time {
        assert!(two.stream.next().await.unwrap().is_empty());
    }
    let mut again = two.again();
    again.open_at(&two.stream.resume()).await;
    two.insert("people", 2).await;
    read(&mut again, 1).await;
    assert_eq!(ids(&again), [2]);
}

#[tokio::test]
async fn a_collection_that_is_dropped_and_made_again_is_read_on() {
    let mut two = two().await;
    two.stream.open_at(&Start::Now).await;
    two.insert("carts", 1).await;
    two.database.collection::<Document>("orders").drop().await.unwrap();
    two.insert("carts", 2).await;
    read(&mut two.stream, 2).await;
    let has_seen_the_end = |stream: &Stream| stream.words().contains(&"invalidate");
    while !has_seen_the_end(&two.stream) {
        two.stream.next().await.unwrap();
    }
    let positions: Vec<_> = two.stream.batches.iter().filter_map(|batch| batch.end.clone()).collect();
    two.database.collection::<Document>("orders").insert_one(doc! {"_id": 3, "status": "new"}).await.unwrap();
    two.database
        .collection::<Document>("orders")
        .update_one(doc! {"_id": 3}, doc! {"$set": {"status": "paid"}})
        .await
        .unwrap();
    two.insert("people", 4).await;
    read(&mut two.stream, 4).await;
    assert_eq!(ids(&two.stream), [1, 2, 3, 4]);
    // From every place on the way, the rest follows.
    for position in positions {
        let mut again = two.again();
        again.open_at(&Start::Resume(position)).await;
        while ids(&again).last() != Some(&4) {
            again.next().await.unwrap();
        }
        assert!(ids(&two.stream).ends_with(&ids(&again)), "{:?}", ids(&again));
    }
}

#[tokio::test]
async fn changes_can_not_be_told_from_those_of_one_stream() {
    let two = two().await;
    let (server, name) = (changeling_servers::shared().await.unwrap(), two.database.name().to_owned());
    let mut one = Stream::open(&server.uri(), &[&format!("{name}.*")], crate::support::NO_IMAGES).await;
    let mut merged = two.again();
    merged.open_at(&Start::Now).await;
    for id in 0..40 {
        two.insert(if id % 3 == 0 { "people" } else { "carts" }, id).await;
    }
    read(&mut merged, 40).await;
    one.read(40).await;
    assert_eq!(ids(&merged), ids(&one));
    let tokens = |stream: &Stream| -> Vec<Document> {
        let token = |entry: &Entry<'_>| match entry {
            Entry::Change(change) => Document::try_from(change.token?).ok(),
            Entry::Notice(_) => None,
        };
        stream.entries().iter().filter_map(token).collect()
    };
    assert_eq!(tokens(&merged), tokens(&one));
}
