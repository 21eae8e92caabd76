//! Why a part of the rule language can not be used, with the place in its text.

/// Why a path, query, template or pattern can not be used.
///
/// Codes: `R020` a JSONPath, `R021` an unknown root, `R022` a root that has no meaning here, `R023` a dotted path, `R024` a text
/// template, `R025` a namespace pattern, `R026` a function of a JSONPath.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LanguageError {
    /// Where in the text, in characters from 0.
    pub offset: usize,
    /// A stable code, for example `R020`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

impl LanguageError {
    /// An error with its way out.
    pub(super) fn new(offset: usize, code: &'static str, message: &str, help: &str) -> Self {
        Self { offset, code, message: message.to_owned(), help: Some(help.to_owned()) }
    }
}
