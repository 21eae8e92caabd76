//! Explanations for people and for programs.

use std::fmt::Write as _;

use changeling::event::Evidence;
use changeling::rules::ast::UnknownPolicy;
use changeling::rules::described;
use changeling::rules::explain::{Answer, Explanation, RuleVerdict, Seen, Step};
use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::explain::{Explained, is_candidate};
use super::relayed::RelayedReport;

/// How much is told.
pub struct Told {
    /// Also the rules that do not look at the change.
    pub all: bool,
    /// Values, and not only their types.
    pub show_values: bool,
}

/// Conditions and their values stand below each other up to this width.
const TEXT_WIDTH: usize = 48;

/// Writes one explained change.
pub fn write(out: &mut String, Explained { header, relayed, rules }: &Explained, told: &Told) {
    let key = described(header.key.as_raw_bson_ref(), told.show_values);
    let title = format!("{} {}", header.operation, header.collection);
    // Writing to a string can not fail.
    let _ = writeln!(out, "{}  _id {key}, {}", title.bold(), header.time);
    let images = format!("before: {}, after: {}", header.before, header.after);
    let _ = writeln!(out, "{}\n", images.dimmed());
    if let Some(relayed) = relayed {
        relayed.write(out, told);
        if relayed.is_withheld {
            return;
        }
    }
    let width = rules.iter().filter(|one| is_candidate(one)).map(|one| one.rule.chars().count()).max().unwrap_or(0);
    for one in rules.iter().filter(|one| is_candidate(one)) {
        write_rule(out, one, width, told);
    }
    let others: Vec<&Explanation> = rules.iter().filter(|one| !is_candidate(one)).collect();
    if told.all {
        let width = others.iter().map(|one| one.rule.chars().count()).max().unwrap_or(0);
        for one in &others {
            if let RuleVerdict::NoCandidate(reason) = &one.verdict {
                let _ = writeln!(out, "{}", format!("- {:width$}  {reason}", one.rule).dimmed());
            }
        }
    } else if !others.is_empty() {
        let text = match others.len() {
            1 => "1 other rule does not look at such a change (--all tells why)".to_owned(),
            count => format!("{count} other rules do not look at such a change (--all tells why)"),
        };
        let _ = writeln!(out, "{}", text.dimmed());
    }
    out.push('\n');
}

fn write_rule(out: &mut String, one: &Explanation, width: usize, told: &Told) {
    let (mark, text) = verdict(&one.verdict);
    let head = format!("{mark} {:width$}  {text}", one.rule);
    let head = match mark {
        YES => head.green().bold().to_string(),
        UNKNOWN => head.yellow().bold().to_string(),
        _ => head.bold().to_string(),
    };
    let _ = writeln!(out, "{head}  {}", one.place.dimmed());
    for step in &one.steps {
        write_step(out, step, 1, told);
    }
    out.push('\n');
}

const YES: &str = "✔";
const NO: &str = "✘";
const UNKNOWN: &str = "?";

fn verdict(verdict: &RuleVerdict) -> (&'static str, String) {
    match verdict {
        RuleVerdict::Fired { events_count, evidence, assumed } => {
            let mut text = match events_count {
                1 => format!("fires, evidence {}", evidence.as_str()),
                count => format!("fires {count} times, evidence {}", evidence.as_str()),
            };
            if let Some(reason) = assumed {
                let _ = write!(text, "; assumed, since {}", reason.explanation());
            }
            (YES, text)
        }
        RuleVerdict::Failed(reason) => (NO, format!("holds, but no event could be built: {reason}")),
        RuleVerdict::Unmet => (NO, "does not fire".to_owned()),
        RuleVerdict::Undecided { reason, policy } => {
            let then = match policy {
                UnknownPolicy::Skip => "no event",
                UnknownPolicy::Assume => "no event, since this can not be assumed",
                UnknownPolicy::DeadLetter => "the change goes to the dead letters",
                UnknownPolicy::Stop => "the connector stops",
            };
            (UNKNOWN, format!("can not be decided: {} ({then})", reason.explanation()))
        }
        RuleVerdict::Later { earlier } => (NO, format!("does not fire: {earlier}, earlier in its group, does")),
        RuleVerdict::Member { members } => {
            (YES, format!("takes it for {}; fires when the transaction has ended", members.join(" and ")))
        }
        RuleVerdict::NoCandidate(reason) => (NO, reason.clone()),
    }
}

fn write_step(out: &mut String, step: &Step, depth: usize, told: &Told) {
    let mark = match step.answer {
        Answer::Yes => YES.green().to_string(),
        Answer::No => NO.red().to_string(),
        Answer::Unknown(_) => UNKNOWN.yellow().to_string(),
    };
    let text = format!("{} {}", step.key, step.text);
    let pad = TEXT_WIDTH.saturating_sub(text.chars().count() + 4 * depth);
    let mut line = format!("{}{mark} {text}{}", "    ".repeat(depth), " ".repeat(pad));
    let values: Vec<String> =
        step.values.iter().map(|value| format!("{} {}", value.what, seen(&value.seen, told.show_values))).collect();
    if !values.is_empty() {
        let _ = write!(line, "  {}", values.join(", ").cyan());
    }
    if step.evidence > Evidence::Exact {
        let _ = write!(line, "  {}", format!("({})", step.evidence.as_str()).dimmed());
    }
    let _ = writeln!(out, "{line}");
    for part in &step.parts {
        write_step(out, part, depth + 1, told);
    }
}

fn seen(seen: &Seen, with_values: bool) -> String {
    match seen {
        Seen::Value(value) => described(value.as_raw_bson_ref(), with_values),
        Seen::Missing => "missing".to_owned(),
        Seen::Unknown(_) => "not known".to_owned(),
        Seen::Count(1) => "1".to_owned(),
        Seen::Count(count) => count.to_string(),
    }
}

/// One explained change, for programs.
#[derive(Serialize)]
pub struct Report {
    operation: &'static str,
    collection: String,
    key: String,
    time: String,
    before: &'static str,
    after: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    relayed: Option<RelayedReport>,
    rules: Vec<RuleReport>,
}

#[derive(Serialize)]
struct RuleReport {
    rule: String,
    event: String,
    place: String,
    verdict: &'static str,
    reason: Option<String>,
    events: usize,
    evidence: Option<&'static str>,
    conditions: Vec<StepReport>,
}

#[derive(Serialize)]
struct StepReport {
    key: &'static str,
    condition: String,
    holds: Option<bool>,
    reason: Option<&'static str>,
    evidence: &'static str,
    values: Vec<ValueReport>,
    parts: Vec<StepReport>,
}

#[derive(Serialize)]
struct ValueReport {
    what: String,
    seen: String,
}

impl Report {
    /// What is told of one change.
    pub fn new(Explained { header, relayed, rules }: &Explained, told: &Told) -> Self {
        let rules = rules.iter().filter(|one| told.all || is_candidate(one));
        Self {
            operation: header.operation,
            collection: header.collection.clone(),
            key: described(header.key.as_raw_bson_ref(), told.show_values),
            time: header.time.clone(),
            before: header.before,
            after: header.after,
            relayed: relayed.as_ref().map(RelayedReport::new),
            rules: rules.map(|one| RuleReport::new(one, told)).collect(),
        }
    }
}

impl RuleReport {
    fn new(one: &Explanation, told: &Told) -> Self {
        let (mut events, mut how) = (0, None);
        let (verdict, reason) = match &one.verdict {
            RuleVerdict::Fired { events_count, evidence, assumed } => {
                (events, how) = (*events_count, Some(evidence.as_str()));
                ("fired", assumed.map(|reason| reason.as_str().to_owned()))
            }
            RuleVerdict::Failed(reason) => ("failed", Some(reason.clone())),
            RuleVerdict::Unmet => ("unmet", None),
            RuleVerdict::Undecided { reason, .. } => ("undecided", Some(reason.as_str().to_owned())),
            RuleVerdict::Later { earlier } => ("later", Some(earlier.to_string())),
            RuleVerdict::Member { members } => ("member", Some(members.join(", "))),
            RuleVerdict::NoCandidate(reason) => ("no_candidate", Some(reason.clone())),
        };
        Self {
            rule: one.rule.to_string(),
            event: one.event.to_string(),
            place: one.place.clone(),
            verdict,
            reason,
            events,
            evidence: how,
            conditions: one.steps.iter().map(|step| StepReport::new(step, told)).collect(),
        }
    }
}

impl StepReport {
    fn new(step: &Step, told: &Told) -> Self {
        let (holds, reason) = match step.answer {
            Answer::Yes => (Some(true), None),
            Answer::No => (Some(false), None),
            Answer::Unknown(reason) => (None, Some(reason.as_str())),
        };
        let value = |value: &changeling::rules::explain::Value| ValueReport {
            what: value.what.clone(),
            seen: seen(&value.seen, told.show_values),
        };
        Self {
            key: step.key,
            condition: step.text.clone(),
            holds,
            reason,
            evidence: step.evidence.as_str(),
            values: step.values.iter().map(value).collect(),
            parts: step.parts.iter().map(|part| Self::new(part, told)).collect(),
        }
    }
}
