//! Conditions, compiled, and their three-valued answers.

use std::ops::ControlFlow;

use bson::RawBsonRef;

use super::Query;
use super::ast::{Member, Rule, State, When, Where};
use super::check::Check;
use super::path::Path;
use super::query::{self, Root, Start};
use super::state::{Side, StateCheck};
use super::transition::Move;
use super::view::{Fact, Known, Truth, View};
use crate::change::value::Numbers;
use crate::event::Evidence;

/// The conditions that a rule, or a member of a transaction, puts to one change. All of them hold together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions<'r> {
    pub(super) when: Option<&'r When>,
    pub(super) filter: Option<&'r Where>,
    pub(super) enters: Option<&'r State>,
    pub(super) leaves: Option<&'r State>,
}

impl<'r> From<&'r Rule> for Conditions<'r> {
    fn from(rule: &'r Rule) -> Self {
        let Rule { when, filter, enters, leaves, .. } = rule;
        Self { when: when.as_ref(), filter: filter.as_ref(), enters: enters.as_ref(), leaves: leaves.as_ref() }
    }
}

impl<'r> From<&'r Member> for Conditions<'r> {
    fn from(member: &'r Member) -> Self {
        let Member { when, filter, enters, leaves, .. } = member;
        Self { when: when.as_ref(), filter: filter.as_ref(), enters: enters.as_ref(), leaves: leaves.as_ref() }
    }
}

/// A compiled condition of a rule: `when`, `where`, `enters` and `leaves` together.
#[derive(Debug)]
pub(super) enum Condition {
    /// Every one holds; the cheap ones first.
    All(Vec<Condition>),
    /// At least one holds.
    Any(Vec<Condition>),
    /// The value at a path made a transition.
    Field(Path, Move, Numbers),
    /// A node that the query selects passes the check, or the lack of one does.
    Matches(Query, Check),
    /// The query selects a node.
    Exists(Query),
    /// The document satisfies the state on one side of the change and not on the other.
    Only(Side, StateCheck),
}

impl Condition {
    pub(super) fn new(conditions: Conditions<'_>, numbers: Numbers) -> Self {
        let Conditions { when, filter, enters, leaves } = conditions;
        let mut all = Vec::new();
        all.extend(when.map(|when| Self::of_when(when, numbers)));
        all.extend(filter.map(|filter| Self::of_where(filter, numbers)));
        all.extend(enters.map(|state| Self::Only(Side::After, StateCheck::new(state, numbers))));
        all.extend(leaves.map(|state| Self::Only(Side::Before, StateCheck::new(state, numbers))));
        Self::all(all)
    }

    /// One level of `All`, ordered by cost.
    fn all(conditions: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(conditions.len());
        for condition in conditions {
            match condition {
                Self::All(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        flat.sort_by_key(Self::cost);
        Self::All(flat)
    }

    fn of_when(when: &When, numbers: Numbers) -> Self {
        match when {
            When::All(parts) => Self::all(parts.iter().map(|part| Self::of_when(part, numbers)).collect()),
            When::Any(parts) => Self::Any(parts.iter().map(|part| Self::of_when(part, numbers)).collect()),
            When::Field(path, transition) => Self::Field(path.into(), Move::new(transition, numbers), numbers),
        }
    }

    fn of_where(filter: &Where, numbers: Numbers) -> Self {
        match filter {
            Where::All(parts) => Self::all(parts.iter().map(|part| Self::of_where(part, numbers)).collect()),
            Where::Matches(query, matcher) => Self::Matches(query.clone(), Check::new(matcher, numbers)),
            Where::Exists(query) => Self::Exists(query.clone()),
        }
    }

    /// A rough order of what it costs to decide: the change's own words, then values, then walks.
    fn cost(&self) -> u32 {
        match self {
            Self::All(parts) | Self::Any(parts) => 10 + parts.iter().map(Self::cost).sum::<u32>(),
            Self::Field(path, Move::Becomes { from: None, .. } | Move::Changed, _) if path.steps.len() == 1 => 2,
            Self::Field(..) => 4,
            Self::Only(_, state) => state.cost(),
            Self::Matches(query, _) | Self::Exists(query) if !query.is_path() => 40,
            Self::Matches(query, _) | Self::Exists(query) => match query.root() {
                Root::Change | Root::Meta | Root::Key => 1,
                Root::Before | Root::After | Root::Whole | Root::Item | Root::ItemBefore | Root::Index => 5,
            },
        }
    }

    /// Whether the condition holds. `evidence` is weakened to that of what made it hold.
    pub(super) fn holds(&self, view: &View<'_>, evidence: &mut Evidence) -> Truth {
        match self {
            Self::All(parts) => {
                // What the description leaves alone cannot have changed: no value needs to be looked at.
                if parts.len() > 1 && parts.iter().any(|part| part.cannot_hold(view)) {
                    return Truth::False;
                }
                let mut answer = Truth::True;
                for part in parts {
                    match part.holds(view, evidence) {
                        Truth::False => return Truth::False,
                        Truth::Unknown(reason) if answer == Truth::True => answer = Truth::Unknown(reason),
                        Truth::Unknown(_) | Truth::True => {}
                    }
                }
                answer
            }
            Self::Any(parts) => {
                let before = *evidence;
                let mut answer = Truth::False;
                let mut strongest: Option<Evidence> = None;
                for part in parts {
                    let mut how = before;
                    match part.holds(view, &mut how) {
                        Truth::True if how == before => return Truth::True,
                        // Another one may hold on stronger evidence.
                        Truth::True => strongest = Some(strongest.map_or(how, |known| known.min(how))),
                        Truth::Unknown(reason) if answer == Truth::False => answer = Truth::Unknown(reason),
                        Truth::Unknown(_) | Truth::False => {}
                    }
                }
                let Some(strongest) = strongest else { return answer };
                *evidence = strongest;
                Truth::True
            }
            Self::Field(path, transition, numbers) => transition.holds(view, path, *numbers, evidence),
            Self::Matches(query, check) => matches(view, query, check, evidence),
            Self::Exists(query) => exists(view, query, evidence),
            Self::Only(side, state) => state.holds_only(*side, view, evidence),
        }
    }

    fn cannot_hold(&self, view: &View<'_>) -> bool {
        match self {
            Self::Field(_, Move::Unchanged, _) => false,
            Self::Field(path, ..) => view.is_untouched(path),
            Self::Only(_, state) => state.is_untouched(view),
            Self::All(_) | Self::Any(_) | Self::Matches(..) | Self::Exists(_) => false,
        }
    }
}

/// What holds of a value, if it is known; weakens `evidence` to that of the value.
pub(super) fn known(
    fact: Fact<'_>,
    evidence: &mut Evidence,
    holds: impl FnOnce(Option<RawBsonRef<'_>>) -> bool,
) -> Truth {
    *evidence = (*evidence).max(fact.evidence);
    match fact.known {
        Known::Value(value) => holds(Some(value)).into(),
        Known::Missing => holds(None).into(),
        Known::Unknown(reason) => Truth::Unknown(reason),
    }
}

fn matches(view: &View<'_>, query: &Query, check: &Check, evidence: &mut Evidence) -> Truth {
    if query.is_path() {
        return known(view.fact(query.root(), query.path()), evidence, |value| check.matches(value));
    }
    match prepared(view, query, evidence) {
        Known::Unknown(reason) => Truth::Unknown(reason),
        Known::Missing => check.matches(None).into(),
        Known::Value(start) => {
            let mut none = true;
            let flow = query::nodes(&view, start, query.rest(), &mut |node| {
                none = false;
                if check.matches(Some(node)) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            (flow.is_break() || (none && check.matches(None))).into()
        }
    }
}

fn exists(view: &View<'_>, query: &Query, evidence: &mut Evidence) -> Truth {
    match prepared(view, query, evidence) {
        Known::Unknown(reason) => Truth::Unknown(reason),
        Known::Missing => Truth::False,
        Known::Value(start) => {
            query::nodes(&view, start, query.rest(), &mut |_| ControlFlow::Break(())).is_break().into()
        }
    }
}

/// The value at the end of a query's singular prefix. It is unknown also if something that a filter compares with is unknown.
pub(super) fn prepared<'v>(view: &'v View<'_>, query: &Query, evidence: &mut Evidence) -> Known<'v> {
    let start = view.start_of(query.root(), query.path(), query.rest());
    *evidence = (*evidence).max(start.evidence);
    let mut answer = start.known;
    for segment in query.rest() {
        segment.visit_nodes(&mut |nodes| {
            let Start::Root(root) = nodes.start else { return };
            let fact = view.start_of(root, &nodes.path, &nodes.rest);
            *evidence = (*evidence).max(fact.evidence);
            if let (Known::Unknown(reason), Known::Value(_)) = (fact.known, answer) {
                answer = Known::Unknown(reason);
            }
        });
    }
    answer
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;
    use crate::rules::ast::{Direction, Rule, Transition};
    use crate::rules::sample::{answer, equals, field, rule, rule_where, update, with_images};
    use crate::rules::{Comparison, Matcher};

    fn moves(direction: Direction) -> Transition {
        Transition::Moves { direction, by: None, by_percent: None }
    }

    #[test]
    fn any_needs_one_and_all_need_every_one_in_three_valued_logic() {
        let paid = update(doc! {"status": "paid", "total": 5}, &[]);
        let unknown = || field("total", moves(Direction::Up));
        let yes = || field("status", Transition::Changed);
        let no = || field("other", Transition::Changed);
        for (when, wanted) in [
            (When::Any(vec![no(), yes()]), "delta"),
            (When::Any(vec![unknown(), yes()]), "delta"),
            (When::Any(vec![no(), unknown()]), "no_pre_image"),
            (When::Any(vec![no(), no()]), "no"),
            (When::All(vec![yes(), unknown()]), "no_pre_image"),
            (When::All(vec![unknown(), no()]), "no"),
            (When::All(vec![yes(), When::Any(vec![no(), yes()])]), "delta"),
        ] {
            assert_eq!(answer(&Rule { when: Some(when.clone()), ..rule("Rule") }, &paid), wanted, "{when:?}");
        }
    }

    #[test]
    fn state_is_asked_of_every_root_and_a_filter_on_the_unknown_is_unknown() {
        let order = doc! {"_id": 1, "status": "paid", "items": [{"sku": "a", "qty": 5}, {"sku": "b", "qty": 20}]};
        let change = with_images(update(doc! {"status": "paid"}, &[]), None, Some(order));
        let gt10 = Matcher::Compare(Comparison::Greater, bson!(10));
        for (query, matcher, wanted) in [
            ("$.after.items[*].qty", gt10.clone(), "exact"),
            ("$.after.items[0].qty", gt10.clone(), "no"),
            ("$.after.items[?@.qty > 10].sku", equals("b"), "exact"),
            ("$.after.items[?@.qty > 90].sku", Matcher::Exists(false), "exact"),
            ("$.after.items[*].price", Matcher::Not(Box::new(equals(1))), "exact"),
            ("$.after.items[?@.sku == $.before.status]", Matcher::Exists(true), "no_pre_image"),
            ("$.after.items[?@.qty == $.key._id]", Matcher::Exists(true), "no"),
            ("$.before.status", equals("new"), "no_pre_image"),
            ("$.before.items[0].sku", equals("a"), "exact"),
            ("$.key._id", equals(1), "exact"),
            ("$.change.operation", equals("update"), "exact"),
            ("$.change.updated.status", equals("paid"), "exact"),
            ("$.change.updated[*]", equals("paid"), "exact"),
            ("$.change.removed[*]", Matcher::Exists(true), "no"),
            ("$.change[*]", equals("orders"), "exact"),
            ("$.meta.transaction", Matcher::Exists(false), "exact"),
            ("$.meta.evidence", equals("delta"), "exact"),
            ("$.after", Matcher::Type(vec!["object".into()]), "exact"),
        ] {
            assert_eq!(answer(&rule_where(query, matcher.clone()), &change), wanted, "{query} {matcher:?}");
        }
    }
}
