//! `each`: the array, what identifies its elements, and what must have happened to one.

use crate::rules::FieldPath;
use crate::rules::ast::{Each, ElementChange, Operations, Transition, When};
use crate::yaml::{Entry, Node, Span, nearest};

use super::reader::Reader;
use super::{codes, operations, state, when};

pub(super) const KEYS: [&str; 5] = ["path", "key", "is", "when", "where"];
/// What may have happened to an element.
pub(super) const WORDS: [&str; 3] = ["added", "removed", "changed"];
const FORM: &str = "write each: {path: items, key: sku, is: added}";

/// Reads the value of `each`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Each> {
    let mark = reader.errors();
    let Some(entries) = node.as_map() else {
        reader.wrong_type(node, "`each`", "a mapping").help(FORM);
        return None;
    };
    for entry in entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
        unknown_key(reader, entry);
    }
    for (key, what) in [("path", "which array it looks at"), ("is", "what must have happened to an element")] {
        if node.get(key).is_none() {
            let message = format!("`each` has no `{key}`: it does not say {what}");
            let help = if key == "is" { "write `is: added`, `is: removed` or `is: changed`" } else { FORM };
            reader.error(node.span, codes::MISSING_KEY, message).help(help);
        }
    }
    let path = node.get("path").and_then(|node| path(reader, node));
    let key = node.get("key").map(|node| key(reader, node));
    let is = node.get("is").and_then(|node| is(reader, node));
    let transitions = node.get("when").and_then(|node| when::read(reader, node));
    let filter = node.get("where").and_then(|node| state::read(reader, node, "`where` in `each`"));
    if let (Some(ElementChange::Changed), None) = (is, &key) {
        reader.error(node.get("is")?.span, codes::MISSING_KEY, "`is: changed` needs a `key`").help(
            "without one, an element that differs is another element: name what identifies it, for example `key: sku`",
        );
    }
    if let (Some(is @ (ElementChange::Added | ElementChange::Removed)), Some(entry)) = (is, node.entry("when")) {
        let (word, side) = if is == ElementChange::Added { ("added", "before") } else { ("removed", "after") };
        reader
            .error(entry.key_span, codes::CANNOT_HOLD, format!("`when` never holds of an element that was {word}"))
            .help(format!("it has no values {side}: ask what it holds under `where`, or write `is: changed`"));
    }
    if let (Some(transitions), Some(Some(key))) = (&transitions, &key) {
        key_changes(reader, node, transitions, key);
    }
    if reader.errors() > mark {
        return None;
    }
    Some(Each { path: path?, key: key.flatten().unwrap_or_default(), is: is?, when: transitions, filter })
}

/// What `each` can hold on.
pub(super) fn implied(node: &Node) -> Operations {
    match node.get("is").and_then(Node::as_text) {
        Some("added") => operations::INSERT_OR_UPDATE,
        Some("removed") => operations::UPDATE_OR_DELETE,
        _ => operations::UPDATE,
    }
}

fn unknown_key(reader: &mut Reader<'_>, entry: &Entry) {
    let help = match entry.key.as_str() {
        "array" | "field" | "in" | "items" | "of" => "did you mean \"path\"?",
        "by" | "id" | "identity" | "keys" => "did you mean \"key\"?",
        "if" | "filter" => "did you mean \"where\"?",
        "on" | "data" | "subject" | "collection" => "it is a key of the rule: write it beside `each`",
        "added" | "removed" | "changed" => "write it as the value of `is`",
        _ => return reader.unknown_key(entry, &KEYS, "`each`"),
    };
    reader.error(entry.key_span, codes::UNKNOWN_KEY, format!("unknown key {:?} in `each`", entry.key)).help(help);
}

fn path(reader: &mut Reader<'_>, node: &Node) -> Option<FieldPath> {
    let text = reader.text(node, "`path`")?;
    dotted(reader, text, node.span)
}

fn key(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<FieldPath>> {
    let paths: Vec<_> =
        reader.texts(node, "`key`")?.into_iter().map(|(text, span)| dotted(reader, text, span)).collect();
    paths.into_iter().collect()
}

fn dotted(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<FieldPath> {
    let bare = ["$.after.", "$.before.", "$.item.", "$."].iter().find_map(|root| text.strip_prefix(root));
    if let Some(bare) = bare {
        reader
            .error(span, codes::WRONG_TYPE, "`each` takes dotted paths, not JSONPaths")
            .help(format!("write {:?}", bare.trim_end_matches("[*]")));
        return None;
    }
    reader.language(span, FieldPath::parse(text))
}

fn is(reader: &mut Reader<'_>, node: &Node) -> Option<ElementChange> {
    if node.as_list().is_some() {
        reader
            .wrong_type(node, "`is`", "one word")
            .help("write one rule for elements that are added, another for those that are removed");
        return None;
    }
    let word = reader.text(node, "`is`")?;
    let meant = match word {
        "added" => return Some(ElementChange::Added),
        "removed" => return Some(ElementChange::Removed),
        "changed" => return Some(ElementChange::Changed),
        "add" | "new" | "inserted" | "pushed" | "appears" => "added",
        "remove" | "deleted" | "pulled" | "popped" | "disappears" => "removed",
        "change" | "modified" | "updated" => "changed",
        _ => match nearest(word, WORDS) {
            Some(meant) => meant,
            None => {
                reader.unknown_word(word, node.span, "`is`", &WORDS);
                return None;
            }
        },
    };
    reader
        .error(node.span, codes::UNKNOWN_WORD, format!("`is` does not know {word:?}"))
        .help(format!("did you mean {meant:?}?"));
    None
}

/// An element whose key changes is another element.
fn key_changes(reader: &mut Reader<'_>, node: &Node, transitions: &When, key: &[FieldPath]) {
    let all = match transitions {
        When::All(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut moving = all.iter().filter_map(|one| match one {
        When::Field(path, transition) if !matches!(**transition, Transition::Unchanged) => Some(path),
        _ => None,
    });
    let inside_key = |path: &&FieldPath| key.iter().any(|part| path.steps.starts_with(&part.steps));
    let Some(path) = moving.find(inside_key) else { return };
    let entry = node.get("when").and_then(|when| when.entry(&path.text));
    reader
        .error(
            entry.map_or(node.span, |entry| entry.key_span),
            codes::CANNOT_HOLD,
            format!("`{}` never changes inside an element: it is its `key`", path.text),
        )
        .help("an element with another key is another element: use `is: added` and `is: removed`");
}
