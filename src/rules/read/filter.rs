//! `where`: from JSONPaths and value matchers.

use crate::rules::Query;
use crate::rules::ast::Where;
use crate::yaml::{Entry, Node, Span, Value};

use super::reader::Reader;
use super::{codes, condition};

/// Reads the value of `where`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Where> {
    let all = match &node.value {
        Value::Map(entries) => of_map(reader, node, entries)?,
        Value::List(nodes) => {
            if nodes.is_empty() {
                reader
                    .error(node.span, codes::EMPTY, "`where` is empty")
                    .help("name at least one condition, or leave it out");
                return None;
            }
            let conditions: Vec<_> = nodes.iter().map(|node| condition(reader, node)).collect();
            conditions.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect()
        }
        Value::Text(text) => vec![Where::Exists(query(reader, text, node.span)?)],
        _ => {
            reader
                .wrong_type(node, "`where`", "a mapping of JSONPaths to values, or a list")
                .help("write {$.after.total: {gte: 100}} or [\"$.after.items[?@.qty > 10]\"]");
            return None;
        }
    };
    Some(Where::All(all))
}

fn condition(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Where>> {
    match &node.value {
        Value::Text(text) => query(reader, text, node.span).map(|query| vec![Where::Exists(query)]),
        Value::Map(entries) => of_map(reader, node, entries),
        _ => {
            reader.wrong_type(node, "a condition of `where`", "a JSONPath or a mapping of JSONPaths to values");
            None
        }
    }
}

fn of_map(reader: &mut Reader<'_>, node: &Node, entries: &[Entry]) -> Option<Vec<Where>> {
    if entries.is_empty() {
        reader.error(node.span, codes::EMPTY, "`where` is empty").help("name at least one condition, or leave it out");
        return None;
    }
    let conditions: Vec<_> = entries
        .iter()
        .map(|entry| {
            let query = query(reader, &entry.key, entry.key_span);
            // What stands below a word that is no path is no matcher: one finding is enough.
            if ALTERNATIVES.contains(&entry.key.as_str()) {
                return query.map(Where::Exists);
            }
            let matcher = condition::read(reader, &entry.node);
            Some(Where::Matches(query?, matcher?))
        })
        .collect();
    conditions.into_iter().collect()
}

/// Words of other languages for several conditions.
const ALTERNATIVES: [&str; 4] = ["any", "or", "all", "and"];

fn query(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<Query> {
    if !text.starts_with('$') {
        let help = match text {
            "any" | "or" => {
                "`where` has no alternatives but a list of values and `||` inside a filter: \"$.after.items[?@.a == 1 || @.b == 2]\" of elements, \"$.after[?$.after.a == 1 || $.after.b == 2]\" of the document"
                    .to_owned()
            }
            "all" | "and" => "all conditions must hold anyway: write them beside each other".to_owned(),
            _ if reader.scope.has_member(text.split(['.', '[']).next().unwrap_or_default()) => {
                format!("write \"$.{text}\"")
            }
            _ if ["after.", "before.", "key.", "change.", "meta.", "item.", "itemBefore."]
                .iter()
                .any(|root| text.starts_with(root)) =>
            {
                format!("write \"$.{text}\"")
            }
            _ => format!(
                "write \"$.after.{text}\" for the document after the change, \"$.before.{text}\" for the one before"
            ),
        };
        reader
            .error(span, codes::NO_QUERY, format!("{text:?} is no JSONPath: it does not start with \"$.\""))
            .help(help);
        return None;
    }
    reader.query(text, span)
}
