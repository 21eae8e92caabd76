//! Other rules while the connector runs: when the rule files change, or SIGHUP asks for it, they are read, tested and put in force.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mongodb::Client;
use tokio::sync::Notify;

use crate::config::{Config, RulesRefusal};
use crate::metrics::Metrics;
use crate::pipeline::{ExchangeError, Exchanged, RuleSlot};
use crate::rules::RuleSet;
use crate::source::ChangeStreamSource;
use crate::yaml::Diagnostic;

/// Asks a running connector to read its rules again.
#[derive(Clone, Debug, Default)]
pub struct ReloadRequest {
    asked: Arc<Notify>,
}

impl ReloadRequest {
    /// A request that nobody has made.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for it. Requests that come while one waits are one.
    pub fn request(&self) {
        self.asked.notify_one();
    }
}

/// The answer to an exchange that is under way.
type Answer = Pin<Box<dyn Future<Output = Option<Result<Exchanged, ExchangeError>>> + Send>>;

/// Reads the rules again, and asks the pipeline to put them in force.
pub(super) struct Reloader {
    config: Arc<Config>,
    client: Client,
    slot: RuleSlot,
    request: ReloadRequest,
    metrics: Arc<Metrics>,
    watch: Watch,
    /// The set that is on its way into force.
    under_way: Option<(Arc<RuleSet>, Answer)>,
}

/// Looks at the rule files from time to time.
///
/// A look reads them whole. It needs no library and no limits of the system, works on every kind of mount and behind every kind of link,
/// and costs a few milliseconds where there are thousands of rules.
struct Watch {
    interval: Option<Duration>,
    /// The state of the files that was read last.
    read: Option<[u8; 32]>,
    /// Another state, seen once: the files may still be being written.
    seen: Option<[u8; 32]>,
}

impl Reloader {
    pub(super) fn new(
        config: Arc<Config>,
        client: Client,
        slot: RuleSlot,
        request: ReloadRequest,
        metrics: Arc<Metrics>,
    ) -> Self {
        let interval = config.reload.watch.then_some(config.reload.interval.0);
        let watch = Watch { interval, read: None, seen: None };
        Self { config, client, slot, request, metrics, watch, under_way: None }
    }

    /// Runs for ever.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.request.asked.notified() => {
                    tracing::info!("asked to read the rules again");
                    self.reload(true).await;
                }
                () = self.watch.changed(&self.config) => self.reload(false).await,
                answer = answered(&mut self.under_way) => self.tell(answer),
            }
        }
    }

    /// Reads the rules. `was_asked` is false if only the files have changed: then a set like that in force is no news.
    async fn reload(&mut self, was_asked: bool) {
        let config = self.config.clone();
        let read = tokio::task::spawn_blocking(move || (config.rule_files_fingerprint(), config.read_rules_again()));
        let Ok((fingerprint, read)) = read.await else { return };
        self.watch.read = Some(fingerprint);
        let rules = match read {
            Ok(rules) => rules,
            Err(refusal) => return self.refuse(&refusal),
        };
        let newest = self.under_way.as_ref().map_or_else(|| self.slot.current(), |(rules, _)| rules.clone());
        if rules.hash() == newest.hash() {
            self.metrics.rule_set.refused.set(0);
            if was_asked {
                self.count("unchanged");
                tracing::info!(ruleset = &**rules.short_hash(), "the rules are those in force");
            }
            return;
        }
        let plan = self.config.plan(&rules);
        let mut source =
            ChangeStreamSource::new(self.client.clone(), &self.config.source, plan.clone(), self.metrics.clone());
        if let Err(error) = super::see_to_images(&self.config, &rules, &mut source).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the images that the new rules need can not be seen to"
            );
        }
        let answer = self.slot.exchange(rules.clone(), Some(plan));
        self.under_way = Some((rules, Box::pin(answer)));
    }

    fn refuse(&self, refusal: &RulesRefusal) {
        self.count("refused");
        self.metrics.rule_set.refused.set(1);
        let in_force = self.slot.current();
        tracing::error!(
            error = refusal as &dyn std::error::Error,
            ruleset = &**in_force.short_hash(),
            "the new rules are refused; the rule set before stays in force"
        );
        match refusal {
            RulesRefusal::Errors(diagnostics) => {
                for Diagnostic { file, line, column, code, message, help, .. } in diagnostics.iter() {
                    tracing::error!(file, line, column, code, help, "{message}");
                }
            }
            RulesRefusal::Files(_)
            | RulesRefusal::Tests(_)
            | RulesRefusal::Ring { .. }
            | RulesRefusal::Reserved { .. } => {}
        }
    }

    /// The pipeline has told the rest in its own log.
    fn tell(&mut self, answer: Option<Result<Exchanged, ExchangeError>>) {
        self.under_way = None;
        match answer {
            Some(Ok(_)) => {
                self.count("adopted");
                self.metrics.rule_set.refused.set(0);
            }
            Some(Err(ExchangeError::Refused { .. })) => {
                self.count("refused");
                self.metrics.rule_set.refused.set(1);
            }
            // The pipeline is ending, or a later set is on its way.
            Some(Err(ExchangeError::Superseded)) | None => {}
        }
    }

    fn count(&self, result: &str) {
        self.metrics.rule_set.reloads.with_label_values(&[result]).inc();
    }
}

/// The answer to the exchange under way; for ever none if there is none.
async fn answered(under_way: &mut Option<(Arc<RuleSet>, Answer)>) -> Option<Result<Exchanged, ExchangeError>> {
    match under_way {
        Some((_, answer)) => answer.await,
        None => std::future::pending().await,
    }
}

impl Watch {
    /// Waits until the files are others than those read last, and the same twice. May be dropped at any time.
    async fn changed(&mut self, config: &Arc<Config>) {
        let Some(interval) = self.interval else { return std::future::pending().await };
        loop {
            tokio::time::sleep(interval).await;
            let config = config.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || config.rule_files_fingerprint()).await else { continue };
            if self.read == Some(now) {
                self.seen = None;
            } else if self.seen == Some(now) {
                return;
            } else {
                self.seen = Some(now);
            }
        }
    }
}
