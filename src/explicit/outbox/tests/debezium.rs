//! What Debezium's outbox event router for MongoDB does, case by case (its code, and its tests).

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawBson, bson, doc};

use super::*;
use crate::event::{MessageForm, Payload};

#[test]
fn an_insert_is_the_event_that_debezium_makes_of_it() {
    let event = event(&debezium(DebeziumSettings::default()), document());
    assert_eq!((&*event.name, &*event.rule), ("OrderPaid", "shop.outbox"));
    assert_eq!((&*event.database, &*event.collection), ("shop", "outbox"));
    assert_eq!(event.partition_key, "o1");
    assert_eq!(route(&event), "outbox.event.Order");
    assert_eq!(explicit(&event).id, id().to_hex());
    assert_eq!(headers(&event), [("id", bson!(id().to_hex()))]);
    assert_eq!((&explicit(&event).payload, explicit(&event).form), (&Payload::Document, MessageForm::Bare));
    assert_eq!(data(&event), doc! {"total": 7});
    assert_eq!(event.time.timestamp_millis(), 1_671_541_443_000);
    assert_eq!(event.sequence, "63a1b2c3000000050000000000");
    assert_eq!(event.transaction.as_deref(), Some("07070707-0707-0707-0707-070707070707:42"));
    assert_eq!((event.origin(), event.evidence, event.subject), ("explicit", Evidence::Exact, None));
    assert!(event.to.is_none() && event.rule_set.is_none());
}

#[test]
fn keys_and_ids_are_texts_as_debezium_converts_them() {
    let settings = debezium(DebeziumSettings::default());
    let bytes = Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2] };
    let decimal: bson::Decimal128 = "1.50".parse().unwrap();
    for (value, wanted) in [
        (bson!("o1"), "o1"),
        (bson!(id()), "6553f1000101010101000007"),
        (bson!(decimal), "1.50"),
        (bson!(7), "7"),
        (bson!(i64::MAX), "9223372036854775807"),
        (bson!(bytes), "AQI="),
        (bson!(bson::Uuid::from_bytes([7; 16])), "07070707-0707-0707-0707-070707070707"),
        (bson!(bson::DateTime::from_millis(1_000)), "1000"),
        (bson!(true), "true"),
        (bson!({"a": 1}), "{\"a\":1}"),
    ] {
        assert_eq!(event(&settings, with("aggregateid", value.clone())).partition_key, wanted);
        let with_id = event(&settings, with("_id", value));
        assert_eq!(explicit(&with_id).id, wanted);
    }
    // The header keeps its type where a message can have one.
    assert_eq!(headers(&event(&settings, with("_id", 7_i64))), [("id", bson!(7_i64))]);
    assert_eq!(headers(&event(&settings, with("_id", decimal))), [("id", bson!("1.50"))]);
}

#[test]
fn payloads_are_passed_on_by_debeziums_rules() {
    let settings = debezium(DebeziumSettings::default());
    let tombstones = debezium(DebeziumSettings { tombstone_on_empty_payload: true, ..DebeziumSettings::default() });
    let payload =
        |settings: &OutboxSettings, value: Bson| explicit(&event(settings, with("payload", value))).payload.clone();
    let bytes = Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2] };
    for (value, wanted) in [
        (bson!({}), Payload::Document),
        (bson!("{\"a\": 1}"), Payload::Text("{\"a\": 1}".into())),
        (bson!(" plain "), Payload::Text(" plain ".into())),
        (bson!(bytes), Payload::Binary(vec![1, 2])),
        (bson!(7), Payload::Value(RawBson::Int32(7))),
        (bson!(id()), Payload::Value(RawBson::String(id().to_hex()))),
        (bson!(bson::DateTime::from_millis(5)), Payload::Value(RawBson::Int64(5))),
    ] {
        assert_eq!(payload(&settings, value.clone()), wanted, "{value}");
        assert_eq!(payload(&tombstones, value.clone()), wanted, "{value}");
    }
    for empty in [Bson::Null, bson!(""), bson!(" \n")] {
        assert_eq!(payload(&settings, empty.clone()), Payload::Nothing);
        assert_eq!(payload(&tombstones, empty), Payload::Tombstone);
    }
    let array = event(&settings, with("payload", vec![1, 2]));
    assert!(matches!(&explicit(&array).payload, Payload::Value(RawBson::Array(_))));
    let canonical = DebeziumSettings { payload_format: PayloadFormat::Debezium, ..DebeziumSettings::default() };
    assert_eq!(explicit(&event(&debezium(canonical), document())).form, MessageForm::BareCanonical);
}

#[test]
fn further_fields_go_to_headers_or_beside_the_payload() {
    let placed = |texts: &[&str]| DebeziumSettings {
        additional: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..DebeziumSettings::default()
    };
    let mut full = document();
    full.extend(doc! {"tenant": 7, "at": bson::DateTime::from_millis(5), "by": id(), "none": null});
    let in_headers = event(&debezium(placed(&["type:header:eventType", "tenant:header,at:header"])), full.clone());
    let id_header = ("id", bson!(id().to_hex()));
    let wanted = [id_header.clone(), ("eventType", bson!("OrderPaid")), ("tenant", bson!(7)), ("at", bson!(5_i64))];
    assert_eq!(headers(&in_headers), wanted);
    assert_eq!(data(&in_headers), doc! {"total": 7});

    let beside = debezium(placed(&["type:envelope:eventType", "by:envelope", "none:envelope", "tenant:header"]));
    let event_beside = event(&beside, full.clone());
    let wanted = doc! {"payload": {"total": 7}, "eventType": "OrderPaid", "by": id().to_hex(), "none": null};
    assert_eq!(data(&event_beside), wanted);
    assert_eq!(explicit(&event_beside).payload, Payload::Document);
    assert_eq!(headers(&event_beside), [id_header.clone(), ("tenant", bson!(7))]);
    full.insert("payload", " ");
    let wanted = doc! {"payload": null, "eventType": "OrderPaid", "by": id().to_hex(), "none": null};
    assert_eq!(data(&event(&beside, full.clone())), wanted);
    full.insert("payload", "text");
    assert_eq!(data(&event(&beside, full)).get("payload"), Some(&bson!("text")));

    // Beside others, the text that Debezium makes of a document is a text.
    let canonical = DebeziumSettings { payload_format: PayloadFormat::Debezium, ..placed(&["type:envelope"]) };
    let event_of_text = event(&debezium(canonical), document());
    let text = "{\n  \"total\": {\n    \"$numberInt\": \"7\"\n  }\n}";
    assert_eq!(data(&event_of_text), doc! {"payload": text, "type": "OrderPaid"});
    assert_eq!(explicit(&event_of_text).form, MessageForm::Bare);

    for texts in [["tenant:header"], ["tenant:envelope"]] {
        let settings = placed(&texts);
        let reason = "a document of shop.outbox can not be an event: the field \"tenant\" is missing";
        assert_eq!(flaw(&debezium(settings.clone()), document()), reason);
        let ignoring = debezium(DebeziumSettings { additional_missing: AdditionalMissing::Ignore, ..settings });
        let without = event(&ignoring, document());
        assert_eq!(headers(&without), std::slice::from_ref(&id_header));
        let wanted = if texts == ["tenant:header"] {
            doc! {"total": 7}
        } else {
            doc! {"payload": {"total": 7}}
        };
        assert_eq!(data(&without), wanted);
    }
}

#[test]
fn the_topic_follows_the_route() {
    let routed = |by: &str, regex: &str, replacement: &str| {
        debezium(DebeziumSettings {
            route: DebeziumRoute { by: by.into(), regex: regex.into(), replacement: replacement.into() },
            ..DebeziumSettings::default()
        })
    };
    let settings = routed("type", "(?<what>[A-Z][a-z]+)(?<how>.*)", "shop.${what}.$2");
    assert_eq!(route(&event(&settings, document())), "shop.Order.Paid");
    assert_eq!(route(&event(&settings, with("type", "lower"))), "lower");
    // Remembered or not, it is the same.
    let mut relays = relays(&settings);
    for _ in 0..2 {
        assert_eq!(route(&see(&mut relays, &insert(document())).0.events[0]), "shop.Order.Paid");
    }
    let nowhere = routed("aggregatetype", ".*", "");
    assert!(flaw(&nowhere, document()).ends_with("the field \"aggregatetype\" leads to an empty topic"));
    assert_eq!(event(&settings, document()).address_at("any").unwrap().to_string(), "shop.Order.Paid");
}

#[test]
fn the_time_is_that_of_the_document_if_a_field_is_named() {
    let fields = DebeziumFields { timestamp: Some("at".into()), ..DebeziumFields::default() };
    let settings = debezium(DebeziumSettings { fields, ..DebeziumSettings::default() });
    for value in [bson!(5_i64), bson!(bson::DateTime::from_millis(5))] {
        assert_eq!(event(&settings, with("at", value)).time.timestamp_millis(), 5);
    }
    assert!(flaw(&settings, document()).ends_with("the field \"at\" is missing"));
    assert!(flaw(&settings, with("at", Bson::Null)).ends_with("the field \"at\" is missing"));
    let wanted = "the field \"at\" is of the type string, and an int64 of milliseconds or a date is wanted";
    assert!(flaw(&settings, with("at", "5")).ends_with(wanted));
}

#[test]
fn fields_can_have_other_names_and_several_roles() {
    let fields = DebeziumFields {
        id: "eventId".into(),
        key: "type".into(),
        event_type: "type".into(),
        payload: "_id".into(),
        ..DebeziumFields::default()
    };
    let event = event(&debezium(DebeziumSettings { fields, ..DebeziumSettings::default() }), with("eventId", "e1"));
    assert_eq!((&*event.partition_key, &*event.name, &*explicit(&event).id), ("OrderPaid", "OrderPaid", "e1"));
}

#[test]
fn a_trace_context_becomes_headers_and_a_broken_one_stands_in_nobodys_way() {
    let settings = debezium(DebeziumSettings::default());
    let text = "#now\ntraceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate=v\\=1\nother=x\n";
    let traced = event(&settings, with("tracingspancontext", text));
    let parent = ("traceparent", bson!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    assert_eq!(headers(&traced)[1..], [parent, ("tracestate", bson!("v=1"))]);
    for broken in [bson!(7), bson!("\\u12"), Bson::Null] {
        assert_eq!(headers(&event(&settings, with("tracingspancontext", broken))).len(), 1);
    }
}

#[test]
fn a_bad_document_is_a_dead_letter_that_names_the_field_and_no_value() {
    let settings = debezium(DebeziumSettings::default());
    for field in ["_id", "aggregateid", "type", "payload", "aggregatetype"] {
        let wanted = format!("a document of shop.outbox can not be an event: the field {field:?} is missing");
        assert_eq!(flaw(&settings, without(field)), wanted);
    }
    for field in ["aggregateid", "type", "aggregatetype"] {
        assert!(flaw(&settings, with(field, Bson::Null)).ends_with(&format!("the field {field:?} is missing")));
    }
    for field in ["aggregateid", "type"] {
        assert!(flaw(&settings, with(field, "")).ends_with(&format!("the field {field:?} is empty")));
    }
    for field in ["type", "aggregatetype"] {
        let wanted = format!("the field {field:?} is of the type int, and a text is wanted");
        assert!(flaw(&settings, with(field, 987_654)).ends_with(&wanted));
    }
    let code = flaw(&settings, with("payload", Bson::JavaScriptCode("secret()".into())));
    assert!(code.contains("the field \"payload\" is of the type javascript") && !code.contains("secret"), "{code}");
    let small = OutboxSettings { payload_bytes_max: ByteCount(20), ..settings };
    let oversize = flaw(&small, with("payload", "s".repeat(21)));
    assert!(oversize.ends_with("the field \"payload\" has 21 bytes, and payload_bytes_max allows 20"), "{oversize}");
    assert_eq!(event(&small, with("payload", "s".repeat(20))).name.as_ref(), "OrderPaid");
}

#[test]
fn deletes_are_silent_and_updates_are_what_the_user_wants() {
    let settings =
        |invalid_operations| debezium(DebeziumSettings { invalid_operations, ..DebeziumSettings::default() });
    let seen = |settings: &OutboxSettings, change: &Document| see(&mut relays(settings), change);
    let replace = change("replace", id().into(), Some(document()));
    let update = update(doc! {"updatedFields": {"payload": 1}, "removedFields": []});
    let (outcome, noted) = seen(&settings(InvalidOperations::Fatal), &change("delete", id().into(), None));
    assert!(outcome.is_empty() && noted.is_empty());
    for (change, what) in [(&update, "update"), (&replace, "replace")] {
        for (invalid, is_fatal) in [(InvalidOperations::Warn, false), (InvalidOperations::Fatal, true)] {
            let (outcome, noted) = seen(&settings(invalid), change);
            assert!(outcome.is_empty());
            assert_eq!(noted.ignored, [Ignored { relay: 0, what, is_fatal }]);
        }
        let (outcome, noted) = seen(&settings(InvalidOperations::Error), change);
        assert!(noted.is_empty() && outcome.events.is_empty());
        let wanted = format!("a document of shop.outbox was changed ({what}), which makes no event");
        assert_eq!(outcome.failed[0].reason, wanted);
    }
}
