//! YAML with positions, and what is said about it: a tree whose every node knows where it stands, diagnostics with a caret,
//! and hints for misspelt words. Pure: texts come in, a tree and findings go out.
//!
//! The scalars are those of YAML 1.2 (core schema): `yes`, `no`, `on` and `off` are texts, not booleans.

mod build;
mod diagnostic;
mod hint;
mod scalar;

pub use build::read;
pub use diagnostic::{Diagnostic, Diagnostics, FileDiagnostics, Place, Severity};
pub use hint::{did_you_mean, nearest};

/// A file that is read: its name as messages show it, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The name, usually the path as the user wrote it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The length in characters, at least 1, within that one line.
    pub length: usize,
    /// How many characters stand before the text of a scalar (its quote); absent where the text is not written as it is.
    pub(in crate::yaml) quote: Option<usize>,
}

impl Span {
    /// A span of one line.
    pub fn new(line: usize, column: usize, length: usize) -> Self {
        Self { line, column, length: length.max(1), quote: None }
    }

    /// The place of a part of a scalar's text: from `offset`, in characters, to its end. The whole scalar where the text is
    /// not in the file character by character (escapes, block scalars).
    pub fn part(self, offset: usize) -> Self {
        let Some(quote) = self.quote else { return self };
        let text_length = self.length.saturating_sub(2 * quote);
        let offset = offset.min(text_length);
        let length = if offset == text_length { 1 } else { text_length - offset };
        Self { column: self.column + quote + offset, length, quote: None, ..self }
    }

    /// True for a scalar that is written without quotes, on one line.
    pub fn is_plain(self) -> bool {
        self.quote == Some(0)
    }

    /// The same place with another length.
    pub fn of_length(self, length: usize) -> Self {
        Self { length: length.max(1), ..self }
    }
}

/// The lines of a text as YAML counts them: a carriage return alone ends one, too.
pub(in crate::yaml) fn lines(text: &str) -> Vec<&str> {
    let unix = text.lines();
    unix.flat_map(|line| line.split('\r')).collect()
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins, and its length on that line.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// A YAML value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file; no key twice.
    Map(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as text (`1:` has the key `1`).
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub node: Node,
}

impl Value {
    /// What a plain (unquoted) scalar means in YAML 1.2; `None` for a whole number that is not an `i64`.
    pub fn of_plain_scalar(text: &str) -> Option<Self> {
        scalar::resolve(text)
    }

    /// The kind in words, with its article: `a list`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self.value {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The elements, if it is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(nodes) => Some(nodes),
            _ => None,
        }
    }

    /// The entries, if it is a mapping.
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key, if it is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The entry of a key, if it is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.as_map()?.iter().find(|entry| entry.key == key)
    }

    /// The value without positions. Numbers that JSON does not know (infinity, NaN) become null.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.clone().into(),
            Value::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let fields = entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json()));
                serde_json::Value::Object(fields.collect())
            }
        }
    }
}
