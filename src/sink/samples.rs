//! Events for the unit tests of the sinks.

use bson::rawdoc;

use crate::event::{Event, EventId, EventOrigin, Evidence};
use crate::position::ClusterTime;

/// An `OrderPaid` of the order `number`; equal numbers give equal ids.
pub(super) fn event(number: u32) -> Event {
    let origin = EventOrigin {
        cluster_time: ClusterTime { seconds: 1_700_000_000, increment: number },
        operation_index: 0,
        database: "shop",
        collection: "orders",
        key: &number.to_le_bytes(),
        rule: "OrderPaid",
        ordinal: 0,
    };
    Event {
        id: EventId::new(&origin),
        name: "OrderPaid".into(),
        rule: "OrderPaid".into(),
        database: "shop".into(),
        collection: "orders".into(),
        subject: Some(format!("order/{number}")),
        time: bson::DateTime::from_millis(1_700_000_000_123),
        partition_key: number.to_string(),
        sequence: format!("{number:016x}"),
        evidence: Evidence::Exact,
        transaction: None,
        explicit: None,
        rule_set: Some("2f1e9c07ab34".into()),
        to: None,
        data: rawdoc! { "orderId": i64::from(number), "total": 10.5 },
    }
}
