//! `data`, `key` and `subject`: from YAML to templates.

use bson::Bson;

use crate::rules::{Template, TextPart, TextTemplate};
use crate::yaml::{Entry, Node, Value};

use super::reader::Reader;
use super::{codes, literal};

/// Reads the value of `data`: a mapping, or a path to a whole document.
pub(super) fn data(reader: &mut Reader<'_>, node: &Node) -> Option<Template> {
    let is_path = node.as_text().is_some_and(is_query);
    if node.as_map().is_none() && !is_path {
        reader
            .wrong_type(node, "`data`", "a mapping of fields")
            .help("write {orderId: $.key._id}, or a path to a document such as $.after");
        return None;
    }
    let template = value(reader, node)?;
    if let Template::Literal(value) = &template
        && !matches!(value, Bson::Document(_))
    {
        reader
            .error(node.span, codes::WRONG_TYPE, "`data` must be a mapping of fields, not a single value")
            .help("write the name of a field in front: {total: {literal: 10}}");
        return None;
    }
    Some(template)
}

/// Reads a text with queries in braces, or a single path: `key` and `subject`.
pub(super) fn text(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<TextTemplate> {
    if let Some(help) = meant_as_text(node) {
        reader.wrong_type(node, what, "a text").help(help);
        return None;
    }
    let text = reader.text(node, what)?;
    if text.is_empty() {
        reader.error(node.span, codes::EMPTY, format!("{what} is an empty text")).help("leave it out");
        return None;
    }
    if is_query(text) {
        let query = reader.query(text, node.span)?;
        return Some(TextTemplate { parts: vec![TextPart::Query(query)] });
    }
    looks_like_path(reader, node, text, false);
    let template = reader.text_template(text, node.span)?;
    if what == "`key`" && !template.parts.iter().any(|part| matches!(part, TextPart::Query(_))) {
        reader
            .warning(node.span, codes::TAKEN_AS_TEXT, format!("all events of the rule get the one key {text:?}"))
            .help("name a value, for example $.after.customer; events with one key are delivered one after the other");
    }
    Some(template)
}

/// How to write a text template that YAML reads as something else: `{$.key._id}` without quotes is a mapping, and a list of
/// paths is one text with all of them.
fn meant_as_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Map(entries) => Some(unquoted_template(entries.first()?)?),
        Value::List(nodes) => {
            let paths: Option<Vec<&str>> =
                nodes.iter().map(|node| node.as_text().filter(|text| is_query(text))).collect();
            let parts: Vec<String> = paths?.iter().map(|path| format!("{{{path}}}")).collect();
            Some(format!("write one text: \"{}\"", parts.join("/")))
        }
        _ => None,
    }
}

fn unquoted_template(entry: &Entry) -> Option<String> {
    let is_path = is_query(&entry.key) && entry.node.value == Value::Null;
    is_path.then(|| {
        format!(
            "in YAML, braces without quotes are a mapping: write {0}, or in a longer text \"... {{{0}}}\"",
            entry.key
        )
    })
}

fn is_query(text: &str) -> bool {
    text == "$" || text.starts_with("$.") || text.starts_with("$[")
}

fn value(reader: &mut Reader<'_>, node: &Node) -> Option<Template> {
    match &node.value {
        Value::Text(text) if is_query(text) => {
            let query = reader.query(text, node.span)?;
            Some(Template::Path { query, default: None, required: false })
        }
        Value::Text(text) if text.contains(['{', '}']) => reader.text_template(text, node.span).map(Template::Text),
        Value::Text(text) => {
            looks_like_path(reader, node, text, true);
            Some(Template::Literal(Bson::String(text.clone())))
        }
        Value::List(nodes) => {
            let values: Vec<_> = nodes.iter().map(|node| value(reader, node)).collect();
            values.into_iter().collect::<Option<_>>().map(Template::List)
        }
        Value::Map(entries) => map(reader, node, entries),
        _ => literal::value(reader, node).map(Template::Literal),
    }
}

/// `$after.total`, `after.total` and `order/$.key._id` are texts of their own, but hardly meant as such.
fn looks_like_path(reader: &mut Reader<'_>, node: &Node, text: &str, is_data: bool) {
    let begins = |text: &str| {
        let root = text.split(['.', '[']).next().unwrap_or_default();
        is_root(root) || reader.scope.has_member(root)
    };
    let bare = text.strip_prefix('$').filter(|rest| begins(rest)).or_else(|| without_dollar(text));
    let meant = match (bare, text.split_once("$.")) {
        (Some(path), _) => format!("write \"$.{path}\" for the path"),
        (None, Some((start, rest))) if begins(rest) && !text.contains('{') => {
            let end = rest.find(|one: char| !(one.is_alphanumeric() || matches!(one, '_' | '.'))).unwrap_or(rest.len());
            let path = rest[..end].trim_end_matches('.');
            format!("a path inside a text stands in braces: write \"{start}{{$.{path}}}{}\"", &rest[path.len()..])
        }
        _ => return,
    };
    let otherwise = if is_data { format!(", or {{literal: {text:?}}} for the text") } else { String::new() };
    reader
        .warning(node.span, codes::TAKEN_AS_TEXT, format!("{text:?} is taken as plain text"))
        .help(format!("{meant}{otherwise}"));
}

fn is_root(name: &str) -> bool {
    ["before", "after", "key", "change", "meta", "item", "itemBefore", "index"].contains(&name)
}

/// The text, if it is a path from one of the documents without its dollar sign: `after.total`.
fn without_dollar(text: &str) -> Option<&str> {
    let names = ["before.", "after.", "itemBefore."].iter().find_map(|root| text.strip_prefix(root))?;
    let is_path =
        names.split('.').all(|name| !name.is_empty() && name.chars().all(|one| one.is_alphanumeric() || one == '_'));
    is_path.then_some(text)
}

fn map(reader: &mut Reader<'_>, node: &Node, entries: &[Entry]) -> Option<Template> {
    if literal::is_typed(node) {
        return literal::value(reader, node).map(Template::Literal);
    }
    if let [entry] = entries
        && entry.key == "literal"
    {
        return literal::value(reader, &entry.node).map(Template::Literal);
    }
    if let Some(path) = node.get("path").and_then(Node::as_text)
        && path.starts_with('$')
    {
        return path_with_options(reader, node, entries, path);
    }
    looks_like_options(reader, node, entries);
    let fields: Vec<_> = entries
        .iter()
        .map(|entry| {
            let value = value(reader, &entry.node);
            if entry.key.is_empty() || entry.key.starts_with('$') || entry.key.contains('\0') {
                reader
                    .error(entry.key_span, codes::BAD_NAME, format!("{:?} can not be the name of a field", entry.key))
                    .help(unquoted_template(entry).unwrap_or_else(|| {
                        "a field of an event has a name that does not start with a dollar sign".to_owned()
                    }));
                return None;
            }
            Some((entry.key.clone(), value?))
        })
        .collect();
    fields.into_iter().collect::<Option<_>>().map(Template::Map)
}

/// `{path: note, default: ""}` are two fields, but hardly meant as such.
fn looks_like_options(reader: &mut Reader<'_>, node: &Node, entries: &[Entry]) {
    let Some(Value::Text(path)) = node.get("path").map(|path| &path.value) else { return };
    let are_options = entries.iter().all(|entry| matches!(entry.key.as_str(), "path" | "default" | "required"));
    // What lacks its dollar sign alone is reported where the field is read.
    if are_options && entries.len() > 1 && without_dollar(path).is_none() {
        let span = node.get("path").map_or(node.span, |path| path.span);
        reader
            .warning(span, codes::TAKEN_AS_TEXT, format!("{path:?} is taken as plain text, in a field named \"path\""))
            .help(format!("for the value at a path, write \"$.after.{path}\""));
    }
}

fn path_with_options(reader: &mut Reader<'_>, node: &Node, entries: &[Entry], path: &str) -> Option<Template> {
    reader.known_keys(entries, &["path", "default", "required"], "a path with options");
    let query = reader.query(path, node.get("path")?.span);
    let default = match node.get("default") {
        Some(node) => Some(literal::value(reader, node)?),
        None => None,
    };
    let required = match node.get("required") {
        Some(node) => reader.boolean(node, "`required`")?,
        None => false,
    };
    if required && let Some(entry) = node.entry("default") {
        reader
            .error(
                entry.key_span,
                codes::CANNOT_HOLD,
                "a value with a default is never missing, so it can not be required",
            )
            .help("keep `default` or `required: true`");
        return None;
    }
    Some(Template::Path { query: query?, default, required })
}
