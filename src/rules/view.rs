//! What is known of one change: values before and after it, whether a value differs, and on what evidence.
//!
//! The images are used where they are; where they are not, the update's own description says much: what it wrote or removed is
//! known, and what it does not mention is the same before and after.

use bson::{RawBsonRef, RawDocument};

use super::UnknownReason;
use super::mention::{self, Mention};
use super::path::{Path, Step, find};
use super::query::{self, Root, Segment};
use super::transaction::Collected;
use super::virtual_document::VirtualDocuments;
use crate::change::value::{self, Numbers};
use crate::change::{Change, Image, Operation};
use crate::event::Evidence;

/// A value, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'v> {
    Value(RawBsonRef<'v>),
    Missing,
    Unknown(UnknownReason),
}

impl<'v> Known<'v> {
    pub(super) fn of(found: Option<RawBsonRef<'v>>) -> Self {
        found.map_or(Self::Missing, Self::Value)
    }
}

/// A value and how it was known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact<'v> {
    pub(super) known: Known<'v>,
    pub(super) evidence: Evidence,
}

impl<'v> Fact<'v> {
    fn exact(known: Known<'v>) -> Self {
        Self { known, evidence: Evidence::Exact }
    }
}

/// An answer of three-valued logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Unknown(UnknownReason),
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Truth {
    /// SQL's `not`.
    pub(super) fn negated(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown(reason) => Self::Unknown(reason),
        }
    }
}

/// An element of an array that a rule with `each` looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct ElementFacts<'c> {
    /// The element; of a removed one, as it was.
    pub(super) item: Known<'c>,
    /// The element before the change; missing if it was added.
    pub(super) before: Known<'c>,
    /// Where it stands in the array (or stood, if it was removed), from 0.
    pub(super) index: u32,
    /// How it is known.
    pub(super) evidence: Evidence,
}

/// One change, looked at by rules.
pub(super) struct View<'c> {
    pub(super) change: &'c Change<'c>,
    /// The element that is looked at, in a rule with `each`.
    pub(super) element: Option<ElementFacts<'c>>,
    pub(super) virtual_documents: VirtualDocuments,
    /// What stands for `$` in a rule with `transaction`.
    collected: Option<&'c Collected<'c>>,
}

impl<'c> View<'c> {
    pub(super) fn new(change: &'c Change<'c>) -> Self {
        Self { change, element: None, virtual_documents: VirtualDocuments::default(), collected: None }
    }

    /// The same change, looked at for an element of one of its arrays.
    pub(super) fn of_element(change: &'c Change<'c>, element: ElementFacts<'c>) -> Self {
        Self { element: Some(element), ..Self::new(change) }
    }

    /// The view of a transaction: what was collected from it, and a change that stands for it.
    pub(super) fn of_transaction(change: &'c Change<'c>, collected: &'c Collected<'c>) -> Self {
        Self { collected: Some(collected), ..Self::new(change) }
    }

    /// True if a transaction is looked at, not one of its changes.
    pub(super) fn is_of_transaction(&self) -> bool {
        self.collected.is_some()
    }

    /// The value at a path before the change.
    pub(super) fn before(&self, path: &Path) -> Fact<'c> {
        self.before_given(path, self.mention(path))
    }

    /// [`View::before`] for a caller that knows already what the description says of the path.
    pub(super) fn before_given(&self, path: &Path, mention: Option<Mention<'c>>) -> Fact<'c> {
        match self.change.before {
            Image::Absent => Fact::exact(Known::Missing),
            Image::Exact(document) => Fact::exact(look(document, path)),
            Image::LookedUp(document) => Fact { known: look(document, path), evidence: Evidence::LookUp },
            // What the update does not mention was the same before.
            Image::Unknown => match mention {
                Some(Mention::Nothing) => match self.change.after {
                    Image::Exact(document) => Fact::exact(look(document, path)),
                    Image::LookedUp(document) => Fact { known: look(document, path), evidence: Evidence::LookUp },
                    Image::Absent | Image::Unknown => Fact::exact(Known::Unknown(UnknownReason::NoPreImage)),
                },
                _ => Fact::exact(Known::Unknown(UnknownReason::NoPreImage)),
            },
        }
    }

    /// The value at a path after the change.
    pub(super) fn after(&self, path: &Path) -> Fact<'c> {
        self.after_given(path, self.mention(path))
    }

    /// [`View::after`] for a caller that knows already what the description says of the path.
    pub(super) fn after_given(&self, path: &Path, mention: Option<Mention<'c>>) -> Fact<'c> {
        // The description is short, the image is not; but only a name without dots is the same in both for sure.
        if path.is_plain_name {
            match mention {
                Some(Mention::Written(value)) => return Fact::exact(Known::Value(value)),
                Some(Mention::Removed) => return Fact::exact(Known::Missing),
                Some(Mention::Nothing | Mention::Inside(_) | Mention::Below) | None => {}
            }
        }
        let looked_up = match self.change.after {
            Image::Absent => return Fact::exact(Known::Missing),
            Image::Exact(document) => return Fact::exact(look(document, path)),
            Image::LookedUp(document) => Some(document),
            Image::Unknown => None,
        };
        match (mention, self.change.before) {
            (Some(Mention::Written(value)), _) => return Fact::exact(Known::Value(value)),
            (Some(Mention::Removed), _) => return Fact::exact(Known::Missing),
            (Some(Mention::Inside(found)), _) => return Fact::exact(Known::of(found)),
            (Some(Mention::Nothing), Image::Exact(document)) => return Fact::exact(look(document, path)),
            _ => {}
        }
        match looked_up {
            Some(document) => Fact { known: look(document, path), evidence: Evidence::LookUp },
            None => Fact::exact(Known::Unknown(UnknownReason::NoPostImage)),
        }
    }

    /// Whether the value at a path differs before and after, and on what evidence.
    pub(super) fn differs(&self, path: &Path, mention: Option<Mention<'c>>, numbers: Numbers) -> (Truth, Evidence) {
        match (self.change.operation, mention) {
            (Operation::Insert, _) => presence(self.after_given(path, mention)),
            (Operation::Delete, _) => presence(self.before_given(path, mention)),
            (Operation::Update, Some(mention)) => self.update_differs(path, mention, numbers),
            (Operation::Update | Operation::Replace, _) => {
                compared(self.before_given(path, mention), self.after_given(path, mention), numbers)
            }
        }
    }

    fn update_differs(&self, path: &Path, mention: Mention<'c>, numbers: Numbers) -> (Truth, Evidence) {
        if matches!(mention, Mention::Nothing) {
            return (Truth::False, Evidence::Exact);
        }
        let Image::Exact(before) = self.change.before else {
            // The server describes only what it stored anew, but not what was there: int32 1 and int64 1 look like a change.
            return match mention {
                Mention::Inside(_) => (Truth::Unknown(UnknownReason::NoPreImage), Evidence::Exact),
                _ => (Truth::True, Evidence::Delta),
            };
        };
        match (mention, self.change.after, self.change.description) {
            (Mention::Below, Image::LookedUp(_) | Image::Unknown, Some(description)) => {
                (mention::below_differs(&description, path, before, numbers).into(), Evidence::Exact)
            }
            _ => compared(self.before_given(path, Some(mention)), self.after_given(path, Some(mention)), numbers),
        }
    }

    /// True if an update's description says for sure that it left the value at the path alone.
    pub(super) fn is_untouched(&self, path: &Path) -> bool {
        matches!(self.mention(path), Some(Mention::Nothing))
    }

    /// What the update's description says of a path; nothing if the change has none.
    pub(super) fn mention(&self, path: &Path) -> Option<Mention<'c>> {
        self.change.description.as_ref().map(|description| mention::of(description, path))
    }

    /// The value at a path below a root.
    pub(super) fn fact(&self, root: Root, path: &Path) -> Fact<'_> {
        match root {
            Root::Before if path.steps.is_empty() => whole_image(self.change.before, UnknownReason::NoPreImage),
            Root::After if path.steps.is_empty() => whole_image(self.change.after, UnknownReason::NoPostImage),
            Root::Before => self.before(path),
            Root::After => self.after(path),
            Root::Key => Fact::exact(look(self.change.key, path)),
            Root::Change => Fact::exact(self.about_change(path)),
            Root::Meta => Fact::exact(self.about_meta(path)),
            Root::Whole => match self.collected {
                Some(collected) => collected.fact(path, &[]),
                None => Fact { known: look(self.whole(), path), evidence: self.evidence_at_hand() },
            },
            Root::Item | Root::ItemBefore | Root::Index => self.about_element(root, path),
        }
    }

    /// The value at the end of a query's singular prefix. How well it is known may depend on what follows the prefix.
    pub(super) fn start_of(&self, root: Root, path: &Path, rest: &[Segment]) -> Fact<'_> {
        match (root, self.collected) {
            (Root::Whole, Some(collected)) => collected.fact(path, rest),
            _ => self.fact(root, path),
        }
    }

    fn about_element(&self, root: Root, path: &Path) -> Fact<'_> {
        let Some(element) = &self.element else { return Fact::exact(Known::Missing) };
        let whole = match root {
            Root::Item => element.item,
            Root::ItemBefore => element.before,
            _ => Known::Value(element.index_value()),
        };
        let known = match whole {
            Known::Value(value) => Known::of(find(value, &path.steps)),
            other => other,
        };
        Fact { known, evidence: element.evidence }
    }
}

impl ElementFacts<'_> {
    /// The index as a value.
    pub(super) fn index_value(&self) -> RawBsonRef<'static> {
        i32::try_from(self.index).map_or(RawBsonRef::Int64(i64::from(self.index)), RawBsonRef::Int32)
    }
}

impl<'v> query::Roots<'v> for &'v View<'v> {
    fn value(&self, root: Root, path: &Path) -> Option<RawBsonRef<'v>> {
        if let (Root::Whole, Some(collected)) = (root, self.collected) {
            // What is not known of it was asked before the query runs.
            return find(RawBsonRef::Document(collected.document()), &path.steps);
        }
        match View::fact(self, root, path).known {
            Known::Value(value) => Some(value),
            Known::Missing | Known::Unknown(_) => None,
        }
    }
}

fn look<'v>(document: &'v RawDocument, path: &Path) -> Known<'v> {
    Known::of(find(RawBsonRef::Document(document), &path.steps))
}

fn whole_image(image: Image<'_>, reason: UnknownReason) -> Fact<'_> {
    match image {
        Image::Exact(document) => Fact::exact(Known::Value(RawBsonRef::Document(document))),
        Image::LookedUp(document) => {
            Fact { known: Known::Value(RawBsonRef::Document(document)), evidence: Evidence::LookUp }
        }
        Image::Absent => Fact::exact(Known::Missing),
        Image::Unknown => Fact::exact(Known::Unknown(reason)),
    }
}

/// Where there is no document on the other side, a value differs if it is there.
fn presence(fact: Fact<'_>) -> (Truth, Evidence) {
    let truth = match fact.known {
        Known::Value(_) => Truth::True,
        Known::Missing => Truth::False,
        Known::Unknown(reason) => Truth::Unknown(reason),
    };
    (truth, fact.evidence)
}

fn compared(before: Fact<'_>, after: Fact<'_>, numbers: Numbers) -> (Truth, Evidence) {
    let truth = match (before.known, after.known) {
        (Known::Unknown(reason), _) | (_, Known::Unknown(reason)) => Truth::Unknown(reason),
        (Known::Missing, Known::Missing) => Truth::False,
        (Known::Value(before), Known::Value(after)) => (!value::equal(before, after, numbers)).into(),
        (Known::Value(_), Known::Missing) | (Known::Missing, Known::Value(_)) => Truth::True,
    };
    (truth, before.evidence.max(after.evidence))
}

/// The path of no step: a root itself.
pub(super) fn root_path() -> Path {
    Path::new(Vec::<Step>::new())
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;
    use crate::rules::FieldPath;
    use crate::rules::sample::{change, see, see_looked_up, update, with_images};

    fn path(text: &str) -> Path {
        Path::from(&FieldPath::parse(text).unwrap())
    }

    fn word(fact: Fact<'_>) -> String {
        let known = match fact.known {
            Known::Value(value) => {
                let mut json = String::new();
                crate::rules::text::write_json(&mut json, value);
                json
            }
            Known::Missing => "missing".to_owned(),
            Known::Unknown(reason) => return reason.as_str().to_owned(),
        };
        format!("{known} {}", fact.evidence.as_str())
    }

    fn difference((truth, evidence): (Truth, Evidence)) -> String {
        match truth {
            Truth::True => evidence.as_str().to_owned(),
            Truth::False => "no".to_owned(),
            Truth::Unknown(reason) => reason.as_str().to_owned(),
        }
    }

    /// Differs, before and after of a path, in words.
    fn seen(change: &Document, text: &str) -> [String; 3] {
        see(change, |change| {
            let view = View::new(change);
            let path = path(text);
            [
                difference(view.differs(&path, view.mention(&path), Numbers::ByValue)),
                word(view.before(&path)),
                word(view.after(&path)),
            ]
        })
    }

    fn check(change: &Document, rows: &[(&str, &str, &str, &str)]) {
        for (text, differs, before, after) in rows {
            assert_eq!(seen(change, text), [*differs, *before, *after], "{text} of {change}");
        }
    }

    #[test]
    fn a_nested_set_touches_the_path_and_everything_around_it() {
        let change = update(doc! {"a.b.c": 2}, &[]);
        check(
            &change,
            &[
                ("a.b.c", "delta", "no_pre_image", "2 exact"),
                ("a.b", "delta", "no_pre_image", "no_post_image"),
                ("a", "delta", "no_pre_image", "no_post_image"),
                ("a.b.c.d", "no_pre_image", "no_pre_image", "missing exact"),
                ("a.b.x", "no", "no_pre_image", "no_post_image"),
                ("ab", "no", "no_pre_image", "no_post_image"),
            ],
        );
        let with_before = with_images(change, Some(doc! {"a": {"b": {"c": 2.0}, "x": 1}}), None);
        check(
            &with_before,
            &[
                ("a.b.c", "no", "2 exact", "2 exact"),
                ("a", "no", "{\"b\":{\"c\":2},\"x\":1} exact", "no_post_image"),
                ("a.x", "no", "1 exact", "1 exact"),
            ],
        );
    }

    #[test]
    fn a_whole_sub_document_touches_what_is_in_it_only_if_that_differs() {
        let change = update(doc! {"address": {"city": "Ulm", "street": "x"}}, &[]);
        check(
            &change,
            &[
                ("address", "delta", "no_pre_image", "{\"city\":\"Ulm\",\"street\":\"x\"} exact"),
                ("address.city", "no_pre_image", "no_pre_image", "\"Ulm\" exact"),
                ("address.zip", "no_pre_image", "no_pre_image", "missing exact"),
            ],
        );
        let with_before = with_images(change, Some(doc! {"address": {"city": "Ulm", "zip": 1}}), None);
        check(
            &with_before,
            &[
                ("address.city", "no", "\"Ulm\" exact", "\"Ulm\" exact"),
                ("address.street", "exact", "missing exact", "\"x\" exact"),
                ("address.zip", "exact", "1 exact", "missing exact"),
            ],
        );
    }

    #[test]
    fn removed_and_renamed_fields_are_missing_after() {
        let change = update(doc! {"new": 1}, &["a.d", "old"]);
        check(
            &change,
            &[
                ("a.d", "delta", "no_pre_image", "missing exact"),
                ("a.d.x", "no_pre_image", "no_pre_image", "missing exact"),
                ("a", "delta", "no_pre_image", "no_post_image"),
                ("old", "delta", "no_pre_image", "missing exact"),
                ("new", "delta", "no_pre_image", "1 exact"),
            ],
        );
        let of_null = with_images(update(doc! {}, &["x"]), Some(doc! {"x": null}), Some(doc! {}));
        check(&of_null, &[("x", "exact", "null exact", "missing exact")]);
    }

    #[test]
    fn array_elements_are_found_by_index_or_name_and_a_push_by_its_place() {
        let change = update(doc! {"items.0.q": 5, "items.3": {"q": 1}, "o.0": "n"}, &[]);
        check(
            &change,
            &[
                ("items", "delta", "no_pre_image", "no_post_image"),
                ("items.0.q", "delta", "no_pre_image", "5 exact"),
                ("items.3.q", "no_pre_image", "no_pre_image", "1 exact"),
                ("items.1.q", "no", "no_pre_image", "no_post_image"),
                ("o.0", "delta", "no_pre_image", "\"n\" exact"),
            ],
        );
        let images = with_images(
            update(doc! {"items.0.q": 5, "o.0": "n"}, &[]),
            Some(doc! {"items": [{"q": 4}], "o": {"0": "m"}}),
            Some(doc! {"items": [{"q": 5}], "o": {"0": "n"}}),
        );
        check(&images, &[("items.0.q", "exact", "4 exact", "5 exact"), ("o.0", "exact", "\"m\" exact", "\"n\" exact")]);
    }

    #[test]
    fn a_whole_array_touches_only_the_elements_that_differ() {
        let change = with_images(update(doc! {"tags": ["a", "c"]}, &[]), Some(doc! {"tags": ["a", "b", "c"]}), None);
        check(
            &change,
            &[
                ("tags.0", "no", "\"a\" exact", "\"a\" exact"),
                ("tags.1", "exact", "\"b\" exact", "\"c\" exact"),
                ("tags.2", "exact", "\"c\" exact", "missing exact"),
            ],
        );
    }

    #[test]
    fn a_truncated_array_loses_the_elements_past_its_new_size() {
        let mut change = update(doc! {}, &[]);
        change.insert(
            "updateDescription",
            doc! {"updatedFields": {}, "removedFields": [], "truncatedArrays": [{"field": "items", "newSize": 1}]},
        );
        check(
            &change,
            &[
                ("items", "delta", "no_pre_image", "no_post_image"),
                ("items.0.q", "no", "no_pre_image", "no_post_image"),
                ("items.1.q", "no_pre_image", "no_pre_image", "missing exact"),
            ],
        );
        let with_before = with_images(change, Some(doc! {"items": [{"q": 1}, {"q": 2}]}), None);
        check(
            &with_before,
            &[
                ("items", "exact", "[{\"q\":1},{\"q\":2}] exact", "no_post_image"),
                ("items.1.q", "exact", "2 exact", "missing exact"),
                ("items.7.q", "no", "missing exact", "missing exact"),
            ],
        );
    }

    #[test]
    fn names_with_dots_are_told_from_steps_by_the_server_or_by_the_images() {
        let mut told = update(doc! {"price.amount": 2, "o.0": 1}, &[]);
        let description = told.get_document_mut("updateDescription").unwrap();
        description.insert("disambiguatedPaths", doc! {"price.amount": ["price.amount"], "o.0": ["o", "0"]});
        check(
            &told,
            &[
                ("[\"price.amount\"]", "delta", "no_pre_image", "2 exact"),
                ("price.amount", "no", "no_pre_image", "no_post_image"),
                ("price", "no", "no_pre_image", "no_post_image"),
                ("o.0", "delta", "no_pre_image", "1 exact"),
            ],
        );
        let images = with_images(
            update(doc! {"price.amount": 2}, &[]),
            Some(doc! {"price": {"amount": 1}, "price.amount": 9}),
            Some(doc! {"price": {"amount": 2}, "price.amount": 9}),
        );
        check(
            &images,
            &[("price.amount", "exact", "1 exact", "2 exact"), ("[\"price.amount\"]", "no", "9 exact", "9 exact")],
        );
        check(
            &update(doc! {"dotted": {"x.y": 2}}, &[]),
            &[("dotted[\"x.y\"]", "no_pre_image", "no_pre_image", "2 exact")],
        );
    }

    #[test]
    fn inserts_have_nothing_before_and_deletes_nothing_after() {
        let mut insert = change("insert");
        insert.insert("fullDocument", doc! {"_id": 1, "x": 2});
        check(&insert, &[("x", "exact", "missing exact", "2 exact"), ("y", "no", "missing exact", "missing exact")]);
        check(&change("delete"), &[("x", "no_pre_image", "no_pre_image", "missing exact")]);
        let delete = with_images(change("delete"), Some(doc! {"x": 1}), None);
        check(&delete, &[("x", "exact", "1 exact", "missing exact"), ("y", "no", "missing exact", "missing exact")]);
    }

    #[test]
    fn replacements_compare_the_images() {
        let replace = with_images(
            change("replace"),
            Some(doc! {"a": {"x": 1, "y": 2}}),
            Some(doc! {"a": {"y": 2.0, "x": 1_i64}}),
        );
        check(&replace, &[("a", "no", "{\"x\":1,\"y\":2} exact", "{\"y\":2,\"x\":1} exact")]);
        let blind = with_images(change("replace"), None, Some(doc! {"a": 1}));
        check(&blind, &[("a", "no_pre_image", "no_pre_image", "1 exact")]);
    }

    #[test]
    fn a_looked_up_document_fills_the_gaps_as_evidence_of_its_own() {
        let change = update(doc! {"status": "paid"}, &[]);
        see_looked_up(&change, Some(doc! {"_id": 1, "status": "sent", "total": 7}), |change| {
            let view = View::new(change);
            assert_eq!(word(view.after(&path("status"))), "\"paid\" exact");
            assert_eq!(word(view.after(&path("total"))), "7 lookup");
            assert_eq!(word(view.before(&path("total"))), "7 lookup");
            assert_eq!(word(view.before(&path("status"))), "no_pre_image");
            assert_eq!(word(view.fact(Root::After, &root_path())).split(' ').next_back(), Some("lookup"));
        });
    }

    #[test]
    fn what_the_update_left_alone_is_known_from_the_other_image() {
        let before = with_images(update(doc! {"status": "paid"}, &[]), Some(doc! {"status": "new", "total": 7}), None);
        check(&before, &[("total", "no", "7 exact", "7 exact")]);
        let after = with_images(update(doc! {"status": "paid"}, &[]), None, Some(doc! {"status": "paid", "total": 7}));
        check(&after, &[("total", "no", "7 exact", "7 exact")]);
    }
}
