//! Why an event that a test expects did not come: a line for each rule that could have made it.

use super::Example;
use super::compare::shown;
use crate::change::{Batch, Entry};
use crate::rules::ast::{Rule, Transaction};
use crate::rules::explain::{Answer, Explainer, Explanation, RuleVerdict, Seen, Step};

/// Explains the absence of these events; `rules` are those that the test sees. What could not be decided is told elsewhere.
pub(super) fn of_missing(rules: &[Rule], example: &Example, missing: &[String]) -> Vec<String> {
    if missing.is_empty() {
        return Vec::new();
    }
    let explainer = Explainer::new(rules.to_vec());
    let batch = Batch::from_documents(example.changes.iter().map(|change| change.as_ref()), None);
    let mut of_changes: Vec<Vec<Explanation>> = Vec::new();
    for entry in batch.entries() {
        if let Ok(Entry::Change(change)) = entry {
            of_changes.push(explainer.explain(&change));
        }
    }
    let mut lines = Vec::new();
    for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| missing.iter().any(|name| **name == *rule.event)) {
        let said: Vec<&Explanation> = of_changes.iter().filter_map(|all| all.get(index)).collect();
        let reason = match &rule.transaction {
            Some(transaction) => of_members(transaction, &said),
            None => of_rule(&said),
        };
        lines.extend(reason.map(|reason| format!("rule {} does not fire: {reason}", rule.id)));
    }
    lines
}

/// The reason of the change that came nearest: one that the rule looks at, before one that it does not.
fn of_rule(said: &[&Explanation]) -> Option<String> {
    let looked =
        said.iter().find(|one| !matches!(one.verdict, RuleVerdict::NoCandidate(_))).or_else(|| said.first())?;
    match &looked.verdict {
        RuleVerdict::NoCandidate(reason) => Some(reason.clone()),
        RuleVerdict::Later { earlier } => Some(format!("{earlier}, earlier in its group, does")),
        RuleVerdict::Unmet => looked.steps.iter().find_map(first_unmet),
        RuleVerdict::Fired { .. }
        | RuleVerdict::Failed(_)
        | RuleVerdict::Undecided { .. }
        | RuleVerdict::Member { .. } => None,
    }
}

/// The first member that does not have what it needs.
fn of_members(transaction: &Transaction, said: &[&Explanation]) -> Option<String> {
    if said.iter().all(|one| matches!(one.verdict, RuleVerdict::NoCandidate(_)) && one.steps.is_empty()) {
        return of_rule(said);
    }
    transaction.members.iter().find_map(|member| {
        let takes = |one: &&&Explanation| match &one.verdict {
            RuleVerdict::Member { members } => members.contains(&member.alias),
            _ => false,
        };
        let refused = |one: &&Explanation| {
            let step = one.steps.iter().find(|step| step.text == *member.alias && step.answer == Answer::No)?;
            step.parts.iter().find_map(first_unmet)
        };
        match said.iter().filter(takes).count() {
            0 if !member.is_optional => {
                let why = said.iter().find_map(refused).map_or(String::new(), |why| format!(": {why}"));
                Some(format!("no change is its member `{}`{why}", member.alias))
            }
            count if count > 1 && !member.is_many => {
                Some(format!("{count} changes are its member `{}`, which takes one", member.alias))
            }
            _ => None,
        }
    })
}

/// The innermost condition that does not hold, with what it looked at.
fn first_unmet(step: &Step) -> Option<String> {
    if step.answer != Answer::No {
        return None;
    }
    // A state is entered from outside: on that side, a condition that does not hold is no reason.
    let side = match step.key {
        "enters" => Some(("after", "it held before")),
        "leaves" => Some(("before", "it holds still")),
        _ => None,
    };
    let mut parts = step.parts.iter().filter(|part| side.is_none_or(|(side, _)| part.key == side));
    if let Some(inner) = parts.find_map(first_unmet) {
        return Some(if side.is_some() { format!("`{} {}`: {inner}", step.key, step.text) } else { inner });
    }
    if let Some((_, otherwise)) = side {
        return Some(format!("`{} {}` does not hold: {otherwise}", step.key, step.text));
    }
    if step.key == "each" {
        return Some(format!("`each {}` holds for no element", step.text));
    }
    let values: Vec<String> = step
        .values
        .iter()
        .map(|value| match &value.seen {
            Seen::Value(raw) => format!("{} is {}", value.what, shown(raw.as_raw_bson_ref())),
            Seen::Missing => format!("{} is missing", value.what),
            Seen::Unknown(_) => format!("{} is not known", value.what),
            Seen::Count(count) => format!("{}: {count}", value.what),
        })
        .collect();
    let seen = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
    Some(format!("`{} {}` does not hold{seen}", step.key, step.text))
}
