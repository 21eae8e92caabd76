//! Runs what follows the singular prefix of a query on raw BSON: nodes are shown one by one, in the order of RFC 9535, and nothing
//! is built or copied.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bson::RawBsonRef;

use super::Root;
use super::pattern::regular_expression;
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

#[cfg(test)]
mod tests {
    use bson::{Bson, bson};
    use jsonpath_rust::query::js_path_vals;
    use proptest::prelude::*;

    use crate::rules::{Query, query};

    fn select(text: &str, document: &Bson) -> Vec<Bson> {
        query(&Query::parse_plain(text).unwrap(), document)
    }

    #[test]
    fn nodes_come_in_the_order_of_the_rfc() {
        let book = |title: &str, price: f64| bson!({"title": title, "price": price});
        let store = bson!({"book": [book("a", 8.95), book("b", 12.99), book("c", 8.99)], "bicycle": {"price": 399}});
        for (text, wanted) in [
            ("$.book[*].title", bson!(["a", "b", "c"])),
            ("$..price", bson!([8.95, 12.99, 8.99, 399])),
            ("$.book[-1].title", bson!(["c"])),
            ("$.book[-4].title", bson!([])),
            ("$.book[0,2].title", bson!(["a", "c"])),
            ("$.book[:2].title", bson!(["a", "b"])),
            ("$.book[::-2].title", bson!(["c", "a"])),
            ("$.book[?@.price < 9].title", bson!(["a", "c"])),
            ("$.book[?@.price < $.bicycle.price && @.title != 'b']['title']", bson!(["a", "c"])),
            ("$.book[?search(@.title, '[bc]')].title", bson!(["b", "c"])),
            ("$.book[?match(@.title, 'b|c')].title", bson!(["b", "c"])),
            ("$[?count(@.*) == 3][0].title", bson!(["a"])),
            ("$.book[?length(@.title) == 1 && @.nothing == @.none].price", bson!([8.95, 12.99, 8.99])),
            ("$.book[?value(@..price) == 8.99].title", bson!(["c"])),
            // A filter in a filter, which the reference gets wrong.
            ("$[?@[?@.price > 9]][0].title", bson!(["a"])),
            ("$.bicycle.price", bson!([399])),
            ("$.bicycle.colour", bson!([])),
        ] {
            assert_eq!(Bson::Array(select(text, &store)), wanted, "{text}");
        }
    }

    #[test]
    fn filters_compare_whole_numbers_exactly_and_dates_with_dates() {
        let date = |millis| Bson::DateTime(bson::DateTime::from_millis(millis));
        let document = bson!({"big": 9_007_199_254_740_993_i64, "at": date(5), "list": [{"n": 9_007_199_254_740_992_i64, "at": date(4)}]});
        assert!(select("$.list[?@.n == $.big]", &document).is_empty());
        assert_eq!(select("$.list[?@.n < $.big]", &document).len(), 1);
        assert_eq!(select("$.list[?@.at < $.at]", &document).len(), 1);
        assert!(select("$.list[?@.at < 9]", &document).is_empty());
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (-2_i64..4).prop_map(Into::into),
            Just(serde_json::json!(1.5)),
            "[xy]{0,2}".prop_map(Into::into)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let object = prop::collection::btree_map("[abc]", inner.clone(), 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect()));
            prop_oneof![prop::collection::vec(inner, 0..4).prop_map(serde_json::Value::Array), object]
        })
    }

    fn path() -> impl Strategy<Value = String> {
        let segments = [
            ".a",
            "['b']",
            "[0]",
            "[-1]",
            "[*]",
            ".*",
            "..a",
            "..[0]",
            "..*",
            "..[*]",
            "[1:3]",
            "[:-1]",
            "[::-1]",
            "[3:0:-2]",
            "[::2]",
            "['a','b']",
            "[0,0]",
            "[*,'a']",
            "[?@.a]",
            "[?!@.a]",
            "[?@.a == 1]",
            "[?@ > 1]",
            "[?@ <= 'x']",
            "[?@.a != @.b]",
            "[?@.a == $.b]",
            "[?!(@.a && @.b) || @.c < 2]",
            "[?length(@) > 1]",
            "[?length(@.a) == 1]",
            "[?count(@.*) == 2]",
            "[?count(@..a) > 1]",
            "[?match(@.a, 'x.*')]",
            "[?search(@, 'y')]",
            "[?value(@..a) == 1]",
            "[?@ == null]",
            "[?@.a == true]",
            "[?@[0] == @[-1]]",
        ];
        prop::collection::vec(prop::sample::select(segments.to_vec()).prop_map(ToOwned::to_owned), 0..4)
            .prop_map(|segments| format!("${}", segments.concat()))
    }

    /// What a list of nodes is compared as: without regard to order after a descendant segment or several selectors, where the
    /// reference departs from the RFC.
    fn comparable(text: &str, nodes: impl Iterator<Item = serde_json::Value>) -> Vec<String> {
        let mut nodes: Vec<String> = nodes.map(|node| node.to_string()).collect();
        if text.contains("..") || text.contains(',') {
            nodes.sort();
        }
        nodes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn queries_select_what_jsonpath_rust_selects(document in value(), text in path()) {
            let reference = js_path_vals(&text, &document).unwrap();
            let wanted = comparable(&text, reference.into_iter().cloned());
            let ours = select(&text, &bson::serialize_to_bson(&document).unwrap());
            let selected = comparable(&text, ours.iter().map(|node| bson::deserialize_from_bson(node.clone()).unwrap()));
            prop_assert_eq!(selected, wanted, "{} of {}", text, document);
        }
    }
}
