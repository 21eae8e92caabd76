//! From the text of rule files to checked rules: every problem of every file at once, each with its place and a way out.

mod can_fire;
mod check;
mod codes;
mod condition;
mod destination;
mod each;
mod example;
mod filter;
mod implies;
mod literal;
mod operations;
mod possible;
mod reader;
mod rule;
mod state;
mod template;
mod transaction;
mod when;

use std::sync::Arc;

use bson::RawDocumentBuf;

use crate::yaml::{self, Diagnostics, Node, Place, SourceFile, Value};

use super::ast;
use super::examples::Example;
use reader::Reader;
use rule::{Defaults, ReadRule};

/// The version of the rule language that is read.
const VERSION: i64 = 1;
const FILE_KEYS: [&str; 4] = ["version", "defaults", "rules", "tests"];

/// What a set of rule files holds.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The enabled rules without errors, in the order of the files. To be used only if there are no errors at all.
    pub rules: Vec<ast::Rule>,
    /// The tests without errors.
    pub examples: Vec<Example>,
    /// The sinks that rules name, for who knows which sinks there are.
    pub named_sinks: Vec<NamedSink>,
    /// Everything there is to say, sorted by place.
    pub diagnostics: Diagnostics,
}

/// A sink that a rule names.
#[derive(Clone, Debug)]
pub struct NamedSink {
    /// The id of the rule.
    pub rule: Arc<str>,
    /// The sink, and the topic or subject there.
    pub destination: ast::Destination,
    /// Where the name stands.
    pub sink_place: Place,
    /// Where the topic or subject stands.
    pub address_place: Place,
}

/// The rules and tests of one file.
#[derive(Default)]
struct ReadFile {
    rules: Vec<ReadRule>,
    examples: Vec<example::ReadExample>,
    /// The names of all events, those of rules with errors included.
    events: Vec<String>,
    /// True if some test could not be read: then nobody knows what it would have covered.
    has_broken_tests: bool,
}

/// Reads a set of rule files. The rules of all of them form one set: their ids are unique over all files.
pub fn read(files: &[SourceFile]) -> Reading {
    let mut diagnostics = Diagnostics::default();
    let mut read_files = Vec::new();
    for file in files {
        read_files.push(read_file(file, &mut diagnostics));
    }
    check::all(files, &mut read_files, &mut diagnostics);
    let named_sinks = named_sinks(files, &read_files, &mut diagnostics);
    diagnostics.sort();
    let mut reading = Reading { diagnostics, named_sinks, ..Reading::default() };
    let enabled_count = |file: &ReadFile| file.rules.iter().filter(|rule| rule.enabled).count();
    let all_count: usize = read_files.iter().map(enabled_count).sum();
    for file in read_files {
        let start = reading.rules.len();
        let end = start + enabled_count(&file);
        // A test sees the rules of its own file; tests in a file of their own see all rules.
        let rules = if file.events.is_empty() { 0..all_count } else { start..end };
        reading.rules.extend(file.rules.into_iter().filter(|rule| rule.enabled).map(|rule| rule.rule));
        reading.examples.extend(file.examples.into_iter().map(|read| Example { rules: rules.clone(), ..read.example }));
    }
    reading
}

/// Reads changes as tests write them: a file with one change, or with `change` or `changes` as in a test. The changes come in the
/// form in which a change stream sends them.
pub fn read_changes(file: &SourceFile) -> (Vec<RawDocumentBuf>, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let root = yaml::read(&mut diagnostics.of(file));
    let changes = root.and_then(|root| example::typed_in(&mut Reader::new(diagnostics.of(file)), &root));
    (changes.unwrap_or_default(), diagnostics)
}

fn named_sinks(files: &[SourceFile], read: &[ReadFile], diagnostics: &mut Diagnostics) -> Vec<NamedSink> {
    let mut named = Vec::new();
    for (file, read) in files.iter().zip(read) {
        let mut notes = diagnostics.of(file);
        for rule in &read.rules {
            named.extend(rule.destinations.iter().map(|one| NamedSink {
                rule: rule.rule.id.clone(),
                destination: one.destination.clone(),
                sink_place: notes.place(one.sink_span),
                address_place: notes.place(one.address_span),
            }));
        }
    }
    named
}

fn read_file(file: &SourceFile, diagnostics: &mut Diagnostics) -> ReadFile {
    let mut read = ReadFile::default();
    if let Some(root) = yaml::read(&mut diagnostics.of(file)) {
        let mut reader = Reader::new(diagnostics.of(file));
        read_root(&mut reader, &root, &mut read);
    }
    read
}

fn read_root(reader: &mut Reader<'_>, root: &Node, read: &mut ReadFile) {
    let Some(entries) = root.as_map() else {
        let help = match &root.value {
            Value::List(_) => "put the list under `rules:`".to_owned(),
            _ => "a rule file starts with `version: 1`, then `rules:` and a list".to_owned(),
        };
        let message = match &root.value {
            Value::Null => "the file is empty".to_owned(),
            other => format!("a rule file must be a mapping, not {}", other.kind()),
        };
        reader.error(root.span, codes::FILE_SHAPE, message).help(help);
        return;
    };
    for entry in entries.iter().filter(|entry| !FILE_KEYS.contains(&entry.key.as_str())) {
        if rule::KEYS.contains(&entry.key.as_str()) {
            reader
                .error(entry.key_span, codes::UNKNOWN_KEY, format!("unknown key {:?} in a rule file", entry.key))
                .help("it is a key of a rule: put it into an element of `rules`, or into `defaults`");
        } else {
            reader.unknown_key(entry, &FILE_KEYS, "a rule file");
        }
    }
    if let Some(node) = root.get("version") {
        version(reader, node);
    }
    let defaults = root.get("defaults").map_or_else(Defaults::default, |node| rule::defaults(reader, node));
    reader.numbers = defaults.numbers;
    if root.get("rules").is_none() && root.get("tests").is_none() {
        reader
            .error(root.span, codes::MISSING_KEY, "the file has neither `rules` nor `tests`")
            .help("write `rules:` and below it one element `- event: ...` for each rule");
    }
    if let Some(node) = root.get("rules") {
        for node in elements(reader, node, "`rules`") {
            read.events.extend(node.get("event").and_then(Node::as_text).map(str::to_owned));
            read.rules.extend(rule::read(reader, node, &defaults));
        }
    }
    if let Some(node) = root.get("tests") {
        for (index, node) in elements(reader, node, "`tests`").iter().enumerate() {
            match example::read(reader, node, index) {
                Some(example) => read.examples.push(example),
                None => read.has_broken_tests = true,
            }
        }
    }
}

fn elements<'n>(reader: &mut Reader<'_>, node: &'n Node, what: &str) -> &'n [Node] {
    if node.as_map().is_some() {
        reader.wrong_type(node, what, "a list").help("start every element with a dash: `- ...`");
        return &[];
    }
    reader.list(node, what).unwrap_or_default()
}

fn version(reader: &mut Reader<'_>, node: &Node) {
    if node.as_int() != Some(VERSION) {
        reader
            .error(node.span, codes::UNKNOWN_VERSION, "this version of the rule language is not known")
            .help(format!("write `version: {VERSION}`"));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::rules::schema;

    use super::*;

    #[test]
    fn the_schema_knows_the_same_keys_as_the_reading() {
        let schema = schema();
        let check = |pointer: &str, known: &[&str]| {
            let properties =
                schema.pointer(pointer).and_then(|value| value.as_object()).unwrap_or_else(|| panic!("{pointer}"));
            let keys: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            assert_eq!(keys, known.iter().copied().collect(), "{pointer}");
        };
        let mut defaults: Vec<_> = rule::KEYS.iter().copied().filter(|key| !rule::OWN_KEYS.contains(key)).collect();
        defaults.push("numbers");
        let mut operators = condition::OPERATORS.to_vec();
        operators.push("ignore_case");
        check("/properties", &FILE_KEYS);
        check("/definitions/rule/properties", rule::KEYS);
        check("/definitions/defaults/properties", &defaults);
        check("/definitions/operators/properties", &operators);
        check("/definitions/transition/anyOf/1/properties", &when::KEYS);
        check("/definitions/key_each/properties", &each::KEYS);
        check("/definitions/member/properties", &transaction::KEYS);
        check("/definitions/test/properties", &example::KEYS);
        check("/definitions/change/properties", &example::CHANGE_KEYS);
        check("/definitions/expectation/properties", &example::EXPECT_KEYS);
        let words = schema.pointer("/definitions/transition/anyOf/0/enum").unwrap();
        assert_eq!(*words, serde_json::json!(when::WORDS));
        let words = schema.pointer("/definitions/key_each/properties/is/enum").unwrap();
        assert_eq!(*words, serde_json::json!(each::WORDS));
    }

    #[test]
    fn reading_never_panics_on_a_file_that_was_cut_or_mixed_up() {
        let text = include_str!("../../../rules/shop/orders.yaml");
        let characters: Vec<char> = text.chars().collect();
        for step in 0..300 {
            let cut = characters.len() * step / 300;
            let mut mixed: Vec<char> = characters[cut..].iter().chain(&characters[..cut]).copied().collect();
            mixed.truncate(characters.len() - step);
            for text in [characters[..cut].iter().collect(), mixed.iter().collect::<String>()] {
                let reading = read(&[SourceFile { name: "mixed.yaml".to_owned(), text }]);
                reading.diagnostics.render();
            }
        }
    }
}
