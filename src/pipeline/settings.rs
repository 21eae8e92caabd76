//! The settings of the pipeline: what is buffered, how long is waited, how failures are tried again.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::quantity::{ByteCount, Period};

/// How much is buffered, how long is waited.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineSettings {
    /// The events that may wait for one sink. When as many wait, reading stops until the sink has taken some.
    pub queue_events_max: usize,
    /// The bytes of events that may wait for one sink. A single event that is larger passes alone.
    pub queue_bytes_max: ByteCount,
    /// The bytes of batches read ahead of the rules. At least one batch is always read.
    pub read_ahead_bytes_max: ByteCount,
    /// The bytes that rules with `transaction` may remember of transactions which have not ended. Past it they are undecided, with the
    /// reason `transaction_too_large`.
    pub transaction_bytes_max: ByteCount,
    /// The events handed to a sink at once.
    pub delivery_events_max: usize,
    /// The bytes of events handed to a sink at once. A single event that is larger is handed over alone.
    pub delivery_bytes_max: ByteCount,
    /// How long a sink may take for what it was handed. Then the delivery counts as failed and is tried again.
    pub delivery_timeout: Period,
    /// How long, after a signal to stop, the sinks may take to empty their queues. What is left is sent after the next start.
    pub drain_timeout: Period,
    /// How failures that may pass are tried again.
    pub retry: RetrySettings,
}

impl Default for PipelineSettings {
    fn default() -> Self {
        Self {
            queue_events_max: 10_000,
            queue_bytes_max: ByteCount(16 << 20),
            read_ahead_bytes_max: ByteCount(16 << 20),
            transaction_bytes_max: ByteCount(64 << 20),
            delivery_events_max: 1_000,
            delivery_bytes_max: ByteCount(4 << 20),
            delivery_timeout: Period::seconds(60),
            drain_timeout: Period::seconds(30),
            retry: RetrySettings::default(),
        }
    }
}

/// How failures that may pass are tried again: after pauses that grow, with jitter.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// The first pause.
    pub initial: Period,
    /// The longest pause.
    pub max: Period,
    /// By what each pause is longer than the one before.
    pub factor: f32,
    /// How often a sink is asked to take the same event before it goes to the dead letters; absent: for ever.
    /// Mind that an outage of the sink then sends events to the dead letters, too.
    pub attempts_max: Option<u32>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            initial: Period(std::time::Duration::from_millis(100)),
            max: Period::seconds(30),
            factor: 2.0,
            attempts_max: None,
        }
    }
}
