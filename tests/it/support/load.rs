//! A steady load of writes on a real MongoDB that knows, at every moment, what it has committed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use tokio::task::JoinHandle;

use super::PATIENCE;

/// The rules that the load is written for; `DATABASE` stands for the database's name.
const RULES: &str = r#"version: 1
defaults: {collection: DATABASE.orders, subject: "{$.key._id}"}
rules:
  - {event: OrderPlaced, on: insert, data: {total: $.after.total}}
  - {event: OrderPaid, when: {status: {from: pending, to: paid}}, data: {total: $.after.total}}
  - {event: OrderRemoved, on: delete}
  - {event: StockTaken, collection: DATABASE.stock, on: insert}
  - event: OrderStocked
    transaction: {order: {on: insert}, stock: {collection: DATABASE.stock, on: insert}}
    subject: "{$.order.key._id}"
    data: {total: $.order.after.total}
"#;

/// An event that a committed change must give: its type and its subject.
pub type Expected = BTreeSet<(String, String)>;

/// Writers that run until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<Mutex<Expected>>,
    writers: Vec<JoinHandle<()>>,
}

/// The rule file for the load in `database`.
pub fn rules(database: &str) -> String {
    RULES.replace("DATABASE", database)
}

/// Makes the collections, with pre- and post-images where the rules read them.
pub async fn prepare(client: &Client, database: &str) {
    let database = client.database(database);
    let images = doc! {"enabled": true};
    database
        .run_command(doc! {"create": "orders", "changeStreamPreAndPostImages": images})
        .await
        .expect("creating a collection");
    database.create_collection("stock").await.expect("creating a collection");
    database.create_collection("noise").await.expect("creating a collection");
}

impl Load {
    /// Starts a few writers, each with orders of its own.
    pub fn start(client: &Client, database: &str, pause: Duration) -> Self {
        const WRITERS: usize = 4;
        let load = Self { stop: Arc::default(), committed: Arc::default(), writers: Vec::new() };
        let next = Arc::new(AtomicI64::new(1));
        let writers = (0..WRITERS).map(|_| {
            let writer = Writer {
                client: client.clone(),
                database: database.to_owned(),
                committed: load.committed.clone(),
                deadline: Instant::now(),
            };
            tokio::spawn(writer.run(next.clone(), load.stop.clone(), pause))
        });
        let writers = writers.collect();
        Self { writers, ..load }
    }

    /// Stops the writers and gives what they have committed.
    pub async fn finish(self) -> Expected {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.expect("no writer gives up");
        }
        self.committed.lock().expect("no writer panics with the lock").clone()
    }
}

struct Writer {
    client: Client,
    database: String,
    committed: Arc<Mutex<Expected>>,
    deadline: Instant,
}

impl Writer {
    async fn run(mut self, next: Arc<AtomicI64>, stop: Arc<AtomicBool>, pause: Duration) {
        while !stop.load(Ordering::Relaxed) {
            let order = next.fetch_add(1, Ordering::Relaxed);
            self.live(order).await;
            tokio::time::sleep(pause).await;
        }
    }

    /// An order is placed (every third in a transaction with its stock), paid, and every second one removed.
    async fn live(&mut self, order: i64) {
        self.deadline = Instant::now() + PATIENCE;
        let document = doc! {"_id": order, "status": "pending", "total": order * 10, "note": "n".repeat(200)};
        if order % 3 == 0 {
            self.place_with_stock(order, &document).await;
            self.commit("StockTaken", order);
            self.commit("OrderStocked", order);
        } else {
            self.insert("orders", order, &document).await;
        }
        self.commit("OrderPlaced", order);
        self.insert("noise", order, &doc! {"_id": order}).await;
        self.pay(order).await;
        self.commit("OrderPaid", order);
        if order % 2 == 0 {
            self.remove(order).await;
            self.commit("OrderRemoved", order);
        }
    }

    fn commit(&self, event: &str, order: i64) {
        let event = (event.to_owned(), order.to_string());
        self.committed.lock().expect("no writer panics with the lock").insert(event);
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.database).collection(name)
    }

    /// A write whose answer was lost may have been done: every retry looks first.
    async fn failed(&self, error: mongodb::error::Error) {
        assert!(Instant::now() < self.deadline, "the load can not write: {:?}", error.kind);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    async fn exists(&self, name: &str, order: i64) -> bool {
        loop {
            match self.collection(name).find_one(doc! {"_id": order}).await {
                Ok(found) => return found.is_some(),
                Err(error) => self.failed(error).await,
            }
        }
    }

    async fn insert(&self, name: &str, order: i64, document: &Document) {
        while let Err(error) = self.collection(name).insert_one(document).await {
            self.failed(error).await;
            if self.exists(name, order).await {
                return;
            }
        }
    }

    async fn place_with_stock(&self, order: i64, document: &Document) {
        while let Err(error) = self.try_place_with_stock(order, document).await {
            self.failed(error).await;
            if self.exists("orders", order).await {
                return;
            }
        }
    }

    async fn try_place_with_stock(&self, order: i64, document: &Document) -> mongodb::error::Result<()> {
        let mut session = self.client.start_session().await?;
        session.start_transaction().await?;
        self.collection("stock").insert_one(doc! {"_id": order}).session(&mut session).await?;
        self.collection("orders").insert_one(document).session(&mut session).await?;
        session.commit_transaction().await
    }

    async fn pay(&self, order: i64) {
        let filter = doc! {"_id": order, "status": "pending"};
        loop {
            // Nothing matches if an attempt before this one did it without our hearing of it.
            match self.collection("orders").update_one(filter.clone(), doc! {"$set": {"status": "paid"}}).await {
                Ok(_) => return,
                Err(error) => self.failed(error).await,
            }
        }
    }

    async fn remove(&self, order: i64) {
        while let Err(error) = self.collection("orders").delete_one(doc! {"_id": order}).await {
            self.failed(error).await;
        }
    }
}
