//! What is kept of a member's change until its transaction has ended: the places that the rule reads, and no more.
//!
//! A rule with `transaction` reads one document, made when the transaction has ended: `{order: {after: ..}, stock: [{key: ..}], meta: ..}`.
//! From what its queries ask of that document follows what has to be taken from each change while it is there.

use bson::raw::{CString, cstr};
use bson::{RawBsonRef, RawDocumentBuf};

use crate::event::Evidence;
use crate::rules::path::{Path, Step};
use crate::rules::query::{Root, Segment, Selector, Start};
use crate::rules::view::{Known, View, root_path};
use crate::rules::{Query, UnknownReason};

/// A place in a member's change.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rules) struct Spot {
    pub(super) root: Root,
    pub(super) path: Path,
}

/// How well a place is known, over all changes that a member took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Standing {
    pub(super) evidence: Evidence,
    pub(super) unknown: Option<UnknownReason>,
}

impl Standing {
    pub(super) fn add(&mut self, other: Self) {
        self.evidence = self.evidence.max(other.evidence);
        self.unknown = self.unknown.or(other.unknown);
    }
}

/// What was taken from one change.
#[derive(Debug)]
pub(super) struct Excerpt {
    pub(super) document: RawDocumentBuf,
    /// One for each spot.
    pub(super) standings: Vec<Standing>,
}

impl Spot {
    fn whole(root: Root) -> Self {
        Self { root, path: root_path() }
    }

    /// True if one of the two lies within the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (&self.path.steps, &other.path.steps);
        self.root == other.root && (one.starts_with(two) || two.starts_with(one))
    }

    fn covers(&self, other: &Self) -> bool {
        self.root == other.root && other.path.steps.starts_with(&self.path.steps)
    }

    /// What orders spots: those below one name stand together.
    fn order(&self) -> (Option<usize>, Vec<&str>) {
        let root = Root::NAMED.iter().position(|root| *root == self.root);
        (root, self.path.steps.iter().map(|step| &*step.text).collect())
    }
}

/// Shows every path that a query asks of the transaction's document, each with what follows its singular prefix.
pub(in crate::rules) fn visit_reads<'q>(query: &'q Query, visit: &mut dyn FnMut(&'q [Step], &'q [Segment])) {
    if query.root() == Root::Whole {
        visit(&query.path().steps, query.rest());
    }
    for segment in query.rest() {
        segment.visit_nodes(&mut |nodes| {
            if nodes.start == Start::Root(Root::Whole) {
                visit(&nodes.path.steps, &nodes.rest);
            }
        });
    }
}

/// The spots that queries read of the member with this alias, none of them within another.
pub(super) fn spots<'q>(alias: &str, is_many: bool, queries: impl IntoIterator<Item = &'q Query>) -> Vec<Spot> {
    let mut all = Vec::new();
    for query in queries {
        visit_reads(query, &mut |steps, rest| match steps.split_first() {
            Some((first, below)) if &*first.text == alias => all.extend(asked(is_many, below, rest)),
            Some(_) => {}
            // `$` itself.
            None => all.extend(Root::NAMED.map(Spot::whole)),
        });
    }
    all.sort_by(|one, two| one.order().cmp(&two.order()));
    let mut spots: Vec<Spot> = Vec::new();
    for spot in all {
        if !spots.last().is_some_and(|last| last.covers(&spot)) {
            spots.push(spot);
        }
    }
    spots
}

/// What a path reads of a member, or of each of its changes; `steps` follow the alias.
pub(super) fn asked(is_many: bool, steps: &[Step], rest: &[Segment]) -> Vec<Spot> {
    if !is_many {
        return place(steps, rest);
    }
    match (steps.split_first(), rest.split_first()) {
        (Some((index, steps)), _) if !index.named => place(steps, rest),
        (None, Some((choice @ Segment::Child(selectors), rest))) if !selectors.iter().any(is_name) => {
            let mut spots = place(&[], rest);
            choice.visit_nodes(&mut |nodes| {
                if nodes.start == Start::Current {
                    spots.extend(place(&nodes.path.steps, &nodes.rest));
                }
            });
            spots
        }
        _ => Root::NAMED.map(Spot::whole).to_vec(),
    }
}

fn is_name(selector: &Selector) -> bool {
    matches!(selector, Selector::Name(_))
}

/// The spot at the end of the names that a path starts with; everything if it does not start with the name of a root.
fn place(steps: &[Step], rest: &[Segment]) -> Vec<Spot> {
    let mut names: Vec<&str> = steps.iter().map_while(|step| step.named.then_some(&*step.text)).collect();
    if names.len() == steps.len() {
        names.extend(rest.iter().map_while(Segment::only_name));
    }
    let Some((first, names)) = names.split_first() else { return Root::NAMED.map(Spot::whole).to_vec() };
    let Some(root) = Root::NAMED.into_iter().find(|root| root.as_str() == *first) else { return Vec::new() };
    vec![Spot { root, path: Path::new(names.iter().copied().map(Step::name).collect()) }]
}

/// Takes the spots from a change.
pub(super) fn take(spots: &[Spot], view: &View<'_>) -> Excerpt {
    let mut standings = vec![Standing::default(); spots.len()];
    let mut document = RawDocumentBuf::new();
    for root in Root::NAMED {
        let mut found: Vec<(&[Step], RawBsonRef<'_>)> = Vec::new();
        for (spot, standing) in spots.iter().zip(&mut standings).filter(|(spot, _)| spot.root == root) {
            let fact = view.fact(root, &spot.path);
            standing.evidence = fact.evidence;
            match fact.known {
                Known::Value(value) => found.push((&*spot.path.steps, value)),
                Known::Missing => {}
                Known::Unknown(reason) => standing.unknown = Some(reason),
            }
        }
        let name = match root {
            Root::Before => cstr!("before"),
            Root::After => cstr!("after"),
            Root::Key => cstr!("key"),
            Root::Change => cstr!("change"),
            Root::Meta => cstr!("meta"),
            _ => continue,
        };
        match found.as_slice() {
            [] => {}
            [([], whole)] => document.append(name, *whole),
            _ => document.append(name, compose(&found)),
        }
    }
    Excerpt { document, standings }
}

/// A document with these values at these paths. Paths with a common start stand together, and none is the start of another.
fn compose(mut found: &[(&[Step], RawBsonRef<'_>)]) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    while let Some((step, value)) = found.first().and_then(|(steps, value)| Some((steps.split_first()?, *value))) {
        let (first, below) = step;
        let count = found.iter().take_while(|(steps, _)| steps.first() == Some(first)).count();
        let (group, others) = found.split_at(count);
        found = others;
        // A name with a zero byte is no name of BSON: nothing was found there.
        let Ok(name) = CString::try_from(&*first.text) else { continue };
        if below.is_empty() {
            document.append(&name, value);
        } else {
            let group: Vec<_> = group.iter().map(|(steps, value)| (&steps[1..], *value)).collect();
            document.append(&name, compose(&group));
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;
    use crate::rules::sample::{see, update, with_images};

    fn named(spots: &[Spot]) -> Vec<String> {
        spots.iter().map(|spot| format!("{} {}", spot.root.as_str(), spot.path.dotted())).collect()
    }

    fn of(is_many: bool, queries: &[&str]) -> Vec<Spot> {
        let queries: Vec<Query> = queries.iter().map(|text| Query::parse_plain(text).unwrap()).collect();
        spots("m", is_many, &queries)
    }

    #[test]
    fn a_member_keeps_the_places_that_are_read_and_no_more() {
        assert_eq!(named(&of(false, &["$.m.key._id", "$.m.after.total"])), ["after total", "key _id"]);
        assert_eq!(named(&of(false, &["$.m.after.a.b", "$.m.after.a", "$.m.after.ab"])), ["after a", "after ab"]);
        assert_eq!(named(&of(false, &["$.m.after.items[0].sku", "$.m.after.list[-1]"])), ["after items", "after list"]);
        assert_eq!(named(&of(false, &["$.other.after.x", "$.meta.clusterTime"])), [""; 0]);
        let every = ["before ", "after ", "key ", "change ", "meta "];
        assert_eq!(named(&of(false, &["$.m", "$.m.after.x"])), every);
        assert_eq!(named(&of(false, &["$"])), every);
        assert_eq!(named(&of(false, &["$.other.after.x[?@.sku == $.m.key._id]"])), ["key _id"]);
    }

    #[test]
    fn of_many_changes_the_same_places_are_kept_however_they_are_chosen() {
        for query in ["$.m[*].key._id", "$.m[0].key._id", "$.m[-1].key._id", "$.m[1:2].key['_id']"] {
            assert_eq!(named(&of(true, &[query])), ["key _id"], "{query}");
        }
        assert_eq!(named(&of(true, &["$.m[?@.after.left < 5].key._id"])), ["after left", "key _id"]);
        assert_eq!(named(&of(true, &["$.m..sku"])).len(), 5);
        assert_eq!(named(&of(true, &["$.m"])).len(), 5);
    }

    #[test]
    fn an_excerpt_has_the_values_where_they_were_and_says_what_is_not_known() {
        let spots = of(false, &["$.m.after.a.b", "$.m.after.a.c", "$.m.after.x", "$.m.before.x", "$.m.key._id"]);
        let change = update(doc! {"x": 2}, &[]);
        let blind = see(&change, |change| take(&spots, &View::new(change)));
        assert_eq!(Document::try_from(&*blind.document).unwrap(), doc! {"after": {"x": 2}, "key": {"_id": 1}});
        let unknown: Vec<bool> = blind.standings.iter().map(|standing| standing.unknown.is_some()).collect();
        assert_eq!(named(&spots), ["before x", "after a.b", "after a.c", "after x", "key _id"]);
        assert_eq!(unknown, [true, true, true, false, false]);
        let whole =
            with_images(change, Some(doc! {"x": 1, "a": {"b": 1}}), Some(doc! {"a": {"d": 0, "c": 3, "b": 1}, "x": 2}));
        let seen = see(&whole, |change| take(&spots, &View::new(change)));
        let wanted = doc! {"before": {"x": 1}, "after": {"a": {"b": 1, "c": 3}, "x": 2}, "key": {"_id": 1}};
        assert_eq!(Document::try_from(&*seen.document).unwrap(), wanted);
        assert!(seen.standings.iter().all(|standing| standing.unknown.is_none()));
    }
}
