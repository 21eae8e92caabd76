//! Compares a YAML tree with a JSON Schema and reports every difference with its place.
//!
//! Codes: `C001` unknown key, `C002` missing key, `C003` wrong type, `C004` unknown word, `C005` not exactly one kind, `C006`
//! a value outside of what is allowed.

use regex::Regex;
use serde_json::Value as Json;

use super::shape::{Schemas, Shape};
use super::substitute::Filled;
use crate::http::Listen;
use crate::quantity::{ByteCount, Period};
use crate::yaml::{Diagnostics, Entry, FileDiagnostics, Node, Span, Value, did_you_mean, nearest};

/// One comparison of one file.
pub struct SchemaCheck<'c, 'd> {
    /// The definitions of the schema.
    pub schemas: Schemas<'c>,
    /// Which values are not in the file and must not be told.
    pub filled: &'c Filled,
    /// Where findings go.
    pub diagnostics: &'c mut FileDiagnostics<'d>,
}

/// A place in the file as messages name it.
#[derive(Clone, Copy)]
struct Place<'p> {
    /// The key that the value belongs to; empty for the whole file.
    name: &'p str,
    /// Where that key stands.
    span: Span,
}

impl<'c> SchemaCheck<'c, '_> {
    /// Compares the whole file. Values are brought into the form that serde wants: nothing where a mapping without required
    /// keys may stand becomes an empty mapping, and a filled-in text the number or boolean that is asked for.
    pub fn check_root(&mut self, schema: &'c Json, root: &mut Node) {
        let place = Place { name: "", span: root.span };
        self.check(schema, root, place);
    }

    fn check(&mut self, schema: &'c Json, node: &mut Node, place: Place<'_>) {
        if self.filled.is_broken(node.span) {
            return;
        }
        let schema = self.schemas.resolve(schema);
        match self.schemas.shape(schema) {
            Shape::Anything => {}
            Shape::OneOf { words, kinds } => self.one_of(&words, &kinds, node, place),
            Shape::AnyOf(choices) => self.any_of(schema, choices, node, place),
            Shape::Plain(types) => self.plain(schema, &types, node, place),
        }
    }

    fn one_of(&mut self, words: &[&'c str], kinds: &[(&'c str, &'c Json)], node: &mut Node, place: Place<'_>) {
        let span = node.span;
        let known: Vec<&str> = words.iter().copied().chain(kinds.iter().map(|(key, _)| *key)).collect();
        match &mut node.value {
            Value::Text(text) if words.contains(&text.as_str()) => {}
            Value::Text(text) if kinds.iter().any(|(key, _)| key == text) => {
                self.diagnostics
                    .error(span, "C003", format!("{} must be a mapping, and this is a text", quoted(place)))
                    .help(format!("write {{{text}: {{}}}}, with the settings of {text} in the inner braces"));
            }
            Value::Text(_) if !words.is_empty() => self.unknown_word(&known, node, place),
            Value::Map(entries) if !kinds.is_empty() => {
                let mut found = 0;
                for entry in entries.iter_mut() {
                    match kinds.iter().find(|(key, _)| *key == entry.key) {
                        Some((_, schema)) => {
                            found += 1;
                            self.check_entry(schema, entry);
                        }
                        None => self.unknown_key(entry, &known),
                    }
                }
                if found != 1 && (found > 1 || entries.is_empty()) {
                    let message = format!("{} must have exactly one of the keys {}", quoted(place), known.join(", "));
                    let told = if found > 1 { "keep one of them" } else { "add one of them" };
                    self.diagnostics.error(place.span, "C005", message).help(told);
                }
            }
            Value::Null if words.is_empty() => {
                let message = format!("{} must have exactly one of the keys {}", quoted(place), known.join(", "));
                self.diagnostics.error(place.span, "C005", message).help("add one of them");
            }
            other => {
                let wanted = if words.is_empty() { "a mapping" } else { "a word" };
                let message = format!("{} must be {wanted}, and this is {}", quoted(place), other.kind());
                self.diagnostics.error(span, "C003", message).help(format!("one of {}", known.join(", ")));
            }
        }
    }

    fn unknown_word(&mut self, known: &[&str], node: &Node, place: Place<'_>) {
        let told = self.told(node);
        let hint = node.as_text().filter(|_| !self.filled.holds(node.span));
        let hint = hint.and_then(|text| did_you_mean(text, known.iter().copied()));
        self.diagnostics
            .error(node.span, "C004", format!("{told} is no value for {}", quoted(place)))
            .help(hint.unwrap_or_else(|| format!("one of {}", known.join(", "))));
    }

    fn any_of(&mut self, schema: &'c Json, choices: &'c [Json], node: &mut Node, place: Place<'_>) {
        let is_null = |choice: &Json| choice.get("type").and_then(Json::as_str) == Some("null");
        if let [one, other] = choices {
            // An optional value: nothing, or what the other one says.
            let value = match (is_null(one), is_null(other)) {
                (true, false) => Some(other),
                (false, true) => Some(one),
                _ => None,
            };
            if let Some(value) = value {
                if node.value != Value::Null {
                    self.check(value, node, place);
                }
                return;
            }
        }
        for choice in choices {
            let mut copy = node.clone();
            let mut unheard = Diagnostics::default();
            let mut diagnostics = unheard.of(self.diagnostics.file());
            let mut check = SchemaCheck { schemas: self.schemas, filled: self.filled, diagnostics: &mut diagnostics };
            check.check(choice, &mut copy, place);
            if unheard.is_empty() {
                *node = copy;
                return;
            }
        }
        let told = self.told(node);
        let message = format!("{told} is no value for {}", quoted(place));
        self.diagnostics.error(node.span, "C006", message).maybe_help(described(schema));
    }

    fn plain(&mut self, schema: &'c Json, types: &[&str], node: &mut Node, place: Place<'_>) {
        if types.contains(&"object") && node.value == Value::Null && !types.contains(&"null") {
            node.value = Value::Map(Vec::new());
        }
        if self.filled.holds(node.span)
            && !types.contains(&"string")
            && let Some(value) = node.as_text().and_then(Value::of_plain_scalar)
        {
            node.value = value;
        }
        let fits = types.iter().any(|wanted| is_of_type(&node.value, wanted));
        if !fits {
            return self.wrong_type(schema, types, node, place);
        }
        if !is_allowed(schema, &node.value) {
            let message = format!("{} is no value for {}", self.told(node), quoted(place));
            let bounds = if node.as_text().is_none() { bounds(schema) } else { None };
            self.diagnostics.error(node.span, "C006", message).maybe_help(bounds.or_else(|| described(schema)));
            return;
        }
        match &mut node.value {
            Value::Map(entries) => self.object(schema, entries, place),
            Value::List(nodes) => {
                if let Some(items) = schema.get("items") {
                    for node in nodes {
                        let span = node.span;
                        self.check(items, node, Place { name: place.name, span });
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
        }
    }

    fn wrong_type(&mut self, schema: &Json, types: &[&str], node: &Node, place: Place<'_>) {
        let wanted = types.iter().filter(|wanted| **wanted != "null").map(|wanted| type_name(wanted));
        let wanted: Vec<&str> = wanted.collect();
        let message = match node.value {
            Value::Null => format!("{} must be {}, and nothing is written here", quoted(place), wanted.join(" or ")),
            _ => format!("{} must be {}, and this is {}", quoted(place), wanted.join(" or "), node.value.kind()),
        };
        let is_scalar = matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
        let help = match wanted.as_slice() {
            ["a text"] if is_scalar => Some("quote it to make it a text".to_owned()),
            ["a list"] if node.as_text().is_some() => Some("write it in brackets: [...]".to_owned()),
            _ => described(schema),
        };
        self.diagnostics.error(node.span, "C003", message).maybe_help(help);
    }

    fn object(&mut self, schema: &'c Json, entries: &mut [Entry], place: Place<'_>) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties");
        for entry in entries.iter_mut() {
            match (properties.and_then(|properties| properties.get(&entry.key)), others) {
                (Some(schema), _) => self.check_entry(schema, entry),
                (None, Some(Json::Bool(false))) => {
                    let known: Vec<&str> =
                        properties.into_iter().flat_map(|one| one.keys().map(String::as_str)).collect();
                    self.unknown_key(entry, &known);
                }
                (None, Some(schema)) => self.check_entry(schema, entry),
                (None, None) => {}
            }
        }
        let keys = || properties.into_iter().flat_map(|one| one.keys().map(String::as_str));
        let misspelt: Vec<(&String, &str)> = entries
            .iter()
            .filter(|entry| properties.is_some_and(|properties| !properties.contains_key(&entry.key)))
            .filter_map(|entry| nearest(&entry.key, keys()).map(|meant| (&entry.key, meant)))
            .collect();
        for key in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            // A misspelt key has been told already, with a hint at the right one.
            if entries.iter().any(|entry| entry.key == key || misspelt.contains(&(&entry.key, key))) {
                continue;
            }
            let message = match place.name {
                "" => format!("the key {key:?} is missing"),
                name => format!("{name:?} needs the key {key:?}"),
            };
            let help = properties.and_then(|properties| properties.get(key)).and_then(described);
            let help = help.map(|described| format!("{key}: {described}"));
            self.diagnostics.error(place.span, "C002", message).maybe_help(help);
        }
    }

    fn check_entry(&mut self, schema: &'c Json, entry: &mut Entry) {
        self.check(schema, &mut entry.node, Place { name: &entry.key, span: entry.key_span });
    }

    fn unknown_key(&mut self, entry: &Entry, known: &[&str]) {
        let help = did_you_mean(&entry.key, known.iter().copied());
        let help = help.unwrap_or_else(|| match known {
            [] => "nothing can be set here".to_owned(),
            known => format!("known here: {}", known.join(", ")),
        });
        self.diagnostics.error(entry.key_span, "C001", format!("unknown key {:?}", entry.key)).help(help);
    }

    /// The value as a message may show it.
    fn told(&self, node: &Node) -> String {
        match &node.value {
            _ if self.filled.holds_any(node) => "what is filled in".to_owned(),
            Value::Text(text) => format!("{text:?}"),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Null | Value::List(_) | Value::Map(_) => node.value.kind().to_owned(),
        }
    }
}

fn quoted(place: Place<'_>) -> String {
    match place.name {
        "" => "the file".to_owned(),
        name => format!("{name:?}"),
    }
}

/// The first sentence of what the schema says of itself.
fn described(schema: &Json) -> Option<String> {
    let description = schema.get("description")?.as_str()?.replace('\n', " ");
    let sentence = description.split(". ").next().unwrap_or_default().trim_end_matches('.');
    (!sentence.is_empty()).then(|| sentence.to_owned())
}

/// What numbers the schema allows.
fn bounds(schema: &Json) -> Option<String> {
    let bound = |key: &str| schema.get(key).filter(|bound| bound.is_number());
    match (bound("minimum"), bound("maximum")) {
        (Some(minimum), Some(maximum)) => Some(format!("from {minimum} to {maximum}")),
        (Some(minimum), None) => Some(format!("at least {minimum}")),
        (None, Some(maximum)) => Some(format!("at most {maximum}")),
        (None, None) => None,
    }
}

fn type_name(json_type: &str) -> &'static str {
    match json_type {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "nothing",
    }
}

fn is_of_type(value: &Value, json_type: &str) -> bool {
    match value {
        Value::Null => json_type == "null",
        Value::Bool(_) => json_type == "boolean",
        Value::Int(_) => matches!(json_type, "integer" | "number"),
        Value::Float(_) => json_type == "number",
        Value::Text(_) => json_type == "string",
        Value::List(_) => json_type == "array",
        Value::Map(_) => json_type == "object",
    }
}

/// False if a value of the right type is outside of what the schema allows.
fn is_allowed(schema: &Json, value: &Value) -> bool {
    let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
    match value {
        Value::Text(text) => is_text_allowed(schema, text),
        Value::Int(_) | Value::Float(_) => {
            let number = match value {
                // Bounds are small numbers; what is lost beyond 2^53 does not matter to them.
                Value::Int(number) => *number as f64,
                Value::Float(number) => *number,
                _ => return true,
            };
            bound("minimum").is_none_or(|minimum| number >= minimum)
                && bound("maximum").is_none_or(|maximum| number <= maximum)
                && bound("exclusiveMinimum").is_none_or(|minimum| number > minimum)
        }
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => true,
    }
}

fn is_text_allowed(schema: &Json, text: &str) -> bool {
    let fits_format = match schema.get("format").and_then(Json::as_str) {
        Some("period") => Period::parse(text).is_some(),
        Some("byte-count") => ByteCount::parse(text).is_some(),
        Some("listen") => Listen::parse(text).is_some(),
        Some(_) | None => true,
    };
    let pattern = schema.get("pattern").and_then(Json::as_str).and_then(|pattern| Regex::new(pattern).ok());
    let length_min = schema.get("minLength").and_then(Json::as_u64).unwrap_or(0);
    fits_format && pattern.is_none_or(|pattern| pattern.is_match(text)) && text.chars().count() as u64 >= length_min
}
