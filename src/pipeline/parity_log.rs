//! Inferred and explicit events compared while the pipeline runs: what the translator tells of them, what is shown, and what is kept
//! beside the checkpoint.
//!
//! What is saved is always taken after the position that it is saved with has settled, and every change is told before its position
//! can settle. So it speaks of all changes up to the position, and perhaps of some after it: those are told once more after a
//! restart, and left out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::error::chain;
use crate::change::{Batch, Change};
use crate::event::Event;
use crate::metrics::Metrics;
use crate::parity::{Parity, ParitySettings};
use crate::position::ClusterTime;
use crate::rules::RuleSet;

/// Compares the events of a run.
#[derive(Debug)]
pub struct ParityLog {
    settings: ParitySettings,
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    parity: Parity,
    /// The short hash of the rules that parity knows.
    rules: Option<Arc<str>>,
    /// What the metrics show: matched, different, missing, extra, by type; and what was given up.
    shown: HashMap<String, [u64; 4]>,
    given_up_shown: u64,
}

impl ParityLog {
    /// Nothing has been compared.
    pub fn new(settings: &ParitySettings, metrics: Arc<Metrics>) -> Self {
        let parity = Parity::new(settings);
        let inner = Inner { parity, rules: None, shown: HashMap::new(), given_up_shown: 0 };
        Self { settings: settings.clone(), metrics, inner: Mutex::new(inner) }
    }

    /// Goes on with what was saved beside the checkpoint.
    pub(super) fn restore(&self, saved: Option<&[u8]>) {
        let Some(saved) = saved else { return };
        match Parity::restored(&self.settings, saved) {
            Ok(parity) => {
                let mut inner = self.inner();
                inner.given_up_shown = parity.given_up_count();
                inner.shown = parity.tallies().map(|tally| (tally.name.to_owned(), tally.counts)).collect();
                inner.parity = parity;
                inner.show(&self.metrics, true);
            }
            Err(error) => tracing::warn!(error = %chain(&error), "parity begins anew"),
        }
    }

    /// These rules are in force.
    pub(super) fn expect(&self, rules: &RuleSet) {
        let mut inner = self.inner();
        if inner.rules.as_ref() == Some(rules.short_hash()) {
            return;
        }
        inner.rules = Some(rules.short_hash().clone());
        if inner.parity.expect(rules.short_hash(), rules.event_names()) {
            tracing::info!(
                ruleset = &**rules.short_hash(),
                "the rules are others now: the figures of parity begin anew"
            );
        }
    }

    /// A change and what was made of it.
    pub(super) fn note(&self, change: &Change<'_>, is_relayed: bool, events: &[Event]) {
        if change.transaction.is_some() || !events.is_empty() {
            self.inner().parity.note(change, is_relayed, events);
        }
    }

    /// What was made of transactions of this time after their end.
    pub(super) fn note_ended(&self, time: ClusterTime, events: &[Event]) {
        if !events.is_empty() {
            self.inner().parity.note_ended(time, events);
        }
    }

    /// A batch was noted to its end.
    pub(super) fn read(&self, batch: &Batch) {
        let mut inner = self.inner();
        if let Some(end) = &batch.end {
            inner.parity.pass(end.time);
        }
        if batch.leaves_nothing {
            inner.parity.caught_up();
        }
        inner.show(&self.metrics, false);
    }

    /// History was lost.
    pub(super) fn cut(&self) {
        self.inner().parity.cut();
    }

    /// Everything that is known, to be saved beside a position that had settled before.
    pub(super) fn save(&self) -> Vec<u8> {
        self.inner().parity.save()
    }

    /// The figures as JSON, without values of documents.
    pub fn to_json(&self) -> Value {
        let inner = self.inner();
        let mut figures = serde_json::to_value(inner.parity.figures(false)).unwrap_or_default();
        figures["rule_set"] = json!(inner.parity.rule_set());
        figures
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Brings the metrics up to date. `all` shows also what has not changed.
    fn show(&mut self, metrics: &Metrics, all: bool) {
        const RESULTS: [&str; 4] = ["matched", "different", "missing", "extra"];
        let metrics = &metrics.parity;
        metrics.pending.set(i64::try_from(self.parity.pending_count()).unwrap_or(i64::MAX));
        let given_up = self.parity.given_up_count();
        // After the figures have begun anew they are smaller than what was shown.
        let since = |now: u64, shown: u64| if now >= shown { now - shown } else { now };
        metrics.given_up.inc_by(since(given_up, self.given_up_shown));
        self.given_up_shown = given_up;
        for tally in self.parity.tallies() {
            let shown = self.shown.get(tally.name).copied().unwrap_or_default();
            if shown == tally.counts && !all {
                continue;
            }
            for ((result, now), shown) in RESULTS.iter().zip(tally.counts).zip(shown) {
                metrics.events.with_label_values(&[tally.name, *result]).inc_by(since(now, shown));
            }
            let gauges = [
                (&metrics.precision, tally.precision()),
                (&metrics.recall, tally.recall()),
                (&metrics.lag_seconds, tally.lag_ms().map(|lag_ms| lag_ms / 1_000.0)),
            ];
            for (gauge, value) in gauges {
                if let Some(value) = value {
                    gauge.with_label_values(&[tally.name]).set(value);
                }
            }
            self.shown.insert(tally.name.to_owned(), tally.counts);
        }
    }
}
