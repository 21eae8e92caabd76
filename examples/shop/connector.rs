//! changeling as a library: a configuration, a sink of our own, and a run that we stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use changeling::app::{App, AppError, From, History, Images, Relaying};
use changeling::config::{self, Config};
use changeling::parity::{self, Parity};
use changeling::pipeline::{RunReport, StopSignal};
use changeling::rules::RuleSet;
use changeling::rules::ast::Rule;
use changeling::rules::replay::Replay;
use changeling::yaml::SourceFile;
use futures_util::TryStreamExt;
use mongodb::{Client, Collection};
use tokio::task::JoinHandle;

use crate::Failure;
use crate::display::Screen;
use crate::shop::{COLLECTIONS, DATABASE};

/// What could also stand in a file for `changeling run`.
const CONFIG: &str = r#"
name: shop
source: {uri: "URI"}
rules: [rules/shop]
explicit:
  - outbox: {collection: shop.outbox, layout: debezium, clean_up: delete}
parity: {}
sinks:
  facts: {mongodb: {collection: facts.events}}
http: {listen: "127.0.0.1:0"}
"#;

/// How often each event came, by its name.
#[derive(Debug, Default)]
pub struct Figures {
    /// Made by rules.
    pub inferred: BTreeMap<String, u64>,
    /// Written by the shop.
    pub explicit: BTreeMap<String, u64>,
}

/// changeling, running beside the shop.
pub struct Connector {
    running: JoinHandle<Result<RunReport, AppError>>,
    stop: StopSignal,
    judge: Judge,
    facts: Collection<Document>,
    address: Option<SocketAddr>,
    rule_count: usize,
}

impl Connector {
    /// Makes the shop's collections, with images where the shipped rules read them, and attaches changeling to them.
    pub async fn start(uri: &str, client: &Client, quiet: bool) -> Result<Self, Failure> {
        let text = CONFIG.replace("URI", uri);
        let file = SourceFile { name: "shop.yaml".to_owned(), text };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let reading = config::read_text(&file, folder);
        let judge = Judge { rules: reading.rules.rules.clone(), config: reading.usable()? };
        let config = judge.config.clone();
        let rules = config.rule_set.clone();
        for name in COLLECTIONS {
            let needs = rules.image_needs(DATABASE, name);
            let images = doc! {"enabled": needs.before || needs.after};
            let create = doc! {"create": name, "changeStreamPreAndPostImages": images};
            client.database(DATABASE).run_command(create).await?;
        }
        client.database(DATABASE).run_command(doc! {"create": "outbox"}).await?;
        let mut app = App::from_config(config).await?;
        if !quiet {
            app.add_sink("screen", Box::new(Screen));
        }
        let (address, status, stop) = (app.http_address(), app.status(), StopSignal::new());
        let running = tokio::spawn(app.run(stop.clone()));
        let facts = client.database("facts").collection("events");
        let connector = Self { running, stop, judge, facts, address, rule_count: rules.len() };
        // Only what is written after the first checkpoint is sure to be seen.
        while !status.readiness().is_good() && !connector.running.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(connector)
    }

    pub fn rule_count(&self) -> usize {
        self.rule_count
    }

    /// Where `/metrics` is served.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// How often each event is in the collection that changeling writes events to, and how well those of both kinds agree.
    pub async fn figures(&self) -> Result<(Figures, parity::Figures), Failure> {
        Ok((figures(&self.facts).await?, self.judge.compare().await?))
    }

    /// Waits until so many events have come, or none has come for a while.
    pub async fn wait_for(&self, expected: u64) -> Result<(), Failure> {
        const SILENCE_MAX: Duration = Duration::from_secs(10);
        let (mut before, mut changed) = (0, Instant::now());
        loop {
            let count = self.facts.count_documents(doc! {}).await?;
            if count >= expected || self.running.is_finished() || changed.elapsed() > SILENCE_MAX {
                return Ok(());
            }
            if count > before {
                (before, changed) = (count, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops changeling, which first delivers what it has read, and gives the final figures.
    pub async fn stop(mut self) -> Result<(Figures, parity::Figures), Failure> {
        self.stop.request();
        (&mut self.running).await??;
        self.figures().await
    }
}

/// Compares both kinds of events by the log of the database, as `changeling parity --from beginning` does.
struct Judge {
    config: Config,
    rules: Vec<Rule>,
}

impl Judge {
    async fn compare(&self) -> Result<parity::Figures, Failure> {
        let mut parity = Parity::new(&self.config.parity.clone().unwrap_or_default());
        parity.expect(self.config.rule_set.short_hash(), self.rules.iter().map(|rule| &rule.event));
        let mut relaying = Relaying::compared(self.config.relays()?, parity);
        let mut replay = Replay::new(RuleSet::compile(self.rules.clone()), 0);
        let images = Images::BeforeNeededAndLookedUp(self.config.rule_set.clone());
        let history = History::of_database(&self.config, From::Beginning, &images).await?;
        history
            .read(&StopSignal::new(), |batch| {
                replay.apply(batch, &mut relaying, |_, _| {}, |_| {});
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        replay.finish(&mut relaying, |_| {});
        let mut figures = parity::Figures::default();
        if let Some(parity) = &mut relaying.parity {
            parity.finish();
            figures = parity.figures(true);
        }
        Ok(figures)
    }
}

async fn figures(facts: &Collection<Document>) -> Result<Figures, Failure> {
    let count = doc! {"$group": {"_id": {"type": "$type", "origin": "$origin"}, "count": {"$sum": 1i64}}};
    let groups: Vec<Document> = facts.aggregate([count]).await?.try_collect().await?;
    let mut figures = Figures::default();
    for group in groups {
        let (id, count) = (group.get_document("_id")?, u64::try_from(group.get_i64("count")?)?);
        let counts = match id.get_str("origin")? {
            "explicit" => &mut figures.explicit,
            _ => &mut figures.inferred,
        };
        counts.insert(id.get_str("type")?.to_owned(), count);
    }
    Ok(figures)
}
