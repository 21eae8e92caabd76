//! `each`: the elements of an array that a change added, removed or changed, and the conditions on them.

#[cfg(test)]
mod agreement;
mod appended;
mod array;
mod identity;
mod matching;
mod patch;

use bson::{RawBsonRef, RawDocument};

use super::UnknownReason;
use super::ast::{self, ElementChange};
use super::condition::{Condition, Conditions};
use super::mention::{self, Mention};
use super::path::{Path, Relation};
use super::state::StateCheck;
use super::view::{ElementFacts, Known, Truth, View};
use crate::change::element::{Content, Element};
use crate::change::value::Numbers;
use crate::change::{Change, Description, Image, Operation, element};
use crate::event::Evidence;

pub use appended::{Appended, AppendedElements, NewElement};

use array::{ARRAY, Array, DOCUMENT, find};
use identity::Identity;
use matching::{Found, Matching};
use patch::Patch;

/// The memory of `each`, kept from change to change.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    patch: Patch,
    matching: Matching,
}

/// A compiled [`ast::Each`].
#[derive(Debug)]
pub(super) struct Each {
    pub(super) path: Path,
    is: ElementChange,
    identity: Identity,
    /// The transitions inside a changed element.
    when: Option<Condition>,
    /// The conditions on the element.
    filter: Option<StateCheck>,
    /// The conditions of the rule's `where` that ask for the element.
    of_element: Condition,
}

/// The array before and after a change.
enum Arrays<'e> {
    /// Nothing happened to any of its elements.
    Alike,
    Known {
        before: Array<'e>,
        after: Array<'e>,
        evidence: Evidence,
    },
    Unknown(UnknownReason),
}

impl Each {
    /// `of_element` is the part of the rule's `where` that asks for the element.
    pub(super) fn new(each: &ast::Each, of_element: Option<&ast::Where>, numbers: Numbers) -> Self {
        let condition = |conditions| Condition::new(conditions, numbers);
        Self {
            path: (&each.path).into(),
            is: each.is,
            identity: Identity::new(each.key.iter().map(Path::from), numbers),
            when: each.when.as_ref().map(|when| condition(Conditions { when: Some(when), ..Conditions::default() })),
            filter: each.filter.as_ref().map(|state| StateCheck::new(state, numbers)),
            of_element: condition(Conditions { filter: of_element, ..Conditions::default() }),
        }
    }

    /// The elements that are new, told apart by the first of these paths that they have; nothing else is asked of them.
    fn added(path: Path, ids: impl Iterator<Item = Path>) -> Self {
        Self {
            path,
            is: ElementChange::Added,
            identity: Identity::first_of(ids, Numbers::ByValue),
            when: None,
            filter: None,
            of_element: Condition::new(Conditions::default(), Numbers::ByValue),
        }
    }

    /// Shows every element to which it happened and whose conditions hold or cannot be decided, with the answer and its evidence.
    /// Where the array is not known, the reason is the answer: of the elements that may be new, or of no element.
    pub(super) fn visit(
        &self,
        view: &View<'_>,
        scratch: &mut Scratch,
        show: &mut dyn FnMut(&View<'_>, Truth, Evidence),
    ) {
        let Scratch { patch, matching } = scratch;
        match self.arrays(view, patch) {
            Arrays::Alike => {}
            Arrays::Unknown(reason) => {
                if !self.named(view, reason, show) {
                    show(view, Truth::Unknown(reason), Evidence::Exact);
                }
            }
            Arrays::Known { before, after, evidence } => {
                matching.find(&self.identity, self.is, before, after);
                for found in &matching.found {
                    self.look_at(view, *found, (before, after), evidence, show);
                }
            }
        }
    }

    /// Shows the elements that the update names as written whole (`items.3`), which may be new; true if there are some.
    fn named(&self, view: &View<'_>, reason: UnknownReason, show: &mut dyn FnMut(&View<'_>, Truth, Evidence)) -> bool {
        let mut is_any = false;
        let (ElementChange::Added, Some(description)) = (self.is, &view.change.description) else { return false };
        for element in element::elements(description.updated) {
            let name = element.name_text();
            if mention::relation(description, &self.path, name) != Relation::Below
                || !self.filter_holds(element.content)
            {
                continue;
            }
            let Some(index) = name.get(self.path.dotted().len() + 1..).and_then(|rest| rest.parse().ok()) else {
                continue;
            };
            let item = value_of(Some(element));
            let facts = ElementFacts { item, before: Known::Missing, index, evidence: Evidence::Delta };
            let element_view = View::of_element(view.change, facts);
            let mut evidence = Evidence::Delta;
            if self.of_element.holds(&element_view, &mut evidence) != Truth::False {
                show(&element_view, Truth::Unknown(reason), evidence);
                is_any = true;
            }
        }
        is_any
    }

    fn look_at<'e>(
        &self,
        view: &View<'e>,
        found: Found,
        (before, after): (Array<'e>, Array<'e>),
        mut evidence: Evidence,
        show: &mut dyn FnMut(&View<'_>, Truth, Evidence),
    ) {
        let (was, is) =
            (found.before.and_then(|place| before.element(place)), found.after.and_then(|place| after.element(place)));
        let Some(element) = is.or(was) else { return };
        if !self.filter_holds(element.content) {
            return;
        }
        if let (Some(when), Some(was)) = (&self.when, was)
            && !transition_holds(when, view.change, was.content, element.content)
        {
            return;
        }
        let facts = ElementFacts { item: value_of(Some(element)), before: value_of(was), index: found.index, evidence };
        let element_view = View::of_element(view.change, facts);
        match self.of_element.holds(&element_view, &mut evidence) {
            Truth::False => {}
            truth => show(&element_view, truth, evidence),
        }
    }

    fn filter_holds(&self, element: Content<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.holds_of(with_fields(element)))
    }

    /// The array before and after the change, as far as it is known.
    fn arrays<'e>(&self, view: &View<'e>, patch: &'e mut Patch) -> Arrays<'e> {
        let change = view.change;
        let mention = view.mention(&self.path);
        if matches!(mention, Some(Mention::Nothing)) {
            return Arrays::Alike;
        }
        let steps = &self.path.steps;
        let before = match change.before {
            Image::Absent => Some(Array::empty()),
            Image::Exact(document) | Image::LookedUp(document) => Some(Array::at(document, steps)),
            Image::Unknown => None,
        };
        if self.is_kept(change, before) {
            return Arrays::Alike;
        }
        let mut evidence = Evidence::Exact;
        let after = match (change.after, mention) {
            (Image::Absent, _) => Some(Array::empty()),
            (Image::Exact(document), _) => Some(Array::at(document, steps)),
            (_, Some(Mention::Written(value))) => Some(Array::of(Some(value))),
            (_, Some(Mention::Removed)) => Some(Array::empty()),
            (_, Some(Mention::Inside(found))) => Some(Array::of(found)),
            (after, _) => match (change.before, change.description, after) {
                (Image::Exact(before), Some(description), _) => match find(whole(before), steps) {
                    Some((ARRAY, bytes)) => patch.apply(Array::in_bytes(bytes), &self.path, &description),
                    // Something was written inside of what is no array.
                    _ => Some(Array::empty()),
                },
                (_, _, Image::LookedUp(document)) => {
                    evidence = Evidence::LookUp;
                    Some(Array::at(document, steps))
                }
                _ => None,
            },
        };
        match (before, after) {
            (Some(before), Some(after)) => Arrays::Known { before, after, evidence },
            (None, after) if self.is_ruled_out(change, after) => Arrays::Alike,
            (None, _) => Arrays::Unknown(UnknownReason::NoPreImage),
            (Some(_), None) => Arrays::Unknown(UnknownReason::NoPostImage),
        }
    }

    /// True if a short description says that elements were neither added nor removed: mostly a field of one was written. That is told
    /// sooner than the arrays are compared.
    fn is_kept(&self, change: &Change<'_>, before: Option<Array<'_>>) -> bool {
        const NAMES_MAX: usize = 4;
        let (Some(before), Some(description)) = (before, &change.description) else { return false };
        self.is != ElementChange::Changed
            && element::elements(description.updated).nth(NAMES_MAX).is_none()
            && self.is_ruled_out_by(description, Some(before)).unwrap_or(false)
    }

    /// True if, whatever the array held before, nothing that the rule asks for happened to its elements.
    fn is_ruled_out(&self, change: &Change<'_>, after: Option<Array<'_>>) -> bool {
        if self.is != ElementChange::Removed
            && after.is_some_and(|after| !after.elements().any(|element| self.filter_holds(element.content)))
        {
            return true;
        }
        change.description.is_some_and(|description| self.is_ruled_out_by(&description, after).unwrap_or(false))
    }

    /// What the description alone says: fields inside of elements do not add or remove an element, and an array that was cut short got no
    /// new ones. Nothing if whole elements or the array itself were written. Whether an element has a key, the array tells, before or after.
    fn is_ruled_out_by(&self, description: &Description<'_>, array: Option<Array<'_>>) -> Option<bool> {
        let (mut is_cut, mut has_inner) = (false, false);
        let updated = element::elements(description.updated).map(|element| (element.name_text(), false));
        let removed = description.removed.into_iter().flatten().map(|name| (name.as_str().unwrap_or_default(), false));
        let truncated = mention::truncated(description).map(|(name, _)| (name, true));
        for (name, is_cut_short) in updated.chain(removed).chain(truncated) {
            match mention::relation(description, &self.path, name) {
                Relation::Apart => {}
                Relation::Same if is_cut_short => is_cut = true,
                Relation::Below => {
                    let (index, inner) = name.get(self.path.dotted().len() + 1..)?.split_once('.')?;
                    let keeps_key = self.identity.key().iter().all(|part| part.relation(inner) == Relation::Apart);
                    let element = array?.elements().nth(index.parse().ok()?)?;
                    if !keeps_key || !self.identity.has_key(element.content) {
                        return None;
                    }
                    has_inner = true;
                }
                Relation::Same | Relation::Around(_) => return None,
            }
        }
        Some(match self.is {
            ElementChange::Added => true,
            ElementChange::Removed => !is_cut,
            ElementChange::Changed => !has_inner,
        })
    }
}

/// Whether a transition inside an element holds; both are known, so this is.
fn transition_holds(when: &Condition, change: &Change<'_>, was: Content<'_>, is: Content<'_>) -> bool {
    let image = |(_, bytes)| RawDocument::from_bytes(bytes).map(Image::Exact);
    let (Ok(before), Ok(after)) = (image(was), image(is)) else { return false };
    let of_element = Change { operation: Operation::Replace, before, after, description: None, ..*change };
    when.holds(&View::new(&of_element), &mut Evidence::default()) == Truth::True
}

/// The element as a value whose fields can be asked for; of an array, the fields are its elements.
fn with_fields((kind, bytes): Content<'_>) -> RawBsonRef<'_> {
    match kind {
        DOCUMENT | ARRAY => RawDocument::from_bytes(bytes).map_or(RawBsonRef::Null, RawBsonRef::Document),
        _ => RawBsonRef::Null,
    }
}

fn value_of(element: Option<Element<'_>>) -> Known<'_> {
    Known::of(element.and_then(|element| element.value()))
}

fn whole(document: &RawDocument) -> Content<'_> {
    (DOCUMENT, document.as_bytes())
}

#[cfg(test)]
mod tests {
    use bson::{Document, bson, doc};

    use super::*;
    use crate::rules::ast::{Operations, Rule, State, Transition, UnknownPolicy, When, Where};
    use crate::rules::rule::CompiledRule;
    use crate::rules::sample::{
        apply, becomes, change, equals, field, rule, rule_where, see_looked_up, update, value_of, with_images,
    };
    use crate::rules::{FieldPath, Matcher, Outcome, RuleSet, Template};

    const ADDED: ElementChange = ElementChange::Added;
    const REMOVED: ElementChange = ElementChange::Removed;
    const CHANGED: ElementChange = ElementChange::Changed;

    fn path(text: &str) -> FieldPath {
        FieldPath::parse(text).unwrap()
    }

    /// A rule on the elements of `items`, by `sku`.
    fn each(is: ElementChange) -> Rule {
        let each = ast::Each { path: path("items"), key: vec![path("sku")], is, when: None, filter: None };
        let operations = Operations { insert: true, update: true, delete: true };
        Rule { operations, each: Some(each), data: value_of("$.item"), ..rule("Rule") }
    }

    fn with(rule: Rule, set: impl FnOnce(&mut ast::Each)) -> Rule {
        let mut each = rule.each.clone().unwrap();
        set(&mut each);
        Rule { each: Some(each), ..rule }
    }

    /// The skus of the elements of the events, or why there is none.
    fn told(outcome: &Outcome) -> String {
        let mut told: Vec<String> =
            outcome.events.iter().map(|event| event.data.get_str("sku").unwrap_or("?").to_owned()).collect();
        told.extend(outcome.undecided.iter().map(|undecided| undecided.reason.as_str().to_owned()));
        told.extend(outcome.failed.iter().map(|failed| failed.reason.clone()));
        told.join(" ")
    }

    fn check(change: &Document, added: &str, removed: &str, changed: &str) {
        for (is, wanted) in [(ADDED, added), (REMOVED, removed), (CHANGED, changed)] {
            assert_eq!(told(&apply(vec![each(is)], change)), wanted, "{is:?} {change}");
        }
    }

    fn items(skus: &[&str]) -> Document {
        doc! {"_id": 1, "items": skus.iter().map(|sku| bson!({"sku": *sku, "q": 1})).collect::<Vec<_>>()}
    }

    #[test]
    fn a_change_of_an_array_gives_an_event_for_each_element_in_array_order() {
        let images = |before: &[&str], after: &[&str], updated: Document| {
            with_images(update(updated, &[]), Some(items(before)), Some(items(after)))
        };
        let whole = |skus: &[&str]| doc! {"items": items(skus).get_array("items").unwrap().clone()};
        check(&images(&["a"], &["a", "b", "c"], doc! {"items.1": 1, "items.2": 2}), "b c", "", "");
        check(&images(&["a"], &["c", "a", "b"], whole(&["c", "a", "b"])), "c b", "", "");
        check(&images(&["a", "b", "c"], &["b"], whole(&["b"])), "", "a c", "");
        check(&images(&["a", "b"], &["c", "a"], whole(&["c", "a"])), "c", "b", "");
        check(&images(&["a", "b"], &["b", "a"], whole(&["b", "a"])), "", "", "");
        // The description is the server's word: an array that it does not name is not looked at.
        check(&images(&["a"], &["a", "b"], doc! {"other": 1}), "", "", "");
    }

    #[test]
    fn inserts_add_and_deletes_remove_and_what_is_no_array_has_no_elements() {
        let mut insert = change("insert");
        insert.insert("fullDocument", items(&["a", "b"]));
        check(&insert, "a b", "", "");
        check(&with_images(change("delete"), Some(items(&["a", "b"])), None), "", "a b", "");
        check(&change("delete"), "", "no_pre_image", "");
        for other in [bson!(5), bson!(null), bson!({"0": {"sku": "x"}}), bson!("a")] {
            let before = doc! {"_id": 1, "items": other.clone()};
            let after = items(&["a"]);
            let set = update(doc! {"items": after.get_array("items").unwrap().clone()}, &[]);
            check(&with_images(set.clone(), Some(before.clone()), Some(after.clone())), "a", "", "");
            check(&with_images(set, Some(before.clone()), None), "a", "", "");
            check(&with_images(update(doc! {"items": other}, &[]), Some(after), Some(before)), "", "a", "");
        }
        check(&with_images(update(doc! {}, &["items"]), Some(items(&["a"])), Some(doc! {})), "", "a", "");
        check(&with_images(update(doc! {}, &["items"]), Some(items(&["a"])), None), "", "a", "");
        // A path goes through documents, not through the elements of an array.
        let nested = |sku: &str| doc! {"carts": [{"items": [{"sku": sku}]}]};
        let change = with_images(change("replace"), Some(nested("a")), Some(nested("b")));
        assert_eq!(told(&apply(vec![with(each(ADDED), |each| each.path = path("carts.items"))], &change)), "");
        assert_eq!(told(&apply(vec![with(each(ADDED), |each| each.path = path("carts.0.items"))], &change)), "b");
    }

    #[test]
    fn an_element_has_its_own_roots_and_its_place_makes_its_id() {
        let data = ["$.item.q", "$.itemBefore.q", "$.index", "$.after.items[*].sku", "$"];
        let data = Template::List(data.map(value_of).into());
        let changed = Rule { data: Template::Map(vec![("all".into(), data)]), ..each(CHANGED) };
        let document = |quantities: [i32; 3]| {
            let items: Vec<_> = (0..3).map(|n| bson!({"sku": format!("s{n}"), "q": quantities[n as usize]})).collect();
            doc! {"_id": 1, "items": items}
        };
        let replace = with_images(change("replace"), Some(document([1, 2, 3])), Some(document([1, 5, 6])));
        let outcome = apply(vec![changed.clone()], &replace);
        let all: Vec<_> = outcome
            .events
            .iter()
            .map(|event| Document::try_from(&*event.data).unwrap().get_array("all").unwrap().clone())
            .collect();
        assert_eq!(all[0][..4], [bson!(5), bson!(2), bson!(1), bson!(["s0", "s1", "s2"])]);
        assert_eq!(all[1][..3], [bson!(6), bson!(3), bson!(2)]);
        assert_eq!(all[1][4].as_document().unwrap().get_i32("index").unwrap(), 2);
        assert_ne!(outcome.events[0].id, outcome.events[1].id);
        // Another element that changes too is no reason for another id.
        let less = with_images(change("replace"), Some(document([1, 5, 3])), Some(document([1, 5, 6])));
        assert_eq!(apply(vec![changed], &less).events[0].id, outcome.events[1].id);
    }

    #[test]
    fn conditions_on_the_element_and_on_the_document_hold_together() {
        let before = doc! {"_id": 1, "limit": 5, "items": [{"sku": "a", "q": 1}, {"sku": "b", "q": 4}]};
        let after =
            doc! {"_id": 1, "limit": 5, "items": [{"sku": "a", "q": 2}, {"sku": "b", "q": 3}, {"sku": "c", "q": 9}]};
        let replace = with_images(change("replace"), Some(before), Some(after));
        let filter = |query: &str, matcher: Matcher| rule_where(query, matcher).filter;
        let more = Matcher::Compare(crate::rules::Comparison::Greater, bson!(2));
        let up = Transition::Moves { direction: ast::Direction::Up, by: None, by_percent: None };
        for (rule, wanted) in [
            (each(CHANGED), "a b"),
            (with(each(CHANGED), |each| each.when = Some(field("q", up.clone()))), "a"),
            (with(each(CHANGED), |each| each.when = Some(field("q", becomes(Some(bson!(4)), Some(bson!(3)))))), "b"),
            (with(each(CHANGED), |each| each.filter = Some(State(vec![(path("q"), more.clone())]))), "b"),
            (Rule { filter: filter("$.item.q", equals(3)), ..each(CHANGED) }, "b"),
            (Rule { filter: filter("$.itemBefore.q", equals(1)), ..each(CHANGED) }, "a"),
            (Rule { filter: filter("$.index", equals(0)), ..each(CHANGED) }, "a"),
            (
                Rule { filter: filter("$.after.items[?@.sku == $.item.sku && @.q > 2]", more.clone()), ..each(ADDED) },
                "",
            ),
            (Rule { filter: filter("$.after.items[?@.sku == $.item.sku].q", equals(9)), ..each(ADDED) }, "c"),
            (Rule { filter: filter("$.after.limit", equals(5)), ..each(ADDED) }, "c"),
            (Rule { filter: filter("$.after.limit", equals(6)), ..each(ADDED) }, ""),
            (Rule { when: Some(field("limit", Transition::Changed)), ..each(ADDED) }, ""),
            (Rule { when: Some(field("limit", Transition::Unchanged)), ..each(ADDED) }, "c"),
        ] {
            assert_eq!(told(&apply(vec![rule.clone()], &replace)), wanted, "{rule:?}");
        }
        let both = Rule {
            filter: Some(Where::All(vec![
                filter("$.after.limit", equals(5)).unwrap(),
                filter("$.item.q", equals(2)).unwrap(),
            ])),
            ..each(CHANGED)
        };
        assert_eq!(told(&apply(vec![both], &replace)), "a");
    }

    #[test]
    fn the_document_before_and_the_description_are_enough() {
        let before = doc! {"_id": 1, "items": [{"sku": "a", "q": 1, "at": {"x": [1, 2]}}, {"sku": "b", "q": 1}]};
        let with_before = |change: Document| with_images(change, Some(before.clone()), None);
        check(&with_before(update(doc! {"items.2": {"sku": "c"}}, &[])), "c", "", "");
        check(&with_before(update(doc! {"items.1": {"sku": "c"}}, &[])), "c", "b", "");
        check(&with_before(update(doc! {"items.1.q": 2}, &[])), "", "", "b");
        check(&with_before(update(doc! {"items.1.q": 1.0}, &[])), "", "", "");
        check(&with_before(update(doc! {"items.1.sku": "c"}, &[])), "c", "b", "");
        check(&with_before(update(doc! {}, &["items.0.at", "items.1.q"])), "", "", "a b");
        let mut cut = update(doc! {"items.0.at.x.2": 3}, &[]);
        let description = cut.get_document_mut("updateDescription").unwrap();
        description.insert("truncatedArrays", vec![doc! {"field": "items", "newSize": 1}]);
        check(&with_before(cut), "", "b", "a");
        let changed = Rule { data: value_of("$.item"), ..each(CHANGED) };
        let outcome =
            apply(vec![changed], &with_before(update(doc! {"items.0.at.x.1": 9, "items.0.new": {"y": 1}}, &[])));
        let item = doc! {"sku": "a", "q": 1, "at": {"x": [1, 9]}, "new": {"y": 1}};
        assert_eq!(Document::try_from(&*outcome.events[0].data).unwrap(), item);
        assert_eq!(outcome.events[0].evidence, Evidence::Exact);
        // A document that was looked up may hold what came later: it is not asked.
        let rules = RuleSet::compile(vec![each(ADDED)]);
        let mut outcome = Outcome::default();
        let push = with_before(update(doc! {"items.2": {"sku": "c"}}, &[]));
        see_looked_up(&push, Some(items(&["a", "b", "c", "d"])), |change| rules.apply(change, &mut outcome));
        assert_eq!((told(&outcome), outcome.events[0].evidence), ("c".to_owned(), Evidence::Exact));
    }

    #[test]
    fn without_the_document_before_it_is_unknown_unless_the_change_rules_it_out() {
        let unknown = "no_pre_image";
        let element = || doc! {"sku": "c", "q": 1};
        // It may be new, and it may have taken the place of another.
        check(&update(doc! {"items.2": element()}, &[]), unknown, unknown, unknown);
        check(&update(doc! {"items": [element()]}, &[]), unknown, unknown, unknown);
        check(&update(doc! {"items": []}, &[]), "", unknown, "");
        check(&update(doc! {}, &["items"]), "", unknown, "");
        check(&update(doc! {"other": 1, "items2": 1}, &[]), "", "", "");
        check(&update(doc! {"items.0.q": 2}, &[]), unknown, unknown, unknown);
        let with_after = |change: Document| with_images(change, None, Some(items(&["a", "b"])));
        check(&with_after(update(doc! {"items.0.q": 1}, &[])), "", "", unknown);
        check(&with_after(update(doc! {"items.0.sku": "a"}, &[])), unknown, unknown, unknown);
        check(&with_after(update(doc! {"items.1": {"sku": "b", "q": 1}}, &[])), unknown, unknown, unknown);
        check(&with_after(change("replace")), unknown, unknown, unknown);
        let mut cut = update(doc! {}, &[]);
        let description = cut.get_document_mut("updateDescription").unwrap();
        description.insert("truncatedArrays", vec![doc! {"field": "items", "newSize": 1}]);
        check(&cut, "", unknown, "");
        // None of the elements that may be new is one of those that the rule asks for.
        let dear = with(each(ADDED), |each| each.filter = Some(State(vec![(path("q"), equals(7))])));
        assert_eq!(told(&apply(vec![dear.clone()], &with_after(update(doc! {"items.1": {"sku": "b"}}, &[])))), "");
        assert_eq!(told(&apply(vec![dear], &update(doc! {"items": [{"sku": "b", "q": 7}]}, &[]))), unknown);
    }

    #[test]
    fn numbers_may_be_strict() {
        let images = with_images(
            change("replace"),
            Some(doc! {"items": [{"sku": "a", "q": 1}]}),
            Some(doc! {"items": [{"sku": "a", "q": 1.0}]}),
        );
        assert_eq!(told(&apply(vec![each(CHANGED)], &images)), "");
        assert_eq!(told(&apply(vec![Rule { numbers: Numbers::Strict, ..each(CHANGED) }], &images)), "a");
    }

    #[test]
    fn what_the_document_leaves_unknown_is_unknown_once_however_many_elements_there_are() {
        let both = Rule {
            filter: Some(Where::Matches(crate::rules::Query::parse("$.before.total").unwrap(), equals(1))),
            ..each(ADDED)
        };
        let update = update(doc! {"items": items(&["a", "b"]).get_array("items").unwrap().clone()}, &[]);
        let outcome = apply(vec![both.clone()], &update);
        assert_eq!(told(&outcome), "no_pre_image");
        let assumed = Rule { unknown: UnknownPolicy::Assume, ..both };
        assert_eq!(told(&apply(vec![assumed], &update)), "no_pre_image", "no element can be assumed");
    }

    #[test]
    fn an_element_that_is_written_whole_may_be_assumed_to_be_new() {
        let assumed = Rule { unknown: UnknownPolicy::Assume, ..each(ADDED) };
        let push = update(doc! {"items.2": {"sku": "c", "q": 1}, "items.3": {"sku": "d", "q": 2}}, &[]);
        let outcome = apply(vec![assumed.clone()], &push);
        assert_eq!(told(&outcome), "c d no_pre_image");
        assert!(outcome.events.iter().all(|event| event.evidence == Evidence::Delta));
        let images = with_images(push.clone(), Some(items(&["a", "b"])), None);
        let known = apply(vec![assumed.clone()], &images);
        let ids = |outcome: &Outcome| outcome.events.iter().map(|event| event.id).collect::<Vec<_>>();
        assert_eq!(ids(&known), ids(&outcome), "it is the same event, however it is known");
        let dear = with(assumed.clone(), |each| each.filter = Some(State(vec![(path("q"), equals(2))])));
        assert_eq!(told(&apply(vec![dear], &push)), "d no_pre_image");
        for other in [update(doc! {"items.2.q": 1}, &[]), update(doc! {"items": [{"sku": "c"}]}, &[])] {
            assert_eq!(told(&apply(vec![assumed.clone()], &other)), "no_pre_image");
        }
        let gone = Rule { unknown: UnknownPolicy::Assume, ..each(REMOVED) };
        assert_eq!(told(&apply(vec![gone], &push)), "no_pre_image");
    }

    #[test]
    fn the_array_is_what_must_be_touched_and_what_was_there_must_be_known() {
        let compiled = CompiledRule::new(&with(each(ADDED), |each| each.path = path("cart.items")));
        assert_eq!(compiled.touched, Some(vec!["cart".to_owned()]));
        assert_eq!((compiled.needs.before, compiled.needs.after, compiled.asks_what_was), (true, false, true));
        let on_insert = Rule { operations: Operations { insert: true, ..Operations::default() }, ..each(ADDED) };
        assert!(!CompiledRule::new(&on_insert).needs.before);
        let total = Rule { data: value_of("$.after.total"), ..each(ADDED) };
        assert!(CompiledRule::new(&total).needs.after);
        let rules = RuleSet::compile(vec![total]);
        let wants = |change: &Document| see_looked_up(change, None, |change| rules.wants_look_up(change));
        assert!(wants(&update(doc! {"items.3": {"sku": "c"}}, &[])));
        assert!(!wants(&update(doc! {"other": 1}, &[])));
        let when = When::All(vec![field("status", Transition::Changed)]);
        assert_eq!(
            CompiledRule::new(&Rule { when: Some(when), ..each(ADDED) }).touched,
            Some(vec!["status".to_owned()])
        );
    }
}
