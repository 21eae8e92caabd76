//! What the errors of MongoDB mean for a sink or for the dead letters.

use super::super::SinkError;
use super::insertion::DUPLICATE_KEY;
use crate::failure::Disposition;
use crate::mongo_client::{ConnectError, DatabaseError, ErrorClass};
use crate::namespace::Namespace;

/// Server codes for a disk or quota that is full: OutOfDiskSpace, and what hosted servers answer.
const FULL_CODES: [i32; 2] = [14_031, 12_501];

/// Who writes where, for errors.
#[derive(Clone, Debug)]
pub(in crate::sink) struct Place {
    pub(in crate::sink) sink: String,
    pub(in crate::sink) collection: Namespace,
}

impl Place {
    /// The error of a sink for a failed operation.
    pub(in crate::sink) fn fault(&self, error: DatabaseError) -> SinkError {
        let Namespace { database, .. } = &self.collection;
        match error.class() {
            ErrorClass::Unreachable => self.unavailable("MongoDB can not be reached", error),
            ErrorClass::Interrupted => self.unavailable("MongoDB can not take writes just now", error),
            ErrorClass::Authentication => self.unusable(
                "MongoDB does not accept the user".to_owned(),
                "check user, password and authSource in the connection string".to_owned(),
                error,
            ),
            ErrorClass::Unauthorized => self.unusable(
                format!("the user may not write to {}", self.collection),
                format!(
                    "let an administrator run db.getSiblingDB(\"admin\").grantRolesToUser(\"<user>\", [{{role: \"readWrite\", db: \"{database}\"}}])"
                ),
                error,
            ),
            ErrorClass::Refused if error.code().is_some_and(|code| FULL_CODES.contains(&code)) => {
                self.unavailable("MongoDB has no space left", error)
            }
            ErrorClass::Refused => self.unusable(
                format!("MongoDB refuses to write to {}", self.collection),
                "look up the server's error below; the collection must be an ordinary one".to_owned(),
                error,
            ),
            ErrorClass::Client if error.is_reply() => self.unavailable("MongoDB gave no proper answer", error),
            ErrorClass::Client => self.unusable(
                "the driver can not work with this deployment".to_owned(),
                "check the connection string and that all members run the same version of MongoDB".to_owned(),
                error,
            ),
        }
    }

    /// The error for one event that is refused for good.
    pub(in crate::sink) fn rejection(&self, reason: &str) -> SinkError {
        SinkError::Rejected { sink: self.sink.clone(), reason: reason.to_owned() }
    }

    /// Why the server refused a document.
    pub(in crate::sink) fn refusal(&self, code: i32) -> String {
        match code {
            DUPLICATE_KEY => {
                format!("a unique index of {} beside the one of _id refuses it (server error {code})", self.collection)
            }
            121 => format!("the validation rules of {} refuse it (server error {code})", self.collection),
            _ => format!("MongoDB refuses to write it to {} (server error {code})", self.collection),
        }
    }

    fn unavailable(&self, reason: &str, error: DatabaseError) -> SinkError {
        SinkError::Unavailable { sink: self.sink.clone(), reason: reason.to_owned(), source: Some(Box::new(error)) }
    }

    fn unusable(&self, reason: String, help: String, error: DatabaseError) -> SinkError {
        SinkError::Unusable { sink: self.sink.clone(), reason, help, source: Some(Box::new(error)) }
    }
}

/// The error of a sink whose client can not be made.
pub(in crate::sink) fn connection_fault(place: &Place, error: ConnectError) -> SinkError {
    let sink = place.sink.clone();
    match error.disposition() {
        Disposition::Retry => SinkError::Unavailable {
            sink,
            reason: "the servers of MongoDB can not be found".to_owned(),
            source: Some(Box::new(error)),
        },
        Disposition::Stop | Disposition::Reject => SinkError::Unusable {
            sink,
            reason: "its connection to MongoDB can not be made".to_owned(),
            help: "correct its uri; without one, that of the source is used".to_owned(),
            source: Some(Box::new(error)),
        },
    }
}
