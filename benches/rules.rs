//! The rule engine alone, on recorded changes of documents of about 1 KB: nanoseconds per change with 10 to 10,000 rules, and
//! allocations per change that fires nothing (which must be none).
//!
//! Run with `cargo bench --bench rules`. Trust the ratios, not the absolute figures: the cost with 10,000 rules stands beside that
//! with 10 in the same run.

#![allow(clippy::print_stdout)]

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use changeling::change::{Batch, Change, Entry};
use changeling::rules::ast::{Operations, Rule, Transition, When, Where};
use changeling::rules::{FieldPath, Matcher, NamespacePattern, Outcome, Query, RuleSet, Template, TextTemplate};
use changeling::yaml::SourceFile;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RULE_COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];
/// Measurements of every cell; the fastest counts, as the one least disturbed.
const ROUND_COUNT: usize = 7;
const ROUND_TIME: Duration = Duration::from_millis(60);

fn main() {
    by_number_of_rules();
    of_elements();
}

fn by_number_of_rules() {
    let cases = cases();
    let sets: Vec<RuleSet> = RULE_COUNTS.iter().map(|&count| RuleSet::compile(rules(count))).collect();
    println!("nanoseconds per change, by number of rules (documents of {} bytes)\n", order("new", 1).as_bytes().len());
    print!("{:<44}", "change");
    RULE_COUNTS.iter().for_each(|count| print!("{count:>9}"));
    println!("{:>11}{:>8}{:>13}", "10,000/10", "events", "allocations");
    for (name, change) in &cases {
        let batch = Batch::from_documents([&**change], None);
        let entry = batch.entries().next().expect("there is one change").expect("it is a change");
        let Entry::Change(change) = &entry else { panic!("{name} is no change") };
        let figures: Vec<Figures> = sets.iter().map(|set| measure(set, change)).collect();
        print!("{name:<44}");
        figures.iter().for_each(|figures| print!("{:>9.0}", figures.nanoseconds));
        let (first, last) = (&figures[0], &figures[figures.len() - 1]);
        println!("{:>11.2}{:>8}{:>13}", last.nanoseconds / first.nanoseconds, last.events, last.allocations);
        if last.events == 0 {
            assert!(
                figures.iter().all(|figures| figures.allocations == 0),
                "{name}: a change that fires nothing allocates"
            );
        }
    }
}

/// `each` over 50 elements: the rule that it concerns alone, and all three together.
fn of_elements() {
    let each = |is: &str, more: &str| {
        format!(
            "- {{event: Item{is}, collection: shop.orders, each: {{path: items, key: sku, is: {is}{more}}}, data: {{sku: $.item.sku}}}}\n"
        )
    };
    let (added, removed) = (each("added", ""), each("removed", ""));
    let changed = each("changed", ", when: {qty: increased}");
    let values = "- {event: ValueAdded, collection: shop.orders, each: {path: items, is: added}}\n".to_owned();
    let sets = [added.clone(), removed.clone(), changed.clone(), added + &removed + &changed, values];
    let sets = sets.map(|rules| RuleSet::compile(read(&rules)));
    let size = cart(0..50, None).as_bytes().len();
    println!("\nnanoseconds per change, `each` over 50 elements (documents of {size} bytes)\n");
    println!(
        "{:<44}{:>9}{:>9}{:>9}{:>9}{:>9}{:>8}{:>13}",
        "change", "added", "removed", "changed", "all 3", "no key", "events", "allocations"
    );
    for (name, change) in &element_cases() {
        let batch = Batch::from_documents([&**change], None);
        let entry = batch.entries().next().expect("there is one change").expect("it is a change");
        let Entry::Change(change) = &entry else { panic!("{name} is no change") };
        let figures: Vec<Figures> = sets.iter().map(|set| measure(set, change)).collect();
        print!("{name:<44}");
        figures.iter().for_each(|figures| print!("{:>9.0}", figures.nanoseconds));
        println!("{:>8}{:>13}", figures[3].events, figures[3].allocations);
        for figures in figures.iter().filter(|figures| figures.events == 0) {
            assert_eq!(figures.allocations, 0, "{name}: a change that fires nothing allocates");
        }
    }
}

fn read(rules: &str) -> Vec<Rule> {
    let text = format!("version: 1\nrules:\n{rules}");
    let reading = changeling::rules::read(&[SourceFile { name: "bench.yaml".to_owned(), text }]);
    assert!(!reading.diagnostics.has_errors(), "{}", reading.diagnostics.render());
    reading.rules
}

/// A cart with an item for each number; one may have another quantity.
fn cart(numbers: impl IntoIterator<Item = i32>, raised: Option<i32>) -> RawDocumentBuf {
    let item = |number: i32| {
        let quantity = if raised == Some(number) { 9 } else { 1 };
        doc! {"sku": format!("sku-{number:05}"), "qty": quantity, "price": f64::from(number) * 1.25, "note": "gift wrap"}
    };
    let items: Vec<Document> = numbers.into_iter().map(item).collect();
    let cart = doc! {"_id": bson::oid::ObjectId::from_bytes([7; 12]), "customer": "Ada Lovelace", "items": items, "version": 1};
    RawDocumentBuf::try_from(&cart).expect("the document is small")
}

fn element_cases() -> Vec<(&'static str, RawDocumentBuf)> {
    let whole = || cart(0..50, None);
    let items = |cart: &RawDocumentBuf| cart.get_array("items").expect("there is one").to_owned();
    let update = |updated: Document, before: Option<RawDocumentBuf>, after: Option<RawDocumentBuf>| {
        let image = |image: RawDocumentBuf| Bson::try_from(bson::RawBson::Document(image)).expect("it is a document");
        let mut change = change("update");
        change.insert("updateDescription", doc! {"updatedFields": updated, "removedFields": [], "truncatedArrays": []});
        change.extend(before.map(|before| ("fullDocumentBeforeChange".to_owned(), image(before))));
        change.extend(after.map(|after| ("fullDocument".to_owned(), image(after))));
        change
    };
    let set = |after: &RawDocumentBuf| {
        let items = Bson::try_from(bson::RawBson::Array(items(after))).expect("it is an array");
        doc! {"items": items}
    };
    let pushed = cart(0..51, None);
    let item = doc! {"sku": "sku-00050", "qty": 1, "price": 62.5, "note": "gift wrap"};
    let (front, popped) = (cart((50..51).chain(0..50), None), cart(1..50, None));
    let (raised, turned) = (cart(0..50, Some(25)), cart((0..50).rev(), None));
    let cases = [
        ("another field", update(doc! {"version": 2}, Some(whole()), Some(whole()))),
        ("one raised", update(doc! {"items.25.qty": 9}, Some(whole()), Some(raised.clone()))),
        ("one raised, whole array written", update(set(&raised), Some(whole()), Some(raised.clone()))),
        ("one raised, no image after", update(doc! {"items.25.qty": 9}, Some(whole()), None)),
        ("one pushed", update(doc! {"items.50": item.clone()}, Some(whole()), Some(pushed.clone()))),
        ("one pushed, no image after", update(doc! {"items.50": item.clone()}, Some(whole()), None)),
        ("one pushed, no image before", update(doc! {"items.50": item}, None, Some(pushed))),
        ("one pushed in front", update(set(&front), Some(whole()), Some(front.clone()))),
        ("the first popped", update(set(&popped), Some(whole()), Some(popped.clone()))),
        ("turned round", update(set(&turned), Some(whole()), Some(turned.clone()))),
        ("replace, turned round", with_document("replace", Some(whole()), turned)),
        ("replace, nothing differs", with_document("replace", Some(whole()), whole())),
    ];
    cases.map(|(name, change)| (name, RawDocumentBuf::try_from(&change).expect("the change is small"))).into()
}

struct Figures {
    nanoseconds: f64,
    events: usize,
    allocations: usize,
}

fn measure(set: &RuleSet, change: &Change<'_>) -> Figures {
    let mut outcome = Outcome::default();
    set.apply(change, &mut outcome);
    let events = outcome.events.len() + outcome.undecided.len();
    let mut once = || {
        outcome.clear();
        set.apply(black_box(change), &mut outcome);
    };
    once();
    let region = Region::new(ALLOCATOR);
    once();
    let counted = region.change();
    let mut fastest = f64::MAX;
    for _ in 0..ROUND_COUNT {
        let (start, mut count) = (Instant::now(), 0_u32);
        while start.elapsed() < ROUND_TIME {
            (0..100).for_each(|_| once());
            count += 100;
        }
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(count));
    }
    Figures { nanoseconds: fastest, events, allocations: counted.allocations + counted.reallocations }
}

fn order(status: &str, version: i64) -> RawDocumentBuf {
    let items: Vec<Document> =
        (0..6_i32).map(|n| doc! {"sku": format!("sku-{n:05}"), "qty": n + 1, "price": f64::from(n) * 1.25}).collect();
    let mut order = doc! {
        "_id": bson::oid::ObjectId::from_bytes([7; 12]),
        "status": status,
        "customer": {"name": "Ada Lovelace", "address": {"city": "London", "street": "St James's Square 12", "zip": "SW1Y"}},
        "total": 129.5,
        "currency": "EUR",
        "items": items,
        "createdAt": bson::DateTime::from_millis(1_700_000_000_000),
    };
    for number in 0..16 {
        order.insert(format!("attribute{number:02}"), format!("value {number}"));
    }
    order.insert("updatedAt", bson::DateTime::from_millis(1_700_000_000_000 + version));
    order.insert("version", version);
    RawDocumentBuf::try_from(&order).expect("the document is small")
}

fn change(operation: &str) -> Document {
    doc! {
        "_id": {"_data": "8263A1B2C3000000052B022C0100296E5A1004"},
        "operationType": operation,
        "clusterTime": Timestamp { time: 0x63A1_B2C3, increment: 5 },
        "wallTime": bson::DateTime::from_millis(1_671_541_443_000),
        "ns": {"db": "shop", "coll": "orders"},
        "documentKey": {"_id": bson::oid::ObjectId::from_bytes([7; 12])},
    }
}

fn update(status: Option<&str>, images: Option<(&str, &str)>) -> Document {
    let mut updated = doc! {"updatedAt": bson::DateTime::from_millis(1_700_000_000_002), "version": 2_i64};
    if let Some(status) = status {
        updated.insert("status", status);
    }
    let mut change = change("update");
    change.insert("updateDescription", doc! {"updatedFields": updated, "removedFields": [], "truncatedArrays": []});
    let image = |status: &str, version| {
        Bson::try_from(bson::RawBson::Document(order(status, version))).expect("it is a document")
    };
    if let Some((before, after)) = images {
        change.insert("fullDocumentBeforeChange", image(before, 1));
        change.insert("fullDocument", image(after, 2));
    }
    change
}

fn with_document(operation: &str, before: Option<RawDocumentBuf>, after: RawDocumentBuf) -> Document {
    let image = |document| Bson::try_from(bson::RawBson::Document(document)).expect("it is a document");
    let mut change = change(operation);
    if let Some(before) = before {
        change.insert("fullDocumentBeforeChange", image(before));
    }
    change.insert("fullDocument", image(after));
    change
}

fn cases() -> Vec<(&'static str, RawDocumentBuf)> {
    let mut elsewhere = update(Some("paid"), Some(("new", "paid")));
    elsewhere.insert("ns", doc! {"db": "shop", "coll": "sessions"});
    let cases = [
        ("update, collection of no rule", elsewhere),
        ("update, fields of no rule", update(None, Some(("new", "new")))),
        ("update, field of rules, none fires", update(Some("lost"), Some(("new", "lost")))),
        ("update without images, none fires", update(Some("lost"), None)),
        ("replace, fields of no rule", with_document("replace", Some(order("new", 1)), order("new", 2))),
        ("replace, field of rules, none fires", with_document("replace", Some(order("new", 1)), order("lost", 2))),
        ("insert, none fires", with_document("insert", None, order("lost", 1))),
        ("update, fires", update(Some("paid"), Some(("new", "paid")))),
        ("replace, fires", with_document("replace", Some(order("new", 1)), order("paid", 2))),
        ("insert, fires", with_document("insert", None, order("new", 1))),
    ];
    cases.map(|(name, change)| (name, RawDocumentBuf::try_from(&change).expect("the change is small"))).into()
}

/// Ten rules on orders (transitions of `status` and `total`, inserts with conditions), the others half on other fields of orders
/// and half on other collections.
fn rules(count: usize) -> Vec<Rule> {
    let becomes = |from: &str, to: &str| Transition::Becomes {
        from: Some(Matcher::Equals(from.into())),
        to: Some(Matcher::Equals(to.into())),
    };
    let mut rules = vec![
        rule("OrderPaid", Some(("status", becomes("new", "paid"))), None),
        rule("OrderSent", Some(("status", becomes("paid", "sent"))), None),
        rule("OrderCancelled", Some(("status", becomes("new", "cancelled"))), None),
        rule("OrderReturned", Some(("status", becomes("sent", "returned"))), None),
        rule("BigOrderPaid", Some(("status", becomes("new", "paid"))), Some(("$.after.total", 1_000))),
        rule("OrderRepriced", Some(("total", Transition::Changed)), None),
        rule("CustomerMoved", Some(("customer.address", Transition::Changed)), None),
        rule("ItemsChanged", Some(("items", Transition::Changed)), None),
        on_insert(rule("OrderPlaced", None, Some(("$.after.status", 0)))),
        on_insert(rule("BigOrderPlaced", None, Some(("$.after.total", 1_000)))),
    ];
    for number in rules.len()..count {
        let (id, field) = (format!("Rule{number}"), format!("field{number}"));
        let mut other = rule(&id, Some((&field, Transition::Changed)), None);
        if number % 2 == 0 {
            other.collections =
                vec![NamespacePattern { database: "shop".into(), collection: format!("collection{}", number / 20) }];
        }
        rules.push(other);
    }
    rules
}

fn on_insert(rule: Rule) -> Rule {
    Rule { operations: Operations { insert: true, update: false, delete: false }, ..rule }
}

fn rule(id: &str, when: Option<(&str, Transition)>, filter: Option<(&str, i32)>) -> Rule {
    let path = |text: &str| FieldPath::parse(text).expect("the path is one");
    let query = |text: &str| Query::parse(text).expect("the query is one");
    let value = |text: &str| Template::Path { query: query(text), default: None, required: false };
    let matcher = |bound: i32| match bound {
        0 => Matcher::Equals("new".into()),
        bound => Matcher::Compare(changeling::rules::Comparison::GreaterOrEqual, bound.into()),
    };
    let collections = vec![NamespacePattern { database: "shop".into(), collection: "orders".into() }];
    let operations = Operations { insert: false, update: true, delete: false };
    Rule {
        when: when.map(|(text, transition)| When::Field(path(text), Box::new(transition))),
        filter: filter.map(|(text, bound)| Where::Matches(query(text), matcher(bound))),
        data: Template::Map(vec![("orderId".into(), value("$.key._id")), ("total".into(), value("$.after.total"))]),
        subject: Some(TextTemplate::parse("order/{$.key._id}").expect("the text is one")),
        ..Rule::new(id, collections, operations)
    }
}
