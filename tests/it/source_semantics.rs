//! What a real server sends for a write, as a change.

use bson::{Document, RawDocument, doc};
use changeling::change::{Change, Image};
use changeling::position::ClusterTime;
use mongodb::options::{ReplaceOptions, UpdateModifications};
use mongodb::{Client, Collection};

use crate::support::{IMAGES, NO_IMAGES, Stream, free_name};

/// A document, a write to it, and what the change must say.
struct Case {
    name: &'static str,
    before: Document,
    write: Write,
    /// The operation; `None` if there must be no change at all.
    operation: Option<&'static str>,
    updated: Document,
    removed: &'static [&'static str],
    truncated: Option<(&'static str, i32)>,
}

enum Write {
    Update(UpdateModifications),
    Replace(Document),
    Delete,
}

fn case(name: &'static str, before: Document, write: Write) -> Case {
    Case { name, before, write, operation: Some("update"), updated: doc! {}, removed: &[], truncated: None }
}

fn update(name: &'static str, before: Document, update: Document, updated: Document) -> Case {
    Case { updated, ..case(name, before, Write::Update(update.into())) }
}

fn pipeline(name: &'static str, before: Document, stage: Document, updated: Document) -> Case {
    Case { updated, ..case(name, before, Write::Update(vec![stage].into())) }
}

fn silent(name: &'static str, before: Document, write: impl Into<UpdateModifications>) -> Case {
    Case { operation: None, ..case(name, before, Write::Update(write.into())) }
}

fn scalar_cases() -> Vec<Case> {
    vec![
        silent("setting the same value", doc! {"x": 1}, doc! {"$set": {"x": 1}}),
        silent("adding nothing", doc! {"x": 1}, doc! {"$inc": {"x": 0}}),
        silent("a pipeline that gives an equal value", doc! {"x": 1}, vec![doc! {"$set": {"x": "$x"}}]),
        update("one same, one new", doc! {"x": 1}, doc! {"$set": {"x": 1, "y": 2}}, doc! {"y": 2}),
        update("another number type", doc! {"x": 1}, doc! {"$set": {"x": 1_i64}}, doc! {"x": 1_i64}),
        update("a deep path", doc! {"a": {"b": {"c": 1}}}, doc! {"$set": {"a.b.c": 2}}, doc! {"a.b.c": 2}),
        update("a whole subdocument", doc! {"a": {"b": 1}}, doc! {"$set": {"a": {"b": 2}}}, doc! {"a": {"b": 2}}),
        update("a digit as a field", doc! {"o": {"0": 1}}, doc! {"$set": {"o.0": 2}}, doc! {"o.0": 2}),
        Case {
            removed: &["a.d"],
            ..update("a removed field", doc! {"a": {"d": 1}}, doc! {"$unset": {"a.d": 1}}, doc! {})
        },
        Case { removed: &["n"], ..update("a removed null", doc! {"n": null}, doc! {"$unset": {"n": 1}}, doc! {}) },
        Case {
            removed: &["a"],
            ..update("a renamed field", doc! {"a": 1}, doc! {"$rename": {"a": "b"}}, doc! {"b": 1})
        },
        Case {
            operation: Some("replace"),
            ..case("an identical replacement", doc! {"x": 1}, Write::Replace(doc! {"x": 1}))
        },
        Case { operation: Some("replace"), ..case("a replacement", doc! {"x": 1}, Write::Replace(doc! {"y": 1})) },
        Case { operation: Some("delete"), ..case("a delete", doc! {"x": 1}, Write::Delete) },
        pipeline(
            "a field with a dot in its name",
            // With less beside it, the server would write the whole document: a replace.
            doc! {"d": {"x": 1}, "much": "x".repeat(100)},
            doc! {"$set": {"d": {"$setField": {"field": "x.y", "input": "$d", "value": 2}}}},
            doc! {"d": {"x": 1, "x.y": 2}},
        ),
    ]
}

fn array_cases() -> Vec<Case> {
    let items = || doc! {"items": [1, 2, 3]};
    vec![
        update(
            "a field of an element",
            doc! {"items": [{"q": 1}]},
            doc! {"$set": {"items.0.q": 9}},
            doc! {"items.0.q": 9},
        ),
        update("an appended element", items(), doc! {"$push": {"items": 4}}, doc! {"items.3": 4}),
        update(
            "two appended elements",
            items(),
            doc! {"$push": {"items": {"$each": [4, 5]}}},
            doc! {"items.3": 4, "items.4": 5},
        ),
        update("a popped element", items(), doc! {"$pop": {"items": 1}}, doc! {"items": [1, 2]}),
        update("a pulled element", items(), doc! {"$pull": {"items": 2}}, doc! {"items": [1, 3]}),
        update("an element added to a set", items(), doc! {"$addToSet": {"items": 4}}, doc! {"items": [1, 2, 3, 4]}),
        update(
            "an element pushed to the front",
            items(),
            doc! {"$push": {"items": {"$each": [0], "$position": 0}}},
            doc! {"items": [0, 1, 2, 3]},
        ),
        Case {
            truncated: Some(("items", 20)),
            ..pipeline(
                "a sliced array",
                doc! {"items": vec![1; 40], "much": "x".repeat(100)},
                doc! {"$set": {"items": {"$slice": ["$items", 20]}}},
                doc! {},
            )
        },
    ]
}

async fn write_all(orders: &Collection<Document>, cases: &[Case]) {
    for (id, case) in (0..).zip(cases) {
        let mut before = doc! {"_id": id};
        before.extend(case.before.clone());
        orders.insert_one(before).await.unwrap();
        let filter = doc! {"_id": id};
        match &case.write {
            Write::Update(update) => drop(orders.update_one(filter, update.clone()).await.unwrap()),
            Write::Replace(document) => drop(orders.replace_one(filter, document.clone()).await.unwrap()),
            Write::Delete => drop(orders.delete_one(filter).await.unwrap()),
        }
    }
}

async fn collection_with_images(client: &Client, database: &str) -> Collection<Document> {
    let images = doc! {"create": "orders", "changeStreamPreAndPostImages": {"enabled": true}};
    client.database(database).run_command(images).await.unwrap();
    client.database(database).collection("orders")
}

fn plain(document: &RawDocument) -> Document {
    Document::try_from(document).unwrap()
}

fn exact(image: Image<'_>) -> Option<Document> {
    match image {
        Image::Exact(document) => Some(plain(document)),
        Image::LookedUp(_) | Image::Absent | Image::Unknown => None,
    }
}

#[tokio::test]
async fn every_kind_of_write_gives_the_change_that_the_table_says() {
    let server = changeling_servers::shared().await.unwrap();
    let database = free_name("semantics");
    let client = server.client().await.unwrap();
    let orders = collection_with_images(&client, &database).await;
    let mut stream = Stream::open(&server.uri(), &[&format!("{database}.orders")], IMAGES).await;
    let cases: Vec<Case> = scalar_cases().into_iter().chain(array_cases()).collect();
    write_all(&orders, &cases).await;
    let changes_count = cases.len() + cases.iter().filter(|case| case.operation.is_some()).count();
    stream.read(changes_count).await;
    for (id, case) in (0..).zip(&cases) {
        let changes = stream.changes();
        let changes: Vec<&Change<'_>> =
            changes.iter().filter(|change| change.id().is_some_and(|value| value.as_i32() == Some(id))).collect();
        let words: Vec<&str> = changes.iter().map(|change| change.operation.as_str()).collect();
        let expected: Vec<&str> = ["insert"].into_iter().chain(case.operation).collect();
        assert_eq!(words, expected, "{}", case.name);
        assert!(matches!(changes[0].before, Image::Absent), "{}", case.name);
        if let Some(change) = changes.get(1) {
            assert_change(case, changes[0], change);
        }
    }
    let now = orders.find_one(doc! {"_id": 3}).await.unwrap();
    let last = stream.changes().into_iter().rfind(|change| change.id().and_then(|id| id.as_i32()) == Some(3)).unwrap();
    assert_eq!(exact(last.after), now, "the image after the last change is the document");
}

fn assert_change(case: &Case, insert: &Change<'_>, change: &Change<'_>) {
    let name = case.name;
    assert_eq!(exact(change.before), exact(insert.after), "{name}: the image before is what was inserted");
    match case.operation {
        Some("delete") => assert!(matches!(change.after, Image::Absent), "{name}"),
        _ => assert!(exact(change.after).is_some(), "{name}"),
    }
    assert!(change.wall_time.is_some() && change.token.is_some(), "{name}");
    assert!(change.transaction.is_none() && change.operation_index == 0, "{name}");
    let Some(description) = &change.description else {
        assert_ne!(case.operation, Some("update"), "{name}");
        return;
    };
    assert_eq!(plain(description.updated), case.updated, "{name}");
    let removed: Vec<&str> = description.removed.into_iter().map(|path| path.unwrap().as_str().unwrap()).collect();
    assert_eq!(removed, case.removed, "{name}");
    let truncated = description.truncated.map(|list| {
        let list: Vec<Document> = list.into_iter().map(|one| plain(one.unwrap().as_document().unwrap())).collect();
        list
    });
    let expected = case.truncated.map(|(field, size)| vec![doc! {"field": field, "newSize": size}]);
    assert_eq!(truncated, expected, "{name}");
}

#[tokio::test]
async fn without_images_an_update_has_its_description_and_a_delete_only_its_key() {
    let server = changeling_servers::shared().await.unwrap();
    let database = free_name("semantics");
    let orders = server.client().await.unwrap().database(&database).collection::<Document>("orders");
    // They are asked for, but the collection keeps none: the server sends null.
    let mut asked = Stream::open(&server.uri(), &[&format!("{database}.orders")], IMAGES).await;
    let mut not_asked = Stream::open(&server.uri(), &[&format!("{database}.orders")], NO_IMAGES).await;
    orders.update_one(doc! {"_id": 1}, doc! {"$set": {"x": 1}}).upsert(true).await.unwrap();
    orders.update_one(doc! {"_id": 1}, doc! {"$set": {"x": 2}}).await.unwrap();
    let upsert = ReplaceOptions::builder().upsert(true).build();
    orders.replace_one(doc! {"_id": 1}, doc! {"x": 3}).with_options(upsert).await.unwrap();
    orders.delete_one(doc! {"_id": 1}).await.unwrap();
    for stream in [&mut asked, &mut not_asked] {
        stream.read(4).await;
        let changes = stream.changes();
        assert_eq!(stream.words(), ["insert", "update", "replace", "delete"]);
        assert_eq!(exact(changes[0].after), Some(doc! {"_id": 1, "x": 1}));
        assert!(matches!((changes[1].before, changes[1].after), (Image::Unknown, Image::Unknown)));
        assert!(matches!(changes[2].before, Image::Unknown));
        assert_eq!(exact(changes[2].after), Some(doc! {"_id": 1, "x": 3}));
        assert!(matches!((changes[3].before, changes[3].after), (Image::Unknown, Image::Absent)));
        assert_eq!(plain(changes[3].key), doc! {"_id": 1});
    }
}

#[tokio::test]
async fn the_operations_of_a_transaction_are_counted_and_keep_their_numbers_when_read_from_the_middle() {
    let server = changeling_servers::shared().await.unwrap();
    let database = free_name("semantics");
    let client = server.client().await.unwrap();
    let collection = |name: &str| client.database(&database).collection::<Document>(name);
    let (orders, stock) = (collection("orders"), collection("stock"));
    // A collection that a transaction makes takes a number of its own.
    client.database(&database).create_collection("orders").await.unwrap();
    stock.insert_one(doc! {"_id": 100, "left": 5}).await.unwrap();
    let settings = serde_json::json!({"uri": "unused", "await_time": "50ms", "batch_size": 1});
    let mut stream = Stream::with(&server.uri(), &[&format!("{database}.*")], NO_IMAGES, settings).await;
    stream.open_at(&changeling::position::Start::Now).await;

    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    for id in 0..3 {
        orders.insert_one(doc! {"_id": id}).session(&mut session).await.unwrap();
    }
    stock.update_one(doc! {"_id": 100}, doc! {"$inc": {"left": -3}}).session(&mut session).await.unwrap();
    session.commit_transaction().await.unwrap();
    orders.insert_one(doc! {"_id": 3}).await.unwrap();

    stream.read(5).await;
    let facts = |stream: &Stream| -> Vec<(Option<i32>, u32, ClusterTime, bool)> {
        let fact = |change: &Change<'_>| {
            (
                change.id().and_then(|id| id.as_i32()),
                change.operation_index,
                change.cluster_time,
                change.transaction.is_some(),
            )
        };
        stream.changes().iter().map(fact).collect()
    };
    let all = facts(&stream);
    let time = all[0].2;
    let expected = [(Some(0), 0), (Some(1), 1), (Some(2), 2), (Some(100), 3)];
    assert_eq!(all[..4], expected.map(|(id, index)| (id, index, time, true)));
    assert_eq!((all[4].0, all[4].1, all[4].3), (Some(3), 0, false));
    assert!(all[4].2 > time);

    // Every place between two operations can be gone on from.
    let ends: Vec<_> = stream.batches.iter().filter(|batch| !batch.is_empty()).map(|batch| batch.end.clone()).collect();
    assert_eq!(ends.len(), 5, "batches of one change each");
    for (read, end) in (1..).zip(ends) {
        let mut rest = Stream::new(&server.uri(), &[&format!("{database}.*")], NO_IMAGES).await;
        rest.open_at(&changeling::position::Start::Resume(end.unwrap())).await;
        rest.read(5 - read).await;
        assert_eq!(facts(&rest), all[read..]);
    }
}
