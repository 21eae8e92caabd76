//! What rules made of a history, for people and for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use bson::{Bson, RawBsonRef, RawDocumentBuf};
use changeling::app::{RelayAccount, Relaying};
use changeling::event::Event;
use changeling::position::ClusterTime;
use changeling::rules::described;
use changeling::rules::replay::{Account, Failures, RuleAccount};
use owo_colors::OwoColorize as _;
use serde::Serialize;
use serde_json::Value;

use super::history::Origin;
use super::progress::grouped;

/// What was read, and how fast.
#[derive(Debug, Serialize)]
pub struct ReadSummary {
    /// The tape; absent if the log of the database was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    tape: Option<String>,
    changes: u64,
    /// False if the reading ended early.
    pub complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    seconds: f64,
    changes_per_second: f64,
}

impl ReadSummary {
    /// The summary of a reading that took so long.
    pub fn new(origin: &Origin, account: &Account, took: Duration, complete: bool) -> Self {
        let tape = match origin {
            Origin::Tape { path, .. } => Some(path.display().to_string()),
            Origin::Database => None,
        };
        let seconds = took.as_secs_f64();
        Self {
            tape,
            changes: account.changes_count,
            complete,
            first: account.times.map(|(first, _)| time(first)),
            last: account.times.map(|(_, last)| time(last)),
            seconds,
            changes_per_second: account.changes_count as f64 / seconds.max(1e-9),
        }
    }

    /// What was read, in a sentence; how fast is not told.
    pub fn in_words(&self) -> String {
        let count = grouped(self.changes);
        let origin = self.tape.as_ref().map_or("the log of the database", String::as_str);
        match (&self.first, &self.last) {
            (Some(first), Some(last)) => format!("{count} changes from {first} to {last}, read from {origin}."),
            _ => format!("{count} changes, read from {origin}."),
        }
    }

    /// One line, or two.
    pub fn print(&self, output: &mut impl Write) -> io::Result<()> {
        let count = grouped(self.changes).bold().to_string();
        match (&self.first, &self.last) {
            (Some(first), Some(last)) => write!(output, "{count} changes from {first} to {last}")?,
            _ => write!(output, "{count} changes")?,
        }
        let rate = grouped(self.changes_per_second as u64);
        writeln!(output, ", read in {:.1} s ({rate} per second)", self.seconds)?;
        match self.complete {
            true => Ok(()),
            false => writeln!(output, "{}", "not everything was read".yellow()),
        }
    }
}

/// What the source lacks, told before anything else.
pub fn print_origin(output: &mut impl Write, origin: &Origin, wants_look_ups: bool) -> io::Result<()> {
    if let Origin::Tape { path, header } = origin {
        let has = |has: bool| if has { "yes" } else { "no" };
        writeln!(
            output,
            "tape {}: recorded {} by changeling {}, {}; documents before changes: {}, after: {}, looked up: {}",
            path.display(),
            instant(header.created_at),
            header.version,
            header.scope,
            has(header.has_before),
            has(header.has_after),
            has(header.has_look_ups),
        )?;
    }
    if wants_look_ups && origin.lacks_look_ups() {
        let told = "a run looks up documents that the rules need and the log does not hold; here conditions on them are undecided, and data from them is missing";
        writeln!(output, "{} {told}", "note:".yellow())?;
    }
    Ok(())
}

fn time(time: ClusterTime) -> String {
    instant(bson::DateTime::from_millis(time.as_millis()))
}

fn instant(time: bson::DateTime) -> String {
    time.try_to_rfc3339_string().unwrap_or_else(|_| time.timestamp_millis().to_string())
}

/// What one rule set made, for programs.
#[derive(Debug, Serialize)]
pub struct AccountReport {
    events: u64,
    /// Changes that fired no rule.
    unmatched: u64,
    /// Changes that fired no rule, some rule being undecided.
    undecided: u64,
    /// Changes that can not be decoded.
    undecodable: u64,
    dead_letters: u64,
    rules: Vec<RuleReport>,
    never_fired: Vec<String>,
    /// Changes of outboxes that made no event although somebody may have meant one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<RelayReport>,
    /// Events of streams that did not come in the order of their versions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    out_of_order: Vec<RelayReport>,
}

/// Something that a relay found.
#[derive(Debug, Serialize)]
struct RelayReport {
    relay: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'static str>,
    count: u64,
}

#[derive(Debug, Serialize)]
struct RuleReport {
    /// The rule, or the relay.
    rule: String,
    origin: &'static str,
    events: u64,
    undecided: BTreeMap<&'static str, u64>,
    dead_letters: u64,
    dead_letter_reasons: BTreeMap<String, u64>,
    /// How often a run would stop.
    stops: u64,
    samples: Vec<Sample>,
}

/// One event, as far as it may be shown.
#[derive(Debug, Serialize)]
pub struct Sample {
    event: String,
    time: String,
    collection: String,
    evidence: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// The payload, or in a few words what types it holds.
    data: Value,
}

impl Sample {
    /// The event with its values, or only with what it is made of.
    pub fn new(event: &Event, with_values: bool) -> Self {
        let data = match with_values {
            true => json(&event.data),
            false => Value::String(described(RawBsonRef::Document(&event.data), false)),
        };
        Self {
            event: event.name.to_string(),
            time: instant(event.time),
            collection: format!("{}.{}", event.database, event.collection),
            evidence: event.evidence.as_str(),
            id: with_values.then(|| event.id.to_string()),
            key: with_values.then(|| event.partition_key.clone()),
            subject: event.subject.clone().filter(|_| with_values),
            data,
        }
    }

    /// One line.
    pub fn print(&self, output: &mut impl Write, event: &Event, with_values: bool) -> io::Result<()> {
        let data = described(RawBsonRef::Document(&event.data), with_values);
        write!(output, "{} {} {}", self.time, self.collection, self.evidence.dimmed())?;
        if let Some(key) = &self.key {
            write!(output, " key {key}")?;
        }
        if let Some(subject) = &self.subject {
            write!(output, " subject {subject}")?;
        }
        writeln!(output, " {data}")
    }
}

fn json(document: &RawDocumentBuf) -> Value {
    bson::Document::try_from(document.as_ref())
        .map_or(Value::Null, |document| Bson::Document(document).into_relaxed_extjson())
}

impl AccountReport {
    /// What the account says.
    pub fn new(account: &Account, relaying: &Relaying, with_values: bool) -> Self {
        let RelayAccount { ignored, faults } = relaying.account();
        let rules = account.rules.iter().map(|rule| RuleReport {
            rule: rule.rule.to_string(),
            origin: if rule.is_explicit { "explicit" } else { "inferred" },
            events: rule.events_count,
            undecided: rule.undecided.iter().map(|(reason, count)| (reason.as_str(), *count)).collect(),
            dead_letters: rule.failures.count,
            dead_letter_reasons: rule.failures.reasons.clone(),
            stops: rule.stops_count,
            samples: rule.samples.iter().map(|event| Sample::new(event, with_values)).collect(),
        });
        Self {
            events: account.events_count,
            unmatched: account.unmatched_count,
            undecided: account.undecided_count,
            undecodable: account.undecodable_count,
            dead_letters: account.failed_count() + account.undecodable_count,
            rules: rules.collect(),
            never_fired: account.never_fired().map(|rule| rule.rule.to_string()).collect(),
            ignored: ignored
                .iter()
                .map(|((relay, what), count)| RelayReport { relay: relay.clone(), what: Some(what), count: *count })
                .collect(),
            out_of_order: faults
                .iter()
                .map(|(relay, count)| RelayReport { relay: relay.clone(), what: None, count: *count })
                .collect(),
        }
    }
}

/// Everything that one rule set made, for people.
pub fn print(output: &mut impl Write, account: &Account, with_values: bool) -> io::Result<()> {
    let Account { events_count, unmatched_count, undecided_count, undecodable_count, .. } = account;
    let counts = [events_count, unmatched_count, undecided_count, undecodable_count].map(|count| grouped(*count));
    let [events, unmatched, undecided, undecodable] = counts;
    writeln!(
        output,
        "{} events; {unmatched} changes fired no rule, {undecided} more were left undecided",
        events.bold()
    )?;
    if *undecodable_count > 0 {
        writeln!(output, "{}", format!("{undecodable} changes can not be decoded: dead letters").red())?;
    }
    let width = account.rules.iter().map(|rule| rule.rule.chars().count()).max().unwrap_or(0).clamp(4, 40);
    let is_told = |rule: &&RuleAccount| rule.events_count > 0 || rule.undecided_count() > 0 || rule.failures.count > 0;
    if account.rules.iter().any(|rule| is_told(&rule)) {
        writeln!(output, "\n{:width$}  {:>12}  {:>10}  {:>12}", "rule", "events", "undecided", "dead letters")?;
    }
    for rule in account.rules.iter().filter(is_told) {
        let counts = [rule.events_count, rule.undecided_count(), rule.failures.count].map(grouped);
        let origin = if rule.is_explicit { "  explicit" } else { "" };
        writeln!(output, "{:width$}  {:>12}  {:>10}  {:>12}{origin}", rule.rule, counts[0], counts[1], counts[2])?;
        for (reason, count) in &rule.undecided {
            writeln!(output, "{:width$}    {} undecided: {}", "", grouped(*count), reason.explanation())?;
        }
        print_failures(output, &rule.failures, width)?;
        if rule.stops_count > 0 {
            let told = format!("a run would stop here, {} times: unknown: stop", grouped(rule.stops_count));
            writeln!(output, "{:width$}    {}", "", told.red())?;
        }
    }
    let never: Vec<&str> = account.never_fired().map(|rule| &*rule.rule).collect();
    if !never.is_empty() {
        writeln!(output, "\n{} {}", "never fired:".yellow(), never.join(", "))?;
    }
    for rule in account.rules.iter().filter(|rule| !rule.samples.is_empty()) {
        writeln!(output, "\n{}", rule.rule.bold())?;
        for event in &rule.samples {
            write!(output, "  ")?;
            Sample::new(event, with_values).print(output, event, with_values)?;
        }
    }
    Ok(())
}

/// What relays found beside events.
pub fn print_relays(output: &mut impl Write, account: &RelayAccount) -> io::Result<()> {
    for ((relay, what), count) in &account.ignored {
        let told = format!("{} changes of {relay} made no event: {what}", grouped(*count));
        writeln!(output, "{}", told.yellow())?;
    }
    for (relay, count) in &account.faults {
        let told = format!("{} events of {relay} did not come in the order of their versions", grouped(*count));
        writeln!(output, "{}", told.yellow())?;
    }
    Ok(())
}

fn print_failures(output: &mut impl Write, failures: &Failures, width: usize) -> io::Result<()> {
    for (reason, count) in &failures.reasons {
        writeln!(output, "{:width$}    {} {}", "", grouped(*count).red(), format!("dead letters: {reason}").red())?;
    }
    Ok(())
}
