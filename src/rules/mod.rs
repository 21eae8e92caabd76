//! The rule language: from a YAML file to events. Pure: no file, no clock, no network.
//!
//! The way of a rule: text -> `yaml` (a tree with positions) -> `read` (a typed [`ast::Rule`], or diagnostics) -> `compile`
//! (an index over namespace, operation and touched field) -> [`RuleSet::apply`].

#[cfg(test)]
mod agreement;
pub mod ast;
mod check;
mod condition;
pub mod coverage;
mod described;
mod each;
pub mod examples;
pub mod explain;
mod group;
mod guard;
mod image_plan;
mod index;
mod language;
mod matcher;
mod mention;
mod namespace;
mod path;
mod payload;
mod plain;
mod push_down;
mod query;
mod read;
mod reads;
pub mod replay;
mod route;
mod rule;
#[cfg(test)]
mod sample;
mod schema;
mod state;
mod template;
pub(crate) mod text;
mod transaction;
mod transition;
mod translation;
mod view;
mod virtual_document;

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use described::{described, type_name};
pub use each::{Appended, AppendedElements, NewElement};
pub use image_plan::{ImageKind, ImageReason, WithoutImage};
pub use language::LanguageError;
pub use matcher::{Comparison, Matcher, TextMatch};
pub use namespace::NamespacePattern;
pub use path::FieldPath;
pub use plain::{Selected, query, select};
pub use push_down::{PushDown, TouchedField};
pub use query::{Query, Root};
pub use read::{NamedSink, Reading, read, read_changes};
pub use schema::schema;
pub use template::{Template, TextPart, TextTemplate};
pub use translation::Translation;

use crate::change::{Change, Image, Operation};
use crate::event::{Event, EventId};

use group::{Groups, Verdict};
use index::NamespaceIndex;
use rule::{CompiledRule, Names};
use transaction::{MemberChange, TransactionRules};
use view::View;

/// A compiled, immutable set of rules.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// The rules in file order, and after them the members of those with `transaction`.
    rules: Vec<CompiledRule>,
    transactions: TransactionRules,
    index: NamespaceIndex,
    hash: String,
    short_hash: Arc<str>,
}

/// How many digits of the hash of a rule set its events carry.
const SHORT_HASH_DIGITS: usize = 12;

/// What applying a rule set to changes gives. Reused from change to change: `apply` only appends.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The events, in the order of the rules.
    pub events: Vec<Event>,
    /// Rules whose conditions could not be decided.
    pub undecided: Vec<Undecided>,
    /// Events that could not be built, for the dead letters.
    pub failed: Vec<FailedEvent>,
    /// Memory of `apply`, kept so that a change that fires nothing allocates nothing.
    candidates: Vec<usize>,
    groups: Groups,
    /// Memory of rules with `each`, for the same reason.
    elements: each::Scratch,
    /// What the change is to members of rules with `transaction`; [`Translation`] takes it.
    members: Vec<MemberChange>,
}

impl Outcome {
    /// True if nothing came out.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.undecided.is_empty() && self.failed.is_empty()
    }

    /// Makes it empty, keeping its memory.
    pub fn clear(&mut self) {
        self.events.clear();
        self.undecided.clear();
        self.failed.clear();
        self.members.clear();
    }
}

/// A rule that neither fired nor did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// The rule's id.
    pub rule: Arc<str>,
    /// Why: a word of a closed set, fit for a metric label.
    pub reason: UnknownReason,
    /// What the rule wants to be done about it. With [`ast::UnknownPolicy::Assume`] it is done already: where an event could be made,
    /// it is among the events.
    pub policy: ast::UnknownPolicy,
}

/// Why a condition could not be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnknownReason {
    /// The document before the change is not known.
    NoPreImage,
    /// The document after the change is not known.
    NoPostImage,
    /// The conditions hold, but on weaker evidence than the rule accepts.
    WeakEvidence,
    /// The conditions hold, but whether an earlier rule of its group matches is not known.
    EarlierRule,
    /// More of the transaction would have to be remembered than may be.
    TransactionTooLarge,
    /// History was lost in the middle of the transaction.
    TransactionIncomplete,
}

impl UnknownReason {
    /// The word of the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoPreImage => "no_pre_image",
            Self::NoPostImage => "no_post_image",
            Self::WeakEvidence => "weak_evidence",
            Self::EarlierRule => "earlier_rule",
            Self::TransactionTooLarge => "transaction_too_large",
            Self::TransactionIncomplete => "transaction_incomplete",
        }
    }

    /// The same in a sentence, for people.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::NoPreImage => "the document before the change is not known",
            Self::NoPostImage => "the document after the change is not known",
            Self::WeakEvidence => "its conditions hold on weaker evidence than it accepts",
            Self::EarlierRule => "it is not known whether an earlier rule of its group matches",
            Self::TransactionTooLarge => "more of the transaction would have to be remembered than may be",
            Self::TransactionIncomplete => "history was lost in the middle of the transaction",
        }
    }

    /// What makes such a rule decidable.
    pub fn way_out(self) -> &'static str {
        match self {
            Self::NoPreImage | Self::NoPostImage | Self::WeakEvidence | Self::EarlierRule => {
                "`changeling check` names the command that makes the server keep the documents before and after changes"
            }
            Self::TransactionTooLarge => "give `pipeline.transaction_bytes_max` a larger value",
            Self::TransactionIncomplete => "what is lost can not be decided any more; a larger oplog keeps it longer",
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
    /// Some rule reads the document before the change, or has a transition: an update's own description decides many of those,
    /// but a replacement shows what changed only beside the document before it.
    pub before: bool,
    /// Some rule reads parts of the document after the change that an update need not hold.
    pub after: bool,
}

impl ImageNeeds {
    /// What either needs.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { before: self.before || other.before, after: self.after || other.after }
    }
}

impl RuleSet {
    /// Compiles checked rules into an index.
    pub fn compile(rules: Vec<ast::Rule>) -> Self {
        let groups = group::numbers(&rules);
        let hash = hash_of(&rules, &groups);
        let grouped = rules.iter().zip(groups);
        let mut compiled: Vec<CompiledRule> =
            grouped.map(|(rule, group)| CompiledRule::new(rule).in_group(group)).collect();
        let transactions = TransactionRules::new(&rules, &mut compiled);
        let index = NamespaceIndex::new(&compiled);
        let short_hash = hash[..SHORT_HASH_DIGITS].into();
        Self { rules: compiled, transactions, index, hash, short_hash }
    }

    /// Appends to `outcome` what the rules make of one change by itself. Rules with `transaction` need a [`Translation`].
    pub fn apply(&self, change: &Change<'_>, outcome: &mut Outcome) {
        let Some(candidates) = self.index.find(&self.rules, change.database, change.collection) else { return };
        let mut numbers = std::mem::take(&mut outcome.candidates);
        candidates.of_change(change, &mut numbers);
        if !numbers.is_empty() {
            let view = View::new(change);
            let names = Names { database: &candidates.database, collection: &candidates.collection };
            let mut event_number = 0;
            let events_before = outcome.events.len();
            outcome.groups.clear();
            for &number in &numbers {
                let Some(rule) = self.rules.get(number) else { continue };
                if self.transactions.is_member(number) {
                    if change.transaction.is_some() {
                        outcome.members.extend(self.transactions.judge(number, rule, &view, &names));
                    }
                    continue;
                }
                let Some(group) = rule.group else {
                    rule.apply(&view, &names, Verdict::No, &mut event_number, outcome);
                    continue;
                };
                let earlier = outcome.groups.so_far(group);
                if earlier != Verdict::Matches {
                    let verdict = rule.apply(&view, &names, earlier, &mut event_number, outcome);
                    outcome.groups.note(group, verdict);
                }
            }
            for event in &mut outcome.events[events_before..] {
                event.rule_set = Some(Arc::clone(&self.short_hash));
            }
        }
        outcome.candidates = numbers;
    }

    /// Appends to `found` the ids of the rules whose conditions hold on one change by itself, in their order: what [`RuleSet::apply`]
    /// finds out before it makes events. Groups, the evidence that a rule demands and rules with `transaction` are left aside.
    pub fn find_holding<'r>(&'r self, change: &Change<'_>, found: &mut Vec<&'r Arc<str>>) {
        let Some(candidates) = self.index.find(&self.rules, change.database, change.collection) else { return };
        let mut numbers = Vec::new();
        candidates.of_change(change, &mut numbers);
        let view = View::new(change);
        let rules = numbers.iter().filter(|number| !self.transactions.is_member(**number));
        let rules = rules.filter_map(|&number| self.rules.get(number));
        found.extend(rules.filter(|rule| rule.is_wanted_by(&view)).map(|rule| &rule.id));
    }

    /// The namespaces that the rules name, without repeats.
    pub fn namespaces(&self) -> Vec<NamespacePattern> {
        let mut seen = HashSet::new();
        let patterns = self.rules.iter().flat_map(|rule| &rule.collections);
        patterns.filter(|pattern| seen.insert((&pattern.database, &pattern.collection))).cloned().collect()
    }

    /// What the rules need to know of the documents of a collection.
    pub fn image_needs(&self, database: &str, collection: &str) -> ImageNeeds {
        self.index
            .find(&self.rules, database, collection)
            .map_or_else(ImageNeeds::default, |candidates| candidates.needs)
    }

    /// The same over all collections that the rules name: what the stream is opened with.
    pub fn image_needs_of_all(&self) -> ImageNeeds {
        self.rules.iter().fold(ImageNeeds::default(), |needs, rule| needs.or(rule.needs))
    }

    /// The rules that no update or delete decides without the document before it: those that ask what was there. What is left
    /// of [`ImageNeeds::before`] are rules that only replacements leave undecided.
    pub fn rules_asking_what_was(&self) -> impl Iterator<Item = &Arc<str>> {
        let mut seen = HashSet::new();
        self.rules.iter().filter(|rule| rule.asks_what_was).map(|rule| &rule.id).filter(move |id| seen.insert(*id))
    }

    /// The same of one collection. Compiles globs on every call: for set-up, not for every change.
    pub fn rules_asking_what_was_in(&self, database: &str, collection: &str) -> Vec<&Arc<str>> {
        let covers = |rule: &&CompiledRule| rule.collections.iter().any(|one| one.matches(database, collection));
        let mut seen = HashSet::new();
        let rules = self.rules.iter().filter(|rule| rule.asks_what_was).filter(covers).map(|rule| &rule.id);
        rules.filter(|id| seen.insert(*id)).collect()
    }

    /// True if a rule that may fire on this change reads parts of the document after it that are not known, so that it
    /// should be looked up.
    pub fn wants_look_up(&self, change: &Change<'_>) -> bool {
        if !matches!(change.operation, Operation::Update) || !matches!(change.after, Image::Unknown) {
            return false;
        }
        let Some(candidates) = self.index.find(&self.rules, change.database, change.collection) else { return false };
        if !candidates.needs.after {
            return false;
        }
        let mut numbers = Vec::new();
        candidates.of_change(change, &mut numbers);
        let view = View::new(change);
        if change.transaction.is_none() {
            numbers.retain(|number| !self.transactions.is_member(*number));
        }
        numbers.iter().filter_map(|&number| self.rules.get(number)).any(|rule| rule.wants_look_up(&view))
    }

    /// The ids of all enabled rules, in file order.
    pub fn rule_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().take(self.len()).map(|rule| &rule.id)
    }

    /// The names of the events that the enabled rules make, in file order; some may come more than once.
    pub fn event_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().take(self.len()).map(|rule| &rule.event)
    }

    /// Every sink that a rule names, with the rule's id.
    pub fn named_sinks(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.rules.iter().flat_map(|rule| rule.sinks().map(move |sink| (&rule.id, sink)))
    }

    /// The number of enabled rules.
    pub fn len(&self) -> usize {
        self.transactions.rule_count()
    }

    /// True if no rule is enabled.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Identifies the content of the set: equal sets have equal hashes, wherever in which file their rules stand.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The first digits of the hash: what the events of the set carry as `ruleset`, and what logs and metrics call it.
    pub fn short_hash(&self) -> &Arc<str> {
        &self.short_hash
    }
}

fn hash_of(rules: &[ast::Rule], groups: &[Option<usize>]) -> String {
    let mut hash = Sha256::new();
    for (rule, group) in rules.iter().zip(groups) {
        // Which rules are in a group counts, not what it is called in which file.
        let first_of = group.map(|number| Arc::from(number.to_string()));
        let content = ast::Rule { origin: String::new(), first_of, ..rule.clone() };
        let text = format!("{content:?}");
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let mut text = String::with_capacity(32);
    for byte in hash.finalize().iter().take(16) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
