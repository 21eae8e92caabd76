//! What a configuration says about an event store.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::explicit::CustomForm;
use crate::namespace::Namespace;
use crate::quantity::ByteCount;

/// An event store: an append-only collection with one document for each event. The JSONPaths have `$` as the document.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventStoreSettings {
    /// The collection.
    pub collection: Namespace,
    /// The id of the stream; its events are ordered by it.
    #[serde(default = "stream")]
    pub stream: String,
    /// The version of the event in its stream: a whole number, one more than that of the event before.
    #[serde(default = "version")]
    pub version: String,
    /// The version of the first event of a stream.
    #[serde(default = "first_version")]
    pub first_version: i64,
    /// The id of the event.
    #[serde(default = "id")]
    pub id: String,
    /// The type of the event.
    #[serde(rename = "type", default = "event_type")]
    pub event_type: String,
    /// The payload.
    #[serde(default = "data")]
    pub data: String,
    /// What is known beside it, such as who and why: it becomes the header `metadata`. It may be missing.
    #[serde(default = "metadata")]
    pub metadata: String,
    /// What the event is about, the CloudEvents `subject`.
    #[serde(default)]
    pub subject: Option<String>,
    /// The time of the event: a date, an int64 of milliseconds since 1970, or a text in the form of RFC 3339. Absent: the time of the
    /// change.
    #[serde(default)]
    pub time: Option<String>,
    /// Further headers of messages: the name of each, and where its value is.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The `traceparent` of W3C Trace Context.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// The `tracestate` of W3C Trace Context.
    #[serde(default)]
    pub tracestate: Option<String>,
    /// The topic or subject, with JSONPaths in braces: `streams.{$.stream}`.
    #[serde(default)]
    pub route: Option<String>,
    /// What the body of a message holds.
    #[serde(default)]
    pub form: CustomForm,
    /// The largest payload that is passed on, in bytes of BSON; a larger one is a dead letter.
    #[serde(default = "crate::explicit::outbox::payload_bytes_max")]
    pub payload_bytes_max: ByteCount,
    /// The names of the sinks that get its events; default: all.
    #[serde(default)]
    pub to: Vec<String>,
}

fn stream() -> String {
    "$.stream".to_owned()
}

fn version() -> String {
    "$.version".to_owned()
}

fn first_version() -> i64 {
    1
}

fn id() -> String {
    "$._id".to_owned()
}

fn event_type() -> String {
    "$.type".to_owned()
}

fn data() -> String {
    "$.data".to_owned()
}

fn metadata() -> String {
    "$.metadata".to_owned()
}

impl EventStoreSettings {
    /// The settings of an event store of which nothing is said but where it is.
    pub fn new(collection: Namespace) -> Self {
        Self {
            collection,
            stream: stream(),
            version: version(),
            first_version: first_version(),
            id: id(),
            event_type: event_type(),
            data: data(),
            metadata: metadata(),
            subject: None,
            time: None,
            headers: BTreeMap::new(),
            traceparent: None,
            tracestate: None,
            route: None,
            form: CustomForm::default(),
            payload_bytes_max: crate::explicit::outbox::payload_bytes_max(),
            to: Vec::new(),
        }
    }
}
