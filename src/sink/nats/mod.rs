//! Messages in a stream of NATS JetStream.
//!
//! Every message waits for the acknowledgement that it is stored. Many may wait at once, but never two of one partition key:
//! if a message gets lost, no later one of its key can have overtaken it.

mod connection;
mod fault;
mod message;
mod settings;
mod subject;

use std::collections::HashSet;
use std::sync::Arc;

use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use connection::Connection;
use fault::Fault;
pub use settings::{NatsAuthentication, NatsSettings, NatsTls, StreamSettings};
use subject::{SUBJECT_BYTES_MAX, SubjectPattern, subjects_of_address, without_overlaps};

use super::envelope::Envelope;
use super::{Sink, SinkError, Undelivered};
use crate::event::{Event, EventId};

/// Publishes every event as one message.
pub struct NatsSink {
    name: String,
    settings: NatsSettings,
    subject: SubjectPattern,
    /// All subjects that events may get, with wildcards: by our own settings, and those that applications choose.
    subjects: Vec<String>,
    envelope: Envelope,
    connection: Option<Connection>,
    /// The stream must be looked at before more is sent.
    is_stream_doubtful: bool,
    /// Events of a delivery that failed, which were stored although one before them was not. They are not sent again.
    acknowledged: HashSet<EventId>,
}

/// A message on its way: the place of its event in the delivery, and what came of it.
type Waiting<'e> = BoxFuture<'e, (usize, Result<PublishAck, PublishError>)>;

impl NatsSink {
    /// The sink `name`; nothing is connected yet.
    ///
    /// # Errors
    /// [`SinkError::Unusable`] if settings contradict each other.
    pub fn new(name: &str, settings: &NatsSettings, envelope: &Envelope) -> Result<Self, SinkError> {
        let subject = settings.check().map_err(|(reason, help)| Fault::lasting(reason, help).of_sink(name, None))?;
        let mut subjects = vec![subject.subjects()];
        for route in envelope.routes_to(name) {
            subjects.push(subjects_of_address(route).map_err(|reason| {
                let reason = format!("\"{route}\" of a relay gives no subject: {reason}");
                Fault::lasting(reason, "begin its route like \"outbox.event.\"").of_sink(name, None)
            })?);
        }
        Ok(Self {
            name: name.to_owned(),
            settings: settings.clone(),
            subject,
            subjects: without_overlaps(&subjects),
            envelope: envelope.clone(),
            connection: None,
            is_stream_doubtful: false,
            acknowledged: HashSet::new(),
        })
    }

    fn error(&self, fault: Fault) -> SinkError {
        fault.of_sink(&self.name, None)
    }

    /// The connection, or why nothing can be sent now.
    async fn ready(&mut self) -> Result<&Connection, SinkError> {
        if self.connection.is_none() || self.is_stream_doubtful {
            self.open().await?;
        }
        match &self.connection {
            Some(connection) if connection.is_connected() => Ok(connection),
            _ => Err(self.error(Fault::passing("no server is connected"))),
        }
    }

    fn message_of(&self, event: &Event) -> Result<(String, PublishMessage), SinkError> {
        let (body, headers) = message::content_of(event, &self.envelope, self.settings.json)
            .map_err(|error| error.rejected_by(&self.name))?;
        let subject = match event.address_at(&self.name) {
            Some(address) => subject::subject_of_address(address).map_err(|reason| {
                let reason = format!("the subject that its rule or relay gives can not be used: {reason}");
                self.error(Fault::Rejecting { reason })
            })?,
            None => self.subject.subject_of(event, &self.envelope),
        };
        if subject.len() > SUBJECT_BYTES_MAX {
            let reason = format!("its subject is longer than {SUBJECT_BYTES_MAX} bytes");
            return Err(self.error(Fault::Rejecting { reason }));
        }
        let message = PublishMessage::build()
            .payload(body.into())
            .headers(headers)
            .message_id(event.id.to_string())
            .expected_stream(&self.settings.stream.name);
        Ok((subject, message))
    }

    /// Sends the events and waits for every acknowledgement. Gives the first that is not stored and why, if there is one.
    async fn send(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered> {
        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        let sent = self.send_window_by_window(events, &mut acknowledged).await;
        if sent.is_err() {
            self.acknowledged = acknowledged;
        }
        sent
    }

    async fn send_window_by_window(
        &mut self,
        events: &[Arc<Event>],
        acknowledged: &mut HashSet<EventId>,
    ) -> Result<(), Undelivered> {
        let mut waiting: FuturesUnordered<Waiting<'_>> = FuturesUnordered::new();
        let mut keys: HashSet<&str> = HashSet::new();
        let mut failure: Option<(usize, SinkError)> = None;
        for (index, event) in events.iter().enumerate() {
            if acknowledged.contains(&event.id) {
                continue;
            }
            while waiting.len() >= self.settings.window || keys.contains(event.partition_key.as_str()) {
                let Some(outcome) = waiting.next().await else { break };
                self.settle(outcome, events, &mut keys, acknowledged, &mut failure);
            }
            if failure.is_some() {
                break;
            }
            match self.publish(event).await {
                Ok(acknowledgement) => {
                    keys.insert(&event.partition_key);
                    waiting.push(Box::pin(async move { (index, acknowledgement.await) }));
                }
                Err(error) => {
                    failure = Some((index, error));
                    break;
                }
            }
        }
        while let Some(outcome) = waiting.next().await {
            self.settle(outcome, events, &mut keys, acknowledged, &mut failure);
        }
        match failure {
            Some((delivered, error)) => Err(Undelivered { delivered, error }),
            None => Ok(()),
        }
    }

    async fn publish(&mut self, event: &Event) -> Result<PublishAckFuture, SinkError> {
        let (subject, message) = self.message_of(event)?;
        let connection = self.ready().await?;
        let sent = connection.jetstream.send_publish(subject, message).await;
        sent.map_err(|error| self.fault_of(error))
    }

    /// Notes what came of one message.
    fn settle<'e>(
        &mut self,
        (index, outcome): (usize, Result<PublishAck, PublishError>),
        events: &'e [Arc<Event>],
        keys: &mut HashSet<&'e str>,
        acknowledged: &mut HashSet<EventId>,
        failure: &mut Option<(usize, SinkError)>,
    ) {
        keys.remove(events[index].partition_key.as_str());
        match outcome {
            Ok(_) => {
                acknowledged.insert(events[index].id);
            }
            Err(error) => {
                let error = self.fault_of(error);
                // Of several, the first in the order of the events counts; those after it are tried again in any case.
                if failure.as_ref().is_none_or(|(first, _)| index < *first) {
                    *failure = Some((index, error));
                }
            }
        }
    }

    fn fault_of(&mut self, error: PublishError) -> SinkError {
        let fault = fault::of_publishing(&error, &self.settings.stream.name);
        self.is_stream_doubtful = true;
        let was_denied = self.connection.as_ref().is_some_and(Connection::was_denied);
        match fault {
            Fault::Passing { .. } if was_denied => self.error(Fault::lasting(
                "the server does not allow us to publish",
                "let the user publish to the subjects of the events and subscribe to _INBOX.>",
            )),
            fault => fault.of_sink(&self.name, Some(Box::new(error))),
        }
    }
}

#[async_trait]
impl Sink for NatsSink {
    async fn open(&mut self) -> Result<(), SinkError> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(&self.name, &self.settings).await?);
        }
        let Some(connection) = &self.connection else { return Ok(()) };
        let checked = connection.check_stream(&self.settings.stream, &self.subjects).await;
        checked.map_err(|(fault, cause)| fault.of_sink(&self.name, cause))?;
        self.is_stream_doubtful = false;
        Ok(())
    }

    async fn deliver(&mut self, events: &[Arc<Event>]) -> Result<(), Undelivered> {
        self.send(events).await
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        // Every acknowledgement was waited for, so nothing is left to be flushed.
        self.connection = None;
        Ok(())
    }
}
