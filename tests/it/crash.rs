//! The promise under fire: whatever is killed, every committed change has exactly its events.

use std::time::{Duration, Instant};

use changeling_servers::{Nats, ReplicaSet, ReplicaSetOptions, free_port};
use mongodb::Client;

use crate::support::chance::Chance;
use crate::support::load::{self, Expected, Load};
use crate::support::received::{self, Received};
use crate::support::{Program, Running, free_name, wait_until};

/// Short, so that a successor need not wait long for one that was killed.
const LEASE: &str = "2s";

/// A database under load, with the program that watches it.
struct Scene {
    client: Client,
    database: String,
    uri: String,
    nats: Option<Nats>,
}

impl Scene {
    async fn new(set: &ReplicaSet, nats: Option<Nats>) -> Self {
        let client = set.client().await.unwrap();
        let database = free_name("crash");
        load::prepare(&client, &database).await;
        Self { client, database, uri: set.uri(), nats }
    }

    /// A folder with a configuration; every folder has a file sink of its own and shares the other sinks and the checkpoint.
    fn program(&self, port: u16) -> Program {
        let (uri, database) = (&self.uri, &self.database);
        let nats = self.nats.as_ref().map(|nats| {
            format!("  stream: {{nats: {{servers: [\"{}\"], stream: {{name: {database}}}, subject: \"{database}.{{type}}\"}}}}\n", nats.url())
        });
        let config = format!(
            "name: {database}\n\
             source: {{uri: \"{uri}\", watch: [{database}], await_time: 200ms}}\n\
             rules: [rules.yaml]\n\
             checkpoint: {{mongodb: {{collection: {database}_state.checkpoints}}, interval: 200ms, lease: {LEASE}}}\n\
             http: {{listen: \"127.0.0.1:{port}\"}}\n\
             sinks:\n  \
               lines: {{file: {{path: events.jsonl, fsync: never}}}}\n  \
               facts: {{mongodb: {{collection: {database}_facts.events}}}}\n{}",
            nats.unwrap_or_default()
        );
        Program::with_config(&config).file("rules.yaml", &load::rules(database))
    }

    fn facts(&self) -> String {
        format!("{}_facts", self.database)
    }

    async fn delivered_count(&self) -> u64 {
        received::count(&self.client, &self.facts()).await
    }

    /// Waits until the MongoDB sink holds a good deal more than now.
    async fn progress(&self, running: &Running) {
        const MORE: u64 = 50;
        let enough = self.delivered_count().await + MORE;
        wait_until("events arrive", async || {
            running.assert_runs();
            self.delivered_count().await >= enough
        })
        .await;
    }

    async fn in_facts(&self) -> Received {
        Received::from_collection(&self.client.database(&self.facts()).collection("events")).await
    }

    /// Waits until every sink has every event, then stops the program and compares.
    async fn settle(&self, running: Running, folders: &[&Program], expected: &Expected) {
        let lines = || {
            let mut lines = Received::default();
            folders.iter().for_each(|folder| lines.add_lines(&folder.text("events.jsonl")));
            lines
        };
        wait_until("every event is in the collection", async || {
            running.assert_runs();
            self.delivered_count().await >= expected.len() as u64
                && self.in_facts().await.count_of(expected) == expected.len()
        })
        .await;
        wait_until("every event is in the file", async || lines().count_of(expected) == expected.len()).await;
        running.stopped().await.expect_code(0);
        let facts = self.in_facts().await;
        facts.assert_is(expected, "mongodb");
        assert_eq!(facts.repeat_count(), 0);
        lines().assert_is(expected, "file");
        println!(
            "{} events expected; repeated in the file with the same id: {}",
            expected.len(),
            lines().repeat_count()
        );
        if let Some(nats) = &self.nats {
            let messages = Received::from_stream(&nats.url(), &self.database).await;
            messages.assert_is(expected, "nats");
            println!("repeated in nats with the same id: {}", messages.repeat_count());
        }
    }
}

/// Starts the program as a supervisor would: again, while another owner's lease runs.
pub async fn start(program: &Program, port: u16) -> Running {
    loop {
        let running = program.start(&["run", "-c", "changeling.yaml"]);
        let mut ready = false;
        wait_until("the program is ready or ends", async || {
            ready = is_ready(port).await;
            ready || !running.runs()
        })
        .await;
        if ready {
            return running;
        }
        let finished = running.finished().await;
        assert!(finished.code() == 3 && finished.stderr.contains("is owned by"), "{finished}");
    }
}

/// Lets it run for a while, as a supervisor that starts it again when it ends, and kills it. True if it was there to be killed.
pub async fn kill_early(program: &Program, after: Duration) -> bool {
    let deadline = Instant::now() + after;
    let mut running = program.start(&["run", "-c", "changeling.yaml"]);
    while Instant::now() < deadline {
        if !running.runs() {
            running = program.start(&["run", "-c", "changeling.yaml"]);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let runs = running.runs();
    running.process().kill().unwrap();
    runs
}

async fn is_ready(port: u16) -> bool {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

pub fn kill_count() -> u32 {
    const IN_A_PLAIN_RUN: u32 = 5;
    std::env::var("CHANGELING_KILLS")
        .map_or(IN_A_PLAIN_RUN, |kills| kills.parse().expect("CHANGELING_KILLS is a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_nothing_and_repeats_only_ids() {
    let (mut chance, seed) = Chance::seeded();
    let kills = kill_count();
    println!("CHANGELING_SEED={seed} CHANGELING_KILLS={kills}");
    let set = ReplicaSet::start(&ReplicaSetOptions::default()).await.unwrap();
    let scene = Scene::new(&set, Some(Nats::start().await.unwrap())).await;
    let port = free_port();
    let program = scene.program(port);
    let mut running = start(&program, port).await;
    let load = Load::start(&scene.client, &scene.database, Duration::from_millis(20));
    let mut killed = 0;
    loop {
        if chance.happens(66) {
            scene.progress(&running).await;
        }
        tokio::time::sleep(chance.milliseconds(0..500)).await;
        running.process().kill().unwrap();
        killed += 1;
        // One of three is killed at any moment from its first instruction on, ready or not.
        if killed < kills && chance.happens(33) {
            killed += u32::from(kill_early(&program, chance.milliseconds(0..3_000)).await);
        }
        running = start(&program, port).await;
        if killed >= kills {
            break;
        }
    }
    scene.progress(&running).await;
    let expected = load.finish().await;
    println!("{killed} kills, {} changes committed", expected.len());
    scene.settle(running, &[&program], &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_is_waited_for() {
    let set = ReplicaSet::start(&ReplicaSetOptions::default()).await.unwrap();
    let scene = Scene::new(&set, None).await;
    let port = free_port();
    let program = scene.program(port);
    let running = start(&program, port).await;
    let load = Load::start(&scene.client, &scene.database, Duration::from_millis(20));
    for _ in 0..3 {
        scene.progress(&running).await;
        set.kill(0).unwrap();
        set.restart(0).await.unwrap();
    }
    scene.progress(&running).await;
    let expected = load.finish().await;
    scene.settle(running, &[&program], &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_steps_down_or_dies_is_followed_by_the_next() {
    let options = ReplicaSetOptions { members: 3, ..Default::default() };
    let set = ReplicaSet::start(&options).await.unwrap();
    let scene = Scene::new(&set, None).await;
    let port = free_port();
    let program = scene.program(port);
    let running = start(&program, port).await;
    let load = Load::start(&scene.client, &scene.database, Duration::from_millis(20));
    scene.progress(&running).await;
    set.step_down().await.unwrap();
    scene.progress(&running).await;
    let primary = set.primary().await.unwrap();
    set.kill(primary).unwrap();
    set.primary().await.unwrap();
    scene.progress(&running).await;
    set.restart(primary).await.unwrap();
    scene.progress(&running).await;
    let expected = load.finish().await;
    scene.settle(running, &[&program], &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_wakes_up_after_its_lease_overwrites_nothing() {
    let set = changeling_servers::shared().await.unwrap();
    let scene = Scene::new(set, None).await;
    let (first_port, second_port) = (free_port(), free_port());
    let (first_program, second_program) = (scene.program(first_port), scene.program(second_port));
    let first = start(&first_program, first_port).await;
    let load = Load::start(&scene.client, &scene.database, Duration::from_millis(20));
    scene.progress(&first).await;
    first.process().pause().unwrap();
    let second = start(&second_program, second_port).await;
    scene.progress(&second).await;
    first.process().resume().unwrap();
    let first = first.finished().await.expect_code(3);
    assert!(first.stderr.contains("taken over"), "{first}");
    scene.progress(&second).await;
    let expected = load.finish().await;
    scene.settle(second, &[&first_program, &second_program], &expected).await;
}
