//! A finding about a file: where, how bad, what, and the way out. All of them are kept, so that a user sees them at once.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::{SourceFile, Span};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file can not be used.
    Error,
    /// The file can be used, but probably does not do what was meant.
    Warning,
}

impl Severity {
    /// The word that messages show.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding. Its `Display` is the form for people, over several lines; serialised, it is the form for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters the caret line covers.
    pub length: usize,
    /// A stable code, for example `R012`.
    pub code: &'static str,
    /// What is wrong, without the place.
    pub message: String,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line of the file, with passwords covered.
    #[serde(skip)]
    pub excerpt: Option<String>,
}

impl Diagnostic {
    /// Adds the way out.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the way out, if there is one to tell.
    pub fn maybe_help(&mut self, help: Option<String>) -> &mut Self {
        if help.is_some() {
            self.help = help;
        }
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, code, message, .. } = self;
        write!(formatter, "{file}:{line}:{column}: {code} {}: {message}", self.severity.as_str())?;
        if let Some(excerpt) = &self.excerpt {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let mut indent = String::new();
            for character in excerpt.chars().take(column - 1) {
                indent.push(if character == '\t' { '\t' } else { ' ' });
            }
            let room = excerpt.chars().count().saturating_sub(column - 1);
            let carets = "^".repeat(self.length.min(room).max(1));
            write!(formatter, "\n{margin} |\n{number} | {excerpt}\n{margin} | {indent}{carets}")?;
        }
        if let Some(help) = &self.help {
            write!(formatter, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

/// A place in a file, kept for a finding that can only be made when the file is no longer at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: String,
    span: Span,
    excerpt: Option<String>,
}

/// All findings of a set of files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The findings of one file, to add to.
    pub fn of<'d>(&'d mut self, file: &'d SourceFile) -> FileDiagnostics<'d> {
        let error_count = self.count(Severity::Error);
        FileDiagnostics { file, lines: Vec::new(), error_count, all: self }
    }

    /// Adds an error at a place that was kept.
    pub fn error_at(&mut self, place: &Place, code: &'static str, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, place.clone(), code, message.into())
    }

    fn add(&mut self, severity: Severity, place: Place, code: &'static str, message: String) -> &mut Diagnostic {
        let Place { file, span, excerpt } = place;
        self.list.push(Diagnostic {
            severity,
            file,
            line: span.line.max(1),
            column: span.column.max(1),
            length: span.length.max(1),
            code,
            message,
            help: None,
            excerpt,
        });
        self.list.last_mut().expect("one was pushed just now")
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: Self) {
        self.list.extend(other.list);
    }

    /// Orders them by file, line and column, and drops repeats of the same finding (an alias is read twice).
    pub fn sort(&mut self) {
        self.list.sort_by(|a, b| {
            (&a.file, a.line, a.column, a.code, &a.message).cmp(&(&b.file, b.line, b.column, b.code, &b.message))
        });
        self.list.dedup();
    }

    /// Every finding.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// True if some finding is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// True if there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Everything as text for people, a blank line between two findings; empty if there is nothing to say.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for diagnostic in &self.list {
            if !text.is_empty() {
                text.push('\n');
            }
            // Writing to a String can not fail.
            let _ = writeln!(text, "{diagnostic}");
        }
        text
    }
}

/// Adds findings about one file.
#[derive(Debug)]
pub struct FileDiagnostics<'d> {
    file: &'d SourceFile,
    /// The lines of the file, once a finding needs one.
    lines: Vec<&'d str>,
    error_count: usize,
    all: &'d mut Diagnostics,
}

impl<'d> FileDiagnostics<'d> {
    /// The file that is spoken of.
    pub fn file(&self) -> &'d SourceFile {
        self.file
    }

    /// The number of errors so far, over all files; to see whether some step added any.
    pub fn error_count(&self) -> usize {
        self.error_count
    }

    /// Adds an error.
    pub fn error(&mut self, span: Span, code: &'static str, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, span, code, message.into())
    }

    /// Adds a warning.
    pub fn warning(&mut self, span: Span, code: &'static str, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, span, code, message.into())
    }

    /// A place in the file, for a finding that is made later.
    pub fn place(&mut self, span: Span) -> Place {
        if self.lines.is_empty() {
            self.lines = super::lines(&self.file.text);
        }
        let line = self.lines.get(span.line.saturating_sub(1)).copied();
        let excerpt = line.filter(|line| !line.trim().is_empty()).map(covered);
        Place { file: self.file.name.clone(), span, excerpt }
    }

    fn add(&mut self, severity: Severity, span: Span, code: &'static str, message: String) -> &mut Diagnostic {
        self.error_count += usize::from(severity == Severity::Error);
        let place = self.place(span);
        self.all.add(severity, place, code, message)
    }
}

/// The line with every password in it covered by as many stars, so that carets still point at the right place.
fn covered(line: &str) -> String {
    const SECRET_KEYS: [&str; 6] = ["password", "passphrase", "secret", "token", "credentials", "private_key"];
    let mut characters: Vec<char> = line.chars().collect();
    let find =
        |text: &[char], start: usize, what: &[char]| (start..text.len()).find(|&at| text[at..].starts_with(what));
    let mut from = 0;
    while let Some(scheme) = find(&characters, from, &[':', '/', '/']) {
        let start = scheme + 3;
        let end = (start..characters.len())
            .find(|&at| matches!(characters[at], ' ' | '"' | '\'' | '#'))
            .unwrap_or(characters.len());
        if let Some(at) = (start..end).rfind(|&at| characters[at] == '@') {
            characters[start..at].fill('*');
        }
        from = end;
    }
    let lower = line.to_lowercase();
    if SECRET_KEYS.iter().any(|key| lower.contains(&format!("{key}:")) || lower.contains(&format!("{key}\":"))) {
        // Everything after the first such key's colon; the rest of the line says little without it.
        let key_end = SECRET_KEYS.iter().filter_map(|key| lower.find(key).map(|at| at + key.len())).min();
        let start = key_end.map_or(0, |end| lower[..end].chars().count());
        for character in characters.iter_mut().skip(start).filter(|character| character.is_alphanumeric()) {
            *character = '*';
        }
    }
    characters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile { name: "rules/orders.yaml".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_finding_shows_its_line_with_carets_under_the_exact_place_and_the_way_out() {
        let file = file("version: 1\nrules:\n  - evnt: Größe\n");
        let mut all = Diagnostics::default();
        all.of(&file).error(Span::new(3, 5, 4), "R002", "unknown key \"evnt\"").help("did you mean \"event\"?");
        assert_eq!(
            all.render(),
            "rules/orders.yaml:3:5: R002 error: unknown key \"evnt\"\n  |\n3 |   - evnt: Größe\n  |     ^^^^\n\
             help: did you mean \"event\"?\n"
        );
        let json = serde_json::to_value(&all).unwrap();
        assert_eq!(json[0]["severity"], "error");
        assert_eq!(json[0]["line"], 3);
        assert_eq!(json[0]["help"], "did you mean \"event\"?");
        assert!(json[0].get("excerpt").is_none());
    }

    #[test]
    fn a_carriage_return_alone_ends_a_line_as_it_does_in_yaml() {
        let file = file("a: 1\rb: \r\nc: 2\r");
        let mut all = Diagnostics::default();
        all.of(&file).error(Span::new(3, 4, 1), "R004", "a number").help("write a text");
        assert!(all.render().contains("3 | c: 2\n  |    ^"), "{}", all.render());
    }

    #[test]
    fn findings_are_sorted_by_place_and_counted_by_severity() {
        let file = file("a\nb\n");
        let mut all = Diagnostics::default();
        all.of(&file).warning(Span::new(2, 1, 1), "R002", "second");
        all.of(&file).error(Span::new(1, 1, 1), "R001", "first");
        all.of(&file).error(Span::new(1, 1, 1), "R001", "first");
        all.sort();
        assert_eq!(all.iter().map(|one| one.message.as_str()).collect::<Vec<_>>(), ["first", "second"]);
        assert_eq!((all.count(Severity::Error), all.count(Severity::Warning)), (1, 1));
        assert!(all.has_errors());
    }

    #[test]
    fn a_password_in_the_line_is_covered_and_the_caret_stays_in_place() {
        for (line, shown) in [
            ("uri: mongodb://me:pw@host/db", "uri: mongodb://*****@host/db"),
            ("uri: \"mongodb://me:p@w@host/db\" # x", "uri: \"mongodb://******@host/db\" # x"),
            ("password: hunter2", "password: *******"),
            ("auth: {user: me, password: \"a b\"}", "auth: {user: me, password: \"* *\"}"),
            ("uri: mongodb://host/db", "uri: mongodb://host/db"),
            ("data: {tokens: 1}", "data: {tokens: 1}"),
        ] {
            assert_eq!(covered(line), shown);
        }
    }
}
