//! Every figure that Prometheus can scrape. `docs/metrics.md` lists them; a test keeps code and page equal.
//!
//! Labels come from closed sets (sinks, rules, collections, reasons), never from documents.

use std::sync::OnceLock;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder, core::Collector,
};

/// The registry and the families the parts of changeling report to.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Changes read, by `operation` and `collection`.
    pub changes: IntCounterVec,
    /// Changes for which no rule fired, by `collection`.
    pub changes_unmatched: IntCounterVec,
    /// Notices (drop, rename, invalidate, ...) read, by `type`.
    pub notices: IntCounterVec,
    /// Change documents that could not be decoded (each is dead-lettered).
    pub changes_undecodable: IntCounter,
    /// Changes over the server's limit for one event, read without images.
    pub changes_oversize: IntCounter,
    /// Documents looked up after the change, by `outcome` (found, gone).
    pub look_ups: IntCounterVec,
    /// Events that a sink has taken for good, by `rule` and `sink`.
    pub events: IntCounterVec,
    /// Conditions that could not be decided, by `rule` and `reason`.
    pub rule_unknown: IntCounterVec,
    /// Bytes remembered of transactions that have not ended.
    pub transaction_bytes: IntGauge,
    /// Bytes of replies read from the source.
    pub source_bytes: IntCounter,
    /// Batches read from the source.
    pub source_batches: IntCounter,
    /// Times the source was opened again, by `reason`.
    pub source_reconnects: IntCounterVec,
    /// 1 while the source is open.
    pub source_open: IntGauge,
    /// Positions lost, each followed by a gap event.
    pub gaps: IntCounter,
    /// Events waiting in a lane, by `sink`.
    pub lane_events: IntGaugeVec,
    /// Bytes waiting in a lane, by `sink`.
    pub lane_bytes: IntGaugeVec,
    /// Time from handing a batch to a sink until it is settled, by `sink`.
    pub delivery_seconds: HistogramVec,
    /// Deliveries tried again, by `sink`.
    pub delivery_retries: IntCounterVec,
    /// Events given up and put into the dead letters, by `sink` and `rule`.
    pub dead_letters: IntCounterVec,
    /// Checkpoints saved.
    pub checkpoint_saves: IntCounter,
    /// Attempts to save a checkpoint that failed.
    pub checkpoint_failures: IntCounter,
    /// Time it took to save a checkpoint.
    pub checkpoint_seconds: Histogram,
    /// Which rules are in force.
    pub rule_set: RuleSetMetrics,
    /// What is read from outboxes and cleaned up there.
    pub outboxes: OutboxMetrics,
    /// What relays of explicit events found beside them.
    pub relays: RelayMetrics,
    /// How inferred and explicit events compare.
    pub parity: ParityMetrics,
    late: LateGauges,
}

/// How inferred and explicit events compare.
#[derive(Debug)]
pub struct ParityMetrics {
    /// What became of them, by `type` and `result`: matched, different, missing, extra. A pair counts once.
    pub events: IntCounterVec,
    /// The share of the inferred events that has an explicit one, by `type`.
    pub precision: GaugeVec,
    /// The share of the explicit events that has an inferred one, by `type`.
    pub recall: GaugeVec,
    /// How much later, in the middle, the explicit event of a pair was committed, by `type`.
    pub lag_seconds: GaugeVec,
    /// Events that wait for a partner.
    pub pending: IntGauge,
    /// Events that could not be compared.
    pub given_up: IntCounter,
}

impl ParityMetrics {
    fn new(families: &Families<'_>) -> Result<Self, prometheus::Error> {
        let shares = |name: &str, help: &str| families.registered(GaugeVec::new(Opts::new(name, help), &["type"])?);
        Ok(Self {
            events: families.counters(
                "changeling_parity_events_total",
                "Inferred and explicit events compared.",
                &["type", "result"],
            )?,
            precision: shares(
                "changeling_parity_precision",
                "The share of the inferred events that has an explicit one.",
            )?,
            recall: shares("changeling_parity_recall", "The share of the explicit events that has an inferred one.")?,
            lag_seconds: shares(
                "changeling_parity_lag_seconds",
                "How much later the explicit event of a pair was committed.",
            )?,
            pending: families.gauge("changeling_parity_pending", "Events that wait for a partner.")?,
            given_up: families.counter("changeling_parity_given_up_total", "Events that could not be compared.")?,
        })
    }
}

/// Which rules are in force, and how the last attempt to exchange them ended.
#[derive(Debug)]
pub struct RuleSetMetrics {
    loaded: IntGauge,
    info: IntGaugeVec,
    /// Attempts to put other rules in force, by `result`: adopted, unchanged, refused.
    pub reloads: IntCounterVec,
    /// 1 if the newest rules were refused, so that others are in force than those in the files.
    pub refused: IntGauge,
}

/// What relays of explicit events found beside them.
#[derive(Debug)]
pub struct RelayMetrics {
    /// Changes that a relay made nothing of, by `relay` and `kind`.
    pub ignored: IntCounterVec,
    /// Versions of a stream that are not the next one, by `relay` and `kind`.
    pub stream_faults: IntCounterVec,
    /// Streams that were first seen in their middle, by `relay`.
    pub streams_unverified: IntCounterVec,
}

impl RelayMetrics {
    fn new(families: &Families<'_>) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| families.counters(name, help, labels);
        Ok(Self {
            ignored: counters(
                "changeling_relay_ignored_total",
                "Changes that a relay made no event of.",
                &["relay", "kind"],
            )?,
            stream_faults: counters(
                "changeling_stream_faults_total",
                "Versions of a stream that are not the next one.",
                &["relay", "kind"],
            )?,
            streams_unverified: counters(
                "changeling_streams_unverified_total",
                "Streams that were first seen in their middle.",
                &["relay"],
            )?,
        })
    }
}

impl RuleSetMetrics {
    fn new(families: &Families<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            loaded: families.gauge("changeling_rules", "Rules that are enabled.")?,
            info: families.gauges(
                "changeling_rules_info",
                "Always 1; the label tells the rule set in force.",
                &["ruleset"],
            )?,
            reloads: families.counters(
                "changeling_rules_reloads_total",
                "Attempts to put other rules in force.",
                &["result"],
            )?,
            refused: families.gauge("changeling_rules_refused", "1 if the newest rules were refused.")?,
        })
    }

    /// The rule set in force: its short hash and the number of its rules.
    pub fn set(&self, short_hash: &str, rule_count: usize) {
        self.loaded.set(i64::try_from(rule_count).unwrap_or(i64::MAX));
        self.info.reset();
        self.info.with_label_values(&[short_hash]).set(1);
    }
}

/// What is read from outboxes and cleaned up there.
#[derive(Debug)]
pub struct OutboxMetrics {
    /// Explicit events whose document or element was cleaned up after they had settled, by `relay`.
    pub cleaned: IntCounterVec,
    /// The same that wait for it.
    pub waiting: IntGauge,
    /// Attempts to clean up that failed.
    pub failures: IntCounter,
    /// Documents read at the start because they may not have been relayed, by `relay`.
    pub caught_up: IntCounterVec,
}

impl OutboxMetrics {
    fn new(families: &Families<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            cleaned: families.counters(
                "changeling_outbox_cleaned_total",
                "Explicit events cleaned up after they had settled.",
                &["relay"],
            )?,
            waiting: families.gauge("changeling_outbox_waiting", "Explicit events that are not cleaned up yet.")?,
            failures: families
                .counter("changeling_outbox_clean_up_failures_total", "Attempts to clean up that failed.")?,
            caught_up: families.counters(
                "changeling_outbox_caught_up_total",
                "Documents read because they may not have been relayed.",
                &["relay"],
            )?,
        })
    }
}

/// Gauges that are absent until their value is known: a wrong 0 would hide an outage.
#[derive(Debug, Default)]
struct LateGauges {
    lag_seconds: OnceLock<Gauge>,
    oplog_runway_seconds: OnceLock<Gauge>,
    checkpoint_age_seconds: OnceLock<Gauge>,
}

/// Makes and registers one family after the other.
struct Families<'r>(&'r Registry);

impl Families<'_> {
    fn registered<F: Collector + Clone + 'static>(&self, family: F) -> Result<F, prometheus::Error> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.registered(IntCounter::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.registered(IntGauge::new(name, help)?)
    }
}

/// Upper bounds of the latency histograms, in seconds.
const LATENCY_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

fn register_process(registry: &Registry) -> Result<(), prometheus::Error> {
    let build_info =
        GaugeVec::new(Opts::new("changeling_build_info", "Always 1; the labels tell the build."), &["version"])?;
    registry.register(Box::new(build_info.clone()))?;
    build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    #[cfg(target_os = "linux")]
    registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
    Ok(())
}

impl Metrics {
    /// A fresh registry with every family, the build information and the process's own figures.
    ///
    /// # Errors
    /// Only if two families have the same name, which a test rules out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let families = Families(&registry);
        let counters = |name: &str, help: &str, labels: &[&str]| families.counters(name, help, labels);
        let counter = |name: &str, help: &str| families.counter(name, help);
        let gauges = |name: &str, help: &str, labels: &[&str]| families.gauges(name, help, labels);
        let gauge = |name: &str, help: &str| families.gauge(name, help);
        let latency = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
        let delivery = latency("changeling_sink_delivery_seconds", "Time until a sink has settled a batch.");
        let delivery_seconds = families.registered(HistogramVec::new(delivery, &["sink"])?)?;
        let saving = latency("changeling_checkpoint_save_seconds", "Time it takes to save a checkpoint.");
        let checkpoint_seconds = families.registered(Histogram::with_opts(saving)?)?;
        register_process(&registry)?;
        Ok(Self {
            changes: counters("changeling_changes_total", "Changes read.", &["operation", "collection"])?,
            changes_unmatched: counters(
                "changeling_changes_unmatched_total",
                "Changes that fired no rule.",
                &["collection"],
            )?,
            notices: counters("changeling_notices_total", "Notices of the source that are no changes.", &["type"])?,
            changes_undecodable: counter("changeling_changes_undecodable_total", "Changes that could not be decoded.")?,
            changes_oversize: counter(
                "changeling_changes_oversize_total",
                "Changes too large for one event of the server.",
            )?,
            look_ups: counters("changeling_look_ups_total", "Documents looked up after their change.", &["outcome"])?,
            events: counters("changeling_events_total", "Events settled in a sink.", &["rule", "sink"])?,
            rule_unknown: counters(
                "changeling_rule_unknown_total",
                "Conditions that could not be decided.",
                &["rule", "reason"],
            )?,
            transaction_bytes: gauge(
                "changeling_transaction_bytes",
                "Bytes remembered of transactions that have not ended.",
            )?,
            source_bytes: counter("changeling_source_bytes_total", "Bytes read from the source.")?,
            source_batches: counter("changeling_source_batches_total", "Batches read from the source.")?,
            source_reconnects: counters(
                "changeling_source_reconnects_total",
                "Times the source was opened again.",
                &["reason"],
            )?,
            source_open: gauge("changeling_source_open", "1 while the source is open.")?,
            gaps: counter("changeling_gaps_total", "Lost positions that were bridged by a gap event.")?,
            lane_events: gauges("changeling_lane_queue_events", "Events waiting for a sink.", &["sink"])?,
            lane_bytes: gauges("changeling_lane_queue_bytes", "Bytes of events waiting for a sink.", &["sink"])?,
            delivery_seconds,
            delivery_retries: counters("changeling_sink_retries_total", "Deliveries tried again.", &["sink"])?,
            dead_letters: counters(
                "changeling_dead_letters_total",
                "Events put into the dead letters.",
                &["sink", "rule"],
            )?,
            checkpoint_saves: counter("changeling_checkpoint_saves_total", "Checkpoints saved.")?,
            checkpoint_failures: counter(
                "changeling_checkpoint_failures_total",
                "Checkpoints that could not be saved.",
            )?,
            checkpoint_seconds,
            rule_set: RuleSetMetrics::new(&families)?,
            outboxes: OutboxMetrics::new(&families)?,
            relays: RelayMetrics::new(&families)?,
            parity: ParityMetrics::new(&families)?,
            late: LateGauges::default(),
            registry,
        })
    }

    /// Seconds by which the settled position is behind the source.
    pub fn set_lag_seconds(&self, seconds: f64) {
        self.set_late(
            &self.late.lag_seconds,
            "changeling_lag_seconds",
            "Seconds the settled position is behind.",
            seconds,
        );
    }

    /// Seconds until the settled position leaves the oplog, at its present rate.
    pub fn set_oplog_runway_seconds(&self, seconds: f64) {
        let help = "Seconds until our position leaves the oplog.";
        self.set_late(&self.late.oplog_runway_seconds, "changeling_oplog_runway_seconds", help, seconds);
    }

    /// Seconds since the checkpoint was last saved or found to be up to date.
    pub fn set_checkpoint_age_seconds(&self, seconds: f64) {
        let help = "Seconds since the checkpoint was true.";
        self.set_late(&self.late.checkpoint_age_seconds, "changeling_checkpoint_age_seconds", help, seconds);
    }

    fn set_late(&self, slot: &OnceLock<Gauge>, name: &str, help: &str, value: f64) {
        if slot.get().is_none()
            && let Ok(gauge) = Gauge::new(name, help)
            && slot.set(gauge.clone()).is_ok()
            && let Err(error) = self.registry.register(Box::new(gauge))
        {
            tracing::error!(%error, name, "a metric could not be registered");
        }
        if let Some(gauge) = slot.get() {
            gauge.set(value);
        }
    }

    /// All figures in Prometheus's text format.
    ///
    /// # Errors
    /// Only if a family breaks the rules of the format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
