//! A real MongoDB on which scenarios are played, one after the other.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use changeling::app::{From, History, Images};
use changeling::config::{self, Config};
use changeling::pipeline::StopSignal;
use changeling::position::ClusterTime;
use changeling::yaml::SourceFile;
use changeling_servers::{ReplicaSet, ReplicaSetOptions};
use mongodb::{Client, ClientSession, Database};
use serde_json::{Value, json};

use super::Failure;
use super::scenario::{Gone, Scenario, Step, command, document};
use super::witness::{Story, Witness};

/// The database in which every scenario happens.
pub const DATABASE: &str = "shop";

/// A replica set of one.
pub struct Stage {
    set: ReplicaSet,
    client: Client,
}

impl Stage {
    /// Starts the server; its TTL indexes are served every second.
    ///
    /// # Errors
    /// If it can not be started.
    pub async fn start() -> Result<Self, Failure> {
        let arguments = ["--setParameter", "ttlMonitorSleepSecs=1"].map(str::to_owned).to_vec();
        let set = ReplicaSet::start(&ReplicaSetOptions { arguments, ..ReplicaSetOptions::default() }).await?;
        let client = set.client().await?;
        Ok(Self { set, client })
    }

    /// Plays a scenario, lets changeling read what it left in the log, and gives what came of each step.
    ///
    /// The writing comes first and the reading after it, as with a connector that lags a little: so it is always the same.
    ///
    /// # Errors
    /// If the scenario can not be played, or changeling can not use its rules.
    pub async fn play(&self, scenario: &Scenario) -> Result<Story, Failure> {
        let database = self.client.database(DATABASE);
        database.drop().await?;
        for (name, options) in &scenario.collections {
            let mut create = doc! {"create": name};
            create.extend(document(options)?);
            run(&database, create, None).await?;
        }
        for step in &scenario.before {
            self.perform(&database, step).await?;
        }
        let begin = now(&database).await?;
        let mut ends = Vec::new();
        for step in &scenario.steps {
            self.perform(&database, step).await?;
            ends.push(now(&database).await?);
        }
        let start = From::At(ClusterTime { increment: begin.increment + 1, ..begin });
        let mut story = self.read(scenario, &scenario.rules, start, &ends).await?;
        if !scenario.better_rules.is_empty() {
            story.better_figures = Some(self.read(scenario, &scenario.better_rules, start, &ends).await?.figures);
        }
        Ok(story)
    }

    /// What rules and relays make of the log from a place on.
    async fn read(
        &self,
        scenario: &Scenario,
        rules: &[Value],
        start: From,
        ends: &[ClusterTime],
    ) -> Result<Story, Failure> {
        let config = self.config(scenario, rules)?;
        let images = Images::BeforeNeededAndLookedUp(config.rule_set.clone());
        let history = History::of_database(&config, start, &images).await?;
        let mut witness = Witness::new(&config, ends)?;
        history
            .read(&StopSignal::new(), |batch| {
                witness.see(batch);
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        Ok(witness.finish())
    }

    async fn perform(&self, database: &Database, step: &Step) -> Result<(), Failure> {
        for number in step.numbers() {
            for template in &step.run {
                run(database, command(template, number)?, None).await?;
            }
            if !step.transaction.is_empty() {
                let mut session = self.client.start_session().await?;
                session.start_transaction().await?;
                for template in &step.transaction {
                    run(database, command(template, number)?, Some(&mut session)).await?;
                }
                session.commit_transaction().await?;
            }
        }
        match &step.until_gone {
            Some(gone) => wait_until_gone(database, gone).await,
            None => Ok(()),
        }
    }

    /// The configuration that reads this scenario; its rules lie in a folder of their own.
    fn config(&self, scenario: &Scenario, rules: &[Value]) -> Result<Config, Failure> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("rules.yaml"), json!({"version": 1, "rules": rules}).to_string())?;
        let config = json!({
            "name": "limitations",
            "source": {"uri": self.set.uri(), "watch": [DATABASE], "await_time": "100ms"},
            "rules": ["rules.yaml"],
            "explicit": scenario.explicit,
            "parity": scenario.parity,
            "sinks": {},
        });
        let file = SourceFile { name: format!("{}.yaml", scenario.name), text: config.to_string() };
        Ok(config::read_text(&file, folder.path()).usable()?)
    }
}

/// Runs a command; a write that was refused is an error too.
async fn run(database: &Database, command: Document, session: Option<&mut ClientSession>) -> Result<(), Failure> {
    let reply = match session {
        Some(session) => database.run_command(command).session(session).await?,
        None => database.run_command(command).await?,
    };
    match reply.get("writeErrors") {
        Some(errors) => Err(format!("a write was refused: {errors}").into()),
        None => Ok(()),
    }
}

/// The place in the log up to which everything has happened.
async fn now(database: &Database) -> Result<ClusterTime, Failure> {
    Ok(database.run_command(doc! {"ping": 1}).await?.get_timestamp("operationTime")?.into())
}

async fn wait_until_gone(database: &Database, gone: &Gone) -> Result<(), Failure> {
    const PATIENCE: Duration = Duration::from_secs(120);
    let (filter, begun) = (document(&gone.filter)?, Instant::now());
    let collection = database.collection::<Document>(&gone.collection);
    while collection.find_one(filter.clone()).await?.is_some() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{}: {} is still there after two minutes", gone.collection, gone.filter).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
