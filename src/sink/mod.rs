//! Where events go.
//!
//! Each sink is one file that holds its settings and its way of delivering; `encoding` holds the bytes they have in common.

mod attributes;
mod dead_letters;
mod encoding;
mod envelope;
mod factory;
mod file;
mod mongodb;
mod nats;
mod pattern;
#[cfg(test)]
mod samples;
mod settings;
mod stdout;

use std::sync::Arc;

pub use dead_letters::{FileDeadLetters, MongodbDeadLetters};
pub use envelope::{Envelope, EnvelopeSettings, Route};
pub use factory::{build, build_dead_letters};
pub use file::{EventFile, FileSettings, FileSink, FileSync, RotationSettings};
pub use mongodb::{MongodbSettings, MongodbSink};
pub use nats::{NatsAuthentication, NatsSettings, NatsTls, StreamSettings};
pub use pattern::Pattern;
pub use settings::{DeadLetterSettings, JsonFormat, SinkSettings, WrittenCollection};
pub use stdout::{StdoutSettings, StdoutSink};

use async_trait::async_trait;

use crate::event::Event;
use crate::failure::Disposition;
pub use crate::transactional_write::TransactionalWrite;

/// A place that takes events for good.
///
/// A lane of the pipeline owns a sink and drives it: it opens it, hands it events in order and, when a delivery fails, asks
/// [`SinkError::disposition`] what to do: deliver again from the first event that is not settled (after a pause), put that
/// one event into the dead letters and go on with the next, or stop the pipeline.
///
/// An event may arrive more than once (after a crash, or after a failure that hid a success), always with the same id. A sink
/// that can recognise an id keeps only the first.
#[async_trait]
pub trait Sink: Send {
    /// Connects, and checks or creates what the sink delivers into. May be called again after a failure.
    async fn open(&mut self) -> Result<(), SinkError>;

    /// Delivers events in order and returns when every one of them is durable, or when one has failed.
    ///
    /// Events with the same partition key must become visible in their order, also across failures. The future may be dropped
    /// before its end, when the time for a delivery is over; the next delivery then begins with the same events.
    async fn deliver(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered>;

    /// Delivers events and runs `write` in one transaction, so that both are there or neither.
    ///
    /// Only asked of sinks that said yes to [`Sink::joins`].
    async fn deliver_joined(&mut self, events: &[Arc<Event>], write: &TransactionalWrite) -> Result<(), Undelivered> {
        let _ = write;
        self.deliver(events).await
    }

    /// True if this sink can run a write to `deployment` in the same transaction as its events.
    fn joins(&self, deployment: &str) -> bool {
        let _ = deployment;
        false
    }

    /// The logical session (`lsid`) in which [`Sink::deliver_joined`] runs its transactions. Whoever takes over from a process
    /// that died ends it: a transaction cut off in the middle would hold up its successor until the server gives up on it.
    fn session(&self) -> Option<bson::Document> {
        None
    }

    /// Flushes and closes. Called once, when the lane has drained or its time to drain is over.
    async fn close(&mut self) -> Result<(), SinkError>;
}

/// A delivery that failed part of the way.
#[derive(Debug)]
pub struct Undelivered {
    /// How many events, from the first, are durable. The next one is the one that failed; those after it are not settled.
    pub delivered: usize,
    /// Why the next one failed.
    pub error: SinkError,
}

/// Where events and changes go that can not be delivered or understood: never into silence.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Checks that dead letters can be written, so that a mistake shows at the start and not at the first dead letter.
    async fn open(&self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Writes one dead letter, durably.
    async fn put(&self, letter: &DeadLetter) -> Result<(), SinkError>;
}

/// What was given up, why, and enough to do it again.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The sink that rejected the event; absent if the event could not be built or the change not be decoded.
    pub sink: Option<String>,
    /// The rule that made the event, if one did.
    pub rule: Option<Arc<str>>,
    /// Why, without values of documents.
    pub reason: String,
    /// When it was given up.
    pub at: bson::DateTime,
    /// The event, if there is one.
    pub event: Option<Arc<Event>>,
    /// The raw change document, if no event could be built from it.
    pub change: Option<bson::RawDocumentBuf>,
}

/// Why a sink did not take an event.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The sink cannot be reached or is overloaded; it may take the same event later.
    #[error("the sink \"{sink}\" is not available: {reason}")]
    Unavailable {
        /// The name of the sink.
        sink: String,
        /// What happened, without values of documents.
        reason: String,
        /// The library's error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The sink will never take this event.
    #[error("the sink \"{sink}\" rejects the event: {reason}")]
    Rejected {
        /// The name of the sink.
        sink: String,
        /// What is wrong with the event, without values of documents.
        reason: String,
    },
    /// The sink is set up wrongly; only an operator can help.
    #[error("the sink \"{sink}\" can not be used: {reason}\nhelp: {help}")]
    Unusable {
        /// The name of the sink.
        sink: String,
        /// What is wrong.
        reason: String,
        /// The way out.
        help: String,
        /// The library's error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Another process owns the checkpoint by now.
    #[error("another process has taken over the checkpoint")]
    Fenced,
}

impl SinkError {
    /// What is to be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unavailable { .. } => Disposition::Retry,
            Self::Rejected { .. } => Disposition::Reject,
            Self::Unusable { .. } | Self::Fenced => Disposition::Stop,
        }
    }
}
