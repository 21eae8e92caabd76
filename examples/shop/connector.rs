//! changeling as a library: a configuration, a sink of our own, and a run that we stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use changeling::app::{App, AppError};
use changeling::config;
use changeling::pipeline::{RunReport, StopSignal};
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
sinks:
  facts: {mongodb: {collection: facts.events}}
http: {listen: "127.0.0.1:0"}
"#;

/// changeling, running beside the shop.
pub struct Connector {
    running: JoinHandle<Result<RunReport, AppError>>,
    stop: StopSignal,
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
        let config = config::read_text(&file, folder).usable()?;
        let rules = config.rule_set.clone();
        for name in COLLECTIONS {
            let needs = rules.image_needs(DATABASE, name);
            let images = doc! {"enabled": needs.before || needs.after};
            let create = doc! {"create": name, "changeStreamPreAndPostImages": images};
            client.database(DATABASE).run_command(create).await?;
        }
        let mut app = App::from_config(config).await?;
        if !quiet {
            app.add_sink("screen", Box::new(Screen));
        }
        let (address, status, stop) = (app.http_address(), app.status(), StopSignal::new());
        let running = tokio::spawn(app.run(stop.clone()));
        let facts = client.database("facts").collection("events");
        let connector = Self { running, stop, facts, address, rule_count: rules.len() };
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

    /// How often each event is in the collection that changeling writes events to.
    pub async fn figures(&self) -> Result<BTreeMap<String, u64>, Failure> {
        figures(&self.facts).await
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
    pub async fn stop(self) -> Result<BTreeMap<String, u64>, Failure> {
        self.stop.request();
        self.running.await??;
        figures(&self.facts).await
    }
}

async fn figures(facts: &Collection<Document>) -> Result<BTreeMap<String, u64>, Failure> {
    let count = doc! {"$group": {"_id": "$type", "count": {"$sum": 1i64}}};
    let groups: Vec<Document> = facts.aggregate([count]).await?.try_collect().await?;
    let mut figures = BTreeMap::new();
    for group in groups {
        figures.insert(group.get_str("_id")?.to_owned(), u64::try_from(group.get_i64("count")?)?);
    }
    Ok(figures)
}
