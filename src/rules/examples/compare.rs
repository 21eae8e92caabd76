//! The events that came against those expected, and the differences in words.

use bson::{RawBsonRef, RawDocument};

use super::Expectation;
use crate::change::value::{self, Numbers};
use crate::event::Event;
use crate::rules::text;

/// An event, and which change of the test made it.
pub(super) struct Actual {
    pub(super) change: usize,
    pub(super) event: Event,
}

/// Every difference. The events of one change may come in any order; those of different changes in the order of the changes.
/// The names of events that did not come at all are added to `missing`.
pub(super) fn differences(expected: &[Expectation], actual: Vec<Actual>, missing: &mut Vec<String>) -> Vec<String> {
    let mut waiting: Vec<Option<&Expectation>> = expected.iter().map(Some).collect();
    let mut order: Vec<Option<usize>> = vec![None; expected.len()];
    let mut unmatched = Vec::new();
    for actual in actual {
        let fits = |expectation: &Option<&Expectation>| {
            expectation.is_some_and(|expectation| problems(expectation, &actual.event).is_empty())
        };
        match waiting.iter().position(fits) {
            Some(index) => {
                waiting[index] = None;
                order[index] = Some(actual.change);
            }
            None => unmatched.push(actual),
        }
    }
    let mut lines = Vec::new();
    for Actual { event, .. } in unmatched {
        // An expectation of the same event is most likely meant for this one: say where the two differ.
        let same_name = |expectation: &Option<&Expectation>| expectation.is_some_and(|one| one.event == *event.name);
        match waiting.iter().position(same_name).and_then(|index| waiting[index].take()) {
            Some(expectation) => lines.extend(problems(expectation, &event)),
            None => lines.push(format!("not expected: {} {}", event.name, shown(RawBsonRef::Document(&event.data)))),
        }
    }
    for expectation in waiting.into_iter().flatten() {
        let data =
            expectation.data.as_ref().map_or(String::new(), |data| format!(" {}", shown(RawBsonRef::Document(data))));
        lines.push(format!("missing: {}{data}", expectation.event));
        missing.push(expectation.event.clone());
    }
    if lines.is_empty() && !order.is_sorted() {
        lines.push("the events come in another order: that of the changes".to_owned());
    }
    lines
}

fn problems(expectation: &Expectation, event: &Event) -> Vec<String> {
    let name = &event.name;
    if expectation.event != **name {
        return vec![format!("{name} instead of {}", expectation.event)];
    }
    let mut problems = Vec::new();
    let empty = bson::RawDocumentBuf::new();
    match &expectation.data {
        Some(data) => documents(data, &event.data, expectation.exact, &format!("{name}: data"), &mut problems),
        None if expectation.exact => documents(&empty, &event.data, true, &format!("{name}: data"), &mut problems),
        None => {}
    }
    let facts = [
        ("key", expectation.key.as_deref(), Some(event.partition_key.as_str())),
        ("subject", expectation.subject.as_deref(), event.subject.as_deref()),
        ("rule", expectation.rule.as_deref(), Some(&*event.rule)),
        ("evidence", expectation.evidence.map(|evidence| evidence.as_str()), Some(event.evidence.as_str())),
    ];
    for (what, wanted, got) in facts {
        if let Some(wanted) = wanted
            && got != Some(wanted)
        {
            problems.push(format!("{name}: {what} is {}, expected {wanted}", got.unwrap_or("absent")));
        }
    }
    problems
}

fn documents(expected: &RawDocument, actual: &RawDocument, exact: bool, path: &str, problems: &mut Vec<String>) {
    for (field, wanted) in expected.iter().flatten() {
        let path = format!("{path}.{field}");
        match actual.get(field).ok().flatten() {
            Some(got) => values(wanted, got, exact, &path, problems),
            None => problems.push(format!("{path} is missing, expected {}", shown(wanted))),
        }
    }
    for (field, got) in actual.iter().flatten().filter(|_| exact) {
        if !matches!(expected.get(field), Ok(Some(_))) {
            problems.push(format!("{path}.{field} is {}, expected nothing (the test is exact)", shown(got)));
        }
    }
}

fn values(expected: RawBsonRef<'_>, actual: RawBsonRef<'_>, exact: bool, path: &str, problems: &mut Vec<String>) {
    match (expected, actual) {
        (RawBsonRef::Document(expected), RawBsonRef::Document(actual)) => {
            documents(expected, actual, exact, path, problems);
        }
        (RawBsonRef::Array(wanted), RawBsonRef::Array(got)) => {
            let (wanted, got): (Vec<_>, Vec<_>) =
                (wanted.into_iter().flatten().collect(), got.into_iter().flatten().collect());
            if wanted.len() != got.len() {
                problems.push(format!("{path} is {}, expected {}", shown(actual), shown(expected)));
                return;
            }
            for (index, (wanted, got)) in wanted.into_iter().zip(got).enumerate() {
                values(wanted, got, exact, &format!("{path}[{index}]"), problems);
            }
        }
        _ if value::equal(expected, actual, Numbers::ByValue) || is_written_as(expected, actual) => {}
        _ => problems.push(format!("{path} is {}, expected {}", shown(actual), shown(expected))),
    }
}

/// A text in a test stands for a value that an event's JSON shows as that text: an ObjectId, a date, a decimal, a UUID.
fn is_written_as(expected: RawBsonRef<'_>, actual: RawBsonRef<'_>) -> bool {
    let RawBsonRef::String(wanted) = expected else { return false };
    let has_text_form = matches!(actual, RawBsonRef::ObjectId(_) | RawBsonRef::Decimal128(_) | RawBsonRef::Binary(_));
    if let RawBsonRef::DateTime(date) = actual {
        // With or without milliseconds that are zero.
        return bson::DateTime::parse_rfc3339_str(wanted).is_ok_and(|wanted| wanted == date);
    }
    let mut written = String::new();
    if has_text_form {
        text::write(&mut written, actual);
    }
    has_text_form && written == wanted
}

/// The value as JSON, with its type where JSON does not know it.
pub(super) fn shown(value: RawBsonRef<'_>) -> String {
    match bson::Bson::try_from(value) {
        Ok(value) => value.into_relaxed_extjson().to_string(),
        Err(_) => "a value that is no valid BSON".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bson::{oid::ObjectId, rawdoc};

    use super::*;
    use crate::event::{EventId, EventOrigin, Evidence};

    fn event(name: &str, data: bson::RawDocumentBuf) -> Event {
        let origin = EventOrigin {
            cluster_time: Default::default(),
            operation_index: 0,
            database: "shop",
            collection: "orders",
            key: &[],
            rule: name,
            ordinal: 0,
        };
        Event {
            id: EventId::new(&origin),
            name: name.into(),
            rule: name.into(),
            database: "shop".into(),
            collection: "orders".into(),
            subject: Some("order/1".to_owned()),
            time: bson::DateTime::from_millis(0),
            partition_key: "1".to_owned(),
            sequence: String::new(),
            evidence: Evidence::Exact,
            transaction: None,
            explicit: None,
            rule_set: None,
            to: None,
            data,
        }
    }

    fn expect(name: &str, data: bson::RawDocumentBuf) -> Expectation {
        Expectation { event: name.to_owned(), data: Some(data), ..Expectation::default() }
    }

    fn compare(expected: &[Expectation], events: Vec<(usize, Event)>) -> Vec<String> {
        let actual = events.into_iter().map(|(change, event)| Actual { change, event }).collect();
        differences(expected, actual, &mut Vec::new())
    }

    #[test]
    fn data_is_a_subset_unless_the_test_is_exact() {
        let data = || rawdoc! {"id": 1, "total": 10.0, "items": [{"sku": "a", "n": 1}]};
        let subset = expect("Paid", rawdoc! {"total": 10, "items": [{"sku": "a"}]});
        assert!(compare(std::slice::from_ref(&subset), vec![(0, event("Paid", data()))]).is_empty());
        let exact = Expectation { exact: true, ..subset };
        assert_eq!(
            compare(&[exact], vec![(0, event("Paid", data()))]),
            [
                "Paid: data.items[0].n is 1, expected nothing (the test is exact)",
                "Paid: data.id is 1, expected nothing (the test is exact)"
            ]
        );
    }

    #[test]
    fn differences_name_the_field_and_both_values() {
        let expected = [expect("Paid", rawdoc! {"total": 10, "by": "card"})];
        assert_eq!(
            compare(&expected, vec![(0, event("Paid", rawdoc! {"total": 12})), (0, event("Sent", rawdoc! {}))]),
            [
                "Paid: data.total is 12, expected 10",
                "Paid: data.by is missing, expected \"card\"",
                "not expected: Sent {}"
            ]
        );
        assert_eq!(compare(&expected, Vec::new()), [r#"missing: Paid {"total":10,"by":"card"}"#]);
    }

    #[test]
    fn a_text_stands_for_what_json_shows_as_that_text() {
        let id = ObjectId::parse_str("65a1b2c3d4e5f60718293a4b").unwrap();
        let text = expect("Paid", rawdoc! {"id": "65a1b2c3d4e5f60718293a4b"});
        assert!(compare(&[text], vec![(0, event("Paid", rawdoc! {"id": id}))]).is_empty());
        let at = bson::DateTime::from_millis(1_767_225_600_000);
        for text in ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z"] {
            let date = expect("Paid", rawdoc! {"at": text});
            assert!(compare(&[date], vec![(0, event("Paid", rawdoc! {"at": at}))]).is_empty(), "{text}");
        }
        let other = expect("Paid", rawdoc! {"id": "65a1b2c3d4e5f60718293a4c"});
        assert_eq!(
            compare(&[other], vec![(0, event("Paid", rawdoc! {"id": id}))]),
            [r#"Paid: data.id is {"$oid":"65a1b2c3d4e5f60718293a4b"}, expected "65a1b2c3d4e5f60718293a4c""#]
        );
    }

    #[test]
    fn order_matters_between_changes_and_not_within_one() {
        let expected = [expect("A", rawdoc! {}), expect("B", rawdoc! {})];
        let both = |first, second| vec![(first, event("B", rawdoc! {})), (second, event("A", rawdoc! {}))];
        assert!(compare(&expected, both(0, 0)).is_empty());
        assert_eq!(compare(&expected, both(0, 1)), ["the events come in another order: that of the changes"]);
    }
}
