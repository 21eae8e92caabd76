//! The rule language: from a YAML file to events. Pure: no file, no clock, no network.
//!
//! The way of a rule: text -> `yaml` (a tree with positions) -> `read` (a typed [`ast::Rule`], or diagnostics) -> `compile`
//! (an index over namespace, operation and touched field) -> [`RuleSet::apply`].

pub mod ast;
mod language;
mod matcher;
mod namespace;
mod path;
mod query;
mod template;

use std::sync::Arc;

pub use language::LanguageError;
pub use matcher::{Comparison, Matcher, TextMatch};
pub use namespace::NamespacePattern;
pub use path::FieldPath;
pub use query::{Query, Root};
pub use template::{Template, TextPart, TextTemplate};

use crate::change::Change;
use crate::event::{Event, EventId};

/// A compiled, immutable set of rules.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<ast::Rule>,
}

/// What applying a rule set to changes gives. Reused from change to change: `apply` only appends.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The events, in the order of the rules.
    pub events: Vec<Event>,
    /// Rules whose conditions could not be decided.
    pub undecided: Vec<Undecided>,
    /// Events that could not be built, for the dead letters.
    pub failed: Vec<FailedEvent>,
}

impl Outcome {
    /// Makes it empty, keeping its memory.
    pub fn clear(&mut self) {
        self.events.clear();
        self.undecided.clear();
        self.failed.clear();
    }
}

/// A rule that neither fired nor did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// The rule's id.
    pub rule: Arc<str>,
    /// Why: a word of a closed set, fit for a metric label.
    pub reason: UnknownReason,
}

/// Why a condition could not be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownReason {
    /// The document before the change is not known.
    NoPreImage,
    /// The document after the change is not known.
    NoPostImage,
}

impl UnknownReason {
    /// The word of the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoPreImage => "no_pre_image",
            Self::NoPostImage => "no_post_image",
        }
    }
}

/// An event that a rule wanted and that could not be built.
#[derive(Clone, Debug)]
pub struct FailedEvent {
    /// The id it would have had.
    pub id: EventId,
    /// The rule's id.
    pub rule: Arc<str>,
    /// What is wrong; names paths, never values.
    pub reason: String,
}

/// What rules need to know of the documents of one collection beyond the change's own description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageNeeds {
    /// Some rule reads the document before the change.
    pub before: bool,
    /// Some rule reads parts of the document after the change that an update need not hold.
    pub after: bool,
}

impl RuleSet {
    /// Compiles checked rules into an index.
    pub fn compile(rules: Vec<ast::Rule>) -> Self {
        Self { rules }
    }

    /// Appends to `outcome` what the rules make of one change.
    pub fn apply(&self, change: &Change<'_>, outcome: &mut Outcome) {
        let _ = (change, outcome);
    }

    /// The namespaces that the rules name, without repeats.
    pub fn namespaces(&self) -> Vec<NamespacePattern> {
        Vec::new()
    }

    /// What the rules need to know of the documents of a collection.
    pub fn image_needs(&self, database: &str, collection: &str) -> ImageNeeds {
        let _ = (database, collection);
        ImageNeeds::default()
    }

    /// The same over all collections that the rules name: what the stream is opened with.
    pub fn image_needs_of_all(&self) -> ImageNeeds {
        ImageNeeds::default()
    }

    /// True if a rule that may fire on this change reads parts of the document after it that are not known, so that it
    /// should be looked up.
    pub fn wants_look_up(&self, change: &Change<'_>) -> bool {
        let _ = change;
        false
    }

    /// The ids of all enabled rules, in file order.
    pub fn rule_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().map(|rule| &rule.id)
    }

    /// The number of enabled rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True if no rule is enabled.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Identifies the content of the set: equal sets have equal hashes.
    pub fn hash(&self) -> &str {
        ""
    }
}
