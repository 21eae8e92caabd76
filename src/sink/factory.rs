//! From settings to sinks.

use super::dead_letters::{FileDeadLetters, MongodbDeadLetters};
use super::envelope::Envelope;
use super::file::FileSink;
use super::mongodb::MongodbSink;
use super::nats::NatsSink;
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
    Ok(match settings {
        SinkSettings::Stdout(settings) => Box::new(StdoutSink::new(name, settings, envelope)?),
        SinkSettings::File(settings) => Box::new(FileSink::new(name, settings, envelope)),
        SinkSettings::Mongodb(settings) => Box::new(MongodbSink::new(name, settings, envelope, source_uri)),
        SinkSettings::Nats(settings) => Box::new(NatsSink::new(name, settings, envelope)?),
    })
}

/// The dead letters, not yet opened. `source_uri` is what they are kept in if their collection has no connection string.
///
/// # Errors
/// [`SinkError::Unusable`] if settings contradict each other.
pub fn build_dead_letters(
    settings: &DeadLetterSettings,
    envelope: &Envelope,
    source_uri: &Secret,
) -> Result<Box<dyn DeadLetters>, SinkError> {
    Ok(match settings {
        DeadLetterSettings::File(path) => Box::new(FileDeadLetters::new(path, envelope)),
        DeadLetterSettings::Mongodb(settings) => Box::new(MongodbDeadLetters::new(settings, envelope, source_uri)),
    })
}
