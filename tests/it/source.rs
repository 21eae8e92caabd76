//! Reading a change stream of a real server: where it starts, what it covers, how it lives on.

use bson::{Document, doc};
use changeling::change::{Batch, Entry, Image};
use changeling::position::{ClusterTime, Position, Resume, Start};
use changeling::source::Source;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};

use crate::support::{IMAGES, NO_IMAGES, Stream, free_name, wait_for};

async fn orders(database: &str) -> Collection<Document> {
    let server = changeling_servers::shared().await.unwrap();
    server.client().await.unwrap().database(database).collection("orders")
}

async fn uri() -> String {
    changeling_servers::shared().await.unwrap().uri()
}

#[tokio::test]
async fn a_start_is_now_at_a_time_at_the_beginning_or_at_a_position() {
    let database = free_name("source");
    let orders = orders(&database).await;
    let pattern = format!("{database}.orders");
    let mut stream = Stream::open(&uri().await, &[&pattern], NO_IMAGES).await;
    let first = stream.next().await.unwrap();
    assert!(first.is_empty() && first.end.is_some(), "the first position is known before any change");
    let start = stream.resume();
    for id in 0..3 {
        orders.insert_one(doc! {"_id": id}).await.unwrap();
    }
    stream.read(3).await;
    assert_eq!(stream.ids(), [0, 1, 2]);

    let mut again = Stream::new(&uri().await, &[&pattern], NO_IMAGES).await;
    again.open_at(&start).await;
    again.read(3).await;
    let time = stream.changes()[1].cluster_time;
    let mut at = Stream::new(&uri().await, &[&pattern], NO_IMAGES).await;
    at.open_at(&Start::At(time)).await;
    at.read(2).await;
    assert_eq!(at.ids(), [1, 2], "inclusive");
    let mut beginning = Stream::new(&uri().await, &[&pattern], NO_IMAGES).await;
    beginning.open_at(&Start::Beginning).await;
    beginning.read(3).await;
    let mut now = Stream::open(&uri().await, &[&pattern], NO_IMAGES).await;
    now.read(0).await;
}

#[tokio::test]
async fn a_quiet_database_keeps_its_position_moving() {
    let database = free_name("source");
    let elsewhere = orders(&free_name("elsewhere")).await;
    let pattern = format!("{database}.orders");
    let mut stream = Stream::open(&uri().await, &[&pattern], NO_IMAGES).await;
    stream.next().await.unwrap();
    let before = stream.position();
    elsewhere.insert_one(doc! {"_id": 1}).await.unwrap();
    let is_later = |stream: &Stream| stream.position().time > before.time;
    stream.read_until("the position has moved", is_later).await;
    assert!(stream.entries().is_empty());

    let mut other = Stream::new(&uri().await, &[&pattern], NO_IMAGES).await;
    other.open_at(&stream.resume()).await;
    orders(&database).await.insert_one(doc! {"_id": 7}).await.unwrap();
    other.read(1).await;
    assert_eq!(other.ids(), [7]);
}

#[tokio::test]
async fn a_stream_covers_what_is_watched_and_the_server_leaves_the_rest_out() {
    let (one, two) = (free_name("source"), free_name("source"));
    let client = changeling_servers::shared().await.unwrap().client().await.unwrap();
    let pair = [format!("{one}.a"), format!("{one}.b")];
    let across = [format!("{one}.a"), format!("{two}.a")];
    let whole = [format!("{one}.*")];
    let mut streams = Vec::new();
    for patterns in [&pair[..], &across, &whole] {
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        streams.push(Stream::open(&uri().await, &patterns, NO_IMAGES).await);
    }
    let mut id = 0;
    for database in [&one, &two] {
        for collection in ["a", "b", "c"] {
            client.database(database).collection(collection).insert_one(doc! {"_id": id}).await.unwrap();
            id += 1;
        }
    }
    for (stream, ids) in streams.iter_mut().zip([&[0, 1][..], &[0, 3], &[0, 1, 2]]) {
        stream.read(ids.len()).await;
        assert_eq!(stream.ids(), ids, "{}", stream.source.scope());
    }
}

#[tokio::test]
async fn a_collection_that_is_dropped_or_renamed_is_read_on() {
    let database = free_name("source");
    let orders = orders(&database).await;
    let mut stream = Stream::open(&uri().await, &[&format!("{database}.orders")], NO_IMAGES).await;
    orders.insert_one(doc! {"_id": 1}).await.unwrap();
    orders.drop().await.unwrap();
    orders.insert_one(doc! {"_id": 2}).await.unwrap();
    let rename = doc! {"renameCollection": format!("{database}.orders"), "to": format!("{database}.old")};
    orders.client().database("admin").run_command(rename).await.unwrap();
    orders.insert_one(doc! {"_id": 3}).await.unwrap();
    stream.read(7).await;
    assert_eq!(stream.words(), ["insert", "drop", "invalidate", "insert", "rename", "invalidate", "insert"]);
    assert_eq!(stream.ids(), [1, 2, 3]);

    let ends = stream.batches.iter().filter(|batch| ends_invalid(batch));
    let ends: Vec<Position> = ends.map(|batch| batch.end.clone().unwrap()).collect();
    assert_eq!(ends.len(), 2);
    for (end, rest) in ends.into_iter().zip([&["insert", "rename", "invalidate", "insert"][..], &["insert"]]) {
        assert!(matches!(end.resume, Resume::AfterInvalidate(_)));
        let mut other = Stream::new(&uri().await, &[&format!("{database}.orders")], NO_IMAGES).await;
        other.open_at(&Start::Resume(end)).await;
        other.read(rest.len()).await;
        assert_eq!(other.words(), rest);
    }
}

fn ends_invalid(batch: &Batch) -> bool {
    matches!(batch.entries().last(), Some(Ok(Entry::Notice(notice))) if notice.operation_type == "invalidate")
}

#[tokio::test]
async fn every_place_on_the_way_past_an_invalidate_can_be_gone_on_from() {
    let uri = uri().await;
    for batch_size in [1, 2_000] {
        let database = free_name("source");
        let (orders, pattern) = (orders(&database).await, format!("{database}.orders"));
        let settings = serde_json::json!({"uri": "unused", "await_time": "50ms", "batch_size": batch_size});
        let mut stream = Stream::with(&uri, &[&pattern], NO_IMAGES, settings).await;
        stream.open_at(&Start::Now).await;
        orders.insert_one(doc! {"_id": 1}).await.unwrap();
        orders.drop().await.unwrap();
        let mut quiet = 0;
        while quiet < 3 {
            let ended = stream.next().await.map(Batch::is_empty);
            match ended {
                Ok(is_empty) => quiet += i32::from(is_empty && stream.words().contains(&"invalidate")),
                // Where the invalidate fills a reply, the server closes the cursor with the next one.
                Err(error) => {
                    assert_eq!(error.reason(), "closed", "{error}");
                    stream.open_at(&stream.resume()).await;
                }
            }
        }
        orders.insert_one(doc! {"_id": 2}).await.unwrap();
        for batch in &stream.batches {
            let mut other = Stream::new(&uri, &[&pattern], NO_IMAGES).await;
            other.open_at(&Start::Resume(batch.end.clone().unwrap())).await;
            other.read_until("the insert is there", |other| other.ids().contains(&2)).await;
        }
    }
}

#[tokio::test]
async fn a_database_that_is_dropped_is_read_on_with_and_without_a_filter() {
    let database = free_name("source");
    let orders = orders(&database).await;
    let pair = [format!("{database}.orders"), format!("{database}.carts")];
    let mut filtered = Stream::open(&uri().await, &[&pair[0], &pair[1]], NO_IMAGES).await;
    let mut whole = Stream::open(&uri().await, &[&format!("{database}.*")], NO_IMAGES).await;
    let mut deployment = Stream::open(&uri().await, &["*.orders"], NO_IMAGES).await;
    orders.insert_one(doc! {"_id": 1}).await.unwrap();
    orders.client().database(&database).drop().await.unwrap();
    orders.insert_one(doc! {"_id": 2}).await.unwrap();
    for stream in [&mut filtered, &mut whole] {
        stream.read(5).await;
        assert_eq!(stream.words(), ["insert", "drop", "dropDatabase", "invalidate", "insert"]);
        assert_eq!(stream.ids(), [1, 2]);
    }
    let is_mine = |change: &changeling::change::Change<'_>| change.database == database;
    deployment
        .read_until("both inserts are there", |stream| {
            stream.changes().iter().filter(|change| is_mine(change)).count() == 2
        })
        .await;
    assert!(!deployment.words().contains(&"invalidate"));
}

#[tokio::test]
async fn a_change_over_16_megabytes_is_read_without_its_images_and_its_neighbours_with_them() {
    let database = free_name("source");
    let orders = orders(&database).await;
    let create = doc! {"create": "orders", "changeStreamPreAndPostImages": {"enabled": true}};
    orders.client().database(&database).run_command(create).await.unwrap();
    let large = |letter: &str| letter.repeat(9 << 20);
    orders.insert_one(doc! {"_id": 1, "text": large("a")}).await.unwrap();
    orders.insert_one(doc! {"_id": 2, "x": 0}).await.unwrap();
    let mut stream = Stream::open(&uri().await, &[&format!("{database}.orders")], IMAGES).await;
    for x in 1..4 {
        orders.update_one(doc! {"_id": 2}, doc! {"$set": {"x": x}}).await.unwrap();
    }
    orders.update_one(doc! {"_id": 1}, doc! {"$set": {"text": large("b")}}).await.unwrap();
    orders.update_one(doc! {"_id": 1}, doc! {"$set": {"text": large("c")}}).await.unwrap();
    orders.update_one(doc! {"_id": 2}, doc! {"$set": {"x": 4}}).await.unwrap();
    stream.read(6).await;
    assert_eq!(stream.ids(), [2, 2, 2, 1, 1, 2]);
    for change in stream.changes() {
        let is_small = change.id().and_then(|id| id.as_i32()) == Some(2);
        assert_eq!(matches!((change.before, change.after), (Image::Exact(_), Image::Exact(_))), is_small);
    }
    assert_eq!(stream.metrics.changes_oversize.get(), 2);
}

#[tokio::test]
async fn a_look_up_finds_documents_of_many_collections_and_tells_those_that_are_gone() {
    let database = free_name("source");
    let orders = orders(&database).await;
    let carts = orders.client().database(&database).collection::<Document>("carts");
    let mut stream = Stream::open(&uri().await, &[&format!("{database}.*")], NO_IMAGES).await;
    for collection in [&orders, &carts] {
        let documents: Vec<Document> = (0..700).map(|id| doc! {"_id": id, "x": 0}).collect();
        collection.insert_many(documents).await.unwrap();
        collection.update_many(doc! {}, doc! {"$inc": {"x": 1}}).await.unwrap();
    }
    carts.delete_one(doc! {"_id": 5}).await.unwrap();
    stream.read(4 * 700 + 1).await;
    let mut looked_up = 0;
    for mut batch in std::mem::take(&mut stream.batches) {
        let wants = |change: &changeling::change::Change<'_>| change.id().and_then(|id| id.as_i32()) != Some(9);
        stream.source.look_up(&mut batch, &wants).await.unwrap();
        for entry in batch.entries() {
            let Ok(Entry::Change(change)) = entry else { continue };
            if let Image::LookedUp(document) = change.after {
                assert_eq!(document.get_i32("x").unwrap(), 1);
                assert_eq!(document.get_i32("_id").ok(), change.id().and_then(|id| id.as_i32()));
                looked_up += 1;
            }
        }
    }
    assert_eq!(looked_up, 2 * 699 - 1, "all but the two that nobody wants and the one that is gone");
    let count = |outcome| stream.metrics.look_ups.with_label_values(&[outcome]).get();
    assert_eq!((count("found"), count("gone")), (1_397, 1));
}

#[tokio::test]
async fn looking_up_large_documents_is_done_in_parts_of_bounded_weight() {
    const COUNT: usize = 150;
    let database = free_name("source");
    let orders = orders(&database).await;
    let mut stream = Stream::open(&uri().await, &[&format!("{database}.orders")], NO_IMAGES).await;
    for first in (0..COUNT).step_by(25) {
        let document = |id: usize| doc! {"_id": i32::try_from(id).unwrap(), "text": "x".repeat(500_000)};
        orders.insert_many((first..first + 25).map(document)).await.unwrap();
    }
    orders.update_many(doc! {}, doc! {"$set": {"x": 1}}).await.unwrap();
    stream.read(2 * COUNT).await;
    let (mut looked_up, mut parts) = (0, 0);
    for batch in std::mem::take(&mut stream.batches) {
        let mut rest = Some(batch);
        while let Some(mut part) = rest.take() {
            let done = stream.source.look_up(&mut part, &|_| true).await.unwrap();
            rest = part.split_off(done);
            // 8 MiB, passed by the last step only: 32 documents at most.
            assert!(part.looked_up_byte_count() < (8 << 20) + 32 * 510_000, "{}", part.looked_up_byte_count());
            parts += usize::from(part.looked_up_byte_count() > 0);
            for entry in part.entries() {
                let Ok(Entry::Change(change)) = entry else { continue };
                looked_up += usize::from(matches!(change.after, Image::LookedUp(_)));
            }
        }
    }
    assert_eq!(looked_up, COUNT);
    assert!(parts >= 4, "{parts} parts");
}

#[tokio::test]
async fn a_look_up_waits_for_a_server_that_has_the_changes() {
    let database = free_name("source");
    let orders = orders(&database).await;
    let mut options = ClientOptions::parse(uri().await).await.unwrap();
    let (sender, mut finds) = tokio::sync::mpsc::unbounded_channel();
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event
            && started.command_name == "find"
        {
            sender.send(started.command).unwrap();
        }
    }));
    let client = Client::with_options(options).unwrap();
    let mut stream = Stream::with_client(client, &[&format!("{database}.orders")], NO_IMAGES);
    stream.open_at(&Start::Now).await;
    orders.insert_one(doc! {"_id": 1}).await.unwrap();
    orders.update_one(doc! {}, doc! {"$set": {"x": 1}}).await.unwrap();
    stream.read(2).await;
    let time = stream.changes()[1].cluster_time;
    let mut batch = stream.batches.iter().rfind(|batch| !batch.is_empty()).unwrap().clone();
    stream.source.look_up(&mut batch, &|_| true).await.unwrap();
    let find = std::iter::from_fn(|| finds.try_recv().ok())
        .find(|find| find.get_str("find").is_ok_and(|name| name == "orders"))
        .unwrap();
    assert_eq!(find.get_document("readConcern").unwrap().get_timestamp("afterClusterTime").unwrap(), time.into());
}

#[tokio::test]
async fn a_token_that_the_server_can_not_read_is_replaced_by_its_time() {
    let database = free_name("source");
    let orders = orders(&database).await;
    let mut stream = Stream::open(&uri().await, &[&format!("{database}.orders")], NO_IMAGES).await;
    for id in 0..3 {
        orders.insert_one(doc! {"_id": id}).await.unwrap();
    }
    stream.read(3).await;
    let time = stream.changes()[1].cluster_time;
    for token in ["", "82", "zz", "8263A1B2C3"] {
        let token = bson::rawdoc! {"_data": token};
        let mut other = Stream::new(&uri().await, &[&format!("{database}.orders")], NO_IMAGES).await;
        other.open_at(&Start::Resume(Position { time, resume: Resume::After(token) })).await;
        other.read(2).await;
        assert_eq!(other.ids(), [1, 2]);
    }
}

#[tokio::test]
async fn the_deployment_and_the_oplog_window_are_known_where_they_may_be_read() {
    let database = free_name("source");
    orders(&database).await.insert_one(doc! {"_id": 1}).await.unwrap();
    let mut stream = Stream::open(&uri().await, &[&format!("{database}.orders")], NO_IMAGES).await;
    let deployment = stream.source.deployment().await.unwrap();
    let words: Vec<&str> = deployment.split(' ').collect();
    assert!(matches!(words[..], ["replica-set", "changeling", id] if id.len() == 24), "{deployment}");
    assert!(stream.source.scope().starts_with(&format!("change_stream collection {database}.orders")));
    let observer = stream.source.observer().unwrap();
    let window = wait_for("the window is known", async || observer.window().await).await;
    assert!(window.first < window.last);
    assert!(window.first > ClusterTime::default());
}

#[tokio::test]
async fn another_plan_goes_on_exactly_where_the_one_before_stopped() {
    let database = free_name("source");
    let orders = orders(&database).await;
    let carts = orders.client().database(&database).collection::<Document>("carts");
    carts.insert_one(doc! {"_id": 100}).await.unwrap();
    let mut stream = Stream::open(&uri().await, &[&format!("{database}.orders")], NO_IMAGES).await;
    let mut session = orders.client().start_session().await.unwrap();
    orders.insert_one(doc! {"_id": 0}).await.unwrap();
    session.start_transaction().await.unwrap();
    for id in 1..4 {
        orders.insert_one(doc! {"_id": id}).session(&mut session).await.unwrap();
        carts.insert_one(doc! {"_id": 100 + id}).session(&mut session).await.unwrap();
    }
    session.commit_transaction().await.unwrap();
    orders.delete_one(doc! {"_id": 0}).await.unwrap();
    stream.read(5).await;

    let patterns = [format!("{database}.*")];
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let wider = Stream::new(&uri().await, &patterns, NO_IMAGES).await.plan;
    // From every change on: in the other stream its token may not be valid, and there is more between.
    let all = [0, 1, 101, 2, 102, 3, 103, 0];
    for (change, rest) in [(0, &all[1..]), (1, &all[2..]), (2, &all[4..]), (3, &all[6..]), (4, &all[8..])] {
        let change = stream.changes()[change];
        let position = Position::after(change.token.unwrap(), change.cluster_time);
        let mut other = Stream::open(&uri().await, &[&format!("{database}.orders")], NO_IMAGES).await;
        assert!(other.source.adopt(&wider), "it is another plan");
        assert!(!other.source.adopt(&wider), "it is the same plan");
        other.open_at(&Start::Resume(position).in_another_scope()).await;
        other.read(rest.len()).await;
        assert_eq!(other.ids(), rest);
    }
    // From a high-water mark.
    let mut idle = Stream::new(&uri().await, &[&format!("{database}.nothing")], NO_IMAGES).await;
    idle.open_at(&stream.resume().in_another_scope()).await;
    orders.insert_one(doc! {"_id": 7}).await.unwrap();
    while idle.batches.iter().all(|batch| batch.end.is_none()) {
        idle.next().await.unwrap();
    }
    let mut other = Stream::new(&uri().await, &patterns, NO_IMAGES).await;
    other.open_at(&idle.resume().in_another_scope()).await;
    other.read(1).await;
    assert_eq!(other.ids(), [7]);
}
