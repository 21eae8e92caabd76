//! `each`: the elements of an array that a change added, removed or changed, and the conditions on them.

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

    /// Shows every element to which it happened and whose conditions hold or cannot be decided, with the answer and its evidence.
    /// Where the array is not known, there is no element: the reason is the answer.
    pub(super) fn visit(
        &self,
        view: &View<'_>,
        scratch: &mut Scratch,
        show: &mut dyn FnMut(&View<'_>, Truth, Evidence),
    ) {
        let Scratch { patch, matching } = scratch;
        match self.arrays(view, patch) {
            Arrays::Alike => {}
            Arrays::Unknown(reason) => show(view, Truth::Unknown(reason), Evidence::Exact),
            Arrays::Known { before, after, evidence } => {
                matching.find(&self.identity, self.is, before, after);
                for found in &matching.found {
                    self.look_at(view, *found, (before, after), evidence, show);
                }
            }
        }
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
    /// new ones. Nothing if whole elements or the array itself were written.
    fn is_ruled_out_by(&self, description: &Description<'_>, after: Option<Array<'_>>) -> Option<bool> {
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
                    let element = after?.elements().nth(index.parse().ok()?)?;
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
