//! Logs on standard error, as text or as JSON lines.

use std::io::IsTerminal as _;

use changeling::config::{LogFormat, LogSettings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Starts logging. `wanted` comes from the command line or the environment and goes before the configuration: a level
/// (`debug`), or directives for single parts (`info,changeling::source=trace`).
///
/// # Errors
/// If `wanted` is neither.
pub fn start(settings: &LogSettings, wanted: Option<&str>) -> Result<(), LogLevelError> {
    let wanted = wanted.unwrap_or(settings.level.as_str());
    let filter = filter(wanted).map_err(|source| LogLevelError { wanted: wanted.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    );
    // A second start (in tests of the library) keeps the first.
    let _ = match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    Ok(())
}

/// A single level is ours; the libraries speak from `warn` on, because what they tell below that may hold values of documents.
fn filter(wanted: &str) -> Result<EnvFilter, ParseError> {
    let directives = match wanted {
        "off" => "off".to_owned(),
        "error" => "error".to_owned(),
        "warn" | "info" | "debug" | "trace" => format!("warn,changeling={wanted}"),
        directives => directives.to_owned(),
    };
    EnvFilter::builder().parse(directives)
}

/// A log level that is not one.
#[derive(Debug, thiserror::Error)]
#[error(
    "\"{wanted}\" is no log level\nhelp: give off, error, warn, info, debug, trace, or directives such as \"info,changeling::source=debug\""
)]
pub struct LogLevelError {
    wanted: String,
    #[source]
    source: ParseError,
}
