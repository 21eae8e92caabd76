//! The configuration: one YAML file that is composed of each part's own settings.
//!
//! The way of a file: text -> tree with positions -> values from the environment and from files -> comparison with the JSON
//! Schema of the structs (all problems at once) -> structs -> what only their meaning shows.

mod decode;
mod log;
mod rule_files;
mod schema_check;
mod semantics;
mod shape;
mod substitute;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::checkpoint::CheckpointSettings;
use crate::http::HttpSettings;
use crate::pipeline::PipelineSettings;
use crate::sink::{DeadLetterSettings, EnvelopeSettings, SinkSettings};
use crate::source::SourceSettings;
use crate::yaml::{Diagnostics, SourceFile};

pub use log::{LogFormat, LogLevel, LogSettings};
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
    /// What all events have in common.
    #[serde(default)]
    pub events: EnvelopeSettings,
    /// Where the position is kept up to which everything has been delivered.
    #[serde(default)]
    pub checkpoint: CheckpointSettings,
    /// Where events go: a name for each, and exactly one kind. Every event goes to every sink.
    pub sinks: BTreeMap<String, SinkSettings>,
    /// Where goes what can not be delivered or understood. Absent: beside the checkpoint.
    #[serde(default)]
    pub dead_letters: Option<DeadLetterSettings>,
    /// How much is buffered, how long is waited, how failures are tried again.
    #[serde(default)]
    pub pipeline: PipelineSettings,
    /// The HTTP server for metrics and health.
    #[serde(default)]
    pub http: HttpSettings,
    /// The logs on standard error.
    #[serde(default)]
    pub log: LogSettings,
    /// The folder of the file, which rules are relative to.
    #[serde(skip)]
    pub folder: PathBuf,
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
    /// What is wrong, and what may be.
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

/// Reads a configuration file.
///
/// # Errors
/// Only if the file itself can not be read; whatever is wrong with it is in the reading.
pub fn read(path: &Path) -> Result<Reading, ConfigError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let file = SourceFile { name: path.display().to_string(), text };
    Ok(read_text(&file, &folder, &|name| std::env::var(name).ok()))
}

/// Reads a configuration from a text that lies in `folder`, with environment variables from `variable`.
pub fn read_text(file: &SourceFile, folder: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Reading {
    let mut diagnostics = Diagnostics::default();
    let config = decode::config(&mut diagnostics.of(file), folder, variable);
    diagnostics.sort();
    Reading { config, diagnostics }
}

/// The JSON Schema of a configuration file, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

impl Config {
    /// Reads every rule file that the configuration names.
    pub fn rule_files(&self) -> (Vec<SourceFile>, Vec<RuleFilesError>) {
        rule_files::read(self.rules.iter().map(|path| self.folder.join(path)))
    }
}

/// Reads rule files, or folders of them, that are named directly.
pub fn rule_files(paths: &[PathBuf]) -> (Vec<SourceFile>, Vec<RuleFilesError>) {
    rule_files::read(paths)
}
