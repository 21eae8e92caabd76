//! A scenario: what an application does, what it writes, which events it records itself, and which rules try to infer them.

use std::fs;
use std::path::{Path, PathBuf};

use bson::{Bson, Document};
use changeling::yaml::{self, Diagnostics, SourceFile};
use serde::Deserialize;
use serde_json::Value;

use super::Failure;

/// One scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name of the file, without its ending.
    #[serde(skip)]
    pub name: String,
    /// What it shows, in a few words.
    pub title: String,
    /// What the application does, in sentences.
    pub story: String,
    /// The collections of the database `shop`, each with the options of MongoDB's `create`.
    pub collections: serde_json::Map<String, Value>,
    /// What is written before changeling looks.
    #[serde(default)]
    pub before: Vec<Step>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Rules, as in a rule file.
    pub rules: Vec<Value>,
    /// Rules that do better on the same changes, where there are any.
    #[serde(default)]
    pub better_rules: Vec<Value>,
    /// Relays, as in a configuration.
    pub explicit: Vec<Value>,
    /// Settings of parity, as in a configuration.
    #[serde(default)]
    pub parity: serde_json::Map<String, Value>,
    /// What helps, in a sentence.
    pub helps: String,
}

/// One thing that happens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What that is, in words.
    #[serde(default)]
    pub does: String,
    /// How often it happens: once for each number from the first to the last, which `{n}` stands for in the commands.
    pub repeat: Option<(i64, i64)>,
    /// Commands that run one by one.
    #[serde(default)]
    pub run: Vec<Value>,
    /// Commands that run in one transaction.
    #[serde(default)]
    pub transaction: Vec<Value>,
    /// What the server is expected to delete by itself; waited for.
    pub until_gone: Option<Gone>,
}

/// Documents that are expected to vanish.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// The collection.
    pub collection: String,
    /// Which of its documents.
    pub filter: Value,
}

/// A scenario that is not there.
#[derive(Debug, thiserror::Error)]
#[error("there is no scenario \"{name}\"\nhelp: {help}")]
pub struct UnknownScenario {
    name: String,
    help: String,
}

/// All scenarios, in the order of their names.
///
/// # Errors
/// If a file can not be read or is no scenario.
pub fn all() -> Result<Vec<Scenario>, Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/limitations/scenarios");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Scenario, Failure> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let file = SourceFile { name: format!("{name}.yaml"), text: fs::read_to_string(path)? };
    let mut diagnostics = Diagnostics::default();
    let Some(root) = yaml::read(&mut diagnostics.of(&file)) else { return Err(diagnostics.render().into()) };
    let scenario: Scenario =
        serde_path_to_error::deserialize(root.to_json()).map_err(|error| format!("{name}.yaml: {error}"))?;
    Ok(Scenario { name, ..scenario })
}

/// The scenarios of these names, or all of them if none is named.
///
/// # Errors
/// A name that there is not.
pub fn chosen(all: Vec<Scenario>, names: &[String]) -> Result<Vec<Scenario>, UnknownScenario> {
    if let Some(name) = names.iter().find(|name| !all.iter().any(|scenario| scenario.name == **name)) {
        let known = all.iter().map(|scenario| scenario.name.as_str());
        let help = yaml::did_you_mean(name, known).unwrap_or_else(|| "--list shows them all".to_owned());
        return Err(UnknownScenario { name: name.clone(), help });
    }
    let is_chosen = |scenario: &Scenario| names.is_empty() || names.contains(&scenario.name);
    Ok(all.into_iter().filter(is_chosen).collect())
}

impl Step {
    /// The numbers for which it happens.
    pub fn numbers(&self) -> std::ops::RangeInclusive<i64> {
        let (first, last) = self.repeat.unwrap_or((1, 1));
        first..=last
    }
}

/// A document from Extended JSON.
///
/// # Errors
/// If it is none.
pub fn document(value: &Value) -> Result<Document, Failure> {
    match Bson::try_from(value.clone())? {
        Bson::Document(document) => Ok(document),
        other => Err(format!("{other} is no document").into()),
    }
}

/// The command with a number in the place of every `{n}`.
///
/// # Errors
/// If it is no document.
pub fn command(template: &Value, number: i64) -> Result<Document, Failure> {
    document(&filled(template, number))
}

fn filled(template: &Value, number: i64) -> Value {
    match template {
        Value::String(text) if text == "{n}" => number.into(),
        Value::String(text) => text.replace("{n}", &number.to_string()).into(),
        Value::Array(values) => values.iter().map(|value| filled(value, number)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), filled(value, number))).collect())
        }
        other => other.clone(),
    }
}
