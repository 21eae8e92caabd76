//! Findings about files, for people and for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use changeling::yaml::{Diagnostic, Diagnostics, Severity};
use owo_colors::OwoColorize as _;
use serde::Serialize;

/// Prints findings to standard error, with colour if it is a terminal, and how many there are.
pub fn print(diagnostics: &Diagnostics) {
    if diagnostics.is_empty() {
        return;
    }
    let mut text = String::new();
    for diagnostic in diagnostics.iter() {
        paint(&mut text, diagnostic);
        text.push('\n');
    }
    let _ = writeln!(text, "{}", summary(diagnostics));
    // Standard error may be closed; then nobody is there to be told.
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// `2 errors, 1 warning`.
pub fn summary(diagnostics: &Diagnostics) -> String {
    let counted = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        count => Some(format!("{count} {word}s")),
    };
    let errors = counted(diagnostics.count(Severity::Error), "error");
    let warnings = counted(diagnostics.count(Severity::Warning), "warning");
    let both: Vec<String> = errors.into_iter().chain(warnings).collect();
    if both.is_empty() { "nothing to report".to_owned() } else { both.join(", ") }
}

fn paint(text: &mut String, diagnostic: &Diagnostic) {
    for (index, line) in diagnostic.to_string().lines().enumerate() {
        let is_caret = line.trim_start().strip_prefix('|').is_some_and(|rest| rest.contains('^'));
        // Writing to a string can not fail.
        let _ = match (index, line.strip_prefix("help: ")) {
            (0, _) => match diagnostic.severity {
                Severity::Error => writeln!(text, "{}", line.bold()),
                Severity::Warning => writeln!(text, "{}", line.yellow()),
            },
            (_, Some(help)) => writeln!(text, "{} {help}", "help:".cyan()),
            _ if is_caret => writeln!(text, "{}", line.red()),
            _ => writeln!(text, "{line}"),
        };
    }
}

/// Writes a value to standard output as JSON, on lines of its own.
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer_pretty(&mut output, value).map_err(io::Error::from)?;
    writeln!(output)?;
    output.flush()
}
