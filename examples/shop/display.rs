//! What is shown: events as they come, and the table at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use anstream::println;
use async_trait::async_trait;
use bson::Bson;
use changeling::event::Event;
use changeling::sink::{Sink, SinkError, Undelivered};
use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use owo_colors::{AnsiColors, OwoColorize};

use crate::deed::Deed;

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

fn show(event: &Event) {
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
    inferred: u64,
    remark: &'static str,
    agrees: bool,
}

/// Prints the operations of the shop beside the events inferred. True if every kind that can be inferred agrees.
pub fn compare(performed: &BTreeMap<Deed, u64>, inferred: &BTreeMap<String, u64>) -> bool {
    let mut rows: Vec<Row> = performed.iter().map(|(deed, count)| row(*deed, *count, inferred)).collect();
    for (name, count) in inferred {
        if !performed.keys().any(|deed| deed.to_string() == *name) {
            let remark = "the shop did no such thing";
            rows.push(Row { name: name.clone(), performed: 0, inferred: *count, remark, agrees: false });
        }
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["business operation", "performed", "inferred", ""]);
    for row in &rows {
        let color = if row.agrees { Color::Green } else { Color::Red };
        table.add_row([
            Cell::new(&row.name),
            Cell::new(row.performed).set_alignment(CellAlignment::Right),
            Cell::new(row.inferred).set_alignment(CellAlignment::Right).fg(color),
            Cell::new(row.remark),
        ]);
    }
    let total: u64 = rows.iter().map(|row| row.performed).sum();
    let seen: u64 = rows.iter().map(|row| row.inferred).sum();
    table.add_row([
        Cell::new("all"),
        Cell::new(total).set_alignment(CellAlignment::Right),
        Cell::new(seen).set_alignment(CellAlignment::Right),
        Cell::new(""),
    ]);
    println!("\n{table}\n");
    rows.iter().all(|row| row.agrees)
}

fn row(deed: Deed, performed: u64, inferred: &BTreeMap<String, u64>) -> Row {
    let name = deed.to_string();
    let inferred = inferred.get(&name).copied().unwrap_or(0);
    let (remark, agrees) = match deed.unseen_because() {
        Some(reason) => (reason, inferred == 0),
        None if performed == inferred => ("", true),
        None => ("differs", false),
    };
    Row { name, performed, inferred, remark, agrees }
}
