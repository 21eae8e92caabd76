//! Value matchers: from a scalar, a list or a mapping of operators to a [`Matcher`].

use bson::Bson;

use crate::rules::check::TYPE_NAMES;
use crate::rules::{Comparison, Matcher, TextMatch};
use crate::yaml::{Entry, Node, Span, Value, did_you_mean};

use super::reader::{Reader, one_of};
use super::{codes, literal, possible};

/// Every operator of a value matcher.
pub(super) const OPERATORS: [&str; 14] =
    ["eq", "ne", "gt", "gte", "lt", "lte", "in", "not", "exists", "type", "prefix", "suffix", "contains", "regex"];
/// The key that makes the texts beside it compare without regard to case.
const IGNORE_CASE: &str = "ignore_case";

/// True if the mapping is one of operators, to tell it from other mappings that may stand in the same place.
pub(super) fn has_operators(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| OPERATORS.contains(&entry.key.as_str()) || entry.key == IGNORE_CASE)
}

/// Reads a value matcher: a scalar (equals), a list (one of) or a mapping of operators (all hold).
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Matcher> {
    if literal::is_bad_date(reader, node) {
        return None;
    }
    match &node.value {
        Value::List(nodes) => one_of_values(reader, node.span, nodes, false),
        Value::Map(entries) if !literal::is_typed(node) => operators(reader, node.span, entries, false),
        _ => equals(reader, node, false),
    }
}

/// A text that was hardly meant as one: a path, or without quotes a date or an ObjectId.
fn looks_like_value(reader: &mut Reader<'_>, node: &Node) {
    let Some(text) = node.as_text() else { return };
    let is_plain = node.span.is_plain();
    let (meant, help) = if text.starts_with("$.") {
        let help = "a value stands here; to compare two values of the document, write where: [\"$.after[?$.after.paid >= $.after.total]\"]";
        ("a path", help.to_owned())
    } else if is_plain && text.starts_with(|first: char| first.is_ascii_digit()) && literal::date(text).is_some() {
        ("a date", format!("write {{date: {text}}}, or put it in quotes if the documents hold texts"))
    } else if is_plain && text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        ("an ObjectId", format!("write {{$oid: {text}}}, or put it in quotes if the documents hold texts"))
    } else {
        return;
    };
    reader.warning(node.span, codes::TAKEN_AS_TEXT, format!("{text:?} is taken as a text, not as {meant}")).help(help);
}

/// `around` is true inside of a mapping with `ignore_case`, unless this one says otherwise.
fn operators(reader: &mut Reader<'_>, span: Span, entries: &[Entry], around: bool) -> Option<Matcher> {
    if entries.is_empty() {
        reader
            .error(span, codes::EMPTY, "the value matcher is empty")
            .help("write a value, or operators, for example {gte: 100}");
        return None;
    }
    let ignore_case = match entries.iter().find(|entry| entry.key == IGNORE_CASE) {
        Some(entry) => reader.boolean(&entry.node, "`ignore_case`")?,
        None => around,
    };
    let texts = ["eq", "ne", "in", "not", "prefix", "suffix", "contains", "regex"];
    if ignore_case && !around && !entries.iter().any(|entry| texts.contains(&entry.key.as_str())) {
        reader
            .error(span, codes::EMPTY, "`ignore_case` has nothing to compare")
            .help("put it beside eq, ne, in, prefix, suffix, contains or regex");
        return None;
    }
    let mut matchers = Vec::new();
    let mut complete = true;
    for entry in entries.iter().filter(|entry| entry.key != IGNORE_CASE) {
        match operator(reader, entry, ignore_case) {
            Some(matcher) => matchers.push(matcher),
            None => complete = false,
        }
    }
    if !complete {
        return None;
    }
    let matcher = match matchers.len() {
        1 => matchers.pop()?,
        _ => Matcher::All(matchers),
    };
    if !possible::matcher_can_hold(&matcher, reader.numbers) {
        reader
            .error(span, codes::CANNOT_HOLD, "no value fulfils all of these at once")
            .help("all operators of a mapping must hold together; use a list for alternatives");
        return None;
    }
    Some(matcher)
}

fn operator(reader: &mut Reader<'_>, entry: &Entry, ignore_case: bool) -> Option<Matcher> {
    let node = &entry.node;
    match entry.key.as_str() {
        "eq" => equals(reader, node, ignore_case),
        "ne" => equals(reader, node, ignore_case).map(not),
        "gt" => compare(reader, entry, Comparison::Greater),
        "gte" => compare(reader, entry, Comparison::GreaterOrEqual),
        "lt" => compare(reader, entry, Comparison::Less),
        "lte" => compare(reader, entry, Comparison::LessOrEqual),
        "in" => {
            let nodes = reader.list(node, "`in`")?;
            one_of_values(reader, node.span, nodes, ignore_case)
        }
        "not" => match (&node.value, ignore_case) {
            (Value::List(nodes), true) => one_of_values(reader, node.span, nodes, true).map(not),
            (Value::Text(_), true) => equals(reader, node, true).map(not),
            (Value::Map(inner), true) if !literal::is_typed(node) => operators(reader, node.span, inner, true).map(not),
            _ => read(reader, node).map(not),
        },
        "exists" => reader.boolean(node, "`exists`").map(Matcher::Exists),
        "type" => types(reader, node),
        "prefix" => text(reader, entry, ignore_case).map(Matcher::Prefix),
        "suffix" => text(reader, entry, ignore_case).map(Matcher::Suffix),
        "contains" => text(reader, entry, ignore_case).map(Matcher::Contains),
        "regex" => regex(reader, node, ignore_case),
        unknown => {
            unknown_operator(reader, unknown, entry.key_span);
            None
        }
    }
}

fn not(matcher: Matcher) -> Matcher {
    Matcher::Not(Box::new(matcher))
}

fn unknown_operator(reader: &mut Reader<'_>, key: &str, span: Span) {
    let bare = key.trim_start_matches('$');
    let may_be_type = bare != key && bare.chars().all(char::is_alphabetic);
    if may_be_type && did_you_mean(bare, OPERATORS).is_none() && !matches!(bare, "nin" | "or") {
        return literal::unknown_type(reader, key, span);
    }
    let known = OPERATORS.iter().copied().chain([IGNORE_CASE]);
    let help = match bare {
        "nin" => Some("write {not: [...]}".to_owned()),
        "between" => Some("write {gte: ..., lte: ...}".to_owned()),
        "or" | "any" => Some("write a list for alternatives".to_owned()),
        "equals" | "equal" | "is" => Some("did you mean \"eq\"?".to_owned()),
        "min" | "minimum" => Some("did you mean \"gte\"?".to_owned()),
        "max" | "maximum" => Some("did you mean \"lte\"?".to_owned()),
        _ => did_you_mean(bare, known),
    };
    let help = help.unwrap_or_else(|| {
        format!("{}; a whole sub-document is written {{eq: {{...}}}}", one_of(&OPERATORS, "the operators are"))
    });
    reader.error(span, codes::UNKNOWN_OPERATOR, format!("unknown operator {key:?}")).help(help);
}

fn equals(reader: &mut Reader<'_>, node: &Node, ignore_case: bool) -> Option<Matcher> {
    looks_like_value(reader, node);
    Some(match literal::value(reader, node)? {
        Bson::String(text) if ignore_case => Matcher::Text(text_match(&text, true)),
        value => Matcher::Equals(value),
    })
}

fn one_of_values(reader: &mut Reader<'_>, span: Span, nodes: &[Node], ignore_case: bool) -> Option<Matcher> {
    if nodes.is_empty() {
        reader.error(span, codes::EMPTY, "an empty list matches nothing").help("name at least one value");
        return None;
    }
    let matchers: Vec<_> = nodes
        .iter()
        .map(|node| match &node.value {
            // A list in a list is a value: an array to be equal to.
            Value::Map(inner) if !literal::is_typed(node) => operators(reader, node.span, inner, ignore_case),
            _ => equals(reader, node, ignore_case),
        })
        .collect();
    let mut matchers: Vec<Matcher> = matchers.into_iter().collect::<Option<_>>()?;
    if matchers.len() == 1 { matchers.pop() } else { Some(Matcher::OneOf(matchers)) }
}

fn compare(reader: &mut Reader<'_>, entry: &Entry, comparison: Comparison) -> Option<Matcher> {
    if literal::is_bad_date(reader, &entry.node) {
        return None;
    }
    looks_like_value(reader, &entry.node);
    let value = literal::value(reader, &entry.node)?;
    match value {
        Bson::Null | Bson::Boolean(_) | Bson::Array(_) | Bson::Document(_) => {
            let what = format!("`{}`", entry.key);
            reader.wrong_type(&entry.node, &what, "a number, a text, a date or another value with an order");
            None
        }
        value => Some(Matcher::Compare(comparison, value)),
    }
}

fn types(reader: &mut Reader<'_>, node: &Node) -> Option<Matcher> {
    let mut known: Vec<&str> = TYPE_NAMES.iter().map(|(name, _)| *name).collect();
    known.push("number");
    let texts = reader.texts(node, "`type`")?;
    let mark = reader.errors();
    for (text, span) in &texts {
        if !known.contains(text) {
            reader.unknown_word(text, *span, "`type`", &known);
        }
    }
    let types = texts.into_iter().map(|(text, _)| text.to_owned()).collect();
    (reader.errors() == mark).then_some(Matcher::Type(types))
}

fn text(reader: &mut Reader<'_>, entry: &Entry, ignore_case: bool) -> Option<TextMatch> {
    let text = reader.text(&entry.node, &format!("`{}`", entry.key))?;
    if text.is_empty() {
        reader
            .error(entry.node.span, codes::EMPTY, format!("`{}` is an empty text, which every text has", entry.key))
            .help("write {type: string} for any text");
        return None;
    }
    Some(text_match(text, ignore_case))
}

fn text_match(text: &str, ignore_case: bool) -> TextMatch {
    let text = if ignore_case { text.to_lowercase() } else { text.to_owned() };
    TextMatch { text, ignore_case }
}

fn regex(reader: &mut Reader<'_>, node: &Node, ignore_case: bool) -> Option<Matcher> {
    let text = reader.text(node, "`regex`")?;
    match regex::Regex::new(text) {
        // Not an option of the builder: it would not show in the pattern, by which rules are compared.
        Ok(regex) if ignore_case => Some(Matcher::Regex(regex::Regex::new(&format!("(?i){text}")).unwrap_or(regex))),
        Ok(regex) => Some(Matcher::Regex(regex)),
        Err(error) => {
            // The error of a pattern is a drawing over several lines; its last line says what is wrong.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("the regular expression does not compile: {reason}");
            let help = if reason.contains("look-around") || reason.contains("backreference") {
                "expressions run in linear time: no look-around and no back-references"
            } else {
                "escape what is meant literally with a backslash, in single quotes or without any"
            };
            reader.error(node.span, codes::BAD_REGEX, message).help(help);
            None
        }
    }
}
