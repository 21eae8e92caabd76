//! What can only be seen when rules are looked at as wholes and side by side.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::rules::ast::{Destination, Each, Rule, UnknownPolicy, When, Where};
use crate::rules::examples::Example;
use crate::rules::{Matcher, Template};
use crate::yaml::{Diagnostics, SourceFile, Span, did_you_mean};

use super::rule::ReadRule;
use super::{ReadFile, can_fire, codes, implies};

/// Every check that needs whole rules.
pub(super) fn all(files: &[SourceFile], read: &mut [ReadFile], diagnostics: &mut Diagnostics) {
    for (file, read) in files.iter().zip(read.iter_mut()) {
        let mut notes = diagnostics.of(file);
        for rule in &mut read.rules {
            let errors_before = notes.error_count();
            can_fire::cannot_fire(&mut notes, rule);
            can_fire::never_there(&mut notes, rule);
            rule.members.iter().for_each(|member| can_fire::cannot_fire(&mut notes, member));
            rule.can_fire = notes.error_count() == errors_before;
        }
    }
    let read = &*read;
    duplicate_ids(files, read, diagnostics);
    absorbed(files, read, diagnostics);
    different_shapes(files, read, diagnostics);
    let shadowed = shadowed(files, read, diagnostics);
    indistinguishable(files, read, &shadowed, diagnostics);
    tests(files, read, &shadowed, diagnostics);
}

fn every<'r>(files: &'r [SourceFile], read: &'r [ReadFile]) -> impl Iterator<Item = (&'r SourceFile, &'r ReadRule)> {
    files.iter().zip(read).flat_map(|(file, read)| read.rules.iter().map(move |rule| (file, rule)))
}

fn place(file: &SourceFile, span: Span) -> String {
    format!("{}:{}", file.name, span.line)
}

fn duplicate_ids(files: &[SourceFile], read: &[ReadFile], diagnostics: &mut Diagnostics) {
    let mut seen: HashMap<&str, String> = HashMap::new();
    for (file, rule) in every(files, read) {
        let id = &*rule.rule.id;
        match seen.get(id) {
            None => {
                seen.insert(id, place(file, rule.id_span));
            }
            Some(first) => {
                let help = if rule.id_span == rule.event_span {
                    format!("an event made by two rules needs ids of their own: add `id:` here or at {first}")
                } else {
                    "the id of a rule is unique in the whole set: give it another".to_owned()
                };
                diagnostics
                    .of(file)
                    .error(rule.id_span, codes::DUPLICATE_ID, format!("the rule id {id:?} is already taken at {first}"))
                    .help(help);
            }
        }
    }
}

/// Rules that another absorbs: they must be there, and make events of single changes.
fn absorbed(files: &[SourceFile], read: &[ReadFile], diagnostics: &mut Diagnostics) {
    let rules: BTreeMap<&str, &Rule> = every(files, read).map(|(_, rule)| (&*rule.rule.id, &rule.rule)).collect();
    for (file, rule) in every(files, read) {
        for (id, span) in &rule.absorbs {
            let mut notes = diagnostics.of(file);
            match rules.get(&**id) {
                Some(absorbed) if absorbed.transaction.is_none() => {}
                Some(_) => {
                    let message =
                        format!("the rule {id:?} can not be absorbed: it is a rule with `transaction` itself");
                    notes.error(*span, codes::UNKNOWN_RULE, message).help("`absorbs` names rules on single changes");
                }
                None => {
                    let mut of_event: Vec<&str> =
                        rules.values().filter(|rule| *rule.event == **id).map(|rule| &*rule.id).collect();
                    of_event.sort_unstable();
                    let help = match (of_event.is_empty(), did_you_mean(id, rules.keys().copied())) {
                        (false, _) => {
                            format!("it is the event of rules with ids of their own: {}", of_event.join(", "))
                        }
                        (true, Some(help)) => help,
                        (true, None) => {
                            "name the `id` of a rule; it is the event's name where a rule has none of its own"
                                .to_owned()
                        }
                    };
                    notes.error(*span, codes::UNKNOWN_RULE, format!("there is no rule {id:?}")).help(help);
                }
            }
        }
    }
}

/// Two rules that make one event, but with different fields.
fn different_shapes(files: &[SourceFile], read: &[ReadFile], diagnostics: &mut Diagnostics) {
    let mut seen: HashMap<&str, (BTreeSet<String>, String)> = HashMap::new();
    for (file, rule) in every(files, read) {
        let shape = shape(&rule.rule.data);
        let Some((first, first_place)) = seen.get(&*rule.rule.event) else {
            seen.insert(&rule.rule.event, (shape, place(file, rule.data_span)));
            continue;
        };
        let quoted =
            |fields: Vec<&String>| fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
        let more: Vec<_> = shape.difference(first).collect();
        let fewer: Vec<_> = first.difference(&shape).collect();
        let difference = match (more.is_empty(), fewer.is_empty()) {
            (true, true) => continue,
            (false, true) => format!("here with {}", quoted(more)),
            (true, false) => format!("here without {}", quoted(fewer)),
            (false, false) => format!("here with {} and without {}", quoted(more), quoted(fewer)),
        };
        let event = &rule.rule.event;
        let message = format!("the data of {event} has another shape than at {first_place}: {difference}");
        diagnostics.of(file).warning(rule.data_span, codes::DIFFERENT_SHAPES, message).help(
            "who consumes an event expects one shape: give both rules the same fields, or their events different names",
        );
    }
}

/// The paths of the fields of a payload.
fn shape(template: &Template) -> BTreeSet<String> {
    fn add(template: &Template, path: &str, paths: &mut BTreeSet<String>) {
        if let Template::Map(fields) = template {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                add(field, &path, paths);
                paths.insert(path);
            }
        } else if path.is_empty()
            && let Template::Path { query, .. } = template
        {
            paths.insert(query.text.clone());
        }
    }
    let mut paths = BTreeSet::new();
    add(template, "", &mut paths);
    paths
}

/// Two rules with the same conditions: nothing in a change says which of their events has happened.
fn indistinguishable(files: &[SourceFile], read: &[ReadFile], shadowed: &HashSet<&str>, diagnostics: &mut Diagnostics) {
    let mut seen: HashMap<String, (&str, String)> = HashMap::new();
    let fires = |rule: &ReadRule| rule.enabled && !shadowed.contains(&*rule.rule.id);
    for (file, rule) in every(files, read).filter(|(_, rule)| fires(rule)) {
        let conditions = format!("{} {}", conditions(&rule.rule), deliberate(&rule.rule, file));
        let Some((first, first_place)) = seen.get(&conditions) else {
            seen.insert(conditions, (&rule.rule.id, place(file, rule.id_span)));
            continue;
        };
        let id = &rule.rule.id;
        let message = format!("the rules {first} ({first_place}) and {id} match exactly the same changes");
        diagnostics.of(file).warning(rule.event_span, codes::INDISTINGUISHABLE, message).help(
            "both events are sent for every such change; add a condition that tells them apart, or keep one rule",
        );
    }
}

/// Rules of a group that match only where an earlier one of it does. Gives their ids.
fn shadowed<'r>(files: &[SourceFile], read: &'r [ReadFile], diagnostics: &mut Diagnostics) -> HashSet<&'r str> {
    let mut shadowed = HashSet::new();
    for (file, read) in files.iter().zip(read) {
        let mut notes = diagnostics.of(file);
        let rules: Vec<&ReadRule> =
            read.rules.iter().filter(|rule| rule.enabled && rule.rule.first_of.is_some()).collect();
        for (index, read) in rules.iter().enumerate() {
            let later = &read.rule;
            let hides = |earlier: &&&ReadRule| {
                let earlier = &earlier.rule;
                // Where the earlier one can not be decided, a later one that assumes may still fire.
                let may_assume = later.unknown == UnknownPolicy::Assume && earlier.unknown != UnknownPolicy::Assume;
                earlier.first_of == later.first_of && !may_assume && implies::rule(later, earlier)
            };
            let Some(earlier) = rules[..index].iter().find(hides) else { continue };
            shadowed.insert(&*later.id);
            let (first, place) = (&earlier.rule.id, place(file, earlier.id_span));
            let message = format!(
                "the rule {} never fires: {first} ({place}), earlier in its group, matches wherever it does",
                later.id
            );
            notes
                .warning(read.event_span, codes::SHADOWED, message)
                .help(format!("move it in front of {first}, or narrow the conditions of {first}"));
        }
    }
    shadowed
}

/// Everything that decides whether a rule fires, in one order whatever the order in the file.
fn conditions(rule: &Rule) -> String {
    let mut collections: Vec<_> =
        rule.collections.iter().map(|pattern| format!("{}.{}", pattern.database, pattern.collection)).collect();
    collections.sort();
    collections.dedup();
    let when = rule.when.as_ref().map(when_text);
    let filter = rule.filter.as_ref().map(where_text);
    let (enters, leaves) = (rule.enters.as_ref().map(implies::texts), rule.leaves.as_ref().map(implies::texts));
    let (each, transaction) = (rule.each.as_ref().map(each_text), &rule.transaction);
    format!(
        "{collections:?} {:?} {:?} {when:?} {filter:?} {enters:?} {leaves:?} {each:?} {transaction:?}",
        rule.operations, rule.numbers
    )
}

/// What tells apart rules with the same conditions, since somebody meant it so: the group of which only one fires, and one
/// event that is sent to several sinks with different data.
fn deliberate(rule: &Rule, file: &SourceFile) -> String {
    let group = rule.first_of.as_ref().map(|group| (&file.name, group));
    let names = |to: &Vec<Destination>| to.iter().map(|one| one.sink.clone()).collect::<BTreeSet<_>>();
    let to = rule.to.as_ref().map(|to| (&rule.event, names(to)));
    format!("{group:?} {to:?}")
}

fn each_text(each: &Each) -> String {
    let mut key: Vec<_> = each.key.iter().map(|part| &part.steps).collect();
    key.sort();
    let (when, filter) = (each.when.as_ref().map(when_text), each.filter.as_ref().map(implies::texts));
    format!("{:?} {key:?} {:?} {when:?} {filter:?}", each.path.steps, each.is)
}

fn when_text(when: &When) -> String {
    let sorted = |name: &str, parts: &[When]| {
        let mut parts: Vec<_> = parts.iter().map(when_text).collect();
        parts.sort();
        format!("{name}{parts:?}")
    };
    match when {
        When::All(all) => sorted("all", all),
        When::Any(any) => sorted("any", any),
        When::Field(path, transition) => format!("{:?} {transition:?}", path.steps),
    }
}

fn where_text(filter: &Where) -> String {
    match filter {
        Where::All(all) => {
            let mut parts: Vec<_> = all.iter().map(where_text).collect();
            parts.sort();
            format!("{parts:?}")
        }
        Where::Matches(query, matcher) => format!("{} {matcher:?}", query.text),
        // To exist and to match `{exists: true}` are the same.
        Where::Exists(query) => format!("{} {:?}", query.text, Matcher::Exists(true)),
    }
}

/// Rules that no test expects, and tests that expect what no rule makes.
fn tests(files: &[SourceFile], read: &[ReadFile], shadowed: &HashSet<&str>, diagnostics: &mut Diagnostics) {
    let own_rules = |file: &ReadFile| !file.events.is_empty();
    let all_events: BTreeSet<&str> = read.iter().flat_map(|file| file.events.iter().map(String::as_str)).collect();
    for (file, read_file) in files.iter().zip(read) {
        let mut notes = diagnostics.of(file);
        let others = read.iter().filter(|other| !own_rules(other)).flat_map(|other| &other.examples);
        let covered = Covered::new(read_file.examples.iter().chain(others).map(|read| &read.example));
        for rule in read_file.rules.iter().filter(|rule| rule.enabled && rule.can_fire) {
            if !read_file.has_broken_tests && !covered.holds(&rule.rule) && !shadowed.contains(&*rule.rule.id) {
                notes
                    .warning(
                        rule.event_span,
                        codes::NO_TEST,
                        format!("no test expects the event of rule {}", rule.rule.id),
                    )
                    .help("add one under `tests`: a change, and the events to expect");
            }
        }
        let events: BTreeSet<&str> = match own_rules(read_file) {
            true => read_file.events.iter().map(String::as_str).collect(),
            false => all_events.clone(),
        };
        for example in &read_file.examples {
            for (expected, span) in example.example.expected.iter().zip(&example.event_spans) {
                let makes = |rule: &&ReadRule| *rule.rule.event == *expected.event;
                let makers = || read.iter().flat_map(|file| &file.rules).filter(makes);
                if let Some(off) = makers().next()
                    && makers().all(|rule| !rule.enabled)
                {
                    let message = format!("the rule {} is switched off, so that its event never comes", off.rule.id);
                    notes
                        .warning(*span, codes::UNKNOWN_EVENT, message)
                        .help("expect no such event, or remove `enabled: false`");
                } else if !events.contains(&expected.event.as_str()) {
                    let message =
                        format!("no rule {} makes the event {:?}", scope(own_rules(read_file)), expected.event);
                    let help = did_you_mean(&expected.event, events.iter().copied());
                    notes.error(*span, codes::UNKNOWN_EVENT, message).maybe_help(help.or_else(|| {
                        Some("a test sees the rules of its own file; a file with tests only sees all rules".to_owned())
                    }));
                }
            }
        }
    }
}

/// What a set of tests expects.
struct Covered<'e> {
    /// Events expected from any rule that makes them.
    events: HashSet<&'e str>,
    /// Events expected from the rule with this id.
    of_rules: HashSet<(&'e str, &'e str)>,
}

impl<'e> Covered<'e> {
    fn new(examples: impl Iterator<Item = &'e Example>) -> Self {
        let mut covered = Self { events: HashSet::new(), of_rules: HashSet::new() };
        for expected in examples.flat_map(|example| &example.expected) {
            match &expected.rule {
                Some(rule) => covered.of_rules.insert((&expected.event, rule)),
                None => covered.events.insert(&expected.event),
            };
        }
        covered
    }

    fn holds(&self, rule: &Rule) -> bool {
        self.events.contains(&*rule.event) || self.of_rules.contains(&(&*rule.event, &*rule.id))
    }
}

fn scope(own_rules: bool) -> &'static str {
    if own_rules { "of this file" } else { "of these files" }
}
