//! What a configuration says about an embedded outbox.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::explicit::CustomForm;
use crate::namespace::Namespace;
use crate::quantity::ByteCount;
use crate::rules::Query;

/// An embedded outbox: an array of events in the business documents themselves. The JSONPaths have `$` as the element.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedOutboxSettings {
    /// The collection of the business documents.
    pub collection: Namespace,
    /// The dotted path of the array in the document.
    #[serde(default = "events")]
    pub path: String,
    /// The id of the event: names and indices only. Default: `$.id`, or `$._id` of an element that has no `id`. An element without an id
    /// is told from others by all that it holds.
    #[serde(default)]
    pub id: Option<String>,
    /// The type of the event.
    #[serde(rename = "type", default = "event_type")]
    pub event_type: String,
    /// The key by which events are ordered. Default: the key of the document.
    #[serde(default)]
    pub key: Option<String>,
    /// The payload.
    #[serde(default = "data")]
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
    /// The largest payload that is passed on, in bytes of BSON; a larger one is a dead letter.
    #[serde(default = "crate::explicit::outbox::payload_bytes_max")]
    pub payload_bytes_max: ByteCount,
    /// What happens to an element once its event has settled at every sink.
    #[serde(default)]
    pub clean_up: EmbeddedCleanUp,
    /// The names of the sinks that get its events; default: all.
    #[serde(default)]
    pub to: Vec<String>,
}

/// What happens to an element of an embedded outbox that has been relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddedCleanUp {
    /// It stays.
    #[default]
    Keep,
    /// It is taken out of the array with `$pull`, by its id; one without an id stays.
    Pull,
}

fn events() -> String {
    "_events".to_owned()
}

fn event_type() -> String {
    "$.type".to_owned()
}

fn data() -> String {
    "$.data".to_owned()
}

impl EmbeddedOutboxSettings {
    /// Where the id of an element is: it is at the first of these JSONPaths that the element has.
    pub(super) fn id_paths(&self) -> Vec<&str> {
        self.id.as_deref().map_or_else(|| vec!["$.id", "$._id"], |id| vec![id])
    }

    /// The same as dotted paths, as a query of MongoDB has them.
    pub fn id_fields(&self) -> Vec<String> {
        let queries = self.id_paths().into_iter().filter_map(|path| Query::parse_plain(path).ok());
        queries.filter_map(|query| query.dotted().map(str::to_owned)).collect()
    }

    /// The settings of an embedded outbox of which nothing is said but where it is.
    pub fn new(collection: Namespace) -> Self {
        Self {
            collection,
            path: events(),
            id: None,
            event_type: event_type(),
            key: None,
            data: data(),
            subject: None,
            time: None,
            headers: BTreeMap::new(),
            traceparent: None,
            tracestate: None,
            route: None,
            form: CustomForm::default(),
            payload_bytes_max: crate::explicit::outbox::payload_bytes_max(),
            clean_up: EmbeddedCleanUp::default(),
            to: Vec::new(),
        }
    }
}
