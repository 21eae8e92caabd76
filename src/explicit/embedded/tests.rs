//! The relay as a whole, on hand-made changes.

use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};

use super::*;
use crate::change::{Batch, Entry};
use crate::event::{Event, Evidence, Payload};

fn settings(more: serde_json::Value) -> EmbeddedOutboxSettings {
    let mut settings = serde_json::json!({"collection": "shop.orders"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

fn relay(more: serde_json::Value) -> EmbeddedOutbox {
    EmbeddedOutbox::new(3, &settings(more)).unwrap()
}

/// A change of the document 7 at this second, without images.
fn change(operation: &str, second: u32, more: Document) -> Document {
    let mut change = doc! {
        "operationType": operation,
        "clusterTime": Timestamp { time: second, increment: 1 },
        "wallTime": bson::DateTime::from_millis(i64::from(second) * 1_000),
        "ns": {"db": "shop", "coll": "orders"},
        "documentKey": {"_id": 7},
    };
    change.extend(more);
    change
}

fn push(second: u32, updated: Document) -> Document {
    change("update", second, doc! {"updateDescription": {"updatedFields": updated, "removedFields": []}})
}

fn event(id: impl Into<Bson>) -> Document {
    doc! {"id": id.into(), "type": "OrderPaid", "data": {"amount": 12}}
}

fn apply(relay: &mut EmbeddedOutbox, change: &Document) -> (bool, Outcome, Noted) {
    let raw = RawDocumentBuf::try_from(change).unwrap();
    let batch = Batch::from_documents([&*raw], None);
    let Some(Ok(Entry::Change(change))) = batch.entries().next() else { panic!("no change") };
    let (mut outcome, mut noted) = (Outcome::default(), Noted::default());
    let is_taken = relay.apply(&change, &mut outcome, &mut noted);
    (is_taken, outcome, noted)
}

fn only(outcome: Outcome) -> Event {
    let [event]: [Event; 1] = outcome.events.try_into().unwrap();
    event
}

#[test]
fn an_appended_element_is_an_event_with_the_parts_that_the_settings_name() {
    let mut plain = relay(serde_json::json!({}));
    let (is_taken, outcome, noted) = apply(&mut plain, &push(5, doc! {"status": "paid", "_events.3": event("e1")}));
    assert!(is_taken && noted.is_empty() && outcome.failed.is_empty());
    let made = only(outcome);
    assert_eq!((&*made.name, &*made.rule, made.origin()), ("OrderPaid", "shop.orders", "explicit"));
    assert_eq!((made.partition_key.as_str(), made.subject.as_deref()), ("7", None));
    assert_eq!((made.evidence, made.time.timestamp_millis()), (Evidence::Exact, 5_000));
    assert_eq!(Document::try_from(&*made.data).unwrap(), doc! {"amount": 12});
    let explicit = made.explicit.unwrap();
    assert_eq!((explicit.id.as_str(), &explicit.payload), ("e1", &Payload::Document));

    let mut told = relay(serde_json::json!({
        "path": "meta.outbox", "id": "$.key", "type": "$.kind", "key": "$.who", "data": "$.body", "subject": "$.about",
        "time": "$.at", "headers": {"actor": "$.by"}, "traceparent": "$.trace", "route": "orders.{$.kind}", "to": ["facts"],
    }));
    let at = bson::DateTime::from_millis(1_234);
    let element = doc! {"key": 9, "kind": "Paid", "who": "ann", "body": "text", "about": "order 7", "at": at, "by": "bo", "trace": "00-x"};
    let made = only(apply(&mut told, &push(5, doc! {"meta.outbox.0": element})).1);
    assert_eq!((&*made.name, made.partition_key.as_str(), made.subject.as_deref()), ("Paid", "ann", Some("order 7")));
    assert_eq!(made.time, at);
    assert!(made.goes_to("facts") && !made.goes_to("other"));
    assert_eq!(made.address_at("facts").unwrap().to_string(), "orders.Paid");
    let explicit = made.explicit.unwrap();
    assert_eq!((explicit.id.as_str(), &explicit.payload), ("9", &Payload::Text("text".to_owned())));
    let headers: Vec<_> =
        explicit.headers.iter().map(|header| (&*header.name, header.value.as_str().unwrap())).collect();
    assert_eq!(headers, [("actor", "bo"), ("traceparent", "00-x")]);
}

#[test]
fn the_id_is_that_of_the_element_in_its_document_however_and_whenever_it_comes() {
    let mut relay = relay(serde_json::json!({}));
    let mut id = |change: &Document| only(apply(&mut relay, change).1).id;
    let first = id(&push(5, doc! {"_events.3": event("e1")}));
    assert_eq!(first, id(&push(9, doc! {"_events": [event("e1")]})));
    let inserted = doc! {"fullDocument": {"_id": 7, "_events": [event("e1")]}};
    assert_eq!(first, id(&change("insert", 1, inserted)));
    let same_under_the_other_name = doc! {"_id": "e1", "type": "OrderPaid", "data": {}};
    assert_eq!(first, id(&push(5, doc! {"_events.0": same_under_the_other_name})));
    let mut of_another = push(5, doc! {"_events.3": event("e1")});
    of_another.insert("documentKey", doc! {"_id": 8});
    let mut sharded = push(5, doc! {"_events.3": event("e1")});
    sharded.insert("documentKey", doc! {"region": "eu", "_id": 7});
    assert_eq!(first, id(&sharded));
    let one = id(&push(5, doc! {"_events.3": event(1)}));
    for other in [
        id(&of_another),
        id(&push(5, doc! {"_events.3": event("e2")})),
        one,
        id(&push(5, doc! {"_events.3": event("1")})),
    ] {
        assert_ne!(first, other);
    }
    assert_ne!(one, id(&push(5, doc! {"_events.3": event("1")})), "a number is another id than a text");
    assert_eq!(
        id(&push(5, doc! {"_events.3": event(ObjectId::from_bytes([1; 12]))})),
        id(&push(6, doc! {"_events.4": event(ObjectId::from_bytes([1; 12]))}))
    );
}

#[test]
fn without_an_id_the_place_in_the_log_and_in_the_array_is_the_id() {
    let mut relay = relay(serde_json::json!({"clean_up": "pull"}));
    let bare = || doc! {"type": "OrderPaid", "data": {}};
    let change = push(5, doc! {"_events.3": bare(), "_events.4": bare()});
    let (_, outcome, noted) = apply(&mut relay, &change);
    let ids: Vec<_> = outcome.events.iter().map(|event| event.id).collect();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(outcome.events[0].explicit.as_ref().unwrap().id, ids[0].to_string());
    let again: Vec<_> = apply(&mut relay, &change).1.events.iter().map(|event| event.id).collect();
    assert_eq!(ids, again);
    assert_ne!(ids[0], apply(&mut relay, &push(6, doc! {"_events.3": bare()})).1.events[0].id);
    assert!(noted.done.is_empty(), "what has no id can not be pulled");
}

#[test]
fn events_come_in_the_order_of_the_array_and_after_those_of_rules() {
    let mut relay = relay(serde_json::json!({}));
    let (_, outcome, _) =
        apply(&mut relay, &push(5, doc! {"_events.1": event("b"), "_events.0": event("a"), "_events.2": event("c")}));
    let ids: Vec<_> = outcome.events.iter().map(|event| event.explicit.as_ref().unwrap().id.clone()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert!(outcome.events.is_sorted_by(|left, right| left.sequence < right.sequence));
    assert!(
        outcome.events[0].sequence > text::sequence(crate::position::ClusterTime { seconds: 5, increment: 1 }, 0, 7)
    );
}

#[test]
fn what_can_not_be_an_event_says_why_and_the_others_go_on() {
    let mut relay = relay(serde_json::json!({"payload_bytes_max": "1KiB", "clean_up": "pull"}));
    let update = push(
        5,
        doc! {
            "_events.0": {"id": "a", "data": {}},
            "_events.1": {"id": "b", "type": 5, "data": {}},
            "_events.2": {"id": "c", "type": "Paid"},
            "_events.3": {"id": "d", "type": "Paid", "data": {"text": "x".repeat(2_000)}},
            "_events.4": "none",
            "_events.5": event("f"),
        },
    );
    let (_, outcome, noted) = apply(&mut relay, &update);
    let reasons: Vec<_> = outcome.failed.iter().map(|failed| failed.reason.as_str()).collect();
    for (reason, wanted) in reasons.iter().zip([
        "the element 0 of \"_events\" in a document of shop.orders can not be an event: the type at `$.type` is missing",
        "the type at `$.type` is of the type int,",
        "the payload at `$.data` is missing",
        "payload_bytes_max allows 1024",
        "is of the type string, and a document is wanted",
    ]) {
        assert!(reason.contains(wanted), "{reason}");
    }
    assert_eq!((reasons.len(), outcome.events.len()), (5, 1));
    let done: Vec<_> = noted.done.iter().map(|done| done.element.clone().unwrap()).collect();
    assert_eq!(done, ["a", "b", "c", "d", "f"].map(|id| RawBson::String(id.to_owned())));
    assert!(noted.done.iter().all(|done| (done.relay, &done.document) == (3, &RawBson::Int32(7))));
}

#[test]
fn a_change_of_the_array_alone_needs_no_rule() {
    let mut relay = relay(serde_json::json!({}));
    let update = |description: Document| change("update", 5, doc! {"updateDescription": description});
    let truncated = |field: &str| doc! {"updatedFields": {}, "removedFields": [], "truncatedArrays": [{"field": field, "newSize": 0}]};
    for (change, is_of_array) in [
        (push(5, doc! {"_events": []}), true),
        (push(5, doc! {"_events.0.sent": true}), true),
        (push(5, doc! {"_events": [], "status": "paid"}), false),
        (push(5, doc! {"_eventsOfOthers": []}), false),
        (update(doc! {"updatedFields": {}, "removedFields": ["_events"]}), true),
        (update(doc! {"updatedFields": {}, "removedFields": ["_events", "status"]}), false),
        (update(truncated("_events")), true),
        (update(truncated("items")), false),
    ] {
        let (is_taken, outcome, noted) = apply(&mut relay, &change);
        assert!(is_taken == is_of_array && outcome.is_empty() && noted.is_empty(), "{change}");
    }
}

#[test]
fn what_appends_nothing_is_not_for_the_relay_and_what_is_not_known_is_told() {
    let mut relay = relay(serde_json::json!({}));
    for nothing in [
        push(5, doc! {"status": "paid"}),
        change("delete", 5, doc! {}),
        change("insert", 5, doc! {"fullDocument": {"_id": 7, "_events": {"not": "an array"}}}),
    ] {
        let (is_taken, outcome, noted) = apply(&mut relay, &nothing);
        assert!(!is_taken && outcome.is_empty() && noted.is_empty(), "{nothing}");
    }
    let mut altered = push(5, doc! {"_events.0.data.n": 2});
    altered.insert("fullDocumentBeforeChange", doc! {"_id": 7, "_events": [{"type": "T", "data": {"n": 1}}]});
    let (is_taken, outcome, noted) = apply(&mut relay, &altered);
    assert!(is_taken && outcome.is_empty());
    assert_eq!(noted.ignored, [Ignored { relay: 3, what: "altered", is_fatal: false }]);
    let (_, outcome, _) = apply(&mut relay, &push(5, doc! {"_events.0.id": "b"}));
    assert!(outcome.failed[0].reason.contains("only known with the document before"), "{}", outcome.failed[0].reason);
    let blind = only(apply(&mut relay, &push(5, doc! {"_events": [event("a")]})).1);
    assert_eq!(blind.evidence, Evidence::Delta);
}

#[test]
fn settings_that_can_not_be_used_say_so() {
    for (more, wanted) in [
        (serde_json::json!({"path": ""}), "explicit.3.embedded_outbox.path: the path is empty"),
        (serde_json::json!({"id": "$.ids[*]"}), "explicit.3.embedded_outbox.id: elements can not be told apart"),
        (serde_json::json!({"id": "id"}), "explicit.3.embedded_outbox.id: "),
        (serde_json::json!({"type": "$.types[*]"}), "explicit.3.embedded_outbox.type: "),
        (serde_json::json!({"payload_bytes_max": 0}), "explicit.3.embedded_outbox.payload_bytes_max: "),
    ] {
        let error = EmbeddedOutbox::new(3, &settings(more)).unwrap_err().to_string();
        assert!(error.starts_with(wanted) && error.contains("\nhelp: "), "{error}");
    }
    assert_eq!(settings(serde_json::json!({})).id_fields(), ["id", "_id"]);
    assert_eq!(settings(serde_json::json!({"id": "$.meta['id']"})).id_fields(), ["meta.id"]);
}

#[test]
fn what_a_document_still_holds_has_the_events_of_the_changes_that_appended_it() {
    let mut relay = relay(serde_json::json!({"clean_up": "pull", "path": "meta._events"}));
    let appended = [("meta._events.0", event("e1")), ("meta._events.1", event(2)), ("meta._events.2", event("e3"))];
    let ids = appended.clone().map(|(path, element)| only(apply(&mut relay, &push(5, doc! {path: element})).1).id);
    let mut elements: Vec<Bson> = appended.map(|(_, element)| element.into()).into();
    // Without an id it can not be told which event it was.
    elements.insert(1, doc! {"type": "OrderPaid", "data": {}}.into());
    let document = RawDocumentBuf::try_from(&doc! {"_id": 7, "meta": {"_events": elements}}).unwrap();
    let (mut outcome, mut noted) = (Outcome::default(), Noted::default());
    let read_at = bson::DateTime::from_millis(9_000);
    relay.recover(&document, read_at, &mut outcome, &mut noted);
    assert_eq!(outcome.events.iter().map(|event| event.id).collect::<Vec<_>>(), ids);
    assert!(outcome.failed.is_empty());
    assert!(outcome.events.iter().all(|event| event.partition_key == "7" && event.time == read_at));
    assert_eq!(noted.done.len(), 3);
    let without = RawDocumentBuf::try_from(&doc! {"_id": 7, "meta": 1}).unwrap();
    (outcome, noted) = Default::default();
    relay.recover(&without, read_at, &mut outcome, &mut noted);
    assert!(outcome.is_empty() && noted.is_empty());
}
