//! A report with everything in it, and what it looks like: compared with the files in tests/data/parity, which
//! `CHANGELING_UPDATE=1 cargo test --bin changeling parity` writes anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use changeling::app::Relaying;
use changeling::parity::{Confusion, Difference, FailingShape, Figures, Judgement, TypeFigures, Verdict};
use changeling::position::ClusterTime;
use changeling::rules::replay::Account;

use super::super::account::ReadSummary;
use super::super::history::Origin;
use super::report::{Report, Sides};
use super::{page, terminal};

fn of(name: &str, counts: [u64; 4], verdict: Verdict, reasons: &[&str]) -> TypeFigures {
    let [matched_count, different_count, missing_count, extra_count] = counts;
    let pairs = (matched_count + different_count) as f64;
    let of_all = |others: u64| (pairs + others as f64 > 0.0).then(|| pairs / (pairs + others as f64));
    TypeFigures {
        name: name.to_owned(),
        is_compared: true,
        is_inferred: true,
        explicit_count: matched_count + different_count + missing_count,
        inferred_count: matched_count + different_count + extra_count,
        matched_count,
        different_count,
        missing_count,
        extra_count,
        precision: of_all(extra_count),
        recall: of_all(missing_count),
        lag_ms: (pairs > 0.0).then_some(0.0),
        judgement: Judgement { verdict, reasons: reasons.iter().map(|one| (*one).to_owned()).collect() },
        ..TypeFigures::default()
    }
}

fn shape(kind: &'static str, shape: &str, count: u64, shared_with: &[(&str, u64)]) -> FailingShape {
    let shared_with = shared_with.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    FailingShape { kind, shape: shape.to_owned(), count, shared_with }
}

/// A shop with some of every verdict, and a name that is not kind.
fn figures() -> Figures {
    let cancelled = TypeFigures {
        shapes: vec![
            shape(
                "extra",
                "update of shop.orders: cancelledAt, status (status: value 1 -> value 2)",
                58,
                &[("OrderCancelledByTheShop", 55)],
            ),
            shape("extra", "update of shop.orders: status", 3, &[]),
        ],
        differences: vec![Difference { path: "reason".to_owned(), what: "only explicit".to_owned(), count: 42 }],
        ..of(
            "OrderCancelledByTheCustomer",
            [0, 42, 0, 61],
            Verdict::NeedsAnOutbox,
            &[
                "58 events extra behind the very shape of change that OrderCancelledByTheShop left too: update of shop.orders: cancelledAt, status (status: value 1 -> value 2)",
                "61 of 103 inferred events extra (59 %)",
                "the data of 42 of 42 pairs differ: reason (only explicit)",
            ],
        )
    };
    let by_the_shop = TypeFigures {
        is_inferred: false,
        explicit_names: vec!["order.cancelled-by-shop".to_owned()],
        shapes: vec![shape(
            "missing",
            "update of shop.orders: cancelledAt, status (status: value 1 -> value 2)",
            55,
            &[("OrderCancelledByTheCustomer", 42)],
        )],
        ..of(
            "OrderCancelledByTheShop",
            [0, 0, 55, 0],
            Verdict::NeedsAnOutbox,
            &["no rule makes it", "55 of 55 explicit events missing (100 %)"],
        )
    };
    let shipped = TypeFigures {
        differences: vec![
            Difference { path: "parcels.*.weight".to_owned(), what: "int and double".to_owned(), count: 12 },
            Difference { path: "<b>carrier</b>".to_owned(), what: "other value".to_owned(), count: 1 },
        ],
        lag_ms: Some(1_240.0),
        ..of(
            "OrderShipped",
            [387, 13, 0, 0],
            Verdict::InferWithCare,
            &["the data of 13 of 400 pairs differ: parcels.*.weight (int and double), <b>carrier</b> (other value)"],
        )
    };
    Figures {
        types: vec![
            cancelled,
            by_the_shop,
            of("OrderPaid", [11_904, 0, 0, 0], Verdict::SafeToInfer, &["11904 pairs, all alike"]),
            of("OrderPlaced", [12_000, 0, 0, 0], Verdict::SafeToInfer, &["12000 pairs, all alike"]),
            shipped,
            of("RefundIssued", [2, 0, 0, 0], Verdict::Unknown, &["2 events decided so far; 20 tell something"]),
            TypeFigures { name: "StockTaken".to_owned(), inferred_count: 24_001, ..TypeFigures::default() },
        ],
        matrix: matrix(),
        given_up_count: 7,
        ..Figures::default()
    }
}

fn matrix() -> Vec<Confusion> {
    let cell = |explicit: Option<&str>, inferred: Option<&str>, count| Confusion {
        explicit: explicit.map(str::to_owned),
        inferred: inferred.map(str::to_owned),
        count,
    };
    let (customer, shop, shipped) = ("OrderCancelledByTheCustomer", "OrderCancelledByTheShop", "OrderShipped");
    vec![
        cell(Some("OrderPlaced"), Some("OrderPlaced"), 12_000),
        cell(Some("OrderPaid"), Some("OrderPaid"), 11_904),
        cell(Some(shipped), Some(shipped), 400),
        cell(Some(customer), Some(customer), 42),
        cell(Some(shop), Some(customer), 55),
        cell(Some("RefundIssued"), Some("RefundIssued"), 2),
        cell(Some(shipped), None, 3),
        cell(None, Some(customer), 6),
    ]
}

fn with_report(test: impl FnOnce(&Report<'_>)) {
    let time = |seconds| ClusterTime { seconds, increment: 1 };
    let mut account = Account::default();
    account.changes_count = 61_204;
    account.times = Some((time(1_767_225_600), time(1_767_312_000)));
    let (relaying, figures) = (Relaying::default(), figures());
    let read = ReadSummary::new(&Origin::Database, &account, Duration::from_secs(2), true);
    let mut report = Report::new(read, &account, &relaying, &figures, true, false);
    report.sides = Sides {
        explicit_events: 24_460,
        inferred_events: 48_412,
        relays: vec!["shop.outbox".to_owned(), "shop.orders".to_owned()],
        rule_count: 6,
    };
    // There are no rules and no relays here, and so notes that say so.
    report.notes.drain(..2);
    test(&report);
}

fn assert_golden(name: &str, found: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parity").join(name);
    if std::env::var_os("CHANGELING_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "--- expected\n{expected}\n--- found\n{found}\n\nIf that is right: CHANGELING_UPDATE=1");
}

#[test]
fn the_terminal_shows_the_whole_report_at_eighty_columns_and_at_more() {
    with_report(|report| {
        for width in [80, 140] {
            let mut written = Vec::new();
            terminal::print(&mut written, report, width, 1).unwrap();
            let text = anstream::adapter::strip_str(&String::from_utf8(written).unwrap()).to_string();
            let fits = |line: &str| line.chars().count() <= width || line.contains("read in");
            assert!(text.lines().all(fits), "{text}");
            assert_golden(&format!("terminal-{width}.txt"), &text);
            if width == 80 {
                let (_, table) = text.split_once("\n\n").unwrap();
                assert!(include_str!("../../../docs/parity.md").contains(table), "docs/parity.md shows:\n{table}");
            }
        }
    });
}

#[test]
fn the_page_shows_the_whole_report_and_fetches_nothing() {
    with_report(|report| {
        let page = page::page(report, 5);
        assert_golden("page.html", &page);
        assert!(page.contains("&lt;b&gt;carrier&lt;/b&gt;") && !page.contains("<b>carrier"), "names are no markup");
        for word in ["http:", "https:", "<script", "src=", "url(", "@import", "<link"] {
            assert!(!page.contains(word), "{word} is in the page");
        }
        assert!(page.contains("default-src 'none'"));
    });
}

#[test]
fn programs_read_the_same_report() {
    with_report(|report| assert_golden("report.json", &(serde_json::to_string_pretty(report).unwrap() + "\n")));
}
