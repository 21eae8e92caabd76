//! The pipeline in a simulated world and paused time: bounds, failures, stops, and what it tells of itself.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use changeling::checkpoint::{Checkpoint, CheckpointError, MemoryStore, Store};
use changeling::event::Event;
use changeling::metrics::Metrics;
use changeling::pipeline::{
    ExchangeError, Exchanged, LaneParts, Pipeline, PipelineError, PipelineSettings, RuleSlot, RunReport, Status,
    StopSignal,
};
use changeling::position::{Position, Start};
use changeling::quantity::Period;
use changeling::rules::RuleSet;
use changeling::sink::{Sink, SinkError};
use changeling::source::{OnLostPosition, SourceError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::simulated::{
    Act, Durable, Letters, Log, LogSource, ScriptedSink, SimulatedStore, Then, changes_before, rules,
};

/// A pipeline's surroundings.
pub struct Stage {
    pub log: Arc<Log>,
    pub durable: Arc<Durable>,
    pub letters: Arc<Letters>,
    pub store: Arc<SimulatedStore>,
    pub metrics: Arc<Metrics>,
    pub status: Arc<Status>,
    pub opened: Arc<Mutex<Vec<Start>>>,
    pub stop: StopSignal,
}

impl Stage {
    pub fn new() -> Self {
        Self::with_store(SimulatedStore::new(MemoryStore::new()))
    }

    pub fn with_store(store: SimulatedStore) -> Self {
        Self {
            log: Arc::default(),
            durable: Arc::default(),
            letters: Arc::default(),
            store: Arc::new(store),
            metrics: Arc::new(Metrics::new().unwrap()),
            status: Arc::new(Status::new()),
            opened: Arc::default(),
            stop: StopSignal::new(),
        }
    }

    /// As many changes of orders, each of which makes two events.
    pub fn with_orders(count: i32) -> Self {
        let stage = Self::new();
        stage.change_orders(count);
        stage
    }

    fn change_orders(&self, count: i32) {
        for key in 0..count {
            self.log.change_order(key);
        }
    }

    pub fn pipeline(&self, script: impl FnMut(&[Arc<Event>]) -> Act + Send + 'static) -> Pipeline {
        let mut source = LogSource::new(&self.log, 2);
        source.opened = self.opened.clone();
        let sink = Box::new(ScriptedSink::new(&self.durable, script)) as Box<dyn Sink>;
        Pipeline {
            source: Box::new(source),
            start: Start::Beginning,
            on_lost_position: OnLostPosition::Stop,
            rules: RuleSlot::from(rules()),
            relays: changeling::explicit::Relays::default(),
            outboxes: None,
            lanes: vec![LaneParts { name: "out".to_owned(), sink }],
            dead_letters: self.letters.clone(),
            store: self.store.clone(),
            checkpoint_interval: Duration::from_secs(1),
            lease: Duration::from_secs(10),
            settings: PipelineSettings::default(),
            metrics: self.metrics.clone(),
            status: self.status.clone(),
        }
    }

    pub fn run(&self, pipeline: Pipeline) -> JoinHandle<Result<RunReport, PipelineError>> {
        tokio::spawn(pipeline.run(self.stop.clone()))
    }

    /// How many changes, from the first, the saved position is after.
    pub fn saved(&self) -> Option<usize> {
        self.store.store.saved().map(|checkpoint| changes_before(&checkpoint.position))
    }

    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(600);
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn until_saved(&self, count: usize) {
        self.until("the position is saved", || self.saved() == Some(count)).await;
    }

    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")) || *line == name)?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

fn well(events: &[Arc<Event>]) -> Act {
    Act::well(events)
}

fn hang(_: &[Arc<Event>]) -> Act {
    Act::nothing(Then::Hang)
}

async fn rest() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn everything_is_delivered_in_order_and_a_stop_leaves_nothing_behind() {
    let stage = Stage::with_orders(50);
    let task = stage.run(stage.pipeline(|events| Act { pause: Duration::from_millis(1), ..Act::well(events) }));
    stage.until("something has arrived", || stage.durable.count() > 10).await;
    stage.stop.request();
    let report = task.await.unwrap().unwrap();
    let expected = stage.log.events(&rules(), 0);
    let delivered = stage.durable.events.lock().unwrap();
    let ids: Vec<_> = delivered.iter().map(|event| event.id).collect();
    let expected: Vec<_> = expected.iter().map(|(_, event)| event.id).take(ids.len()).collect();
    assert_eq!(ids, expected);
    assert_eq!((report.events_count, report.unsettled_events_count), (ids.len() as u64, 0));
    assert_eq!(stage.saved().map(|count| count * 2), Some(ids.len()), "what is delivered is saved");
    assert_eq!(report.position.map(|position| changes_before(&position)), stage.saved());
    assert!(*stage.durable.is_closed.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn positions_are_saved_between_transactions_and_never_inside_one() {
    let saved = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let seen = saved.clone();
    let check = move |position: &Position| {
        seen.lock().unwrap().insert(changes_before(position));
    };
    let store = SimulatedStore::new(MemoryStore::new());
    let stage = Stage::with_store(SimulatedStore { check: Box::new(check), ..store });
    for _ in 0..40 {
        // Batches have two changes: nearly every one ends in the middle.
        stage.log.transaction(0..5);
    }
    let pipeline = stage.pipeline(|events| Act { pause: Duration::from_millis(700), ..Act::well(events) });
    let settings = PipelineSettings { delivery_events_max: 4, ..PipelineSettings::default() };
    let task = stage.run(Pipeline { settings, ..pipeline });
    stage.until_saved(200).await;
    stage.stop.request();
    task.await.unwrap().unwrap();
    let saved = saved.lock().unwrap().clone();
    assert!(saved.iter().all(|count| count % 5 == 0), "{saved:?}");
    assert!(saved.len() > 20, "{saved:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_takes_nothing_stops_the_reading_at_an_exact_count() {
    let stage = Stage::with_orders(1_000);
    let mut pipeline = stage.pipeline(hang);
    pipeline.settings.queue_events_max = 10;
    pipeline.settings.delivery_events_max = 4;
    pipeline.settings.delivery_timeout = Period::seconds(10_000);
    let task = stage.run(pipeline);
    rest().await;
    assert_eq!(stage.durable.handed_count.load(Ordering::Relaxed), 4);
    assert_eq!(stage.metrics.lane_events.with_label_values(&["out"]).get(), 10);
    let event_bytes = stage.log.events(&rules(), 0)[0].1.byte_count();
    let lane_bytes = usize::try_from(stage.metrics.lane_bytes.with_label_values(&["out"]).get()).unwrap();
    assert!(lane_bytes.abs_diff(event_bytes * 10) < 10 * 16, "{lane_bytes} for ten events of {event_bytes}");
    // Batches of two changes, so four events: two batches and half of the third in the lane; the third is still held
    // by the translator, two more wait for it, and the reader has one in its hands.
    assert_eq!(stage.log.batches_count.load(Ordering::Relaxed), 6);
    assert_eq!(stage.saved(), None, "nothing has settled");
    stage.stop.request();
    stage.stop.request();
    assert!(task.await.unwrap().unwrap().unsettled_events_count >= 10);
}

#[tokio::test(start_paused = true)]
async fn when_the_time_to_drain_is_over_the_rest_is_counted_and_left_to_the_next_start() {
    for gives_up_early in [false, true] {
        let stage = Stage::with_orders(3);
        let mut calls = 0;
        let task = stage.run(stage.pipeline(move |events| {
            calls += 1;
            if calls == 1 { Act { works: 3, admits: 3, ..Act::nothing(Then::BeAway) } } else { hang(events) }
        }));
        rest().await;
        let begun = Instant::now();
        stage.stop.request();
        if gives_up_early {
            stage.stop.request();
        }
        let report = task.await.unwrap().unwrap();
        assert_eq!((report.events_count, report.unsettled_events_count), (6, 3));
        let drained_for = begun.elapsed();
        assert_eq!(drained_for >= Duration::from_secs(30), !gives_up_early, "{drained_for:?}");
        assert!(drained_for < Duration::from_secs(40), "{drained_for:?}");
        assert_eq!(stage.saved(), Some(1), "the second change has only one of its two events settled");

        let stop = StopSignal::new();
        let again = tokio::spawn(stage.pipeline(well).run(stop.clone()));
        stage.until_saved(3).await;
        stop.request();
        again.await.unwrap().unwrap();
        assert_eq!((stage.durable.count(), stage.durable.ids().len()), (7, 6), "one is repeated, none is lost");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_rejects_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let stage = Stage::with_orders(3);
    let poison = stage.log.events(&rules(), 0)[3].1.id;
    let task = stage.run(stage.pipeline(move |events| {
        let good = events.iter().position(|event| event.id == poison).unwrap_or(events.len());
        let then = if good < events.len() { Then::Reject } else { Then::Succeed };
        Act { works: good, admits: good, ..Act::nothing(then) }
    }));
    stage.until_saved(3).await;
    stage.stop.request();
    task.await.unwrap().unwrap();
    assert_eq!(stage.durable.count(), 5);
    let letters = stage.letters.letters.lock().unwrap();
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(letter.event.as_ref().map(|event| event.id), Some(poison));
    assert_eq!(letter.sink.as_deref(), Some("out"));
    assert_eq!(letter.rule.as_deref(), Some("OrderTouched"));
    assert!(letter.reason.contains("as the script says"), "{}", letter.reason);
    assert_eq!(stage.metrics.dead_letters.with_label_values(&["out", "OrderTouched"]).get(), 1);
    assert_eq!(stage.metrics.events.with_label_values(&["OrderTouched", "out"]).get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_be_read_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let stage = Stage::with_orders(1);
    stage.log.append_garbage();
    stage.log.change_other();
    stage.log.change_order(7);
    let task = stage.run(stage.pipeline(well));
    stage.until_saved(4).await;
    stage.stop.request();
    let report = task.await.unwrap().unwrap();
    assert_eq!(stage.durable.count(), 4);
    let letters = stage.letters.letters.lock().unwrap();
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert!(letter.change.as_ref().is_some_and(|change| change.get_str("operationType").is_ok()));
    assert_eq!(stage.metrics.changes_undecodable.get(), 1);
    assert_eq!(stage.metrics.changes.with_label_values(&["update", "shop.orders"]).get(), 2);
    assert_eq!(stage.metrics.changes_unmatched.with_label_values(&["shop.other"]).get(), 1);
    assert_eq!((report.changes_count, report.events_count), (3, 4));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_can_not_go_on_stops_the_pipeline_after_the_others_have_drained() {
    for (then, expected) in
        [(Then::BeUnusable, "delivering to the sink \"out\" stopped"), (Then::Panic, "the sink out panicked")]
    {
        let stage = Stage::with_orders(20);
        let other = Arc::new(Durable::default());
        let mut pipeline = stage.pipeline(move |_| Act { pause: Duration::from_millis(50), ..Act::nothing(then) });
        let slow = |events: &[Arc<Event>]| Act { pause: Duration::from_secs(2), ..Act::well(events) };
        let sink = Box::new(ScriptedSink::new(&other, slow));
        pipeline.lanes.push(LaneParts { name: "other".to_owned(), sink });
        let error = stage.run(pipeline).await.unwrap().unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(other.count(), 40, "what was read is delivered elsewhere");
        assert!(*other.is_closed.lock().unwrap());
        assert_eq!(stage.saved(), None, "one sink has settled nothing");
        assert!(stage.status.health().reasons[0].starts_with("sink out failed"), "{:?}", stage.status.health());
        assert!(!stage.status.readiness().is_good());
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_never_ends_is_tried_again_with_the_sink_opened_anew() {
    let stage = Stage::with_orders(1);
    let mut calls = 0;
    let task = stage.run(stage.pipeline(move |events| {
        calls += 1;
        if calls == 1 { Act { works: 2, ..hang(events) } } else { Act::well(events) }
    }));
    stage.until_saved(1).await;
    stage.stop.request();
    task.await.unwrap().unwrap();
    assert_eq!((stage.durable.count(), stage.durable.ids().len()), (4, 2), "the repeats have the same ids");
    assert_eq!(stage.durable.opened_count.load(Ordering::Relaxed), 2);
    assert_eq!(stage.metrics.delivery_retries.with_label_values(&["out"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_unlimited_unless_a_limit_is_set() {
    let stage = Stage::with_orders(1);
    let mut pipeline = stage.pipeline(|_| Act::nothing(Then::BeAway));
    pipeline.settings.retry.attempts_max = Some(3);
    let task = stage.run(pipeline);
    stage.until_saved(1).await;
    assert_eq!(stage.letters.ids("out").len(), 2);
    assert_eq!(stage.durable.handed_count.load(Ordering::Relaxed), 3 * 2 + 3);
    stage.stop.request();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_opened_again_after_the_last_batch() {
    let stage = Stage::with_orders(4);
    let task = stage.run(stage.pipeline(well));
    stage.until_saved(4).await;
    stage.log.failures.store(3, Ordering::Relaxed);
    stage.change_orders(2);
    stage.until_saved(6).await;
    assert_eq!(stage.durable.count(), 12, "nothing is repeated and nothing is lost");
    let opened = stage.opened.lock().unwrap().clone();
    assert_eq!(opened.len(), 4);
    for start in &opened[1..] {
        assert!(matches!(start, Start::Resume(position) if changes_before(position) == 4), "{start:?}");
    }
    assert_eq!(stage.metrics.source_reconnects.with_label_values(&["closed"]).get(), 3);
    assert_eq!(stage.metrics.source_open.get(), 1);
    stage.stop.request();
    task.await.unwrap().unwrap();
    assert_eq!(stage.metrics.source_open.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_position_stops_the_run_or_is_bridged_by_a_gap_event() {
    let stage = Stage::with_orders(6);
    let saved = Position::at_time(changeling::position::ClusterTime { seconds: 1_001, increment: 0 });
    let checkpoint =
        Checkpoint { deployment: "memory".to_owned(), scope: "shop".to_owned(), position: saved, parity: None };
    stage.store.acquire().await.unwrap();
    stage.store.save(&checkpoint).await.unwrap();
    stage.log.oldest.store(3, Ordering::Relaxed);
    let error = stage.run(stage.pipeline(well)).await.unwrap().unwrap_err();
    assert!(matches!(error, PipelineError::Source(SourceError::LostPosition { code: 286, .. })), "{error:?}");
    assert_eq!(stage.store.store.saved(), Some(checkpoint), "an operator finds it as it was");

    // The gap event does not settle: the next start finds the same gap and tells it again.
    for script in [hang as fn(&[Arc<Event>]) -> Act, well] {
        let mut pipeline = stage.pipeline(script);
        pipeline.on_lost_position = OnLostPosition::Gap;
        let stop = StopSignal::new();
        let task = tokio::spawn(pipeline.run(stop.clone()));
        rest().await;
        stage.change_orders(1);
        rest().await;
        stop.request();
        stop.request();
        task.await.unwrap().unwrap();
    }
    let events = stage.durable.events.lock().unwrap();
    let names: Vec<&str> = events.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["changeling.gap", "OrderChanged", "OrderTouched"]);
    let data = bson::Document::try_from(events[0].data.clone()).unwrap();
    assert_eq!(data.get_i32("code").unwrap(), 286);
    assert_eq!(data.get_datetime("from").unwrap().timestamp_millis(), 1_001_000);
    assert_eq!(data.get_datetime("oldest").unwrap().timestamp_millis(), 1_003_000);
    assert_eq!(stage.metrics.gaps.get(), 2);
    assert_eq!(stage.saved(), Some(8), "the new position is saved like any other");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_of_another_deployment_is_refused_and_one_of_another_scope_gives_its_place() {
    let stage = Stage::with_orders(3);
    let task = stage.run(stage.pipeline(well));
    stage.until_saved(3).await;
    stage.stop.request();
    task.await.unwrap().unwrap();

    let mut pipeline = stage.pipeline(well);
    let mut source = LogSource::new(&stage.log, 2);
    source.deployment = "another";
    pipeline.source = Box::new(source);
    let error = pipeline.run(StopSignal::new()).await.unwrap_err().to_string();
    assert!(error.contains("\"memory\"") && error.contains("\"another\"") && error.contains("help:"), "{error}");

    let stop = StopSignal::new();
    let mut pipeline = stage.pipeline(well);
    let mut source = LogSource::new(&stage.log, 2);
    (source.scope, source.opened) = ("shop and more", stage.opened.clone());
    pipeline.source = Box::new(source);
    let task = tokio::spawn(pipeline.run(stop.clone()));
    stage
        .until("the new scope is saved", || stage.store.store.saved().is_some_and(|saved| saved.scope != "shop"))
        .await;
    assert!(
        matches!(stage.opened.lock().unwrap().last(), Some(Start::Beyond(position)) if position.time.seconds == 1_002)
    );
    stop.request();
    task.await.unwrap().unwrap();
    assert_eq!(stage.durable.ids().len(), 6, "nothing is read again");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_replaced_stops_at_once_and_saves_nothing() {
    let stage = Stage::with_orders(1);
    let task = stage.run(stage.pipeline(well));
    stage.until_saved(1).await;
    let successor = stage.store.store.successor();
    let taken = successor.acquire().await.unwrap();
    stage.change_orders(1);
    let error = task.await.unwrap().unwrap_err();
    assert!(matches!(error, PipelineError::Checkpoint(CheckpointError::Fenced { .. })), "{error:?}");
    assert_eq!(successor.acquire().await.unwrap(), taken);

    let stage = Stage::with_orders(1);
    let error = stage.run(stage.pipeline(|_| Act::nothing(Then::BeFenced))).await.unwrap().unwrap_err();
    assert!(matches!(error, PipelineError::Sink { source: SinkError::Fenced, .. }), "{error:?}");
    assert_eq!(stage.saved(), None);
}

#[tokio::test(start_paused = true)]
async fn deliveries_wait_while_the_lease_cannot_be_renewed() {
    let stage = Stage::with_orders(1);
    let task = stage.run(stage.pipeline(well));
    stage.until_saved(1).await;
    *stage.store.is_away.lock().unwrap() = true;
    tokio::time::sleep(Duration::from_secs(30)).await;
    stage.change_orders(1);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(stage.durable.count(), 2, "somebody else may be the owner by now");
    assert!(stage.status.health().is_good(), "a restart would not help");
    assert!(!stage.status.readiness().is_good());
    *stage.store.is_away.lock().unwrap() = false;
    stage.until_saved(2).await;
    assert_eq!(stage.durable.count(), 4);
    assert!(stage.status.readiness().is_good());
    stage.stop.request();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_is_ready_when_its_first_position_is_saved() {
    let stage = Stage::new();
    assert!(!stage.status.readiness().is_good());
    *stage.store.is_away.lock().unwrap() = true;
    let task = stage.run(stage.pipeline(well));
    rest().await;
    let reasons = stage.status.readiness().reasons;
    assert!(reasons.iter().any(|reason| reason.starts_with("checkpoint: ")), "{reasons:?}");
    *stage.store.is_away.lock().unwrap() = false;
    stage.until("it is ready", || stage.status.readiness().is_good()).await;
    assert_eq!(stage.saved(), Some(0));
    stage.stop.request();
    task.await.unwrap().unwrap();
    assert_eq!(stage.store.saves_count.load(Ordering::Relaxed), 1, "what does not move is not saved again");
}

#[tokio::test(start_paused = true)]
async fn lag_is_absent_until_known_small_when_idle_and_true_when_a_sink_is_stuck() {
    let stage = Stage::new();
    assert_eq!(stage.metric("changeling_lag_seconds"), None);
    let task = stage.run(stage.pipeline(hang));
    rest().await;
    // The clock that stamps batches is that of the machine, which does not pause.
    let lag = stage.metric("changeling_lag_seconds").unwrap();
    assert!(lag < 60.0, "{lag}");
    stage.change_orders(1);
    rest().await;
    let behind = stage.metric("changeling_lag_seconds").unwrap();
    let since_change = bson::DateTime::now().timestamp_millis() as f64 / 1_000.0 - 1_000.0;
    assert!((behind - since_change).abs() < 60.0, "{behind} of {since_change}");
    let age = stage.metric("changeling_checkpoint_age_seconds").unwrap();
    assert!(age > 2.0, "the checkpoint grows old while a sink owes something: {age}");
    stage.stop.request();
    stage.stop.request();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_can_not_be_written_stop_the_start_and_not_the_first_letter() {
    let stage = Stage::with_orders(1);
    *stage.letters.is_unusable.lock().unwrap() = true;
    let error = stage.run(stage.pipeline(well)).await.unwrap().unwrap_err();
    assert!(matches!(error, PipelineError::DeadLetters(_)), "{error}");
    assert_eq!(stage.durable.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_rule_set_is_in_force_from_the_next_batch_on() {
    let stage = Stage::with_orders(1);
    let slot = RuleSlot::from(rules());
    let mut pipeline = stage.pipeline(well);
    pipeline.rules = slot.clone();
    let task = stage.run(pipeline);
    stage.until_saved(1).await;
    let empty = slot.exchange(Arc::new(RuleSet::default()), None);
    stage.change_orders(1);
    stage.until_saved(2).await;
    assert!(matches!(empty.await, Some(Ok(Exchanged { reopened: false, .. }))));
    let never = slot.exchange(Arc::new(RuleSet::default()), None);
    let full = slot.exchange(rules(), None);
    assert_eq!(never.await, Some(Err(ExchangeError::Superseded)));
    stage.change_orders(1);
    stage.until_saved(3).await;
    assert!(matches!(full.await, Some(Ok(_))));
    stage.stop.request();
    task.await.unwrap().unwrap();
    assert_eq!(stage.durable.count(), 4);
}
