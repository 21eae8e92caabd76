//! What every part of the reading uses: typed access to nodes, with a finding where the type is wrong.

use std::sync::Arc;

use crate::rules::ast::Numbers;
use crate::rules::{LanguageError, Query, TextTemplate};
use crate::yaml::{Diagnostic, Entry, FileDiagnostics, Node, Span, Value, did_you_mean};

use super::codes;
use super::transaction::{self, Alias};

/// Reads one file: every method that can fail adds a finding and answers `None`.
pub(super) struct Reader<'d> {
    notes: FileDiagnostics<'d>,
    /// How numbers are compared in this file.
    pub(super) numbers: Numbers,
    /// The roots that queries may start from here.
    pub(super) scope: Scope,
}

/// Which roots a query may start from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of a change.
    #[default]
    Change,
    /// Those and `$.item`, `$.itemBefore`, `$.index`.
    Element,
    /// The members of a transaction, by their names, and `$.meta`.
    Transaction(Arc<[Alias]>),
}

impl<'d> Reader<'d> {
    pub(super) fn new(notes: FileDiagnostics<'d>) -> Self {
        Self { notes, numbers: Numbers::default(), scope: Scope::default() }
    }

    pub(super) fn error(&mut self, span: Span, code: &'static str, message: impl Into<String>) -> &mut Diagnostic {
        self.notes.error(span, code, message)
    }

    pub(super) fn warning(&mut self, span: Span, code: &'static str, message: impl Into<String>) -> &mut Diagnostic {
        self.notes.warning(span, code, message)
    }

    /// The name of the file.
    pub(super) fn file_name(&self) -> &'d str {
        &self.notes.file().name
    }

    /// How many errors there are, to see whether a step added some.
    pub(super) fn errors(&self) -> usize {
        self.notes.error_count()
    }

    /// Passes on what is wrong with a part of the language that stands at `span`.
    pub(super) fn language<T>(&mut self, span: Span, result: Result<T, LanguageError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(span.part(error.offset), error.code, error.message).maybe_help(error.help);
                None
            }
        }
    }

    /// Reads the JSONPath that stands at `span`.
    pub(super) fn query(&mut self, text: &str, span: Span) -> Option<Query> {
        let query = self.scope.query(text);
        self.language(span, query)
    }

    /// Reads the text with queries in braces that stands at `span`.
    pub(super) fn text_template(&mut self, text: &str, span: Span) -> Option<TextTemplate> {
        let scope = self.scope.clone();
        self.language(span, TextTemplate::parse_with(text, |query| scope.query(query)))
    }

    /// Says that `what` must be `wanted`, and is something else.
    pub(super) fn wrong_type(&mut self, node: &Node, what: &str, wanted: &str) -> &mut Diagnostic {
        let found = match &node.value {
            Value::Null => "and nothing stands here".to_owned(),
            other => format!("not {}", other.kind()),
        };
        let help = match wanted {
            "a mapping" => "write keys with their values: {key: value}".to_owned(),
            "a list" => "write a list: [first, second]".to_owned(),
            _ => format!("write {wanted}"),
        };
        self.error(node.span, codes::WRONG_TYPE, format!("{what} must be {wanted}, {found}")).help(help)
    }

    pub(super) fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Entry]> {
        if node.as_map().is_none() {
            self.wrong_type(node, what, "a mapping");
        }
        node.as_map()
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        if node.as_list().is_none() {
            self.wrong_type(node, what, "a list");
        }
        node.as_list()
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        if node.as_text().is_none() {
            let diagnostic = self.wrong_type(node, what, "a text");
            if matches!(node.value, Value::Bool(_) | Value::Int(_) | Value::Float(_)) {
                diagnostic.help("put it in quotes to make it a text");
            }
        }
        node.as_text()
    }

    pub(super) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        if node.as_bool().is_none() {
            self.wrong_type(node, what, "true or false");
        }
        node.as_bool()
    }

    /// The texts of a text or a list of texts, each with its place.
    pub(super) fn texts<'n>(&mut self, node: &'n Node, what: &str) -> Option<Vec<(&'n str, Span)>> {
        let Value::List(nodes) = &node.value else {
            if node.as_text().is_none() {
                self.wrong_type(node, what, "a text or a list of texts");
            }
            return node.as_text().map(|text| vec![(text, node.span)]);
        };
        if nodes.is_empty() {
            self.error(node.span, codes::EMPTY, format!("{what} is an empty list")).help("name at least one");
            return None;
        }
        let texts: Vec<_> = nodes.iter().filter_map(|node| Some((self.text(node, what)?, node.span))).collect();
        (texts.len() == nodes.len()).then_some(texts)
    }

    /// Reports every key that is none of the known ones.
    pub(super) fn known_keys(&mut self, entries: &[Entry], known: &[&str], place: &str) {
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            self.unknown_key(entry, known, place);
        }
    }

    pub(super) fn unknown_key(&mut self, entry: &Entry, known: &[&str], place: &str) {
        let help =
            did_you_mean(&entry.key, known.iter().copied()).unwrap_or_else(|| one_of(known, "the keys here are"));
        let message = format!("unknown key {:?} in {place}", entry.key);
        self.error(entry.key_span, codes::UNKNOWN_KEY, message).help(help);
    }

    /// Reports a word that is none of the known ones.
    pub(super) fn unknown_word(&mut self, word: &str, span: Span, what: &str, known: &[&str]) {
        let help = did_you_mean(word, known.iter().copied()).unwrap_or_else(|| one_of(known, "write one of"));
        self.error(span, codes::UNKNOWN_WORD, format!("{what} does not know {word:?}")).help(help);
    }
}

impl Scope {
    /// True if this is the name of a member.
    pub(super) fn has_member(&self, name: &str) -> bool {
        matches!(self, Self::Transaction(aliases) if aliases.iter().any(|alias| alias.name() == name))
    }

    fn query(&self, text: &str) -> Result<Query, LanguageError> {
        match self {
            Self::Change => Query::parse(text),
            Self::Element => Query::parse_in_each(text),
            Self::Transaction(aliases) => transaction::query(text, aliases),
        }
    }
}

/// `the keys here are a, b and c`.
pub(super) fn one_of(words: &[&str], start: &str) -> String {
    match words {
        [] => start.to_owned(),
        [only] => format!("{start} {only}"),
        [first @ .., last] => format!("{start} {} and {last}", first.join(", ")),
    }
}
