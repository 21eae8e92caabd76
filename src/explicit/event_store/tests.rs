//! The relay as a whole, on hand-made changes.

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};

use super::*;
use crate::change::{Batch, Entry};

fn relay(more: serde_json::Value) -> EventStore {
    let mut settings = serde_json::json!({"collection": "shop.events"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    EventStore::new(2, &serde_json::from_value(settings).unwrap()).unwrap()
}

fn change(operation: &str, id: i32, document: Option<Document>) -> Document {
    let mut change = doc! {
        "operationType": operation,
        "clusterTime": Timestamp { time: 5, increment: u32::try_from(id).unwrap() },
        "wallTime": bson::DateTime::from_millis(5_000),
        "ns": {"db": "shop", "coll": "events"},
        "documentKey": {"_id": id},
    };
    if let Some(mut document) = document {
        document.insert("_id", id);
        change.insert("fullDocument", document);
    }
    change
}

fn event(id: i32, stream: &str, version: impl Into<Bson>) -> Document {
    change(
        "insert",
        id,
        Some(doc! {"stream": stream, "version": version.into(), "type": "OrderPaid", "data": {"n": id}}),
    )
}

fn apply(store: &mut EventStore, change: &Document) -> (Outcome, Noted) {
    let raw = RawDocumentBuf::try_from(change).unwrap();
    let batch = Batch::from_documents([&*raw], None);
    let Some(Ok(Entry::Change(change))) = batch.entries().next() else { panic!("no change") };
    let (mut outcome, mut noted) = (Outcome::default(), Noted::default());
    assert!(store.apply(&change, &mut outcome, &mut noted));
    (outcome, noted)
}

fn names(outcome: &Outcome) -> Vec<&str> {
    outcome.events.iter().map(|event| &*event.name).collect()
}

#[test]
fn an_insert_is_the_next_event_of_its_stream() {
    let mut store = relay(serde_json::json!({"subject": "$.stream", "headers": {"actor": "$.metadata.actor"}}));
    let document = doc! {
        "stream": "order-7", "version": 1, "type": "OrderPaid", "data": {"amount": 12}, "metadata": {"actor": "ann"},
    };
    let (outcome, noted) = apply(&mut store, &change("insert", 1, Some(document)));
    assert!(noted.is_empty() && outcome.failed.is_empty());
    let [made] = outcome.events.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((&*made.name, &*made.rule, made.partition_key.as_str()), ("OrderPaid", "shop.events", "order-7"));
    assert_eq!((made.subject.as_deref(), made.time.timestamp_millis()), (Some("order-7"), 5_000));
    let explicit = made.explicit.as_ref().unwrap();
    let headers: Vec<_> = explicit.headers.iter().map(|header| (&*header.name, header.value.clone())).collect();
    let metadata = bson::RawBson::Document(rawdoc! {"actor": "ann"});
    assert_eq!(
        headers,
        [
            ("actor", bson::RawBson::String("ann".to_owned())),
            ("metadata", metadata),
            ("streamversion", bson::RawBson::Int64(1)),
        ]
    );
    assert_eq!(explicit.id, "1");
    let again = relay(serde_json::json!({}));
    let mut later = event(1, "order-7", 1);
    later.insert("clusterTime", Timestamp { time: 99, increment: 1 });
    assert_eq!(apply(&mut { again }, &later).0.events[0].id, made.id, "the id depends on nothing but the document");
}

#[test]
fn a_gap_and_a_repeat_are_told_before_the_event_and_it_is_passed_on() {
    let mut store = relay(serde_json::json!({}));
    assert_eq!(names(&apply(&mut store, &event(1, "a", 1)).0), ["OrderPaid"]);
    let (outcome, noted) = apply(&mut store, &event(2, "a", 3_i64));
    assert_eq!(names(&outcome), [GAP, "OrderPaid"]);
    let fault = |kind, expected, found| StreamFault { relay: 2, kind, expected, found };
    assert_eq!(noted.faults, [fault(StreamFaultKind::Gap, 2, 3)]);
    let (gap, after) = (&outcome.events[0], &outcome.events[1]);
    let wanted = doc! {
        "reason": "stream", "kind": "gap", "relay": "shop.events", "stream": "a", "expected": 2_i64, "found": 3_i64,
    };
    assert_eq!(Document::try_from(&*gap.data).unwrap(), wanted);
    assert_eq!((&gap.partition_key, gap.to.is_none(), gap.explicit.is_none()), (&after.partition_key, true, true));
    assert!(gap.sequence < after.sequence);
    // The same change gives the same gap.
    let mut again = relay(serde_json::json!({}));
    apply(&mut again, &event(1, "a", 1));
    assert_eq!(apply(&mut again, &event(2, "a", 3)).0.events[0].id, gap.id);
    let (outcome, noted) = apply(&mut store, &event(3, "a", 2.0));
    assert_eq!((names(&outcome), noted.faults), (vec![GAP, "OrderPaid"], vec![fault(StreamFaultKind::Repeat, 4, 2)]));
    let (outcome, noted) = apply(&mut store, &event(4, "a", 4));
    assert_eq!((names(&outcome), noted.faults.len()), (vec!["OrderPaid"], 0));
}

#[test]
fn a_stream_that_is_first_seen_in_its_middle_is_taken_as_it_is() {
    let mut store = relay(serde_json::json!({"first_version": 0}));
    let (outcome, noted) = apply(&mut store, &event(1, "a", 0));
    assert!(noted.is_empty() && outcome.events.len() == 1);
    let (outcome, noted) = apply(&mut store, &event(2, "b", 7));
    assert_eq!((names(&outcome), noted.unverified, noted.faults), (vec!["OrderPaid"], vec![2], vec![]));
    assert!(apply(&mut store, &event(3, "b", 8)).1.is_empty());
}

#[test]
fn what_is_no_event_keeps_its_place_in_the_stream_if_it_tells_one() {
    let mut store = relay(serde_json::json!({}));
    for (id, document, wanted) in [
        (1, doc! {"stream": "a", "version": 1, "data": {}}, "the type at `$.type` is missing"),
        (2, doc! {"stream": "a", "version": 2, "type": "T"}, "the payload at `$.data` is missing"),
        (3, doc! {"version": 2, "type": "T", "data": {}}, "the stream at `$.stream` is missing"),
        (4, doc! {"stream": "", "version": 2, "type": "T", "data": {}}, "the stream at `$.stream` is empty"),
        (5, doc! {"stream": "a", "type": "T", "data": {}}, "the version at `$.version` is missing"),
        (6, doc! {"stream": "a", "version": 2.5, "type": "T", "data": {}}, "a whole number is wanted"),
        (7, doc! {"stream": "a", "version": "3", "type": "T", "data": {}}, "of the type string, and a whole number"),
    ] {
        let (outcome, noted) = apply(&mut store, &change("insert", id, Some(document)));
        let [failed] = outcome.failed.as_slice() else { panic!("{outcome:?}") };
        assert!(failed.reason.starts_with("a document of shop.events can not be an event: "), "{}", failed.reason);
        assert!(failed.reason.contains(wanted) && noted.is_empty(), "{}", failed.reason);
    }
    assert!(apply(&mut store, &event(8, "a", 3)).1.is_empty());
}

#[test]
fn updates_and_deletes_are_no_appends() {
    let mut store = relay(serde_json::json!({}));
    let mut update = change("update", 1, None);
    update.insert("updateDescription", doc! {"updatedFields": {"version": 9}, "removedFields": []});
    for (change, what) in [
        (update, "update"),
        (change("replace", 1, Some(doc! {"stream": "a", "version": 9, "type": "T", "data": {}})), "replace"),
        (change("delete", 1, None), "delete"),
    ] {
        let (outcome, noted) = apply(&mut store, &change);
        assert!(outcome.is_empty());
        assert_eq!(noted.ignored, [Ignored { relay: 2, what, is_fatal: false }]);
    }
}

#[test]
fn settings_that_can_not_be_used_say_so() {
    for (key, value) in
        [("stream", "stream"), ("version", "$.v[*]"), ("id", "$.a b"), ("metadata", "$["), ("type", "$..type")]
    {
        let settings = serde_json::json!({"collection": "shop.events", key: value});
        let error = EventStore::new(2, &serde_json::from_value(settings).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("explicit.2.event_store.{key}: ")) && error.contains("\nhelp: "), "{error}");
    }
}
