//! From changes to settled events: the only place that spawns tasks.
//!
//! ```text
//! reader --batches--> translator --events--> lane (one per sink)
//!                         |                     |
//!                         +------> ledger <-----+---> saver ---> checkpoint
//! ```
//!
//! The promise: a position is saved only after every lane has settled everything up to it.

mod error;
mod rule_slot;
mod settings;
mod status;
mod stop;

use std::sync::Arc;
use std::time::Duration;

pub use error::PipelineError;
pub use rule_slot::RuleSlot;
pub use settings::{OnLostPosition, PipelineSettings, RetrySettings};
pub use status::{Status, Verdict};
pub use stop::StopSignal;

use crate::change::Entry;
use crate::checkpoint::{Checkpoint, Store};
use crate::event::Event;
use crate::metrics::Metrics;
use crate::position::{Position, Start};
use crate::rules::Outcome;
use crate::sink::{DeadLetters, Sink};
use crate::source::Source;

/// The parts of one run, ready to start.
pub struct Pipeline {
    /// Where changes come from.
    pub source: Box<dyn Source>,
    /// Where to begin if there is no checkpoint.
    pub start: Start,
    /// What to do when the source does not hold our position any more.
    pub on_lost_position: OnLostPosition,
    /// What makes events of changes. Keep a clone to swap the rules while the pipeline runs.
    pub rules: RuleSlot,
    /// Where events go: every event to every lane.
    pub lanes: Vec<LaneParts>,
    /// Where goes what can not be delivered.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Where the checkpoint is kept.
    pub store: Arc<dyn Store>,
    /// How often the checkpoint is saved if it has moved.
    pub checkpoint_interval: Duration,
    /// How long the store keeps us the owner after the last sign of life; it is renewed every third of it.
    pub lease: Duration,
    /// Bounds, timeouts and retries.
    pub settings: PipelineSettings,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is told to who asks how we are.
    pub status: Arc<Status>,
}

/// One sink and its name.
pub struct LaneParts {
    /// The name of the sink in the configuration; it labels logs and metrics.
    pub name: String,
    /// The sink.
    pub sink: Box<dyn Sink>,
}

/// What a run did until it was asked to stop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunReport {
    /// Changes read.
    pub changes_count: u64,
    /// Events made of them.
    pub events_count: u64,
    /// Events that some sink had not settled when the time to drain was over. They are sent again after the next start.
    pub unsettled_events_count: u64,
    /// The position that was saved last, if one was.
    pub position: Option<Position>,
}

impl Pipeline {
    /// Runs until `stop` is given or a part fails in a way that only an operator can mend.
    ///
    /// # Errors
    /// What failed, after the lanes that still work have drained.
    pub async fn run(mut self, stop: StopSignal) -> Result<RunReport, PipelineError> {
        let saved = self.store.acquire().await.map_err(PipelineError::Checkpoint)?;
        let deployment = self.source.deployment().await.map_err(PipelineError::Source)?;
        let start = start_from(saved, &deployment, &self.source.scope(), &self.start)?;
        self.source.open(&start).await.map_err(PipelineError::Source)?;
        for lane in &mut self.lanes {
            let sink = |source| PipelineError::Sink { sink: lane.name.clone(), source };
            lane.sink.open().await.map_err(sink)?;
            self.status.ready(&lane.name);
        }
        self.status.ready("source");
        let mut report = RunReport::default();
        let mut outcome = Outcome::default();
        loop {
            let batch = tokio::select! {
                () = stop.requested() => break,
                batch = self.source.next() => batch.map_err(PipelineError::Source)?,
            };
            outcome.clear();
            let rules = self.rules.current();
            for entry in batch.entries() {
                if let Ok(Entry::Change(change)) = entry {
                    report.changes_count += 1;
                    rules.apply(&change, &mut outcome);
                }
            }
            let events: Vec<Arc<Event>> = outcome.events.drain(..).map(Arc::new).collect();
            report.events_count += events.len() as u64;
            for lane in &mut self.lanes {
                let sink = |source| PipelineError::Sink { sink: lane.name.clone(), source };
                lane.sink.deliver(&events).await.map_err(|undelivered| sink(undelivered.error))?;
            }
            if let Some(position) = batch.end {
                let scope = self.source.scope();
                let checkpoint = Checkpoint { deployment: deployment.clone(), scope, position };
                self.store.save(&checkpoint).await.map_err(PipelineError::Checkpoint)?;
                report.position = Some(checkpoint.position);
            }
        }
        for lane in &mut self.lanes {
            let sink = |source| PipelineError::Sink { sink: lane.name.clone(), source };
            lane.sink.close().await.map_err(sink)?;
        }
        self.store.release().await.map_err(PipelineError::Checkpoint)?;
        Ok(report)
    }
}

/// Where to begin: at the checkpoint if it is of this deployment, by its time only if what is watched has changed.
fn start_from(
    saved: Option<Checkpoint>,
    deployment: &str,
    scope: &str,
    otherwise: &Start,
) -> Result<Start, PipelineError> {
    let Some(saved) = saved else { return Ok(otherwise.clone()) };
    if saved.deployment != deployment {
        return Err(PipelineError::OtherDeployment { saved: saved.deployment, source_is: deployment.to_owned() });
    }
    if saved.scope != scope {
        tracing::info!(time = %saved.position.time, "what is watched has changed: going on from the checkpoint's time");
        return Ok(Start::At(saved.position.time));
    }
    Ok(Start::Resume(saved.position))
}
