//! States: mappings of dotted paths to value matchers, as `enters` and `leaves` have them, and conditions on array elements.

use crate::rules::ast::State;
use crate::rules::{FieldPath, Matcher};
use crate::yaml::{Entry, Node, Value};

use super::reader::Reader;
use super::{codes, condition, literal, when};

/// Reads a state; `what` is the key that has it, in backquotes.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<State> {
    let Some(entries) = node.as_map() else {
        let help = match node.value {
            Value::List(_) => "write one mapping {path: value, ...}; all of its conditions must hold",
            _ => "write {path: value}, for example {balance: {lt: 0}}",
        };
        reader.wrong_type(node, what, "a mapping of paths to values").help(help);
        return None;
    };
    if entries.is_empty() {
        reader.error(node.span, codes::EMPTY, format!("{what} is empty")).help("name at least one path");
        return None;
    }
    // Every one is read before giving up, so that all problems are reported.
    let all: Vec<_> = entries.iter().map(|entry| one(reader, entry, what)).collect();
    all.into_iter().collect::<Option<_>>().map(State)
}

fn one(reader: &mut Reader<'_>, entry: &Entry, what: &str) -> Option<(FieldPath, Matcher)> {
    let path = if let Some(path) = entry.key.strip_prefix("$.") {
        let bare = ["after.", "before.", "item."].iter().find_map(|root| path.strip_prefix(root)).unwrap_or(path);
        reader
            .error(entry.key_span, codes::UNKNOWN_KEY, format!("{what} takes dotted paths, not JSONPaths"))
            .help(format!("write {bare:?}"));
        None
    } else {
        looks_like_root(reader, entry);
        reader.language(entry.key_span, FieldPath::parse(&entry.key))
    };
    if let "any" | "or" | "all" | "and" = entry.key.as_str()
        && let Value::List(nodes) = &entry.node.value
        && nodes.iter().any(|node| node.as_map().is_some_and(|entries| !condition::has_operators(entries)))
    {
        let help = match entry.key.as_str() {
            "any" | "or" => {
                "alternatives of one path are a list, {status: [paid, sent]}; for different paths write two rules"
            }
            _ => "all of a mapping must hold: write the paths beside each other",
        };
        reader.error(entry.key_span, codes::UNKNOWN_KEY, format!("{what} has no word {:?}", entry.key)).help(help);
        return None;
    }
    let matcher = if is_transition(&entry.node) {
        reader
            .error(entry.node.span, codes::WRONG_TYPE, format!("{what} takes values, not transitions"))
            .help(format!("write {{{}: value}} for what the value is; how it changed belongs under `when`", entry.key));
        None
    } else {
        looks_like_word(reader, entry);
        condition::read(reader, &entry.node)
    };
    Some((path?, matcher?))
}

/// `after.status` asks for a field named `after`: a dotted path starts in the document.
pub(super) fn looks_like_root(reader: &mut Reader<'_>, entry: &Entry) {
    let Some((root, path)) = entry.key.split_once('.').filter(|(root, _)| matches!(*root, "after" | "before")) else {
        return;
    };
    reader.warning(entry.key_span, codes::TAKEN_AS_TEXT, format!("`{root}` is taken as the name of a field")).help(
        format!("a dotted path starts in the document: write {path:?}; if the field is meant, '[\"{root}\"].{path}'"),
    );
}

/// True for a mapping that only `when` knows, such as `{from: a, to: b}`.
fn is_transition(node: &Node) -> bool {
    let Some(entries) = node.as_map() else { return false };
    !literal::is_typed(node)
        && !condition::has_operators(entries)
        && entries.iter().any(|entry| when::KEYS.contains(&entry.key.as_str()))
}

/// `enters: {status: changed}` asks for a status with that text.
fn looks_like_word(reader: &mut Reader<'_>, entry: &Entry) {
    let Some(text) = entry.node.as_text().filter(|text| when::WORDS.contains(text)) else { return };
    let (path, span) = (&entry.key, entry.node.span);
    reader
        .warning(span, codes::TAKEN_AS_TEXT, format!("{text:?} is taken as a value, not as a transition"))
        .help(format!("transitions belong under `when`; if the value is meant, write `{path}: {{eq: {text}}}`"));
}
