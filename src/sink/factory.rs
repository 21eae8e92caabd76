//! From settings to sinks.

use super::envelope::Envelope;
use super::file::FileSink;
use super::settings::{DeadLetterSettings, SinkSettings};
use super::stdout::StdoutSink;
use super::{DeadLetters, Sink, SinkError};
use crate::secret::Secret;

/// The sink `name`, not yet opened. `source_uri` is what a MongoDB sink without a connection string of its own connects to.
///
/// # Errors
/// [`SinkError::Unusable`] if settings contradict each other.
pub fn build(
    name: &str,
    settings: &SinkSettings,
    envelope: &Envelope,
    source_uri: &Secret,
) -> Result<Box<dyn Sink>, SinkError> {
    let _ = source_uri;
    match settings {
        SinkSettings::Stdout(settings) => Ok(Box::new(StdoutSink::new(name, settings, envelope)?)),
        SinkSettings::File(settings) => Ok(Box::new(FileSink::new(name, settings, envelope))),
        SinkSettings::Mongodb(_) | SinkSettings::Nats(_) => Err(not_there_yet(name)),
    }
}

/// The dead letters, not yet opened.
///
/// # Errors
/// [`SinkError::Unusable`] if settings contradict each other.
pub fn build_dead_letters(
    settings: &DeadLetterSettings,
    envelope: &Envelope,
    source_uri: &Secret,
) -> Result<Box<dyn DeadLetters>, SinkError> {
    let _ = (envelope, source_uri);
    match settings {
        DeadLetterSettings::File(_) | DeadLetterSettings::Mongodb(_) => Err(not_there_yet("dead letters")),
    }
}

fn not_there_yet(name: &str) -> SinkError {
    SinkError::Unusable {
        sink: name.to_owned(),
        reason: "this kind is not built yet".to_owned(),
        help: "use stdout".to_owned(),
        source: None,
    }
}
