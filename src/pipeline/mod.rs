//! From changes to settled events: the only place that spawns tasks.
//!
//! ```text
//! reader --batches--> translator --events--> lane (one per sink)
//!                         |                     |
//!                         +------> ledger <-----+---> saver ---> checkpoint
//!                         |          |
//!                         +----> cleaner ---> outboxes
//! ```
//!
//! The promise: a position is saved only after every lane has settled everything up to it. What is to be cleaned up of it is
//! cleaned up between the two.

mod backoff;
mod begin;
mod catch_up;
mod cleaner;
mod coverage_log;
mod crew;
mod dead_letter_writer;
mod error;
mod exchange;
mod gap;
mod lane;
mod lease;
mod ledger;
mod observation;
mod parity_log;
mod progress;
mod queue;
mod reader;
mod relay_log;
mod rule_slot;
mod run;
mod saver;
mod settings;
mod status;
mod stop;
mod tally;
mod translator;

use std::sync::Arc;
use std::time::Duration;

pub use coverage_log::CoverageLog;
pub use error::PipelineError;
pub use parity_log::ParityLog;
pub use rule_slot::{ExchangeError, Exchanged, RuleSlot};
pub use settings::{PipelineSettings, RetrySettings};
pub use status::{Status, Verdict};
pub use stop::StopSignal;

use crate::checkpoint::Store;
use crate::explicit::Relays;
use crate::metrics::Metrics;
use crate::outbox::Outboxes;
use crate::position::{Position, Start};
use crate::sink::{DeadLetters, Sink};
use crate::source::{OnLostPosition, Source};

/// The parts of one run, ready to start.
pub struct Pipeline {
    /// Where changes come from.
    pub source: Box<dyn Source>,
    /// Where to begin if there is no checkpoint.
    pub start: Start,
    /// What to do when the source does not hold our position any more.
    pub on_lost_position: OnLostPosition,
    /// What makes events of changes. Keep a clone to exchange the rules while the pipeline runs.
    pub rules: RuleSlot,
    /// What passes on events that the application wrote itself.
    pub relays: Relays,
    /// What of the application's own is read and cleaned up for them, if anything is.
    pub outboxes: Option<Arc<dyn Outboxes>>,
    /// Where events go: every event to every lane, or to those that it names.
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
