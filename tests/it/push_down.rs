//! What the server leaves out, and in how many streams it is asked, makes no difference to any event.

use std::collections::{HashMap, hash_map};
use std::sync::Arc;

use bson::{Document, doc};
use changeling::change::{Batch, Entry};
use changeling::explicit::{Noted, RelaySettings, Relays};
use changeling::metrics::Metrics;
use changeling::mongo_client;
use changeling::namespace::Namespace;
use changeling::position::{ClusterTime, Start};
use changeling::rules::{NamespacePattern, Outcome, RuleSet, Translation};
use changeling::secret::Secret;
use changeling::source::{ChangeStreamSource, Plan, Scope, Source, SourceSettings, StreamCount};
use mongodb::{Client, Database};
use serde_json::json;

use crate::support::chance::Chance;
use crate::support::random_rules::{parted_rule_set, rule_set};
use crate::support::random_writes;
use crate::support::{PATIENCE, free_name};

/// Random writes, and rule sets that are tried on them.
const WRITES: usize = 2_500;
const RULE_SETS: usize = 30;

/// A database with a history.
struct History {
    client: Client,
    name: String,
    start: ClusterTime,
    end: ClusterTime,
}

impl History {
    async fn write(chance: &mut Chance) -> Self {
        let server = changeling_servers::shared().await.unwrap();
        let client = mongo_client::connect(&Secret::new(server.uri())).await.unwrap();
        let name = free_name("push_down");
        let database = client.database(&name);
        random_writes::prepare(&database).await;
        let start = now(&database).await;
        random_writes::write(&client, &database, chance, WRITES).await;
        let end = now(&database).await;
        Self { client, name, start, end }
    }

    /// Everything that a plan gives, in batches; opened again at a random place after `percent` of the batches.
    async fn read(&self, plan: &Plan, chance: &mut Chance, percent: u64) -> Vec<Batch> {
        let mut source = self.source(plan);
        source.open(&Start::At(self.start)).await.unwrap();
        let mut batches = Vec::new();
        let mut position = None;
        loop {
            let mut batch = tokio::time::timeout(PATIENCE, source.next()).await.unwrap().unwrap();
            if chance.happens(percent) && !batch.is_empty() {
                // As after a crash: a part of the batch was settled, and reading goes on after its last change.
                let rest = batch.split_off(1 + chance.below(batch.len()));
                position = batch.end.clone().or(position);
                source = self.source(plan);
                source.open(&Start::Resume(position.clone().expect("a change was read"))).await.unwrap();
                drop(rest);
            }
            position = batch.end.clone().or(position);
            let is_done = batch.is_empty() && position.as_ref().is_some_and(|position| position.time >= self.end);
            batches.push(batch);
            if is_done {
                return batches;
            }
        }
    }

    fn source(&self, plan: &Plan) -> ChangeStreamSource {
        let settings = serde_json::json!({"uri": "unused", "await_time": "20ms", "batch_size": 300});
        let settings: SourceSettings = serde_json::from_value(settings).unwrap();
        ChangeStreamSource::new(self.client.clone(), &settings, plan.clone(), Arc::new(Metrics::new().unwrap()))
    }

    fn plan(&self, rules: &RuleSet, relays: &[RelaySettings], streams: StreamCount) -> Plan {
        let mut watched = rules.namespaces();
        for Namespace { database, collection } in relays.iter().map(RelaySettings::collection) {
            watched.push(NamespacePattern { database: database.clone(), collection: collection.clone() });
        }
        Plan::for_rules(rules, &Relays::new(relays).unwrap(), &watched, &[], streams, true)
    }

    /// Relays of these kinds on collections that random writes know: none finds in them quite what it looks for.
    fn relays(&self, kinds: &[(&str, &str)]) -> Vec<RelaySettings> {
        let relay = |(kind, collection): &(&str, &str)| {
            let collection = format!("{}.{collection}", self.name);
            let paths = json!({"type": "$.s", "key": "$._id", "data": "$.o"});
            let settings = match *kind {
                "outbox" => json!({"collection": collection, "layout": "custom", "custom": paths}),
                "marked" => json!({"collection": collection, "layout": "custom", "custom": paths,
                    "clean_up": {"mark": {"field": "relayedAt", "keep_for": "1h"}}}),
                "embedded_outbox" => json!({"collection": collection, "path": "e", "id": "$.k", "type": "$.q"}),
                _ => json!({"collection": collection, "stream": "$.s", "version": "$.n", "type": "$.s", "data": "$.o"}),
            };
            let kind = if *kind == "marked" { "outbox" } else { kind };
            serde_json::from_value(json!({kind: settings})).unwrap()
        };
        kinds.iter().map(relay).collect()
    }
}

/// A time after everything written so far: that of a write of our own.
async fn now(database: &Database) -> ClusterTime {
    database.collection::<Document>("marks").insert_one(doc! {}).await.unwrap();
    let answer = database.run_command(doc! {"ping": 1}).await.unwrap();
    answer.get_timestamp("operationTime").unwrap().into()
}

/// What rules and relays make of batches, in words: every event in all its parts, in order; every rule that was undecided or failed;
/// and what relays found beside events.
fn told(rules: &Arc<RuleSet>, relays: &[RelaySettings], batches: &[Batch]) -> Vec<String> {
    let (mut relays, mut noted) = (Relays::new(relays).unwrap(), Noted::default());
    let mut translation = Translation::new(1 << 26);
    let mut outcome = Outcome::default();
    for batch in batches {
        for entry in batch.entries() {
            let Entry::Change(change) = entry.unwrap() else { continue };
            match relays.owns(change.database, change.collection) {
                true => translation.pass_by(&change, &mut outcome),
                false => translation.apply(rules, &change, &mut outcome),
            };
            relays.apply(&change, &mut outcome, &mut noted);
        }
        if translation.open_at().is_some_and(|time| batch.ends(time)) {
            translation.end(&mut outcome);
        }
    }
    assert!(!translation.is_open(), "every transaction has an end");
    let events = outcome.events.iter().map(|event| format!("{event:?}"));
    let undecided = outcome.undecided.iter().map(|undecided| format!("{undecided:?}"));
    let failed = outcome.failed.iter().map(|failed| format!("{failed:?}"));
    events.chain(undecided).chain(failed).chain([format!("{noted:?}")]).collect()
}

fn database_scope(name: &str) -> Scope {
    Scope::covering(&[NamespacePattern { database: name.to_owned(), collection: "*".to_owned() }], &[])
}

fn bytes(batches: &[Batch]) -> usize {
    batches
        .iter()
        .map(|batch| {
            (0..batch.len()).filter_map(|one| batch.document(one)).map(|one| one.as_bytes().len()).sum::<usize>()
        })
        .sum()
}

fn assert_same(whole: &[String], other: &[String], what: &str, text: &str, seed: u64) {
    if let Some(index) = (0..whole.len().max(other.len())).find(|index| whole.get(*index) != other.get(*index)) {
        panic!(
            "{what}: entry {index} of {} and {} differs (seed {seed})\n{:?}\n{:?}\n{text}",
            whole.len(),
            other.len(),
            whole.get(index),
            other.get(index)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_rules_on_random_changes_give_the_same_events_whatever_the_server_leaves_out() {
    let (mut chance, seed) = Chance::seeded();
    let history = History::write(&mut chance).await;
    let mut read_whole: HashMap<(bool, bool), Vec<Batch>> = HashMap::new();
    let (mut told_count, mut two_count, mut sent, mut all) = (0, 0, 0, 0);
    for number in 0..RULE_SETS {
        let (rules, text) = match number % 3 {
            0 => parted_rule_set(&history.name, &mut chance),
            _ => rule_set(&history.name, &mut chance),
        };
        let rules = Arc::new(rules);
        let needs = rules.image_needs_of_all();
        if let hash_map::Entry::Vacant(place) = read_whole.entry((needs.before, needs.after)) {
            let plan = Plan::new(database_scope(&history.name), needs);
            place.insert(history.read(&plan, &mut chance, 0).await);
        }
        let unfiltered = &read_whole[&(needs.before, needs.after)];
        let whole = told(&rules, &[], unfiltered);
        let plan = history.plan(&rules, &[], StreamCount::One);
        let pushed_down = history.read(&plan, &mut chance, 0).await;
        assert_same(&whole, &told(&rules, &[], &pushed_down), "pushed down", &text, seed);
        (told_count, sent, all) = (told_count + whole.len(), sent + bytes(&pushed_down), all + bytes(unfiltered));
        let plan = history.plan(&rules, &[], StreamCount::Two);
        if plan.streams().len() == 2 {
            two_count += 1;
            let merged = history.read(&plan, &mut chance, 0).await;
            assert_same(&whole, &told(&rules, &[], &merged), "two streams", &text, seed);
            let restarted = history.read(&plan, &mut chance, 30).await;
            assert_same(
                &told(&rules, &[], &merged),
                &told(&rules, &[], &restarted),
                "two streams, restarted",
                &text,
                seed,
            );
        }
    }
    assert!(told_count > 1_000 && sent < all, "{told_count} entries, {sent} bytes of {all}");
    assert!(two_count > 0, "no rule set was read by two streams");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_beside_random_rules_give_the_same_events_whatever_the_server_leaves_out() {
    let (mut chance, seed) = Chance::seeded();
    let history = History::write(&mut chance).await;
    let (mut relayed_count, mut two_count, mut sent, mut all) = (0, 0, 0, 0);
    for kinds in [
        &[("outbox", "one")][..],
        &[("marked", "one"), ("event_store", "two")],
        &[("embedded_outbox", "one")],
        &[("outbox", "one"), ("embedded_outbox", "two"), ("event_store", "three")],
        &[("outbox", "one"), ("marked", "two"), ("embedded_outbox", "three"), ("event_store", "plain")],
    ] {
        let relays = history.relays(kinds);
        for number in 0..4 {
            let (rules, text) = match number {
                0 => (RuleSet::default(), String::new()),
                1 => parted_rule_set(&history.name, &mut chance),
                _ => rule_set(&history.name, &mut chance),
            };
            let (rules, text) = (Arc::new(rules), format!("{kinds:?}\n{text}"));
            let needs = rules.image_needs_of_all().or(Relays::new(&relays).unwrap().image_needs_of_all());
            let unfiltered = history.read(&Plan::new(database_scope(&history.name), needs), &mut chance, 0).await;
            let whole = told(&rules, &relays, &unfiltered);
            let plan = history.plan(&rules, &relays, StreamCount::One);
            let pushed_down = history.read(&plan, &mut chance, 0).await;
            assert_same(&whole, &told(&rules, &relays, &pushed_down), "pushed down", &text, seed);
            relayed_count += whole.iter().filter(|told| told.contains("explicit: Some(")).count();
            (sent, all) = (sent + bytes(&pushed_down), all + bytes(&unfiltered));
            let plan = history.plan(&rules, &relays, StreamCount::Two);
            if plan.streams().len() == 2 {
                two_count += 1;
                let merged = history.read(&plan, &mut chance, 0).await;
                assert_same(&whole, &told(&rules, &relays, &merged), "two streams", &text, seed);
            }
        }
    }
    assert!(relayed_count > 100 && sent < all, "{relayed_count} explicit events, {sent} bytes of {all}");
    assert!(two_count > 0, "no rule set was read by two streams");
}
