//! `${NAME}`, `${NAME:-default}` and `${file:path}` in the texts of a configuration.
//!
//! What is filled in may be a secret. So it never appears in a message: the places are remembered, and whoever speaks of a
//! value asks first whether it was written there.

use std::collections::HashSet;
use std::path::Path;

use crate::yaml::{FileDiagnostics, Node, Span, Value};

/// What a configuration is read in: where values come from that are not in the file, and what it may lack.
pub struct Surroundings<'s> {
    /// Gives an environment variable.
    pub variable: &'s dyn Fn(&str) -> Option<String>,
    /// The folder that file names are relative to.
    pub folder: &'s Path,
    /// True if the program that reads the file may have sinks of its own.
    pub may_lack_sinks: bool,
}

/// The places whose values were filled in.
#[derive(Debug, Default)]
pub struct Filled {
    places: HashSet<(usize, usize)>,
    broken: HashSet<(usize, usize)>,
}

impl Filled {
    /// True if the value there, or a part of it, is not in the file.
    pub fn holds(&self, span: Span) -> bool {
        self.places.contains(&(span.line, span.column))
    }

    /// True if something could not be filled in there, which has been told: nothing more is to be said about the value.
    pub fn is_broken(&self, span: Span) -> bool {
        self.broken.contains(&(span.line, span.column))
    }

    /// True if the node, or anything below it, holds a value that is not in the file.
    pub fn holds_any(&self, node: &Node) -> bool {
        match &node.value {
            Value::List(nodes) => nodes.iter().any(|node| self.holds_any(node)),
            Value::Map(entries) => entries.iter().any(|entry| self.holds_any(&entry.node)),
            _ => self.holds(node.span),
        }
    }
}

/// Fills in every text below `node`. Codes: `C007` a variable that is not set, `C008` a file that can not be read, `C009` a
/// malformed `${`.
pub fn substitute(
    node: &mut Node,
    surroundings: &Surroundings<'_>,
    filled: &mut Filled,
    diagnostics: &mut FileDiagnostics<'_>,
) {
    match &mut node.value {
        Value::List(nodes) => {
            for node in nodes {
                substitute(node, surroundings, filled, diagnostics);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                substitute(&mut entry.node, surroundings, filled, diagnostics);
            }
        }
        Value::Text(text) if text.contains('$') => {
            let is_filled = text.replace("$$", "").contains("${");
            let place = (node.span.line, node.span.column);
            let expansion = expand(text, surroundings, &mut |offset, problem| {
                let (code, message, help) = problem.words();
                filled.broken.insert(place);
                diagnostics.error(node.span.part(offset).of_length(problem.length()), code, message).help(help);
            });
            *text = expansion;
            if is_filled {
                filled.places.insert(place);
            }
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
    }
}

enum Problem<'t> {
    Unset { name: &'t str },
    Unreadable { path: &'t str, error: std::io::Error },
    Malformed { written: &'t str },
}

impl Problem<'_> {
    fn words(&self) -> (&'static str, String, String) {
        match self {
            Self::Unset { name } => (
                "C007",
                format!("the environment variable {name} is not set"),
                format!("set it, or give a default: ${{{name}:-default}}"),
            ),
            Self::Unreadable { path, error } => (
                "C008",
                format!("the file {path:?} can not be read: {error}"),
                "the path is relative to the folder of this configuration".to_owned(),
            ),
            Self::Malformed { .. } => (
                "C009",
                "\"${\" begins a variable, and this is none".to_owned(),
                "write ${NAME}, ${NAME:-default} or ${file:path}; a dollar sign itself is written $$".to_owned(),
            ),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Unset { name } => name.chars().count() + "${}".len(),
            Self::Unreadable { path, .. } => path.chars().count() + "${file:}".len(),
            Self::Malformed { written } => written.chars().count(),
        }
    }
}

/// The text with everything filled in. Problems are told with the offset of their `${`, in characters.
fn expand<'t>(text: &'t str, surroundings: &Surroundings<'_>, tell: &mut dyn FnMut(usize, Problem<'t>)) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        let from_dollar = &rest[dollar..];
        if let Some(after) = from_dollar.strip_prefix("$$") {
            expanded.push('$');
            rest = after;
        } else if let Some(inner) = from_dollar.strip_prefix("${") {
            let offset = text[..text.len() - from_dollar.len()].chars().count();
            let (name, after) = match inner.split_once('}') {
                Some((name, after)) => (name, after),
                None => {
                    tell(offset, Problem::Malformed { written: from_dollar });
                    return expanded;
                }
            };
            match value_of(name, &from_dollar[..name.len() + "${}".len()], surroundings) {
                Ok(value) => expanded.push_str(&value),
                Err(problem) => tell(offset, problem),
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = &from_dollar[1..];
        }
    }
    expanded.push_str(rest);
    expanded
}

fn value_of<'t>(name: &'t str, written: &'t str, surroundings: &Surroundings<'_>) -> Result<String, Problem<'t>> {
    if let Some(path) = name.strip_prefix("file:") {
        let content = std::fs::read_to_string(surroundings.folder.join(path));
        let content = content.map_err(|error| Problem::Unreadable { path, error })?;
        // Editors end a file with a line break that is no part of the value.
        return Ok(content.trim_end_matches(['\n', '\r']).to_owned());
    }
    let (name, default) = match name.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (name, None),
    };
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if name.is_empty() || !name.chars().all(is_name) || name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(Problem::Malformed { written });
    }
    match ((surroundings.variable)(name), default) {
        // As in a shell, a default also stands in for a variable that is empty.
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Problem::Unset { name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> (String, Vec<(usize, &'static str)>) {
        let variable = |name: &str| match name {
            "HOST" => Some("db.example".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut problems = Vec::new();
        let surroundings = Surroundings { variable: &variable, folder: Path::new("/nowhere"), may_lack_sinks: false };
        let text = expand(text, &surroundings, &mut |offset, problem| problems.push((offset, problem.words().0)));
        (text, problems)
    }

    #[test]
    fn variables_defaults_and_dollar_signs_are_filled_in() {
        for (text, wanted) in [
            ("mongodb://${HOST}:27017", "mongodb://db.example:27017"),
            ("${HOST:-other}/${NONE:-a:-b}/${EMPTY:-c}/${EMPTY}", "db.example/a:-b/c/"),
            ("$$HOME costs $5 and $${HOST}", "$HOME costs $5 and ${HOST}"),
            ("$", "$"),
        ] {
            assert_eq!(expanded(text), (wanted.to_owned(), vec![]));
        }
    }

    #[test]
    fn what_can_not_be_filled_in_is_told_with_its_place() {
        assert_eq!(expanded("ä${NONE}b").1, [(1, "C007")]);
        assert_eq!(expanded("${file:password}").1, [(0, "C008")]);
        assert_eq!(expanded("a ${HOST").1, [(2, "C009")]);
        assert_eq!(expanded("${} ${1A} ${a b}").1, [(0, "C009"), (4, "C009"), (10, "C009")]);
    }
}
