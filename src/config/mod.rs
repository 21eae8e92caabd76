//! The configuration: one YAML file that is composed of each part's own settings.
//!
//! The way of a file: text -> tree with positions -> values from the environment and from files -> comparison with the JSON
//! Schema of the structs (all problems at once) -> structs -> what only their meaning shows.

mod coverage;
mod decode;
mod editor_schema;
mod log;
mod relay_checks;
mod reload;
mod rule_files;
mod schema_check;
mod semantics;
mod shape;
mod substitute;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::checkpoint::{CheckpointSettings, MongodbCheckpointSettings};
use crate::explicit::{RelayError, RelaySettings, Relays};
use crate::http::HttpSettings;
use crate::namespace::Namespace;
use crate::parity::ParitySettings;
use crate::pipeline::PipelineSettings;
use crate::rules::{self, NamespacePattern, RuleSet};
use crate::sink::{DeadLetterSettings, EnvelopeSettings, MongodbSettings, Route, SinkSettings};
use crate::source::{Plan, Scope, SourceSettings};
use crate::yaml::{Diagnostics, SourceFile};
use substitute::Surroundings;

pub use coverage::CoverageSetting;
pub use log::{LogFormat, LogLevel, LogSettings};
pub use reload::{FailedTest, ReloadSettings, RulesRefusal};
pub use rule_files::RuleFilesError;

/// The configuration of one connector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "changeling.yaml")]
pub struct Config {
    /// The name of this connector: its checkpoint is kept under it, and events carry it in their `source`. Letters, digits, `-`,
    /// `_` and `.`.
    pub name: String,
    /// Where changes come from.
    pub source: SourceSettings,
    /// Rule files, or folders of them (`*.yaml` and `*.yml`, below them too), relative to the folder of this file.
    pub rules: Vec<PathBuf>,
    /// Events that the application writes itself, to be passed on beside those that rules infer.
    #[serde(default)]
    pub explicit: Vec<RelaySettings>,
    /// Compares inferred and explicit events; absent: not at all.
    #[serde(default)]
    pub parity: Option<ParitySettings>,
    /// How the rules are exchanged while the connector runs.
    #[serde(default)]
    pub reload: ReloadSettings,
    /// What all events have in common.
    #[serde(default)]
    pub events: EnvelopeSettings,
    /// Where the position is kept up to which everything has been delivered.
    #[serde(default)]
    pub checkpoint: CheckpointSettings,
    /// Where events go: a name for each, and exactly one kind. An event goes to every sink, unless its rule names some (`to`).
    pub sinks: BTreeMap<String, SinkSettings>,
    /// Where goes what can not be delivered or understood. Absent: beside the checkpoint.
    #[serde(default)]
    pub dead_letters: Option<DeadLetterSettings>,
    /// Whether to keep account of the changes that fired no rule, by collection and shape: `on`, `off`, or `paths` (without
    /// transitions, which are values of documents). It costs the reading of every change of what is watched.
    #[serde(default)]
    pub coverage: CoverageSetting,
    /// How much is buffered, how long is waited, how failures are tried again.
    #[serde(default)]
    pub pipeline: PipelineSettings,
    /// The HTTP server for metrics and health.
    #[serde(default)]
    pub http: HttpSettings,
    /// The logs on standard error.
    #[serde(default)]
    pub log: LogSettings,
    /// The paths of `rules` as they are opened.
    #[serde(skip)]
    pub rule_paths: Vec<PathBuf>,
    /// The names of the sinks that a program adds to those of the file: rules may name them.
    #[serde(skip)]
    pub other_sinks: Vec<String>,
    /// The rules that the rule files hold, compiled.
    #[serde(skip)]
    pub rule_set: Arc<RuleSet>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can not be read.
    #[error("the configuration {path} can not be read\nhelp: name another file with -c, or write one: docs/config.md lists every key", path = path.display())]
    Unreadable {
        /// The path as it was given.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file, or what it names, can not be used.
    #[error("the configuration can not be used:\n{}", .0.render())]
    Unusable(Diagnostics),
}

/// A configuration file that was read: what could be made of it, and everything there is to say about it.
#[derive(Debug)]
pub struct Reading {
    /// The configuration; absent if there are errors.
    pub config: Option<Config>,
    /// The rule files that it names, with their tests.
    pub rules: rules::Reading,
    /// What is wrong with the configuration or with a rule file, and what may be.
    pub diagnostics: Diagnostics,
}

impl Reading {
    /// The configuration, if nothing is wrong with it.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn usable(self) -> Result<Config, ConfigError> {
        match self.config {
            Some(config) if !self.diagnostics.has_errors() => Ok(config),
            Some(_) | None => Err(ConfigError::Unusable(self.diagnostics)),
        }
    }
}

/// Reads a configuration file and the rule files that it names.
///
/// # Errors
/// Only if the file itself can not be read; whatever is wrong with it is in the reading.
pub fn read(path: &Path) -> Result<Reading, ConfigError> {
    let surroundings = Surroundings { variable: &variable, folder: &folder_of(path), may_lack_sinks: false };
    Ok(read_file(&source_file(path)?, &surroundings))
}

/// Reads a configuration from a text, as if it lay in `folder`, for programs that have sinks of their own: `sinks` may be
/// empty.
pub fn read_text(file: &SourceFile, folder: &Path) -> Reading {
    read_file(file, &Surroundings { variable: &variable, folder, may_lack_sinks: true })
}

fn read_file(file: &SourceFile, surroundings: &Surroundings<'_>) -> Reading {
    let mut diagnostics = Diagnostics::default();
    let (config, rules) = decode::config(&mut diagnostics.of(file), surroundings);
    diagnostics.sort();
    diagnostics.extend(rules.diagnostics.clone());
    Reading { config, rules, diagnostics }
}

/// Reads only the rule files that a configuration names, whatever else is wrong with it: their tests need no database, and so
/// none of the variables that say where it is.
///
/// # Errors
/// If the configuration can not be read, or does not name rule files that can.
pub fn read_rules(path: &Path) -> Result<rules::Reading, ConfigError> {
    let file = source_file(path)?;
    let surroundings = Surroundings { variable: &variable, folder: &folder_of(path), may_lack_sinks: true };
    let mut diagnostics = Diagnostics::default();
    let rules = decode::rules_only(&mut diagnostics.of(&file), &surroundings);
    rules.ok_or(ConfigError::Unusable(diagnostics))
}

/// What a configuration says of explicit events and of parity, and nothing else of it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ExplicitPart {
    /// See [`Config::explicit`].
    #[serde(default)]
    pub explicit: Vec<RelaySettings>,
    /// See [`Config::parity`].
    #[serde(default)]
    pub parity: Option<ParitySettings>,
}

/// Reads only what a configuration says of explicit events and of parity, whatever else is wrong with it: a tape needs no
/// database, and so none of the variables that say where it is.
///
/// # Errors
/// If the configuration can not be read, or these parts of it can not be used.
pub fn read_explicit(path: &Path) -> Result<ExplicitPart, ConfigError> {
    let file = source_file(path)?;
    let surroundings = Surroundings { variable: &variable, folder: &folder_of(path), may_lack_sinks: true };
    let mut diagnostics = Diagnostics::default();
    let part = decode::explicit_only(&mut diagnostics.of(&file), &surroundings);
    part.ok_or(ConfigError::Unusable(diagnostics))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn source_file(path: &Path) -> Result<SourceFile, ConfigError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    Ok(SourceFile { name: path.display().to_string(), text })
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// The JSON Schema of a configuration file with an example for every key, for editors.
pub fn editor_schema() -> serde_json::Value {
    editor_schema::schema()
}

/// The JSON Schema that configuration files are checked against.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

/// Reads rule files, or folders of them, that are named directly.
///
/// # Errors
/// For every path that gives no file, one.
pub fn rule_files(paths: &[PathBuf]) -> (Vec<SourceFile>, Vec<RuleFilesError>) {
    let (files, errors) = rule_files::read(paths);
    (files, errors.into_iter().map(|(_, error)| error).collect())
}

impl Config {
    /// The collections that are watched: those of `source.watch`, or else those that the rules name.
    pub fn watched(&self) -> Vec<NamespacePattern> {
        self.watched_for(&self.rule_set)
    }

    fn watched_for(&self, rules: &RuleSet) -> Vec<NamespacePattern> {
        let mut watched = match self.source.watched() {
            Ok(watched) if !watched.is_empty() => watched,
            // Entries that can not be read have been refused when the configuration was read.
            Ok(_) | Err(_) => rules.namespaces(),
        };
        for Namespace { database, collection } in self.explicit.iter().map(RelaySettings::collection) {
            if !watched.iter().any(|pattern| pattern.matches(database, collection)) {
                watched.push(NamespacePattern { database: database.clone(), collection: collection.clone() });
            }
        }
        watched
    }

    /// The relays of explicit events, with nothing to remember yet.
    ///
    /// # Errors
    /// The first setting that can not be used; there is none in a configuration that was read without errors.
    pub fn relays(&self) -> Result<Relays, RelayError> {
        Relays::new(&self.explicit)
    }

    /// The topics or subjects that applications choose for their explicit events.
    pub fn routes(&self) -> Vec<Route> {
        let route = |relay: &RelaySettings| Some(Route { sinks: relay.sinks().to_vec(), address: relay.route()? });
        self.explicit.iter().filter_map(route).collect()
    }

    /// The collections that this connector writes to in the deployment it watches.
    pub fn written(&self) -> Vec<Namespace> {
        semantics::written(self).into_iter().map(|written| written.collection).collect()
    }

    /// The stream that covers what is watched, without the collections that this connector writes to.
    pub fn scope(&self) -> Scope {
        Scope::covering(&self.watched(), &self.written())
    }

    /// How the source is read for these rules, which may be others than those of the files: a set that takes their place.
    pub fn plan(&self, rules: &RuleSet) -> Plan {
        let is_pushed_down = self.source.push_down && !self.coverage.is_on() && self.parity.is_none();
        // Settings that can not be used have been refused when the configuration was read.
        let relays = self.relays().unwrap_or_default();
        let watched = self.watched_for(rules);
        Plan::for_rules(rules, &relays, &watched, &self.written(), self.source.streams, is_pushed_down)
    }

    /// Where dead letters go: as it is written, or else beside the checkpoint.
    pub fn dead_letters(&self) -> DeadLetterSettings {
        if let Some(settings) = &self.dead_letters {
            return settings.clone();
        }
        if let Some(file) = &self.checkpoint.file {
            return DeadLetterSettings::File(file.with_file_name("dead_letters.jsonl"));
        }
        let MongodbCheckpointSettings { collection, uri } = self.checkpoint.mongodb.clone().unwrap_or_default();
        let collection = Namespace { database: collection.database, collection: "dead_letters".to_owned() };
        DeadLetterSettings::Mongodb(MongodbSettings { collection, uri })
    }
}
