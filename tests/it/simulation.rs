//! A pipeline that dies again and again, with sinks that fail in every way: nothing may be lost.
//!
//! `CHANGELING_SIMULATION_SEED` runs one seed, `CHANGELING_SIMULATION_COUNT` another number of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use changeling::checkpoint::MemoryStore;
use changeling::event::{Event, EventId};
use changeling::metrics::Metrics;
use changeling::pipeline::{LaneParts, Pipeline, PipelineSettings, RuleSlot, Status, StopSignal};
use changeling::position::{Position, Start};
use changeling::quantity::{ByteCount, Period};
use changeling::source::OnLostPosition;

use crate::pipeline_outbox::{self, MemoryOutbox};
use crate::simulated::{
    Act, Durable, Letters, Log, LogSource, ScriptedSink, SimulatedStore, Then, changes_before, rules,
};

const SINKS: [&str; 2] = ["one", "two"];

/// Random numbers that a seed decides (SplitMix64, by Sebastiano Vigna).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// What outlives the pipeline.
struct World {
    log: Arc<Log>,
    durable: [Arc<Durable>; 2],
    letters: Arc<Letters>,
    place: MemoryStore,
    random: Random,
    /// Whether the first sink saves the checkpoint with its events.
    joins: bool,
    /// What the application wrote into its outbox, and what of it is still there.
    outbox: Arc<MemoryOutbox>,
    outbox_count: i32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let joins = random.below(3) == 0;
        Self {
            log: Arc::default(),
            durable: Default::default(),
            letters: Arc::default(),
            place: MemoryStore::new(),
            random,
            joins,
            outbox: Arc::default(),
            outbox_count: 0,
        }
    }

    fn write(&mut self, count: usize) {
        for _ in 0..count {
            match self.random.below(5) {
                0 => self.log.change_other(),
                4 => {
                    self.outbox.hold([self.outbox_count]);
                    self.log.insert("outbox", &pipeline_outbox::document(self.outbox_count));
                    self.outbox_count += 1;
                }
                key => self.log.change_order(i32::try_from(key).unwrap()),
            }
        }
    }

    /// A sink that rejects what it must never take, and otherwise fails at random.
    fn sink(&mut self, index: usize, is_calm: bool) -> ScriptedSink {
        let mut random = Random(self.random.next());
        ScriptedSink::new(&self.durable[index], move |events| {
            let poison = events.iter().position(|event| is_poison(event)).unwrap_or(events.len());
            let then = if poison < events.len() { Then::Reject } else { Then::Succeed };
            let well = Act { works: poison, admits: poison, ..Act::nothing(then) };
            let fails = !is_calm && random.below(3) == 0;
            let pause = Duration::from_millis(random.below(30) as u64);
            if !fails {
                return Act { pause, ..well };
            }
            let works = random.below(poison + 1);
            match random.below(4) {
                0 => Act { pause, works, admits: works, then: Then::BeAway },
                1 => Act { pause, works: poison, admits: 0, then: Then::BeAway },
                2 => Act { pause, works, admits: 0, then: Then::Hang },
                _ => Act { pause: Duration::from_secs(3), ..well },
            }
        })
    }

    fn pipeline(&mut self, is_calm: bool) -> (Pipeline, Arc<SimulatedStore>) {
        let (log, durable, letters) = (self.log.clone(), self.durable.clone(), self.letters.clone());
        let mut store = SimulatedStore::new(self.place.successor());
        store.check = Box::new(move |position| assert_not_ahead(position, &log, &durable, &letters));
        store.joins = self.joins;
        let store = Arc::new(store);
        let mut sinks = [self.sink(0, is_calm), self.sink(1, is_calm)];
        if self.joins {
            sinks[0].joined = Some(store.clone());
        }
        let lanes = SINKS.iter().zip(sinks);
        let lanes = lanes.map(|(name, sink)| LaneParts { name: (*name).to_owned(), sink: Box::new(sink) }).collect();
        let mut settings = PipelineSettings {
            queue_events_max: 1 + self.random.below(40),
            queue_bytes_max: ByteCount(500 + self.random.below(20_000) as u64),
            read_ahead_bytes_max: ByteCount(1_000),
            delivery_events_max: 1 + self.random.below(10),
            delivery_timeout: Period::seconds(5),
            ..PipelineSettings::default()
        };
        settings.retry.max = Period::seconds(2);
        let pipeline = Pipeline {
            source: Box::new(LogSource::new(&self.log, 1 + self.random.below(9))),
            start: Start::Beginning,
            on_lost_position: OnLostPosition::Stop,
            rules: RuleSlot::from(rules()),
            relays: pipeline_outbox::relays(),
            outboxes: Some(self.outbox.clone()),
            lanes,
            dead_letters: self.letters.clone(),
            store: store.clone(),
            checkpoint_interval: Duration::from_millis(10 + self.random.below(500) as u64),
            lease: Duration::from_secs(10),
            settings,
            metrics: Arc::new(Metrics::new().unwrap()),
            status: Arc::new(Status::new()),
        };
        (pipeline, store)
    }

    /// Runs until a random step, and dies there.
    async fn run_and_die(&mut self) {
        let (pipeline, store) = self.pipeline(false);
        let task = tokio::spawn(pipeline.run(StopSignal::new()));
        for _ in 0..self.random.below(6) {
            let count = self.random.below(20);
            self.write(count);
            *store.is_away.lock().unwrap() = self.random.below(4) == 0;
            self.outbox.is_away.store(self.random.below(4) == 0, Ordering::Relaxed);
            self.log.failures.store(self.random.below(3), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(self.random.below(2_000) as u64)).await;
        }
        for _ in 0..self.random.below(300) {
            tokio::task::yield_now().await;
        }
        assert!(!task.is_finished(), "the pipeline ended on its own: {:?}", task.await);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// Runs without faults until everything is saved, and stops in order.
    async fn run_to_the_end(&mut self) {
        self.outbox.is_away.store(false, Ordering::Relaxed);
        let (pipeline, _) = self.pipeline(true);
        let stop = StopSignal::new();
        let task = tokio::spawn(pipeline.run(stop.clone()));
        let saved = || self.place.saved().map_or(0, |checkpoint| changes_before(&checkpoint.position));
        while saved() < self.log.len() {
            assert!(!task.is_finished(), "the pipeline ended on its own: {:?}", task.await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.request();
        let report = task.await.unwrap().unwrap();
        assert_eq!(report.unsettled_events_count, 0);
    }

    /// Every event is where it belongs, no other is, and for every key the first time of each is in order.
    fn assert_complete(&self) {
        let expected = self.log.events(&rules(), 0);
        for (sink, durable) in SINKS.iter().zip(&self.durable) {
            let letters = self.letters.ids(sink);
            let mut seen = HashSet::new();
            let mut by_key: HashMap<String, Vec<EventId>> = HashMap::new();
            for event in durable.events.lock().unwrap().iter() {
                if seen.insert(event.id) {
                    by_key.entry(event.partition_key.clone()).or_default().push(event.id);
                }
            }
            let mut expected_by_key: HashMap<String, Vec<EventId>> = HashMap::new();
            for (_, event) in &expected {
                assert_eq!(letters.contains(&event.id), is_poison(event), "what is rejected is a dead letter");
                if !is_poison(event) {
                    expected_by_key.entry(event.partition_key.clone()).or_default().push(event.id);
                }
            }
            // Every event of the outbox is one of the order "o1", whichever way it came: read from the outbox or with its change.
            let explicit = by_key.remove("o1").unwrap_or_default().len();
            let given_up = self.letters.explicit_ids(sink).len();
            assert_eq!(explicit + given_up, usize::try_from(self.outbox_count).unwrap(), "in sink {sink}");
            assert_eq!(by_key, expected_by_key, "in sink {sink}");
        }
    }
}

fn is_poison(event: &Event) -> bool {
    event.id.as_bytes()[0] < 10
}

fn assert_not_ahead(position: &Position, log: &Log, durable: &[Arc<Durable>; 2], letters: &Letters) {
    let before = changes_before(position);
    for (sink, durable) in SINKS.iter().zip(durable) {
        let (ids, given_up) = (durable.ids(), letters.ids(sink));
        for (number, event) in log.events(&rules(), 0) {
            let is_settled = ids.contains(&event.id) || given_up.contains(&event.id);
            assert!(number >= before || is_settled, "saved after change {before}, {sink} has no event of {number}");
        }
    }
}

async fn simulate(seed: u64) {
    let mut world = World::new(seed);
    world.write(10);
    let deaths = 1 + world.random.below(6);
    for _ in 0..deaths {
        world.run_and_die().await;
    }
    world.run_to_the_end().await;
    world.assert_complete();
    assert!(world.outbox.ids().is_empty(), "everything is cleaned up");
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn whatever_fails_and_whenever_it_dies_nothing_is_lost_and_order_is_kept() {
    let seeds = match number_of("CHANGELING_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("CHANGELING_SIMULATION_COUNT").unwrap_or(60),
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let simulated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(simulate(seed))));
        if let Err(panic) = simulated {
            eprintln!("run it again with CHANGELING_SIMULATION_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
