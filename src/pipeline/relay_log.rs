//! Counts and tells what relays found beside events: what they make nothing of, and streams that are out of order. No values: a
//! stream's id is in the gap event alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::PipelineError;
use crate::explicit::{Noted, Relays};
use crate::metrics::Metrics;
use crate::position::ClusterTime;

/// How long the log is silent about the same after a warning; what happens meanwhile is counted.
const SILENCE: Duration = Duration::from_secs(60);

/// Tells what relays noted.
pub(super) struct RelayLog {
    metrics: Arc<Metrics>,
    /// The names of the relays, by number.
    relays: Vec<String>,
    /// By relay and word.
    warnings: HashMap<(usize, &'static str), Warning>,
}

#[derive(Default)]
struct Warning {
    told_at: Option<Instant>,
    untold_count: u64,
}

impl RelayLog {
    pub(super) fn new(relays: &Relays, metrics: Arc<Metrics>) -> Self {
        Self { metrics, relays: relays.collections().map(ToString::to_string).collect(), warnings: HashMap::new() }
    }

    /// Tells what was noted of a change of this time, and takes it out; what has to be cleaned up stays.
    ///
    /// # Errors
    /// The change is one that the connector is to stop at.
    pub(super) fn tell(&mut self, noted: &mut Noted, time: ClusterTime) -> Result<(), PipelineError> {
        for ignored in noted.ignored.drain(..) {
            let Some(relay) = self.relays.get(ignored.relay) else { continue };
            if ignored.is_fatal {
                return Err(PipelineError::InvalidOperation { relay: relay.clone(), what: ignored.what, time });
            }
            self.metrics.relays.ignored.with_label_values(&[relay.as_str(), ignored.what]).inc();
            let warning = self.warnings.entry((ignored.relay, ignored.what)).or_default();
            if let Some(count) = warning.count_to_tell(Instant::now()) {
                tracing::warn!(%relay, kind = ignored.what, count, "a relay makes no event of such a change");
            }
        }
        for relay in noted.unverified.drain(..).filter_map(|relay| self.relays.get(relay)) {
            self.metrics.relays.streams_unverified.with_label_values(&[relay]).inc();
        }
        for fault in noted.faults.drain(..) {
            let Some(relay) = self.relays.get(fault.relay) else { continue };
            let kind = fault.kind.as_str();
            self.metrics.relays.stream_faults.with_label_values(&[relay.as_str(), kind]).inc();
            tracing::error!(
                %relay,
                kind,
                expected = fault.expected,
                found = fault.found,
                "a stream of the event store is out of order; the gap event before it says which"
            );
        }
        Ok(())
    }
}

impl Warning {
    /// How often it has happened since it was told last, if it is to be told now.
    fn count_to_tell(&mut self, now: Instant) -> Option<u64> {
        self.untold_count += 1;
        if self.told_at.is_some_and(|told_at| now.saturating_duration_since(told_at) < SILENCE) {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold_count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_now_and_then_with_its_count() {
        let mut warning = Warning::default();
        let start = Instant::now();
        let told = [0, 1, 59, 60, 61, 200].map(|seconds| warning.count_to_tell(start + Duration::from_secs(seconds)));
        assert_eq!(told, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
