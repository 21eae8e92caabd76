//! Beside a published pattern matcher: quamina finds which of many patterns a JSON event matches. Of our job it can do this part:
//! which rules on inserts hold for the new document. Both get the same document, in the form that is native to them (raw BSON,
//! JSON text); turning the one into the other is not counted. Compared is what both do: to name the rules. What it costs us to make
//! the events of these rules as well stands beside it.
//!
//! Run with `cargo bench --bench matching`. It fails if both do not agree on what matches.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf, Timestamp, doc};
use changeling::change::{Batch, Change, Entry};
use changeling::rules::{self, Outcome, RuleSet};
use changeling::yaml::SourceFile;
use quamina::Quamina;

const RULE_COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];
/// Measurements of every cell; the fastest counts, as the one least disturbed.
const ROUND_COUNT: usize = 7;
const ROUND_TIME: Duration = Duration::from_millis(60);

fn main() {
    println!("nanoseconds per document of about 1 KB, by number of rules\n");
    print!("{:<44}{:<12}", "the document", "");
    RULE_COUNTS.iter().for_each(|count| print!("{count:>9}"));
    println!("{:>12}", "compile, ms");
    for (name, status, tier) in [("matches no rule", "lost", "none"), ("matches one rule", "status-6", "gold")] {
        let document = order(status, tier);
        let json = serde_json::to_vec(&bson::Bson::Document(document.clone()).into_relaxed_extjson())
            .expect("the document is JSON");
        let change = insert(&document);
        let batch = Batch::from_documents([&*change], None);
        let entry = batch.entries().next().expect("there is one change").expect("it is a change");
        let Entry::Change(change) = &entry else { panic!("an insert is a change") };
        let cells: Vec<Cell> = RULE_COUNTS.iter().map(|&count| cell(count, change, &json)).collect();
        row(name, "changeling", cells.iter().map(|cell| cell.ours), cells.last().map(|cell| cell.our_compile_ms));
        row("", "  and events", cells.iter().map(|cell| cell.with_events), None);
        row("", "quamina", cells.iter().map(|cell| cell.theirs), cells.last().map(|cell| cell.their_compile_ms));
        print!("{:<56}", "  quamina / changeling");
        cells.iter().for_each(|cell| print!("{:>9.2}", cell.theirs / cell.ours));
        println!();
        for cell in &cells {
            assert!(cell.ours < cell.theirs, "{name}: slower than quamina");
        }
    }
}

fn row(name: &str, engine: &str, figures: impl Iterator<Item = f64>, compile_ms: Option<f64>) {
    print!("{name:<42}{engine:<14}");
    figures.for_each(|nanoseconds| print!("{nanoseconds:>9.0}"));
    println!("{:>12}", compile_ms.map(|time| format!("{time:.0}")).unwrap_or_default());
}

struct Cell {
    ours: f64,
    with_events: f64,
    theirs: f64,
    our_compile_ms: f64,
    their_compile_ms: f64,
}

fn cell(count: usize, change: &Change<'_>, json: &[u8]) -> Cell {
    let text = rule_file(count);
    let begun = Instant::now();
    let reading = rules::read(&[SourceFile { name: "rules.yaml".to_owned(), text }]);
    assert!(!reading.diagnostics.has_errors(), "{}", reading.diagnostics.render());
    let set = RuleSet::compile(reading.rules);
    let our_compile_ms = begun.elapsed().as_secs_f64() * 1e3;
    let begun = Instant::now();
    let mut patterns = Quamina::<usize>::new();
    for number in 0..count {
        patterns.add_pattern(number, &pattern(number)).expect("the pattern is one");
    }
    let their_compile_ms = begun.elapsed().as_secs_f64() * 1e3;
    let mut outcome = Outcome::default();
    set.apply(change, &mut outcome);
    let mut matched = patterns.matches_for_event(json).expect("the document is JSON");
    matched.sort_unstable();
    let fired: Vec<String> = outcome.events.iter().map(|event| event.rule.to_string()).collect();
    assert_eq!(fired, matched.iter().map(|number| format!("Rule{number}")).collect::<Vec<_>>());
    let mut names = Vec::new();
    let ours = fastest(|| {
        names.clear();
        set.find_holding(black_box(change), &mut names);
    });
    assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), fired);
    let with_events = fastest(|| {
        outcome.clear();
        set.apply(black_box(change), &mut outcome);
    });
    let theirs = fastest(|| drop(black_box(patterns.matches_for_event(black_box(json)))));
    Cell { ours, with_events, theirs, our_compile_ms, their_compile_ms }
}

fn fastest(mut once: impl FnMut()) -> f64 {
    let mut fastest = f64::MAX;
    for _ in 0..ROUND_COUNT {
        let (start, mut count) = (Instant::now(), 0_u32);
        while start.elapsed() < ROUND_TIME {
            (0..100).for_each(|_| once());
            count += 100;
        }
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(count));
    }
    fastest
}

/// Every rule waits for a status of its own; every other one for a customer's tier as well, and every third for a currency. (Not
/// for one of several values, and not for a number above a bound: more than 255 such patterns make quamina 0.7.0 panic.)
fn rule_file(count: usize) -> String {
    let mut text = "version: 1\ndefaults: {collection: shop.orders, on: insert}\nrules:\n".to_owned();
    for number in 0..count {
        text.push_str(&format!("  - event: Rule{number}\n    where: {{$.after.status: status-{number}"));
        if number.is_multiple_of(2) {
            text.push_str(", $.after.customer.tier: gold");
        }
        if number.is_multiple_of(3) {
            text.push_str(", $.after.currency: EUR");
        }
        text.push_str("}\n");
    }
    text
}

fn pattern(number: usize) -> String {
    let mut pattern = format!("{{\"status\": [\"status-{number}\"]");
    if number.is_multiple_of(2) {
        pattern.push_str(", \"customer\": {\"tier\": [\"gold\"]}");
    }
    if number.is_multiple_of(3) {
        pattern.push_str(", \"currency\": [\"EUR\"]");
    }
    pattern.push('}');
    pattern
}

fn order(status: &str, tier: &str) -> Document {
    let items: Vec<Document> =
        (0..6_i32).map(|n| doc! {"sku": format!("sku-{n:05}"), "qty": n + 1, "price": f64::from(n) * 1.25}).collect();
    let mut order = doc! {
        "_id": 7,
        "status": status,
        "customer": {"name": "Ada Lovelace", "tier": tier, "address": {"city": "London", "street": "St James's Square 12"}},
        "total": 129.5,
        "currency": "EUR",
        "items": items,
    };
    for number in 0..16 {
        order.insert(format!("attribute{number:02}"), format!("value {number}"));
    }
    order
}

fn insert(document: &Document) -> RawDocumentBuf {
    let change = doc! {
        "_id": {"_data": "8263A1B2C3000000052B022C0100296E5A1004"},
        "operationType": "insert",
        "clusterTime": Timestamp { time: 0x63A1_B2C3, increment: 5 },
        "wallTime": bson::DateTime::from_millis(1_671_541_443_000),
        "ns": {"db": "shop", "coll": "orders"},
        "documentKey": {"_id": 7},
        "fullDocument": document,
    };
    RawDocumentBuf::try_from(&change).expect("the change is small")
}
