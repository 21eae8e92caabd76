//! Clean-up and catch-up of outboxes in a simulated world: nothing is cleaned up before it has settled, no position is saved before
//! what lies before it is cleaned up, and what outboxes hold goes first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bson::{RawBson, RawDocumentBuf, rawdoc};
use changeling::checkpoint::MemoryStore;
use changeling::explicit::{
    CleanUp, Done, EmbeddedCleanUp, EmbeddedOutboxSettings, Layout, OutboxSettings, RelaySettings, Relays,
};
use changeling::failure::Disposition;
use changeling::namespace::Namespace;
use changeling::outbox::{Occasion, OutboxError, Outboxes, Scan};
use changeling::pipeline::{LaneParts, Pipeline, PipelineError, RuleSlot};
use changeling::position::Start;
use changeling::quantity::Period;
use changeling::rules::{self, RuleSet};
use changeling::sink::Sink;
use changeling::source::OnLostPosition;
use changeling::yaml::SourceFile;
use tokio::time::Instant;

use crate::pipeline::Stage;
use crate::simulated::{Act, Durable, ScriptedSink, SimulatedStore, Then, changes_before};

/// An outbox in memory.
#[derive(Default)]
pub struct MemoryOutbox {
    /// What it holds, by `_id`.
    documents: Mutex<BTreeMap<i32, RawDocumentBuf>>,
    /// The sinks in which an event must be durable before its document is cleaned up.
    sinks: Vec<Arc<Durable>>,
    pub is_away: AtomicBool,
    is_forbidden: AtomicBool,
    /// What it holds is not told: it comes with changes.
    is_silent: AtomicBool,
    occasions: Mutex<Vec<Occasion>>,
    /// Clean-ups that were tried.
    attempts_count: AtomicUsize,
}

impl MemoryOutbox {
    fn of(sinks: &[&Arc<Durable>]) -> Arc<Self> {
        Arc::new(Self { sinks: sinks.iter().map(|sink| Arc::clone(sink)).collect(), ..Self::default() })
    }

    pub fn hold(&self, ids: impl IntoIterator<Item = i32>) {
        self.documents.lock().unwrap().extend(ids.into_iter().map(|id| (id, document(id))));
    }

    pub fn ids(&self) -> BTreeSet<i32> {
        self.documents.lock().unwrap().keys().copied().collect()
    }

    fn answer(&self) -> Result<(), OutboxError> {
        let refused = || OutboxError::Refused {
            collection: "shop.outbox".to_owned(),
            reason: "the test forbids it".to_owned(),
            help: "none".to_owned(),
            source: None,
        };
        match (self.is_forbidden.load(Ordering::Relaxed), self.is_away.load(Ordering::Relaxed)) {
            (true, _) => Err(refused()),
            (false, true) => Err(OutboxError::Late { after: Duration::from_secs(1) }),
            (false, false) => Ok(()),
        }
    }
}

#[async_trait]
impl Outboxes for MemoryOutbox {
    async fn prepare(&self) -> Result<(), OutboxError> {
        self.answer()
    }

    async fn scan(&self, occasion: Occasion) -> Result<Box<dyn Scan>, OutboxError> {
        self.answer()?;
        self.occasions.lock().unwrap().push(occasion);
        let mut documents: VecDeque<_> = self.documents.lock().unwrap().values().cloned().collect();
        if self.is_silent.load(Ordering::Relaxed) {
            documents.clear();
        }
        Ok(Box::new(MemoryScan(documents)))
    }

    async fn clean_up(&self, done: &[Done]) -> Result<(), OutboxError> {
        self.attempts_count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.answer()?;
        for one in done {
            let RawBson::Int32(id) = one.document else { panic!("{one:?}") };
            assert_eq!(one.relay, 0);
            for sink in &self.sinks {
                assert!(explicit_ids(sink).contains(&id), "{id} is cleaned up and is not durable everywhere");
            }
            self.documents.lock().unwrap().remove(&id);
        }
        Ok(())
    }
}

struct MemoryScan(VecDeque<RawDocumentBuf>);

#[async_trait]
impl Scan for MemoryScan {
    async fn next(&mut self) -> Result<Vec<(usize, RawDocumentBuf)>, OutboxError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(self.0.drain(..self.0.len().min(3)).map(|document| (0, document)).collect())
    }
}

pub fn document(id: i32) -> RawDocumentBuf {
    rawdoc! {"_id": id, "aggregatetype": "Order", "aggregateid": "o1", "type": "OrderPaid", "payload": {"n": id}}
}

/// The outbox's events in a sink, in the order in which they became durable.
fn explicit_order(durable: &Durable) -> Vec<i32> {
    let events = durable.events.lock().unwrap();
    let ids = events.iter().filter_map(|event| event.explicit.as_ref()?.id.parse().ok());
    ids.collect()
}

fn explicit_ids(durable: &Durable) -> BTreeSet<i32> {
    explicit_order(durable).into_iter().collect()
}

pub fn relays() -> Relays {
    let collection = Namespace::parse("shop.outbox").unwrap();
    let settings = OutboxSettings { clean_up: CleanUp::Delete, ..OutboxSettings::new(collection, Layout::Debezium) };
    Relays::new(&[RelaySettings::Outbox(Box::new(settings))]).unwrap()
}

fn with_outbox(pipeline: Pipeline, outbox: &Arc<MemoryOutbox>) -> Pipeline {
    Pipeline { relays: relays(), outboxes: Some(outbox.clone()), ..pipeline }
}

fn well(events: &[Arc<changeling::event::Event>]) -> Act {
    Act::well(events)
}

/// An application that writes, beside orders, so many events into its outbox.
fn write(stage: &Stage, outbox: &MemoryOutbox, ids: std::ops::Range<i32>) {
    for id in ids {
        stage.log.change_order(id);
        outbox.hold([id]);
        stage.log.insert("outbox", &document(id));
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_settled_everywhere_is_cleaned_up_and_no_position_goes_before_it() {
    let slow = Arc::new(Durable::default());
    let held = Arc::new(Mutex::new(None::<Arc<MemoryOutbox>>));
    let mut store = SimulatedStore::new(MemoryStore::new());
    let watched = held.clone();
    store.check = Box::new(move |position| {
        let Some(outbox) = watched.lock().unwrap().clone() else { return };
        // Every second change is an insert into the outbox.
        let before = i32::try_from(changes_before(position) / 2).unwrap();
        let left = outbox.ids().into_iter().find(|id| *id < before);
        assert_eq!(left, None, "the position is past a document that is not cleaned up");
    });
    let stage = Stage::with_store(store);
    let outbox = MemoryOutbox::of(&[&stage.durable, &slow]);
    *held.lock().unwrap() = Some(outbox.clone());
    write(&stage, &outbox, 0..500);
    outbox.is_silent.store(true, Ordering::Relaxed);
    let mut pipeline = with_outbox(stage.pipeline(well), &outbox);
    let script =
        |events: &[Arc<changeling::event::Event>]| Act { pause: Duration::from_millis(20), ..Act::well(events) };
    let sink = Box::new(ScriptedSink::new(&slow, script)) as Box<dyn Sink>;
    pipeline.lanes.push(LaneParts { name: "slow".to_owned(), sink });
    // Hardly any room: whoever waits for whom would show.
    pipeline.settings.queue_events_max = 2;
    pipeline.settings.delivery_events_max = 2;
    pipeline.checkpoint_interval = Duration::from_millis(7);
    let task = stage.run(pipeline);
    stage.until_saved(1_000).await;
    assert!(outbox.ids().is_empty());
    assert_eq!(stage.metric("changeling_outbox_waiting"), Some(0.0));
    assert_eq!(stage.metric("changeling_outbox_cleaned_total{relay=\"shop.outbox\"}"), Some(500.0));
    stage.stop.request();
    task.await.unwrap().unwrap();
    let expected: Vec<i32> = (0..500).collect();
    assert_eq!(explicit_order(&stage.durable), expected);
    assert_eq!(explicit_order(&slow), expected);
}

#[tokio::test(start_paused = true)]
async fn the_position_waits_for_a_clean_up_that_fails_and_events_do_not() {
    let stage = Stage::with_orders(3);
    let outbox = MemoryOutbox::of(&[&stage.durable]);
    let task = stage.run(with_outbox(stage.pipeline(well), &outbox));
    stage.until_saved(3).await;
    outbox.is_away.store(true, Ordering::Relaxed);
    write(&stage, &outbox, 10..20);
    stage.until("the events are delivered", || explicit_ids(&stage.durable).len() == 10).await;
    stage.until("the clean-up was tried", || outbox.attempts_count.load(Ordering::Relaxed) > 3).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let saved = stage.saved();
    assert!(saved <= Some(4), "{saved:?}: up to the first document at most");
    assert_eq!(outbox.ids().len(), 10);
    assert!(stage.metric("changeling_outbox_clean_up_failures_total") > Some(0.0));
    outbox.is_away.store(false, Ordering::Relaxed);
    stage.until_saved(23).await;
    assert!(outbox.ids().is_empty());
    stage.stop.request();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_outbox_holds_goes_before_the_first_change_and_is_no_position() {
    let stage = Stage::with_orders(5);
    let outbox = MemoryOutbox::of(&[&stage.durable]);
    outbox.hold(0..100);
    let is_shut = Arc::new(AtomicBool::new(true));
    let shut = is_shut.clone();
    // Of a hundred events ninety can be delivered for now.
    let mut delivered = 0;
    let pipeline = stage.pipeline(move |events| {
        if shut.load(Ordering::Relaxed) && delivered + events.len() > 90 {
            return Act::nothing(Then::BeAway);
        }
        delivered += events.len();
        Act::well(events)
    });
    let mut pipeline = with_outbox(pipeline, &outbox);
    pipeline.settings.delivery_events_max = 10;
    let task = stage.run(pipeline);
    stage.until("some are delivered", || stage.durable.count() == 90).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.saved(), None, "not all that was held has settled");
    is_shut.store(false, Ordering::Relaxed);
    stage.until_saved(5).await;
    assert!(outbox.ids().is_empty());
    assert_eq!(*outbox.occasions.lock().unwrap(), [Occasion::NoCheckpoint]);
    assert_eq!(stage.metric("changeling_outbox_caught_up_total{relay=\"shop.outbox\"}"), Some(100.0));
    assert_eq!(explicit_order(&stage.durable), (0..100).collect::<Vec<_>>());
    {
        let events = stage.durable.events.lock().unwrap();
        assert!(events[..100].iter().all(|event| event.explicit.is_some()), "they go first");
        assert_eq!(events.len(), 110);
    }
    stage.stop.request();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_the_catch_up_begins_it_again_and_loses_nothing() {
    let stage = Stage::with_orders(0);
    let outbox = MemoryOutbox::of(&[&stage.durable]);
    outbox.hold(0..200);
    let mut pipeline =
        with_outbox(stage.pipeline(|events| Act { pause: Duration::from_millis(3), ..Act::well(events) }), &outbox);
    (pipeline.settings.delivery_events_max, pipeline.settings.queue_events_max) = (5, 5);
    let task = stage.run(pipeline);
    stage.until("some are delivered", || stage.durable.count() > 50).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(!outbox.ids().is_empty());
    let again = Stage { log: stage.log.clone(), durable: stage.durable.clone(), ..Stage::new() };
    let task = again.run(with_outbox(again.pipeline(well), &outbox));
    again.until("the outbox is empty", || outbox.ids().is_empty()).await;
    assert_eq!(explicit_ids(&stage.durable).len(), 200);
    assert_eq!(again.durable.ids().len(), 200, "a repeat has the same id");
    again.stop.request();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_is_away_at_the_start_is_waited_for_and_one_that_is_forbidden_stops_the_run() {
    let stage = Stage::with_orders(1);
    let outbox = MemoryOutbox::of(&[&stage.durable]);
    outbox.is_away.store(true, Ordering::Relaxed);
    let task = stage.run(with_outbox(stage.pipeline(well), &outbox));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(stage.durable.count(), 0);
    outbox.is_away.store(false, Ordering::Relaxed);
    stage.until_saved(1).await;
    // A permission that is taken away later ends the run, after what was read has been delivered.
    outbox.is_forbidden.store(true, Ordering::Relaxed);
    write(&stage, &outbox, 10..11);
    let error = task.await.unwrap().unwrap_err();
    let PipelineError::Outbox(refused) = &error else { panic!("{error}") };
    assert_eq!(refused.disposition(), Disposition::Stop);
    assert!(stage.saved() <= Some(2), "{:?}", stage.saved());
    assert_eq!(outbox.ids().len(), 1);

    let stage = Stage::with_orders(1);
    let error = stage.run(with_outbox(stage.pipeline(well), &outbox)).await.unwrap().unwrap_err();
    assert!(matches!(error, PipelineError::Outbox(_)), "{error}");
    assert_eq!(stage.durable.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_cleans_up_what_settles_and_does_not_wait_for_an_outbox_that_is_away() {
    for is_away in [false, true] {
        let stage = Stage::with_orders(1);
        let outbox = MemoryOutbox::of(&[&stage.durable]);
        let pipeline = stage.pipeline(|events| Act { pause: Duration::from_millis(200), ..Act::well(events) });
        let mut pipeline = with_outbox(pipeline, &outbox);
        pipeline.settings.drain_timeout = Period::seconds(3_600);
        let task = stage.run(pipeline);
        stage.until_saved(1).await;
        outbox.is_away.store(is_away, Ordering::Relaxed);
        write(&stage, &outbox, 10..14);
        stage.until("an event is on its way", || stage.durable.handed_count.load(Ordering::Relaxed) > 2).await;
        let begun = Instant::now();
        stage.stop.request();
        task.await.unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        let delivered = explicit_ids(&stage.durable);
        let left = outbox.ids();
        match is_away {
            false => assert!(left.is_disjoint(&delivered), "delivered {delivered:?}, left {left:?}"),
            true => assert!(stage.saved() <= Some(2), "{:?}", stage.saved()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_ends_for_good_does_not_leave_the_clean_up_waiting() {
    let stage = Stage::with_orders(1);
    let outbox = MemoryOutbox::of(&[]);
    outbox.is_silent.store(true, Ordering::Relaxed);
    write(&stage, &outbox, 10..14);
    let broken = Arc::new(Durable::default());
    let mut pipeline = with_outbox(stage.pipeline(well), &outbox);
    let sink = Box::new(ScriptedSink::new(&broken, |_| Act::nothing(Then::BeUnusable))) as Box<dyn Sink>;
    pipeline.lanes.push(LaneParts { name: "broken".to_owned(), sink });
    pipeline.settings.drain_timeout = Period::seconds(3_600);
    let begun = Instant::now();
    let error = stage.run(pipeline).await.unwrap().unwrap_err();
    assert!(matches!(error, PipelineError::Sink { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(outbox.ids().len(), 4, "nothing has settled everywhere");
}

#[tokio::test(start_paused = true)]
async fn a_lost_position_has_the_outbox_read_again() {
    let stage = Stage::with_orders(4);
    let outbox = MemoryOutbox::of(&[&stage.durable]);
    let task = stage.run(with_outbox(stage.pipeline(well), &outbox));
    stage.until_saved(4).await;
    stage.stop.request();
    task.await.unwrap().unwrap();
    // While nobody looks, the log forgets what the application writes.
    write(&stage, &outbox, 10..20);
    stage.log.oldest.store(stage.log.len(), Ordering::Relaxed);
    let again =
        Stage { log: stage.log.clone(), durable: stage.durable.clone(), store: stage.store.clone(), ..Stage::new() };
    let mut pipeline = with_outbox(again.pipeline(well), &outbox);
    (pipeline.on_lost_position, pipeline.start) = (OnLostPosition::Gap, Start::Beginning);
    let task = again.run(pipeline);
    again.until("the outbox is empty", || outbox.ids().is_empty()).await;
    assert_eq!(explicit_order(&stage.durable), (10..20).collect::<Vec<_>>());
    {
        let events = again.durable.events.lock().unwrap();
        let gap = events.iter().position(|event| &*event.name == "changeling.gap").unwrap();
        assert!(events[gap + 1..].iter().all(|event| event.explicit.is_some()), "the gap comes first");
    }
    let occasions = [Occasion::NoCheckpoint, Occasion::LostPosition];
    assert_eq!(*outbox.occasions.lock().unwrap(), occasions);
    // It is not read again for what fails later.
    again.log.failures.store(2, Ordering::Relaxed);
    again.log.change_order(1);
    again.until_saved(again.log.len()).await;
    assert_eq!(outbox.occasions.lock().unwrap().len(), 2);
    again.stop.request();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_came_before_a_change_that_stops_the_run_is_cleaned_up_and_its_own_event_is_not() {
    let stage = Stage::new();
    let outbox = MemoryOutbox::of(&[]);
    outbox.hold([7, 8]);
    outbox.is_silent.store(true, Ordering::Relaxed);
    // The rule asks what was in the order before, and nobody knows.
    let text = "defaults: {collection: shop.orders, on: update}\nrules:\n  \
                - {event: Guarded, where: {$.change.updated.n: 2, $.before.x: 1}, unknown: stop}\n";
    let reading = rules::read(&[SourceFile { name: "orders.yaml".to_owned(), text: text.to_owned() }]);
    let rules = RuleSlot::from(Arc::new(RuleSet::compile(reading.rules)));
    let mut settings = EmbeddedOutboxSettings::new(Namespace::parse("shop.orders").unwrap());
    settings.clean_up = EmbeddedCleanUp::Pull;
    let relays = Relays::new(&[RelaySettings::EmbeddedOutbox(Box::new(settings))]).unwrap();
    stage.log.update_order(7, rawdoc! {"_events.0": {"id": "a", "type": "Seen", "data": {}}});
    stage.log.update_order(8, rawdoc! {"n": 2, "_events.0": {"id": "b", "type": "Seen", "data": {}}});
    let pipeline = Pipeline { relays, rules, outboxes: Some(outbox.clone()), ..stage.pipeline(well) };
    let error = stage.run(pipeline).await.unwrap().unwrap_err();
    assert!(matches!(error, PipelineError::Undecided { .. }), "{error}");
    assert_eq!(stage.durable.count(), 1, "the change is read again");
    assert_eq!(outbox.ids(), BTreeSet::from([8]));
}
