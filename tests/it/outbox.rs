//! What is read from outboxes and cleaned up there, on a real MongoDB.

use bson::{Bson, Document, RawBson, doc};
use changeling::explicit::{
    CleanUp, Done, EmbeddedCleanUp, EmbeddedOutboxSettings, Layout, OutboxSettings, RelaySettings,
};
use changeling::failure::Disposition;
use changeling::mongo_client::{Deployment, connect};
use changeling::namespace::Namespace;
use changeling::outbox::{MongodbOutboxes, Occasion, OutboxError, Outboxes};
use changeling::position::ClusterTime;
use changeling::quantity::Period;
use changeling::secret::Secret;
use changeling_servers::{Login, ReplicaSet, ReplicaSetOptions};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection};

use crate::support::free_name;

/// Two outboxes in a database of their own; the first relay is of another kind, so that numbers are not places in a list.
struct Place {
    client: Client,
    database: String,
}

impl Place {
    async fn new() -> Self {
        let set = changeling_servers::shared().await.unwrap();
        Self { client: set.client().await.unwrap(), database: free_name("outbox") }
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.database).collection(name)
    }

    fn outboxes(&self, clean_up: &CleanUp, catch_up: Option<bool>) -> MongodbOutboxes {
        let relay = |name: &str, clean_up| {
            let collection = Namespace { database: self.database.clone(), collection: name.to_owned() };
            let settings = OutboxSettings { clean_up, catch_up, ..OutboxSettings::new(collection, Layout::Debezium) };
            RelaySettings::Outbox(Box::new(settings))
        };
        let relays = ["kept", "first", "second"].map(|name| match name {
            "kept" => {
                let collection = Namespace { database: self.database.clone(), collection: name.to_owned() };
                RelaySettings::Outbox(Box::new(OutboxSettings::new(collection, Layout::Debezium)))
            }
            name => relay(name, clean_up.clone()),
        });
        MongodbOutboxes::new(&self.client, &relays).unwrap()
    }

    async fn insert(&self, name: &str, ids: &[i32]) {
        let documents = ids.iter().map(|id| doc! {"_id": id, "type": "OrderPaid"});
        self.collection(name).insert_many(documents).await.unwrap();
    }

    async fn now(&self) -> ClusterTime {
        Deployment::find(&self.client).await.unwrap().time.unwrap()
    }

    async fn ids(&self, name: &str) -> Vec<i32> {
        let found = self.collection(name).find(doc! {}).sort(doc! {"_id": 1}).await.unwrap();
        let found: Vec<Document> = found.try_collect().await.unwrap();
        found.iter().map(|document| document.get_i32("_id").unwrap()).collect()
    }
}

fn done(relay: usize, ids: impl IntoIterator<Item = i32>) -> Vec<Done> {
    ids.into_iter().map(|id| Done { relay, document: RawBson::Int32(id), element: None }).collect()
}

fn mark() -> CleanUp {
    CleanUp::Mark { field: "relayedAt".to_owned(), keep_for: Period::seconds(3_600) }
}

/// What a scan gives: the number of the relay and the `_id` of each document, in order.
async fn scanned(outboxes: &MongodbOutboxes, occasion: Occasion) -> Vec<(usize, i32)> {
    let mut scan = outboxes.scan(occasion).await.unwrap();
    let mut scanned = Vec::new();
    loop {
        let documents = scan.next().await.unwrap();
        if documents.is_empty() {
            return scanned;
        }
        scanned.extend(documents.iter().map(|(relay, document)| (*relay, document.get_i32("_id").unwrap())));
    }
}

#[tokio::test]
async fn what_changes_after_the_checkpoint_bring_is_not_read_from_the_outbox_nor_what_was_cleaned_up_since() {
    let place = Place::new().await;
    for (number, clean_up) in [CleanUp::Delete, mark()].into_iter().enumerate() {
        let place = Place { client: place.client.clone(), database: format!("{}_{number}", place.database) };
        let outboxes = place.outboxes(&clean_up, None);
        outboxes.prepare().await.unwrap();
        // In another order than that of their ids.
        place.insert("first", &[7, 3, 9]).await;
        place.insert("second", &[1, 2]).await;
        let checkpoint = place.now().await;
        place.insert("first", &[4, 8]).await;
        outboxes.clean_up(&done(1, [3])).await.unwrap();
        outboxes.clean_up(&done(2, [1, 77])).await.unwrap();
        let with_checkpoint = scanned(&outboxes, Occasion::Checkpoint(checkpoint)).await;
        assert_eq!(with_checkpoint, [(1, 7), (1, 9), (2, 2)], "{clean_up:?}");
        let everything = [(1, 7), (1, 9), (1, 4), (1, 8), (2, 2)];
        assert_eq!(scanned(&outboxes, Occasion::NoCheckpoint).await, everything, "{clean_up:?}");
        assert_eq!(scanned(&outboxes, Occasion::LostPosition).await, everything, "{clean_up:?}");
    }
}

#[tokio::test]
async fn what_the_server_does_not_remember_is_read_as_it_is_now() {
    let place = Place::new().await;
    let outboxes = place.outboxes(&CleanUp::Delete, None);
    place.insert("first", &[1, 2]).await;
    let long_ago = ClusterTime { seconds: 1_000_000, increment: 1 };
    assert_eq!(scanned(&outboxes, Occasion::Checkpoint(long_ago)).await, [(1, 1), (1, 2)]);
}

#[tokio::test]
async fn what_is_kept_is_read_once_and_only_on_request() {
    let place = Place::new().await;
    place.insert("first", &[1, 2]).await;
    place.insert("kept", &[5]).await;
    let outboxes = place.outboxes(&CleanUp::Keep, Some(true));
    assert_eq!(scanned(&outboxes, Occasion::NoCheckpoint).await, [(1, 1), (1, 2)]);
    assert!(scanned(&outboxes, Occasion::Checkpoint(place.now().await)).await.is_empty());
    assert!(scanned(&outboxes, Occasion::LostPosition).await.is_empty());
}

#[tokio::test]
async fn a_large_outbox_is_read_in_parts_and_cleaned_up_whole() {
    const COUNT: i32 = 2_345;
    let place = Place::new().await;
    let outboxes = place.outboxes(&CleanUp::Delete, None);
    let backwards: Vec<i32> = (0..COUNT).rev().collect();
    place.insert("first", &backwards).await;
    let checkpoint = place.now().await;
    let mut scan = outboxes.scan(Occasion::Checkpoint(checkpoint)).await.unwrap();
    let mut read = Vec::new();
    loop {
        let documents = scan.next().await.unwrap();
        if documents.is_empty() {
            break;
        }
        assert!(documents.len() <= 500, "{}", documents.len());
        read.extend(documents.iter().map(|(_, document)| document.get_i32("_id").unwrap()));
    }
    assert_eq!(read, backwards, "in the order of insertion");
    outboxes.clean_up(&done(1, 0..COUNT)).await.unwrap();
    assert!(place.ids("first").await.is_empty());
}

#[tokio::test]
async fn a_mark_is_the_time_once_and_an_index_deletes_it_later() {
    let place = Place::new().await;
    let outboxes = place.outboxes(&mark(), None);
    assert!(outboxes.problems().await.is_empty(), "the index can be made");
    outboxes.prepare().await.unwrap();
    outboxes.prepare().await.unwrap();
    place.insert("first", &[1, 2]).await;
    outboxes.clean_up(&done(1, [1])).await.unwrap();
    let marked = async || {
        let document = place.collection("first").find_one(doc! {"_id": 1}).await.unwrap().unwrap();
        document.get("relayedAt").cloned()
    };
    let first = marked().await;
    assert!(matches!(first, Some(Bson::DateTime(_))), "{first:?}");
    outboxes.clean_up(&done(1, [1])).await.unwrap();
    assert_eq!(marked().await, first, "a repeat does not keep it longer");
    let indexes: Vec<_> = place.collection("first").list_indexes().await.unwrap().try_collect().await.unwrap();
    let expiries: Vec<_> =
        indexes.iter().filter_map(|index| index.options.clone()?.expire_after).map(|after| after.as_secs()).collect();
    assert_eq!(expiries, [3_600]);
}

#[tokio::test]
async fn an_index_with_another_expiry_stops_with_the_command_that_changes_it() {
    let place = Place::new().await;
    let index = doc! {"key": {"relayedAt": 1}, "name": "mine", "expireAfterSeconds": 60};
    let command = doc! {"createIndexes": "second", "indexes": [index]};
    place.client.database(&place.database).run_command(command).await.unwrap();
    let outboxes = place.outboxes(&mark(), None);
    let error = outboxes.prepare().await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop);
    let text = error.to_string();
    assert!(text.contains("its index on relayedAt deletes after 60 s, and `keep_for` says 3600 s"), "{text}");
    let OutboxError::Refused { help, .. } = error else { panic!("{error}") };
    assert!(help.contains("collMod: \"second\"") && help.contains("expireAfterSeconds: 3600"), "{help}");
    assert_eq!(outboxes.problems().await.len(), 1);
    // What the help says, done.
    let change = doc! {"collMod": "second", "index": {"keyPattern": {"relayedAt": 1}, "expireAfterSeconds": 3_600}};
    place.client.database(&place.database).run_command(change).await.unwrap();
    outboxes.prepare().await.unwrap();
}

#[tokio::test]
async fn a_missing_permission_shows_at_the_start_with_the_role_to_grant() {
    let login = Login { user: "root".to_owned(), password: "rootPassword".to_owned() };
    let options = ReplicaSetOptions { login: Some(login), ..Default::default() };
    let server = ReplicaSet::start(&options).await.unwrap();
    let admin = server.client().await.unwrap().database("admin");
    let user = doc! {"createUser": "reader", "pwd": "readerPassword", "roles": [{"role": "read", "db": "shop"}]};
    admin.run_command(user).await.unwrap();
    let reader = Secret::new(server.uri_as(Some(("reader", "readerPassword"))));
    let place = Place { client: connect(&reader).await.unwrap(), database: "shop".to_owned() };
    for (clean_up, what) in [(CleanUp::Delete, "read and delete its documents"), (mark(), "make an index")] {
        let outboxes = place.outboxes(&clean_up, None);
        let error = outboxes.prepare().await.unwrap_err();
        assert_eq!(error.disposition(), Disposition::Stop);
        let text = error.to_string();
        let grant = "db.getSiblingDB(\"admin\").grantRolesToUser(\"reader\", [{role: \"readWrite\", db: \"shop\"}])";
        assert!(text.contains("the user reader may not") && text.contains(what) && text.contains(grant), "{text}");
        assert_eq!(outboxes.problems().await.len(), 2, "one of each outbox");
        // Were the permission taken away later, that would be told by the server.
        let later = outboxes.clean_up(&done(1, [1])).await.unwrap_err();
        assert_eq!(later.disposition(), Disposition::Stop);
        assert!(later.to_string().contains("readWrite"), "{later}");
    }
    assert!(place.outboxes(&CleanUp::Keep, Some(true)).problems().await.is_empty(), "reading is enough");
    let roles = doc! {"grantRolesToUser": "reader", "roles": [{"role": "readWrite", "db": "shop"}]};
    admin.run_command(roles).await.unwrap();
    place.outboxes(&mark(), None).prepare().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let port = changeling_servers::free_port();
    let uri = format!("mongodb://127.0.0.1:{port}/?replicaSet=rs0&serverSelectionTimeoutMS=300");
    let place = Place { client: connect(&Secret::new(uri)).await.unwrap(), database: "shop".to_owned() };
    let outboxes = place.outboxes(&CleanUp::Delete, None);
    assert_eq!(outboxes.clean_up(&done(1, [1])).await.unwrap_err().disposition(), Disposition::Retry);
    assert_eq!(outboxes.scan(Occasion::NoCheckpoint).await.err().unwrap().disposition(), Disposition::Retry);
}

#[tokio::test]
async fn elements_are_taken_out_of_their_arrays_by_their_ids_and_nothing_else_is() {
    let place = Place::new().await;
    let collection = Namespace { database: place.database.clone(), collection: "orders".to_owned() };
    let settings = EmbeddedOutboxSettings {
        path: "meta.events".to_owned(),
        clean_up: EmbeddedCleanUp::Pull,
        ..EmbeddedOutboxSettings::new(collection)
    };
    let outboxes = MongodbOutboxes::new(&place.client, &[RelaySettings::EmbeddedOutbox(Box::new(settings))]).unwrap();
    outboxes.prepare().await.unwrap();
    let element = |id: Bson| doc! {"id": id, "type": "OrderPaid"};
    let without = doc! {"type": "OrderPaid"};
    let by_id = doc! {"_id": "b", "type": "OrderPaid"};
    let both = doc! {"id": "x", "_id": "b"};
    let orders = place.collection("orders");
    let events = |events: Vec<Document>| doc! {"events": events, "other": [1]};
    let first = events(vec![element("a".into()), without.clone(), by_id, both.clone(), element(4.into())]);
    orders.insert_one(doc! {"_id": 1, "meta": first}).await.unwrap();
    orders.insert_one(doc! {"_id": 2, "meta": {"events": [element("a".into())]}}).await.unwrap();
    // The application has made something else of it.
    orders.insert_one(doc! {"_id": 3, "meta": {"events": "none"}}).await.unwrap();
    assert_eq!(scanned(&outboxes, Occasion::LostPosition).await, [(0, 1), (0, 2)]);
    assert!(scanned(&outboxes, Occasion::Checkpoint(place.now().await)).await.is_empty());
    let done = |document: i32, id: RawBson| Done { relay: 0, document: RawBson::Int32(document), element: Some(id) };
    let text = |id: &str| RawBson::String(id.to_owned());
    let done =
        [done(1, text("a")), done(3, text("a")), done(1, text("b")), done(1, RawBson::Int32(4)), done(9, text("a"))];
    outboxes.clean_up(&done).await.unwrap();
    let left = async |id: i32| orders.find_one(doc! {"_id": id}).await.unwrap().unwrap().get("meta").cloned();
    assert_eq!(left(1).await, Some(events(vec![without, both]).into()));
    assert_eq!(left(2).await, Some(doc! {"events": [element("a".into())]}.into()), "it has not been relayed");
    assert_eq!(left(3).await, Some(doc! {"events": "none"}.into()));
}
