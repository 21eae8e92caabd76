//! The relay as a whole: what becomes of changes and of documents that are read later.

mod custom;
mod debezium;

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawBson, RawDocumentBuf, Timestamp, bson, doc};
use proptest::prelude::*;

use super::*;
use crate::change::{Batch, Entry};
use crate::event::{Event, Evidence, Explicit, Header};
use crate::explicit::{RelaySettings, Relays};
use crate::quantity::{ByteCount, Period};

const READ_AT: bson::DateTime = bson::DateTime::from_millis(1_800_000_000_000);

fn namespace() -> Namespace {
    Namespace::parse("shop.outbox").unwrap()
}

fn debezium(settings: DebeziumSettings) -> OutboxSettings {
    OutboxSettings { debezium: Some(settings), ..OutboxSettings::new(namespace(), Layout::Debezium) }
}

fn custom(settings: CustomSettings) -> OutboxSettings {
    OutboxSettings { custom: Some(settings), ..OutboxSettings::new(namespace(), Layout::Custom) }
}

fn paths() -> CustomSettings {
    serde_json::from_str(r#"{"type": "$.meta.kind", "key": "$.meta.order", "data": "$.body"}"#).unwrap()
}

fn relays(settings: &OutboxSettings) -> Relays {
    Relays::new(&[RelaySettings::Outbox(Box::new(settings.clone()))]).unwrap()
}

fn id() -> ObjectId {
    ObjectId::from_bytes([0x65, 0x53, 0xf1, 0, 1, 1, 1, 1, 1, 0, 0, 7])
}

fn document() -> Document {
    doc! {"_id": id(), "aggregatetype": "Order", "aggregateid": "o1", "type": "OrderPaid", "payload": {"total": 7}}
}

fn without(field: &str) -> Document {
    let mut document = document();
    document.remove(field);
    document
}

fn with(field: &str, value: impl Into<Bson>) -> Document {
    let mut document = document();
    document.insert(field, value);
    document
}

fn change(operation: &str, key: Bson, document: Option<Document>) -> Document {
    let mut change = doc! {
        "_id": {"_data": "8263A1B2C3000000052B022C0100296E5A1004"},
        "operationType": operation,
        "clusterTime": Timestamp { time: 0x63A1_B2C3, increment: 5 },
        "wallTime": bson::DateTime::from_millis(1_671_541_443_000),
        "ns": {"db": "shop", "coll": "outbox"},
        "documentKey": {"_id": key},
        "lsid": {"id": bson::Uuid::from_bytes([7; 16])},
        "txnNumber": 42_i64,
    };
    change.extend(document.map(|document| doc! {"fullDocument": document}).unwrap_or_default());
    change
}

fn insert(document: Document) -> Document {
    change("insert", document.get("_id").cloned().unwrap_or(Bson::Null), Some(document))
}

fn update(description: Document) -> Document {
    let mut update = change("update", id().into(), None);
    update.insert("updateDescription", description);
    update
}

/// What the relay makes of a change.
fn see(relays: &mut Relays, change: &Document) -> (Outcome, Noted) {
    let raw = RawDocumentBuf::try_from(change).unwrap();
    let batch = Batch::from_documents([&*raw], None);
    let (mut outcome, mut noted) = (Outcome::default(), Noted::default());
    match batch.entries().next().unwrap().unwrap() {
        Entry::Change(change) => assert!(relays.apply(&change, &mut outcome, &mut noted)),
        Entry::Notice(notice) => panic!("{} is no change", notice.operation_type),
    }
    (outcome, noted)
}

fn recovered(relays: &mut Relays, document: &Document) -> (Outcome, Noted) {
    let raw = RawDocumentBuf::try_from(document).unwrap();
    let (mut outcome, mut noted) = (Outcome::default(), Noted::default());
    relays.recover(0, &raw, READ_AT, &mut outcome, &mut noted);
    (outcome, noted)
}

/// The only event of a document, with nothing beside it.
fn event(settings: &OutboxSettings, document: Document) -> Event {
    let (mut outcome, noted) = see(&mut relays(settings), &insert(document));
    assert!(outcome.failed.is_empty() && outcome.undecided.is_empty(), "{outcome:?}");
    assert!(noted.ignored.is_empty() && noted.faults.is_empty(), "{noted:?}");
    assert_eq!(outcome.events.len(), 1);
    outcome.events.remove(0)
}

/// Why a document is no event.
fn flaw(settings: &OutboxSettings, document: Document) -> String {
    let (outcome, _) = see(&mut relays(settings), &insert(document));
    assert!(outcome.events.is_empty(), "{outcome:?}");
    assert_eq!((outcome.failed.len(), &*outcome.failed[0].rule), (1, "shop.outbox"));
    outcome.failed[0].reason.clone()
}

fn refusal(settings: &OutboxSettings) -> String {
    Relays::new(&[RelaySettings::Outbox(Box::new(settings.clone()))]).unwrap_err().to_string()
}

fn explicit(event: &Event) -> &Explicit {
    event.explicit.as_ref().unwrap()
}

fn headers(event: &Event) -> Vec<(&str, Bson)> {
    let text = |header: &'_ Header| Bson::try_from(header.value.clone()).unwrap();
    explicit(event).headers.iter().map(|header| (&*header.name, text(header))).collect()
}

fn data(event: &Event) -> Document {
    Document::try_from(&*event.data).unwrap()
}

fn route(event: &Event) -> String {
    explicit(event).route.as_ref().unwrap().to_string()
}

#[test]
fn an_insert_without_its_document_is_told() {
    let (outcome, _) = see(&mut relays(&debezium(DebeziumSettings::default())), &change("insert", id().into(), None));
    assert_eq!(outcome.failed[0].reason, "an insert into shop.outbox came without its document");
}

#[test]
fn the_own_mark_is_no_update() {
    let mark = CleanUp::Mark { field: "relayedAt".into(), keep_for: Period::seconds(1) };
    let settings = OutboxSettings { clean_up: mark, ..debezium(DebeziumSettings::default()) };
    let now = bson::DateTime::from_millis(1);
    for (description, is_ignored) in [
        (doc! {"updatedFields": {"relayedAt": now}, "removedFields": []}, false),
        (doc! {"updatedFields": {"relayedAt": now, "payload": 1}, "removedFields": []}, true),
        (doc! {"updatedFields": {"relayedAt": now}, "removedFields": ["payload"]}, true),
        (doc! {"updatedFields": {"relayed": now}, "removedFields": []}, true),
        (doc! {"updatedFields": {}, "removedFields": ["relayedAt"]}, true),
    ] {
        let (outcome, noted) = see(&mut relays(&settings), &update(description.clone()));
        assert!(outcome.is_empty() && noted.done.is_empty());
        assert_eq!(!noted.ignored.is_empty(), is_ignored, "{description}");
    }
}

#[test]
fn what_is_read_later_is_the_same_event() {
    for (settings, document) in [
        (debezium(DebeziumSettings::default()), document()),
        (debezium(DebeziumSettings::default()), with("_id", "text")),
        (custom(paths()), doc! {"_id": {"a": 1}, "meta": {"kind": "OrderPaid", "order": 1}, "body": [1]}),
    ] {
        let mut relays = relays(&settings);
        let inserted = see(&mut relays, &insert(document.clone())).0.events.remove(0);
        let later = recovered(&mut relays, &document).0.events.remove(0);
        assert_eq!(later.id, inserted.id);
        assert_eq!(later.explicit, inserted.explicit);
        assert_eq!((&later.name, &later.partition_key), (&inserted.name, &inserted.partition_key));
        assert_eq!((&later.data, &later.rule), (&inserted.data, &inserted.rule));
        let time = if document.get_object_id("_id").is_ok() { id().timestamp() } else { READ_AT };
        assert_eq!((later.time, later.transaction), (time, None));
    }
    let mut relays = relays(&debezium(DebeziumSettings::default()));
    let sequence = recovered(&mut relays, &document()).0.events.remove(0).sequence;
    assert_eq!(sequence, "6553f100000000070000000000");
}

#[test]
fn an_event_has_its_id_from_the_applications_id_alone() {
    let settings = debezium(DebeziumSettings::default());
    let id_of = |settings: &OutboxSettings, document: Document| event(settings, document).id;
    let first = id_of(&settings, with("_id", 1));
    assert_eq!(
        first,
        id_of(&settings, doc! {"_id": 1, "aggregatetype": "x", "aggregateid": "y", "type": "z", "payload": 1})
    );
    for other in [bson!("1"), bson!(2), bson!(1.5), bson!({"a": 1})] {
        assert_ne!(first, id_of(&settings, with("_id", other)));
    }
    assert_ne!(id_of(&settings, with("_id", doc! {"a": 1})), id_of(&settings, with("_id", doc! {"a": 1_i64})));
    let elsewhere = OutboxSettings { collection: Namespace::parse("shop2.outbox").unwrap(), ..settings };
    let mut relay = Outbox::new(0, &elsewhere).unwrap();
    assert_ne!(first, relay.sender.event_id(&[], RawBsonRef::Int32(1), "1"));
}

#[test]
fn an_id_never_changes() {
    // Sinks keep ids for good.
    let settings = debezium(DebeziumSettings::default());
    assert_eq!(event(&settings, document()).id.to_string(), "849346af2e4b753d4e7e3c87af358562");
    assert_eq!(event(&settings, with("_id", 1)).id.to_string(), "56f6983287f40901cc5c2e918206f34e");
}

#[test]
fn what_is_relayed_is_done_with_also_if_it_is_a_dead_letter() {
    let keep = debezium(DebeziumSettings::default());
    let delete = OutboxSettings { clean_up: CleanUp::Delete, ..keep.clone() };
    for (document, is_event) in [(document(), true), (without("type"), false)] {
        assert!(see(&mut relays(&keep), &insert(document.clone())).1.done.is_empty());
        let mut relays = relays(&delete);
        for (outcome, noted) in [see(&mut relays, &insert(document.clone())), recovered(&mut relays, &document)] {
            assert_eq!((outcome.events.len(), outcome.failed.len()), if is_event { (1, 0) } else { (0, 1) });
            assert_eq!(noted.done, [Done { relay: 0, document: RawBson::ObjectId(id()), element: None }]);
        }
    }
    assert!(!keep.catches_up() && delete.catches_up());
    assert!(!OutboxSettings { catch_up: Some(false), ..delete }.catches_up());
    assert!(OutboxSettings { catch_up: Some(true), ..keep }.catches_up());
}

#[test]
fn events_go_to_the_sinks_that_are_named() {
    let settings = OutboxSettings { to: vec!["audit".into()], ..debezium(DebeziumSettings::default()) };
    let event = event(&settings, document());
    assert!(event.goes_to("audit") && !event.goes_to("other"));
    assert_eq!(event.address_at("audit").unwrap().to_string(), "outbox.event.Order");
}

#[test]
fn a_setting_that_can_not_be_used_is_named_with_the_way_out() {
    let base = || debezium(DebeziumSettings::default());
    let with_additional =
        |text: &str| DebeziumSettings { additional: vec![text.into()], ..DebeziumSettings::default() };
    let with_route = |regex: &str, replacement: &str| DebeziumSettings {
        route: DebeziumRoute { regex: regex.into(), replacement: replacement.into(), ..DebeziumRoute::default() },
        ..DebeziumSettings::default()
    };
    let mark = |field: &str| CleanUp::Mark { field: field.into(), keep_for: Period::seconds(1) };
    let cases = [
        (custom(CustomSettings { event_type: "type".into(), ..paths() }), "custom.type: "),
        (custom(CustomSettings { id: "$.ids[*]".into(), ..paths() }), "custom.id: the path may select several values"),
        (custom(CustomSettings { route: Some("a.{$.x".into()), ..paths() }), "custom.route: the brace is not closed"),
        (
            custom(CustomSettings { headers: BTreeMap::from([("a b".into(), "$.x".into())]), ..paths() }),
            "custom.headers.a b: a header can not be called so",
        ),
        (OutboxSettings { custom: Some(paths()), ..base() }, "custom: the layout is debezium"),
        (OutboxSettings::new(namespace(), Layout::Custom), "layout: the layout custom needs to be told"),
        (OutboxSettings { layout: Layout::Custom, ..base() }, "debezium: the layout is custom"),
        (
            debezium(with_additional("a:partition")),
            "debezium.additional: \"a:partition\" wants a partition by its number",
        ),
        (debezium(with_additional("a")), "debezium.additional: "),
        (
            debezium(with_route("(a", "x")),
            "debezium.route.regex: the regular expression can not be read: unclosed group",
        ),
        (debezium(with_route("a", "$1")), "debezium.route.replacement: the replacement can not be read: the regular"),
        (OutboxSettings { payload_bytes_max: ByteCount(0), ..base() }, "payload_bytes_max: no payload"),
        (OutboxSettings { clean_up: mark("_id"), ..base() }, "clean_up.mark.field: a mark can not be put there"),
        (OutboxSettings { clean_up: mark("a.b"), ..base() }, "clean_up.mark.field: a mark can not be put there"),
    ];
    for (settings, wanted) in cases {
        let text = refusal(&settings);
        assert!(text.starts_with(&format!("explicit.0.outbox.{wanted}")), "{text}");
        assert!(text.lines().last().is_some_and(|help| help.starts_with("help: ") && help.len() > 10), "{text}");
    }
    let fields = DebeziumFields { key: String::new(), ..DebeziumFields::default() };
    let text = refusal(&debezium(DebeziumSettings { fields, ..DebeziumSettings::default() }));
    assert!(text.starts_with("explicit.0.outbox.debezium.fields.key: the name of a field is empty"), "{text}");
}

#[test]
fn equal_names_and_topics_share_their_memory() {
    let mut relays = relays(&debezium(DebeziumSettings::default()));
    let first = see(&mut relays, &insert(document())).0.events.remove(0);
    let second = see(&mut relays, &insert(with("_id", 2))).0.events.remove(0);
    assert!(Arc::ptr_eq(&first.name, &second.name) && Arc::ptr_eq(&first.rule, &second.rule));
    let topics = [&first, &second].map(|event| explicit(event).route.clone().unwrap());
    assert!(Arc::ptr_eq(&topics[0], &topics[1]));
    for number in 0..3_000 {
        let mut document = with("type", format!("Type{number}"));
        document.insert("aggregatetype", format!("Aggregate{number}"));
        let event = see(&mut relays, &insert(document)).0.events.remove(0);
        assert_eq!(
            (&*event.name, route(&event)),
            (&*format!("Type{number}"), format!("outbox.event.Aggregate{number}"))
        );
    }
}

fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        Just(Bson::Null),
        Just(Bson::Undefined),
        Just(Bson::MinKey),
        any::<bool>().prop_map(Bson::from),
        any::<i32>().prop_map(Bson::from),
        any::<i64>().prop_map(Bson::from),
        any::<f64>().prop_map(Bson::from),
        any::<i64>().prop_map(|millis| Bson::DateTime(bson::DateTime::from_millis(millis))),
        any::<[u8; 12]>().prop_map(|bytes| ObjectId::from_bytes(bytes).into()),
        any::<[u8; 16]>().prop_map(|bytes| bson::Decimal128::from_bytes(bytes).into()),
        (any::<u32>(), any::<u32>()).prop_map(|(time, increment)| Timestamp { time, increment }.into()),
        prop::collection::vec(any::<u8>(), 0..20)
            .prop_map(|bytes| Binary { subtype: BinarySubtype::Generic, bytes }.into()),
        "[ a-z.=$\\\\\n]{0,6}".prop_map(Bson::from),
        ".{0,6}".prop_map(Bson::Symbol),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::from),
            prop::collection::hash_map("[a-z]{0,3}", inner, 0..4)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

/// Documents that have most of the fields, with anything in them.
fn any_document() -> impl Strategy<Value = Document> {
    const NAMES: [&str; 9] =
        ["_id", "aggregatetype", "aggregateid", "type", "payload", "tracingspancontext", "at", "tenant", "meta"];
    let field = (prop::sample::select(NAMES.to_vec()), prop_oneof![value(), Just(bson!("text"))]);
    prop::collection::vec(field, 0..14).prop_map(|fields| {
        let mut document = document();
        document.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        document
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_document_is_one_event_or_one_dead_letter_however_it_is_read(
        document in any_document(),
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let placed = DebeziumSettings {
            additional: vec!["tenant:header,tenant:envelope:t,at:header".into()],
            additional_missing: AdditionalMissing::Ignore,
            fields: DebeziumFields { timestamp: Some("at".into()), ..DebeziumFields::default() },
            route: DebeziumRoute { regex: "([a-z]+).*".into(), ..DebeziumRoute::default() },
            ..DebeziumSettings::default()
        };
        let placed = DebeziumSettings { route: DebeziumRoute { replacement: "t.$1".into(), ..placed.route }, ..placed };
        let by_path = CustomSettings {
            time: Some("$.at".into()),
            headers: BTreeMap::from([("all".to_owned(), "$..a".to_owned())]),
            route: Some("x.{$.meta}".into()),
            ..serde_json::from_str(r#"{"type": "$.type", "key": "$.aggregateid", "data": "$.payload"}"#).unwrap()
        };
        let mut bytes = RawDocumentBuf::try_from(&document).unwrap().into_bytes();
        if let Some((place, byte)) = damage {
            let place = 4 + place.index(bytes.len() - 5);
            bytes[place] = byte;
        }
        let raw = RawDocumentBuf::from_bytes(bytes).unwrap();
        for settings in [debezium(DebeziumSettings::default()), debezium(placed.clone()), custom(by_path.clone())] {
            let mut relays = relays(&settings);
            let mut read = || {
                let (mut outcome, mut noted) = (Outcome::default(), Noted::default());
                relays.recover(0, &raw, READ_AT, &mut outcome, &mut noted);
                let ids: Vec<_> = outcome.events.iter().map(|event| event.id).chain(outcome.failed.iter().map(|failed| failed.id)).collect();
                (ids, outcome.failed.into_iter().map(|failed| failed.reason).collect::<Vec<_>>())
            };
            let first = read();
            prop_assert_eq!(first.0.len(), 1);
            prop_assert_eq!(first, read());
        }
    }
}
