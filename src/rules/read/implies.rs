//! Whether one condition can only hold where another one holds. It finds what can be seen in the words of a rule file, and says no
//! where it can not see it.

use std::cmp::Ordering;

use crate::change::value::{self, Numbers};
use crate::rules::ast::{Rule, State, Transition, When, Where};
use crate::rules::check::Check;
use crate::rules::text::raw;
use crate::rules::{Comparison, Matcher};

use super::possible;

/// True if the one rule matches every change that the other matches.
pub(super) fn rule(other: &Rule, one: &Rule) -> bool {
    let covers = |named| one.collections.iter().any(|own| own.covers(named));
    let (operations, own) = (other.operations, one.operations);
    let has_all_operations =
        own.insert >= operations.insert && own.update >= operations.update && own.delete >= operations.delete;
    let same = |one: &dyn std::fmt::Debug, other: &dyn std::fmt::Debug| format!("{one:?}") == format!("{other:?}");
    has_all_operations
        && other.collections.iter().all(covers)
        && one.numbers == other.numbers
        && one.transaction.is_none()
        && (one.each.is_none() || same(&one.each, &other.each))
        && one.when.as_ref().is_none_or(|one| other.when.as_ref().is_some_and(|other| when(other, one)))
        && one.filter.as_ref().is_none_or(|one| other.filter.as_ref().is_some_and(|other| filter(other, one)))
        && [(&one.enters, &other.enters), (&one.leaves, &other.leaves)]
            .iter()
            .all(|(one, other)| one.is_none() || same(&one.as_ref().map(texts), &other.as_ref().map(texts)))
}

/// The conditions of a state in one order, whatever the order in the file.
pub(super) fn texts(State(all): &State) -> Vec<String> {
    let mut texts: Vec<_> = all.iter().map(|(path, matcher)| format!("{:?} {matcher:?}", path.steps)).collect();
    texts.sort();
    texts
}

fn when(other: &When, one: &When) -> bool {
    match (other, one) {
        (_, When::All(all)) => all.iter().all(|one| when(other, one)),
        (When::Any(any), _) => any.iter().all(|other| when(other, one)),
        (_, When::Any(any)) if any.iter().any(|one| when(other, one)) => true,
        (When::All(all), _) => all.iter().any(|other| when(other, one)),
        (When::Field(..), When::Any(_)) => false,
        (When::Field(path, transition), When::Field(around, change)) => {
            let moves = !matches!(**transition, Transition::Unchanged);
            // Touching a path touches every path above it.
            let touches = moves && matches!(**change, Transition::Changed) && path.steps.starts_with(&around.steps);
            touches || (path.steps == around.steps && by_transition(transition, change))
        }
    }
}

fn by_transition(other: &Transition, one: &Transition) -> bool {
    match (other, one) {
        (Transition::Becomes { from, to }, Transition::Becomes { from: one_from, to: one_to }) => {
            let implies = |other: &Option<Matcher>, one: &Option<Matcher>| {
                one.as_ref().is_none_or(|one| other.as_ref().is_some_and(|other| matcher(other, one)))
            };
            implies(from, one_from) && implies(to, one_to)
        }
        (
            Transition::Moves { direction, .. },
            Transition::Moves { direction: one_direction, by: None, by_percent: None },
        ) => direction == one_direction,
        _ => format!("{other:?}") == format!("{one:?}"),
    }
}

fn filter(other: &Where, one: &Where) -> bool {
    match (other, one) {
        (_, Where::All(all)) => all.iter().all(|one| filter(other, one)),
        (Where::All(all), _) => all.iter().any(|other| filter(other, one)),
        (Where::Exists(other), Where::Exists(one)) => other.text == one.text,
        (Where::Matches(other, wanted), Where::Exists(one)) => {
            other.text == one.text && !possible::holds_for_missing(wanted)
        }
        (Where::Exists(_), Where::Matches(..)) => false,
        (Where::Matches(other, wanted), Where::Matches(one, matcher_of_one)) => {
            other.text == one.text && matcher(wanted, matcher_of_one)
        }
    }
}

/// True if a value that matches the other surely matches the one.
fn matcher(other: &Matcher, one: &Matcher) -> bool {
    if let Matcher::Equals(value) = other {
        return Check::new(one, Numbers::ByValue).matches(Some(raw(value).as_raw_bson_ref()));
    }
    match (other, one) {
        (_, Matcher::All(all)) => all.iter().all(|one| matcher(other, one)),
        (Matcher::OneOf(any), _) => any.iter().all(|other| matcher(other, one)),
        (_, Matcher::OneOf(any)) if any.iter().any(|one| matcher(other, one)) => true,
        (Matcher::All(all), _) => all.iter().any(|other| matcher(other, one)),
        (_, Matcher::Exists(true)) => !possible::holds_for_missing(other),
        (Matcher::Compare(how, bound), Matcher::Compare(one_how, one_bound)) => {
            use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
            let order = value::order(raw(bound).as_raw_bson_ref(), raw(one_bound).as_raw_bson_ref());
            match (how, one_how) {
                (GreaterOrEqual, Greater) => order == Some(Ordering::Greater),
                (Greater | GreaterOrEqual, Greater | GreaterOrEqual) => order.is_some_and(Ordering::is_ge),
                (LessOrEqual, Less) => order == Some(Ordering::Less),
                (Less | LessOrEqual, Less | LessOrEqual) => order.is_some_and(Ordering::is_le),
                _ => false,
            }
        }
        _ => format!("{other:?}") == format!("{one:?}"),
    }
}

#[cfg(test)]
mod tests {
    use bson::Bson;

    use super::*;
    use crate::rules::FieldPath;

    fn equals(value: i32) -> Matcher {
        Matcher::Equals(Bson::Int32(value))
    }

    fn compare(comparison: Comparison, value: i32) -> Matcher {
        Matcher::Compare(comparison, Bson::Int32(value))
    }

    #[test]
    fn a_matcher_implies_what_it_is_a_part_of() {
        use Comparison::{Greater, GreaterOrEqual, Less};
        let one_of = |values: &[i32]| Matcher::OneOf(values.iter().map(|value| equals(*value)).collect());
        let not = |matcher| Matcher::Not(Box::new(matcher));
        for (other, one, implied) in [
            (equals(1), one_of(&[1, 2]), true),
            (one_of(&[1, 2]), one_of(&[3, 2, 1]), true),
            (one_of(&[1, 2]), equals(1), false),
            (equals(7), compare(Greater, 5), true),
            (equals(1), not(equals(2)), true),
            (compare(Greater, 5), compare(GreaterOrEqual, 5), true),
            (compare(GreaterOrEqual, 5), compare(Greater, 5), false),
            (compare(GreaterOrEqual, 6), compare(Greater, 5), true),
            (compare(Greater, 5), compare(Less, 9), false),
            (Matcher::All(vec![compare(Greater, 5), compare(Less, 9)]), compare(Greater, 1), true),
            (compare(Greater, 5), Matcher::Exists(true), true),
            (not(equals(1)), Matcher::Exists(true), false),
        ] {
            assert_eq!(matcher(&other, &one), implied, "{other:?} -> {one:?}");
        }
    }

    #[test]
    fn a_transition_implies_the_weaker_one_and_a_change_of_what_is_around() {
        let field = |path: &str, transition| When::Field(FieldPath::parse(path).unwrap(), Box::new(transition));
        let becomes =
            |from: Option<i32>, to: Option<i32>| Transition::Becomes { from: from.map(equals), to: to.map(equals) };
        let narrow = field("a.b", becomes(Some(1), Some(2)));
        assert!(when(&narrow, &field("a.b", becomes(None, Some(2)))));
        assert!(!when(&field("a.b", becomes(None, Some(2))), &narrow));
        assert!(when(&narrow, &field("a", Transition::Changed)));
        assert!(!when(&field("a", Transition::Changed), &field("a.b", Transition::Changed)));
        assert!(when(&When::All(vec![narrow.clone(), field("c", Transition::Appears)]), &narrow));
        assert!(when(&narrow, &When::Any(vec![field("c", Transition::Appears), narrow.clone()])));
        assert!(!when(&When::Any(vec![narrow.clone(), field("c", Transition::Appears)]), &narrow));
    }
}
