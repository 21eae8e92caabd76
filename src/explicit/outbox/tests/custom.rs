//! Documents that are read by JSONPaths.

use std::collections::BTreeMap;

use bson::{Bson, Document, RawBson, bson, doc};

use super::*;
use crate::event::{MessageForm, Payload};

#[test]
fn a_custom_layout_finds_everything_by_path() {
    let text = |text: &str| Some(text.to_owned());
    let settings = CustomSettings {
        id: "$.meta.id".into(),
        subject: text("$.meta.about"),
        time: text("$.meta.at"),
        headers: BTreeMap::from([
            ("skus".to_owned(), "$.body.items[*].sku".to_owned()),
            ("tenant".to_owned(), "$.meta.tenant".to_owned()),
        ]),
        traceparent: text("$.meta.trace[0]"),
        tracestate: text("$.meta.trace[1]"),
        route: text("orders.{$.meta.region}.paid"),
        form: CustomForm::Bare,
        ..paths()
    };
    let full = doc! {
        "_id": 1,
        "meta": {
            "id": "e1", "kind": "OrderPaid", "order": 7_i64, "about": "order/7", "at": "1970-01-01T00:00:05Z",
            "tenant": 3, "trace": ["00-parent"], "region": "eu",
        },
        "body": {"items": [{"sku": "a"}, {"sku": "b"}]},
    };
    let event = event(&custom(settings.clone()), full.clone());
    assert_eq!((&*event.name, &*event.partition_key, &*explicit(&event).id), ("OrderPaid", "7", "e1"));
    assert_eq!((event.subject.as_deref(), event.time.timestamp_millis()), (Some("order/7"), 5_000));
    let wanted = [("skus", bson!(["a", "b"])), ("tenant", bson!(3)), ("traceparent", bson!("00-parent"))];
    assert_eq!(headers(&event), wanted);
    assert_eq!(data(&event), doc! {"items": [{"sku": "a"}, {"sku": "b"}]});
    assert_eq!(explicit(&event).form, MessageForm::Bare);
    let parts = &explicit(&event).route.as_ref().unwrap().parts;
    assert_eq!(parts.iter().map(|part| part.as_str()).collect::<Vec<_>>(), ["orders.", "eu", ".paid"]);

    let mut poor = full;
    poor.insert("meta", doc! {"id": 1, "kind": "OrderPaid", "order": "o", "at": null, "region": null});
    assert!(flaw(&custom(settings.clone()), poor.clone()).ends_with("the route at `$.meta.region` is missing"));
    let plain = event_of_custom(CustomSettings { route: None, ..settings }, poor);
    assert_eq!((plain.subject.as_deref(), plain.time.timestamp_millis()), (None, 1_671_541_443_000));
    assert_eq!(explicit(&plain).id, "1");
}

#[test]
fn the_smallest_custom_layout_sends_envelopes_and_tells_what_a_document_lacks() {
    let full = || doc! {"_id": "e1", "meta": {"kind": "OrderPaid", "order": "o1"}, "body": {"total": 7}};
    let event = event_of_custom(paths(), full());
    assert_eq!((&*explicit(&event).id, explicit(&event).form), ("e1", MessageForm::Envelope));
    assert!(explicit(&event).route.is_none() && explicit(&event).headers.is_empty());
    let whole = event_of_custom(CustomSettings { data: "$".into(), ..paths() }, full());
    assert_eq!(data(&whole), full());
    let several = event_of_custom(CustomSettings { data: "$..total".into(), ..paths() }, full());
    assert!(matches!(&explicit(&several).payload, Payload::Value(RawBson::Array(_))));
    for (document, wanted) in [
        (doc! {"_id": 1, "meta": {"order": 1}, "body": 1}, "the type at `$.meta.kind` is missing"),
        (doc! {"_id": 1, "meta": {"kind": 5, "order": 1}, "body": 1}, "is of the type int, and a text is wanted"),
        (doc! {"_id": 1, "meta": {"kind": "a"}, "body": 1}, "the key at `$.meta.order` is missing"),
        (doc! {"_id": 1, "meta": {"kind": "a", "order": ""}, "body": 1}, "the key at `$.meta.order` is empty"),
        (doc! {"_id": 1, "meta": {"kind": "a", "order": 1}}, "the payload at `$.body` is missing"),
        (
            doc! {"_id": 1, "meta": {"kind": "a", "order": 1}, "body": Bson::MaxKey},
            "is of the type maxKey, and a document",
        ),
    ] {
        let flaw = flaw(&custom(paths()), document);
        assert!(flaw.contains(wanted), "{flaw}");
    }
    let timed = custom(CustomSettings { time: Some("$.at".into()), ..paths() });
    let late = doc! {"_id": 1, "meta": {"kind": "a", "order": 1}, "body": 1, "at": "yesterday"};
    assert!(flaw(&timed, late).contains("the time at `$.at` is of the type string"));
}

fn event_of_custom(settings: CustomSettings, document: Document) -> Event {
    event(&custom(settings), document)
}
