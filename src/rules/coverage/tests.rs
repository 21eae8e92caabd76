//! What coverage tells, that it keeps to its bounds, and that what it proposes fires.

use bson::{Bson, Document, RawDocumentBuf, bson, doc};
use proptest::prelude::*;

use super::*;
use crate::change::{Batch, Entry};
use crate::rules::examples::WrittenChange;
use crate::rules::{self, Outcome, RuleSet};
use crate::yaml::SourceFile;

fn written(operation: Operation, before: Option<Document>, after: Option<Document>) -> RawDocumentBuf {
    let (database, collection, key) = ("shop".to_owned(), "orders".to_owned(), doc! {"_id": 1});
    WrittenChange { operation, database, collection, key, before, after, description: None }.encode(0, false).unwrap()
}

fn update(before: Document, after: Document) -> RawDocumentBuf {
    written(Operation::Update, Some(before), Some(after))
}

/// The same as a server sends it that keeps no images.
fn without_images(change: &RawDocumentBuf) -> RawDocumentBuf {
    let mut document = Document::try_from(change.as_ref()).unwrap();
    document.remove("fullDocumentBeforeChange");
    if document.get_str("operationType").unwrap() == "update" {
        document.remove("fullDocument");
    }
    RawDocumentBuf::try_from(&document).unwrap()
}

fn add(coverage: &mut Coverage, change: &RawDocumentBuf, times: usize) {
    let batch = Batch::from_documents([change.as_ref()], None);
    for _ in 0..times {
        let Some(Ok(Entry::Change(change))) = batch.entry(0) else { panic!("no change") };
        coverage.add(&change, false);
    }
}

fn covered(changes: &[(RawDocumentBuf, usize)]) -> Vec<(String, u64)> {
    let mut coverage = Coverage::new(true);
    changes.iter().for_each(|(change, times)| add(&mut coverage, change, *times));
    coverage.shapes().iter().map(|shape| (shape.to_string(), shape.count)).collect()
}

fn told(changes: &[(RawDocumentBuf, usize)]) -> Vec<String> {
    covered(changes).into_iter().map(|(text, count)| format!("{count} x {text}")).collect()
}

#[test]
fn the_most_frequent_shape_comes_first_with_the_transitions_of_its_enumerations() {
    let order = |status: &str, total: i32| doc! {"_id": 1, "status": status, "total": total, "gift": total > 50};
    assert_eq!(
        told(&[
            (update(order("paid", 1), order("refunded", 1)), 4),
            (update(order("paid", 1), order("sent", 1)), 9),
            (without_images(&update(order("sent", 1), order("lost", 1))), 3),
            (update(order("paid", 1), order("paid", 99)), 2),
            (written(Operation::Insert, None, Some(order("new", 1))), 5),
            (written(Operation::Delete, Some(order("new", 1)), None), 1),
            (written(Operation::Replace, Some(order("new", 1)), Some(order("new", 2))), 1),
            (without_images(&written(Operation::Replace, None, Some(order("new", 2)))), 1),
            (update(order("paid", 1), order("paid", 1)), 1),
        ]),
        [
            "9 x update of status: paid -> sent",
            "5 x insert",
            "4 x update of status: paid -> refunded",
            "3 x update of status: ? -> lost",
            "2 x update of gift: false -> true, total",
            "1 x delete",
            "1 x replace of the whole document (what differs is not known)",
            "1 x replace of total",
            "1 x update without effect",
        ]
    );
}

#[test]
fn names_of_people_and_whatever_is_seldom_or_long_are_no_enumeration() {
    let person = |name: &str, mail: &str| doc! {"_id": 1, "name": name, "mail": mail};
    let people: Vec<(RawDocumentBuf, usize)> = ["Ada", "Bob", "Cem", "Dan", "Eva"]
        .windows(2)
        .map(|names| (update(person(names[0], "a@b.example"), person(names[1], "c@d.example")), 1))
        .collect();
    assert_eq!(told(&people), ["4 x update of mail, name"]);
    let many: Vec<(RawDocumentBuf, usize)> =
        (0..20).map(|number| (update(doc! {"w": "a"}, doc! {"w": format!("w{number}")}), 50)).collect();
    assert_eq!(told(&many), ["1000 x update of w"], "too many values, also for those that came first");
    let mut coverage = Coverage::new(false);
    add(&mut coverage, &update(doc! {"status": "paid"}, doc! {"status": "sent"}), 9);
    assert!(coverage.shapes()[0].transitions.is_empty(), "switched off");
}

#[test]
fn indexes_and_ids_in_names_are_folded_however_the_server_tells_of_them() {
    let items = |quantities: &[i32]| {
        let items: Vec<Bson> = quantities.iter().map(|quantity| bson!({"q": *quantity})).collect();
        doc! {"_id": 1, "items": items}
    };
    assert_eq!(
        told(&[
            (update(items(&[1]), items(&[1, 2])), 1),
            (update(items(&[1, 2]), items(&[2])), 1),
            (without_images(&update(items(&[1, 2, 3]), items(&[2]))), 1),
            (update(items(&[1, 2]), items(&[1, 3])), 1),
        ]),
        ["3 x update of items.*", "1 x update of items.*.q"]
    );
    let by_id = |id: &str| update(doc! {"by": {id: 1}}, doc! {"by": {id: 2}});
    let ids = ["507f1f77bcf86cd799439011", "customer12345", "7", "a@b.example", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"];
    assert_eq!(told(&ids.map(|id| (without_images(&by_id(id)), 1))), ["5 x update of by.*"]);
    let letters = |number: u32| {
        format!("n{}", char::from_u32('a' as u32 + number % 26).unwrap()).repeat(1 + number as usize / 26)
    };
    let names: Vec<(RawDocumentBuf, usize)> = (0..100).map(|number| (by_id(&letters(number)), 1)).collect();
    assert_eq!(told(&names), ["100 x update of by.*"], "too many names, also for those that came first");
}

#[test]
fn past_the_bounds_changes_are_counted_without_their_shape() {
    let mut coverage = Coverage::new(true);
    for number in 0..SHAPES_MAX + 10 {
        let mut name = String::new();
        let mut rest = number;
        for _ in 0..4 {
            name.push(char::from(b'g' + (rest % 10) as u8));
            rest /= 10;
        }
        add(&mut coverage, &update(doc! {}, doc! {name: 1}), 2);
    }
    assert_eq!((coverage.shapes().len(), coverage.other_count()), (SHAPES_MAX, 20));
    let mut wide = Document::new();
    (0..300).for_each(|number| drop(wide.insert(format!("f{}", "x".repeat(number + 1)), 1)));
    let mut coverage = Coverage::new(true);
    add(&mut coverage, &update(doc! {}, wide), 1);
    let shape = &coverage.shapes()[0];
    assert!(shape.has_more && shape.touched.len() == 16);
}

/// The rules that are proposed for what was counted, with the text they came in.
fn proposed(coverage: &Coverage) -> (Vec<rules::ast::Rule>, String) {
    let mut proposals = Proposals::beside(["OrderSent"]);
    let proposed: Vec<(String, String)> = coverage
        .shapes()
        .iter()
        .filter_map(|shape| Some((format!("{} x {shape}", shape.count), proposals.rule(shape)?)))
        .collect();
    let text = rule_file(proposed.iter().map(|(purpose, rule)| (purpose.clone(), rule.as_str())));
    let reading = rules::read(&[SourceFile { name: "new.yaml".to_owned(), text: text.clone() }]);
    assert!(!reading.diagnostics.has_errors() || proposed.is_empty(), "{text}\n{}", reading.diagnostics.render());
    (reading.rules, text)
}

#[test]
fn a_proposed_rule_reads_as_a_person_would_write_it() {
    let order = |status: &str, total: i32| doc! {"_id": 1, "status": status, "total": total, "updatedAt": total};
    let mut coverage = Coverage::new(true);
    add(&mut coverage, &update(order("paid", 1), order("refunded", 2)), 5);
    add(&mut coverage, &update(order("paid", 1), order("sent", 2)), 4);
    add(&mut coverage, &update(doc! {"a": {"b": 1}}, doc! {"a": {"b": 2}, "updatedAt": 1}), 3);
    add(&mut coverage, &written(Operation::Insert, None, Some(doc! {"_id": 1})), 2);
    add(&mut coverage, &without_images(&written(Operation::Replace, None, Some(doc! {"_id": 1}))), 1);
    let (rules, text) = proposed(&coverage);
    assert_eq!(rules.len(), 5);
    let expected = "version: 1
rules:
  # 5 x update of status: paid -> refunded, total, updatedAt
  - event: OrderRefunded
    collection: shop.orders
    when: {status: {from: paid, to: refunded}}
    data: {orderId: $.key._id, status: $.after.status}
  # 4 x update of status: paid -> sent, total, updatedAt
  - event: OrderSent2
    collection: shop.orders
    when: {status: {from: paid, to: sent}}
    data: {orderId: $.key._id, status: $.after.status}
  # 3 x update of a.b, updatedAt
  - event: OrderBChanged
    collection: shop.orders
    when: {a.b: changed}
    data: {orderId: $.key._id, b: $.after.a.b}
  # 2 x insert
  - event: OrderInserted
    collection: shop.orders
    on: insert
    data: {orderId: $.key._id}
  # 1 x replace of the whole document (what differs is not known)
  - event: OrderReplaced
    collection: shop.orders
    on: update
    where: {$.change.operation: replace}
    data: {orderId: $.key._id}
";
    assert_eq!(text, expected);
}

fn name() -> impl Strategy<Value = String> {
    const NAMES: [&str; 23] = [
        "status",
        "a",
        "b",
        "items",
        "any",
        "on",
        "a.b",
        "$x",
        "with space",
        "ü",
        "quo\"te",
        "back\\slash",
        "0",
        "12",
        "507f1f77bcf86cd799439011",
        "null",
        "updatedAt",
        "x[0]",
        " ",
        "{",
        "key: value",
        "#",
        "-",
    ];
    prop::sample::select(&NAMES[..]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Bson> {
    let scalar = prop_oneof![
        Just(Bson::Null),
        any::<bool>().prop_map(Bson::Boolean),
        (0..4).prop_map(Bson::Int32),
        prop::sample::select(&["paid", "sent", "no", "on hold", "true", "x", "", "{a}", "2026"][..])
            .prop_map(Bson::from),
    ];
    scalar.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            prop::collection::vec((name(), inner), 0..3)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

fn document() -> impl Strategy<Value = Document> {
    prop::collection::vec((name(), value()), 0..5).prop_map(|fields| fields.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_proposed_compiles_and_fires_on_what_it_was_proposed_for(
        before in document(),
        after in document(),
        has_images in any::<bool>(),
        operation in prop::sample::select(&[Operation::Insert, Operation::Update, Operation::Replace, Operation::Delete][..]),
    ) {
        let change = match operation {
            Operation::Insert => written(operation, None, Some(after)),
            Operation::Delete => written(operation, Some(before), None),
            Operation::Update | Operation::Replace => written(operation, Some(before), Some(after)),
        };
        let change = if has_images { change } else { without_images(&change) };
        let mut coverage = Coverage::new(true);
        add(&mut coverage, &change, 6);
        let shape = coverage.shapes().remove(0);
        let (rules, text) = proposed(&coverage);
        let has_effect = !shape.touched.is_empty() || shape.is_whole || matches!(operation, Operation::Insert | Operation::Delete);
        prop_assert_eq!(rules.len(), usize::from(has_effect), "{}", text);
        if has_effect {
            let mut outcome = Outcome::default();
            let batch = Batch::from_documents([change.as_ref()], None);
            let Some(Ok(Entry::Change(change))) = batch.entry(0) else { panic!("no change") };
            RuleSet::compile(rules).apply(&change, &mut outcome);
            prop_assert_eq!(outcome.events.len(), 1, "{}\n{:?}\n{:?}", text, outcome, shape);
        }
    }
}
