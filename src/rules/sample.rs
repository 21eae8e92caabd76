//! Hand-made changes and rules for the tests of this folder.

use std::sync::Arc;

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};

use super::ast::{Operations, Rule, Transition, When, Where};
use super::{FieldPath, Matcher, NamespacePattern, Outcome, Query, RuleSet, Template};
use crate::change::{Batch, Change, Entry, LookUp};

/// A change document of `shop.orders` with `_id` 1, without images.
pub(super) fn change(operation: &str) -> Document {
    doc! {
        "_id": {"_data": "8263A1B2C3000000052B022C0100296E5A1004"},
        "operationType": operation,
        "clusterTime": Timestamp { time: 0x63A1_B2C3, increment: 5 },
        "wallTime": bson::DateTime::from_millis(1_671_541_443_000),
        "ns": {"db": "shop", "coll": "orders"},
        "documentKey": {"_id": 1},
    }
}

/// An update with its description.
pub(super) fn update(updated: Document, removed: &[&str]) -> Document {
    let mut change = change("update");
    change
        .insert("updateDescription", doc! {"updatedFields": updated, "removedFields": removed, "truncatedArrays": []});
    change
}

/// The change with the images that are given.
pub(super) fn with_images(mut change: Document, before: Option<Document>, after: Option<Document>) -> Document {
    change.insert("fullDocumentBeforeChange", before.map_or(Bson::Null, Bson::Document));
    change.insert("fullDocument", after.map_or(Bson::Null, Bson::Document));
    change
}

/// Shows the decoded change.
pub(super) fn see<T>(change: &Document, look: impl FnOnce(&Change<'_>) -> T) -> T {
    see_looked_up(change, None, look)
}

/// Shows the decoded change with a document that was looked up for it.
pub(super) fn see_looked_up<T>(change: &Document, found: Option<Document>, look: impl FnOnce(&Change<'_>) -> T) -> T {
    let raw = RawDocumentBuf::try_from(change).unwrap();
    let mut batch = Batch::from_documents([&*raw], None);
    if let Some(found) = found {
        batch.attach(&[0], &LookUp::Found(Arc::new(RawDocumentBuf::try_from(&found).unwrap())));
    }
    let entry = batch.entries().next().unwrap().unwrap();
    match &entry {
        Entry::Change(change) => look(change),
        Entry::Notice(notice) => panic!("{} is no change", notice.operation_type),
    }
}

/// A rule on updates of `shop.orders`, named after its id, without conditions and data.
pub(super) fn rule(id: &str) -> Rule {
    let collections = vec![NamespacePattern::parse("shop.orders").unwrap()];
    let operations = Operations { update: true, ..Operations::default() };
    Rule { origin: "rules/shop.yaml:1:1".to_owned(), ..Rule::new(id, collections, operations) }
}

/// A rule with one transition.
pub(super) fn rule_when(path: &str, transition: Transition) -> Rule {
    Rule { when: Some(field(path, transition)), ..rule("Rule") }
}

/// A rule with one condition on the state.
pub(super) fn rule_where(query: &str, matcher: Matcher) -> Rule {
    Rule { filter: Some(Where::Matches(Query::parse_in_each(query).unwrap(), matcher)), ..rule("Rule") }
}

pub(super) fn field(path: &str, transition: Transition) -> When {
    When::Field(FieldPath::parse(path).unwrap(), Box::new(transition))
}

pub(super) fn equals(value: impl Into<Bson>) -> Matcher {
    Matcher::Equals(value.into())
}

/// `{from: .., to: ..}`.
pub(super) fn becomes(from: Option<Bson>, to: Option<Bson>) -> Transition {
    Transition::Becomes { from: from.map(Matcher::Equals), to: to.map(Matcher::Equals) }
}

/// A template that takes the value of one query.
pub(super) fn value_of(query: &str) -> Template {
    Template::Path { query: Query::parse_in_each(query).unwrap(), default: None, required: false }
}

/// What a set of rules makes of a change.
pub(super) fn apply(rules: Vec<Rule>, change: &Document) -> Outcome {
    let rules = RuleSet::compile(rules);
    let mut outcome = Outcome::default();
    see(change, |change| rules.apply(change, &mut outcome));
    outcome
}

/// What one rule makes of a change, in a word: the evidence of its event, `no`, or why it could not be decided.
pub(super) fn answer(rule: &Rule, change: &Document) -> String {
    in_a_word(&apply(vec![rule.clone()], change))
}

pub(super) fn in_a_word(outcome: &Outcome) -> String {
    match (outcome.events.as_slice(), outcome.undecided.as_slice(), outcome.failed.as_slice()) {
        ([], [], []) => "no".to_owned(),
        ([event], [], []) => event.evidence.as_str().to_owned(),
        ([], [undecided], []) => undecided.reason.as_str().to_owned(),
        ([], [], [failed]) => failed.reason.clone(),
        _ => format!("{outcome:?}"),
    }
}
