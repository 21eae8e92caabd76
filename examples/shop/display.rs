//! What is shown: events as they come, and the table at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anstream::println;
use async_trait::async_trait;
use bson::Bson;
use changeling::event::Event;
use changeling::parity::{self, Judgement, Tone, Verdict};
use changeling::sink::{Sink, SinkError, Undelivered};
use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use owo_colors::{AnsiColors, OwoColorize};

use crate::connector::Figures;
use crate::deed::Deed;

/// The width of the table of figures in characters.
const WIDTH: usize = 130;

/// A sink that prints events. It shows how small a sink of one's own can be.
pub struct Screen;

#[async_trait]
impl Sink for Screen {
    async fn open(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered> {
        events.iter().for_each(|event| show(event));
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A line for an event that rules made, and none for one of the outbox: each would be there twice.
fn show(event: &Event) {
    if event.explicit.is_some() {
        return;
    }
    const DATA_CHARACTERS_MAX: usize = 110;
    let subject = event.subject.as_deref().unwrap_or(&event.partition_key);
    let data = bson::Document::try_from(event.data.as_ref()).unwrap_or_default();
    let fields: Vec<String> = data.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
    let mut line: String = fields.join("  ").chars().take(DATA_CHARACTERS_MAX + 1).collect();
    if line.chars().count() > DATA_CHARACTERS_MAX {
        line.pop();
        line.push('…');
    }
    let name = format!("{:<22}", event.name);
    println!(
        "{} {} {:<29} {}",
        clock(event.time).dimmed(),
        name.color(color(&event.collection)).bold(),
        subject,
        line.dimmed()
    );
}

/// The time of day in UTC.
fn clock(time: bson::DateTime) -> String {
    let milliseconds = time.timestamp_millis().rem_euclid(24 * 60 * 60 * 1_000);
    let (seconds, rest) = (milliseconds / 1_000, milliseconds % 1_000);
    format!("{:02}:{:02}:{:02}.{rest:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn plain(value: &Bson) -> String {
    match value {
        Bson::String(text) => text.clone(),
        Bson::ObjectId(id) => id.to_hex(),
        Bson::DateTime(time) => clock(*time),
        Bson::Array(values) => format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Bson::Document(document) => {
            let fields: Vec<String> = document.iter().map(|(_, value)| plain(value)).collect();
            fields.join(" ")
        }
        other => other.to_string(),
    }
}

fn color(collection: &str) -> AnsiColors {
    match collection {
        "orders" => AnsiColors::Green,
        "carts" => AnsiColors::Cyan,
        "stock" => AnsiColors::Yellow,
        "products" => AnsiColors::Magenta,
        _ => AnsiColors::Blue,
    }
}

/// One line of the comparison.
struct Row {
    name: String,
    performed: u64,
    explicit: u64,
    inferred: u64,
    remark: String,
    agrees: bool,
}

/// Prints the operations of the shop beside their events: those that it wrote down itself, and those that rules inferred. True if each
/// operation has its explicit event, and every kind that can be inferred agrees.
pub fn compare(performed: &BTreeMap<Deed, u64>, events: &Figures) -> bool {
    let mut rows: Vec<Row> = performed.keys().map(|deed| row(*deed, performed, events)).collect();
    let names: BTreeSet<&String> = events.inferred.keys().chain(events.explicit.keys()).collect();
    for name in names {
        if !performed.keys().any(|deed| deed.to_string() == *name) {
            let count = |counts: &BTreeMap<String, u64>| counts.get(name).copied().unwrap_or(0);
            let (explicit, inferred) = (count(&events.explicit), count(&events.inferred));
            let remark = "the shop did no such thing".to_owned();
            rows.push(Row { name: name.clone(), performed: 0, explicit, inferred, remark, agrees: false });
        }
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["business operation", "performed", "outbox", "inferred", ""]);
    let figure = |count: u64| Cell::new(count).set_alignment(CellAlignment::Right);
    for row in &rows {
        let color = if row.agrees { Color::Green } else { Color::Red };
        table.add_row([
            Cell::new(&row.name),
            figure(row.performed),
            figure(row.explicit).fg(if row.explicit == row.performed { Color::Green } else { Color::Red }),
            figure(row.inferred).fg(color),
            Cell::new(&row.remark),
        ]);
    }
    let total = |count: fn(&Row) -> u64| figure(rows.iter().map(count).sum());
    let (performed, explicit) = (total(|row| row.performed), total(|row| row.explicit));
    table.add_row([Cell::new("all"), performed, explicit, total(|row| row.inferred), Cell::new("")]);
    println!("\n{table}\n");
    rows.iter().all(|row| row.agrees)
}

fn row(deed: Deed, performed: &BTreeMap<Deed, u64>, events: &Figures) -> Row {
    let name = deed.to_string();
    let own = performed.get(&deed).copied().unwrap_or(0);
    let alike =
        performed.iter().filter(|(other, _)| other.looks_like() == Some(deed)).map(|(_, count)| count).sum::<u64>();
    let inferred = events.inferred.get(&name).copied().unwrap_or(0);
    let explicit = events.explicit.get(&name).copied().unwrap_or(0);
    let (remark, agrees) = match deed.unseen_because() {
        _ if explicit != own => ("not every one was relayed".to_owned(), false),
        Some(reason) => (reason.to_owned(), inferred == 0),
        None if own + alike != inferred => ("differs".to_owned(), false),
        None if alike > 0 => (format!("{alike} of the inferred were something else"), true),
        None => (String::new(), true),
    };
    Row { name, performed: own, explicit, inferred, remark, agrees }
}

/// Prints how well the inferred events agree with those of the outbox, and for every type that rules do not know as well, why.
pub fn judge(figures: &parity::Figures) {
    println!("{}", parity::painted_table(figures, WIDTH, &paint));
    for one in &figures.types {
        let Judgement { verdict, reasons } = &one.judgement;
        if matches!(verdict, Verdict::InferWithCare | Verdict::NeedsAnOutbox) {
            let reason = reasons.first().map_or("", String::as_str);
            println!("{} {}: {reason}", one.name.bold(), paint(verdict.tone(), verdict.as_str()));
        }
    }
    for verdict in [Verdict::SafeToInfer, Verdict::Unknown] {
        let count = figures.types.iter().filter(|one| one.judgement.verdict == verdict).count();
        println!("{count} of {} types: {}", figures.types.len(), paint(verdict.tone(), verdict.as_str()));
    }
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
