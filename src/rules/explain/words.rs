//! Conditions in the words in which rule files write them.

use bson::Bson;

use crate::rules::ast::{Direction, Each, ElementChange, State, Transition, When, Where};
use crate::rules::{Comparison, Matcher, TextMatch};

/// A transition: `{from: pending, to: paid}`.
pub(super) fn transition(transition: &Transition) -> String {
    let direction = |direction: Direction| match direction {
        Direction::Up => "increased",
        Direction::Down => "decreased",
    };
    match transition {
        Transition::Changed => "changed".to_owned(),
        Transition::Unchanged => "unchanged".to_owned(),
        Transition::Appears => "appears".to_owned(),
        Transition::Disappears => "disappears".to_owned(),
        Transition::Becomes { from: None, to: Some(to) } => format!("{{to: {}}}", matcher(to)),
        Transition::Becomes { from: Some(from), to: None } => format!("{{from: {}}}", matcher(from)),
        Transition::Becomes { from: Some(from), to: Some(to) } => {
            format!("{{from: {}, to: {}}}", matcher(from), matcher(to))
        }
        Transition::Becomes { from: None, to: None } => "changed".to_owned(),
        Transition::Moves { direction: way, by, by_percent } => {
            let by = by.as_ref().map(|by| format!("by: {}", matcher(by)));
            let by_percent = by_percent.as_ref().map(|by| format!("by_percent: {}", matcher(by)));
            let amounts: Vec<String> = by.into_iter().chain(by_percent).collect();
            match amounts.is_empty() {
                true => direction(*way).to_owned(),
                false => format!("{{{}: {{{}}}}}", direction(*way), amounts.join(", ")),
            }
        }
        Transition::Crosses(Direction::Up, bound) => format!("{{crosses: {{above: {}}}}}", value(bound)),
        Transition::Crosses(Direction::Down, bound) => format!("{{crosses: {{below: {}}}}}", value(bound)),
    }
}

/// A value matcher: `[gold, platinum]`, `{gte: 100}`.
pub(super) fn matcher(matcher: &Matcher) -> String {
    match matcher {
        Matcher::Equals(literal @ Bson::Document(_)) => format!("{{eq: {}}}", value(literal)),
        Matcher::Equals(literal) => value(literal),
        Matcher::OneOf(any) => format!("[{}]", any.iter().map(self::matcher).collect::<Vec<_>>().join(", ")),
        other => format!("{{{}}}", operators(other)),
    }
}

fn operators(matcher: &Matcher) -> String {
    let text = |operator: &str, TextMatch { text, ignore_case }: &TextMatch| {
        let ignored = if *ignore_case { ", ignore_case: true" } else { "" };
        format!("{operator}: {}{ignored}", value(&Bson::String(text.clone())))
    };
    match matcher {
        Matcher::Equals(literal) => format!("eq: {}", value(literal)),
        Matcher::Compare(comparison, bound) => {
            let operator = match comparison {
                Comparison::Greater => "gt",
                Comparison::GreaterOrEqual => "gte",
                Comparison::Less => "lt",
                Comparison::LessOrEqual => "lte",
            };
            format!("{operator}: {}", value(bound))
        }
        Matcher::OneOf(any) => format!("in: [{}]", any.iter().map(self::matcher).collect::<Vec<_>>().join(", ")),
        Matcher::Not(inner) => format!("not: {}", self::matcher(inner)),
        Matcher::Exists(wanted) => format!("exists: {wanted}"),
        Matcher::Type(names) => match names.as_slice() {
            [only] => format!("type: {only}"),
            several => format!("type: [{}]", several.join(", ")),
        },
        Matcher::Prefix(part) => text("prefix", part),
        Matcher::Suffix(part) => text("suffix", part),
        Matcher::Contains(part) => text("contains", part),
        Matcher::Text(whole) => text("eq", whole),
        Matcher::Regex(regex) => format!("regex: {}", value(&Bson::String(regex.as_str().to_owned()))),
        Matcher::All(all) => all.iter().map(operators).collect::<Vec<_>>().join(", "),
    }
}

/// A value as a rule file writes it; words need no quotes.
fn value(value: &Bson) -> String {
    match value {
        Bson::String(text) if is_word(text) => text.clone(),
        other => other.clone().into_relaxed_extjson().to_string(),
    }
}

fn is_word(text: &str) -> bool {
    let fits = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
    text.starts_with(char::is_alphabetic)
        && text.chars().all(fits)
        && !matches!(text, "true" | "false" | "null" | "changed" | "unchanged" | "appears" | "disappears")
}

/// One condition of `where`.
pub(super) fn filter(filter: &Where) -> String {
    match filter {
        Where::All(all) => all.iter().map(self::filter).collect::<Vec<_>>().join(", "),
        Where::Matches(query, wanted) => format!("{}: {}", query.text, matcher(wanted)),
        Where::Exists(query) => query.text.clone(),
    }
}

/// One alternative or part of `when`.
pub(super) fn when(when: &When) -> String {
    match when {
        When::All(all) => all.iter().map(self::when).collect::<Vec<_>>().join(", "),
        When::Any(any) => {
            format!(
                "any: [{}]",
                any.iter().map(|one| format!("{{{}}}", self::when(one))).collect::<Vec<_>>().join(", ")
            )
        }
        When::Field(path, how) => format!("{}: {}", path.text, transition(how)),
    }
}

/// The conditions of a state.
pub(super) fn state(State(all): &State) -> String {
    let one = |(path, wanted): &(_, _)| {
        let path: &crate::rules::FieldPath = path;
        format!("{}: {}", path.text, matcher(wanted))
    };
    format!("{{{}}}", all.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// What `each` asks for.
pub(super) fn each(each: &Each) -> String {
    let is = match each.is {
        ElementChange::Added => "added",
        ElementChange::Removed => "removed",
        ElementChange::Changed => "changed",
    };
    let mut parts = vec![format!("path: {}", each.path.text)];
    match each.key.as_slice() {
        [] => {}
        [only] => parts.push(format!("key: {}", only.text)),
        several => {
            let keys: Vec<&str> = several.iter().map(|key| key.text.as_str()).collect();
            parts.push(format!("key: [{}]", keys.join(", ")));
        }
    }
    parts.push(format!("is: {is}"));
    parts.extend(each.when.as_ref().map(|one| format!("when: {{{}}}", when(one))));
    parts.extend(each.filter.as_ref().map(|one| format!("where: {}", state(one))));
    format!("{{{}}}", parts.join(", "))
}
