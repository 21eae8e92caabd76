//! Transitions, compiled: how the value at a path must have changed.

use std::cmp::Ordering;

use bson::{RawBson, RawBsonRef};

use super::ast::{Direction, Transition};
use super::check::Check;
use super::condition::known;
use super::mention::Mention;
use super::path::Path;
use super::text;
use super::view::{Fact, Known, Truth, View};
use crate::change::number::{Exact, Number};
use crate::change::value::{self, Numbers};
use crate::event::Evidence;

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

impl Move {
    pub(super) fn new(transition: &Transition, numbers: Numbers) -> Self {
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

    pub(super) fn holds(&self, view: &View<'_>, path: &Path, numbers: Numbers, evidence: &mut Evidence) -> Truth {
        let mention = view.mention(path);
        if matches!(mention, Some(Mention::Nothing)) {
            return matches!(self, Self::Unchanged).into();
        }
        let before = || view.before_given(path, mention);
        let after = || view.after_given(path, mention);
        let differs = |evidence: &mut Evidence| {
            let (truth, how) = view.differs(path, mention, numbers);
            *evidence = (*evidence).max(how);
            truth
        };
        // Something below the path was written: the value is a document or an array, whatever else is in it.
        let is_container = matches!(mention, Some(Mention::Below));
        let now = |evidence: &mut Evidence,
                   of_container: Option<bool>,
                   holds: &dyn Fn(Option<RawBsonRef<'_>>) -> bool| {
            match (known(after(), evidence, holds), of_container.filter(|_| is_container)) {
                (Truth::Unknown(_), Some(answer)) => answer.into(),
                (answer, _) => answer,
            }
        };
        let empty = |value: Option<RawBsonRef<'_>>| {
            value.is_none_or(|value| matches!(value, RawBsonRef::Null | RawBsonRef::Undefined))
        };
        match self {
            Self::Changed => differs(evidence),
            Self::Unchanged => differs(evidence).negated(),
            // What the value is now is cheaper to know than what it was, so it is asked first.
            Self::Appears => {
                both(now(evidence, Some(true), &|value| !empty(value)), || known(before(), evidence, empty))
            }
            Self::Disappears => {
                both(now(evidence, Some(false), &empty), || known(before(), evidence, |value| !empty(value)))
            }
            Self::Becomes { from, to } => {
                let now = match to {
                    Some(check) => {
                        let of_container = is_container.then(|| check.of_container()).flatten();
                        now(evidence, of_container, &|value| check.matches(value))
                    }
                    None => Truth::True,
                };
                if now == Truth::False {
                    return Truth::False;
                }
                let moved = both(now, || differs(evidence));
                match from {
                    Some(check) => both(moved, || known(before(), evidence, |value| check.matches(value))),
                    None => moved,
                }
            }
            Self::Moves { .. } | Self::Crosses(..) if is_container => Truth::False,
            Self::Moves { direction, by, by_percent } => pair(before, after, evidence, |before, after| {
                moved(before, after, *direction, by.as_ref(), by_percent.as_ref())
            }),
            Self::Crosses(direction, bound) => {
                let bound = bound.as_raw_bson_ref();
                let beyond = direction.order();
                let now = known(after(), evidence, |value| {
                    value.and_then(|value| value::order(value, bound)) == Some(beyond)
                });
                both(now, || {
                    known(before(), evidence, |value| {
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
pub(super) fn both(first: Truth, second: impl FnOnce() -> Truth) -> Truth {
    match first {
        Truth::False => Truth::False,
        Truth::True => second(),
        Truth::Unknown(_) => match second() {
            Truth::False => Truth::False,
            Truth::True | Truth::Unknown(_) => first,
        },
    }
}

/// Asks something of the two values; false if one of them is missing.
fn pair<'v>(
    before: impl FnOnce() -> Fact<'v>,
    after: impl FnOnce() -> Fact<'v>,
    evidence: &mut Evidence,
    holds: impl FnOnce(RawBsonRef<'_>, RawBsonRef<'_>) -> bool,
) -> Truth {
    let after = after();
    *evidence = (*evidence).max(after.evidence);
    if matches!(after.known, Known::Missing) {
        return Truth::False;
    }
    let before = before();
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

#[cfg(test)]
mod tests {
    use bson::{Bson, DateTime, Decimal128, Document, bson, doc};

    use super::*;
    use crate::rules::sample::{answer, becomes, change, rule_when, update, with_images};
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
    fn a_value_with_something_written_below_is_a_document_or_an_array() {
        let inside = update(doc! {"address.city": "Ulm"}, &[]);
        let before = with_images(inside.clone(), Some(doc! {"address": {"city": "Graz"}}), None);
        let to = |matcher| Transition::Becomes { from: None, to: Some(matcher) };
        let typed = |names: &[&str]| to(Matcher::Type(names.iter().map(ToString::to_string).collect()));
        for (transition, without_image, with_before) in [
            (becomes(None, Some(bson!("paid"))), "no", "no"),
            (to(Matcher::Exists(true)), "delta", "exact"),
            (to(Matcher::Not(Box::new(Matcher::Equals(bson!("paid"))))), "delta", "exact"),
            (typed(&["object", "array"]), "delta", "exact"),
            (typed(&["object"]), "no_post_image", "no_post_image"),
            (becomes(None, Some(bson!({"city": "Ulm"}))), "no_post_image", "no_post_image"),
            (Transition::Appears, "no_pre_image", "no"),
            (Transition::Disappears, "no", "no"),
            (moves(Direction::Up), "no", "no"),
            (Transition::Crosses(Direction::Up, bson!(5)), "no", "no"),
        ] {
            let rule = rule_when("address", transition.clone());
            assert_eq!(answer(&rule, &inside), without_image, "{transition:?}");
            assert_eq!(answer(&rule, &before), with_before, "{transition:?}");
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
