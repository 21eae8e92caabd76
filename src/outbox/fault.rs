//! What the errors of MongoDB mean for an outbox.

use super::OutboxError;
use super::place::{Place, Upkeep};
use crate::mongo_client::{DatabaseError, ErrorClass};

/// Server codes for a disk or quota that is full: OutOfDiskSpace, and what hosted servers answer.
const FULL_CODES: [i32; 2] = [14_031, 12_501];

/// The error for a failed operation on an outbox.
pub(super) fn fault(place: &Place, error: DatabaseError) -> OutboxError {
    let refused = |reason: &str, help: String| OutboxError::Refused {
        collection: place.collection.to_string(),
        reason: reason.to_owned(),
        help,
        source: Some(Box::new(error.clone())),
    };
    let unavailable =
        || OutboxError::Unavailable { collection: place.collection.to_string(), source: Box::new(error.clone()) };
    match error.class() {
        ErrorClass::Unreachable | ErrorClass::Interrupted => unavailable(),
        ErrorClass::Authentication => refused(
            "MongoDB does not accept the user",
            "check user, password and authSource in the connection string of the source".to_owned(),
        ),
        ErrorClass::Unauthorized => forbidden(place, "<user>", "admin", Some(error)),
        ErrorClass::Refused if error.code().is_some_and(|code| FULL_CODES.contains(&code)) => unavailable(),
        ErrorClass::Refused => refused(
            "MongoDB refuses it",
            "look up the server's error below; the collection must be an ordinary one, and its validation must let the mark of clean_up pass"
                .to_owned(),
        ),
        ErrorClass::Client if error.is_reply() => unavailable(),
        ErrorClass::Client => refused(
            "the driver can not work with this deployment",
            "check the connection string and that all members run the same version of MongoDB".to_owned(),
        ),
    }
}

/// The error for a user who lacks a permission.
pub(super) fn forbidden(place: &Place, user: &str, database: &str, source: Option<DatabaseError>) -> OutboxError {
    let (what, otherwise) = match &place.upkeep {
        Upkeep::Keep => ("read what it holds", "or leave `catch_up` out"),
        Upkeep::Delete => ("read and delete its documents", "or use `clean_up: keep`"),
        Upkeep::Mark { .. } => ("read and update its documents and make an index", "or use `clean_up: keep`"),
        Upkeep::Pull { .. } => ("read and update its documents", "or use `clean_up: keep`"),
    };
    let role = match &place.upkeep {
        Upkeep::Keep => "read",
        Upkeep::Delete | Upkeep::Mark { .. } | Upkeep::Pull { .. } => "readWrite",
    };
    let granted = &place.collection.database;
    OutboxError::Refused {
        collection: place.collection.to_string(),
        reason: format!("the user {user} may not {what}"),
        help: format!(
            "grant it: db.getSiblingDB(\"{database}\").grantRolesToUser(\"{user}\", [{{role: \"{role}\", db: \"{granted}\"}}]); {otherwise}"
        ),
        source: source.map(Box::new),
    }
}
