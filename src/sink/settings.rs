//! What a configuration says about one sink and about the dead letters.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::file::FileSettings;
use super::mongodb::MongodbSettings;
use super::nats::NatsSettings;
use super::stdout::StdoutSettings;
use crate::event::Address;
use crate::namespace::Namespace;
use crate::rules::TextTemplate;
use crate::secret::Secret;

/// Where events go: one kind of sink and its settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkSettings {
    /// JSON lines on standard output.
    Stdout(StdoutSettings),
    /// JSON lines in a file.
    File(FileSettings),
    /// Documents in a collection of MongoDB.
    Mongodb(MongodbSettings),
    /// Messages in a stream of NATS JetStream.
    Nats(Box<NatsSettings>),
}

/// Where events and changes go that can not be delivered or understood.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterSettings {
    /// JSON lines in the file of this path.
    File(PathBuf),
    /// Documents in a collection of MongoDB.
    Mongodb(MongodbSettings),
}

/// How the `data` of an event is written as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JsonFormat {
    /// As people write JSON: an ObjectId is its 24 hexadecimal digits, a date RFC 3339 in UTC, an int64 a number (a text outside
    /// ±(2^53-1)), a Decimal128 a text, binary base64, a UUID its text.
    #[default]
    Natural,
    /// MongoDB Extended JSON v2, relaxed: numbers and dates as people write them, other types as `{"$oid": ...}`.
    Relaxed,
    /// MongoDB Extended JSON v2, canonical: every type is kept.
    Canonical,
}

/// A collection of MongoDB that is written to, and whether it certainly lies in the deployment the changes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenCollection<'a> {
    /// The collection.
    pub collection: &'a Namespace,
    /// True if it is written with the connection string of the source, so that it lies beside what is watched.
    pub in_source: bool,
}

impl SinkSettings {
    /// The word of the configuration for this kind of sink.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stdout(_) => "stdout",
            Self::File(_) => "file",
            Self::Mongodb(_) => "mongodb",
            Self::Nats(_) => "nats",
        }
    }

    /// Checks a topic or subject that a rule gives for its events in this sink.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    pub fn check_address(&self, template: &TextTemplate) -> Result<(), (String, String)> {
        match self {
            Self::Nats(settings) => settings.check_address(template),
            Self::Stdout(_) | Self::File(_) | Self::Mongodb(_) => Err((
                format!("a {} sink has neither topics nor subjects", self.kind()),
                "name the sink alone: in a mapping, leave out what stands after the colon".to_owned(),
            )),
        }
    }

    /// Checks that topics or subjects like this one, which applications choose, can be used.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    pub fn check_route(&self, route: &Address) -> Result<(), (String, String)> {
        match self {
            Self::Nats(settings) => settings.check_route(route),
            Self::Stdout(_) | Self::File(_) | Self::Mongodb(_) => Ok(()),
        }
    }

    /// The collection that the sink writes to, if it is one of MongoDB. No rule may watch it: its events would make events.
    pub fn written_collection(&self, source_uri: &Secret) -> Option<WrittenCollection<'_>> {
        match self {
            Self::Mongodb(settings) => Some(settings.written_collection(source_uri)),
            Self::Stdout(_) | Self::File(_) | Self::Nats(_) => None,
        }
    }
}

impl DeadLetterSettings {
    /// The collection that dead letters are written to, if it is one of MongoDB. No rule may watch it.
    pub fn written_collection(&self, source_uri: &Secret) -> Option<WrittenCollection<'_>> {
        match self {
            Self::Mongodb(settings) => Some(settings.written_collection(source_uri)),
            Self::File(_) => None,
        }
    }
}
