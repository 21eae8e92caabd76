//! Reading the rule files once more, while a run goes on.

use std::fmt::Write as _;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Config, RuleFilesError, relay_checks, rule_files, semantics};
use crate::namespace::Namespace;
use crate::quantity::Period;
use crate::rules::{self, RuleSet, examples};
use crate::yaml::{Diagnostics, SourceFile};

/// Whether rules are exchanged while the connector runs, without being asked to by SIGHUP.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadSettings {
    /// Whether the rule files are watched. A new set whose files have settled is read, its own tests are run, and it takes the place of
    /// the old one; a bad one is refused. Without it, only SIGHUP does that.
    pub watch: bool,
    /// How often the files are looked at. A change is taken when they are the same twice.
    pub interval: Period,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        Self { watch: true, interval: Period::seconds(2) }
    }
}

/// Why the rule files give no set that could be put in force.
#[derive(Debug, thiserror::Error)]
pub enum RulesRefusal {
    /// Rule files can not be read.
    #[error(transparent)]
    Files(RuleFilesError),
    /// There are errors in them.
    #[error("the rules have errors\nhelp: `changeling check` shows them")]
    Errors(Diagnostics),
    /// Their own tests fail.
    #[error("tests of the rules fail: {}\nhelp: `changeling test` shows the differences", names(.0))]
    Tests(Vec<FailedTest>),
    /// A rule watches what this connector writes.
    #[error(
        "the rule {rule:?} watches {collection}, which this connector writes to: its events would make events without end\nhelp: take the collection out of the rule"
    )]
    Ring {
        /// The rule's id.
        rule: String,
        /// What it watches.
        collection: Namespace,
    },
    /// A rule names what is for a relay alone.
    #[error(
        "the rule {rule:?} names {collection}, whose changes a relay takes: the rule would never see one\nhelp: take the collection out of the rule"
    )]
    Reserved {
        /// The rule's id.
        rule: String,
        /// What it names.
        collection: Namespace,
    },
}

/// A test inside a rule file that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedTest {
    /// The name of the test.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

fn names(failed: &[FailedTest]) -> String {
    let mut text = String::new();
    for (index, test) in failed.iter().take(3).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{:?} ({}:{})", test.name, test.file, test.line);
    }
    match failed.len().saturating_sub(3) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

impl Config {
    /// Reads the rule files once more: a whole set that was checked as at the start and whose own tests pass.
    ///
    /// # Errors
    /// Why it must not take the place of the set in force.
    pub fn read_rules_again(&self) -> Result<Arc<RuleSet>, RulesRefusal> {
        let (files, mut errors) = rule_files::read(&self.rule_paths);
        if !errors.is_empty() {
            return Err(RulesRefusal::Files(errors.remove(0).1));
        }
        let mut reading = rules::read(&files);
        semantics::check_named_sinks(self, &reading.named_sinks, false, &mut reading.diagnostics);
        if reading.diagnostics.has_errors() {
            return Err(RulesRefusal::Errors(reading.diagnostics));
        }
        if let Some((rule, collection)) = semantics::ring(self, &reading.rules) {
            return Err(RulesRefusal::Ring { rule, collection });
        }
        if let Some((rule, collection)) = relay_checks::reserved(self, &reading.rules) {
            return Err(RulesRefusal::Reserved { rule, collection });
        }
        let failed: Vec<FailedTest> = examples::run(&reading)
            .into_iter()
            .filter(|result| !result.passed())
            .map(|result| FailedTest { name: result.name, file: result.file, line: result.line })
            .collect();
        if !failed.is_empty() {
            return Err(RulesRefusal::Tests(failed));
        }
        Ok(Arc::new(RuleSet::compile(reading.rules)))
    }

    /// Tells one state of the rule files from another, whether they can be read or not: their names and what is in them. What
    /// file systems tell beside that (times, sizes) is not to be relied on behind links, mounts and copies.
    pub fn rule_files_fingerprint(&self) -> [u8; 32] {
        let (files, errors) = rule_files::read(&self.rule_paths);
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        for SourceFile { name, text } in &files {
            add(name);
            add(text);
        }
        for (_, error) in &errors {
            add(&error.to_string());
        }
        hash.finalize().into()
    }
}
