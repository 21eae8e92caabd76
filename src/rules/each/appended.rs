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
    /// The element at this place has another id now, so that it is another one, and the rest of it is not known.
    Unseen {
        /// Its place in the array after the change, from 0.
        index: u32,
    },
}

/// An element that was appended.
#[derive(Clone, Copy, Debug)]
pub struct NewElement<'e> {
    /// The element.
    pub value: RawBsonRef<'e>,
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
        let value = element.value().unwrap_or(RawBsonRef::Null);
        show(Appended::New(NewElement { value, index, evidence }));
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
        let Some(whole) = whole else { return show(Appended::Unseen { index: 0 }) };
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
                None if is_other => show(Appended::Unseen { index }),
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

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use bson::{Bson, Document, bson, doc};
    use proptest::prelude::*;

    use super::*;
    use crate::rules::each::agreement::{ARRAY, change as written, descriptions, documents, items};
    use crate::rules::sample::{change, see, see_looked_up, update, with_images};

    fn finder(path: &str, ids: &[&str]) -> AppendedElements {
        let ids: Vec<_> = ids.iter().map(|id| Query::parse_plain(id).unwrap()).collect();
        AppendedElements::new(&FieldPath::parse(path).unwrap(), &ids).unwrap()
    }

    /// The ids of the new elements, or the whole of one without; `~` before what is known by the description alone.
    fn seen(change: &Change<'_>) -> String {
        let mut seen = Vec::new();
        finder("_events", &["$.id", "$._id"]).visit(change, &mut |appended| {
            seen.push(match appended {
                Appended::New(element) => {
                    let mark = if element.evidence == Evidence::Exact { "" } else { "~" };
                    let id = match element.value {
                        RawBsonRef::Document(fields) => {
                            ["id", "_id", "type"].iter().find_map(|name| element::get(fields, name))
                        }
                        other => Some(other),
                    };
                    let mut text = mark.to_owned();
                    crate::rules::text::write(&mut text, id.unwrap_or(RawBsonRef::Null));
                    text
                }
                Appended::Altered => "altered".to_owned(),
                Appended::Unseen { .. } => "unseen".to_owned(),
            });
        });
        seen.join(" ")
    }

    /// What an update shows with the document before it, and without.
    fn check(updated: Document, before: &[Bson], with: &str, without: &str) {
        let change = update(updated, &[]);
        let image = doc! {"_id": 1, "status": "new", "_events": before};
        see(&with_images(change.clone(), Some(image), None), |change| assert_eq!(seen(change), with, "{change:?}"));
        see(&change, |change| assert_eq!(seen(change), without, "{change:?}"));
    }

    fn event(id: &str) -> Bson {
        bson!({"id": id, "type": "Paid", "data": {"n": 1}})
    }

    fn bare(kind: &str) -> Bson {
        bson!({"type": kind, "data": {"n": 1}})
    }

    #[test]
    fn an_append_is_seen_in_whatever_form_it_comes() {
        let [a, b, c] = ["a", "b", "c"].map(event);
        // $push, with $each too.
        check(doc! {"status": "paid", "_events.1": b.clone(), "_events.2": c.clone()}, from_ref(&a), "b c", "b c");
        check(doc! {"_events.0": a.clone()}, &[], "a", "a");
        // More than ten are told in the order of the description.
        check(doc! {"_events.9": b.clone(), "_events.10": c.clone()}, &vec![a.clone(); 9], "b c", "b c");
        // $push with $position, $sort or $slice; $addToSet; $set of the whole array.
        check(doc! {"_events": [c.clone(), a.clone(), b.clone()]}, from_ref(&a), "c b", "~c ~a ~b");
        check(doc! {"_events": [b.clone(), c.clone()]}, &[a.clone(), b.clone()], "c", "~b ~c");
        // $pull and $pop, ours too.
        check(doc! {"_events": [b.clone()]}, &[a.clone(), b.clone()], "", "~b");
        check(doc! {"_events": []}, from_ref(&a), "", "");
        // Changed places, and a change inside of an element.
        check(doc! {"_events": [b.clone(), a.clone()]}, &[a.clone(), b.clone()], "", "~b ~a");
        check(doc! {"_events.0.sent": true}, from_ref(&a), "", "");
        check(doc! {"_events": [{"id": "a", "sent": true}]}, from_ref(&a), "", "~a");
        // An element takes the place of another.
        check(doc! {"_events.0": c.clone()}, &[a.clone(), b.clone()], "c", "c");
        // An update by a pipeline is told element by element: here the oldest was dropped and one was appended.
        check(
            doc! {"_events.0.id": "b", "_events.1.id": "c", "_events.1.type": "Sent"},
            &[a.clone(), b.clone()],
            "c",
            "unseen unseen",
        );
        // Another field, or a field of such a name inside of another.
        check(doc! {"status": "paid", "_events2.0": 1}, &[a], "", "");
    }

    #[test]
    fn elements_without_an_id_are_told_apart_by_all_that_they_hold() {
        let [a, b, c] = ["A", "B", "C"].map(bare);
        check(doc! {"_events.1": a.clone()}, from_ref(&a), "A", "A");
        check(doc! {"_events": [a.clone(), a.clone(), b.clone()]}, &[a.clone(), b.clone()], "A", "~A ~A ~B");
        check(doc! {"_events.0.data.n": 2}, from_ref(&a), "altered", "");
        check(doc! {"_events.0.data.n": 2, "_events.1": c.clone()}, from_ref(&a), "altered C", "C");
        // The second was moved to the first, and is still there: what stands in its place is new.
        check(doc! {"_events.0.type": "B", "_events.1.type": "C"}, &[a.clone(), b.clone()], "C", "");
        check(doc! {"_events": ["x", {"_id": 7, "type": "T"}, {"id": 7}]}, &[bson!({"_id": 7})], "x 7", "~x ~7 ~7");
    }

    #[test]
    fn inserts_replacements_and_deletes_are_seen_as_what_they_are() {
        let document = |ids: &[&str]| doc! {"_id": 1, "_events": ids.iter().copied().map(event).collect::<Vec<_>>()};
        let images = |operation: &str, before: Option<Document>, after: Option<Document>| {
            see(&with_images(change(operation), before, after), seen)
        };
        assert_eq!(images("insert", None, Some(document(&["a", "b"]))), "a b");
        assert_eq!(images("insert", None, Some(doc! {"_id": 1})), "");
        assert_eq!(images("insert", None, Some(doc! {"_id": 1, "_events": "none"})), "");
        assert_eq!(images("replace", Some(document(&["a"])), Some(document(&["a", "b"]))), "b");
        assert_eq!(images("replace", None, Some(document(&["a", "b"]))), "~a ~b");
        assert_eq!(images("replace", Some(document(&["a"])), Some(doc! {"_id": 1})), "");
        // What was removed and is added again is appended once more.
        assert_eq!(images("replace", Some(document(&[])), Some(document(&["a"]))), "a");
        assert_eq!(images("delete", Some(document(&["a"])), None), "");
        let mut cut = update(doc! {"_events.1": event("c")}, &["status"]);
        let description = cut.get_document_mut("updateDescription").unwrap();
        description.insert("truncatedArrays", vec![doc! {"field": "_events", "newSize": 1}]);
        assert_eq!(see(&with_images(cut.clone(), Some(document(&["a", "b", "x"])), None), seen), "c");
        assert_eq!(see(&cut, seen), "c");
        assert_eq!(see(&update(doc! {}, &["_events"]), seen), "");
    }

    #[test]
    fn a_document_that_is_looked_up_later_is_not_asked() {
        let found = |events: Vec<Bson>| Some(doc! {"_id": 1, "_events": events});
        let push = update(doc! {"_events.1": event("b")}, &[]);
        for later in [found(vec![]), found(vec![event("a"), event("b"), event("c")])] {
            see_looked_up(&push, later, |change| assert_eq!(seen(change), "b"));
        }
    }

    #[test]
    fn with_the_document_after_an_update_hidden_appends_are_seen() {
        let pipeline = update(doc! {"_events.0.id": "b", "_events.1.data": 3}, &[]);
        let after = doc! {"_id": 1, "_events": [event("b"), bare("Q")]};
        assert_eq!(see(&with_images(pipeline, None, Some(after)), seen), "~b altered");
    }

    /// The place of every element that is new by the definition: the k-th of an identity before is the k-th of it after.
    fn naive(before: &[Bson], after: &[Bson]) -> Vec<usize> {
        let number = |value: &Bson| value.as_f64().or_else(|| value.as_i32().map(f64::from));
        let key = |element: &Bson| element.as_document().and_then(|fields| number(fields.get("k")?));
        let same = |left: &Bson, right: &Bson| match (key(left), key(right)) {
            (None, None) => {
                let raw = |value: &Bson| bson::RawBson::try_from(value.clone()).unwrap();
                let (left, right) = (raw(left), raw(right));
                crate::change::value::equal(
                    left.as_raw_bson_ref(),
                    right.as_raw_bson_ref(),
                    super::super::Numbers::ByValue,
                )
            }
            (left, right) => left == right,
        };
        let count = |all: &[Bson], of: &Bson| all.iter().filter(|other| same(other, of)).count();
        (0..after.len()).filter(|&at| count(&after[..=at], &after[at]) > count(before, &after[at])).collect()
    }

    /// The new elements by place and key, whether one was altered, and whether one is unseen.
    fn found(change: &crate::rules::examples::WrittenChange) -> (Vec<(usize, Option<f64>)>, bool, bool) {
        let document = change.encode(0, false).unwrap();
        let document = Document::try_from(&*document).unwrap();
        let (mut new, mut is_altered, mut is_unseen) = (Vec::new(), false, false);
        see(&document, |change| {
            finder(ARRAY, &["$.k"]).visit(change, &mut |appended| match appended {
                Appended::New(element) => {
                    let number = |value: RawBsonRef<'_>| value.as_f64().or_else(|| value.as_i32().map(f64::from));
                    let key = element.value.as_document().and_then(|fields| number(element::get(fields, "k")?));
                    new.push((element.index as usize, key));
                }
                Appended::Altered => is_altered = true,
                Appended::Unseen { .. } => is_unseen = true,
            });
        });
        (new, is_altered, is_unseen)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_new_is_found_and_nothing_else_however_it_comes((before, after) in documents()) {
            let wanted = naive(items(&before), items(&after));
            let has_key = |at: usize| items(&after)[at].as_document().is_some_and(|fields| fields.contains_key("k"));
            let replace = written(Operation::Replace, Some(before.clone()), Some(after.clone()), None);
            let (new, ..) = found(&replace);
            prop_assert_eq!(new.iter().map(|(at, _)| *at).collect::<Vec<_>>(), wanted.clone());
            let keys = |new: &[(usize, Option<f64>)]| {
                let mut keys: Vec<f64> = new.iter().filter_map(|(_, key)| *key).collect();
                keys.sort_by(f64::total_cmp);
                keys
            };
            let wanted_keys = keys(&new);
            for description in descriptions(&before, &after) {
                for has_after in [true, false] {
                    let update = |before: Option<Document>| {
                        let after = has_after.then(|| after.clone());
                        written(Operation::Update, before, after, Some(description.clone()))
                    };
                    let (new, is_altered, is_unseen) = found(&update(Some(before.clone())));
                    let places: Vec<_> = new.iter().map(|(at, _)| *at).collect();
                    let lacks: Vec<_> = wanted.iter().filter(|at| !places.contains(at)).collect();
                    prop_assert!(places.iter().all(|at| wanted.contains(at)) && !is_unseen, "{:?}", description);
                    prop_assert!(lacks.iter().all(|at| is_altered && !has_key(**at)), "{:?} lacks {:?}", description, lacks);
                    // Without the document before, there may be more: none that has an id is lost without a word.
                    let (new, _, is_unseen) = found(&update(None));
                    let mut told = keys(&new);
                    let is_there = |key: &f64| {
                        told.iter().position(|other| other == key).map(|at| told.remove(at)).is_some()
                    };
                    prop_assert!(wanted_keys.iter().all(is_there) || is_unseen, "{:?}", description);
                }
            }
        }
    }
}
