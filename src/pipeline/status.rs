//! How the pipeline is: what `/healthz` and `/readyz` answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::coverage_log::CoverageLog;
use super::parity_log::ParityLog;

/// An answer to a question about the pipeline, with what speaks against it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What speaks against it, a sentence each; empty if nothing does.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// True if nothing speaks against it.
    pub fn is_good(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// The state of every part of a pipeline, shared with whoever is asked for it.
#[derive(Debug, Default)]
pub struct Status {
    parts: Mutex<BTreeMap<String, PartState>>,
    coverage: OnceLock<Mutex<CoverageLog>>,
    parity: OnceLock<Arc<ParityLog>>,
}

#[derive(Debug)]
enum PartState {
    Waiting(String),
    Ready,
    Failed(String),
}

impl Status {
    /// The status of a pipeline that has not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps account from now on of what the rules do not explain.
    pub fn keep_coverage(&self, log: CoverageLog) {
        // A second wish changes nothing.
        let _ = self.coverage.set(Mutex::new(log));
    }

    /// What the rules do not explain; nothing if no account is kept of it.
    pub fn coverage(&self) -> Option<MutexGuard<'_, CoverageLog>> {
        Some(self.coverage.get()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Compares inferred and explicit events from now on.
    pub fn keep_parity(&self, log: ParityLog) {
        // A second wish changes nothing.
        let _ = self.parity.set(Arc::new(log));
    }

    /// How inferred and explicit events compare; nothing if they are not compared.
    pub fn parity(&self) -> Option<&Arc<ParityLog>> {
        self.parity.get()
    }

    /// Healthy: no task has failed. Waiting for a server that is away is healthy; a restart would not help.
    pub fn health(&self) -> Verdict {
        self.verdict(|part, state| match state {
            PartState::Failed(reason) => Some(format!("{part} failed: {reason}")),
            PartState::Waiting(_) | PartState::Ready => None,
        })
    }

    /// Ready: the source and every sink are open, and the first checkpoint is saved, so that no later change can be missed.
    pub fn readiness(&self) -> Verdict {
        let mut verdict = self.verdict(|part, state| match state {
            PartState::Failed(reason) => Some(format!("{part} failed: {reason}")),
            PartState::Waiting(reason) => Some(format!("{part}: {reason}")),
            PartState::Ready => None,
        });
        if self.parts().is_empty() {
            verdict.reasons.push("the pipeline has not started".to_owned());
        }
        verdict
    }

    pub(super) fn waiting(&self, part: &str, reason: impl Into<String>) {
        self.set(part, PartState::Waiting(reason.into()));
    }

    pub(super) fn ready(&self, part: &str) {
        self.set(part, PartState::Ready);
    }

    pub(super) fn failed(&self, part: &str, reason: impl Into<String>) {
        self.set(part, PartState::Failed(reason.into()));
    }

    fn set(&self, part: &str, state: PartState) {
        let mut parts = self.parts();
        match parts.get_mut(part) {
            // The first failure is the one that explains the others.
            Some(PartState::Failed(_)) => {}
            Some(slot) => *slot = state,
            None => {
                parts.insert(part.to_owned(), state);
            }
        }
    }

    fn verdict(&self, against: impl Fn(&str, &PartState) -> Option<String>) -> Verdict {
        Verdict { reasons: self.parts().iter().filter_map(|(part, state)| against(part, state)).collect() }
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<String, PartState>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_ready_when_every_part_is_and_stays_failed_once_one_has_failed() {
        let status = Status::new();
        assert!(status.health().is_good());
        assert!(!status.readiness().is_good());
        status.waiting("source", "connecting");
        status.ready("sink out");
        assert_eq!(status.readiness().reasons, ["source: connecting"]);
        status.ready("source");
        assert!(status.readiness().is_good());
        status.failed("sink out", "it is gone");
        status.ready("sink out");
        assert_eq!(status.health().reasons, ["sink out failed: it is gone"]);
        assert!(!status.readiness().is_good());
    }
}
