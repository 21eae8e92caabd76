//! Runs what follows the singular prefix of a query on raw BSON: nodes are shown one by one, in the order of RFC 9535, and nothing
//! is built or copied.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bson::RawBsonRef;

use super::Root;
use super::compile::regular_expression;
use super::tree::{Condition, Nodes, Operand, Order, Pattern, Segment, Selector, Start};
use crate::change::value::{self, Numbers};
use crate::rules::path::{Path, find};

/// Gives the values that `$` stands for inside filters.
pub(in crate::rules) trait Roots<'v> {
    /// The value at a path below a root; nothing if it is missing or not known.
    fn value(&self, root: Root, path: &Path) -> Option<RawBsonRef<'v>>;
}

/// Takes a selected node; may stop the walk.
type Visit<'w, 'v> = &'w mut dyn FnMut(RawBsonRef<'v>) -> ControlFlow<()>;

/// Shows every node that `segments` select below `value`.
pub(in crate::rules) fn nodes<'v>(
    roots: &dyn Roots<'v>,
    value: RawBsonRef<'v>,
    segments: &[Segment],
    visit: Visit<'_, 'v>,
) -> ControlFlow<()> {
    match segments.split_first() {
        None => visit(value),
        Some((Segment::Child(selectors), rest)) => {
            children(roots, value, selectors, &mut |node| nodes(roots, node, rest, visit))
        }
        Some((Segment::Descendant(selectors), rest)) => descend(roots, value, selectors, rest, visit),
    }
}

fn descend<'v>(
    roots: &dyn Roots<'v>,
    value: RawBsonRef<'v>,
    selectors: &[Selector],
    rest: &[Segment],
    visit: Visit<'_, 'v>,
) -> ControlFlow<()> {
    children(roots, value, selectors, &mut |node| nodes(roots, node, rest, visit))?;
    each_child(value, &mut |child| match child {
        RawBsonRef::Document(_) | RawBsonRef::Array(_) => descend(roots, child, selectors, rest, visit),
        _ => ControlFlow::Continue(()),
    })
}

fn children<'v>(
    roots: &dyn Roots<'v>,
    value: RawBsonRef<'v>,
    selectors: &[Selector],
    visit: Visit<'_, 'v>,
) -> ControlFlow<()> {
    for selector in selectors {
        match selector {
            Selector::Name(name) => {
                if let RawBsonRef::Document(document) = value
                    && let Ok(Some(child)) = document.get(name)
                {
                    visit(child)?;
                }
            }
            Selector::Index(index) => {
                if let Some(child) = element(value, *index) {
                    visit(child)?;
                }
            }
            Selector::Wildcard => each_child(value, visit)?,
            Selector::Slice { start, end, step } => slice(value, (*start, *end, *step), visit)?,
            Selector::Filter(condition) => each_child(value, &mut |child| {
                if holds(roots, child, condition) { visit(child) } else { ControlFlow::Continue(()) }
            })?,
        }
    }
    ControlFlow::Continue(())
}

fn each_child<'v>(value: RawBsonRef<'v>, visit: Visit<'_, 'v>) -> ControlFlow<()> {
    match value {
        RawBsonRef::Document(document) => {
            for (_, child) in document.iter().flatten() {
                visit(child)?;
            }
        }
        RawBsonRef::Array(array) => {
            for child in array.into_iter().flatten() {
                visit(child)?;
            }
        }
        _ => {}
    }
    ControlFlow::Continue(())
}

fn element(value: RawBsonRef<'_>, index: i64) -> Option<RawBsonRef<'_>> {
    let RawBsonRef::Array(array) = value else { return None };
    let index = match usize::try_from(index) {
        Ok(index) => index,
        Err(_) => array.iter_elements().count().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
    };
    array.get(index).ok().flatten()
}

/// As RFC 9535, section 2.3.4.2.2.
fn slice<'v>(
    value: RawBsonRef<'v>,
    (start, end, step): (Option<i64>, Option<i64>, i64),
    visit: Visit<'_, 'v>,
) -> ControlFlow<()> {
    let RawBsonRef::Array(array) = value else { return ControlFlow::Continue(()) };
    if step == 0 {
        return ControlFlow::Continue(());
    }
    let length = i64::try_from(array.iter_elements().count()).unwrap_or(i64::MAX);
    let normal = |index: i64| if index >= 0 { index } else { length + index };
    if step > 0 {
        let (lower, upper) =
            (normal(start.unwrap_or(0)).clamp(0, length), normal(end.unwrap_or(length)).clamp(0, length));
        let taken = usize::try_from(upper - lower).unwrap_or(0);
        let (skipped, step) = (usize::try_from(lower).unwrap_or(0), usize::try_from(step).unwrap_or(usize::MAX));
        for child in array.into_iter().flatten().skip(skipped).take(taken).step_by(step) {
            visit(child)?;
        }
        return ControlFlow::Continue(());
    }
    let upper = normal(start.unwrap_or(length - 1)).clamp(-1, length - 1);
    let lower = normal(end.unwrap_or(-length - 1)).clamp(-1, length - 1);
    let elements: Vec<RawBsonRef<'v>> = array.into_iter().flatten().collect();
    let mut index = upper;
    while index > lower {
        if let Some(child) = usize::try_from(index).ok().and_then(|index| elements.get(index)) {
            visit(*child)?;
        }
        index = index.saturating_add(step);
    }
    ControlFlow::Continue(())
}

fn holds<'v>(roots: &dyn Roots<'v>, current: RawBsonRef<'v>, condition: &Condition) -> bool {
    match condition {
        Condition::Or(conditions) => conditions.iter().any(|condition| holds(roots, current, condition)),
        Condition::And(conditions) => conditions.iter().all(|condition| holds(roots, current, condition)),
        Condition::Not(condition) => !holds(roots, current, condition),
        Condition::Exists(query) => inner(roots, current, query, &mut |_| ControlFlow::Break(())).is_break(),
        Condition::Compare(order, left, right) => {
            compare(*order, operand(roots, current, left), operand(roots, current, right))
        }
        Condition::Matches { text, pattern, whole } => {
            let Some(RawBsonRef::String(text)) = operand(roots, current, text) else { return false };
            match pattern {
                Pattern::Fixed(regex) => regex.is_match(text),
                Pattern::Read(pattern) => match operand(roots, current, pattern) {
                    Some(RawBsonRef::String(pattern)) => {
                        regular_expression(pattern, *whole).is_some_and(|regex| regex.is_match(text))
                    }
                    _ => false,
                },
            }
        }
    }
}

/// The nodes of a query inside a filter.
fn inner<'v>(roots: &dyn Roots<'v>, current: RawBsonRef<'v>, query: &Nodes, visit: Visit<'_, 'v>) -> ControlFlow<()> {
    let start = match query.start {
        Start::Current => find(current, &query.path.steps),
        Start::Root(root) => roots.value(root, &query.path),
    };
    match start {
        Some(start) => nodes(roots, start, &query.rest, visit),
        None => ControlFlow::Continue(()),
    }
}

/// The value of an operand; nothing if there is no node, or none that the function is for.
fn operand<'x, 'v: 'x>(roots: &dyn Roots<'v>, current: RawBsonRef<'v>, operand: &'x Operand) -> Option<RawBsonRef<'x>> {
    match operand {
        Operand::Literal(literal) => Some(literal.as_raw_bson_ref()),
        Operand::Node(query) => only(roots, current, query),
        Operand::Value(query) => only(roots, current, query),
        Operand::Count(query) => {
            let mut count = 0_i64;
            let _ = inner(roots, current, query, &mut |_| {
                count += 1;
                ControlFlow::Continue(())
            });
            Some(RawBsonRef::Int64(count))
        }
        Operand::Length(of) => {
            let count = match self::operand(roots, current, of)? {
                RawBsonRef::String(text) => text.chars().count(),
                RawBsonRef::Array(array) => array.iter_elements().count(),
                RawBsonRef::Document(document) => document.iter_elements().count(),
                _ => return None,
            };
            i64::try_from(count).ok().map(RawBsonRef::Int64)
        }
    }
}

/// The value of the only node that a query selects; nothing if it selects none or several.
fn only<'v>(roots: &dyn Roots<'v>, current: RawBsonRef<'v>, query: &Nodes) -> Option<RawBsonRef<'v>> {
    let mut first = None;
    let flow = inner(roots, current, query, &mut |node| {
        if first.is_some() {
            return ControlFlow::Break(());
        }
        first = Some(node);
        ControlFlow::Continue(())
    });
    if flow.is_break() { None } else { first }
}

/// As RFC 9535, section 2.3.5.2.2; numbers by value and exactly, and dates, ObjectIds and timestamps in order too.
fn compare(order: Order, left: Option<RawBsonRef<'_>>, right: Option<RawBsonRef<'_>>) -> bool {
    let equal = match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => value::equal(left, right, Numbers::ByValue),
        _ => false,
    };
    // RFC 9535 knows no order of booleans.
    let precedes = |wanted: Ordering| match (left, right) {
        (Some(RawBsonRef::Boolean(_)), _) | (None, _) | (_, None) => false,
        (Some(left), Some(right)) => value::order(left, right) == Some(wanted),
    };
    match order {
        Order::Equal => equal,
        Order::NotEqual => !equal,
        Order::Less => precedes(Ordering::Less),
        Order::Greater => precedes(Ordering::Greater),
        Order::LessOrEqual => equal || precedes(Ordering::Less),
        Order::GreaterOrEqual => equal || precedes(Ordering::Greater),
    }
}
