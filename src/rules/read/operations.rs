//! `on`: the operations that a rule looks at.

use crate::rules::ast::Operations;
use crate::yaml::{Node, Span};

use super::codes;
use super::reader::Reader;

/// What transitions can hold on.
pub(super) const UPDATE: Operations = Operations { insert: false, update: true, delete: false };
/// What a state that a document starts to satisfy can hold on.
pub(super) const INSERT_OR_UPDATE: Operations = Operations { insert: true, update: true, delete: false };
/// What a state that a document stops to satisfy can hold on.
pub(super) const UPDATE_OR_DELETE: Operations = Operations { insert: false, update: true, delete: true };

/// What all of these can hold on; `None` if there are none.
pub(super) fn common(all: impl IntoIterator<Item = Operations>) -> Option<Operations> {
    all.into_iter().reduce(|one, other| Operations {
        insert: one.insert && other.insert,
        update: one.update && other.update,
        delete: one.delete && other.delete,
    })
}

/// Reads `on`; where it is absent, what the conditions of the rule can hold on stands for it.
pub(super) fn read(
    reader: &mut Reader<'_>,
    node: Option<&Node>,
    implied: Option<Operations>,
    place: Span,
) -> Option<Operations> {
    let Some(node) = node else {
        if implied.is_some() {
            return implied;
        }
        reader
            .error(place, codes::MISSING_KEY, "the rule does not say on which changes it fires")
            .help("write `on: insert`, `on: update` or `on: delete`, or a list of them; a `where` asks about a state, and does not say when");
        return None;
    };
    let mut operations = Operations::default();
    for (word, span) in reader.texts(node, "`on`")? {
        match word {
            "insert" => operations.insert = true,
            "update" => operations.update = true,
            "delete" => operations.delete = true,
            "replace" => {
                reader
                    .error(span, codes::UNKNOWN_WORD, "`on` does not know \"replace\"")
                    .help("`update` covers it; to see only those, add where: {$.change.operation: replace}");
            }
            "create" | "created" | "inserted" | "new" => foreign_word(reader, word, span, "insert"),
            "remove" | "removed" | "deleted" => foreign_word(reader, word, span, "delete"),
            "change" | "changed" | "modify" | "modified" | "updated" | "upsert" => {
                foreign_word(reader, word, span, "update");
            }
            _ => reader.unknown_word(word, span, "`on`", &["insert", "update", "delete"]),
        }
    }
    Some(operations)
}

fn foreign_word(reader: &mut Reader<'_>, word: &str, span: Span, meant: &str) {
    reader
        .error(span, codes::UNKNOWN_WORD, format!("`on` does not know {word:?}"))
        .help(format!("did you mean {meant:?}?"));
}
