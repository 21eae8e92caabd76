//! `on`: the operations that a rule looks at.

use crate::rules::ast::Operations;
use crate::yaml::{Node, Span};

use super::codes;
use super::reader::Reader;

/// What transitions can hold on.
pub(super) const UPDATE: Operations = Operations { insert: false, update: true, delete: false };

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
            .error(place, codes::MISSING_KEY, "the rule says neither `on` nor `when`")
            .help("write `on: insert`, `on: update` or `on: delete`, or a list of them");
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
