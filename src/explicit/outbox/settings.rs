//! What a configuration says about the layout of an outbox.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::explicit::CleanUp;
use crate::namespace::Namespace;
use crate::quantity::ByteCount;

/// An outbox.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutboxSettings {
    /// The collection.
    pub collection: Namespace,
    /// How its documents are read.
    pub layout: Layout,
    /// The options of the layout `debezium`; each has Debezium's default.
    #[serde(default)]
    pub debezium: Option<DebeziumSettings>,
    /// Where the layout `custom` finds what.
    #[serde(default)]
    pub custom: Option<CustomSettings>,
    /// The largest payload that is passed on, in bytes of BSON; a larger one is a dead letter.
    #[serde(default = "payload_bytes_max")]
    pub payload_bytes_max: ByteCount,
    /// What happens to a document once its event has settled at every sink.
    #[serde(default)]
    pub clean_up: CleanUp,
    /// Whether what the collection still holds is published at the start. Default: with `clean_up`, for what is there has not been
    /// published; not with `keep`, for then all of it would be published again.
    #[serde(default)]
    pub catch_up: Option<bool>,
    /// The names of the sinks that get its events; default: all.
    #[serde(default)]
    pub to: Vec<String>,
}

/// NATS servers and Kafka brokers take messages of 1 MiB unless they are told otherwise.
pub(in crate::explicit) fn payload_bytes_max() -> ByteCount {
    ByteCount(1 << 20)
}

impl OutboxSettings {
    /// The settings of an outbox of which nothing is said but where it is and how it is laid out.
    pub fn new(collection: Namespace, layout: Layout) -> Self {
        Self {
            collection,
            layout,
            debezium: None,
            custom: None,
            payload_bytes_max: payload_bytes_max(),
            clean_up: CleanUp::default(),
            catch_up: None,
            to: Vec::new(),
        }
    }

    /// True if what the collection still holds is published at the start.
    pub fn catches_up(&self) -> bool {
        self.catch_up.unwrap_or(match self.clean_up {
            CleanUp::Keep => false,
            CleanUp::Delete | CleanUp::Mark { .. } => true,
        })
    }
}

/// How the documents of an outbox are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// As Debezium's outbox event router for MongoDB reads them.
    Debezium,
    /// By JSONPaths of your own.
    Custom,
}

/// The options of Debezium's outbox event router for MongoDB, with its defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DebeziumSettings {
    /// The names of the fields.
    pub fields: DebeziumFields,
    /// Further fields, each as `field:header`, `field:header:alias`, `field:envelope` or `field:envelope:alias`.
    pub additional: Vec<String>,
    /// What happens where a further field is missing.
    pub additional_missing: AdditionalMissing,
    /// Topic or subject of an event.
    pub route: DebeziumRoute,
    /// Whether an event without payload is a tombstone.
    pub tombstone_on_empty_payload: bool,
    /// What happens when a document is updated or replaced, which makes no event.
    pub invalid_operations: InvalidOperations,
    /// How a payload that is a document is written.
    pub payload_format: PayloadFormat,
}

/// The names of the fields of a document of the layout `debezium`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DebeziumFields {
    /// The id of the event, which the header `id` gets.
    pub id: String,
    /// The key by which events are ordered.
    pub key: String,
    /// The type of the event.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The payload.
    pub payload: String,
    /// The time of the event: an int64 of milliseconds since 1970, or a date. Absent: the time of the change.
    pub timestamp: Option<String>,
    /// The trace context, as a text of Java properties.
    pub trace: String,
}

impl Default for DebeziumFields {
    fn default() -> Self {
        Self {
            id: "_id".to_owned(),
            key: "aggregateid".to_owned(),
            event_type: "type".to_owned(),
            payload: "payload".to_owned(),
            timestamp: None,
            trace: "tracingspancontext".to_owned(),
        }
    }
}

/// How an event of the layout `debezium` finds its topic or subject.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DebeziumRoute {
    /// The field that decides.
    pub by: String,
    /// What the whole value of the field must match for `replacement` to be used; otherwise the value itself is the topic or subject.
    pub regex: String,
    /// The topic or subject, with `${name}` or `$1` for what a group of `regex` matched.
    pub replacement: String,
}

impl Default for DebeziumRoute {
    fn default() -> Self {
        Self {
            by: "aggregatetype".to_owned(),
            regex: "(?<routedByValue>.*)".to_owned(),
            replacement: "outbox.event.${routedByValue}".to_owned(),
        }
    }
}

/// What happens where a further field is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdditionalMissing {
    /// The document is a dead letter.
    #[default]
    Error,
    /// The event goes without it.
    Ignore,
}

/// What happens when a document of an outbox is updated or replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvalidOperations {
    /// A warning.
    #[default]
    Warn,
    /// A dead letter.
    Error,
    /// The connector stops.
    Fatal,
}

/// How a payload that is a document is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayloadFormat {
    /// As relaxed Extended JSON: numbers plain.
    #[default]
    Relaxed,
    /// As Debezium writes it: canonical Extended JSON over several lines.
    Debezium,
}

/// Where the layout `custom` finds what: JSONPaths, with `$` as the document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomSettings {
    /// The id of the event.
    #[serde(default = "document_id")]
    pub id: String,
    /// The type of the event.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The key by which events are ordered.
    pub key: String,
    /// The payload.
    pub data: String,
    /// What the event is about, the CloudEvents `subject`.
    #[serde(default)]
    pub subject: Option<String>,
    /// The time of the event: a date, an int64 of milliseconds since 1970, or a text in the form of RFC 3339. Absent: the time of the
    /// change.
    #[serde(default)]
    pub time: Option<String>,
    /// Headers of messages: the name of each, and where its value is.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The `traceparent` of W3C Trace Context.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// The `tracestate` of W3C Trace Context.
    #[serde(default)]
    pub tracestate: Option<String>,
    /// The topic or subject, with JSONPaths in braces: `orders.{$.region}`.
    #[serde(default)]
    pub route: Option<String>,
    /// What the body of a message holds.
    #[serde(default)]
    pub form: CustomForm,
}

fn document_id() -> String {
    "$._id".to_owned()
}

/// What the body of a message of the layout `custom` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CustomForm {
    /// The whole event in its envelope.
    #[default]
    Envelope,
    /// The payload alone, everything else in headers.
    Bare,
}
