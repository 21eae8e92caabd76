//! A rule for a shape, as ready YAML.

use std::collections::HashSet;
use std::fmt::Write;

use super::fields::Word;
use super::shape::Side;
use super::touched::{ANY, join, split};
use super::{ShapeCount, Transition};
use crate::change::Operation;

/// How many paths a proposed rule names.
const PATHS_MAX: usize = 3;

/// Fields that change with every change and mean nothing by themselves.
const NOISE: [&str; 10] = [
    "updatedAt",
    "updated_at",
    "modifiedAt",
    "modified_at",
    "lastModified",
    "last_modified",
    "lastUpdated",
    "__v",
    "version",
    "revision",
];

/// Fields whose new value says by itself what happened: `OrderRefunded`.
const STATES: [&str; 4] = ["status", "state", "stage", "phase"];

/// Proposes rules with ids that no other rule has.
#[derive(Debug, Default)]
pub struct Proposals {
    taken: HashSet<String>,
}

impl Proposals {
    /// Leaves out the ids of the rules that there are.
    pub fn beside<'i>(ids: impl IntoIterator<Item = &'i str>) -> Self {
        Self { taken: ids.into_iter().map(str::to_owned).collect() }
    }

    /// A rule that fires on changes of the shape, as an entry of a rule file's `rules`, without indentation. Nothing if no rule
    /// can: an update without effect, or a collection whose name no rule can hold.
    pub fn rule(&mut self, shape: &ShapeCount) -> Option<String> {
        if shape.database.contains(char::is_whitespace) || shape.collection.contains(char::is_whitespace) {
            return None;
        }
        let is_update = matches!(shape.operation, Operation::Update | Operation::Replace);
        let conditions = if is_update && !shape.is_whole { conditions(shape) } else { Vec::new() };
        if is_update && !shape.is_whole && conditions.is_empty() && shape.touched.is_empty() {
            return None;
        }
        let subject = singular(&shape.collection);
        let event = self.free(&event_name(&subject, shape, &conditions));
        let mut text = format!("- event: {event}\n  collection: {}\n", yaml(&collection(shape)));
        if conditions.is_empty() {
            let operation = if is_update { "update" } else { shape.operation.as_str() };
            let _ = writeln!(text, "  on: {operation}");
        }
        if shape.is_whole {
            text.push_str("  where: {$.change.operation: replace}\n");
        }
        if !conditions.is_empty() {
            let all: Vec<String> = conditions.iter().map(Condition::yaml).collect();
            let _ = writeln!(text, "  when: {{{}}}", all.join(", "));
        }
        let _ = writeln!(text, "  data: {{{}}}", data(&subject, &conditions).join(", "));
        Some(text)
    }

    fn free(&mut self, name: &str) -> String {
        let numbered = |number: u32| if number == 1 { name.to_owned() } else { format!("{name}{number}") };
        let mut number = 1;
        while !self.taken.insert(numbered(number)) {
            number += 1;
        }
        numbered(number)
    }
}

/// A rule file of proposed rules, each with what it is for in front of it.
pub fn rule_file<'r>(rules: impl IntoIterator<Item = (String, &'r str)>) -> String {
    let mut text = "version: 1\nrules:\n".to_owned();
    for (purpose, rule) in rules {
        let _ = writeln!(text, "  # {purpose}");
        for line in rule.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// What a rule asks of one path.
struct Condition<'s> {
    steps: Vec<String>,
    /// Nothing if it only asks whether the path differs.
    transition: Option<&'s Transition>,
}

/// What tells the shape from others: its transitions if it has some, else the paths that differ.
fn conditions(shape: &ShapeCount) -> Vec<Condition<'_>> {
    let transitions: Vec<Condition<'_>> = shape
        .transitions
        .iter()
        .take(PATHS_MAX)
        .map(|transition| Condition { steps: split(&transition.path), transition: Some(transition) })
        .collect();
    if !transitions.is_empty() {
        return transitions;
    }
    let mut paths: Vec<Vec<String>> = Vec::new();
    for path in &shape.touched {
        // What stands for many is named by what it stands in.
        let steps: Vec<String> = split(path).into_iter().take_while(|step| step != ANY).collect();
        if !steps.is_empty() && !paths.contains(&steps) {
            paths.push(steps);
        }
    }
    let is_noise = |steps: &Vec<String>| steps.last().is_some_and(|last| NOISE.contains(&last.as_str()));
    if !paths.iter().all(is_noise) {
        paths.retain(|steps| !is_noise(steps));
    }
    paths.truncate(PATHS_MAX);
    paths.into_iter().map(|steps| Condition { steps, transition: None }).collect()
}

impl Condition<'_> {
    fn yaml(&self) -> String {
        let path = match self.steps.as_slice() {
            // A word of the language, and so no path if it stands alone.
            [any] if any == "any" => yaml("[\"any\"]"),
            steps => yaml(&join(steps)),
        };
        let Some(Transition { before, after, .. }) = self.transition else { return format!("{path}: changed") };
        let word = |word: &Word| match word {
            Word::Text(text) => yaml(text),
            Word::Flag(flag) => flag.to_string(),
        };
        match (before, after) {
            (Side::Is(before), Side::Is(after)) => format!("{path}: {{from: {}, to: {}}}", word(before), word(after)),
            (Side::Is(before), _) => format!("{path}: {{from: {}}}", word(before)),
            (_, Side::Is(after)) => format!("{path}: {{to: {}}}", word(after)),
            (_, _) => format!("{path}: changed"),
        }
    }
}

/// The collection as a rule names it: what would be a glob is made plain.
fn collection(shape: &ShapeCount) -> String {
    let mut text = String::new();
    for character in format!("{}.{}", shape.database, shape.collection).chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

fn event_name(subject: &str, shape: &ShapeCount, conditions: &[Condition<'_>]) -> String {
    let subject = pascal(subject);
    match shape.operation {
        Operation::Insert => return format!("{subject}Inserted"),
        Operation::Delete => return format!("{subject}Deleted"),
        Operation::Update | Operation::Replace => {}
    }
    if shape.is_whole {
        return format!("{subject}Replaced");
    }
    let name_of = |condition: &Condition<'_>| pascal(condition.steps.last().map_or("", String::as_str));
    let Some(first) = conditions.first() else { return format!("{subject}Changed") };
    if let Some(Transition { after: Side::Is(word), .. }) = first.transition {
        let is_state = first.steps.last().is_some_and(|last| STATES.contains(&last.as_str()));
        return match (word, is_state) {
            (Word::Text(text), true) => format!("{subject}{}", pascal(text)),
            (word, _) => format!("{subject}{}Became{}", name_of(first), pascal(&word.to_string())),
        };
    }
    if first.transition.is_some() {
        return format!("{subject}{}Removed", name_of(first));
    }
    let names: Vec<String> = conditions.iter().map(name_of).collect();
    format!("{subject}{}Changed", names.join("And"))
}

fn data(subject: &str, conditions: &[Condition<'_>]) -> Vec<String> {
    let mut names = HashSet::new();
    let mut data = Vec::new();
    let id = format!("{}Id", camel(subject));
    let _ = names.insert(id.clone());
    data.push(format!("{id}: $.key._id"));
    for Condition { steps, .. } in conditions {
        let Some(last) = steps.last() else { continue };
        // Names of another kind would need quotes in the path; whoever has them knows how.
        if steps.iter().all(|step| is_identifier(step)) && names.insert(last.clone()) {
            data.push(format!("{}: $.after.{}", yaml(last), steps.join(".")));
        }
    }
    data
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// One of what the collection holds: `orders` -> `order`.
fn singular(collection: &str) -> String {
    let last = collection.rsplit('.').next().unwrap_or_default();
    let ends = |end: &str| last.len() > end.len() + 1 && last.ends_with(end);
    if ends("ies") {
        return format!("{}y", &last[..last.len() - 3]);
    }
    if ["sses", "xes", "ches", "shes"].into_iter().any(ends) {
        return last[..last.len() - 2].to_owned();
    }
    match ends("s") && !last.ends_with("ss") && !last.ends_with("us") {
        true => last[..last.len() - 1].to_owned(),
        false => last.to_owned(),
    }
}

/// The words of a name: `in_transit` and `inTransit` are two.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_inside = false;
    for character in text.chars() {
        if !character.is_ascii_alphanumeric() {
            is_inside = false;
            continue;
        }
        match words.last_mut() {
            Some(word)
                if is_inside
                    && !(character.is_ascii_uppercase() && word.ends_with(|last: char| last.is_ascii_lowercase())) =>
            {
                word.push(character);
            }
            _ => words.push(character.to_string()),
        }
        is_inside = true;
    }
    words
}

/// `InTransit`; `Document` if nothing is left of the name that could begin one.
fn pascal(text: &str) -> String {
    let capital = |word: String| {
        let is_shouted = word.len() > 1 && word.chars().all(|character| !character.is_ascii_lowercase());
        let word = if is_shouted { word.to_ascii_lowercase() } else { word };
        word[..1].to_ascii_uppercase() + &word[1..]
    };
    let name: String = words(text).into_iter().map(capital).collect();
    match name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => name,
        false => format!("Document{name}"),
    }
}

/// `inTransit`.
fn camel(text: &str) -> String {
    let name = pascal(text);
    name[..1].to_ascii_lowercase() + &name[1..]
}

/// The text as YAML takes it for a text, also inside of brackets.
fn yaml(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-');
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(fits)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { serde_json::to_string(text).unwrap_or_default() }
}
