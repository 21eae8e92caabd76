//! Business operations that leave explicit events, in three ways at once, in one transaction: in an outbox, in an array of the order
//! itself and in an event store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc, oid::ObjectId};
use mongodb::{Client, Collection, Database};
use tokio::task::JoinHandle;

use super::PATIENCE;

/// What happens to an order, in this order.
pub const STEPS: [&str; 3] = ["OrderPlaced", "OrderPaid", "OrderShipped"];
/// The collections of the three relays.
pub const RELAYS: [&str; 3] = ["outbox", "orders", "store"];

/// The rules beside the relays.
pub fn rules(database: &str) -> String {
    format!(
        "version: 1\nrules:\n  - {{event: Paid, collection: {database}.orders, when: {{step: {{from: 1, to: 2}}}}, subject: \"{{$.key._id}}\"}}\n"
    )
}

/// The relays, with what they clean up.
pub fn relays(database: &str) -> String {
    format!(
        "explicit:\n  \
           - outbox: {{collection: {database}.outbox, layout: debezium, clean_up: delete}}\n  \
           - embedded_outbox: {{collection: {database}.orders, clean_up: pull}}\n  \
           - event_store: {{collection: {database}.store}}\n"
    )
}

/// Makes the collections.
pub async fn prepare(client: &Client, database: &str) {
    let database = client.database(database);
    let images = doc! {"enabled": true};
    let orders = doc! {"create": "orders", "changeStreamPreAndPostImages": images};
    database.run_command(orders).await.expect("creating a collection");
    for name in ["outbox", "store", "noise"] {
        database.create_collection(name).await.expect("creating a collection");
    }
}

/// Writers that run until they are stopped.
pub struct ExplicitLoad {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Vec<i64>>>,
}

impl ExplicitLoad {
    /// Starts a few writers, each with orders of its own.
    pub fn start(client: &Client, database: &str, pause: Duration) -> Self {
        const WRITERS: usize = 3;
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(1)));
        let writers = (0..WRITERS).map(|_| {
            let (shop, stop, next) = (Shop::new(client, database), stop.clone(), next.clone());
            tokio::spawn(async move {
                let mut orders = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let order = next.fetch_add(1, Ordering::Relaxed);
                    shop.live(order).await;
                    orders.push(order);
                    tokio::time::sleep(pause).await;
                }
                orders
            })
        });
        Self { stop: stop.clone(), writers: writers.collect() }
    }

    /// Stops the writers and gives the orders that went through every step.
    pub async fn finish(self) -> BTreeSet<i64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut orders = BTreeSet::new();
        for writer in self.writers {
            orders.extend(writer.await.expect("no writer gives up"));
        }
        orders
    }
}

/// An application.
pub struct Shop {
    client: Client,
    database: Database,
}

impl Shop {
    pub fn new(client: &Client, database: &str) -> Self {
        Self { client: client.clone(), database: client.database(database) }
    }

    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// Every step of an order.
    pub async fn live(&self, order: i64) {
        let deadline = Instant::now() + PATIENCE;
        for step in 1..=STEPS.len() as i64 {
            // A commit whose answer was lost may have been done, and the clean-up may write to the same order.
            while let Err(error) = self.take(order, step).await {
                assert!(Instant::now() < deadline, "the load can not write: {:?}", error.kind);
                tokio::time::sleep(Duration::from_millis(20)).await;
                let is_done = doc! {"_id": order, "step": step};
                if self.collection("orders").find_one(is_done).await.ok().flatten().is_some() {
                    break;
                }
            }
        }
    }

    async fn take(&self, order: i64, step: i64) -> mongodb::error::Result<()> {
        let event_type = STEPS[(step - 1) as usize];
        let data = doc! {"order": order, "step": step, "note": "n".repeat(100)};
        let element = doc! {"id": format!("{order}-{step}"), "type": event_type, "data": &data};
        let in_outbox = doc! {
            "_id": ObjectId::new(), "aggregatetype": "Order", "aggregateid": order.to_string(), "type": event_type, "payload": &data,
        };
        let in_store = doc! {"stream": order.to_string(), "version": step, "type": event_type, "data": &data};
        let mut session = self.client.start_session().await?;
        session.start_transaction().await?;
        let orders = self.collection("orders");
        match step {
            1 => {
                let document = doc! {"_id": order, "step": step, "_events": [element]};
                orders.insert_one(document).session(&mut session).await?;
            }
            _ => {
                let update = doc! {"$set": {"step": step}, "$push": {"_events": element}};
                let done =
                    orders.update_one(doc! {"_id": order, "step": step - 1}, update).session(&mut session).await?;
                if done.matched_count == 0 {
                    return session.abort_transaction().await;
                }
            }
        }
        self.collection("outbox").insert_one(in_outbox).session(&mut session).await?;
        self.collection("store").insert_one(in_store).session(&mut session).await?;
        session.commit_transaction().await
    }

    /// How many events are not cleaned up: documents of the outbox, and orders with events in them.
    pub async fn left(&self) -> (u64, u64) {
        let outbox = self.collection("outbox").count_documents(doc! {}).await.expect("counting");
        let orders = self.collection("orders").count_documents(doc! {"_events.0": {"$exists": true}}).await;
        (outbox, orders.expect("counting"))
    }
}

/// The explicit events in lines of JSON: for each relay and order its steps by first occurrence, and the ids of each.
#[derive(Debug, Default)]
pub struct Relayed {
    steps: BTreeMap<(String, i64), Vec<i64>>,
    ids: BTreeMap<(String, i64, i64), BTreeMap<String, usize>>,
}

impl Relayed {
    /// Of the lines; a last one without its end was not written whole and does not count.
    pub fn in_lines(text: &str) -> Self {
        let mut relayed = Self::default();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        for line in whole.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if event["origin"] != "explicit" {
                continue;
            }
            let field = |name: &str| event[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
            let number = |name: &str| event["data"][name].as_i64().unwrap_or_else(|| panic!("no {name}: {line}"));
            let (relay, order, step) = (field("relay"), number("order"), number("step"));
            assert_eq!(field("partitionkey"), order.to_string(), "{line}");
            assert_eq!(field("type"), STEPS[(step - 1) as usize], "{line}");
            let relay = relay.split_once('.').map(|(_, collection)| collection.to_owned()).expect("a namespace");
            let ids = relayed.ids.entry((relay.clone(), order, step)).or_default();
            if ids.is_empty() {
                relayed.steps.entry((relay, order)).or_default().push(step);
            }
            *ids.entry(field("id")).or_default() += 1;
        }
        relayed
    }

    /// How many events of a relay came, repeats not counted.
    pub fn count_of(&self, relay: &str) -> usize {
        self.ids.keys().filter(|(own, ..)| own == relay).count()
    }

    /// Repeats with the same id.
    pub fn repeat_count(&self) -> usize {
        self.ids.values().flat_map(BTreeMap::values).map(|count| count - 1).sum()
    }

    /// Fails unless every step of these orders came from the relay, in order, each under one id, and nothing else did.
    pub fn assert_is(&self, relay: &str, orders: &BTreeSet<i64>) {
        let all: Vec<i64> = (1..=STEPS.len() as i64).collect();
        for order in orders {
            let steps = self.steps.get(&(relay.to_owned(), *order)).cloned().unwrap_or_default();
            assert_eq!(steps, all, "{relay}: the steps of order {order}, by first occurrence");
        }
        for ((own, order, step), ids) in self.ids.iter().filter(|((own, ..), _)| own == relay) {
            assert!(orders.contains(order), "{own}: order {order} is not one of those");
            assert_eq!(ids.len(), 1, "{own}: more than one id for step {step} of order {order}: {ids:?}");
        }
    }
}
