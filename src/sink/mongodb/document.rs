//! An event as a document: `_id` is its id, the other CloudEvents attributes are fields, `data` keeps its BSON types.

use bson::raw::cstr;
use bson::{RawDocument, RawDocumentBuf};

use super::super::envelope::Envelope;
use crate::event::Event;

/// The server takes no document that is larger.
pub(super) const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The document of an event; `None` if its data is not valid BSON.
pub(super) fn document_of(event: &Event, envelope: &Envelope) -> Option<RawDocumentBuf> {
    if !is_whole(&event.data, 0) {
        return None;
    }
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), event.id.to_string());
    document.append(cstr!("specversion"), "1.0");
    document.append(cstr!("source"), envelope.source(event));
    document.append(cstr!("type"), envelope.event_type(event));
    if let Some(subject) = &event.subject {
        document.append(cstr!("subject"), subject.as_str());
    }
    document.append(cstr!("time"), event.time);
    document.append(cstr!("datacontenttype"), "application/json");
    document.append(cstr!("partitionkey"), event.partition_key.as_str());
    document.append(cstr!("sequence"), event.sequence.as_str());
    document.append(cstr!("rule"), &*event.rule);
    document.append(cstr!("evidence"), event.evidence.as_str());
    if let Some(transaction) = &event.transaction {
        document.append(cstr!("transaction"), transaction.as_str());
    }
    if let Some(rule_set) = &event.rule_set {
        document.append(cstr!("ruleset"), &**rule_set);
    }
    document.append(cstr!("data"), &*event.data);
    Some(document)
}

/// True if every element can be read. The server would refuse the whole command otherwise, and with it good events.
fn is_whole(document: &RawDocument, depth: usize) -> bool {
    const DEPTH_MAX: usize = 250;
    use bson::RawBsonRef;
    depth < DEPTH_MAX
        && document.iter().all(|element| match element {
            Ok((_, RawBsonRef::Document(inner))) => is_whole(inner, depth + 1),
            Ok((_, RawBsonRef::Array(inner))) => {
                RawDocument::from_bytes(inner.as_bytes()).is_ok_and(|inner| is_whole(inner, depth + 1))
            }
            Ok(_) => true,
            Err(_) => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::EnvelopeSettings;
    use crate::sink::samples::event;

    #[test]
    fn a_document_holds_the_attributes_and_the_data_with_its_types() {
        let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
        let event = event(7);
        let document = document_of(&event, &envelope).expect("whole");
        let document = bson::Document::try_from(&*document).expect("valid");
        let expected = bson::doc! {
            "_id": event.id.to_string(), "specversion": "1.0", "source": "/changeling/shop/shop.orders",
            "type": "OrderPaid", "subject": "order/7", "time": event.time, "datacontenttype": "application/json",
            "partitionkey": "7", "sequence": "0000000000000007", "rule": "OrderPaid", "evidence": "exact",
            "ruleset": "2f1e9c07ab34", "data": {"orderId": 7_i64, "total": 10.5},
        };
        assert_eq!(document, expected);
    }

    #[test]
    fn broken_data_makes_no_document() {
        let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
        let mut event = event(1);
        event.data = RawDocumentBuf::from_bytes(vec![12, 0, 0, 0, 2, b'a', 0, 99, 0, 0, 0, 0]).expect("right length");
        assert!(document_of(&event, &envelope).is_none());
    }
}
