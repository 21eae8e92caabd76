//! `each` on a real server: whichever operator writes an array, the same effect gives the same events.

use bson::{Bson, Document, bson, doc};
use changeling::change::{Change, Image, Operation};
use changeling::rules::{self, Outcome, RuleSet};
use changeling::yaml::SourceFile;
use mongodb::Collection;
use mongodb::options::UpdateModifications;

use crate::support::{IMAGES, Stream, free_name};

/// A write that has the effect.
enum Write {
    Update(UpdateModifications),
    /// To the element that the filter finds, by `$`.
    Positional(Document, Document),
    /// With `arrayFilters`.
    Filtered(Document, Document),
    Replace,
    /// Reads the document, sets its array and writes it back whole.
    Save,
    Delete,
}

/// What several writes do to the array, and the events that each of them must give: `+sku@index`, `-sku@index`, `~sku@index`.
struct Effect {
    name: &'static str,
    after: Option<Vec<Bson>>,
    events: &'static str,
    writes: Vec<Write>,
}

fn item(sku: &str, quantity: i32) -> Bson {
    bson!({"sku": sku, "qty": quantity, "note": "as it was"})
}

fn before() -> Vec<Bson> {
    vec![item("a", 1), item("b", 1), item("c", 1)]
}

fn update(update: Document) -> Write {
    Write::Update(update.into())
}

fn pipeline(items: Bson) -> Write {
    Write::Update(vec![doc! {"$set": {"items": items}}].into())
}

/// The writes that know nothing of arrays, beside those given.
fn effect(name: &'static str, after: Vec<Bson>, events: &'static str, mut writes: Vec<Write>) -> Effect {
    writes.push(update(doc! {"$set": {"items": after.clone()}}));
    writes.extend([Write::Replace, Write::Save]);
    Effect { name, after: Some(after), events, writes }
}

fn with(more: &[Bson]) -> Vec<Bson> {
    before().into_iter().chain(more.iter().cloned()).collect()
}

fn additions() -> Vec<Effect> {
    let (d, e) = (item("d", 1), item("e", 1));
    vec![
        effect(
            "an element is appended",
            with(std::slice::from_ref(&d)),
            "+d@3",
            vec![
                update(doc! {"$push": {"items": d.clone()}}),
                update(doc! {"$push": {"items": {"$each": [d.clone()]}}}),
                update(doc! {"$addToSet": {"items": d.clone()}}),
                update(doc! {"$set": {"items.3": d.clone()}}),
                pipeline(bson!({"$concatArrays": ["$items", [d.clone()]]})),
            ],
        ),
        effect(
            "two elements are appended",
            with(&[d.clone(), e.clone()]),
            "+d@3 +e@4",
            vec![
                update(doc! {"$push": {"items": {"$each": [d.clone(), e.clone()]}}}),
                update(doc! {"$addToSet": {"items": {"$each": [d.clone(), item("a", 1), e.clone()]}}}),
                pipeline(bson!({"$concatArrays": ["$items", [d.clone(), e]]})),
            ],
        ),
        effect(
            "an element is put in front",
            vec![d.clone(), item("a", 1), item("b", 1), item("c", 1)],
            "+d@0",
            vec![
                update(doc! {"$push": {"items": {"$each": [d.clone()], "$position": 0}}}),
                pipeline(bson!({"$concatArrays": [[d.clone()], "$items"]})),
            ],
        ),
        effect(
            "an element is pushed in and the first falls out",
            vec![item("b", 1), item("c", 1), d.clone()],
            "-a@0 +d@2",
            vec![
                update(doc! {"$push": {"items": {"$each": [d.clone()], "$slice": -3}}}),
                pipeline(bson!({"$slice": [{"$concatArrays": ["$items", [d.clone()]]}, -3]})),
            ],
        ),
        effect(
            "an element is sorted in",
            vec![d.clone(), item("c", 1), item("b", 1), item("a", 1)],
            "+d@0",
            vec![update(doc! {"$push": {"items": {"$each": [d.clone()], "$sort": {"sku": -1}}}})],
        ),
        effect(
            "an element is written past the end",
            with(&[Bson::Null, Bson::Null, d.clone()]),
            "+?@3 +?@4 +d@5",
            vec![update(doc! {"$set": {"items.5": d}})],
        ),
    ]
}

fn removals() -> Vec<Effect> {
    vec![
        effect(
            "the last element goes",
            vec![item("a", 1), item("b", 1)],
            "-c@2",
            vec![
                update(doc! {"$pop": {"items": 1}}),
                update(doc! {"$pull": {"items": {"sku": "c"}}}),
                update(doc! {"$pullAll": {"items": [item("c", 1)]}}),
                update(doc! {"$push": {"items": {"$each": [], "$slice": 2}}}),
                pipeline(bson!({"$slice": ["$items", 2]})),
            ],
        ),
        effect(
            "the first element goes",
            vec![item("b", 1), item("c", 1)],
            "-a@0",
            vec![
                update(doc! {"$pop": {"items": -1}}),
                update(doc! {"$pull": {"items": {"sku": "a"}}}),
                pipeline(bson!({"$filter": {"input": "$items", "cond": {"$ne": ["$$this.sku", "a"]}}})),
            ],
        ),
        effect(
            "two elements go",
            vec![item("b", 1)],
            "-a@0 -c@2",
            vec![
                update(doc! {"$pull": {"items": {"sku": {"$in": ["a", "c"]}}}}),
                pipeline(bson!({"$filter": {"input": "$items", "cond": {"$eq": ["$$this.sku", "b"]}}})),
            ],
        ),
        effect(
            "all elements go",
            vec![],
            "-a@0 -b@1 -c@2",
            vec![
                update(doc! {"$unset": {"items": 1}}),
                update(doc! {"$set": {"items": null}}),
                update(doc! {"$rename": {"items": "former"}}),
                update(doc! {"$pull": {"items": {"qty": 1}}}),
                Write::Update(vec![doc! {"$unset": "items"}].into()),
            ],
        ),
        Effect { name: "the document is deleted", after: None, events: "-a@0 -b@1 -c@2", writes: vec![Write::Delete] },
    ]
}

fn alterations() -> Vec<Effect> {
    let raised = |sku: &str| bson!({"$map": {"input": "$items", "in": {"$cond": [{"$eq": ["$$this.sku", sku]}, {"$mergeObjects": ["$$this", {"qty": 5}]}, "$$this"]}}});
    vec![
        effect(
            "a field of one element changes",
            vec![item("a", 1), item("b", 5), item("c", 1)],
            "~b@1",
            vec![
                update(doc! {"$set": {"items.1.qty": 5}}),
                update(doc! {"$inc": {"items.1.qty": 4}}),
                update(doc! {"$set": {"items.1": item("b", 5)}}),
                Write::Positional(doc! {"items.sku": "b"}, doc! {"$set": {"items.$.qty": 5}}),
                Write::Filtered(doc! {"$set": {"items.$[one].qty": 5}}, doc! {"one.sku": "b"}),
                pipeline(raised("b")),
            ],
        ),
        effect(
            "a field of every element changes",
            vec![item("a", 3), item("b", 3), item("c", 3)],
            "~a@0 ~b@1 ~c@2",
            vec![
                update(doc! {"$inc": {"items.$[].qty": 2}}),
                update(doc! {"$set": {"items.0.qty": 3, "items.1.qty": 3, "items.2.qty": 3}}),
                pipeline(bson!({"$map": {"input": "$items", "in": {"$mergeObjects": ["$$this", {"qty": 3}]}}})),
            ],
        ),
        effect(
            "an element changes and moves",
            vec![item("c", 5), item("a", 1), item("b", 1)],
            "~c@0",
            vec![pipeline(bson!({"$concatArrays": [[item("c", 5)], {"$slice": ["$items", 2]}]}))],
        ),
        effect(
            "elements only move",
            vec![item("c", 1), item("b", 1), item("a", 1)],
            "",
            vec![
                update(doc! {"$push": {"items": {"$each": [], "$sort": {"sku": -1}}}}),
                pipeline(bson!({"$reverseArray": "$items"})),
            ],
        ),
        effect(
            "another element takes the place of one",
            vec![item("a", 1), item("x", 1), item("c", 1)],
            "-b@1 +x@1",
            vec![
                update(doc! {"$set": {"items.1": item("x", 1)}}),
                update(doc! {"$set": {"items.1.sku": "x"}}),
                Write::Positional(doc! {"items.sku": "b"}, doc! {"$set": {"items.$": item("x", 1)}}),
            ],
        ),
    ]
}

fn document(id: i32, items: Option<&Vec<Bson>>) -> Document {
    let mut document = doc! {"_id": id, "much": "x".repeat(300), "former": null};
    if let Some(items) = items {
        document.insert("items", items.clone());
    }
    document
}

async fn write(carts: &Collection<Document>, id: i32, effect: &Effect, write: &Write) {
    let filter = doc! {"_id": id};
    match write {
        Write::Update(update) => drop(carts.update_one(filter, update.clone()).await.unwrap()),
        Write::Positional(element, update) => {
            let mut filter = filter;
            filter.extend(element.clone());
            carts.update_one(filter, update.clone()).await.unwrap();
        }
        Write::Filtered(update, element) => {
            carts.update_one(filter, update.clone()).array_filters([element.clone()]).await.unwrap();
        }
        Write::Replace => {
            carts.replace_one(filter, document(id, effect.after.as_ref())).await.unwrap();
        }
        Write::Save => {
            let mut found = carts.find_one(filter.clone()).await.unwrap().unwrap();
            found.insert("items", effect.after.clone());
            carts.replace_one(filter, found).await.unwrap();
        }
        Write::Delete => drop(carts.delete_one(filter).await.unwrap()),
    }
}

fn rule_set(namespace: &str) -> RuleSet {
    let text = format!(
        "version: 1
defaults: {{collection: {namespace}, data: {{item: $.item, was: $.itemBefore, index: $.index}}}}
rules:
- {{event: Removed, each: {{path: items, key: sku, is: removed}}}}
- {{event: Added, each: {{path: items, key: sku, is: added}}}}
- {{event: Changed, each: {{path: items, key: sku, is: changed}}}}
- {{event: ValueRemoved, each: {{path: items, is: removed}}}}
- {{event: ValueAdded, each: {{path: items, is: added}}}}
"
    );
    let reading = rules::read(&[SourceFile { name: "carts.yaml".to_owned(), text }]);
    assert!(!reading.diagnostics.has_errors(), "{}", reading.diagnostics.render());
    RuleSet::compile(reading.rules)
}

/// The events of a change: rule, id and payload.
fn events(rules: &RuleSet, change: &Change<'_>) -> (Vec<(String, String, Document)>, usize) {
    let mut outcome = Outcome::default();
    rules.apply(change, &mut outcome);
    let events = outcome
        .events
        .iter()
        .map(|event| (event.name.to_string(), event.id.to_string(), Document::try_from(&*event.data).unwrap()));
    (events.collect(), outcome.undecided.len())
}

/// The events by key in short: `+d@3`.
fn in_short(events: &[(String, String, Document)]) -> String {
    let words = events.iter().filter(|(name, ..)| !name.starts_with("Value")).map(|(name, _, data)| {
        let sign = match name.as_str() {
            "Added" => '+',
            "Removed" => '-',
            _ => '~',
        };
        let sku = data.get_document("item").ok().and_then(|item| item.get_str("sku").ok()).unwrap_or("?");
        format!("{sign}{sku}@{}", data.get_i32("index").unwrap())
    });
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_same_effect_on_an_array_gives_the_same_events_whatever_wrote_it() {
    let server = changeling_servers::shared().await.unwrap();
    let database = free_name("each");
    let client = server.client().await.unwrap();
    let images = doc! {"create": "carts", "changeStreamPreAndPostImages": {"enabled": true}};
    client.database(&database).run_command(images).await.unwrap();
    let carts: Collection<Document> = client.database(&database).collection("carts");
    let namespace = format!("{database}.carts");
    let mut stream = Stream::open(&server.uri(), &[&namespace], IMAGES).await;
    let effects: Vec<Effect> = additions().into_iter().chain(removals()).chain(alterations()).collect();
    let cases: Vec<(&Effect, &Write)> =
        effects.iter().flat_map(|effect| effect.writes.iter().map(move |write| (effect, write))).collect();
    assert!(cases.len() >= 60);
    for (id, (effect, one)) in (0..).zip(&cases) {
        carts.insert_one(document(id, Some(&before()))).await.unwrap();
        write(&carts, id, effect, one).await;
    }
    stream.read(2 * cases.len()).await;
    let rules = rule_set(&namespace);
    let changes = stream.changes();
    let mut by_effect: Vec<(&str, String)> = Vec::new();
    for (id, (effect, _)) in (0..).zip(&cases) {
        let of_document: Vec<_> =
            changes.iter().filter(|change| change.id().and_then(|id| id.as_i32()) == Some(id)).collect();
        let [insert, change] = of_document.as_slice() else { panic!("{}: {} changes", effect.name, of_document.len()) };
        let what = format!("{} (case {id}): {:?}", effect.name, change.description);
        assert_eq!(in_short(&events(&rules, insert).0), "+a@0 +b@1 +c@2", "{what}");
        let (told, undecided) = events(&rules, change);
        assert_eq!((in_short(&told).as_str(), undecided), (effect.events, 0), "{what}");
        // Payloads too are the same, whatever wrote the array.
        let payloads = format!("{:?}", told.iter().map(|(name, _, data)| (name, data)).collect::<Vec<_>>());
        match by_effect.iter().find(|(name, _)| *name == effect.name) {
            Some((_, first)) => assert_eq!(payloads, *first, "{what}"),
            None => by_effect.push((effect.name, payloads)),
        }
        if change.operation == Operation::Update {
            let no_after = Change { after: Image::Unknown, ..**change };
            assert_eq!(events(&rules, &no_after), (told.clone(), 0), "without the document after it: {what}");
            let no_before = Change { before: Image::Unknown, ..**change };
            let (guessed, undecided) = events(&rules, &no_before);
            assert!(guessed.is_empty() && (undecided > 0 || told.is_empty()), "without the document before it: {what}");
        }
    }
}
