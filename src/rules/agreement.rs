//! Random rules on random changes: the index misses no rule, and who knows less of a change never gets another answer.

use std::sync::Arc;

use bson::{Bson, Document, RawDocumentBuf, bson, doc};
use proptest::prelude::*;

use super::ast::{Direction, Each, ElementChange, Operations, Rule, State, Transition, UnknownPolicy, When, Where};
use super::examples::{WrittenChange, WrittenDescription};
use super::explain::{self, Explainer, RuleVerdict};
use super::group::Verdict;
use super::rule::{CompiledRule, Names};
use super::sample::{field, rule};
use super::view::View;
use super::{Comparison, FieldPath, Matcher, Outcome, Query, RuleSet};
use crate::change::{Batch, Entry, Operation};
use crate::event::Evidence;

/// The name `x.y` has a dot in it; nothing is nested in an `x`, since a description alone does not always tell the two apart.
const PATHS: [&str; 12] = ["a", "b", "c", "a.a", "a.b", "a.0", "b.1", "b.1.a", "[\"x.y\"]", "x.y", "x", "a.b.a"];
const QUERIES: [&str; 16] = [
    "$.after.a",
    "$.before.a",
    "$.after.a.b",
    "$.before.b[0]",
    "$.after.b[-1]",
    "$.after.b[*]",
    "$.before.a.*",
    "$.after['x.y']",
    "$.after.b[?@.a == $.before.c]",
    "$.after..a",
    "$.after",
    "$.before.c",
    "$.after.c",
    "$.key._id",
    "$.change.operation",
    "$.after.b[1].a",
];

fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        1 => Just(Bson::Null),
        4 => (0_i32..3).prop_map(Bson::from),
        2 => prop::sample::select(vec!["x", "update"]).prop_map(Bson::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            prop::collection::btree_map(prop::sample::select(vec!["a", "b", "0"]), inner, 0..3).prop_map(|fields| {
                Bson::Document(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

fn document() -> impl Strategy<Value = Document> {
    prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c", "x.y"]), value(), 1..5).prop_map(|fields| {
        let mut document = doc! {"_id": 1};
        document.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        document
    })
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let leaf = prop_oneof![
        6 => (0_i32..3).prop_map(|number| Matcher::Equals(number.into())),
        2 => value().prop_map(Matcher::Equals),
        1 => any::<bool>().prop_map(Matcher::Exists),
        2 => (0_i32..3).prop_map(|number| Matcher::Compare(Comparison::Greater, number.into())),
        1 => Just(Matcher::Type(vec!["object".to_owned(), "array".to_owned()])),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Matcher::OneOf),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Matcher::All),
            inner.prop_map(|inner| Matcher::Not(Box::new(inner))),
        ]
    })
}

fn transition() -> impl Strategy<Value = Transition> {
    let direction = || prop::sample::select(vec![Direction::Up, Direction::Down]);
    prop_oneof![
        Just(Transition::Changed),
        Just(Transition::Unchanged),
        Just(Transition::Appears),
        Just(Transition::Disappears),
        (prop::option::of(matcher()), prop::option::of(matcher()))
            .prop_map(|(from, to)| Transition::Becomes { from, to }),
        direction().prop_map(|direction| Transition::Moves { direction, by: None, by_percent: None }),
        (direction(), 0_i32..3).prop_map(|(direction, bound)| Transition::Crosses(direction, bound.into())),
    ]
}

fn when() -> impl Strategy<Value = When> {
    let leaf = (prop::sample::select(PATHS.to_vec()), transition()).prop_map(|(path, how)| field(path, how));
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(When::All),
            prop::collection::vec(inner, 1..3).prop_map(When::Any),
        ]
    })
}

fn filter() -> impl Strategy<Value = Where> {
    let query = || prop::sample::select(QUERIES.to_vec()).prop_map(|text| Query::parse(text).unwrap());
    let one = prop_oneof![
        (query(), matcher()).prop_map(|(query, matcher)| Where::Matches(query, matcher)),
        query().prop_map(Where::Exists),
    ];
    prop::collection::vec(one, 1..3).prop_map(Where::All)
}

fn state() -> impl Strategy<Value = State> {
    let path = prop::sample::select(PATHS.to_vec()).prop_map(|path| FieldPath::parse(path).unwrap());
    prop::collection::vec((path, matcher()), 1..3).prop_map(State)
}

/// `each` on an array that may be there, and a condition on its elements for the rule's `where`.
fn each() -> impl Strategy<Value = (Each, Option<Where>)> {
    let path = |text: &str| FieldPath::parse(text).unwrap();
    let array = prop::sample::select(vec!["a", "b", "a.a", "a.b", "a.0", "b.1", "[\"x.y\"]"]).prop_map(path);
    let key = prop::sample::select(vec![vec![], vec!["a"], vec!["a"], vec!["0"], vec!["a", "b"]]);
    let is = prop::sample::select(vec![ElementChange::Added, ElementChange::Removed, ElementChange::Changed]);
    let query = prop::sample::select(vec!["$.item.a", "$.item", "$.itemBefore", "$.index", "$.after.b[?@ == $.item]"]);
    let of_element =
        (query, matcher()).prop_map(|(query, matcher)| Where::Matches(Query::parse_in_each(query).unwrap(), matcher));
    let conditions = (prop::option::of(when()), prop::option::weighted(0.3, state()));
    (array, key, is, conditions, prop::option::weighted(0.3, of_element)).prop_map(
        move |(array, key, is, (when, filter), of_element)| {
            let is = if key.is_empty() && is == ElementChange::Changed { ElementChange::Added } else { is };
            let key = key.into_iter().map(path).collect();
            let when = when.filter(|_| is == ElementChange::Changed);
            (Each { path: array, key, is, when, filter }, of_element)
        },
    )
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let seldom = |state| prop::option::weighted(0.3, state);
    let one = (
        prop::option::of(when()),
        prop::option::of(filter()),
        seldom(state()),
        seldom(state()),
        prop::option::weighted(0.3, each()),
    );
    prop::collection::vec(one, 4..10).prop_map(|conditions| {
        let named = |(number, (when, filter, enters, leaves, each)): (usize, _)| {
            let (each, of_element) = match each {
                Some((each, of_element)) => (Some(each), of_element),
                None => (None, None),
            };
            // Rules on elements have few conditions beside it, so that some of them fire.
            let (when, filter, enters, leaves) = match &each {
                Some(_) => (None, of_element, None, None),
                None => (when, filter, enters, leaves),
            };
            let operations = Operations { insert: true, update: true, delete: true };
            Rule { operations, when, filter, enters, leaves, each, ..rule(&number.to_string()) }
        };
        conditions.into_iter().enumerate().map(named).collect()
    })
}

/// What the server may say of an update instead of its finest paths: whole top-level values, and arrays cut short.
fn coarse(before: &Document, after: &Document) -> WrittenDescription {
    let mut description = WrittenDescription::default();
    for (name, new) in after.iter().filter(|(name, new)| before.get(name) != Some(new)) {
        match (before.get(name), new) {
            (Some(Bson::Array(old)), Bson::Array(new)) if old.starts_with(new) => {
                description.truncated.push((name.clone(), new.len() as i32));
            }
            _ => {
                description.updated.insert(name, new);
            }
        }
    }
    description.removed = before.keys().filter(|name| !after.contains_key(name)).cloned().collect();
    description.disambiguated = doc! {"x.y": ["x.y"]};
    description
}

fn changes() -> impl Strategy<Value = WrittenChange> {
    let operation = prop::sample::select(vec![
        Operation::Insert,
        Operation::Update,
        Operation::Update,
        Operation::Update,
        Operation::Replace,
        Operation::Delete,
    ]);
    // Mostly only a part of a document changes.
    let pair = (document(), document(), any::<bool>()).prop_map(|(before, new, is_part)| {
        let mut after = if is_part { before.clone() } else { Document::new() };
        after.extend(new);
        (before, after)
    });
    (operation, pair, any::<bool>()).prop_map(|(operation, (before, after), is_coarse)| WrittenChange {
        operation,
        database: "shop".to_owned(),
        collection: "orders".to_owned(),
        key: doc! {"_id": 1},
        description: Some(coarse(&before, &after)).filter(|_| is_coarse),
        before: Some(before).filter(|_| operation != Operation::Insert),
        after: Some(after).filter(|_| operation != Operation::Delete),
    })
}

/// The same change as it comes where images are not kept: what it is, and what is left of it.
fn with_less(whole: &WrittenChange) -> Vec<WrittenChange> {
    let mut computed = WrittenChange { description: whole.description.clone(), ..whole.clone() };
    if whole.operation == Operation::Update && computed.description.is_none() {
        computed.description = Some(description_of(whole));
    }
    let no_before = WrittenChange { before: None, ..computed.clone() };
    let no_after = WrittenChange { after: None, ..computed.clone() };
    match whole.operation {
        Operation::Insert => Vec::new(),
        Operation::Replace | Operation::Delete => vec![no_before],
        Operation::Update => vec![WrittenChange { after: None, ..no_before.clone() }, no_before, no_after],
    }
}

/// The finest description, as the encoded change holds it.
fn description_of(change: &WrittenChange) -> WrittenDescription {
    let encoded = Document::try_from(&*change.encode(0, false).unwrap()).unwrap();
    let description = encoded.get_document("updateDescription").unwrap();
    let removed = description.get_array("removedFields").unwrap();
    WrittenDescription {
        updated: description.get_document("updatedFields").unwrap().clone(),
        removed: removed.iter().filter_map(Bson::as_str).map(str::to_owned).collect(),
        truncated: Vec::new(),
        disambiguated: description.get_document("disambiguatedPaths").cloned().unwrap_or_default(),
    }
}

/// What a rule says of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes(Evidence),
    No,
    Unknown,
}

fn answers(count: usize, outcome: &Outcome) -> Vec<Answer> {
    let mut answers = vec![Answer::No; count];
    for event in &outcome.events {
        answers[event.rule.parse::<usize>().unwrap()] = Answer::Yes(event.evidence);
    }
    for undecided in &outcome.undecided {
        let answer = &mut answers[undecided.rule.parse::<usize>().unwrap()];
        // What was assumed is among the events, and counted all the same.
        if *answer == Answer::No {
            *answer = Answer::Unknown;
        }
    }
    answers
}

/// The answers with the index, and those of each rule asked on its own.
fn asked(rules: &[Rule], change: &WrittenChange) -> (Vec<Answer>, Vec<Answer>) {
    let document: RawDocumentBuf = change.encode(0, false).unwrap();
    let batch = Batch::from_documents([&*document], None);
    let Ok(Entry::Change(change)) = batch.entries().next().unwrap() else { panic!("no change") };
    let mut with_index = Outcome::default();
    RuleSet::compile(rules.to_vec()).apply(&change, &mut with_index);
    let mut one_by_one = Outcome::default();
    let view = View::new(&change);
    let (database, collection) = (Arc::from("shop"), Arc::from("orders"));
    let names = Names { database: &database, collection: &collection };
    for rule in rules {
        CompiledRule::new(rule).apply(&view, &names, Verdict::No, &mut 0, &mut one_by_one);
    }
    (answers(rules.len(), &with_index), answers(rules.len(), &one_by_one))
}

/// What the explanation of a set says of each rule: its verdict, and the answer of its steps together.
fn explained(rules: &[Rule], change: &WrittenChange) -> Vec<(Answer, Option<explain::Answer>)> {
    let document: RawDocumentBuf = change.encode(0, false).unwrap();
    let batch = Batch::from_documents([&*document], None);
    let Ok(Entry::Change(change)) = batch.entries().next().unwrap() else { panic!("no change") };
    let explanations = Explainer::new(rules.to_vec()).explain(&change);
    let one = |explanation: &explain::Explanation| match &explanation.verdict {
        RuleVerdict::Fired { evidence, .. } => (Answer::Yes(*evidence), Some(explanation.answer())),
        RuleVerdict::Unmet | RuleVerdict::Later { .. } => (Answer::No, Some(explanation.answer())),
        RuleVerdict::Undecided { .. } => (Answer::Unknown, Some(explanation.answer())),
        RuleVerdict::NoCandidate(_) => (Answer::No, None),
        verdict => panic!("{verdict:?}"),
    };
    explanations.iter().map(one).collect()
}

/// What a set with groups, policies and demands makes of a change, worked out from the answers of the rules on their own.
fn naively(rules: &[Rule], alone: &[Answer]) -> Vec<Answer> {
    let mut said: Vec<(&str, bool)> = Vec::new();
    let mut answers = Vec::new();
    for (rule, alone) in rules.iter().zip(alone) {
        let group = rule.first_of.as_deref();
        let earlier: Vec<bool> =
            said.iter().filter(|(known, _)| Some(*known) == group).map(|(_, matched)| *matched).collect();
        let accepted = |evidence: Evidence| evidence <= rule.evidence;
        let assumes = rule.unknown == UnknownPolicy::Assume && accepted(Evidence::Delta);
        let answer = match alone {
            _ if earlier.contains(&true) => Answer::No,
            Answer::No => Answer::No,
            Answer::Yes(evidence) if !accepted(*evidence) => Answer::Unknown,
            Answer::Yes(evidence) if earlier.is_empty() => Answer::Yes(*evidence),
            Answer::Yes(_) | Answer::Unknown if assumes => Answer::Yes(Evidence::Delta),
            Answer::Yes(_) | Answer::Unknown => Answer::Unknown,
        };
        if let Some(group) = group
            && answer != Answer::No
        {
            said.push((group, matches!(answer, Answer::Yes(_))));
        }
        answers.push(answer);
    }
    answers
}

/// The rules with groups, policies and demands of their own.
fn demanding() -> impl Strategy<Value = Vec<Rule>> {
    let group = || prop::option::of(prop::sample::select(vec!["one", "two"]));
    let policy = || prop::sample::select(vec![UnknownPolicy::Skip, UnknownPolicy::Assume, UnknownPolicy::Stop]);
    let evidence = || prop::sample::select(vec![Evidence::Exact, Evidence::Delta, Evidence::LookUp]);
    let demands = prop::collection::vec((group(), policy(), evidence()), 10);
    (rules(), demands).prop_map(|(rules, demands)| {
        let with = |(rule, (group, unknown, evidence)): (Rule, (Option<&str>, _, _))| Rule {
            first_of: group.map(Arc::from),
            unknown,
            evidence,
            // Of an array that is not known no element can be assumed: that is a story of its own.
            each: None,
            ..rule
        };
        rules.into_iter().zip(demands).map(with).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_misses_no_rule_and_less_knowledge_gives_no_other_answer(rules in rules(), change in changes()) {
        let (with_index, truth) = asked(&rules, &change);
        prop_assert_eq!(&with_index, &truth);
        for known in &truth {
            prop_assert!(matches!(known, Answer::No | Answer::Yes(Evidence::Exact)), "{known:?} with both images");
        }
        for less in with_less(&change) {
            let (with_index, guessed) = asked(&rules, &less);
            prop_assert_eq!(&with_index, &guessed, "{:?}", &less);
            let told = explained(&rules, &less);
            for (number, ((verdict, steps), answer)) in told.iter().zip(&guessed).enumerate() {
                prop_assert_eq!(verdict, answer, "rule {} of {:?}", number, &less);
                let agrees = match steps {
                    Some(explain::Answer::Yes) => matches!(answer, Answer::Yes(_)),
                    Some(explain::Answer::No) | None => *answer == Answer::No,
                    Some(explain::Answer::Unknown(_)) => *answer == Answer::Unknown,
                };
                prop_assert!(agrees, "rule {number} of {less:?}: {answer:?}, explained as {steps:?}");
            }
            for (number, (guess, truth)) in guessed.iter().zip(&truth).enumerate() {
                let agrees = match guess {
                    Answer::Unknown => true,
                    Answer::No => *truth == Answer::No,
                    Answer::Yes(_) => *truth != Answer::No,
                };
                prop_assert!(agrees, "rule {number} of {less:?}: {guess:?}, in truth {truth:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn groups_policies_and_demands_follow_from_the_answers_of_the_rules(rules in demanding(), change in changes()) {
        let free: Vec<Rule> = rules
            .iter()
            .map(|rule| Rule { first_of: None, unknown: UnknownPolicy::Skip, evidence: Evidence::LookUp, ..rule.clone() })
            .collect();
        for seen in with_less(&change).iter().chain([&change]) {
            let (with_index, _) = asked(&rules, seen);
            prop_assert_eq!(&with_index, &naively(&rules, &asked(&free, seen).1), "{:?}", seen);
            let told: Vec<Answer> = explained(&rules, seen).into_iter().map(|(verdict, _)| verdict).collect();
            prop_assert_eq!(&told, &with_index);
        }
    }
}

#[test]
fn an_alternative_on_stronger_evidence_counts() {
    let either = Rule {
        when: Some(When::Any(vec![field("a", Transition::Changed), field("b", Transition::Unchanged)])),
        ..rule("0")
    };
    let change = WrittenChange {
        operation: Operation::Update,
        database: "shop".to_owned(),
        collection: "orders".to_owned(),
        key: doc! {"_id": 1},
        before: None,
        after: None,
        description: Some(WrittenDescription { updated: doc! {"a": bson!(1)}, ..WrittenDescription::default() }),
    };
    assert_eq!(asked(&[either], &change).0, [Answer::Yes(Evidence::Exact)]);
}
