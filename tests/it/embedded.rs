//! Embedded outboxes on a real server: whichever operator writes the array of events, what it appends is published.

use bson::{Bson, Document, bson, doc};
use changeling::change::{Change, Image, Operation};
use changeling::explicit::{EmbeddedOutboxSettings, Noted, RelaySettings, Relays};
use changeling::namespace::Namespace;
use changeling::rules::Outcome;
use mongodb::Collection;
use mongodb::options::UpdateModifications;

use crate::support::{IMAGES, Stream, free_name};

enum Write {
    Update(UpdateModifications),
    /// To the element that the filter finds, by `$`.
    Positional(Document, Document),
    /// With `arrayFilters`.
    Filtered(Document, Document),
    Replace(Vec<Bson>),
    Delete,
}

/// A write to a document with the events `a` and `b`, and what must be published: the ids in order, `~` before one whose evidence is
/// `delta`, and `lost` for a dead letter.
struct Case {
    write: Write,
    with_before: &'static str,
    without: &'static str,
}

fn event(id: &str) -> Bson {
    bson!({"id": id, "type": "OrderPaid", "data": {"text": "as it was", "of": id}})
}

fn before() -> Vec<Bson> {
    vec![event("a"), event("b")]
}

fn update(update: Document, with_before: &'static str, without: &'static str) -> Case {
    Case { write: Write::Update(update.into()), with_before, without }
}

fn pipeline(events: Bson, with_before: &'static str, without: &'static str) -> Case {
    Case { write: Write::Update(vec![doc! {"$set": {"_events": events}}].into()), with_before, without }
}

fn appends() -> Vec<Case> {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(event);
    vec![
        update(doc! {"$push": {"_events": c.clone()}, "$set": {"status": "paid"}}, "c", "c"),
        update(doc! {"$push": {"_events": {"$each": [c.clone(), d.clone()]}}}, "c d", "c d"),
        update(doc! {"$push": {"_events": {"$each": [c.clone()], "$position": 0}}}, "c", "~c ~a ~b"),
        update(
            doc! {"$push": {"_events": {"$each": [d.clone(), c.clone()], "$sort": {"id": 1}}}},
            "c d",
            "~a ~b ~c ~d",
        ),
        update(doc! {"$push": {"_events": {"$each": [c.clone()], "$slice": -2}}}, "c", "~b ~c"),
        update(doc! {"$push": {"_events": {"$each": [c.clone()], "$slice": 10}}}, "c", "c"),
        update(doc! {"$addToSet": {"_events": c.clone()}}, "c", "~a ~b ~c"),
        update(doc! {"$addToSet": {"_events": {"$each": [a.clone(), c.clone()]}}}, "c", "~a ~b ~c"),
        update(doc! {"$set": {"_events.2": c.clone()}}, "c", "c"),
        update(doc! {"$set": {"_events": [a.clone(), b.clone(), c.clone()]}}, "c", "~a ~b ~c"),
        update(doc! {"$set": {"_events": [c.clone()]}}, "c", "~c"),
        update(doc! {"$set": {"_events.1": c.clone()}}, "c", "c"),
        pipeline(bson!({"$concatArrays": ["$_events", [c.clone(), d.clone()]]}), "c d", "c d"),
        // Everything moves by one place: the server tells of fields inside of elements.
        pipeline(bson!({"$slice": [{"$concatArrays": ["$_events", [c.clone()]]}, -2]}), "c", "lost lost"),
        Case { write: Write::Replace(vec![a, b, c.clone()]), with_before: "c", without: "~a ~b ~c" },
        Case {
            write: Write::Positional(doc! {"_events.id": "b"}, doc! {"$set": {"_events.$": c}}),
            with_before: "c",
            without: "c",
        },
    ]
}

fn others() -> Vec<Case> {
    let [a, b] = ["a", "b"].map(event);
    vec![
        update(doc! {"$set": {"status": "paid"}}, "", ""),
        // What a clean-up does.
        update(doc! {"$pull": {"_events": {"id": "a"}}}, "", "~b"),
        update(doc! {"$pull": {"_events": {"id": {"$in": ["a", "b"]}}}}, "", ""),
        update(doc! {"$pop": {"_events": 1}}, "", "~a"),
        update(doc! {"$unset": {"_events": 1}}, "", ""),
        update(doc! {"$set": {"_events.0.sent": true}}, "", ""),
        update(doc! {"$set": {"_events.$[].sent": true}}, "", "~a ~b"),
        Case {
            write: Write::Filtered(doc! {"$set": {"_events.$[one].sent": true}}, doc! {"one.id": "b"}),
            with_before: "",
            without: "",
        },
        update(doc! {"$push": {"_events": {"$each": [], "$sort": {"id": -1}}}}, "", "~b ~a"),
        pipeline(bson!({"$slice": ["$_events", 1]}), "", ""),
        pipeline(bson!({"$map": {"input": "$_events", "in": {"$mergeObjects": ["$$this", {"sent": true}]}}}), "", ""),
        Case { write: Write::Replace(vec![b, a]), with_before: "", without: "~b ~a" },
        Case { write: Write::Replace(vec![]), with_before: "", without: "" },
        Case { write: Write::Delete, with_before: "", without: "" },
    ]
}

async fn write(orders: &Collection<Document>, id: i32, write: &Write) {
    let filter = doc! {"_id": id};
    match write {
        Write::Update(update) => drop(orders.update_one(filter, update.clone()).await.unwrap()),
        Write::Positional(element, update) => {
            let mut filter = filter;
            filter.extend(element.clone());
            orders.update_one(filter, update.clone()).await.unwrap();
        }
        Write::Filtered(update, element) => {
            orders.update_one(filter, update.clone()).array_filters([element.clone()]).await.unwrap();
        }
        Write::Replace(events) => {
            orders.replace_one(filter, doc! {"_events": events.clone()}).await.unwrap();
        }
        Write::Delete => drop(orders.delete_one(filter).await.unwrap()),
    }
}

/// What is published of a change, and the events' own ids with those that the application gave.
fn published(relays: &mut Relays, change: &Change<'_>) -> (String, Vec<(String, String)>) {
    let (mut outcome, mut noted) = (Outcome::default(), Noted::default());
    relays.apply(change, &mut outcome, &mut noted);
    assert!(noted.ignored.is_empty());
    let mut words = Vec::new();
    let mut ids = Vec::new();
    for event in &outcome.events {
        let given = event.explicit.as_ref().unwrap().id.clone();
        let mark = if event.evidence.as_str() == "exact" { "" } else { "~" };
        assert_eq!(Document::try_from(&*event.data).unwrap().get_str("of").unwrap(), given);
        words.push(format!("{mark}{given}"));
        ids.push((given, event.id.to_string()));
    }
    words.extend(outcome.failed.iter().map(|_| "lost".to_owned()));
    (words.join(" "), ids)
}

#[tokio::test]
async fn what_is_appended_is_published_once_whatever_operator_writes_the_array() {
    let server = changeling_servers::shared().await.unwrap();
    let database = free_name("embedded");
    let client = server.client().await.unwrap();
    let images = doc! {"create": "orders", "changeStreamPreAndPostImages": {"enabled": true}};
    client.database(&database).run_command(images).await.unwrap();
    let orders: Collection<Document> = client.database(&database).collection("orders");
    let namespace = format!("{database}.orders");
    let mut stream = Stream::open(&server.uri(), &[&namespace], IMAGES).await;
    let cases: Vec<Case> = appends().into_iter().chain(others()).collect();
    for (id, case) in (0..).zip(&cases) {
        orders.insert_one(doc! {"_id": id, "status": "open", "_events": before()}).await.unwrap();
        write(&orders, id, &case.write).await;
    }
    stream.read(2 * cases.len()).await;
    let settings = EmbeddedOutboxSettings::new(Namespace::parse(&namespace).unwrap());
    let mut relays = Relays::new(&[RelaySettings::EmbeddedOutbox(Box::new(settings))]).unwrap();
    let changes = stream.changes();
    let mut wrong = Vec::new();
    for (id, case) in (0..).zip(&cases) {
        let of_document: Vec<_> =
            changes.iter().filter(|change| change.id().and_then(|id| id.as_i32()) == Some(id)).collect();
        let [insert, change] = of_document.as_slice() else { panic!("case {id}: {} changes", of_document.len()) };
        let (words, mut ids) = published(&mut relays, insert);
        assert_eq!(words, "a b");
        let mut expect = |what: &str, found: &str, wanted: &str| {
            if found != wanted {
                let description = change.description.map(|one| Document::try_from(one.updated).unwrap());
                wrong.push(format!("case {id}, {what}: \"{found}\" instead of \"{wanted}\" of {description:?}"));
            }
        };
        let (with_images, known) = published(&mut relays, change);
        expect("with both documents", &with_images, case.with_before);
        // A replacement and an insert hold the document after them themselves.
        let after = if change.operation == Operation::Update { Image::Unknown } else { change.after };
        let no_after = Change { after, ..**change };
        expect("without the document after", &published(&mut relays, &no_after).0, &with_images);
        let (blind, guessed) = published(&mut relays, &Change { before: Image::Unknown, ..no_after });
        expect("without images", &blind, case.without);
        // An event has one id, however it came to be known.
        ids.extend(known);
        for (given, event_id) in &guessed {
            assert!(ids.iter().filter(|(other, _)| other == given).all(|(_, other)| other == event_id), "case {id}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
