//! The event that says that history was lost.

use std::sync::Arc;

use bson::{RawDocumentBuf, rawdoc};

use crate::event::{Event, EventId, EventOrigin, Evidence, GAP};
use crate::position::{ClusterTime, Resume, Start};
use crate::source::SourceError;

/// The event for a position that was lost; `None` if the error is another one.
///
/// Its id depends on the lost position alone: if we die before the event has settled, the next start loses the same position
/// and sends the same event.
pub(super) fn event(error: &SourceError, lost: &Start, now: bson::DateTime) -> Option<Event> {
    let SourceError::LostPosition { code, name, position, oldest } = error else { return None };
    let (time, token) = match lost {
        Start::Resume(position) | Start::Beyond(position) => match &position.resume {
            Resume::After(token) | Resume::AfterInvalidate(token) => (Some(position.time), token.as_bytes()),
            Resume::AtTime => (Some(position.time), &[][..]),
        },
        Start::At(time) => (Some(*time), &[][..]),
        Start::Now | Start::Beginning => (*position, &[][..]),
    };
    let from = time.unwrap_or_default();
    let origin = EventOrigin {
        cluster_time: from,
        operation_index: 0,
        database: "",
        collection: "",
        key: token,
        rule: GAP,
        ordinal: 0,
    };
    Some(Event {
        id: EventId::new(&origin),
        name: Arc::from(GAP),
        rule: Arc::from(GAP),
        database: Arc::from(""),
        collection: Arc::from(""),
        subject: None,
        time: now,
        partition_key: GAP.to_owned(),
        sequence: format!("{:08x}{:08x}-00000000-{GAP}-0", from.seconds, from.increment),
        evidence: Evidence::Exact,
        transaction: None,
        explicit: None,
        rule_set: None,
        to: None,
        data: data(time, *oldest, now, name, *code),
    })
}

fn data(
    from: Option<ClusterTime>,
    oldest: Option<ClusterTime>,
    to: bson::DateTime,
    reason: &str,
    code: i32,
) -> RawDocumentBuf {
    let date = |time: ClusterTime| bson::DateTime::from_millis(time.as_millis());
    let mut data = rawdoc! {"to": to, "reason": reason, "code": code};
    if let Some(from) = from {
        data.append(bson::cstr!("from"), date(from));
    }
    if let Some(oldest) = oldest {
        data.append(bson::cstr!("oldest"), date(oldest));
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    #[test]
    fn the_same_lost_position_gives_the_same_id_at_any_time() {
        let time = ClusterTime { seconds: 1_000, increment: 3 };
        let error = SourceError::LostPosition {
            code: 286,
            name: "ChangeStreamHistoryLost".to_owned(),
            position: Some(time),
            oldest: Some(ClusterTime { seconds: 5_000, increment: 1 }),
        };
        let start = |token: &str| Start::Resume(Position::after(&rawdoc! {"_data": token}, time));
        let at = |seconds: i64| bson::DateTime::from_millis(seconds * 1_000);
        let first = event(&error, &start("82aa"), at(9_000)).unwrap();
        assert_eq!(first.id, event(&error, &start("82aa"), at(9_500)).unwrap().id);
        assert_ne!(first.id, event(&error, &start("82bb"), at(9_000)).unwrap().id);
        let data = bson::Document::try_from(first.data).unwrap();
        let expected = bson::doc! {
            "to": at(9_000), "reason": "ChangeStreamHistoryLost", "code": 286, "from": at(1_000), "oldest": at(5_000)
        };
        assert_eq!(data, expected);
        assert_eq!(first.name.as_ref(), "changeling.gap");
    }
}
