//! Outboxes on a real server: what is inserted in transactions comes through the change stream as events, and a later read of the
//! collection gives the same ones.

use bson::oid::ObjectId;
use bson::{Document, RawBson, RawDocumentBuf, doc};
use changeling::event::{Event, MessageForm, Payload};
use changeling::explicit::{
    CleanUp, CustomSettings, DebeziumSettings, Ignored, Layout, Noted, OutboxSettings, RelaySettings, Relays,
};
use changeling::namespace::Namespace;
use changeling::quantity::Period;
use changeling::rules::Outcome;
use futures_util::TryStreamExt;
use mongodb::{Client, Collection};

use crate::support::{NO_IMAGES, Stream, free_name};

struct Shop {
    client: Client,
    database: String,
}

impl Shop {
    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.database).collection(name)
    }

    /// One outbox of each layout.
    fn relays(&self) -> Relays {
        let namespace = |name: &str| Namespace { database: self.database.clone(), collection: name.to_owned() };
        let debezium: DebeziumSettings =
            serde_json::from_value(serde_json::json!({"additional": ["type:header:eventType"]})).unwrap();
        let custom: CustomSettings = serde_json::from_value(
            serde_json::json!({"id": "$.event.id", "type": "$.event.name", "key": "$.order", "data": "$.event.body"}),
        )
        .unwrap();
        let debezium = OutboxSettings {
            debezium: Some(debezium),
            clean_up: CleanUp::Mark { field: "relayedAt".to_owned(), keep_for: Period::seconds(3_600) },
            ..OutboxSettings::new(namespace("outbox"), Layout::Debezium)
        };
        let custom = OutboxSettings {
            custom: Some(custom),
            clean_up: CleanUp::Delete,
            ..OutboxSettings::new(namespace("events"), Layout::Custom)
        };
        Relays::new(&[debezium, custom].map(|settings| RelaySettings::Outbox(Box::new(settings)))).unwrap()
    }

    /// A business operation: what it does and what it tells of are committed together.
    async fn pay(&self, order: i32, is_committed: bool) {
        let mut session = self.client.start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        self.collection("orders")
            .insert_one(doc! {"_id": order, "status": "paid"})
            .session(&mut session)
            .await
            .unwrap();
        let aggregate = ObjectId::from_bytes([u8::try_from(order).unwrap(); 12]);
        let document = doc! {
            "_id": ObjectId::new(), "aggregatetype": "Order", "aggregateid": aggregate, "type": "OrderPaid",
            "payload": {"order": order, "total": 10.5},
        };
        self.collection("outbox").insert_one(document).session(&mut session).await.unwrap();
        let document = doc! {
            "_id": order, "order": order, "event": {"id": format!("e{order}"), "name": "StockReserved", "body": "text"},
        };
        self.collection("events").insert_one(document).session(&mut session).await.unwrap();
        match is_committed {
            true => session.commit_transaction().await.unwrap(),
            false => session.abort_transaction().await.unwrap(),
        }
    }

    async fn documents(&self, name: &str) -> Vec<Document> {
        self.collection(name).find(doc! {}).sort(doc! {"_id": 1}).await.unwrap().try_collect().await.unwrap()
    }
}

fn of_relay<'e>(events: &'e [Event], collection: &str) -> Vec<&'e Event> {
    events.iter().filter(|event| &*event.collection == collection).collect()
}

#[tokio::test]
async fn outboxes_of_both_layouts_are_relayed_from_transactions_and_once_more_with_the_same_ids() {
    let server = changeling_servers::shared().await.unwrap();
    let shop = Shop { client: server.client().await.unwrap(), database: free_name("outbox") };
    for name in ["orders", "outbox", "events"] {
        shop.client.database(&shop.database).create_collection(name).await.unwrap();
    }
    let mut stream = Stream::open(&server.uri(), &[&format!("{}.*", shop.database)], NO_IMAGES).await;
    for order in 1..=3 {
        shop.pay(order, order != 2).await;
    }
    let outbox = shop.collection("outbox");
    // A document that is no event, the mark of a clean-up, an update of the application, and deletes.
    outbox.insert_one(doc! {"_id": "bad", "aggregatetype": "Order", "aggregateid": 1, "payload": {}}).await.unwrap();
    outbox.update_one(doc! {"_id": "bad"}, doc! {"$currentDate": {"relayedAt": true}}).await.unwrap();
    outbox.update_one(doc! {"_id": "bad"}, doc! {"$set": {"payload.x": 1}}).await.unwrap();
    outbox.delete_one(doc! {"_id": "bad"}).await.unwrap();
    stream.read(10).await;

    let mut relays = shop.relays();
    let (mut outcome, mut noted) = (Outcome::default(), Noted::default());
    for change in stream.changes() {
        let is_for_relays = change.collection != "orders";
        assert_eq!(relays.owns(change.database, change.collection), is_for_relays);
        assert_eq!(relays.apply(&change, &mut outcome, &mut noted), is_for_relays);
    }
    let events = &outcome.events;
    assert_eq!(
        events.iter().map(|event| &*event.collection).collect::<Vec<_>>(),
        ["outbox", "events", "outbox", "events"]
    );
    assert!(events.iter().all(|event| event.transaction.is_some()));
    assert!(events.is_sorted_by(|one, other| one.sequence < other.sequence));
    let paid = of_relay(events, "outbox");
    assert_eq!(paid.iter().map(|event| &*event.partition_key).collect::<Vec<_>>(), ["01".repeat(12), "03".repeat(12)]);
    for (event, order) in paid.iter().zip([1, 3]) {
        let explicit = event.explicit.as_ref().unwrap();
        assert_eq!(
            (&*event.name, explicit.form, &explicit.payload),
            ("OrderPaid", MessageForm::Bare, &Payload::Document)
        );
        assert_eq!(explicit.route.as_ref().unwrap().to_string(), "outbox.event.Order");
        assert_eq!(Document::try_from(&*event.data).unwrap(), doc! {"order": order, "total": 10.5});
        let names: Vec<&str> = explicit.headers.iter().map(|header| &*header.name).collect();
        assert_eq!(names, ["id", "eventType"]);
        assert_eq!(explicit.headers[0].value, RawBson::String(explicit.id.clone()));
    }
    for (event, order) in of_relay(events, "events").iter().zip([1, 3]) {
        let explicit = event.explicit.as_ref().unwrap();
        assert_eq!((&*event.name, &*explicit.id), ("StockReserved", &*format!("e{order}")));
        assert_eq!((explicit.form, &explicit.payload), (MessageForm::Envelope, &Payload::Text("text".into())));
    }
    let [failed] = outcome.failed.as_slice() else { panic!("{:?}", outcome.failed) };
    assert!(failed.reason.ends_with("the field \"type\" is missing"), "{}", failed.reason);
    assert_eq!(noted.ignored, [Ignored { relay: 0, what: "update", is_fatal: false }]);
    let done: Vec<_> = noted.done.iter().map(|done| done.relay).collect();
    assert_eq!(done, [0, 1, 0, 1, 0]);

    let (mut later, mut noted) = (Outcome::default(), Noted::default());
    for (number, name) in ["outbox", "events"].into_iter().enumerate() {
        for document in shop.documents(name).await {
            let document = RawDocumentBuf::try_from(&document).unwrap();
            relays.recover(number, &document, bson::DateTime::now(), &mut later, &mut noted);
        }
    }
    let facts = |events: &[&Event]| events.iter().map(|event| (event.id, event.explicit.clone())).collect::<Vec<_>>();
    for name in ["outbox", "events"] {
        assert_eq!(facts(&of_relay(&later.events, name)), facts(&of_relay(events, name)));
    }
}
