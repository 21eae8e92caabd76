//! What can hold at all: conditions that contradict themselves are found when a file is read, not by waiting for ever.

use bson::Bson;

use crate::change::value::{Numbers, equal};
use crate::rules::ast::{Transition, When};
use crate::rules::text::raw;
use crate::rules::{Comparison, FieldPath, Matcher};

/// False if surely no value (nor a missing one) matches.
pub(super) fn matcher_can_hold(matcher: &Matcher, numbers: Numbers) -> bool {
    let Matcher::All(all) = matcher else { return true };
    if values(matcher, numbers).is_some_and(|values| values.is_empty()) {
        return false;
    }
    let must_be_missing = all.iter().any(|one| matches!(one, Matcher::Exists(false)));
    if must_be_missing && !holds_for_missing(matcher) {
        return false;
    }
    !bounds_are_empty(all)
}

/// True if a missing value matches.
pub(super) fn holds_for_missing(matcher: &Matcher) -> bool {
    match matcher {
        Matcher::Exists(exists) => !exists,
        Matcher::Not(inner) => !holds_for_missing(inner),
        Matcher::OneOf(any) => any.iter().any(holds_for_missing),
        Matcher::All(all) => all.iter().all(holds_for_missing),
        Matcher::Equals(_)
        | Matcher::Compare(..)
        | Matcher::Type(_)
        | Matcher::Prefix(_)
        | Matcher::Suffix(_)
        | Matcher::Contains(_)
        | Matcher::Text(_)
        | Matcher::Regex(_) => false,
    }
}

/// False if surely no change makes this transition.
pub(super) fn transition_can_hold(transition: &Transition, numbers: Numbers) -> bool {
    let Transition::Becomes { from: Some(from), to: Some(to) } = transition else { return true };
    match (values(from, numbers), values(to, numbers)) {
        (Some(from), Some(to)) => {
            !matches!((from.as_slice(), to.as_slice()), ([from], [to]) if same(from, to, numbers))
        }
        _ => !(only_missing(from) && only_missing(to)),
    }
}

/// True if the path can make the transition when the document did not exist before.
pub(super) fn can_hold_on_insert(when: &When) -> bool {
    can_hold(when, &|transition| match transition {
        Transition::Changed | Transition::Appears | Transition::Unchanged => true,
        Transition::Disappears | Transition::Moves { .. } | Transition::Crosses(..) => false,
        Transition::Becomes { from, .. } => from.as_ref().is_none_or(holds_for_missing),
    })
}

/// True if the path can make the transition when the document does not exist after.
pub(super) fn can_hold_on_delete(when: &When) -> bool {
    can_hold(when, &|transition| match transition {
        Transition::Changed | Transition::Disappears | Transition::Unchanged => true,
        Transition::Appears | Transition::Moves { .. } | Transition::Crosses(..) => false,
        Transition::Becomes { to, .. } => to.as_ref().is_none_or(holds_for_missing),
    })
}

fn can_hold(when: &When, field: &dyn Fn(&Transition) -> bool) -> bool {
    match when {
        When::All(all) => all.iter().all(|one| can_hold(one, field)),
        When::Any(any) => any.iter().any(|one| can_hold(one, field)),
        When::Field(_, transition) => field(transition),
    }
}

/// A path that must change although something above it (or itself) must not: the two as written.
pub(super) fn contradiction(all: &[When]) -> Option<(&FieldPath, &FieldPath)> {
    let fields = || {
        all.iter().filter_map(|one| match one {
            When::Field(path, transition) => Some((path, &**transition)),
            When::All(_) | When::Any(_) => None,
        })
    };
    let still = fields().filter(|(_, transition)| matches!(transition, Transition::Unchanged));
    still.map(|(path, _)| path).find_map(|still| {
        let moving = fields().filter(|(_, transition)| !matches!(transition, Transition::Unchanged));
        let inside = moving.map(|(path, _)| path).find(|path| path.steps.starts_with(&still.steps))?;
        Some((still, inside))
    })
}

/// The paths that must stay unchanged for the transitions to hold.
pub(super) fn still_paths(when: &When) -> Vec<&FieldPath> {
    match when {
        When::All(all) => all.iter().flat_map(still_paths).collect(),
        When::Any(_) => Vec::new(),
        When::Field(path, transition) if matches!(**transition, Transition::Unchanged) => vec![path],
        When::Field(..) => Vec::new(),
    }
}

/// The values that can match, where they can be counted.
fn values(matcher: &Matcher, numbers: Numbers) -> Option<Vec<Bson>> {
    match matcher {
        Matcher::Equals(value) => Some(vec![value.clone()]),
        Matcher::OneOf(any) => {
            let mut union: Vec<Bson> = Vec::new();
            for one in any {
                for value in values(one, numbers)? {
                    if !union.iter().any(|known| same(known, &value, numbers)) {
                        union.push(value);
                    }
                }
            }
            Some(union)
        }
        Matcher::All(all) => {
            let mut sets = all.iter().filter_map(|one| values(one, numbers));
            let mut left = sets.next()?;
            for set in sets {
                left.retain(|value| set.iter().any(|other| same(value, other, numbers)));
            }
            for excluded in all.iter().filter_map(|one| match one {
                Matcher::Not(inner) => values(inner, numbers),
                _ => None,
            }) {
                left.retain(|value| !excluded.iter().any(|other| same(value, other, numbers)));
            }
            left.retain(|value| all.iter().all(|one| number_fits(value, one)));
            Some(left)
        }
        _ => None,
    }
}

fn only_missing(matcher: &Matcher) -> bool {
    match matcher {
        Matcher::Exists(exists) => !exists,
        Matcher::All(all) => all.iter().any(only_missing),
        _ => false,
    }
}

fn same(a: &Bson, b: &Bson, numbers: Numbers) -> bool {
    equal(raw(a).as_raw_bson_ref(), raw(b).as_raw_bson_ref(), numbers)
}

/// The number, where it has an exact double. Decimals and large whole numbers are left alone: a missed contradiction is
/// better than a wrong one.
fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(value) => Some(f64::from(*value)),
        Bson::Int64(value) => i32::try_from(*value).ok().map(f64::from),
        Bson::Double(value) => Some(*value),
        _ => None,
    }
}

fn number_fits(value: &Bson, matcher: &Matcher) -> bool {
    let Matcher::Compare(comparison, bound) = matcher else { return true };
    let (Some(value), Some(bound)) = (number(value), number(bound)) else { return true };
    match comparison {
        Comparison::Greater => value > bound,
        Comparison::GreaterOrEqual => value >= bound,
        Comparison::Less => value < bound,
        Comparison::LessOrEqual => value <= bound,
    }
}

fn bounds_are_empty(all: &[Matcher]) -> bool {
    let (mut low, mut low_open) = (f64::NEG_INFINITY, false);
    let (mut high, mut high_open) = (f64::INFINITY, false);
    for one in all {
        let Matcher::Compare(comparison, bound) = one else { continue };
        let Some(bound) = number(bound) else { continue };
        match comparison {
            Comparison::Greater if bound >= low => (low, low_open) = (bound, true),
            Comparison::GreaterOrEqual if bound > low => (low, low_open) = (bound, false),
            Comparison::Less if bound <= high => (high, high_open) = (bound, true),
            Comparison::LessOrEqual if bound < high => (high, high_open) = (bound, false),
            _ => {}
        }
    }
    low > high || (low == high && (low_open || high_open))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equals(value: i32) -> Matcher {
        Matcher::Equals(Bson::Int32(value))
    }

    fn compare(comparison: Comparison, value: f64) -> Matcher {
        Matcher::Compare(comparison, Bson::Double(value))
    }

    #[test]
    fn contradictions_between_operators_are_found() {
        use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
        let not = |matcher| Matcher::Not(Box::new(matcher));
        let impossible = [
            vec![equals(1), equals(2)],
            vec![equals(1), not(equals(1))],
            vec![Matcher::OneOf(vec![equals(1), equals(2)]), not(Matcher::OneOf(vec![equals(2), equals(1)]))],
            vec![compare(Greater, 5.0), compare(Less, 3.0)],
            vec![compare(Greater, 5.0), compare(LessOrEqual, 5.0)],
            vec![equals(7), compare(Less, 7.0)],
            vec![Matcher::Exists(false), equals(1)],
        ];
        for all in impossible {
            assert!(!matcher_can_hold(&Matcher::All(all.clone()), Numbers::ByValue), "{all:?}");
        }
        let possible = [
            vec![compare(GreaterOrEqual, 5.0), compare(LessOrEqual, 5.0)],
            vec![Matcher::OneOf(vec![equals(1), equals(2)]), not(equals(1))],
            vec![Matcher::Exists(false), not(equals(1))],
            vec![equals(1), Matcher::Equals(Bson::Double(1.0))],
            vec![equals(1), Matcher::Equals(Bson::Decimal128("1.0".parse().unwrap()))],
        ];
        for all in possible {
            assert!(matcher_can_hold(&Matcher::All(all.clone()), Numbers::ByValue), "{all:?}");
        }
    }

    #[test]
    fn a_value_does_not_become_itself() {
        let becomes = |from, to| Transition::Becomes { from: Some(from), to: Some(to) };
        let both = || Matcher::OneOf(vec![equals(1), equals(2)]);
        assert!(!transition_can_hold(&becomes(equals(1), equals(1)), Numbers::ByValue));
        assert!(!transition_can_hold(
            &becomes(Matcher::OneOf(vec![equals(1), equals(1)]), equals(1)),
            Numbers::ByValue
        ));
        assert!(!transition_can_hold(&becomes(Matcher::Exists(false), Matcher::Exists(false)), Numbers::ByValue));
        assert!(transition_can_hold(&becomes(both(), both()), Numbers::ByValue));
        assert!(transition_can_hold(&becomes(equals(1), equals(2)), Numbers::ByValue));
        let one = || Matcher::Equals(Bson::Double(1.0));
        assert!(!transition_can_hold(&becomes(equals(1), one()), Numbers::ByValue));
        assert!(transition_can_hold(&becomes(equals(1), one()), Numbers::Strict));
        assert!(!matcher_can_hold(&Matcher::All(vec![equals(1), one()]), Numbers::Strict));
    }
}
