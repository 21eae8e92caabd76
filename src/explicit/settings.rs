//! What a configuration says about explicit events.

use schemars::JsonSchema;
use serde::Deserialize;

use super::outbox::OutboxSettings;
use crate::namespace::Namespace;
use crate::quantity::Period;

/// Where the application writes its events: exactly one kind.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelaySettings {
    /// A collection into which the application inserts its events, in the transaction of what they tell of.
    Outbox(Box<OutboxSettings>),
    /// An array of the business documents themselves, to which events are appended in the update that they tell of.
    EmbeddedOutbox(Box<EmbeddedOutboxSettings>),
    /// An append-only collection of events, by stream and version.
    EventStore(Box<EventStoreSettings>),
}

impl RelaySettings {
    /// The collection that the relay takes the changes of.
    pub fn collection(&self) -> &Namespace {
        match self {
            Self::Outbox(settings) => &settings.collection,
            Self::EmbeddedOutbox(settings) => &settings.collection,
            Self::EventStore(settings) => &settings.collection,
        }
    }
}

/// What happens to what has been relayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CleanUp {
    /// It stays.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
    /// A field gets the time, and a TTL index deletes the document later.
    Mark {
        /// The field.
        field: String,
        /// How long after that the server deletes it.
        keep_for: Period,
    },
}

/// An embedded outbox.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedOutboxSettings {
    /// The collection of the business documents.
    pub collection: Namespace,
}

/// An event store.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventStoreSettings {
    /// The collection.
    pub collection: Namespace,
}

/// A setting of a relay that can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("explicit.{relay}.{kind}.{key}: {reason}\nhelp: {help}")]
pub struct RelayError {
    /// The number of the relay, from 0.
    pub relay: usize,
    /// The word of its kind, such as `outbox`.
    pub kind: &'static str,
    /// The key, with dots.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
    /// The way out.
    pub help: String,
}
