//! What is shown: events as they come, and the table at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anstream::println;
use async_trait::async_trait;
use changeling::event::Event;
use changeling::sink::{Sink, SinkError, Undelivered};
use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use owo_colors::{AnsiColors, OwoColorize};

use crate::deed::Deed;

/// How often each event has come, by name.
pub type Figures = Arc<Mutex<BTreeMap<String, u64>>>;

/// A sink that prints events and counts them. It shows how small a sink of one's own can be.
pub struct Screen {
    pub figures: Figures,
    pub quiet: bool,
}

#[async_trait]
impl Sink for Screen {
    async fn open(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered> {
        for event in events {
            if !self.quiet {
                show(event);
            }
            let mut figures = self.figures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *figures.entry(event.name.to_string()).or_default() += 1;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn show(event: &Event) {
    let time = event.time.try_to_rfc3339_string().unwrap_or_default();
    let clock: String = time.chars().skip(11).take(12).collect();
    let subject = event.subject.as_deref().unwrap_or(&event.partition_key);
    let data = bson::Document::try_from(event.data.as_ref()).unwrap_or_default().to_string();
    let name = format!("{:<22}", event.name);
    println!("{} {} {:<28} {}", clock.dimmed(), name.color(color(&event.collection)).bold(), subject, data.dimmed());
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
