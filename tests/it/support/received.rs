//! What the sinks have taken, to compare with what was committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};

use super::load::Expected;

/// The events in one sink: how often each id came for each type and subject.
#[derive(Debug, Default)]
pub struct Received(BTreeMap<(String, String), BTreeMap<String, usize>>);

impl Received {
    /// Adds an event.
    pub fn add(&mut self, event_type: &str, subject: &str, id: &str) {
        let ids = self.0.entry((event_type.to_owned(), subject.to_owned())).or_default();
        *ids.entry(id.to_owned()).or_default() += 1;
    }

    /// Adds the CloudEvents in lines of JSON; a last line without its end was not written whole and does not count.
    pub fn add_lines(&mut self, text: &str) {
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        for line in whole.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let field = |name: &str| event[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
            self.add(&field("type"), &field("subject"), &field("id"));
        }
    }

    /// What is in the collection of a MongoDB sink.
    pub async fn from_collection(events: &Collection<Document>) -> Self {
        let mut received = Self::default();
        let mut cursor = events.find(doc! {}).await.expect("reading events");
        while let Some(event) = cursor.next().await {
            let event = event.expect("reading events");
            let field = |name: &str| event.get_str(name).unwrap_or_else(|_| panic!("no {name}: {event}"));
            received.add(field("type"), field("subject"), field("_id"));
        }
        received
    }

    /// What is in a stream of NATS.
    pub async fn from_stream(url: &str, stream: &str) -> Self {
        let client = async_nats::connect(url).await.expect("connecting to nats");
        let mut stream = async_nats::jetstream::new(client).get_stream(stream).await.expect("the stream is there");
        let count = stream.info().await.expect("asking for the stream").state.messages;
        let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
        let consumer = stream.create_consumer(config).await.expect("making a consumer");
        let mut messages =
            consumer.messages().await.expect("reading messages").take(usize::try_from(count).unwrap_or(0));
        let mut received = Self::default();
        while let Some(message) = messages.next().await {
            let message = message.expect("reading a message");
            received.add_lines(&format!("{}\n", String::from_utf8_lossy(&message.payload)));
        }
        received
    }

    /// How many of the expected events are here.
    pub fn count_of(&self, expected: &Expected) -> usize {
        expected.iter().filter(|event| self.0.contains_key(*event)).count()
    }

    /// Repeats: events that came more than once with the same id.
    pub fn repeat_count(&self) -> usize {
        self.0.values().flat_map(BTreeMap::values).map(|count| count - 1).sum()
    }

    /// Fails unless every expected event is here, under one id, and no other.
    pub fn assert_is(&self, expected: &Expected, sink: &str) {
        let here: BTreeSet<_> = self.0.keys().cloned().collect();
        let show =
            |events: Vec<&(String, String)>| format!("{} (first: {:?})", events.len(), &events[..events.len().min(5)]);
        let missing: Vec<_> = expected.difference(&here).collect();
        assert!(missing.is_empty(), "{sink}: of {} events there are missing: {}", expected.len(), show(missing));
        let extra: Vec<_> = here.difference(expected).collect();
        assert!(extra.is_empty(), "{sink}: beyond {} events there are: {}", expected.len(), show(extra));
        let two_ids: Vec<_> = self.0.iter().filter(|(_, ids)| ids.len() > 1).map(|(event, _)| event).collect();
        assert!(two_ids.is_empty(), "{sink}: with more than one id: {}", show(two_ids));
    }
}

/// How many events a MongoDB sink has, at once.
pub async fn count(client: &Client, database: &str) -> u64 {
    const UNHURRIED: Duration = Duration::from_secs(30);
    let events = client.database(database).collection::<Document>("events");
    tokio::time::timeout(UNHURRIED, events.estimated_document_count()).await.ok().and_then(Result::ok).unwrap_or(0)
}
