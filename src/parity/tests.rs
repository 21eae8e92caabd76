//! The comparison as a whole: logs of changes with their events, told to it in order.

use std::sync::Arc;

use bson::{Document, RawDocumentBuf, Timestamp, doc};

use super::*;
use crate::change::{Batch, Change, Entry};
use crate::event::{Event, EventId, EventOrigin, Evidence, Explicit, Payload};
use crate::position::ClusterTime;
use crate::quantity::Period;

fn settings() -> ParitySettings {
    ParitySettings { window: Period::seconds(30), ..ParitySettings::default() }
}

fn see<T>(change: &Document, look: impl FnOnce(&Change<'_>) -> T) -> T {
    let raw = RawDocumentBuf::try_from(change).unwrap();
    let batch = Batch::from_documents([&*raw], None);
    let Some(Ok(Entry::Change(change))) = batch.entries().next() else { panic!("a change") };
    look(&change)
}

fn event(name: &str, key: &str, data: Document, ordinal: u32) -> Event {
    Event {
        id: EventId::new(&EventOrigin {
            cluster_time: ClusterTime::default(),
            operation_index: 0,
            database: "shop",
            collection: "orders",
            key: key.as_bytes(),
            rule: name,
            ordinal,
        }),
        name: name.into(),
        rule: name.into(),
        database: "shop".into(),
        collection: "orders".into(),
        subject: None,
        time: bson::DateTime::from_millis(0),
        partition_key: key.to_owned(),
        sequence: String::new(),
        evidence: Evidence::Exact,
        transaction: None,
        rule_set: None,
        to: None,
        data: RawDocumentBuf::try_from(&data).unwrap(),
        explicit: None,
    }
}

/// A log of changes with their events, told to a comparison, and as often as wished to another one after a restart.
struct Log {
    parity: Parity,
    /// Everything that was told: time, transaction, change, whether it was relayed, events.
    told: Vec<(Document, bool, Vec<Event>)>,
    seconds: u32,
    transaction: i64,
    ordinal: u32,
}

impl Log {
    fn new(settings: &ParitySettings) -> Self {
        Self { parity: Parity::new(settings), told: Vec::new(), seconds: 1_000, transaction: 0, ordinal: 0 }
    }

    /// Runs on by so many seconds.
    fn wait(&mut self, seconds: u32) -> &mut Self {
        self.seconds += seconds;
        self
    }

    fn events(&mut self, events: &[(&str, &str)], is_explicit: bool) -> Vec<Event> {
        let make = |(name, key): &(&str, &str)| {
            self.ordinal += 1;
            Event {
                explicit: is_explicit.then(|| Box::new(Explicit::default())),
                time: bson::DateTime::from_millis(i64::from(self.seconds) * 1_000),
                ..event(name, key, doc! {"key": *key}, self.ordinal)
            }
        };
        events.iter().map(make).collect()
    }

    fn tell(&mut self, mut change: Document, is_relayed: bool, is_transaction: bool, events: Vec<Event>) {
        change.insert("clusterTime", Timestamp { time: self.seconds, increment: 1 });
        if is_transaction {
            change.insert("lsid", doc! {"id": 1});
            change.insert("txnNumber", self.transaction);
        }
        see(&change, |change| self.parity.note(change, is_relayed, &events));
        self.told.push((change, is_relayed, events));
    }

    /// A transaction of an update and an insert into the outbox.
    fn commit(&mut self, updated: Document, inferred: &[(&str, &str)], explicit: &[(&str, &str)]) -> &mut Self {
        self.seconds += 1;
        self.transaction += 1;
        let inferred = self.events(inferred, false);
        if !updated.is_empty() {
            self.tell(update(updated), false, true, inferred);
        }
        let explicit = self.events(explicit, true);
        self.tell(insert(), true, true, explicit);
        self
    }

    /// An update outside of any transaction.
    fn update(&mut self, updated: Document, inferred: &[(&str, &str)]) -> &mut Self {
        self.seconds += 1;
        let inferred = self.events(inferred, false);
        self.tell(update(updated), false, false, inferred);
        self
    }

    /// An insert into the outbox outside of any transaction.
    fn record(&mut self, explicit: &[(&str, &str)]) -> &mut Self {
        self.seconds += 1;
        let explicit = self.events(explicit, true);
        self.tell(insert(), true, false, explicit);
        self
    }

    fn end(&mut self) -> Figures {
        self.parity.finish();
        self.parity.figures(true)
    }
}

fn update(updated: Document) -> Document {
    doc! {
        "operationType": "update", "ns": {"db": "shop", "coll": "orders"}, "documentKey": {"_id": 1},
        "updateDescription": {"updatedFields": updated, "removedFields": []},
    }
}

fn insert() -> Document {
    doc! {
        "operationType": "insert", "ns": {"db": "shop", "coll": "outbox"}, "documentKey": {"_id": 1}, "fullDocument": {"_id": 1},
    }
}

/// Matched, different, missing, extra.
fn counts(figures: &Figures, name: &str) -> [u64; 4] {
    let found = figures.types.iter().find(|one| one.name == name);
    let one = found.unwrap_or_else(|| panic!("no {name} in {figures:?}"));
    [one.matched_count, one.different_count, one.missing_count, one.extra_count]
}

fn cells(figures: &Figures) -> Vec<String> {
    let word = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    let cells = figures.matrix.iter();
    cells.map(|cell| format!("{} {} {}", word(&cell.explicit), word(&cell.inferred), cell.count)).collect()
}

#[test]
fn events_of_one_transaction_pair_by_type_and_key_in_their_order() {
    let mut log = Log::new(&settings());
    log.commit(
        doc! {"status": "paid"},
        &[("Paid", "1"), ("Paid", "2"), ("Paid", "2")],
        &[("Paid", "2"), ("Paid", "1"), ("Paid", "2")],
    );
    log.commit(doc! {"status": "sent"}, &[("Sent", "1")], &[("Sent", "2")]);
    let figures = log.end();
    assert_eq!(counts(&figures, "Paid"), [3, 0, 0, 0]);
    assert_eq!(counts(&figures, "Sent"), [0, 0, 1, 1]);
    let sent = figures.types.iter().find(|one| one.name == "Sent").unwrap();
    assert_eq!((sent.other_key_count, sent.precision, sent.recall), (1, Some(0.0), Some(0.0)));
    assert_eq!(figures.pending_count, 0);
}

#[test]
fn what_the_application_writes_outside_of_transactions_pairs_within_the_window_whichever_comes_first() {
    let mut log = Log::new(&settings());
    log.update(doc! {"status": "paid"}, &[("Paid", "1")]).wait(4).record(&[("Paid", "1")]);
    log.record(&[("Paid", "2")]).wait(28).update(doc! {"status": "paid"}, &[("Paid", "2")]);
    log.update(doc! {"status": "paid"}, &[("Paid", "3")]).wait(31).record(&[("Paid", "3")]);
    let figures = log.end();
    assert_eq!(counts(&figures, "Paid"), [2, 0, 1, 1]);
    // One lagged by five seconds, one led by twenty-nine.
    let lag = figures.types[0].lag_ms.unwrap();
    assert!((-32_000.0..=-26_000.0).contains(&lag), "{lag}");
}

#[test]
fn an_event_of_a_transaction_is_decided_at_its_end_once_its_type_has_paired_in_one() {
    let mut log = Log::new(&settings());
    log.commit(doc! {"status": "paid"}, &[], &[("Paid", "1")]).wait(1);
    log.parity.pass(ClusterTime { seconds: log.seconds, increment: 1 });
    assert_eq!(log.parity.pending_count(), 1, "nobody knows yet that it comes in one transaction");
    log.commit(doc! {"status": "paid"}, &[("Paid", "2")], &[("Paid", "2")]);
    log.commit(doc! {"status": "paid"}, &[], &[("Paid", "3")]).wait(1);
    log.parity.pass(ClusterTime { seconds: log.seconds, increment: 1 });
    assert_eq!(log.parity.pending_count(), 1);
    assert_eq!(counts(&log.parity.figures(true), "Paid"), [1, 0, 1, 0]);
    // What was committed is known to have ended, without a later change.
    log.commit(doc! {"status": "paid"}, &[("Paid", "4")], &[("Paid", "4")]);
    log.parity.caught_up();
    assert_eq!(counts(&log.parity.figures(true), "Paid"), [2, 0, 1, 0]);
}

#[test]
fn a_type_is_compared_from_its_first_explicit_event_on() {
    let mut log = Log::new(&settings());
    for _ in 0..3 {
        log.commit(doc! {"status": "paid"}, &[("Noted", "1")], &[("Paid", "1")]);
    }
    let figures = log.parity.figures(false);
    assert!(!figures.types[0].is_compared);
    log.wait(40).commit(doc! {"note": 1}, &[("Noted", "1")], &[("Noted", "1")]);
    log.wait(40).commit(doc! {"note": 1}, &[("Noted", "1")], &[]);
    let figures = log.end();
    assert_eq!(counts(&figures, "Noted"), [1, 0, 0, 1]);
    assert_eq!(figures.types[0].inferred_count, 5);
    assert_eq!(figures.types[1].judgement.verdict, Verdict::InferWithCare, "{:?}", figures.types[1]);
}

#[test]
fn an_event_that_is_taken_for_another_is_a_confusion() {
    let mut log = Log::new(&settings());
    let cancel = doc! {"status": "cancelled"};
    for key in ["1", "2", "3"] {
        log.commit(cancel.clone(), &[("Cancelled", key)], &[("Cancelled", key)]);
    }
    log.commit(cancel.clone(), &[("Cancelled", "4")], &[("Refused", "4")]);
    log.commit(doc! {"status": "sent"}, &[("Sent", "5")], &[("Sent", "5")]);
    let figures = log.end();
    assert_eq!(counts(&figures, "Cancelled"), [3, 0, 0, 1]);
    assert_eq!(counts(&figures, "Refused"), [0, 0, 1, 0]);
    assert_eq!(cells(&figures), ["Cancelled Cancelled 3", "Refused Cancelled 1", "Sent Sent 1"]);
    let [cancelled, refused, sent] = figures.types.as_slice() else { panic!("{figures:?}") };
    let shape = "update of shop.orders: status (status: ? -> cancelled)";
    assert_eq!(
        refused.shapes,
        [FailingShape {
            kind: "missing",
            shape: shape.to_owned(),
            count: 1,
            shared_with: vec![("Cancelled".to_owned(), 3)]
        }]
    );
    assert_eq!(cancelled.shapes[0].shared_with, [("Refused".to_owned(), 1)]);
    for one in [cancelled, refused] {
        assert_eq!(one.judgement.verdict, Verdict::NeedsAnOutbox, "{one:?}");
    }
    assert_eq!(sent.judgement.verdict, Verdict::Unknown);
    let hidden = log.parity.figures(false).types[1].shapes[0].shape.clone();
    assert_eq!(hidden, "update of shop.orders: status (status: ? -> value 1)");
}

#[test]
fn a_confusion_is_found_in_the_window_too_and_gone_where_the_other_finds_its_partner() {
    let mut log = Log::new(&settings());
    log.update(doc! {"status": "cancelled"}, &[("Cancelled", "1")]).record(&[("Cancelled", "1")]);
    log.update(doc! {"status": "cancelled"}, &[("Cancelled", "2")]).record(&[("Refused", "2")]);
    // The explicit event waits longer, and has its partner in the end.
    log.record(&[("Refused", "3")]).wait(29).update(doc! {"status": "cancelled"}, &[("Cancelled", "3")]);
    log.wait(20).record(&[("Cancelled", "3")]);
    let figures = log.end();
    assert_eq!(counts(&figures, "Cancelled"), [2, 0, 0, 1]);
    assert_eq!(counts(&figures, "Refused"), [0, 0, 2, 0]);
    assert_eq!(cells(&figures), ["Cancelled Cancelled 2", "Refused Cancelled 1", "Refused - 1"]);
    // The shape is that of the change that it was found beside.
    let refused = &figures.types[1];
    assert!(refused.shapes.iter().any(|shape| shape.shape.contains("cancelled") && !shape.shared_with.is_empty()));
    assert!(refused.shapes.iter().any(|shape| shape.shape.starts_with("not known")));
}

#[test]
fn types_that_come_together_share_no_shape_and_an_event_without_any_change_is_a_proof() {
    let mut log = Log::new(&settings());
    for key in ["1", "2"] {
        log.commit(doc! {"status": "paid"}, &[("Paid", key)], &[("Paid", key), ("Invoiced", key)]);
    }
    log.commit(doc! {}, &[], &[("Reminded", "1")]);
    let figures = log.end();
    let [invoiced, paid, reminded] = figures.types.as_slice() else { panic!("{figures:?}") };
    assert_eq!(paid.judgement.verdict, Verdict::Unknown);
    assert_eq!((invoiced.missing_count, invoiced.judgement.verdict), (2, Verdict::InferWithCare));
    assert!(invoiced.shapes[0].shared_with.is_empty());
    assert_eq!(reminded.judgement.verdict, Verdict::NeedsAnOutbox);
    assert!(reminded.judgement.reasons[0].contains("no change"), "{reminded:?}");
}

#[test]
fn pairs_with_other_data_are_different_and_say_where() {
    let settings = ParitySettings { ignore: vec!["at".to_owned()], ..settings() };
    let mut log = Log::new(&settings);
    log.seconds += 1;
    let explicit =
        |data: Document, ordinal| Event { explicit: Some(Box::default()), ..event("Paid", "1", data, ordinal) };
    let change = update(doc! {"status": "paid"});
    let text = Explicit { payload: Payload::Text(r#"{"total": 5, "at": 3}"#.to_owned()), ..Explicit::default() };
    let events = vec![
        event("Paid", "1", doc! {"total": 5, "at": 1}, 1),
        event("Paid", "1", doc! {"total": 5, "by": "ann", "at": 1}, 2),
        event("Paid", "1", doc! {"total": 5.0}, 3),
        explicit(doc! {"total": 5_i64, "at": 2}, 4),
        explicit(doc! {"total": 6, "at": 2}, 5),
        Event { explicit: Some(Box::new(text)), ..event("Paid", "1", doc! {}, 6) },
    ];
    log.tell(change, false, false, events);
    let figures = log.end();
    assert_eq!(counts(&figures, "Paid"), [2, 1, 0, 0]);
    let differences: Vec<String> =
        figures.types[0].differences.iter().map(|one| format!("{} {} {}", one.path, one.what, one.count)).collect();
    assert_eq!(differences, ["by only inferred 1", "total other value 1"]);
    assert_eq!((figures.types[0].precision, figures.types[0].recall), (Some(1.0), Some(1.0)));
}

#[test]
fn an_alias_and_the_rules_in_force_decide_what_is_compared() {
    let settings = ParitySettings {
        types: [("order.paid".to_owned(), "Paid".to_owned()), ("order.sent".to_owned(), "Sent".to_owned())].into(),
        ..settings()
    };
    let mut log = Log::new(&settings);
    let names: [Arc<str>; 2] = ["Paid".into(), "Sent".into()];
    assert!(!log.parity.expect("a", &names));
    log.commit(
        doc! {"status": "paid"},
        &[("Paid", "1"), ("Sent", "1")],
        &[("order.paid", "1"), ("order.audited", "1")],
    );
    log.parity.caught_up();
    assert_eq!(
        log.parity.pending_count(),
        1,
        "no rule makes an audited order; a sent one is compared from the beginning"
    );
    let figures = log.end();
    assert_eq!(counts(&figures, "Paid"), [1, 0, 0, 0]);
    assert_eq!(counts(&figures, "Sent"), [0, 0, 0, 1]);
    assert_eq!(counts(&figures, "order.audited"), [0, 0, 1, 0]);
    assert_eq!(figures.types[0].explicit_names, ["order.paid"]);
    assert!(!figures.types.iter().any(|one| one.name == "order.paid"));
    // Figures are of one rule set.
    assert!(!log.parity.expect("a", &names));
    assert!(log.parity.expect("b", &names));
    assert_eq!(counts(&log.parity.figures(true), "Paid"), [0, 0, 0, 0]);
}

#[test]
fn memory_is_bounded_and_what_is_given_up_is_counted() {
    let mut log = Log::new(&settings());
    for number in 0..25_000 {
        let key = number.to_string();
        log.seconds = 1_000;
        log.record(&[("Paid", &key)]);
        log.told.clear();
    }
    let figures = log.parity.figures(true);
    assert_eq!((figures.pending_count, figures.given_up_count), (20_000, 5_000));
    assert!(log.parity.save().len() < 3 << 20);
    log.parity.cut();
    let figures = log.parity.figures(true);
    assert_eq!((figures.pending_count, figures.given_up_count), (0, 25_000));
}

#[test]
fn one_large_transaction_is_given_up_as_a_whole() {
    let mut log = Log::new(&settings());
    let keys: Vec<String> = (0..6_000).map(|number| number.to_string()).collect();
    let events: Vec<(&str, &str)> = keys.iter().map(|key| ("Paid", key.as_str())).collect();
    log.commit(doc! {"status": "paid"}, &events, &events);
    log.commit(doc! {"status": "paid"}, &[("Paid", "x")], &[("Paid", "x")]);
    let figures = log.end();
    assert_eq!((counts(&figures, "Paid"), figures.given_up_count), ([1, 0, 0, 0], 12_000));
}

/// Everything that may happen, in a mixture that is the same every time.
fn busy(log: &mut Log) {
    for number in 0..300_u32 {
        let key = (number % 7).to_string();
        let key = key.as_str();
        match number * 7 % 11 {
            0 => log.commit(doc! {"status": "paid", "n": number}, &[("Paid", key)], &[("Paid", key)]),
            1 => log.commit(doc! {"status": "cancelled"}, &[("Cancelled", key)], &[("Refused", key)]),
            2 => log.commit(doc! {"status": "cancelled"}, &[("Cancelled", key)], &[("Cancelled", key)]),
            3 => log.update(doc! {"status": "sent"}, &[("Sent", key)]),
            4 => log.record(&[("Sent", key)]),
            5 => log.update(doc! {"note": format!("text {number}")}, &[("Noted", key)]),
            6 => log.commit(doc! {}, &[], &[("Reminded", key)]),
            7 => log.wait(9),
            8 => log.commit(doc! {"lines.3.n": number}, &[("Changed", key)], &[("Changed", "0"), ("Paid", key)]),
            _ => log.update(doc! {"status": "back", "by": "ann"}, &[("Returned", key)]),
        };
    }
}

#[test]
fn figures_after_a_restart_at_any_place_are_those_of_an_undisturbed_run() {
    let mut log = Log::new(&settings());
    busy(&mut log);
    let wanted = log.end();
    assert!(wanted.types.len() > 6 && wanted.pending_count == 0, "{wanted:?}");
    let mut killed = Parity::new(&settings());
    for (place, told) in log.told.iter().enumerate() {
        let note = |parity: &mut Parity, (change, is_relayed, events): &(Document, bool, Vec<Event>)| {
            see(change, |change| parity.note(change, *is_relayed, events));
        };
        note(&mut killed, told);
        if place % 3 == 0 {
            killed = Parity::restored(&settings(), &killed.save()).unwrap();
            // What was noted comes once more, back to a place where a position was saved.
            for repeated in &log.told[place.saturating_sub(place % 5)..=place] {
                note(&mut killed, repeated);
            }
        }
    }
    killed.finish();
    assert_eq!(killed.figures(true), wanted);
    assert!(killed.save().len() < 20_000, "{}", killed.save().len());
}

#[test]
fn what_was_kept_is_not_taken_for_what_it_is_not() {
    let mut log = Log::new(&settings());
    log.commit(doc! {"status": "paid"}, &[("Paid", "1")], &[("Paid", "1")]);
    let saved = log.parity.save();
    let other = ParitySettings { window: Period::seconds(31), ..settings() };
    assert_eq!(Parity::restored(&other, &saved).unwrap_err(), StateError::OtherSettings);
    assert_eq!(Parity::restored(&settings(), &saved[..saved.len() - 1]).unwrap_err(), StateError::Damaged);
    let newer = bson::serialize_to_vec(&doc! {"version": 2}).unwrap();
    assert_eq!(Parity::restored(&settings(), &newer).unwrap_err(), StateError::OtherVersion);
}

#[test]
fn a_transaction_of_which_not_every_change_was_seen_proves_nothing() {
    let mut log = Log::new(&settings());
    let mut commit = |kind: &str, seen: &[(u32, bool)]| {
        log.seconds += 1;
        log.transaction += 1;
        for (index, is_relayed) in seen {
            let events = if *is_relayed { log.events(&[(kind, "1")], true) } else { Vec::new() };
            let mut change = if *is_relayed { insert() } else { update(doc! {"status": "paid"}) };
            change.insert("clusterTime", Timestamp { time: log.seconds, increment: 1 });
            change.insert("lsid", doc! {"id": 1});
            change.insert("txnNumber", log.transaction);
            see(&change, |change| {
                let change = Change { operation_index: *index, ..*change };
                log.parity.note(&change, *is_relayed, &events);
            });
        }
    };
    commit("Reminded", &[(1, true)]);
    commit("Paid", &[(0, false), (2, true)]);
    commit("Bought", &[(0, false), (2, true)]);
    commit("Silent", &[(0, true)]);
    let figures = log.end();
    let verdicts: Vec<(&str, Verdict)> =
        figures.types.iter().map(|one| (one.name.as_str(), one.judgement.verdict)).collect();
    let care = Verdict::InferWithCare;
    assert_eq!(verdicts, [("Bought", care), ("Paid", care), ("Reminded", care), ("Silent", Verdict::NeedsAnOutbox)]);
    assert!(figures.types[1].shapes[0].shape.ends_with(" + changes of what is not watched"), "{figures:?}");
}
