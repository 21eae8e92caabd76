//! From a configuration to a running connector: the way in for programs that use changeling as a library.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use changeling::app::App;
//! use changeling::config;
//! use changeling::pipeline::StopSignal;
//!
//! let config = config::read(std::path::Path::new("changeling.yaml"))?.usable()?;
//! let app = App::from_config(config).await?;
//! let report = app.run(StopSignal::new()).await?;
//! # Ok(())
//! # }
//! ```

mod history;
mod image_plan;
mod recording;
mod relaying;
mod reload;
mod ring;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mongodb::Client;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{self, BuildError};
use crate::config::{Config, ConfigError};
use crate::explicit::RelayError;
use crate::http::{HttpError, HttpServer};
use crate::metrics::Metrics;
use crate::mongo_client::{self, ConnectError, Privileges};
use crate::namespace::Namespace;
use crate::outbox::{MongodbOutboxes, OutboxError, Outboxes};
use crate::pipeline::{
    CoverageLog, LaneParts, ParityLog, Pipeline, PipelineError, RuleSlot, RunReport, Status, StopSignal,
};
use crate::position::ClusterTime;
use crate::rules::{ImageNeeds, RuleSet};
use crate::sink::{self, Envelope, Sink, SinkError};
use crate::source::{self, ChangeStreamSource, Finding, Grade, ImageSetting, Source, SourceError};

pub use history::{From, History, HistoryProgress, Images};
pub use image_plan::CollectionPlan;
use image_plan::Readers;
pub use recording::{Recorded, Recording, record};
pub use relaying::{RelayAccount, Relaying};
pub use reload::ReloadRequest;
use reload::Reloader;
use ring::Ring;

/// How long the HTTP server may take to end its last answers.
const HTTP_END_TIMEOUT: Duration = Duration::from_secs(1);

/// A connector that is set up and not yet running.
pub struct App {
    config: Config,
    custom: Vec<LaneParts>,
    http: Option<HttpServer>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    reload: ReloadRequest,
}

/// Why a connector can not start, or stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration, or a rule file, can not be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Neither the configuration nor the program gave a sink.
    #[error("there is no sink: events would go nowhere\nhelp: add one under sinks, for example out: {{stdout: {{}}}}")]
    NoSink,
    /// A rule or a relay names a sink that neither the configuration nor the program has.
    #[error("{reader} names the sink \"{sink}\", which is not there\nhelp: the sinks are {known}", known = .known.join(", "))]
    UnknownSink {
        /// What names it.
        reader: String,
        /// The name that it gives.
        sink: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A sink has a connection string of its own, and it leads to the deployment that is watched.
    #[error(
        "the sink \"{sink}\" writes into {collection} of the very deployment that is watched, and what is written there would make events without end\nhelp: use a collection that neither a rule nor a relay reads"
    )]
    Ring {
        /// The name of the sink.
        sink: String,
        /// The collection.
        collection: Namespace,
    },
    /// The metrics can not be set up.
    #[error("the metrics can not be set up")]
    Metrics(#[source] prometheus::Error),
    /// The HTTP server can not run.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// No client can be made for the source's connection string.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The source can not be used as it is.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The log of the database does not go back to where reading is to begin.
    #[error(
        "the log of the database does not go back to {asked}{}\nhelp: begin later, or with --from beginning; a tape keeps what the log will forget",
        oldest.map(|oldest| format!(": its oldest entry is of {oldest}")).unwrap_or_default()
    )]
    TooFarBack {
        /// Where reading was to begin.
        asked: ClusterTime,
        /// The oldest entry, if it may be read.
        oldest: Option<ClusterTime>,
    },
    /// A sink can not be used as it is set up.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The checkpoint can not be used as it is set up.
    #[error(transparent)]
    Checkpoint(#[from] BuildError),
    /// A relay of explicit events can not be used as it is set up.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The pipeline stopped.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl AppError {
    /// True if the configuration must be changed: it was refused without asking anybody else.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_)
            | Self::NoSink
            | Self::UnknownSink { .. }
            | Self::Ring { .. }
            | Self::Relay(_)
            | Self::Connect(ConnectError::InvalidUri { .. }) => true,
            Self::Metrics(_)
            | Self::Http(_)
            | Self::Connect(ConnectError::Unresolvable(_))
            | Self::Source(_)
            | Self::TooFarBack { .. }
            | Self::Sink(_)
            | Self::Checkpoint(_)
            | Self::Pipeline(_) => false,
        }
    }
}

impl App {
    /// Binds the HTTP address, so that it is known before anything runs.
    ///
    /// # Errors
    /// If the address is taken.
    pub async fn from_config(config: Config) -> Result<Self, AppError> {
        let http = HttpServer::bind(&config.http).await?;
        let metrics = Arc::new(Metrics::new().map_err(AppError::Metrics)?);
        let status = Arc::new(Status::new());
        if config.coverage.is_on() {
            status.keep_coverage(CoverageLog::new(config.coverage.has_values()));
        }
        if let Some(settings) = &config.parity {
            status.keep_parity(ParityLog::new(settings, metrics.clone()));
        }
        Ok(Self { config, custom: Vec::new(), http, metrics, status, reload: ReloadRequest::new() })
    }

    /// Adds a sink of the program's own, beside those of the configuration.
    pub fn add_sink(&mut self, name: impl Into<String>, sink: Box<dyn Sink>) {
        let name = name.into();
        self.config.other_sinks.push(name.clone());
        self.custom.push(LaneParts { name, sink });
    }

    /// Where `/metrics`, `/healthz` and `/readyz` are served; the real port where port 0 was asked for.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::address)
    }

    /// Every figure of this connector.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// How its parts are.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Reads the rules again, while it runs, whenever `request` is made.
    pub fn reload_on(&mut self, request: &ReloadRequest) {
        self.reload = request.clone();
    }

    /// Runs until `stop` is given, or until a part fails in a way that only an operator can mend.
    ///
    /// What is wrong at the start (a server that can not be reached, a wrong password, a standalone) is an error at once;
    /// an outage later is waited out.
    ///
    /// # Errors
    /// What failed first, after the parts that still work have drained.
    pub async fn run(mut self, stop: StopSignal) -> Result<RunReport, AppError> {
        let http = self.http.take();
        let ended = CancellationToken::new();
        let served = http.map(|http| {
            let (metrics, status) = (self.metrics.clone(), self.status.clone());
            tracing::info!(address = %http.address(), "serving /metrics, /healthz and /readyz");
            tokio::spawn(http.serve(metrics, status, ended.clone().cancelled_owned()))
        });
        let report = self.run_pipeline(stop).await;
        ended.cancel();
        // A client that does not read its answer must not hold up the end.
        if let Some(served) = served
            && let Ok(Ok(Err(error))) = tokio::time::timeout(HTTP_END_TIMEOUT, served).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the http server failed");
        }
        report
    }

    async fn run_pipeline(self, stop: StopSignal) -> Result<RunReport, AppError> {
        let (config, request, metrics) = (Arc::new(self.config.clone()), self.reload.clone(), self.metrics.clone());
        let (pipeline, client) = tokio::select! {
            built = self.build() => built?,
            () = stop.requested() => return Ok(RunReport::default()),
        };
        let reloader = Reloader::new(config, client, pipeline.rules.clone(), request, metrics);
        let reloading = tokio::spawn(reloader.run());
        let report = pipeline.run(stop).await;
        reloading.abort();
        Ok(report?)
    }
}

impl App {
    /// Makes the concrete parts, and asks the source's server whether it can be read at all.
    async fn build(self) -> Result<(Pipeline, Client), AppError> {
        let Self { config, custom, metrics, status, .. } = self;
        let rules = config.rule_set.clone();
        let client = mongo_client::connect(&config.source.uri).await?;
        let plan = config.plan(&rules);
        let mut source = ChangeStreamSource::new(client.clone(), &config.source, plan.clone(), metrics.clone());
        let deployment = source.deployment().await?;
        if let Some(Ring { sink, collection }) = ring::find(&config, &rules, &deployment).await {
            return Err(AppError::Ring { sink, collection });
        }
        let envelope = Envelope::new(&config.events, &config.name).with_routes(config.routes());
        let mut lanes = Vec::new();
        for (name, settings) in &config.sinks {
            let sink = sink::build(name, settings, &envelope, &config.source.uri)?;
            lanes.push(LaneParts { name: name.clone(), sink });
        }
        lanes.extend(custom);
        if lanes.is_empty() {
            return Err(AppError::NoSink);
        }
        check_named_sinks(&config, &rules, &lanes)?;
        let dead_letters = sink::build_dead_letters(&config.dead_letters(), &envelope, &config.source.uri)?;
        let store = checkpoint::build(&config.checkpoint, &config.name, &client).await?;
        tell(&config, &deployment, &lanes);
        see_to_images(&config, &rules, &mut source).await?;
        let outboxes = MongodbOutboxes::new(&client, &config.explicit);
        let outboxes = outboxes.map(|outboxes| Arc::new(outboxes) as Arc<dyn Outboxes>);
        let pipeline = Pipeline {
            source: Box::new(source),
            start: config.source.start.start(),
            on_lost_position: config.source.on_lost_position,
            rules: RuleSlot::new(rules, Some(plan)),
            relays: config.relays()?,
            outboxes,
            lanes,
            dead_letters: Arc::from(dead_letters),
            store,
            checkpoint_interval: config.checkpoint.interval.0,
            lease: config.checkpoint.lease.0,
            settings: config.pipeline.clone(),
            metrics,
            status,
        };
        Ok((pipeline, client))
    }
}

/// Rules and relays may name sinks of the configuration and of the program; only now all are known.
fn check_named_sinks(config: &Config, rules: &RuleSet, lanes: &[LaneParts]) -> Result<(), AppError> {
    let by_rules = rules.named_sinks().map(|(rule, sink)| (format!("the rule \"{rule}\""), sink.to_string()));
    let by_relays = config.explicit.iter().flat_map(|relay| {
        relay.sinks().iter().map(|sink| (format!("the relay of {}", relay.collection()), sink.clone()))
    });
    let is_missing = |(_, sink): &(String, String)| !lanes.iter().any(|lane| lane.name == *sink);
    match by_rules.chain(by_relays).find(is_missing) {
        Some((reader, sink)) => {
            let known = lanes.iter().map(|lane| lane.name.clone()).collect();
            Err(AppError::UnknownSink { reader, sink, known })
        }
        None => Ok(()),
    }
}

/// Switches on the images that rules and relays need, if the configuration wants that; warns of those that are missing.
async fn see_to_images(config: &Config, rules: &RuleSet, source: &mut ChangeStreamSource) -> Result<(), SourceError> {
    let readers = Readers { rules, relays: &config.relays().unwrap_or_default() };
    if config.source.images == ImageSetting::Enable && readers.image_needs_of_all() != ImageNeeds::default() {
        let kept = source::kept_images(source).await?;
        let lacks = |kept: &source::KeptImages| {
            kept.are_kept == Some(false) && readers.image_needs(&kept.collection) != ImageNeeds::default()
        };
        let lacking: Vec<Namespace> = kept.into_iter().filter(lacks).map(|kept| kept.collection).collect();
        source::enable_images(source, &lacking).await?;
    }
    let mut missing = source::missing_images(source, &|namespace| readers.image_needs(namespace)).await?;
    readers.name_undecided(&mut missing);
    for Finding { text, help, .. } in &missing {
        tracing::warn!(help, "{text}");
    }
    Ok(())
}

/// What the database says to a configuration.
#[derive(Debug, Default)]
pub struct Probed {
    /// One fact each.
    pub findings: Vec<Finding>,
    /// What rules and relays need of each collection; absent if the database does not tell its collections.
    pub images: Option<Vec<CollectionPlan>>,
}

/// Asks the database what a run of this configuration would need of it. Nothing is written.
///
/// # Errors
/// If no client can be made of the connection string; whatever the server says is a finding.
pub async fn probe(config: &Config) -> Result<Probed, AppError> {
    let client = mongo_client::connect(&config.source.uri).await?;
    let metrics = Arc::new(Metrics::new().map_err(AppError::Metrics)?);
    let rules = &config.rule_set;
    let readers = Readers { rules, relays: &config.relays()? };
    let mut source = ChangeStreamSource::new(client.clone(), &config.source, config.plan(rules), metrics);
    let mut findings = source::probe(&mut source, &|namespace| readers.image_needs(namespace)).await;
    readers.name_undecided(&mut findings);
    let is_readable = findings.iter().all(|finding| finding.grade != Grade::Problem);
    let images = if is_readable { image_plan::plans(&readers, &mut source).await.ok() } else { None };
    // A server that does not answer has been told already.
    if let Ok(Some(privileges)) = Privileges::find(&client).await {
        findings.extend(
            config.written().iter().filter(|one| !privileges.may_write(one)).map(|one| unwritable(one, &privileges)),
        );
    }
    if is_readable && let Some(outboxes) = MongodbOutboxes::new(&client, &config.explicit) {
        findings.extend(outboxes.problems().await.iter().map(unkept));
    }
    if is_readable && let Ok(deployment) = source.deployment().await {
        findings.extend(ring::find(config, rules, &deployment).await.map(endless));
    }
    Ok(Probed { findings, images })
}

/// A sink that writes what is read, as a finding.
fn endless(Ring { sink, collection }: Ring) -> Finding {
    Finding {
        grade: Grade::Problem,
        text: format!(
            "the sink {sink:?} writes into {collection}, which is watched: events would make events without end"
        ),
        help: Some("use a collection that neither a rule nor a relay reads".to_owned()),
        collection: None,
    }
}

/// What is wrong with an outbox, as a finding.
fn unkept(error: &OutboxError) -> Finding {
    let (text, help) = match error {
        OutboxError::Refused { collection, reason, help, .. } => {
            (format!("the outbox {collection} can not be used: {reason}"), Some(help.clone()))
        }
        OutboxError::Unavailable { .. } | OutboxError::Late { .. } => (error.to_string(), None),
    };
    Finding { grade: Grade::Problem, text, help, collection: None }
}

fn unwritable(collection: &Namespace, privileges: &Privileges) -> Finding {
    let Privileges { user, database, .. } = privileges;
    let role = format!("{{role: \"readWrite\", db: \"{}\"}}", collection.database);
    Finding {
        grade: Grade::Problem,
        text: format!("the user {user} may not write {collection}"),
        help: Some(format!("grant it: db.getSiblingDB(\"{database}\").grantRolesToUser(\"{user}\", [{role}])")),
        collection: None,
    }
}

/// Says at the start, a line per fact, what this connector is going to do.
fn tell(config: &Config, deployment: &str, lanes: &[LaneParts]) {
    let rules = &config.rule_set;
    let patterns: Vec<String> =
        config.watched().iter().map(|one| format!("{}.{}", one.database, one.collection)).collect();
    let sinks: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
    let images = Readers { rules, relays: &config.relays().unwrap_or_default() }.image_needs_of_all();
    tracing::info!(name = config.name, deployment, version = env!("CARGO_PKG_VERSION"), "attaching");
    tracing::info!(collections = patterns.join(" "), stream = %config.scope().target(), "watching");
    tracing::info!(rules = rules.len(), before = images.before, after = images.after, "rules loaded; images they need");
    if !config.explicit.is_empty() {
        let relays: Vec<String> =
            config.explicit.iter().map(|relay| format!("{} {}", relay.kind(), relay.collection())).collect();
        tracing::info!(relays = relays.join(", "), "relaying explicit events");
    }
    tracing::info!(sinks = sinks.join(" "), "delivering");
}

/// Makes `request` whenever the process is sent SIGHUP. From now on the signal does not end the process.
pub fn reload_on_signal(request: &ReloadRequest) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hang_up = signal(SignalKind::hangup())?;
    let request = request.clone();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            request.request();
        }
    });
    Ok(())
}

/// Gives `stop` when the process is asked to end (SIGTERM, SIGINT): the first signal drains, the second gives up.
pub fn stop_on_signals(stop: &StopSignal) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if stop.is_requested() {
                tracing::warn!(
                    signal = name,
                    "giving up what has not been delivered; it is sent again after the next start"
                );
            } else {
                tracing::info!(signal = name, "stopping: delivering what was read; a second signal stops at once");
            }
            stop.request();
        }
    });
    Ok(())
}
