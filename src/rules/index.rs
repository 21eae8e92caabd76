//! Which rules may fire on a change: namespace, operation, touched top-level field. What the rules of other fields and other
//! collections are costs nothing.

use std::sync::{Arc, PoisonError, RwLock};

use bson::{RawBsonRef, RawDocument};

use super::guard::{ByField, ByName, ByValue};
use super::namespace::NamespaceMatcher;
use super::rule::CompiledRule;
use super::{ImageNeeds, NamespacePattern};
use crate::change::element::{Element, elements};
use crate::change::{Change, Image, Operation};

/// How many collections that only globs name are remembered. Past it all are forgotten and learnt anew.
const REMEMBERED_COUNT_MAX: usize = 10_000;

type ByNames<T> = ByName<ByName<T>>;

/// Finds the rules of a collection.
#[derive(Debug, Default)]
pub(super) struct NamespaceIndex {
    /// The collections that some rule names exactly, with all rules that look at them.
    exact: ByNames<Arc<Candidates>>,
    /// The rules that name collections by globs.
    patterns: Vec<(NamespaceMatcher, usize)>,
    /// What the globs gave for other collections, also if nothing.
    remembered: RwLock<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    count: usize,
    by_names: ByNames<Option<Arc<Candidates>>>,
}

/// The rules that look at one collection.
#[derive(Debug)]
pub(super) struct Candidates {
    pub(super) database: Arc<str>,
    pub(super) collection: Arc<str>,
    pub(super) needs: ImageNeeds,
    insert: ByField,
    delete: ByField,
    /// The rules that may fire on an update whatever it touches.
    update: Vec<usize>,
    /// The rules that fire on an update only if it touches a field, by the field's name.
    update_by_field: ByName<ByValue>,
    /// All of those in `update_by_field`.
    update_if_touched: Vec<usize>,
}

impl NamespaceIndex {
    pub(super) fn new(rules: &[CompiledRule]) -> Self {
        let mut index = Self::default();
        let mut exact: Vec<&NamespacePattern> = Vec::new();
        let mut by_exact: ByNames<Vec<usize>> = ByNames::default();
        for (number, rule) in rules.iter().enumerate() {
            for pattern in &rule.collections {
                if pattern.is_exact() {
                    let numbers = by_exact
                        .entry(pattern.database.as_str().into())
                        .or_default()
                        .entry(pattern.collection.as_str().into())
                        .or_default();
                    if numbers.is_empty() {
                        exact.push(pattern);
                    }
                    numbers.push(number);
                } else if let Some(matcher) = NamespaceMatcher::new(pattern) {
                    index.patterns.push((matcher, number));
                }
            }
        }
        for pattern in exact {
            let (database, collection) = (pattern.database.as_str(), pattern.collection.as_str());
            let mut numbers = by_exact.get_mut(database).and_then(|names| names.remove(collection)).unwrap_or_default();
            index.add_patterns(database, collection, &mut numbers);
            let candidates = Candidates::new(database, collection, rules, &numbers);
            index.exact.entry(database.into()).or_default().insert(collection.into(), Arc::new(candidates));
        }
        index
    }

    fn add_patterns(&self, database: &str, collection: &str, numbers: &mut Vec<usize>) {
        let matching = self.patterns.iter().filter(|(matcher, _)| matcher.matches(database, collection));
        numbers.extend(matching.map(|(_, number)| *number));
        numbers.sort_unstable();
        numbers.dedup();
    }

    /// The rules that look at a collection, if there are any.
    pub(super) fn find(&self, rules: &[CompiledRule], database: &str, collection: &str) -> Option<Arc<Candidates>> {
        if let Some(candidates) = self.exact.get(database).and_then(|names| names.get(collection)) {
            return Some(Arc::clone(candidates));
        }
        if self.patterns.is_empty() {
            return None;
        }
        {
            let remembered = self.remembered.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(candidates) = remembered.by_names.get(database).and_then(|names| names.get(collection)) {
                return candidates.clone();
            }
        }
        let mut numbers = Vec::new();
        self.add_patterns(database, collection, &mut numbers);
        let candidates =
            (!numbers.is_empty()).then(|| Arc::new(Candidates::new(database, collection, rules, &numbers)));
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.count >= REMEMBERED_COUNT_MAX {
            *remembered = Remembered::default();
        }
        remembered.count += 1;
        remembered.by_names.entry(database.into()).or_default().insert(collection.into(), candidates.clone());
        candidates
    }
}

impl Candidates {
    fn new(database: &str, collection: &str, rules: &[CompiledRule], numbers: &[usize]) -> Self {
        let mut candidates = Self {
            database: database.into(),
            collection: collection.into(),
            needs: ImageNeeds::default(),
            insert: ByField::default(),
            delete: ByField::default(),
            update: Vec::new(),
            update_by_field: ByName::default(),
            update_if_touched: Vec::new(),
        };
        for &number in numbers {
            let rule = &rules[number];
            candidates.needs = candidates.needs.or(rule.needs);
            if rule.fires_on(Operation::Insert) {
                candidates.insert.add(number, rule.after_is.as_ref());
            }
            if rule.fires_on(Operation::Delete) {
                candidates.delete.add(number, rule.before_is.as_ref());
            }
            if rule.fires_on(Operation::Update) {
                candidates.add_update(number, rule);
            }
        }
        candidates
    }

    fn add_update(&mut self, number: usize, rule: &CompiledRule) {
        let Some(fields) = &rule.touched else { return self.update.push(number) };
        self.update_if_touched.push(number);
        for field in fields {
            self.update_by_field.entry(field.as_str().into()).or_default().add(number, rule.becomes.as_ref());
        }
    }

    /// Fills `numbers` with the rules that may fire on the change, in their order, each once.
    pub(super) fn of_change(&self, change: &Change<'_>, numbers: &mut Vec<usize>) {
        numbers.clear();
        match change.operation {
            Operation::Insert => return self.insert.find(document(change.after), numbers),
            Operation::Delete => return self.delete.find(document(change.before), numbers),
            Operation::Update | Operation::Replace => {}
        }
        numbers.extend_from_slice(&self.update);
        if !self.update_by_field.is_empty() {
            self.touched(change, numbers);
            numbers.sort_unstable();
            numbers.dedup();
        }
    }

    fn touched(&self, change: &Change<'_>, numbers: &mut Vec<usize>) {
        let Some(description) = &change.description else {
            return match (change.before, change.after) {
                (Image::Exact(before), Image::Exact(after)) => self.differing(before, after, numbers),
                // Which fields differ is not known: every rule says so for itself.
                _ => numbers.extend_from_slice(&self.update_if_touched),
            };
        };
        for element in elements(description.updated) {
            let name = element.name_text();
            let field = first(name);
            if let Some(rules) = self.update_by_field.get(field) {
                // Something written below the field leaves no plain value at it.
                rules.find(if field.len() == name.len() { element.value() } else { None }, numbers);
            }
        }
        for name in description.removed.into_iter().flatten() {
            self.add_field(name.as_str().unwrap_or_default(), None, numbers);
        }
        for entry in description.truncated.into_iter().flatten().flatten() {
            if let Some(Ok(name)) = entry.as_document().map(|entry| entry.get_str("field")) {
                self.add_field(name, None, numbers);
            }
        }
    }

    /// Adds the rules of a field that has this value now. Rules on a name with a dot in it are listed under what stands before it.
    fn add_field(&self, name: &str, value: Option<RawBsonRef<'_>>, numbers: &mut Vec<usize>) {
        if let Some(rules) = self.update_by_field.get(first(name)) {
            rules.find(value, numbers);
        }
    }

    /// Adds the rules of the top-level fields whose values are not the same to the byte.
    fn differing(&self, before: &RawDocument, after: &RawDocument, numbers: &mut Vec<usize>) {
        if before.as_bytes() == after.as_bytes() {
            return;
        }
        let (mut in_before, mut in_after) = (elements(before), elements(after));
        // Mostly both hold the same fields in the same order: then most are equal to the byte, and no name is looked up.
        loop {
            let here = (in_before.clone(), in_after.clone());
            match (in_before.next(), in_after.next()) {
                (Some(was), Some(is)) if was.name == is.name => {
                    if was.content != is.content {
                        self.add_field(is.name_text(), is.value(), numbers);
                    }
                }
                _ => {
                    (in_before, in_after) = here;
                    break;
                }
            }
        }
        // From the first place where they part, fields are looked up, if there are rules on them.
        let rest_of_after = in_after.clone();
        for is in in_after.filter(|is| self.has_rules(is)) {
            if in_before.clone().find(|was| was.name == is.name).is_none_or(|was| was.content != is.content) {
                self.add_field(is.name_text(), is.value(), numbers);
            }
        }
        for was in in_before.filter(|was| self.has_rules(was)) {
            if !rest_of_after.clone().any(|is| is.name == was.name) {
                self.add_field(was.name_text(), None, numbers);
            }
        }
    }

    fn has_rules(&self, element: &Element<'_>) -> bool {
        self.update_by_field.contains_key(first(element.name_text()))
    }
}

/// The document as it was at the moment of the change, if it is known.
fn document(image: Image<'_>) -> Option<&RawDocument> {
    match image {
        Image::Exact(document) => Some(document),
        Image::LookedUp(_) | Image::Absent | Image::Unknown => None,
    }
}

/// The part of a dotted name before its first dot.
fn first(name: &str) -> &str {
    name.split_once('.').map_or(name, |(first, _)| first)
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, doc};

    use super::*;
    use crate::rules::ast::{Operations, Rule, Transition, When};
    use crate::rules::sample::{apply, change, field, rule, rule_where, see, update, with_images};
    use crate::rules::{Matcher, Outcome, RuleSet};

    fn on(path: &str) -> Rule {
        Rule { id: path.into(), when: Some(field(path, Transition::Changed)), ..rule(path) }
    }

    /// The numbers of the rules that the index proposes for a change.
    fn proposed(rules: &[Rule], change: &Document) -> Vec<usize> {
        let compiled: Vec<CompiledRule> = rules.iter().map(CompiledRule::new).collect();
        let index = NamespaceIndex::new(&compiled);
        let mut numbers = Vec::new();
        see(change, |change| {
            if let Some(candidates) = index.find(&compiled, change.database, change.collection) {
                candidates.of_change(change, &mut numbers);
            }
        });
        numbers
    }

    #[test]
    fn only_the_rules_of_touched_fields_are_proposed_each_once_and_in_order() {
        let both = Rule {
            when: Some(When::All(vec![field("a", Transition::Changed), field("b", Transition::Changed)])),
            ..rule("all")
        };
        let either = Rule {
            when: Some(When::Any(vec![field("a", Transition::Changed), field("d", Transition::Changed)])),
            ..rule("any")
        };
        let unchanged = Rule { when: Some(field("a", Transition::Unchanged)), ..rule("unchanged") };
        let rules = [on("c"), on("a.b"), both, either, unchanged, rule("free"), on("[\"a.x\"]")];
        assert_eq!(proposed(&rules, &update(doc! {"a.b": 1, "a.c": 2}, &[])), [1, 2, 3, 4, 5, 6]);
        assert_eq!(proposed(&rules, &update(doc! {"d": 1}, &[])), [3, 4, 5]);
        assert_eq!(proposed(&rules, &update(doc! {}, &["c.x"])), [0, 4, 5]);
        let mut truncated = update(doc! {}, &[]);
        let description = truncated.get_document_mut("updateDescription").unwrap();
        description.insert("truncatedArrays", vec![doc! {"field": "c", "newSize": 0}]);
        assert_eq!(proposed(&rules, &truncated), [0, 4, 5]);
    }

    #[test]
    fn a_replacement_proposes_the_rules_of_the_fields_that_differ() {
        let rules = [on("a"), on("b"), on("c"), rule("free")];
        let replace = |before, after| with_images(change("replace"), before, Some(after));
        assert_eq!(proposed(&rules, &replace(Some(doc! {"a": 1, "b": 2}), doc! {"a": 1, "b": 3})), [1, 3]);
        assert_eq!(proposed(&rules, &replace(Some(doc! {"a": 1, "b": 2}), doc! {"b": 2, "a": 1})), [3]);
        assert_eq!(proposed(&rules, &replace(Some(doc! {"a": 1, "b": 2}), doc! {"b": 2, "c": 1})), [0, 2, 3]);
        assert_eq!(proposed(&rules, &replace(Some(doc! {"a": 1}), doc! {"a": 1})), [3]);
        assert_eq!(proposed(&rules, &replace(None, doc! {"a": 1})), [0, 1, 2, 3]);
    }

    #[test]
    fn rules_that_wait_for_a_value_are_proposed_only_where_it_is() {
        let to = |id: &str, matcher: Matcher| Rule {
            when: Some(field("s", Transition::Becomes { from: None, to: Some(matcher) })),
            ..rule(id)
        };
        let equal = |value: Bson| Matcher::Equals(value);
        let rules = [
            to("a", equal("a".into())),
            to("b or c", Matcher::OneOf(vec![equal("b".into()), equal("c".into())])),
            to("1", equal(1.into())),
            to("not a", Matcher::Not(Box::new(equal("a".into())))),
            on("s"),
        ];
        let replace = |value: Bson| with_images(change("replace"), Some(doc! {"s": "x"}), Some(doc! {"s": value}));
        for (value, wanted) in [
            ("a".into(), vec![0, 3, 4]),
            ("c".into(), vec![1, 3, 4]),
            (1_i64.into(), vec![2, 3, 4]),
            (1.0.into(), vec![2, 3, 4]),
            (Bson::Null, vec![3, 4]),
            (doc! {"a": "a"}.into(), vec![3, 4]),
        ] as [(Bson, Vec<usize>); 6]
        {
            assert_eq!(proposed(&rules, &update(doc! {"s": value.clone()}, &[])), wanted, "{value}");
            assert_eq!(proposed(&rules, &replace(value.clone())), wanted, "{value}");
        }
        assert_eq!(proposed(&rules, &update(doc! {"s.x": "a"}, &[])), [3, 4]);
        assert_eq!(proposed(&rules, &update(doc! {}, &["s"])), [3, 4]);
        let inserted = |rule: Rule| Rule { operations: Operations { insert: true, ..Operations::default() }, ..rule };
        let is = |query: &str, value: &str| inserted(rule_where(query, Matcher::Equals(value.into())));
        let rules = [
            is("$.after.s", "a"),
            is("$.after.s", "b"),
            is("$.after.t", "a"),
            inserted(rule("free")),
            is("$.after.x.y", "a"),
        ];
        let mut insert = change("insert");
        assert_eq!(proposed(&rules, &insert), [0, 1, 2, 3, 4]);
        insert.insert("fullDocument", doc! {"s": "a"});
        assert_eq!(proposed(&rules, &insert), [0, 3, 4]);
    }

    #[test]
    fn a_collection_gets_the_rules_that_name_it_and_those_whose_globs_do() {
        let pattern = |text: &str| Rule { collections: vec![NamespacePattern::parse(text).unwrap()], ..rule(text) };
        let twice = Rule {
            collections: vec![
                NamespacePattern::parse("shop.orders").unwrap(),
                NamespacePattern::parse("shop.o*").unwrap(),
            ],
            ..rule("twice")
        };
        let rules = RuleSet::compile(vec![pattern("shop.carts"), pattern("*.orders"), twice, pattern("shop.orders")]);
        let mut outcome = Outcome::default();
        let mut fired = |collection: &str| {
            let mut change = update(doc! {"x": 1}, &[]);
            change.insert("ns", doc! {"db": "shop", "coll": collection});
            outcome.clear();
            see(&change, |change| rules.apply(change, &mut outcome));
            outcome.events.iter().map(|event| event.rule.to_string()).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            assert_eq!(fired("orders"), ["*.orders", "twice", "shop.orders"]);
            assert_eq!(fired("others"), ["twice"]);
            assert_eq!(fired("carts"), ["shop.carts"]);
            assert!(fired("nobody").is_empty());
        }
        assert_eq!(rules.namespaces().len(), 4);
    }

    #[test]
    fn rules_fire_only_on_their_operations() {
        let all = |insert, update, delete| Rule { operations: Operations { insert, update, delete }, ..rule("r") };
        let fires = |rule: &Rule, operation| {
            let images = with_images(change(operation), Some(doc! {"a": 1}), Some(doc! {"a": 2}));
            let change = if operation == "update" { update(doc! {"a": 2}, &[]) } else { images };
            apply(vec![rule.clone()], &change).events.len() == 1
        };
        for (operation, wanted) in [
            ("insert", [true, false, false]),
            ("update", [false, true, false]),
            ("replace", [false, true, false]),
            ("delete", [false, false, true]),
        ] {
            let rules = [all(true, false, false), all(false, true, false), all(false, false, true)];
            assert_eq!(rules.map(|rule| fires(&rule, operation)), wanted, "{operation}");
        }
    }

    #[test]
    fn the_memory_of_collections_that_only_globs_name_is_bounded() {
        let compiled =
            [CompiledRule::new(&Rule { collections: vec![NamespacePattern::parse("*.*").unwrap()], ..rule("r") })];
        let index = NamespaceIndex::new(&compiled);
        for number in 0..REMEMBERED_COUNT_MAX + 5 {
            assert!(index.find(&compiled, "d", &number.to_string()).is_some());
        }
        assert_eq!(index.remembered.read().unwrap().count, 5);
    }

    #[test]
    fn equal_sets_have_equal_hashes_wherever_their_rules_stand() {
        let hash = |rule: Rule| RuleSet::compile(vec![rule]).hash().to_owned();
        assert_eq!(hash(on("a")), hash(Rule { origin: "elsewhere.yaml:9:9".into(), ..on("a") }));
        assert_ne!(hash(on("a")), hash(on("b")));
        assert_eq!(hash(on("a")).len(), 32);
    }
}
