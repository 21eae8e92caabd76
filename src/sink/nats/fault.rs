//! What the errors of NATS mean for the sink. Subjects may hold values of documents, so no subject of an event is named.

use std::error::Error;

use async_nats::ConnectErrorKind;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind, PublishError, PublishErrorKind,
};

use super::super::SinkError;

/// Why an error is what it is, before it has the name of the sink.
pub(super) enum Fault {
    /// It may pass.
    Passing { reason: String },
    /// This event is refused for good.
    Rejecting { reason: String },
    /// An operator must do something.
    Lasting { reason: String, help: String },
}

impl Fault {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into() }
    }

    pub(super) fn lasting(reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Lasting { reason: reason.into(), help: help.into() }
    }

    pub(super) fn of_sink(self, sink: &str, source: Option<Box<dyn Error + Send + Sync>>) -> SinkError {
        let sink = sink.to_owned();
        match self {
            Self::Passing { reason } => SinkError::Unavailable { sink, reason, source },
            Self::Rejecting { reason } => SinkError::Rejected { sink, reason },
            Self::Lasting { reason, help } => SinkError::Unusable { sink, reason, help, source },
        }
    }
}

/// A connection that could not be made.
pub(super) fn of_connection(kind: ConnectErrorKind) -> Fault {
    match kind {
        ConnectErrorKind::ServerParse => {
            Fault::lasting("an address of a server is not valid", "an address looks like nats://host:4222")
        }
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            Fault::lasting("the server does not let us in", "check the settings under \"authentication\"")
        }
        ConnectErrorKind::Tls => {
            Fault::lasting("no encrypted connection can be made", "check the settings under \"tls\"")
        }
        ConnectErrorKind::Dns => Fault::passing("the name of the server can not be resolved"),
        ConnectErrorKind::TimedOut | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            Fault::passing("no server can be reached")
        }
    }
}

/// A stream that could not be asked about.
pub(super) fn of_stream(error: &GetStreamError, name: &str) -> Fault {
    match error.kind() {
        GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => of_name(name),
        GetStreamErrorKind::Request => Fault::passing("JetStream does not answer"),
        GetStreamErrorKind::JetStream(refused) => of_refusal(refused.error_code(), refused.code()),
    }
}

/// A stream that could not be created.
pub(super) fn of_creation(error: &CreateStreamError, name: &str) -> Fault {
    match error.kind() {
        CreateStreamErrorKind::EmptyStreamName | CreateStreamErrorKind::InvalidStreamName => of_name(name),
        CreateStreamErrorKind::JetStream(refused) => match refused.error_code() {
            ErrorCode::STREAM_SUBJECT_OVERLAP => Fault::lasting(
                format!("the stream {name} can not be created because another stream takes its subjects"),
                "set the name of that stream, or other subjects (\"nats stream ls\" shows what is there)",
            ),
            code => of_refusal(code, refused.code()),
        },
        CreateStreamErrorKind::DomainAndExternalSet
        | CreateStreamErrorKind::JetStreamUnavailable
        | CreateStreamErrorKind::TimedOut
        | CreateStreamErrorKind::Response
        | CreateStreamErrorKind::NotFound
        | CreateStreamErrorKind::ResponseParse => Fault::passing("JetStream does not answer"),
    }
}

fn of_name(name: &str) -> Fault {
    Fault::lasting(
        format!("\"{name}\" is no name for a stream"),
        "use letters, digits, \"-\" and \"_\", without spaces and dots",
    )
}

fn of_refusal(code: ErrorCode, status: usize) -> Fault {
    match code {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => Fault::lasting(
            "the server does not keep streams",
            "start it with JetStream (nats-server --jetstream), and enable it for the account",
        ),
        // The server can not do it now: no leader, no space, too busy.
        _ if status >= 500 => Fault::passing(format!("JetStream can not do it just now (error {})", code.0)),
        _ => Fault::lasting(
            format!("JetStream refuses the settings of the stream (error {})", code.0),
            "compare them with \"nats stream info\"; the error is named below",
        ),
    }
}

/// A message that was not acknowledged.
pub(super) fn of_publishing(error: &PublishError, stream: &str) -> Fault {
    let refused = error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    match (error.kind(), refused.map(async_nats::jetstream::Error::error_code)) {
        (PublishErrorKind::MaxPayloadExceeded, _) => {
            Fault::Rejecting { reason: "its message is larger than the server takes (max_payload)".to_owned() }
        }
        (_, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM)) => {
            Fault::Rejecting { reason: format!("its message is larger than the stream {stream} takes") }
        }
        (_, Some(ErrorCode::STREAM_NOT_MATCH)) => Fault::lasting(
            format!("the subject of an event belongs to another stream than {stream}"),
            "set the name of that stream, or another subject (\"nats stream ls\" shows what is there)",
        ),
        (_, Some(code)) => Fault::passing(format!("the stream {stream} does not take messages now (error {})", code.0)),
        (PublishErrorKind::StreamNotFound, None) => Fault::passing(format!(
            "no stream takes the subject of an event; is {stream} gone, or has it other subjects?"
        )),
        (PublishErrorKind::TimedOut, None) => Fault::passing("a message was not acknowledged in time"),
        (
            PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::WrongLastSequence
            | PublishErrorKind::BrokenPipe
            | PublishErrorKind::MaxAckPending
            | PublishErrorKind::Other,
            None,
        ) => Fault::passing("a message could not be sent"),
    }
}
