//! `changeling run`: attach to the database and deliver events.

use changeling::app::{self, App, AppError, ReloadRequest};
use changeling::config::{self, ConfigError};
use changeling::pipeline::StopSignal;
use changeling::yaml::Diagnostic;

use super::{ConfigArgument, Failure, Verdict, findings, logging};

/// Attach to the database and deliver events until stopped
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Events go to the sinks of the configuration, logs to standard error, figures to http.listen.\n\
        SIGTERM or Ctrl-C stops: what was read is delivered (pipeline.drain_timeout), the position is saved.\n\
        A second signal stops at once; what was not delivered is sent after the next start.\n\
        SIGHUP reads the rule files again, tests them and puts them in force; bad ones are refused.\n\n\
        Examples:\n  \
        changeling run\n  \
        changeling run -c /etc/changeling/shop.yaml --log-level debug\n\n\
        Exit codes: 0 stopped when asked to, 2 the configuration can not be used, 3 stopped by an error"
)]
pub struct Run {
    #[command(flatten)]
    config: ConfigArgument,
    /// Log level (off, error, warn, info, debug, trace) or directives; goes before log.level
    #[arg(long, env = "CHANGELING_LOG", value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Run {
    /// Runs until a signal or an error ends it.
    pub fn run(&self) -> Result<Verdict, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        // Before anything else: whoever installs new rules and sends SIGHUP must never end us by it.
        let reload = ReloadRequest::new();
        runtime.block_on(async { app::reload_on_signal(&reload) })?;
        let reading = config::read(&self.config.path).map_err(|error| Failure::Unusable(Box::new(error)))?;
        let warnings = reading.diagnostics.clone();
        let config = match reading.usable() {
            Ok(config) => config,
            Err(ConfigError::Unusable(diagnostics)) => {
                findings::print(&diagnostics);
                return Err(Failure::Said { exit_code: 2 });
            }
            Err(error) => return Err(Failure::Unusable(Box::new(error))),
        };
        logging::start(&config.log, self.log_level.as_deref()).map_err(|error| Failure::Unusable(Box::new(error)))?;
        for warning in warnings.iter() {
            let Diagnostic { file, line, code, message, .. } = warning;
            tracing::warn!(file, line, code, "{message}");
        }
        let ended = runtime.block_on(async {
            let stop = StopSignal::new();
            app::stop_on_signals(&stop).map_err(|error| Failure::Stopped(Box::new(error)))?;
            let mut app = App::from_config(config).await.map_err(failure)?;
            app.reload_on(&reload);
            app.run(stop).await.map_err(failure)
        });
        // Threads that still look up a host name must not hold up the end.
        runtime.shutdown_background();
        let report = ended?;
        tracing::info!(
            changes = report.changes_count,
            events = report.events_count,
            unsettled = report.unsettled_events_count,
            "stopped"
        );
        Ok(Verdict::Yes)
    }
}

fn failure(error: AppError) -> Failure {
    match error.is_configuration() {
        true => Failure::Unusable(Box::new(error)),
        false => Failure::Stopped(Box::new(error)),
    }
}
