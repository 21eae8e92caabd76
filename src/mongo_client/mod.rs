//! The connection to MongoDB, shared by source, sinks and checkpoints: how it is made, what is at its other end, and what
//! its errors mean.

mod database_error;
mod deployment;
mod privileges;

use std::time::Duration;

use mongodb::Client;
use mongodb::error::ErrorKind;
use mongodb::options::ClientOptions;

use crate::failure::Disposition;
use crate::secret::Secret;

pub use database_error::{DatabaseError, ErrorClass};
pub use deployment::{Deployment, DeploymentKind, Version, is_same_deployment};
pub use privileges::Privileges;

/// How long to look for a fitting server, and to wait for a connection, where the URI does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection string is no good. It is never printed: it may hold a password.
    #[error(
        "the connection string of MongoDB is not valid: {reason}\nhelp: its form is mongodb://user:password@host:27017/?replicaSet=rs0 or mongodb+srv://user:password@host/; characters such as : / ? # [ ] @ % in user and password are written percent-encoded"
    )]
    InvalidUri {
        /// What is wrong; never a part of the string.
        reason: String,
    },
    /// The host names behind the connection string can not be found, or a certificate can not be read.
    #[error("the servers that the connection string of MongoDB names can not be found")]
    Unresolvable(#[source] DatabaseError),
}

impl ConnectError {
    /// What is to be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::InvalidUri { .. } => Disposition::Stop,
            Self::Unresolvable(_) => Disposition::Retry,
        }
    }
}

/// Makes a client. TLS, compression, read preference, timeouts and the rest are as the URI says; what it leaves open gets
/// our defaults. Nothing but DNS is asked yet: the first operation connects.
pub async fn connect(uri: &Secret) -> Result<Client, ConnectError> {
    let mut options = ClientOptions::parse(uri.expose()).await.map_err(|error| connect_error(&error))?;
    options.app_name.get_or_insert_with(|| concat!("changeling/", env!("CARGO_PKG_VERSION")).to_owned());
    options.server_selection_timeout.get_or_insert(CONNECT_TIMEOUT);
    options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
    Client::with_options(options).map_err(|error| connect_error(&error))
}

fn connect_error(error: &mongodb::error::Error) -> ConnectError {
    match error.kind.as_ref() {
        ErrorKind::InvalidArgument { message, .. } => ConnectError::InvalidUri { reason: uri_reason(message) },
        _ => ConnectError::Unresolvable(DatabaseError::new(error)),
    }
}

/// The driver quotes the part it stumbled over, and that may be a password. So its message is only used to choose one of ours.
fn uri_reason(message: &str) -> String {
    const REASONS: [(&str, &str); 12] = [
        ("scheme", "it does not begin with mongodb:// or mongodb+srv://"),
        ("unescaped %", "user or password holds a % that is not percent-encoded"),
        ("URL encoded", "user or password holds a character that must be percent-encoded"),
        ("hostname cannot be empty", "the host name is missing"),
        ("port cannot be specified", "mongodb+srv:// takes no port"),
        ("exactly one host", "mongodb+srv:// takes exactly one host name"),
        ("port", "the port is not a number from 1 to 65535"),
        ("invalid server address", "the host name is not valid"),
        ("key=value", "an option is not of the form key=value"),
        ("repeated options", "an option is given twice"),
        ("database name", "the database name holds a character that is not allowed"),
        ("username and mechanism", "authentication is asked for, but no user is named"),
    ];
    // These name an option, never its value.
    if message.starts_with("connection string `") || message.starts_with("cannot specify ") {
        return message.to_owned();
    }
    let known = REASONS.iter().find(|(part, _)| message.contains(part));
    known.map_or("the driver does not accept it", |(_, reason)| reason).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(uri: &str) -> String {
        match connect(&Secret::new(uri)).await {
            Ok(_) => panic!("{uri} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn an_invalid_uri_is_explained_without_printing_any_of_it() {
        for (uri, reason) in [
            ("", "does not begin with mongodb://"),
            ("localhost:27017", "does not begin with mongodb://"),
            ("postgres://user:hunter2@host/", "does not begin with mongodb://"),
            ("mongodb://", "the host name is missing"),
            ("mongodb://user:hunter2", "the port is not a number"),
            ("mongodb://user:hunter2%@host", "a % that is not percent-encoded"),
            ("mongodb://user:hunter2/@host:1", "must be percent-encoded"),
            ("mongodb://host:99999", "the port is not a number"),
            ("mongodb://host/?hunter2", "not of the form key=value"),
            ("mongodb://host/?directConnection=hunter2", "`directconnection` option must be a boolean"),
            ("mongodb+srv://host.example:27017", "takes no port"),
        ] {
            let text = refusal(uri).await;
            assert!(text.contains(reason), "{uri}: {text}");
            assert!(!text.contains("hunter2"), "{uri}: {text}");
            assert!(text.contains("help:"), "{uri}: {text}");
        }
    }

    #[tokio::test]
    async fn a_valid_uri_makes_a_client_without_connecting() {
        assert!(connect(&Secret::new("mongodb://user:pa%2Fss@localhost:1/?replicaSet=rs0&tls=true")).await.is_ok());
    }
}
