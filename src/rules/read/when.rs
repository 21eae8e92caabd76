//! `when`: from a mapping of paths to transitions.

use bson::Bson;

use crate::rules::ast::{Direction, Transition, When};
use crate::rules::{FieldPath, Matcher};
use crate::yaml::{Entry, Node, Value, nearest};

use super::reader::Reader;
use super::{codes, condition, literal, possible, state};

pub(super) const WORDS: [&str; 6] = ["changed", "unchanged", "appears", "disappears", "increased", "decreased"];
pub(super) const KEYS: [&str; 5] = ["from", "to", "increased", "decreased", "crosses"];
/// The key of `when` that is no path.
const ANY: &str = "any";

/// Reads the value of `when`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<When> {
    let Some(entries) = node.as_map() else {
        let help = match node.value {
            Value::List(_) => "write {path: transition, ...}; for alternatives {any: [...]}",
            _ => "write {path: transition}, for example {status: paid}",
        };
        reader.wrong_type(node, "`when`", "a mapping of paths to transitions").help(help);
        return None;
    };
    if entries.is_empty() {
        reader.error(node.span, codes::EMPTY, "`when` is empty").help("name at least one path, or leave it out");
        return None;
    }
    let mark = reader.errors();
    let mut all = Vec::new();
    for entry in entries {
        if entry.key == ANY {
            all.extend(any(reader, &entry.node));
        } else if let Some(help) = not_a_path(entry) {
            reader
                .error(entry.key_span, codes::UNKNOWN_TRANSITION, format!("`when` has no word {:?}", entry.key))
                .help(help);
        } else {
            field(reader, entry, &mut all);
        }
    }
    if reader.errors() > mark && all.len() < entries.len() {
        return None;
    }
    if let Some((still, moving)) = possible::contradiction(&all) {
        let entry = entries.iter().find(|entry| entry.key == moving.text);
        let message = if still == moving {
            format!("`{}` can not change and stay unchanged at once", still.text)
        } else {
            format!("`{}` can not change while `{}` stays unchanged", moving.text, still.text)
        };
        reader
            .error(entry.map_or(node.span, |entry| entry.key_span), codes::CANNOT_HOLD, message)
            .help("touching a path touches every path above it: remove one of the two");
        return None;
    }
    Some(if all.len() == 1 { all.pop()? } else { When::All(all) })
}

fn any(reader: &mut Reader<'_>, node: &Node) -> Option<When> {
    if node.as_map().is_some() {
        reader
            .wrong_type(node, "`any`", "a list of mappings")
            .help("write any: [{email: changed}, {phone: changed}]; a field of that name is written [\"any\"]");
        return None;
    }
    let nodes = reader.list(node, "`any`")?;
    if nodes.is_empty() {
        reader
            .error(node.span, codes::EMPTY, "`any` is empty, so it never holds")
            .help("name at least one alternative");
        return None;
    }
    let alternatives: Vec<_> = nodes.iter().map(|node| read(reader, node)).collect();
    alternatives.into_iter().collect::<Option<_>>().map(When::Any)
}

/// The way out for a word of other languages that holds whole conditions.
fn not_a_path(entry: &Entry) -> Option<&'static str> {
    let is_condition = |node: &Node| {
        node.as_map().is_some_and(|entries| {
            !condition::has_operators(entries) && !entries.iter().any(|entry| KEYS.contains(&entry.key.as_str()))
        })
    };
    let holds_conditions = match &entry.node.value {
        Value::List(nodes) => {
            !nodes.is_empty() && nodes.iter().all(|node| is_condition(node) && !literal::is_typed(node))
        }
        Value::Map(_) => is_condition(&entry.node) && !literal::is_typed(&entry.node),
        _ => false,
    };
    match entry.key.as_str() {
        _ if !holds_conditions => None,
        "all" | "and" => {
            Some("all of a mapping must hold: write the paths beside each other, {a: changed, b: changed}")
        }
        "or" | "either" => Some("write any: [{a: changed}, {b: changed}]"),
        "not" | "none" => Some("turn the transition round: {a: unchanged}, {status: {from: {not: draft}}}"),
        _ => None,
    }
}

fn field(reader: &mut Reader<'_>, entry: &Entry, all: &mut Vec<When>) {
    let path = if entry.key.starts_with("$.") {
        reader
            .error(entry.key_span, codes::UNKNOWN_KEY, "`when` takes dotted paths, not JSONPaths")
            .help(format!("write {:?}; conditions on the state belong under `where`", without_root(&entry.key)));
        None
    } else {
        state::looks_like_root(reader, entry);
        reader.language(entry.key_span, FieldPath::parse(&entry.key))
    };
    let transitions = transitions(reader, &entry.key, &entry.node);
    let (Some(path), Some(transitions)) = (path, transitions) else { return };
    if path.steps == ["_id"] && transitions.iter().any(|one| !matches!(one, Transition::Unchanged)) {
        reader
            .error(entry.key_span, codes::CANNOT_HOLD, "`_id` never changes")
            .help("a document keeps its _id; use `on: insert` or `on: delete`");
        return;
    }
    all.extend(transitions.into_iter().map(|transition| When::Field(path.clone(), Box::new(transition))));
}

fn without_root(query: &str) -> &str {
    let rest = query.trim_start_matches("$.");
    ["after.", "before.", "item.", "itemBefore."].iter().find_map(|root| rest.strip_prefix(root)).unwrap_or(rest)
}

fn transitions(reader: &mut Reader<'_>, path: &str, node: &Node) -> Option<Vec<Transition>> {
    match &node.value {
        Value::Text(text) => {
            if let Some(transition) = word(text) {
                return Some(vec![transition]);
            }
            if let Some(meant) = nearest(text, WORDS.into_iter().chain(["crosses"])) {
                let message = format!("{text:?} is taken as a value, not as a transition");
                reader.warning(node.span, codes::TAKEN_AS_TEXT, message).help(format!(
                    "write `{path}: {meant}` if that is meant, or `{path}: {{to: {text}}}` if the value is"
                ));
            }
            becomes(reader, node, None, Some(node))
        }
        Value::Map(entries) if !literal::is_typed(node) && !entries.is_empty() => {
            // A type or an operator of MongoDB, and no transition: the reading of values says what is wrong with it.
            if entries.iter().any(|entry| entry.key.starts_with('$')) || literal::is_bad_date(reader, node) {
                return condition::read(reader, node).and(None);
            }
            if entries.iter().any(|entry| KEYS.contains(&entry.key.as_str())) || !condition::has_operators(entries) {
                return of_map(reader, node, entries);
            }
            becomes(reader, node, None, Some(node))
        }
        Value::List(nodes) => {
            let is_word = |node: &Node| node.as_text().is_some_and(|text| word(text).is_some());
            if nodes.len() > 1 && nodes.iter().all(is_word) {
                reader
                    .warning(node.span, codes::TAKEN_AS_TEXT, "these words are taken as values, not as transitions")
                    .help(format!("for alternatives write any: [{{{path}: increased}}, {{{path}: decreased}}]; if the values are meant, `{path}: {{to: [...]}}`"));
            }
            becomes(reader, node, None, Some(node))
        }
        _ => becomes(reader, node, None, Some(node)),
    }
}

fn word(text: &str) -> Option<Transition> {
    let moves = |direction| Transition::Moves { direction, by: None, by_percent: None };
    Some(match text {
        "changed" => Transition::Changed,
        "unchanged" => Transition::Unchanged,
        "appears" => Transition::Appears,
        "disappears" => Transition::Disappears,
        "increased" => moves(Direction::Up),
        "decreased" => moves(Direction::Down),
        _ => return None,
    })
}

fn becomes(reader: &mut Reader<'_>, place: &Node, from: Option<&Node>, to: Option<&Node>) -> Option<Vec<Transition>> {
    let from = from.map(|node| condition::read(reader, node));
    let to = to.map(|node| condition::read(reader, node));
    // `Some(None)` is a matcher that was written and could not be read.
    if matches!(from, Some(None)) || matches!(to, Some(None)) {
        return None;
    }
    let transition = Transition::Becomes { from: from.flatten(), to: to.flatten() };
    if !possible::transition_can_hold(&transition, reader.numbers) {
        reader
            .error(place.span, codes::CANNOT_HOLD, "a value does not change from itself to itself")
            .help("a transition implies that the value differs; use `where` to ask for a state");
        return None;
    }
    Some(vec![transition])
}

fn of_map(reader: &mut Reader<'_>, node: &Node, entries: &[Entry]) -> Option<Vec<Transition>> {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node);
    let mark = reader.errors();
    for entry in entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
        unknown_transition(reader, entry);
    }
    let mut all = Vec::new();
    if let (None, None) = (find("from"), find("to")) {
    } else {
        all.extend(becomes(reader, node, find("from"), find("to")).unwrap_or_default());
    }
    for (key, direction) in [("increased", Direction::Up), ("decreased", Direction::Down)] {
        if let Some(node) = find(key) {
            all.extend(moves(reader, key, node, direction));
        }
    }
    if let (Some(up), Some(_)) = (find("increased"), find("decreased")) {
        reader
            .error(up.span, codes::CANNOT_HOLD, "a value can not be increased and decreased at once")
            .help("keep one, or use two alternatives under `any`");
    }
    if let Some(node) = find("crosses") {
        all.extend(crosses(reader, node));
    }
    (reader.errors() == mark).then_some(all)
}

fn unknown_transition(reader: &mut Reader<'_>, entry: &Entry) {
    let key = entry.key.as_str();
    let help = if WORDS.contains(&key) {
        format!("write it without a mapping: `{key}`")
    } else if condition::OPERATORS.contains(&key) {
        format!("operators belong to a value: {{to: {{{key}: ...}}}}")
    } else if let "by" | "by_percent" = key {
        format!("it belongs to a direction: {{increased: {{{key}: ...}}}}")
    } else if let "below" | "above" = key {
        format!("write {{crosses: {{{key}: ...}}}}")
    } else if let "was" | "old" | "before" = key {
        "did you mean \"from\"?".to_owned()
    } else if let "is" | "becomes" | "new" | "after" | "now" = key {
        "did you mean \"to\"?".to_owned()
    } else if let Some(meant) = nearest(key, KEYS.into_iter().chain(WORDS)) {
        format!("did you mean {meant:?}?")
    } else {
        format!(
            "the transitions are {}, from, to and crosses; a field of a sub-document is written with a dot, a whole one {{to: {{eq: {{...}}}}}}",
            WORDS.join(", ")
        )
    };
    reader.error(entry.key_span, codes::UNKNOWN_TRANSITION, format!("unknown transition {key:?}")).help(help);
}

fn moves(reader: &mut Reader<'_>, key: &str, node: &Node, direction: Direction) -> Option<Transition> {
    let what = format!("`{key}`");
    let Some(entries) = node.as_map() else {
        reader
            .wrong_type(node, &what, "a mapping with `by` or `by_percent`")
            .help(format!("write {key}: {{by: {{gte: 5}}}}, or `{key}` alone for any amount"));
        return None;
    };
    for entry in entries.iter().filter(|entry| condition::OPERATORS.contains(&entry.key.as_str())) {
        let message = format!("unknown key {:?} in {what}", entry.key);
        reader.error(entry.key_span, codes::UNKNOWN_KEY, message).help(format!(
            "write {key}: {{by: {{{0}: ...}}}} for the difference; for the value itself, {{{key}: ..., to: {{{0}: ...}}}}",
            entry.key
        ));
    }
    let others = entries.iter().filter(|entry| !condition::OPERATORS.contains(&entry.key.as_str()));
    for entry in others.filter(|entry| !matches!(entry.key.as_str(), "by" | "by_percent")) {
        reader.unknown_key(entry, &["by", "by_percent"], &what);
    }
    if entries.is_empty() {
        reader.error(node.span, codes::EMPTY, format!("{what} is empty")).help(format!("write `{key}` alone"));
        return None;
    }
    let mut amount = |key: &str| match node.get(key) {
        Some(node) => amount(reader, node, key).map(Some),
        None => Some(None),
    };
    let (by, by_percent) = (amount("by"), amount("by_percent"));
    Some(Transition::Moves { direction, by: by?, by_percent: by_percent? })
}

/// The matcher of an amount: numbers only, since a difference is one.
fn amount(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Matcher> {
    let matcher = condition::read(reader, node)?;
    if !speaks_of_numbers(&matcher) {
        reader
            .error(node.span, codes::WRONG_TYPE, format!("`{key}` must be a number or a condition on numbers"))
            .help(format!("write {key}: 5 or {key}: {{gte: 5}}"));
        return None;
    }
    Some(matcher)
}

fn speaks_of_numbers(matcher: &Matcher) -> bool {
    match matcher {
        Matcher::Equals(value) | Matcher::Compare(_, value) => is_number(value),
        Matcher::OneOf(matchers) | Matcher::All(matchers) => matchers.iter().all(speaks_of_numbers),
        Matcher::Not(inner) => speaks_of_numbers(inner),
        Matcher::Exists(_)
        | Matcher::Type(_)
        | Matcher::Prefix(_)
        | Matcher::Suffix(_)
        | Matcher::Contains(_)
        | Matcher::Text(_)
        | Matcher::Regex(_) => false,
    }
}

fn is_number(value: &Bson) -> bool {
    matches!(value, Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_))
}

fn crosses(reader: &mut Reader<'_>, node: &Node) -> Option<Transition> {
    let form = "write crosses: {below: 5} or crosses: {above: 5}";
    let Some(entries) = node.as_map() else {
        reader.wrong_type(node, "`crosses`", "a mapping with `below` or `above`").help(form);
        return None;
    };
    reader.known_keys(entries, &["below", "above"], "`crosses`");
    let bound = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node);
    let (direction, bound) = match (bound("below"), bound("above")) {
        (Some(bound), None) => (Direction::Down, bound),
        (None, Some(bound)) => (Direction::Up, bound),
        (Some(_), Some(above)) => {
            reader
                .error(above.span, codes::CANNOT_HOLD, "`crosses` has both `below` and `above`")
                .help("keep one, or use two alternatives under `any`");
            return None;
        }
        (None, None) => {
            reader.error(node.span, codes::MISSING_KEY, "`crosses` needs `below` or `above`").help(form);
            return None;
        }
    };
    let value = literal::value(reader, bound)?;
    if !is_number(&value) && !matches!(value, Bson::DateTime(_)) {
        reader.wrong_type(bound, "the limit of `crosses`", "a number or a date").help(form);
        return None;
    }
    Some(Transition::Crosses(direction, value))
}
