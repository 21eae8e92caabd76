//! What a configuration says about explicit events.

use schemars::JsonSchema;
use serde::Deserialize;

use super::embedded::EmbeddedOutboxSettings;
use super::event_store::EventStoreSettings;
use super::outbox::{Layout, OutboxSettings};
use crate::event::{Address, AddressPart};
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

    /// The word of the configuration for this kind of relay.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Outbox(_) => "outbox",
            Self::EmbeddedOutbox(_) => "embedded_outbox",
            Self::EventStore(_) => "event_store",
        }
    }

    /// True if the changes of the collection are for the relay alone, so that no rule sees them.
    pub fn is_alone(&self) -> bool {
        match self {
            Self::Outbox(_) | Self::EventStore(_) => true,
            Self::EmbeddedOutbox(_) => false,
        }
    }

    /// The names of the sinks that get the events; all of them where empty.
    pub fn sinks(&self) -> &[String] {
        match self {
            Self::Outbox(settings) => &settings.to,
            Self::EmbeddedOutbox(settings) => &settings.to,
            Self::EventStore(settings) => &settings.to,
        }
    }

    /// What the topics or subjects have in common that the events get, with a value for what differs; absent where each sink's own
    /// settings give them.
    pub fn route(&self) -> Option<Address> {
        match self {
            Self::Outbox(settings) => match (settings.layout, &settings.custom) {
                (Layout::Debezium, _) => {
                    let replacement = settings.debezium.clone().unwrap_or_default().route.replacement;
                    Some(begins_like(&replacement, &['$', '\\']))
                }
                (Layout::Custom, custom) => Some(begins_like(custom.as_ref()?.route.as_deref()?, &['{'])),
            },
            Self::EmbeddedOutbox(settings) => Some(begins_like(settings.route.as_deref()?, &['{'])),
            Self::EventStore(settings) => Some(begins_like(settings.route.as_deref()?, &['{'])),
        }
    }
}

/// An address that begins with the text before the first of the characters that something is filled in for.
fn begins_like(text: &str, places: &[char]) -> Address {
    let (start, is_whole) = text.find(places).map_or((text, true), |place| (&text[..place], false));
    let start = (!start.is_empty()).then(|| AddressPart::Text(start.to_owned()));
    let rest = (!is_whole).then(|| AddressPart::Value(String::new()));
    Address { parts: start.into_iter().chain(rest).collect() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_is_the_plain_text_at_the_beginning_and_then_anything() {
        let route = |settings: &str| {
            let settings: RelaySettings = serde_json::from_str(settings).expect("settings");
            settings.route().map(|route| (route.to_string(), route.parts.len()))
        };
        let debezium = r#"{"outbox": {"collection": "shop.outbox", "layout": "debezium"}}"#;
        assert_eq!(route(debezium), Some(("outbox.event.".to_owned(), 2)));
        let custom = |route: &str| {
            format!(
                r#"{{"outbox": {{"collection": "shop.outbox", "layout": "custom",
                    "custom": {{"type": "$.t", "key": "$.k", "data": "$.d"{route}}}}}}}"#
            )
        };
        assert_eq!(route(&custom("")), None);
        assert_eq!(route(&custom(r#", "route": "orders.{$.region}.x""#)), Some(("orders.".to_owned(), 2)));
        assert_eq!(route(&custom(r#", "route": "orders""#)), Some(("orders".to_owned(), 1)));
    }
}
