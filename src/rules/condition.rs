//! Conditions, compiled, and their three-valued answers.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bson::{RawBson, RawBsonRef};

use super::ast::{Direction, Transition, When, Where};
use super::check::Check;
use super::path::Path;
use super::query::{self, Root, Start};
use super::view::{Fact, Known, Truth, View};
use super::{Query, text};
use crate::change::number::{Exact, Number};
use crate::change::value::{self, Numbers};
use crate::event::Evidence;

/// A compiled condition of a rule: `when` and `where` together.
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
}

/// A compiled [`Transition`].
#[derive(Debug)]
pub(super) enum Move {
    Changed,
    Unchanged,
    Appears,
    Disappears,
    Becomes { from: Option<Check>, to: Option<Check> },
    Moves { direction: Direction, by: Option<Check>, by_percent: Option<Check> },
    Crosses(Direction, RawBson),
}

impl Condition {
    pub(super) fn new(when: Option<&When>, filter: Option<&Where>, numbers: Numbers) -> Self {
        let mut all = Vec::new();
        if let Some(when) = when {
            all.push(Self::of_when(when, numbers));
        }
        if let Some(filter) = filter {
            all.push(Self::of_where(filter, numbers));
        }
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
            Self::Matches(query, _) | Self::Exists(query) if !query.is_singular() => 40,
            Self::Matches(query, _) | Self::Exists(query) => match query.root() {
                Root::Change | Root::Meta | Root::Key => 1,
                Root::Before | Root::After | Root::Whole => 5,
            },
        }
    }

    /// Whether the condition holds. `evidence` is weakened to that of what made it hold.
    pub(super) fn holds(&self, view: &View<'_>, evidence: &mut Evidence) -> Truth {
        match self {
            Self::All(parts) => {
                // What the description leaves alone cannot have changed: no value needs to be looked at.
                if parts.iter().any(|part| part.cannot_hold(view)) {
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
                for part in parts {
                    match part.holds(view, evidence) {
                        Truth::True => return Truth::True,
                        Truth::Unknown(reason) if answer == Truth::False => answer = Truth::Unknown(reason),
                        Truth::Unknown(_) | Truth::False => {}
                    }
                    *evidence = before;
                }
                answer
            }
            Self::Field(path, transition, numbers) => transition.holds(view, path, *numbers, evidence),
            Self::Matches(query, check) => matches(view, query, check, evidence),
            Self::Exists(query) => exists(view, query, evidence),
        }
    }

    fn cannot_hold(&self, view: &View<'_>) -> bool {
        matches!(self, Self::Field(path, transition, _) if !matches!(transition, Move::Unchanged) && view.is_untouched(path))
    }
}

impl Move {
    fn new(transition: &Transition, numbers: Numbers) -> Self {
        let check = |matcher: &Option<super::Matcher>| matcher.as_ref().map(|matcher| Check::new(matcher, numbers));
        match transition {
            Transition::Changed => Self::Changed,
            Transition::Unchanged => Self::Unchanged,
            Transition::Appears => Self::Appears,
            Transition::Disappears => Self::Disappears,
            Transition::Becomes { from, to } => Self::Becomes { from: check(from), to: check(to) },
            Transition::Moves { direction, by, by_percent } => {
                Self::Moves { direction: *direction, by: check(by), by_percent: check(by_percent) }
            }
            Transition::Crosses(direction, bound) => Self::Crosses(*direction, text::raw(bound)),
        }
    }

    fn holds(&self, view: &View<'_>, path: &Path, numbers: Numbers, evidence: &mut Evidence) -> Truth {
        if view.is_untouched(path) {
            return matches!(self, Self::Unchanged).into();
        }
        let empty = |value: Option<RawBsonRef<'_>>| {
            value.is_none_or(|value| matches!(value, RawBsonRef::Null | RawBsonRef::Undefined))
        };
        match self {
            Self::Changed => differs(view, path, numbers, evidence),
            Self::Unchanged => differs(view, path, numbers, evidence).negated(),
            // What the value is now is cheaper to know than what it was, so it is asked first.
            Self::Appears => both(known(view.after(path), evidence, |value| !empty(value)), || {
                known(view.before(path), evidence, empty)
            }),
            Self::Disappears => both(known(view.after(path), evidence, empty), || {
                known(view.before(path), evidence, |value| !empty(value))
            }),
            Self::Becomes { from, to } => {
                let passes = |check: &Option<Check>, fact: Fact<'_>, evidence: &mut Evidence| match check {
                    Some(check) => known(fact, evidence, |value| check.matches(value)),
                    None => Truth::True,
                };
                let now = match to {
                    Some(_) => passes(to, view.after(path), evidence),
                    None => Truth::True,
                };
                if now == Truth::False {
                    return Truth::False;
                }
                let changed = differs(view, path, numbers, evidence);
                let moved = both(now, || changed);
                match from {
                    Some(_) => both(moved, || passes(from, view.before(path), evidence)),
                    None => moved,
                }
            }
            Self::Moves { direction, by, by_percent } => pair(view, path, evidence, |before, after| {
                moved(before, after, *direction, by.as_ref(), by_percent.as_ref())
            }),
            Self::Crosses(direction, bound) => {
                let bound = bound.as_raw_bson_ref();
                let beyond = direction.order();
                let now = known(view.after(path), evidence, |value| {
                    value.and_then(|value| value::order(value, bound)) == Some(beyond)
                });
                both(now, || {
                    known(view.before(path), evidence, |value| {
                        value.and_then(|value| value::order(value, bound)).is_some_and(|order| order != beyond)
                    })
                })
            }
        }
    }
}

impl Direction {
    /// The order of a value that moved in this direction to what it was.
    fn order(self) -> Ordering {
        match self {
            Self::Up => Ordering::Greater,
            Self::Down => Ordering::Less,
        }
    }
}

/// SQL's `and`; the second is not asked if the first is false.
fn both(first: Truth, second: impl FnOnce() -> Truth) -> Truth {
    match first {
        Truth::False => Truth::False,
        Truth::True => second(),
        Truth::Unknown(_) => match second() {
            Truth::False => Truth::False,
            Truth::True | Truth::Unknown(_) => first,
        },
    }
}

fn known(fact: Fact<'_>, evidence: &mut Evidence, holds: impl FnOnce(Option<RawBsonRef<'_>>) -> bool) -> Truth {
    *evidence = (*evidence).max(fact.evidence);
    match fact.known {
        Known::Value(value) => holds(Some(value)).into(),
        Known::Missing => holds(None).into(),
        Known::Unknown(reason) => Truth::Unknown(reason),
    }
}

fn differs(view: &View<'_>, path: &Path, numbers: Numbers, evidence: &mut Evidence) -> Truth {
    let (truth, how) = view.differs(path, numbers);
    *evidence = (*evidence).max(how);
    truth
}

/// Asks something of the two values; false if one of them is missing.
fn pair(
    view: &View<'_>,
    path: &Path,
    evidence: &mut Evidence,
    holds: impl FnOnce(RawBsonRef<'_>, RawBsonRef<'_>) -> bool,
) -> Truth {
    let after = view.after(path);
    *evidence = (*evidence).max(after.evidence);
    if matches!(after.known, Known::Missing) {
        return Truth::False;
    }
    let before = view.before(path);
    *evidence = (*evidence).max(before.evidence);
    match (before.known, after.known) {
        (Known::Missing, _) | (_, Known::Missing) => Truth::False,
        (Known::Unknown(reason), _) | (_, Known::Unknown(reason)) => Truth::Unknown(reason),
        (Known::Value(before), Known::Value(after)) => holds(before, after).into(),
    }
}

fn moved(
    before: RawBsonRef<'_>,
    after: RawBsonRef<'_>,
    direction: Direction,
    by: Option<&Check>,
    by_percent: Option<&Check>,
) -> bool {
    let scalars = match (before, after) {
        (RawBsonRef::DateTime(before), RawBsonRef::DateTime(after)) => {
            Some((Number::Integer(before.timestamp_millis()), Number::Integer(after.timestamp_millis())))
        }
        _ => Number::of(before).zip(Number::of(after)),
    };
    let Some((was, is)) = scalars else { return false };
    if was.is_nan() || is.is_nan() || is.compare(was) != direction.order() {
        return false;
    }
    if by.is_none() && by_percent.is_none() {
        return true;
    }
    // From or to infinity there is no difference to compare.
    let Some(difference) = is.minus(was).map(Exact::magnitude) else { return false };
    let one = Exact::of(Number::Integer(1));
    let by_holds = by.is_none_or(|check| one.as_ref().is_some_and(|one| check.matches_share(&difference, one)));
    let percent_holds = by_percent.is_none_or(|check| {
        // There is no percentage of nothing, and none of a date.
        let whole = Number::of(before).and_then(Exact::of).map(Exact::magnitude).filter(|whole| !whole.is_zero());
        whole.is_some_and(|whole| check.matches_share(&difference.clone().hundredfold(), &whole))
    });
    by_holds && percent_holds
}

fn matches(view: &View<'_>, query: &Query, check: &Check, evidence: &mut Evidence) -> Truth {
    if query.is_singular() {
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
    let start = view.fact(query.root(), query.path());
    *evidence = (*evidence).max(start.evidence);
    let mut answer = start.known;
    for segment in query.rest() {
        segment.visit_nodes(&mut |nodes| {
            let Start::Root(root) = nodes.start else { return };
            let fact = view.fact(root, &nodes.path);
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
    use bson::{Bson, DateTime, Decimal128, Document, bson, doc};

    use super::*;
    use crate::rules::sample::{
        answer, becomes, change, equals, field, rule, rule_when, rule_where, update, with_images,
    };
    use crate::rules::{Comparison, Matcher, ast::Rule};

    /// An update of `shop.orders` with both images, whose description is worked out for top-level fields.
    fn updated(before: Document, after: Document) -> Document {
        let changed = after.iter().filter(|(name, value)| before.get(name) != Some(value));
        let description: Document = changed.map(|(name, value)| (name.clone(), value.clone())).collect();
        let removed: Vec<&str> = before.keys().filter(|name| !after.contains_key(name)).map(String::as_str).collect();
        with_images(update(description, &removed), Some(before), Some(after))
    }

    fn gte(value: impl Into<Bson>) -> Option<Matcher> {
        Some(Matcher::Compare(Comparison::GreaterOrEqual, value.into()))
    }

    fn moves(direction: Direction) -> Transition {
        Transition::Moves { direction, by: None, by_percent: None }
    }

    #[test]
    fn every_transition_holds_when_it_should_and_not_when_it_should_not() {
        let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().unwrap());
        let date = |millis| Bson::DateTime(DateTime::from_millis(millis));
        let by = |direction, by, by_percent| Transition::Moves { direction, by, by_percent };
        let cases: Vec<(Transition, Option<Bson>, Option<Bson>, bool)> = vec![
            (Transition::Changed, Some(bson!(1)), Some(bson!(2)), true),
            (Transition::Changed, Some(bson!(1)), Some(bson!(1_i64)), false),
            (Transition::Changed, Some(Bson::Null), None, true),
            (Transition::Unchanged, Some(bson!(1)), Some(bson!(1.0)), true),
            (Transition::Unchanged, Some(bson!(1)), Some(bson!(2)), false),
            (Transition::Appears, None, Some(bson!(1)), true),
            (Transition::Appears, Some(Bson::Null), Some(bson!(1)), true),
            (Transition::Appears, Some(bson!(0)), Some(bson!(1)), false),
            (Transition::Appears, None, Some(Bson::Null), false),
            (Transition::Disappears, Some(bson!(1)), None, true),
            (Transition::Disappears, Some(bson!(1)), Some(Bson::Null), true),
            (Transition::Disappears, Some(Bson::Null), None, false),
            (becomes(None, Some(bson!("paid"))), Some(bson!("new")), Some(bson!("paid")), true),
            (becomes(Some(bson!("new")), None), Some(bson!("new")), Some(bson!("paid")), true),
            (becomes(Some(bson!("new")), Some(bson!("paid"))), Some(bson!("old")), Some(bson!("paid")), false),
            (becomes(None, Some(bson!("paid"))), Some(bson!("paid")), Some(bson!("new")), false),
            (becomes(None, Some(Bson::Null)), Some(bson!(1)), None, false),
            (moves(Direction::Up), Some(bson!(1)), Some(bson!(2.5)), true),
            (moves(Direction::Up), Some(bson!(2)), Some(bson!(1)), false),
            (moves(Direction::Down), Some(decimal("0.30")), Some(decimal("0.3")), false),
            (moves(Direction::Down), Some(bson!("b")), Some(bson!("a")), false),
            (moves(Direction::Down), None, Some(bson!(1)), false),
            (moves(Direction::Up), Some(date(1)), Some(date(2)), true),
            (by(Direction::Down, gte(5), None), Some(bson!(10)), Some(bson!(5)), true),
            (by(Direction::Down, gte(5), None), Some(bson!(10)), Some(bson!(6)), false),
            (by(Direction::Up, gte(decimal("0.1")), None), Some(decimal("0.2")), Some(decimal("0.3")), true),
            (by(Direction::Up, gte(1000), None), Some(date(0)), Some(date(1000)), true),
            (by(Direction::Up, None, gte(50)), Some(bson!(10)), Some(bson!(15)), true),
            (by(Direction::Up, None, gte(50)), Some(bson!(-10)), Some(bson!(-6)), false),
            (by(Direction::Up, None, gte(50)), Some(bson!(0)), Some(bson!(1)), false),
            (by(Direction::Up, None, gte(50)), Some(date(10)), Some(date(100)), false),
            (Transition::Crosses(Direction::Down, bson!(5)), Some(bson!(5)), Some(bson!(4.9)), true),
            (Transition::Crosses(Direction::Down, bson!(5)), Some(bson!(4)), Some(bson!(3)), false),
            (Transition::Crosses(Direction::Down, bson!(5)), Some(bson!(6)), Some(bson!(5)), false),
            (Transition::Crosses(Direction::Up, bson!(5)), Some(bson!(5)), Some(bson!(6)), true),
            (Transition::Crosses(Direction::Up, bson!(5)), None, Some(bson!(6)), false),
        ];
        for (transition, before, after, holds) in cases {
            let document = |value: &Option<Bson>| {
                let mut document = doc! {"_id": 1};
                if let Some(value) = value {
                    document.insert("x", value.clone());
                }
                document
            };
            let change = updated(document(&before), document(&after));
            let wanted = if holds { "exact" } else { "no" };
            assert_eq!(
                answer(&rule_when("x", transition.clone()), &change),
                wanted,
                "{transition:?}: {before:?} -> {after:?}"
            );
        }
    }

    #[test]
    fn a_replacement_fires_what_an_update_fires_and_an_equal_one_fires_nothing() {
        let paid = rule_when("status", becomes(Some(bson!("new")), Some(bson!("paid"))));
        let replace = |before, after| with_images(change("replace"), Some(before), Some(after));
        assert_eq!(
            answer(&paid, &replace(doc! {"_id": 1, "status": "new"}, doc! {"_id": 1, "status": "paid"})),
            "exact"
        );
        assert_eq!(
            answer(&paid, &replace(doc! {"status": "new", "_id": 1}, doc! {"_id": 1, "x": 1, "status": "paid"})),
            "exact"
        );
        let any = rule_when("status", Transition::Changed);
        assert_eq!(answer(&any, &replace(doc! {"_id": 1, "status": 1}, doc! {"_id": 1, "status": 1.0})), "no");
        assert_eq!(answer(&any, &replace(doc! {"_id": 1, "status": 1}, doc! {"_id": 1})), "exact");
        assert_eq!(
            answer(&any, &with_images(change("replace"), None, Some(doc! {"_id": 1, "status": 1}))),
            "no_pre_image"
        );
    }

    #[test]
    fn without_a_pre_image_what_was_there_is_unknown_and_what_was_written_is_known() {
        let paid = update(doc! {"status": "paid"}, &[]);
        for (transition, wanted) in [
            (becomes(None, Some(bson!("paid"))), "delta"),
            (becomes(None, Some(bson!("sent"))), "no"),
            (becomes(Some(bson!("new")), Some(bson!("paid"))), "no_pre_image"),
            (becomes(Some(bson!("new")), Some(bson!("sent"))), "no"),
            (Transition::Changed, "delta"),
            (Transition::Unchanged, "no"),
            (Transition::Appears, "no_pre_image"),
            (Transition::Disappears, "no"),
            (moves(Direction::Up), "no_pre_image"),
            (Transition::Crosses(Direction::Up, bson!(5)), "no"),
        ] {
            assert_eq!(answer(&rule_when("status", transition.clone()), &paid), wanted, "{transition:?}");
            let untouched = if matches!(transition, Transition::Unchanged) { "exact" } else { "no" };
            assert_eq!(answer(&rule_when("other", transition), &paid), untouched);
        }
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

    #[test]
    fn strict_numbers_tell_types_apart() {
        let change = updated(doc! {"_id": 1, "x": 1}, doc! {"_id": 1, "x": 1_i64});
        let rule = rule_when("x", Transition::Changed);
        assert_eq!(answer(&rule, &change), "no");
        assert_eq!(answer(&Rule { numbers: Numbers::Strict, ..rule }, &change), "exact");
    }
}
