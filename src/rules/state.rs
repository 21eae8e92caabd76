//! `enters` and `leaves`, compiled: a document starts or stops to satisfy conditions. The conditions themselves may be asked of
//! any value, such as an element of an array.

use bson::RawBsonRef;

use super::ast::State;
use super::check::Check;
use super::condition::known;
use super::mention::Mention;
use super::path::{Path, find};
use super::view::{Truth, View};
use crate::change::Operation;
use crate::change::value::Numbers;
use crate::event::Evidence;

/// A compiled [`State`].
#[derive(Debug)]
pub(super) struct StateCheck(Vec<(Path, Check)>);

/// A side of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Before => Self::After,
            Self::After => Self::Before,
        }
    }
}

impl StateCheck {
    pub(super) fn new(state: &State, numbers: Numbers) -> Self {
        Self(state.0.iter().map(|(path, matcher)| (path.into(), Check::new(matcher, numbers))).collect())
    }

    /// True if every condition holds of a document, or of an element of an array.
    pub(super) fn holds_of(&self, value: RawBsonRef<'_>) -> bool {
        self.0.iter().all(|(path, check)| check.matches(find(value, &path.steps)))
    }

    /// True if an update's description says for sure that it left every value alone.
    pub(super) fn is_untouched(&self, view: &View<'_>) -> bool {
        self.0.iter().all(|(path, _)| view.is_untouched(path))
    }

    /// What the conditions cost to decide, roughly; see [`super::condition::Condition`].
    pub(super) fn cost(&self) -> u32 {
        4 * u32::try_from(self.0.len()).unwrap_or(u32::MAX / 4)
    }

    /// Whether all conditions hold on one side of the change and not all of them on the other: after and not before for
    /// `enters`, before and not after for `leaves`. `evidence` is weakened to that of what made it hold.
    pub(super) fn holds_only(&self, side: Side, view: &View<'_>, evidence: &mut Evidence) -> Truth {
        match (view.change.operation, side) {
            // Where there is no document, nothing holds: not even that a field is missing.
            (Operation::Insert, Side::Before) | (Operation::Delete, Side::After) => return Truth::False,
            (Operation::Update | Operation::Replace, _) if self.is_untouched(view) => return Truth::False,
            _ => {}
        }
        let is_other_absent = matches!(view.change.operation, Operation::Insert | Operation::Delete);
        let mut here = Truth::True;
        let mut differs_there = if is_other_absent { Truth::True } else { Truth::False };
        let mut evidence_there = None;
        for (path, check) in &self.0 {
            let mention = view.mention(path);
            match one(side, path, check, mention, view, evidence) {
                Truth::False => return Truth::False,
                Truth::Unknown(reason) if here == Truth::True => here = Truth::Unknown(reason),
                Truth::Unknown(_) | Truth::True => {}
            }
            // What was left alone is there as it is here; and here it must hold.
            if is_other_absent || matches!(mention, Some(Mention::Nothing)) {
                continue;
            }
            let mut how = Evidence::Exact;
            match one(side.other(), path, check, mention, view, &mut how) {
                Truth::True => {}
                Truth::False => {
                    differs_there = Truth::True;
                    evidence_there = Some(evidence_there.map_or(how, |known: Evidence| known.min(how)));
                }
                Truth::Unknown(reason) if differs_there == Truth::False => differs_there = Truth::Unknown(reason),
                Truth::Unknown(_) => {}
            }
        }
        *evidence = (*evidence).max(evidence_there.unwrap_or_default());
        match (here, differs_there) {
            (_, Truth::False) => Truth::False,
            (Truth::Unknown(reason), _) => Truth::Unknown(reason),
            (_, differs_there) => differs_there,
        }
    }
}

/// Whether one condition holds on one side.
fn one<'c>(
    side: Side,
    path: &Path,
    check: &Check,
    mention: Option<Mention<'c>>,
    view: &View<'c>,
    evidence: &mut Evidence,
) -> Truth {
    let fact = match side {
        Side::Before => view.before_given(path, mention),
        Side::After => view.after_given(path, mention),
    };
    let answer = known(fact, evidence, |value| check.matches(value));
    // Something below the path was written: the value is a document or an array now, whatever else is in it.
    match (answer, side, mention) {
        (Truth::Unknown(_), Side::After, Some(Mention::Below)) => check.of_container().map_or(answer, Truth::from),
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, bson, doc};

    use super::*;
    use crate::rules::ast::{Operations, Rule};
    use crate::rules::sample::{answer, change, equals, rule, update, with_images};
    use crate::rules::{Comparison, FieldPath, Matcher};

    fn state(conditions: &[(&str, Matcher)]) -> State {
        let one = |(path, matcher): &(&str, Matcher)| (FieldPath::parse(path).unwrap(), matcher.clone());
        State(conditions.iter().map(one).collect())
    }

    /// What `enters` and `leaves` say of a change.
    fn both(conditions: &[(&str, Matcher)], change: &Document) -> [String; 2] {
        let on_all = Rule { operations: Operations { insert: true, update: true, delete: true }, ..rule("Rule") };
        let enters = Rule { enters: Some(state(conditions)), ..on_all.clone() };
        let leaves = Rule { leaves: Some(state(conditions)), ..on_all };
        [answer(&enters, change), answer(&leaves, change)]
    }

    fn below(value: impl Into<Bson>) -> Matcher {
        Matcher::Compare(Comparison::Less, value.into())
    }

    #[test]
    fn a_document_enters_and_leaves_where_all_conditions_hold_on_one_side_only() {
        let overdrawn = [("balance", below(0)), ("open", equals(true))];
        let account = |balance: i32, open: bool| doc! {"_id": 1, "balance": balance, "open": open};
        for (before, after, wanted) in [
            (account(1, true), account(-1, true), ["exact", "no"]),
            (account(-1, false), account(-1, true), ["exact", "no"]),
            (account(1, false), account(-1, true), ["exact", "no"]),
            (account(-1, true), account(-2, true), ["no", "no"]),
            (account(-1, true), account(1, true), ["no", "exact"]),
            (account(-1, true), account(1, false), ["no", "exact"]),
            (account(1, true), account(-1, false), ["no", "no"]),
        ] {
            let replaced = with_images(change("replace"), Some(before.clone()), Some(after.clone()));
            assert_eq!(both(&overdrawn, &replaced), wanted, "{before} -> {after}");
            let changed: Document = after.into_iter().filter(|(name, value)| before.get(name) != Some(value)).collect();
            let updated = with_images(update(changed, &[]), Some(before), None);
            assert_eq!(both(&overdrawn, &updated), wanted, "{updated}");
        }
    }

    #[test]
    fn nothing_holds_before_an_insert_and_after_a_delete() {
        let unpaid = [("paidAt", Matcher::Exists(false))];
        let mut insert = change("insert");
        insert.insert("fullDocument", doc! {"_id": 1});
        assert_eq!(both(&unpaid, &insert), ["exact", "no"]);
        let delete = with_images(change("delete"), Some(doc! {"_id": 1}), None);
        assert_eq!(both(&unpaid, &delete), ["no", "exact"]);
        assert_eq!(both(&unpaid, &change("delete")), ["no", "no_pre_image"]);
        assert_eq!(both(&[("paidAt", Matcher::Exists(true))], &insert), ["no", "no"]);
    }

    #[test]
    fn without_images_only_what_the_description_leaves_open_is_unknown() {
        let overdrawn = [("balance", below(0)), ("open", equals(true))];
        for (updated, wanted) in [
            (doc! {"name": "x"}, ["no", "no"]),
            (doc! {"balance": 1}, ["no", "no_pre_image"]),
            (doc! {"balance": -1}, ["no_post_image", "no"]),
            (doc! {"balance": -1, "open": true}, ["no_pre_image", "no"]),
            (doc! {"balance": -1, "open": false}, ["no", "no_pre_image"]),
        ] {
            assert_eq!(both(&overdrawn, &update(updated.clone(), &[])), wanted, "{updated}");
        }
        let sent = [("address", Matcher::Type(vec!["string".into()]))];
        assert_eq!(both(&sent, &update(doc! {"address.city": "Ulm"}, &[])), ["no", "no_pre_image"]);
        let before = |open: bool| Some(doc! {"_id": 1, "balance": 5, "open": open});
        let known = |open| with_images(update(doc! {"balance": -1}, &[]), before(open), None);
        assert_eq!(both(&overdrawn, &known(true)), ["exact", "no"]);
        assert_eq!(both(&overdrawn, &known(false)), ["no", "no"]);
    }

    #[test]
    fn conditions_are_asked_of_elements_too() {
        let check = StateCheck::new(&state(&[("qty", below(3)), ("sku", equals("a"))]), Numbers::ByValue);
        let holds = |value: Bson| check.holds_of(crate::rules::text::raw(&value).as_raw_bson_ref());
        assert!(holds(bson!({"sku": "a", "qty": 2})));
        assert!(!holds(bson!({"sku": "a", "qty": 3})));
        assert!(!holds(bson!("a")));
    }
}
