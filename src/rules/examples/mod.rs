//! The tests inside rule files: changes go in, and the events that come out are compared with those expected. Pure, as all of
//! the rules are: a test needs no database.

mod change;
mod compare;
mod difference;
mod reason;

use std::ops::Range;
use std::sync::Arc;

use bson::RawDocumentBuf;

use crate::change::{Batch, Entry};
use crate::event::Evidence;

pub use change::{WrittenChange, WrittenDescription};

use super::{Outcome, Reading, RuleSet, Translation};

/// What a test may remember of a transaction, in bytes: the default of the pipeline.
const TRANSACTION_BYTES_MAX: usize = 64 << 20;

/// A test of a rule file.
#[derive(Clone, Debug)]
pub struct Example {
    /// Its name, for people.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// The line of the file.
    pub line: usize,
    /// The changes, in the form in which a change stream sends them.
    pub changes: Vec<RawDocumentBuf>,
    /// The events that must come, and no others.
    pub expected: Vec<Expectation>,
    /// The rules that it sees, of those of its [`Reading`].
    pub rules: Range<usize>,
}

/// An event that a test expects.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// The event's name.
    pub event: String,
    /// What its payload must hold.
    pub data: Option<RawDocumentBuf>,
    /// True if the payload must hold nothing else.
    pub exact: bool,
    /// Its partition key.
    pub key: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// The id of the rule that makes it.
    pub rule: Option<String>,
    /// How it is known.
    pub evidence: Option<Evidence>,
}

/// What a test gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleResult {
    /// The test's name.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// The line of the file.
    pub line: usize,
    /// Every difference between what was expected and what came, one per line; empty if the test passed.
    pub differences: Vec<String>,
}

impl ExampleResult {
    /// True if everything came as expected.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Runs every test of a reading, in its order.
pub fn run(reading: &Reading) -> Vec<ExampleResult> {
    let mut sets: Vec<(Range<usize>, Arc<RuleSet>)> = Vec::new();
    let mut results = Vec::new();
    for example in &reading.examples {
        let position = sets.iter().position(|(range, _)| *range == example.rules).unwrap_or_else(|| {
            let rules = reading.rules.get(example.rules.clone()).unwrap_or_default();
            sets.push((example.rules.clone(), Arc::new(RuleSet::compile(rules.to_vec()))));
            sets.len() - 1
        });
        let (mut result, missing) = run_one(&sets[position].1, example);
        let rules = reading.rules.get(example.rules.clone()).unwrap_or_default();
        result.differences.extend(reason::of_missing(rules, example, &missing));
        results.push(result);
    }
    results
}

/// Runs one test against a set of rules. With its result come the names of the events that are missing.
fn run_one(rules: &Arc<RuleSet>, example: &Example) -> (ExampleResult, Vec<String>) {
    let batch = Batch::from_documents(example.changes.iter().map(|change| change.as_ref()), None);
    let mut outcome = Outcome::default();
    let mut translation = Translation::new(TRANSACTION_BYTES_MAX);
    let mut actual = Vec::new();
    let mut differences = Vec::new();
    for (index, entry) in batch.entries().enumerate() {
        match entry {
            Ok(Entry::Change(change)) => {
                translation.apply(rules, &change, &mut outcome);
            }
            Ok(Entry::Notice(_)) => {}
            Err(error) => differences.push(error.to_string()),
        }
        actual.extend(outcome.events.drain(..).map(|event| compare::Actual { change: index, event }));
    }
    translation.end(&mut outcome);
    let last = batch.len();
    actual.extend(outcome.events.drain(..).map(|event| compare::Actual { change: last, event }));
    let mut missing = Vec::new();
    differences.extend(compare::differences(&example.expected, actual, &mut missing));
    for failed in &outcome.failed {
        differences.push(format!("the event of rule {} could not be built: {}", failed.rule, failed.reason));
    }
    if !differences.is_empty() {
        for undecided in &outcome.undecided {
            let (code, reason) = (undecided.reason.as_str(), undecided.reason.explanation());
            differences.push(format!("rule {} could not be decided: {reason} ({code})", undecided.rule));
        }
    }
    let result =
        ExampleResult { name: example.name.clone(), file: example.file.clone(), line: example.line, differences };
    (result, missing)
}
