//! What only the meaning of a configuration shows: names, places that are used twice, rings of events.
//!
//! Codes: `C011` no sink, `C012` no rules, `C013` a collection that is written to and watched, `C014` a name that can not be
//! used, `C015` something that is not available, `C016` one place for two things, `C017` a sink that a rule names and that is not
//! there, `C018` a topic or subject that a sink can not use, `C019` a warning: rules name more than is watched.

use std::path::Path;

use super::Config;
use super::substitute::Filled;
use crate::checkpoint::CheckpointPlace;
use crate::namespace::Namespace;
use crate::rules::ast::Rule;
use crate::rules::{NamedSink, NamespacePattern};
use crate::sink::{DeadLetterSettings, SinkSettings};
use crate::yaml::{Diagnostics, FileDiagnostics, Node, Span, Value, did_you_mean};

/// A configuration and the tree it came from.
pub(super) struct Semantics<'s, 'd> {
    pub config: &'s Config,
    pub root: &'s Node,
    pub filled: &'s Filled,
    pub diagnostics: &'s mut FileDiagnostics<'d>,
    pub may_lack_sinks: bool,
}

/// A collection that this connector writes to, beside what it watches.
pub(super) struct Written<'s> {
    pub(super) collection: Namespace,
    /// The keys that lead to it.
    pub(super) keys: Vec<&'s str>,
    /// What it is called in messages.
    pub(super) what: &'static str,
}

impl Semantics<'_, '_> {
    /// Everything but what depends on the rules.
    pub(super) fn check(&mut self) {
        self.check_names();
        self.check_part(self.config.source.check());
        self.check_part(self.config.checkpoint.check().map(drop));
        self.check_relays();
        self.check_places();
    }

    fn check_names(&mut self) {
        if self.config.sinks.is_empty() && !self.may_lack_sinks {
            let span = self.span(&["sinks"]);
            self.diagnostics
                .error(span, "C011", "there is no sink: events would go nowhere")
                .help("add one, for example sinks: {out: {stdout: {}}}");
        }
        if self.config.rules.is_empty() && self.config.explicit.is_empty() {
            let span = self.span(&["rules"]);
            self.diagnostics
                .error(span, "C012", "there are no rules: no change would become an event")
                .help("name rule files or folders of them, for example rules: [rules]; only with \"explicit\" there may be none");
        }
        for name in self.config.sinks.keys() {
            if !is_name(name) {
                let span = self.key_span(&["sinks", name]);
                self.diagnostics
                    .error(span, "C014", format!("{name:?} can not be the name of a sink"))
                    .help("use letters, digits, -, _ and ., at most 64");
            }
        }
        if !is_name(&self.config.name) {
            let span = self.span(&["name"]);
            let told = self.told(&["name"], &self.config.name);
            self.diagnostics
                .error(span, "C014", format!("{told} can not be the name of a connector"))
                .help("use letters, digits, -, _ and ., at most 64");
        }
    }

    pub(super) fn check_part(&mut self, checked: Result<(), impl std::error::Error>) {
        if let Err(error) = checked {
            tell_part(self.root, self.filled, &error, self.diagnostics);
        }
    }

    /// `C016`: two writers at one place would spoil each other's work.
    fn check_places(&mut self) {
        let mut files: Vec<(&Path, String)> = Vec::new();
        for (name, sink) in &self.config.sinks {
            if let SinkSettings::File(settings) = sink {
                files.push((&settings.path, format!("sinks.{name}.file.path")));
            }
        }
        if let Some(DeadLetterSettings::File(path)) = &self.config.dead_letters {
            files.push((path, "dead_letters.file".to_owned()));
        }
        for (index, (path, key)) in files.iter().enumerate() {
            if let Some((_, first)) = files[..index].iter().find(|(other, _)| other == path) {
                self.used_twice(key, first, "file");
            }
        }
        let written = written(self.config);
        let collections: Vec<(Namespace, String)> =
            written.iter().map(|written| (written.collection.clone(), written.keys.join("."))).collect();
        for (index, (collection, key)) in collections.iter().enumerate() {
            if let Some((_, first)) = collections[..index].iter().find(|(other, _)| other == collection) {
                self.used_twice(key, first, "collection");
            }
        }
    }

    fn used_twice(&mut self, key: &str, first: &str, what: &str) {
        let keys: Vec<&str> = key.split('.').collect();
        let span = self.span(&keys);
        self.diagnostics
            .error(span, "C016", format!("{key} names the same {what} as {first}"))
            .help(format!("give each a {what} of its own"));
    }

    /// `C013`: no rule may watch what this connector writes: its events would make events, without end.
    pub(super) fn check_rings(&mut self, rules: &[Rule]) {
        for written in written(self.config) {
            let Some(rule) = watching(rules, &written.collection) else { continue };
            let span = self.span(&written.keys);
            let message = format!(
                "{} {} is watched by the rule {:?}: what is written there would make events without end",
                written.what, written.collection, rule.id
            );
            self.diagnostics.error(span, "C013", message).help("use a collection that no rule names");
        }
        self.check_other_uris(rules);
    }

    /// `C013` as a warning: whether another connection string leads to the deployment that is watched, only the servers can say. They
    /// are asked by `check`, and at the start of a run.
    fn check_other_uris(&mut self, rules: &[Rule]) {
        let config = self.config;
        for (name, sink) in &config.sinks {
            let written = sink.written_collection(&config.source.uri).filter(|written| !written.in_source);
            let Some(collection) = written.map(|written| written.collection) else { continue };
            let is_relayed = config.explicit.iter().any(|relay| relay.collection() == collection);
            if !is_relayed && watching(rules, collection).is_none() {
                continue;
            }
            let span = self.span(&["sinks", name, "mongodb", "collection"]);
            let message = format!(
                "the sink's collection {collection} is called as one that is watched: if its `uri` leads to the deployment of the source, what is written there would make events without end"
            );
            self.diagnostics.warning(span, "C013", message).help("use a name that neither a rule nor a relay has");
        }
    }

    /// `C019`: a rule that names what is not watched waits for ever.
    pub(super) fn check_watched(&mut self, rules: &[Rule]) {
        let Ok(watched) = self.config.source.watched() else { return };
        if watched.is_empty() {
            return;
        }
        let is_watched = |named: &NamespacePattern| watched.iter().any(|one| one.covers(named));
        let span = self.span(&["source", "watch"]);
        for rule in rules {
            if let Some(named) = rule.collections.iter().find(|named| !is_watched(named)) {
                let NamespacePattern { database, collection } = named;
                let message = format!(
                    "`source.watch` does not cover {database}.{collection}, which the rule {:?} names",
                    rule.id
                );
                self.diagnostics.warning(span, "C019", message).help(format!(
                    "add \"{database}.{collection}\", or leave `watch` out to watch what the rules name"
                ));
            }
        }
    }

    pub(super) fn told(&self, keys: &[&str], text: &str) -> String {
        match find(self.root, keys) {
            Some(node) if self.filled.holds_any(node) => "what is filled in".to_owned(),
            Some(_) | None => format!("{text:?}"),
        }
    }

    pub(super) fn span(&self, keys: &[&str]) -> Span {
        deepest_span(self.root, keys)
    }

    pub(super) fn key_span(&self, keys: &[&str]) -> Span {
        let (last, above) = keys.split_last().unwrap_or((&"", &[]));
        let entry = find(self.root, above).and_then(|node| node.entry(last));
        entry.map_or_else(|| self.span(keys), |entry| entry.key_span)
    }
}

/// What a part finds in its own settings. Its text begins with the key it speaks of: `source.watch: ...`.
pub(super) fn tell_part(
    root: &Node,
    filled: &Filled,
    error: &impl std::error::Error,
    diagnostics: &mut FileDiagnostics<'_>,
) {
    let text = error.to_string();
    let (said, help) = text.split_once("\nhelp: ").map_or((text.as_str(), None), |(said, help)| (said, Some(help)));
    let (path, reason) = said.split_once(": ").unwrap_or(("source", said));
    let keys: Vec<&str> = path.split('.').collect();
    let is_filled = find(root, &keys).is_some_and(|node| filled.holds_any(node));
    let reason = if is_filled { "what is filled in can not be used" } else { reason };
    let name = keys.last().copied().unwrap_or_default();
    diagnostics
        .error(deepest_span(root, &keys), "C015", format!("{name:?}: {reason}"))
        .maybe_help(help.map(str::to_owned));
}

/// Where the keys lead, as far as they can be followed.
fn deepest_span(root: &Node, keys: &[&str]) -> Span {
    let deepest = (0..=keys.len()).rev().find_map(|length| find(root, &keys[..length]));
    deepest.map_or(root.span, |node| node.span)
}

fn watching<'r>(rules: &'r [Rule], Namespace { database, collection }: &Namespace) -> Option<&'r Rule> {
    rules.iter().find(|rule| rule.collections.iter().any(|one| one.matches(database, collection)))
}

/// A rule that watches what this connector writes, and what that is.
pub(super) fn ring(config: &Config, rules: &[Rule]) -> Option<(String, Namespace)> {
    written(config).into_iter().find_map(|Written { collection, .. }| {
        let rule = watching(rules, &collection)?;
        Some((rule.id.to_string(), collection))
    })
}

/// `C017`, `C018`: rules that name sinks that are not there, or that can not use the topic or subject that they give. They
/// are told where the rule names them.
pub(super) fn check_named_sinks(
    config: &Config,
    named: &[NamedSink],
    may_lack_sinks: bool,
    diagnostics: &mut Diagnostics,
) {
    for NamedSink { destination, sink_place, address_place, .. } in named {
        let name = &*destination.sink;
        let Some(settings) = config.sinks.get(name) else {
            // A program may still add a sink of that name; then it is looked for when all are known.
            if !may_lack_sinks && !config.other_sinks.iter().any(|other| other == name) {
                let known = || config.sinks.keys().map(String::as_str);
                let names: Vec<&str> = known().collect();
                diagnostics
                    .error_at(sink_place, "C017", format!("there is no sink {name:?}"))
                    .help(did_you_mean(name, known()).unwrap_or_else(|| format!("the sinks are {}", names.join(", "))));
            }
            continue;
        };
        if let Some(address) = &destination.address
            && let Err((reason, help)) = settings.check_address(address)
        {
            diagnostics.error_at(address_place, "C018", format!("the sink {name:?}: {reason}")).help(help);
        }
    }
}

/// The collections that this connector writes to in the deployment it watches.
pub(super) fn written(config: &Config) -> Vec<Written<'_>> {
    let mut all = Vec::new();
    if let Some(CheckpointPlace::Mongodb(settings)) = config.checkpoint.place()
        && settings.uri.as_ref().is_none_or(|uri| *uri == config.source.uri)
    {
        let keys = vec!["checkpoint", "mongodb", "collection"];
        all.push(Written { collection: settings.collection, keys, what: "the checkpoint's collection" });
    }
    for (name, sink) in &config.sinks {
        if let Some(written) = sink.written_collection(&config.source.uri).filter(|written| written.in_source) {
            let keys = vec!["sinks", name, "mongodb", "collection"];
            all.push(Written { collection: written.collection.clone(), keys, what: "the sink's collection" });
        }
    }
    let dead_letters = config.dead_letters();
    if let Some(written) = dead_letters.written_collection(&config.source.uri).filter(|written| written.in_source) {
        let keys = vec!["dead_letters", "mongodb", "collection"];
        all.push(Written { collection: written.collection.clone(), keys, what: "the dead letters' collection" });
    }
    all
}

/// The node to which keys lead; an entry of a list has its number, from 0, as its key.
fn find<'n>(root: &'n Node, keys: &[&str]) -> Option<&'n Node> {
    keys.iter().try_fold(root, |node, key| match &node.value {
        Value::List(nodes) => nodes.get(key.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::Map(_) => {
            node.get(key)
        }
    })
}

fn is_name(text: &str) -> bool {
    let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    !text.is_empty() && text.len() <= 64 && text.chars().all(fits)
}
