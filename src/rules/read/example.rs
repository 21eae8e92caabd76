//! One test of a rule file.

use bson::{Bson, Document, RawDocumentBuf, doc};

use crate::change::Operation;
use crate::event::Evidence;
use crate::rules::examples::{Example, Expectation, WrittenChange, WrittenDescription};
use crate::yaml::{Entry, Node, Span, Value};

use super::reader::Reader;
use super::{codes, literal};

pub(super) const KEYS: [&str; 6] = ["name", "change", "changes", "transaction", "expect", "exact"];
const OPERATIONS: [(&str, Operation); 4] = [
    ("insert", Operation::Insert),
    ("update", Operation::Update),
    ("replace", Operation::Replace),
    ("delete", Operation::Delete),
];
pub(super) const CHANGE_KEYS: [&str; 8] =
    ["insert", "update", "replace", "delete", "before", "after", "description", "key"];
pub(super) const EXPECT_KEYS: [&str; 7] = ["event", "data", "exact", "key", "subject", "rule", "evidence"];

/// A test, and where its expectations name events.
pub(super) struct ReadExample {
    pub(super) example: Example,
    /// The place of the event's name of each expectation.
    pub(super) event_spans: Vec<Span>,
}

/// Reads one test; `index` counts from 0.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, index: usize) -> Option<ReadExample> {
    let before = reader.errors();
    let entries = reader.map(node, "a test")?;
    reader.known_keys(entries, &KEYS, "a test");
    let name = match node.get("name") {
        Some(name) => reader.text(name, "`name`").map(str::to_owned),
        None => Some(format!("test {}", index + 1)),
    };
    let flag = |reader: &mut Reader<'_>, key: &str| {
        node.get(key).is_some_and(|node| reader.boolean(node, &format!("`{key}`")).unwrap_or_default())
    };
    let in_transaction = flag(reader, "transaction");
    let exact = flag(reader, "exact");
    let changes = changes(reader, node, in_transaction);
    let expected = expectations(reader, node, exact);
    if reader.errors() > before {
        return None;
    }
    let (expected, event_spans) = expected?.into_iter().unzip();
    let line = node.entry("name").map_or(node.span.line, |entry| entry.key_span.line);
    let file = reader.file_name().to_owned();
    Some(ReadExample {
        example: Example { name: name?, file, line, changes: changes?, expected, rules: 0..0 },
        event_spans,
    })
}

/// Reads a file that holds changes and nothing else.
pub(super) fn typed_in(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<RawDocumentBuf>> {
    let entries = reader.map(node, "a file with a change")?;
    if node.get("change").is_none() && node.get("changes").is_none() {
        return encoded(reader, std::slice::from_ref(node), false);
    }
    reader.known_keys(entries, &["name", "change", "changes", "transaction"], "a file with changes");
    let in_transaction = node.get("transaction").and_then(Node::as_bool).unwrap_or_default();
    changes(reader, node, in_transaction)
}

fn changes(reader: &mut Reader<'_>, node: &Node, in_transaction: bool) -> Option<Vec<RawDocumentBuf>> {
    let nodes = match (node.get("change"), node.entry("changes")) {
        (Some(change), None) => std::slice::from_ref(change),
        (None, Some(entry)) if entry.node.as_map().is_some() => {
            reader.wrong_type(&entry.node, "`changes`", "a list").help("one change stands under `change`");
            return None;
        }
        (None, Some(entry)) => reader.list(&entry.node, "`changes`")?,
        (Some(_), Some(entry)) => {
            reader
                .error(entry.key_span, codes::BAD_CHANGE, "the test has both `change` and `changes`")
                .help("keep one of them");
            return None;
        }
        (None, None) => {
            reader
                .error(node.span, codes::MISSING_KEY, "the test has no `change`")
                .help("write change: {insert: shop.orders, after: {...}}, or `changes` with a list");
            return None;
        }
    };
    encoded(reader, nodes, in_transaction)
}

fn encoded(reader: &mut Reader<'_>, nodes: &[Node], in_transaction: bool) -> Option<Vec<RawDocumentBuf>> {
    let mut documents = Vec::new();
    let mut complete = true;
    for (index, node) in (0_u32..).zip(nodes) {
        let Some(change) = change(reader, node) else {
            complete = false;
            continue;
        };
        match change.encode(index, in_transaction) {
            Ok(document) => documents.push(document),
            Err(_) => {
                reader
                    .error(node.span, codes::BAD_CHANGE, "the change is no valid BSON")
                    .help("the name of a field holds no zero byte");
                complete = false;
            }
        }
    }
    complete.then_some(documents)
}

fn change(reader: &mut Reader<'_>, node: &Node) -> Option<WrittenChange> {
    let errors_before = reader.errors();
    if node.as_list().is_some() {
        reader.wrong_type(node, "a change", "a mapping").help("several changes stand under `changes`");
        return None;
    }
    let entries = reader.map(node, "a change")?;
    reader.known_keys(entries, &CHANGE_KEYS, "a change");
    let (operation, entry) = operation(reader, node, entries)?;
    let namespace = namespace(reader, &entry.node);
    let document = |reader: &mut Reader<'_>, key: &str| {
        node.get(key).and_then(|node| literal::document(reader, node, &format!("`{key}`")))
    };
    let mut before = document(reader, "before");
    let mut after = document(reader, "after");
    let key = document(reader, "key");
    let description = node.get("description").and_then(|node| description(reader, node));
    if reader.errors() > errors_before {
        return None;
    }
    fits(reader, operation, node, entry)?;
    let key = document_key(reader, node, &mut before, &mut after, key)?;
    let (database, collection) = namespace?;
    Some(WrittenChange { operation, database, collection, key, before, after, description })
}

fn operation<'n>(reader: &mut Reader<'_>, node: &Node, entries: &'n [Entry]) -> Option<(Operation, &'n Entry)> {
    let mut found = entries.iter().filter_map(|entry| {
        let (_, operation) = OPERATIONS.iter().find(|(name, _)| *name == entry.key)?;
        Some((*operation, entry))
    });
    let form = "write one of insert, update, replace and delete with the collection: `update: shop.orders`";
    let Some(first) = found.next() else {
        reader.error(node.span, codes::MISSING_KEY, "the change does not say what happens").help(form);
        return None;
    };
    if let Some((_, second)) = found.next() {
        reader.error(second.key_span, codes::BAD_CHANGE, "the change says twice what happens").help(form);
        return None;
    }
    Some(first)
}

fn namespace(reader: &mut Reader<'_>, node: &Node) -> Option<(String, String)> {
    let text = reader.text(node, "the collection of a change")?;
    let parts = text.split_once('.').filter(|(database, collection)| !database.is_empty() && !collection.is_empty());
    let exact = parts.filter(|_| !text.contains(['*', '?', '{', ' ']));
    if exact.is_none() {
        reader
            .error(node.span, codes::BAD_CHANGE, "a change happens in one collection")
            .help("write database.collection, for example shop.orders");
    }
    exact.map(|(database, collection)| (database.to_owned(), collection.to_owned()))
}

/// Checks that the change has what such a change has.
fn fits(reader: &mut Reader<'_>, operation: Operation, node: &Node, entry: &Entry) -> Option<()> {
    let has = |key: &str| node.get(key).is_some();
    let refused = match operation {
        Operation::Insert => ["before", "description"].into_iter().find(|key| has(key)),
        Operation::Delete => ["after", "description"].into_iter().find(|key| has(key)),
        Operation::Replace => Some("description").filter(|key| has(key)),
        Operation::Update => None,
    };
    if let Some(entry) = refused.and_then(|key| node.entry(key)) {
        let message = format!("a change by {} has no `{}`", operation.as_str(), entry.key);
        reader.error(entry.key_span, codes::BAD_CHANGE, message).help("remove it");
        return None;
    }
    let missing = match operation {
        Operation::Insert | Operation::Replace if !has("after") => Some("needs `after`: the new document"),
        Operation::Update if !(has("description") || has("before") && has("after")) => {
            Some("needs `before` and `after`, or a `description`")
        }
        _ => None,
    };
    if let Some(missing) = missing {
        let message = format!("a change by {} {missing}", operation.as_str());
        reader
            .error(entry.key_span, codes::BAD_CHANGE, message)
            .help("write what a change stream would send; what is left out is not known to the rules");
        return None;
    }
    Some(())
}

/// The document key. A test that does not care about `_id` may leave it out: then it is 1.
fn document_key(
    reader: &mut Reader<'_>,
    node: &Node,
    before: &mut Option<Document>,
    after: &mut Option<Document>,
    key: Option<Document>,
) -> Option<Document> {
    let id_of = |document: &Option<Document>| document.as_ref().and_then(|document| document.get("_id").cloned());
    if let (Some(old), Some(new)) = (id_of(before), id_of(after))
        && old != new
    {
        reader
            .error(node.span, codes::BAD_CHANGE, "`_id` differs between `before` and `after`")
            .help("a change never changes the _id; write a delete and an insert");
        return None;
    }
    let id = key.as_ref().and_then(|key| key.get("_id").cloned()).or_else(|| id_of(after)).or_else(|| id_of(before));
    let id = id.unwrap_or(Bson::Int32(1));
    for document in [before, after].into_iter().flatten() {
        if !document.contains_key("_id") {
            let mut whole = doc! {"_id": id.clone()};
            whole.extend(std::mem::take(document));
            *document = whole;
        }
    }
    let mut key = key.unwrap_or_default();
    key.entry("_id".to_owned()).or_insert(id);
    Some(key)
}

/// What an update says of itself, in the words of `$.change` or in MongoDB's.
fn description(reader: &mut Reader<'_>, node: &Node) -> Option<WrittenDescription> {
    let entries = reader.map(node, "`description`")?;
    let mut description = WrittenDescription::default();
    for entry in entries {
        match entry.key.as_str() {
            "updated" | "updatedFields" => {
                description.updated = literal::document(reader, &entry.node, "`updated`").unwrap_or_default()
            }
            "removed" | "removedFields" => {
                let paths = reader.list(&entry.node, "`removed`").unwrap_or_default().iter();
                let paths = paths.filter_map(|node| reader.text(node, "a removed path").map(str::to_owned));
                description.removed = paths.collect();
            }
            "truncated" | "truncatedArrays" => description.truncated = truncated(reader, &entry.node),
            _ => reader.unknown_key(entry, &["updated", "removed", "truncated"], "`description`"),
        }
    }
    Some(description)
}

fn truncated(reader: &mut Reader<'_>, node: &Node) -> Vec<(String, i32)> {
    let pairs: Option<Vec<_>> = match &node.value {
        Value::Map(entries) => entries.iter().map(|entry| Some((entry.key.clone(), size(&entry.node)?))).collect(),
        Value::List(nodes) => nodes
            .iter()
            .map(|node| Some((node.get("field")?.as_text()?.to_owned(), size(node.get("newSize")?)?)))
            .collect(),
        _ => None,
    };
    if pairs.is_none() {
        reader
            .error(node.span, codes::WRONG_TYPE, "`truncated` must map paths of arrays to their new sizes")
            .help("write {items: 2}");
    }
    pairs.unwrap_or_default()
}

fn size(node: &Node) -> Option<i32> {
    node.as_int().and_then(|size| i32::try_from(size).ok()).filter(|size| *size >= 0)
}

fn expectations(reader: &mut Reader<'_>, node: &Node, exact: bool) -> Option<Vec<(Expectation, Span)>> {
    let Some(node) = node.get("expect") else {
        reader
            .error(node.span, codes::MISSING_KEY, "the test has no `expect`")
            .help("write the exact list of events: `expect: [{event: OrderPaid}]`, or `expect: []` for none");
        return None;
    };
    if node.as_list().is_none() {
        let name = node.as_text().unwrap_or("{event: OrderPaid, data: {...}}");
        reader
            .wrong_type(node, "`expect`", "a list of all events")
            .help(format!("write `expect: [{name}]`, or `expect: []` for none"));
        return None;
    }
    let nodes = reader.list(node, "`expect`")?;
    let expectations: Vec<_> = nodes.iter().map(|node| expectation(reader, node, exact)).collect();
    expectations.into_iter().collect()
}

fn expectation(reader: &mut Reader<'_>, node: &Node, exact: bool) -> Option<(Expectation, Span)> {
    if let Some(event) = node.as_text() {
        return Some((Expectation { event: event.to_owned(), exact, ..Expectation::default() }, node.span));
    }
    let entries = reader.map(node, "an expected event")?;
    reader.known_keys(entries, &EXPECT_KEYS, "an expected event");
    let Some(event_node) = node.get("event") else {
        reader
            .error(node.span, codes::MISSING_KEY, "the expected event has no `event`")
            .help("name it: {event: OrderPaid, data: {...}}");
        return None;
    };
    let event = reader.text(event_node, "`event`")?.to_owned();
    let data = node.get("data").and_then(|node| expected_data(reader, node));
    let exact = node.get("exact").map_or(exact, |node| reader.boolean(node, "`exact`").unwrap_or(exact));
    let text = |reader: &mut Reader<'_>, key: &str| node.get(key).and_then(|node| text_of(reader, node, key));
    let expectation = Expectation {
        event,
        data,
        exact,
        key: text(reader, "key"),
        subject: text(reader, "subject"),
        rule: text(reader, "rule"),
        evidence: node.get("evidence").and_then(|node| evidence(reader, node)),
    };
    Some((expectation, event_node.span))
}

fn expected_data(reader: &mut Reader<'_>, node: &Node) -> Option<RawDocumentBuf> {
    let document = literal::document(reader, node, "`data`")?;
    let raw = RawDocumentBuf::try_from(&document);
    if raw.is_err() {
        reader
            .error(node.span, codes::BAD_CHANGE, "`data` is no valid BSON")
            .help("the name of a field holds no zero byte");
    }
    raw.ok()
}

/// A text, or a number that is written as one.
fn text_of(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<String> {
    match &node.value {
        Value::Int(number) => Some(number.to_string()),
        _ => reader.text(node, &format!("`{key}`")).map(str::to_owned),
    }
}

fn evidence(reader: &mut Reader<'_>, node: &Node) -> Option<Evidence> {
    let all = [Evidence::Exact, Evidence::Delta, Evidence::LookUp];
    let word = reader.text(node, "`evidence`")?;
    let evidence = all.into_iter().find(|evidence| evidence.as_str() == word);
    if evidence.is_none() {
        reader.unknown_word(word, node.span, "`evidence`", &all.map(Evidence::as_str));
    }
    evidence
}
