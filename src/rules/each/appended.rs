//! The elements that changes append to an array that only grows, such as one of events: as `each` with `is: added` finds them, and
//! where the document before a change is not known, as many of them as its description shows.

use bson::RawBsonRef;

use super::array::Array;
use super::mention::{self, Mention};
use super::{Arrays, Each, Scratch};
use crate::change::element::{self, Content, elements};
use crate::change::{Change, Description, Image, Operation};
use crate::event::Evidence;
use crate::rules::path::{Path, Relation};
use crate::rules::view::View;
use crate::rules::{FieldPath, Query};

/// Finds the elements that changes append to an array.
#[derive(Debug)]
pub struct AppendedElements {
    each: Each,
    scratch: Scratch,
}

/// What a change did to an array that only grows.
#[derive(Clone, Copy, Debug)]
pub enum Appended<'e> {
    /// An element was appended.
    New(NewElement<'e>),
    /// An element without an id was written inside. Whether that is another one now, nobody can tell; it is taken for the same.
    Altered,
    /// An element has another id now, so that it is another one, and the rest of it is not known.
    Unseen,
}

/// An element that was appended.
#[derive(Clone, Copy, Debug)]
pub struct NewElement<'e> {
    /// The element.
    pub value: RawBsonRef<'e>,
    /// Its id: the value at the first of the paths that it has.
    pub id: Option<Content<'e>>,
    /// Its place in the array after the change, from 0.
    pub index: u32,
    /// [`Evidence::Delta`] if the array was written whole and nobody knows what it held before.
    pub evidence: Evidence,
}

impl AppendedElements {
    /// Of the array at `path`; the id of an element is the first of `ids` that it has. Elements without an id are told apart by their
    /// whole value. `None` if one of `ids` is more than names and indices.
    pub fn new(path: &FieldPath, ids: &[Query]) -> Option<Self> {
        let paths = ids.iter().map(|query| query.is_path().then(|| query.path().clone()));
        let paths = paths.collect::<Option<Vec<_>>>()?;
        Some(Self { each: Each::added(path.into(), paths.into_iter()), scratch: Scratch::default() })
    }

    /// Shows what the change did to the array, in the order of its elements.
    pub fn visit(&mut self, change: &Change<'_>, show: &mut dyn FnMut(Appended<'_>)) {
        // A document that is looked up later may hold what later changes appended, and lack what they removed.
        let at_event = |image| if matches!(image, Image::LookedUp(_)) { Image::Unknown } else { image };
        let change = &Change { before: at_event(change.before), after: at_event(change.after), ..*change };
        if change.operation == Operation::Delete {
            return;
        }
        let view = View::new(change);
        let Scratch { patch, matching } = &mut self.scratch;
        match self.each.arrays(&view, patch) {
            Arrays::Alike => {}
            Arrays::Unknown(_) => self.each.show_told(&view, show),
            Arrays::Known { before, after, .. } => {
                matching.find(&self.each.identity, self.each.is, before, after);
                for found in &matching.found {
                    let Some(element) = found.after.and_then(|place| after.element(place)) else { continue };
                    if self.each.is_altered(&view, found.index, element.content, (before, after)) {
                        show(Appended::Altered);
                    } else {
                        self.each.show_new(element, found.index, Evidence::Exact, show);
                    }
                }
            }
        }
    }
}

impl Each {
    fn show_new<'e>(
        &self,
        element: element::Element<'e>,
        index: u32,
        evidence: Evidence,
        show: &mut dyn FnMut(Appended<'_>),
    ) {
        let id = self.identity.first(element.content).map(|(_, id)| id);
        let value = element.value().unwrap_or(RawBsonRef::Null);
        show(Appended::New(NewElement { value, id, index, evidence }));
    }

    /// True if an element without an id is what was made of another one by writing inside of it: that other one is gone.
    fn is_altered(
        &self,
        view: &View<'_>,
        index: u32,
        element: Content<'_>,
        (before, after): (Array<'_>, Array<'_>),
    ) -> bool {
        let (Some(description), false) = (&view.change.description, self.identity.has_key(element)) else {
            return false;
        };
        let is_inside = writes(description, &self.path).any(|write| write.index == index && !write.inner.is_empty());
        is_inside
            && before.elements().nth(index as usize).is_some_and(|was| {
                !self.identity.is_among(was.content, after.elements().map(|element| element.content))
            })
    }

    /// Shows what the change itself tells, where nobody knows the array before it.
    fn show_told(&self, view: &View<'_>, show: &mut dyn FnMut(Appended<'_>)) {
        let change = view.change;
        let image = match change.after {
            Image::Exact(document) => Some(Array::at(document, &self.path.steps)),
            Image::LookedUp(_) | Image::Absent | Image::Unknown => None,
        };
        let whole = match view.mention(&self.path) {
            Some(Mention::Below) => return self.show_written(change, image, show),
            Some(Mention::Written(value)) => Some(Array::of(Some(value))),
            Some(Mention::Inside(found)) => Some(Array::of(found)),
            Some(Mention::Removed | Mention::Nothing) => return,
            None => image,
        };
        let Some(whole) = whole else { return show(Appended::Unseen) };
        for (index, element) in (0..).zip(whole.elements()) {
            self.show_new(element, index, Evidence::Delta, show);
        }
    }

    /// Shows the elements that the description names as written whole (`items.3`): they are new, or take the place of others. One
    /// whose id was written inside of it is new too, and seen in the document after the change.
    fn show_written(&self, change: &Change<'_>, after: Option<Array<'_>>, show: &mut dyn FnMut(Appended<'_>)) {
        let Some(description) = &change.description else { return };
        let mut all: Vec<Write<'_>> = writes(description, &self.path).collect();
        all.sort_by_key(|write| write.index);
        for of_one in all.chunk_by(|left, right| left.index == right.index) {
            let index = of_one[0].index;
            if let Some(element) = of_one.iter().find_map(|write| write.inner.is_empty().then_some(write.element)) {
                self.show_new(element, index, Evidence::Exact, show);
                continue;
            }
            let seen = after.and_then(|after| after.elements().nth(index as usize));
            let is_other = of_one
                .iter()
                .any(|write| self.identity.key().iter().any(|part| part.relation(write.inner) != Relation::Apart));
            match seen {
                Some(element) if is_other => self.show_new(element, index, Evidence::Delta, show),
                Some(element) if !self.identity.has_key(element.content) => show(Appended::Altered),
                None if is_other => show(Appended::Unseen),
                Some(_) | None => {}
            }
        }
    }
}

/// A write to an element, or inside of one.
#[derive(Clone, Copy)]
struct Write<'d> {
    index: u32,
    /// The dotted path inside of the element; empty if all of it was written.
    inner: &'d str,
    /// What was written.
    element: element::Element<'d>,
}

/// The writes below the array, in the order of the description.
fn writes<'d>(description: &'d Description<'d>, path: &'d Path) -> impl Iterator<Item = Write<'d>> {
    elements(description.updated).filter_map(|element| {
        let name = element.name_text();
        if mention::relation(description, path, name) != Relation::Below {
            return None;
        }
        let rest = name.get(path.dotted().len() + 1..)?;
        let (index, inner) = rest.split_once('.').unwrap_or((rest, ""));
        Some(Write { index: index.parse().ok()?, inner, element })
    })
}
