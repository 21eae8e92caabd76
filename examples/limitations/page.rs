//! A scenario and what came of it, as a text. It is the same in every run.

use std::fmt::Write;

use changeling::parity::{self, Figures, Judgement};
use comfy_table::{Cell, ContentArrangement, Table, presets};

use super::scenario::Scenario;
use super::witness::Story;

/// The width of all tables in characters: narrow enough for a terminal and for a page.
const WIDTH: u16 = 116;

/// Everything there is to say about a scenario.
pub fn render(scenario: &Scenario, story: &Story) -> String {
    let mut text = format!("{}: {}\n\n", scenario.name, scenario.title);
    text.push_str(&wrapped(&scenario.story));
    let mut table = table(["what was done", "explicit: what it was", "inferred: what the diff says"]);
    for (number, (step, told)) in scenario.steps.iter().zip(&story.steps).enumerate() {
        let does = format!("{}. {}", number + 1, step.does);
        table.add_row([does, told.explicit.lines(), told.inferred.lines()]);
    }
    let _ = writeln!(text, "\n{table}\n");
    text.push_str(&figures(&story.figures));
    if let Some(better) = &story.better_figures {
        let _ = write!(text, "\nWith better_rules, on the same changes:\n\n{}", figures(better));
    }
    text.push('\n');
    text.push_str(&wrapped(&format!("What helps: {}", scenario.helps)));
    text
}

/// The figures of parity, and each verdict with its reasons.
fn figures(figures: &Figures) -> String {
    let mut figures = figures.clone();
    // Milliseconds are not the same in every run.
    figures.types.iter_mut().for_each(|one| one.lag_ms = None);
    let mut text = parity::table(&figures, usize::from(WIDTH));
    if text.is_empty() {
        return "no event of either kind\n".to_owned();
    }
    text.push('\n');
    for one in figures.types.iter().filter(|one| !one.judgement.reasons.is_empty()) {
        let Judgement { verdict, reasons } = &one.judgement;
        text.push_str(&wrapped(&format!("{} ({}): {}", one.name, verdict.as_str(), reasons.join("; "))));
    }
    text
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(header.map(Cell::new));
    table
}

/// The text in lines that are no longer than tables are.
fn wrapped(text: &str) -> String {
    let mut wrapped = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if length > 0 && length + 1 + width > usize::from(WIDTH) {
            wrapped.push('\n');
            length = 0;
        }
        if length > 0 {
            wrapped.push(' ');
            length += 1;
        }
        wrapped.push_str(word);
        length += width;
    }
    wrapped.push('\n');
    wrapped
}
