//! Which changes a command reads once more: those on a tape, or those in the log of the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use changeling::app::{self, AppError, History, Images};
use changeling::config::{self, Config, ConfigError, ExplicitPart};
use changeling::explicit::Relays;
use changeling::pipeline::StopSignal;
use changeling::quantity::Period;
use changeling::rules::{self, Reading, RuleSet};
use changeling::source::{StartSetting, TapeHeader};

use super::{ConfigArgument, Failure, findings};

/// Where the changes come from
#[derive(Debug, clap::Args)]
pub struct HistoryArguments {
    #[command(flatten)]
    pub config: ConfigArgument,
    /// Read the changes on a tape; needs no database
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "from"])]
    pub tape: Option<PathBuf>,
    #[command(flatten)]
    pub begin: BeginArguments,
    /// Rule files or folders to use instead of those of the configuration
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub rules: Vec<PathBuf>,
}

/// Where reading the log of the database begins
#[derive(Debug, clap::Args)]
pub struct BeginArguments {
    /// Begin so long ago (2h, 30m), or at a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = parse_since, conflicts_with = "from")]
    pub since: Option<app::From>,
    /// Begin with the oldest change that the log of the database holds
    #[arg(long, value_name = "beginning")]
    pub from: Option<Beginning>,
}

/// The one word that `--from` takes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Beginning {
    /// With the oldest change that the log holds
    Beginning,
}

impl BeginArguments {
    /// Where to begin, if that was said.
    pub fn from(&self) -> Option<app::From> {
        self.since.or(self.from.map(|Beginning::Beginning| app::From::Beginning))
    }
}

fn parse_since(text: &str) -> Result<app::From, String> {
    if let Some(period) = Period::parse(text) {
        return Ok(app::From::Ago(period.0));
    }
    match StartSetting::parse(text) {
        Some(StartSetting::At(time)) => Ok(app::From::At(time)),
        Some(StartSetting::Now | StartSetting::Beginning) | None => {
            Err("expected a duration such as 2h, or a time such as 2026-01-31T12:00:00Z".to_owned())
        }
    }
}

/// Nothing says which changes to read.
#[derive(Debug, thiserror::Error)]
#[error(
    "nothing says which changes to read\nhelp: give --tape FILE, or --since 2h (or --from beginning) for the log of the database"
)]
struct NoHistory;

/// A history that is open, and where it comes from.
pub struct Opened {
    pub history: History,
    pub origin: Origin,
}

/// Where changes come from.
#[derive(Debug)]
pub enum Origin {
    Tape { path: PathBuf, header: Box<TapeHeader> },
    Database,
}

impl Origin {
    /// True if documents that rules need may be missing here, though a run would look them up.
    pub fn lacks_look_ups(&self) -> bool {
        match self {
            Self::Tape { header, .. } => !header.has_look_ups,
            Self::Database => true,
        }
    }
}

impl HistoryArguments {
    /// The rules of `--rules`, or else those of the configuration. What is wrong with them is told here.
    pub fn read_rules(&self) -> Result<Reading, Failure> {
        let reading = if self.rules.is_empty() {
            config::read_rules(&self.config.path).map_err(unusable_config)?
        } else {
            read_rule_files(&self.rules)?
        };
        usable_rules(reading)
    }

    /// The relays of explicit events, and how they are compared: those of the configuration, where there is one. What is wrong with
    /// them is told here.
    pub fn read_explicit(&self) -> Result<ExplicitPart, Failure> {
        match config::read_explicit(&self.config.path) {
            // A tape and rules of one's own are enough to look at rules; who needs more of the configuration says so.
            Err(ConfigError::Unreadable { .. }) => Ok(ExplicitPart::default()),
            read => read.map_err(unusable_config),
        }
    }

    /// The relays alone, with nothing to remember yet.
    pub fn read_relays(&self) -> Result<Relays, Failure> {
        Relays::new(&self.read_explicit()?.explicit).map_err(|error| Failure::Unusable(Box::new(error)))
    }

    /// Opens what is to be read; `rules` decide which collections of the database are read, if the configuration does not.
    pub async fn open(
        &self,
        rules: RuleSet,
        images: impl FnOnce(&RuleSet) -> Images,
        stop: &StopSignal,
    ) -> Result<Opened, Failure> {
        if let Some(path) = &self.tape {
            let (history, header) = History::of_tape(path).map_err(failure)?;
            return Ok(Opened { history, origin: Origin::Tape { path: path.clone(), header: Box::new(header) } });
        }
        let from = self.begin.from().ok_or_else(|| Failure::Unusable(Box::new(NoHistory)))?;
        let mut config = read_config(&self.config.path)?;
        let images = images(&rules);
        config.rule_set = Arc::new(rules);
        let history = tokio::select! {
            history = History::of_database(&config, from, &images) => history.map_err(failure)?,
            () = stop.requested() => return Err(Failure::Said { exit_code: 0 }),
        };
        Ok(Opened { history, origin: Origin::Database })
    }
}

/// Reads rule files that are named directly.
pub fn read_rule_files(paths: &[PathBuf]) -> Result<Reading, Failure> {
    let (files, errors) = config::rule_files(paths);
    match errors.into_iter().next() {
        Some(error) => Err(Failure::Unusable(Box::new(error))),
        None => Ok(rules::read(&files)),
    }
}

/// The rules, if nothing is wrong with them; what is wrong is told here.
pub fn usable_rules(reading: Reading) -> Result<Reading, Failure> {
    if reading.diagnostics.has_errors() {
        findings::print(&reading.diagnostics);
        return Err(Failure::Said { exit_code: 2 });
    }
    Ok(reading)
}

/// The configuration, if nothing is wrong with it; what is wrong is told here.
pub fn read_config(path: &Path) -> Result<Config, Failure> {
    config::read(path).and_then(config::Reading::usable).map_err(unusable_config)
}

/// What is wrong with a configuration is told here.
pub fn unusable_config(error: ConfigError) -> Failure {
    match error {
        ConfigError::Unusable(diagnostics) => {
            findings::print(&diagnostics);
            Failure::Said { exit_code: 2 }
        }
        error @ ConfigError::Unreadable { .. } => Failure::Unusable(Box::new(error)),
    }
}

/// What an error of the app means for the exit code.
pub fn failure(error: AppError) -> Failure {
    match error.is_configuration() {
        true => Failure::Unusable(Box::new(error)),
        false => Failure::Stopped(Box::new(error)),
    }
}

/// Runs the work of a command that Ctrl-C ends early and in order.
pub fn block_on<T>(work: impl AsyncFnOnce(&StopSignal) -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let stop = StopSignal::new();
        app::stop_on_signals(&stop).map_err(|error| Failure::Stopped(Box::new(error)))?;
        work(&stop).await
    });
    // Threads that still look up a host name must not hold up the end.
    runtime.shutdown_background();
    done
}
