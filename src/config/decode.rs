//! From the text of a configuration to its struct.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::schema_check::SchemaCheck;
use super::semantics::{self, Semantics};
use super::shape::Schemas;
use super::substitute::{Filled, Surroundings, substitute};
use super::{Config, ExplicitPart, rule_files};
use crate::explicit::Relays;
use crate::pipeline::PipelineSettings;
use crate::rules::{self, RuleSet};
use crate::sink::{EnvelopeSettings, SinkSettings};
use crate::source::SourceSettings;
use crate::yaml::{self, Diagnostics, FileDiagnostics, Node, Value};

/// Reads the file that `diagnostics` speaks of, and its rule files. No configuration if there is an error.
pub(super) fn config(
    diagnostics: &mut FileDiagnostics<'_>,
    surroundings: &Surroundings<'_>,
) -> (Option<Config>, rules::Reading) {
    let before = diagnostics.error_count();
    let Some(mut root) = yaml::read(diagnostics) else { return (None, rules::Reading::default()) };
    let mut filled = Filled::default();
    substitute(&mut root, surroundings, &mut filled, diagnostics);
    let schema = super::schema();
    let schemas = Schemas::of(&schema);
    SchemaCheck { schemas, filled: &filled, diagnostics }.check_root(&schema, &mut root);
    let mut rules = read_rules(&root, surroundings, diagnostics);
    if diagnostics.error_count() > before {
        return (None, rules);
    }
    let Some(mut config) = decode_all(&root, &filled, diagnostics) else { return (None, rules) };
    let may_lack_sinks = surroundings.may_lack_sinks;
    let mut semantics = Semantics { config: &config, root: &root, filled: &filled, diagnostics, may_lack_sinks };
    semantics.check();
    semantics.check_rings(&rules.rules);
    semantics.check_against_rules(&rules.rules);
    semantics.check_watched(&rules.rules);
    semantics::check_named_sinks(&config, &rules.named_sinks, may_lack_sinks, &mut rules.diagnostics);
    if diagnostics.error_count() > before || rules.diagnostics.has_errors() {
        return (None, rules);
    }
    config.rule_paths = config.rules.iter().map(|path| surroundings.folder.join(path)).collect();
    config.rule_set = Arc::new(RuleSet::compile(rules.rules.clone()));
    (Some(config), rules)
}

/// Reads the rule files that the file names, and looks at nothing else in it.
pub(super) fn rules_only(
    diagnostics: &mut FileDiagnostics<'_>,
    surroundings: &Surroundings<'_>,
) -> Option<rules::Reading> {
    let before = diagnostics.error_count();
    let (root, _) = part_only(&["rules"], &["rules"], diagnostics, surroundings)?;
    let rules = read_rules(&root, surroundings, diagnostics);
    (diagnostics.error_count() == before).then_some(rules)
}

/// Reads what the file says of explicit events and parity, and looks at nothing else in it.
pub(super) fn explicit_only(
    diagnostics: &mut FileDiagnostics<'_>,
    surroundings: &Surroundings<'_>,
) -> Option<ExplicitPart> {
    let before = diagnostics.error_count();
    let (root, filled) = part_only(&["explicit", "parity"], &[], diagnostics, surroundings)?;
    if diagnostics.error_count() > before {
        return None;
    }
    let part: ExplicitPart = decode(&root, &filled, diagnostics)?;
    if let Err(error) = Relays::new(&part.explicit) {
        semantics::tell_part(&root, &filled, &error, diagnostics);
    }
    (diagnostics.error_count() == before).then_some(part)
}

/// The file with nothing but these keys, checked against the schema.
fn part_only(
    keys: &[&str],
    required: &[&str],
    diagnostics: &mut FileDiagnostics<'_>,
    surroundings: &Surroundings<'_>,
) -> Option<(Node, Filled)> {
    let mut root = yaml::read(diagnostics)?;
    if let Value::Map(entries) = &mut root.value {
        entries.retain(|entry| keys.contains(&entry.key.as_str()));
    }
    let mut filled = Filled::default();
    substitute(&mut root, surroundings, &mut filled, diagnostics);
    let mut schema = super::schema();
    schema["required"] = serde_json::json!(required);
    let schemas = Schemas::of(&schema);
    SchemaCheck { schemas, filled: &filled, diagnostics }.check_root(&schema, &mut root);
    Some((root, filled))
}

/// Reads the rule files under `rules`, as far as it is a list of texts. `C012`: a path that gives no rules.
fn read_rules(root: &Node, surroundings: &Surroundings<'_>, diagnostics: &mut FileDiagnostics<'_>) -> rules::Reading {
    let nodes = root.get("rules").and_then(Node::as_list).unwrap_or_default();
    let named: Vec<(&Node, &str)> = nodes.iter().filter_map(|node| node.as_text().map(|path| (node, path))).collect();
    let (files, errors) = rule_files::read(named.iter().map(|(_, path)| surroundings.folder.join(path)));
    for (index, error) in errors {
        let span = named.get(index).map_or(root.span, |(node, _)| node.span);
        let text = match std::error::Error::source(&error) {
            Some(cause) => error.to_string().replacen('\n', &format!(": {cause}\n"), 1),
            None => error.to_string(),
        };
        let (said, help) = text.split_once("\nhelp: ").unwrap_or((&text, ""));
        diagnostics.error(span, "C012", said).help(help);
    }
    rules::read(&files)
}

/// The whole configuration; if it can not be had, what is wrong in each part, since serde ends at the first mistake.
fn decode_all(root: &Node, filled: &Filled, diagnostics: &mut FileDiagnostics<'_>) -> Option<Config> {
    let mut unheard = Diagnostics::default();
    let whole = decode::<Config>(root, filled, &mut unheard.of(diagnostics.file()));
    if whole.is_some() {
        return whole;
    }
    let before = diagnostics.error_count();
    let part = |key: &str| root.get(key).into_iter();
    for node in part("source") {
        decode::<SourceSettings>(node, filled, diagnostics);
    }
    for node in part("events") {
        decode::<EnvelopeSettings>(node, filled, diagnostics);
    }
    for entry in part("sinks").filter_map(Node::as_map).flatten() {
        decode::<SinkSettings>(&entry.node, filled, diagnostics);
    }
    for node in part("pipeline") {
        decode::<PipelineSettings>(node, filled, diagnostics);
    }
    if diagnostics.error_count() == before {
        decode::<Config>(root, filled, diagnostics);
    }
    None
}

/// `C010`: a value that its type does not take, found by serde where the schema does not tell.
fn decode<T: DeserializeOwned>(root: &Node, filled: &Filled, diagnostics: &mut FileDiagnostics<'_>) -> Option<T> {
    match serde_path_to_error::deserialize(root.to_json()) {
        Ok(value) => Some(value),
        Err(error) => {
            let (node, name) = find(root, error.path().iter());
            let message = match filled.holds_any(node) {
                true => format!("what is filled in can not be used for {name:?}"),
                false => format!("{name:?}: {}", error.inner()),
            };
            diagnostics.error(node.span, "C010", message);
            None
        }
    }
}

/// The node at the path, as far as it can be followed, and the last key on the way.
fn find<'n, 'p>(root: &'n Node, path: impl Iterator<Item = &'p Segment>) -> (&'n Node, &'n str) {
    let (mut node, mut name) = (root, "");
    for segment in path {
        let next = match segment {
            Segment::Map { key } => node.entry(key).map(|entry| (&entry.node, entry.key.as_str())),
            Segment::Enum { variant } => node.entry(variant).map(|entry| (&entry.node, entry.key.as_str())),
            Segment::Seq { index } => node.as_list().and_then(|nodes| nodes.get(*index)).map(|node| (node, name)),
            Segment::Unknown => None,
        };
        match next {
            Some(next) => (node, name) = next,
            None => break,
        }
    }
    (node, name)
}
