//! Random arrays and random operations on them: however a change describes itself, and whichever images come with it, the events are
//! the same; and who knows less of it never says otherwise.

use bson::{Bson, Document, bson, doc};
use proptest::prelude::*;

use crate::change::{Batch, Entry, Operation};
use crate::rules::ast::{Each, ElementChange, Operations, Rule, State, Transition};
use crate::rules::examples::{WrittenChange, WrittenDescription};
use crate::rules::sample::{equals, field, rule, value_of};
use crate::rules::{FieldPath, Outcome, RuleSet, Template};

pub(super) const ARRAY: &str = "cart.items";

fn element() -> impl Strategy<Value = Bson> {
    let small = || prop_oneof![(0_i32..4).prop_map(Bson::from), (0_i32..4).prop_map(|n| Bson::from(f64::from(n)))];
    let tags = prop::collection::vec(small(), 0..4).prop_map(Bson::Array);
    prop_oneof![
        8 => (small(), small(), small(), tags).prop_map(
            |(k, v, a, tags)| bson!({"k": k, "v": v, "sub": {"a": a, "tags": tags}})
        ),
        1 => small().prop_map(|v| bson!({"v": v})),
        1 => small(),
    ]
}

/// One operation on the array, as an application would do it.
fn operation() -> impl Strategy<Value = (u8, prop::sample::Index, prop::sample::Index, Bson)> {
    (0_u8..10, any::<prop::sample::Index>(), any::<prop::sample::Index>(), element())
}

fn operate(items: &mut Vec<Bson>, (kind, place, other, new): (u8, prop::sample::Index, prop::sample::Index, Bson)) {
    if items.is_empty() || kind == 0 {
        return items.push(new);
    }
    let (place, other) = (place.index(items.len()), other.index(items.len()));
    match (kind, &mut items[place]) {
        (1, _) => items.insert(place, new),
        (2, _) => drop(items.remove(place)),
        (3, _) => items.truncate(place),
        (4, _) => items.swap(place, other),
        (5, slot) => *slot = new,
        (6, Bson::Document(fields)) => drop(fields.insert("v", new)),
        (7, Bson::Document(fields)) => drop(fields.remove("v")),
        (8, Bson::Document(fields)) => {
            if let Ok(sub) = fields.get_document_mut("sub") {
                sub.insert("new", 1);
                if let Ok(tags) = sub.get_array_mut("tags") {
                    tags.push(new);
                }
            }
        }
        (_, Bson::Document(fields)) => {
            if let Ok(tags) = fields.get_document_mut("sub").and_then(|sub| sub.get_array_mut("tags")) {
                tags.truncate(1);
            }
        }
        _ => {}
    }
}

pub(super) fn documents() -> impl Strategy<Value = (Document, Document)> {
    (prop::collection::vec(element(), 0..12), prop::collection::vec(operation(), 1..4)).prop_map(
        |(before, operations)| {
            let mut after = before.clone();
            operations.into_iter().for_each(|one| operate(&mut after, one));
            let document = |items: Vec<Bson>| doc! {"_id": 1, "cart": {"items": items, "n": 1}, "other": [1]};
            (document(before), document(after))
        },
    )
}

pub(super) fn items(document: &Document) -> &Vec<Bson> {
    document.get_document("cart").unwrap().get_array("items").unwrap()
}

fn with_items(document: &Document, items: Vec<Bson>) -> Document {
    let mut document = document.clone();
    document.get_document_mut("cart").unwrap().insert("items", items);
    document
}

/// The forms in which a server may describe the update.
pub(super) fn descriptions(before: &Document, after: &Document) -> Vec<WrittenDescription> {
    let fine = |before: &Document| {
        let written = change(Operation::Update, Some(before.clone()), Some(after.clone()), None);
        described(&written)
    };
    let whole = WrittenDescription { updated: doc! {ARRAY: items(after).clone()}, ..WrittenDescription::default() };
    let around = WrittenDescription {
        updated: doc! {"cart": after.get_document("cart").unwrap().clone()},
        ..WrittenDescription::default()
    };
    let mut all = vec![fine(before), whole, around];
    let (old, new) = (items(before), items(after));
    if new.len() < old.len() {
        let shorter = with_items(before, old[..new.len()].to_vec());
        let size = i32::try_from(new.len()).unwrap();
        all.push(WrittenDescription { truncated: vec![(ARRAY.to_owned(), size)], ..fine(&shorter) });
    }
    all
}

pub(super) fn change(
    operation: Operation,
    before: Option<Document>,
    after: Option<Document>,
    description: Option<WrittenDescription>,
) -> WrittenChange {
    let (database, collection) = ("shop".to_owned(), "orders".to_owned());
    WrittenChange { operation, database, collection, key: doc! {"_id": 1}, before, after, description }
}

/// What the update says of itself, as the encoded change holds it.
fn described(change: &WrittenChange) -> WrittenDescription {
    let encoded = Document::try_from(&*change.encode(0, false).unwrap()).unwrap();
    let description = encoded.get_document("updateDescription").unwrap();
    let removed = description.get_array("removedFields").unwrap();
    WrittenDescription {
        updated: description.get_document("updatedFields").unwrap().clone(),
        removed: removed.iter().filter_map(Bson::as_str).map(str::to_owned).collect(),
        ..WrittenDescription::default()
    }
}

/// Every kind of rule: what happened, with and without a key, with conditions on the element.
fn rules() -> Vec<Rule> {
    let path = |text: &str| FieldPath::parse(text).unwrap();
    let data = [("item", "$.item"), ("was", "$.itemBefore"), ("index", "$.index")];
    let data = Template::Map(data.map(|(name, query)| (name.to_owned(), value_of(query))).into());
    let mut rules = Vec::new();
    for (key, is) in [
        (vec![], ElementChange::Added),
        (vec![], ElementChange::Removed),
        (vec!["k"], ElementChange::Added),
        (vec!["k"], ElementChange::Removed),
        (vec!["k"], ElementChange::Changed),
        (vec!["k", "sub.a"], ElementChange::Added),
        (vec!["k", "sub.a"], ElementChange::Changed),
    ] {
        for with_conditions in [false, true] {
            let is_changed = is == ElementChange::Changed;
            let each = Each {
                path: path(ARRAY),
                key: key.iter().map(|part| path(part)).collect(),
                is,
                when: (with_conditions && is_changed).then(|| field("v", Transition::Changed)),
                filter: (with_conditions && !is_changed).then(|| State(vec![(path("v"), equals(1))])),
            };
            rules.push(Rule {
                operations: Operations { insert: true, update: true, delete: true },
                each: Some(each),
                data: data.clone(),
                ..rule(&rules.len().to_string())
            });
        }
    }
    rules
}

/// The events by rule, and the rules that could not be decided.
fn applied(rules: &RuleSet, change: &WrittenChange) -> (Vec<(String, String, Document)>, Vec<String>) {
    let document = change.encode(0, false).unwrap();
    let batch = Batch::from_documents([&*document], None);
    let Ok(Entry::Change(change)) = batch.entries().next().unwrap() else { panic!("no change") };
    let mut outcome = Outcome::default();
    rules.apply(&change, &mut outcome);
    let event = |event: &crate::event::Event| {
        (event.rule.to_string(), event.id.to_string(), Document::try_from(&*event.data).unwrap())
    };
    let undecided = outcome.undecided.iter().map(|undecided| undecided.rule.to_string()).collect();
    (outcome.events.iter().map(event).collect(), undecided)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_effect_gives_the_same_events_however_it_comes((before, after) in documents()) {
        let rules = RuleSet::compile(rules());
        let replace = change(Operation::Replace, Some(before.clone()), Some(after.clone()), None);
        let (truth, undecided) = applied(&rules, &replace);
        prop_assert!(undecided.is_empty());
        for description in descriptions(&before, &after) {
            let image = |is_there: bool, document: &Document| is_there.then(|| document.clone());
            for (has_before, has_after) in [(true, true), (true, false), (false, true), (false, false)] {
                let update = change(
                    Operation::Update,
                    image(has_before, &before),
                    image(has_after, &after),
                    Some(description.clone()),
                );
                let (events, undecided) = applied(&rules, &update);
                if has_before {
                    prop_assert_eq!(&events, &truth, "{:?}", &update);
                    prop_assert!(undecided.is_empty());
                } else {
                    prop_assert!(events.is_empty(), "{:?}", &update);
                    for (rule, ..) in &truth {
                        prop_assert!(undecided.contains(rule), "rule {} says no of {:?}", rule, &update);
                    }
                }
            }
        }
    }

    #[test]
    fn an_insert_adds_all_elements_and_a_delete_removes_them((before, after) in documents()) {
        let rules = RuleSet::compile(rules());
        let (events, _) = applied(&rules, &change(Operation::Insert, None, Some(after.clone()), None));
        let of = |rule: &str| events.iter().filter(|(id, ..)| id == rule).count();
        prop_assert_eq!((of("0"), of("4"), of("8")), (items(&after).len(), items(&after).len(), 0));
        let (events, _) = applied(&rules, &change(Operation::Delete, Some(before.clone()), None, None));
        let of = |rule: &str| events.iter().filter(|(id, ..)| id == rule).count();
        prop_assert_eq!((of("2"), of("6"), of("8")), (items(&before).len(), items(&before).len(), 0));
        let (events, undecided) = applied(&rules, &change(Operation::Delete, None, None, None));
        prop_assert!(events.is_empty());
        prop_assert_eq!(undecided, ["2", "3", "6", "7"]);
    }
}
