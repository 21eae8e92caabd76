//! The report for people at a terminal.

use std::io::{self, Write};

use changeling::parity::{FailingShape, Figures, Tone, TypeFigures, Verdict, grouped, painted_matrix, painted_table};
use owo_colors::OwoColorize as _;

use super::advice;
use super::report::Report;

/// How wide the report is where no terminal says how wide it is, in characters.
const WIDTH_WITHOUT_TERMINAL: u16 = 140;

/// How wide the terminal is, in characters.
pub fn width() -> usize {
    usize::from(comfy_table::Table::new().width().unwrap_or(WIDTH_WITHOUT_TERMINAL))
}

/// Prints the report, at most `top` differences and shapes for each type.
pub fn print(output: &mut impl Write, report: &Report<'_>, width: usize, top: usize) -> io::Result<()> {
    report.read.print(output)?;
    let sides = &report.sides;
    let (explicit, inferred) = (grouped(sides.explicit_events), grouped(sides.inferred_events));
    let text = format!("explicit events of {}", sides.relays.join(", "));
    write_wrapped(output, &explicit.bold().to_string(), explicit.len(), &text, width)?;
    writeln!(output, "{} inferred events of {} rules", inferred.bold(), sides.rule_count)?;
    for note in &report.notes {
        write_wrapped(output, &"note:".yellow().to_string(), 5, note, width)?;
    }
    if report.summary.all() > 0 {
        writeln!(output)?;
        let types = report.types().cloned().collect();
        output.write_all(painted_table(&Figures { types, ..Figures::default() }, width, &paint).as_bytes())?;
    }
    if let Some(matrix) = painted_matrix(&report.figures, width, &paint) {
        writeln!(output, "\n{matrix}")?;
    }
    for verdict in [Verdict::NeedsAnOutbox, Verdict::InferWithCare] {
        for one in report.types_with(verdict) {
            print_type(output, one, width, top)?;
        }
    }
    print_summary(output, report, width)
}

fn print_type(output: &mut impl Write, one: &TypeFigures, width: usize, top: usize) -> io::Result<()> {
    let verdict = one.judgement.verdict;
    writeln!(output, "{}: {}", one.name.bold(), paint(verdict.tone(), verdict.as_str()))?;
    for reason in advice::reasons(one, top) {
        write_wrapped(output, "  -", 3, reason, width)?;
    }
    for shape in one.shapes.iter().take(top) {
        print_shape(output, shape, width)?;
    }
    for difference in one.differences.iter().take(top) {
        let label = format!("  {} different", grouped(difference.count));
        let text = format!("{}: {}", difference.path, difference.what);
        write_wrapped(output, &label.yellow().to_string(), label.len(), &text, width)?;
    }
    let hidden = one.shapes.len().saturating_sub(top) + one.differences.len().saturating_sub(top);
    if hidden > 0 {
        writeln!(output, "{}", format!("  {hidden} more; --top shows more of them").dimmed())?;
    }
    write_wrapped(output, &format!("  {}", "next:".cyan()), 7, &advice::next(one), width)?;
    writeln!(output)
}

fn print_shape(output: &mut impl Write, shape: &FailingShape, width: usize) -> io::Result<()> {
    let label = format!("  {} {}", grouped(shape.count), shape.kind);
    write_wrapped(output, &label.red().to_string(), label.len(), &shape.shape, width)?;
    if let Some(proof) = shape.proof() {
        write_wrapped(output, &format!("    {}", "proof:".bold()), 10, &proof, width)?;
    }
    Ok(())
}

fn print_summary(output: &mut impl Write, report: &Report<'_>, width: usize) -> io::Result<()> {
    let all = report.summary.all();
    if all == 0 {
        writeln!(output, "no type of event could be compared")?;
    } else {
        let noun = if all == 1 { "type" } else { "types" };
        writeln!(output, "{} {noun} of events", all.bold())?;
    }
    for (verdict, count) in report.summary.counts() {
        let names: Vec<&str> = report.types_with(verdict).map(|one| one.name.as_str()).collect();
        if count > 0 {
            let label = format!("  {count:>3} {:15}", verdict.as_str());
            let text = format!("{}: {}", names.join(", "), advice::meaning(verdict));
            write_wrapped(output, &paint(verdict.tone(), &label), label.len(), &text, width)?;
        }
    }
    if !report.not_compared.is_empty() {
        let label = format!("  {:>3} {:15}", report.not_compared.len(), "not compared");
        let text = format!("{}: the application records none of them", report.not_compared.join(", "));
        write_wrapped(output, &label.dimmed().to_string(), label.len(), &text, width)?;
    }
    Ok(())
}

fn paint(tone: Tone, text: &str) -> String {
    match tone {
        Tone::Heading => text.bold().to_string(),
        Tone::Good => text.green().to_string(),
        Tone::Warning => text.yellow().to_string(),
        Tone::Bad => text.red().to_string(),
        Tone::Faint => text.dimmed().to_string(),
    }
}

/// Writes a label that is `label_width` wide, and a text behind it in as many lines as it takes, below each other.
fn write_wrapped(output: &mut impl Write, label: &str, label_width: usize, text: &str, width: usize) -> io::Result<()> {
    const ROOM_MIN: usize = 20;
    let indent = label_width + 1;
    let room = width.saturating_sub(indent).max(ROOM_MIN);
    for (number, line) in lines(text, room).iter().enumerate() {
        match number {
            0 => writeln!(output, "{label} {line}")?,
            _ => writeln!(output, "{:indent$}{line}", "")?,
        }
    }
    Ok(())
}

/// The text in lines of at most `room` characters, broken at blanks; longer words stay whole.
fn lines(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    // What stands in names of fields must not end a line of ours.
    for word in text.split(|one: char| one.is_whitespace() || one.is_control()).filter(|word| !word.is_empty()) {
        let has_room =
            lines.last().is_none_or(|line| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= room);
        if !has_room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_go_on_below_each_other() {
        let mut written = Vec::new();
        write_wrapped(&mut written, "  -", 3, "one two three\u{1b} four_and_a_very_long_word_of_its_own five", 24)
            .unwrap();
        let expected = "  - one two three\n    four_and_a_very_long_word_of_its_own\n    five\n";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
        assert_eq!(lines("", 10), [""]);
    }
}
