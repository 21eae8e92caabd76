//! What an error of the server means for a stream.

use super::scope::{Scope, Target};
use crate::mongo_client::{DatabaseError, ErrorClass};
use crate::position::ClusterTime;
use crate::source::SourceError;

/// The event is larger than the server can send.
pub(super) const OBJECT_TOO_LARGE: i32 = 10_334;
/// History is lost: CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost.
const LOST_POSITION: [i32; 4] = [136, 260, 280, 286];
/// `$changeStream` is only supported on replica sets.
const NOT_A_REPLICA_SET: i32 = 40_573;

/// What a router of a sharded cluster says as long as the database does not exist (a replica set waits for it in silence).
const NAMESPACE_NOT_FOUND: i32 = 26;

/// True if the oplog does not hold the position any more.
pub(super) fn is_lost_position(error: &DatabaseError) -> bool {
    error.code().is_some_and(|code| LOST_POSITION.contains(&code))
}

/// True if the server can not read the token: it is damaged, or another product wrote it. (Overflow, BadValue, FailedToParse,
/// TypeMismatch, and the codes that `resume_token.cpp` and `key_string.cpp` of MongoDB give.)
pub(super) fn is_unreadable_token(error: &DatabaseError) -> bool {
    const CODES: [i32; 9] = [2, 9, 14, 15, 40_647, 40_648, 40_649, 50_788, 50_811];
    error.code().is_some_and(|code| CODES.contains(&code))
}

/// The error of a source for an error of the server. `oldest` is the oldest entry of the oplog, looked up where history is lost.
pub(super) fn source_error(
    error: DatabaseError,
    scope: &Scope,
    position: Option<ClusterTime>,
    oldest: Option<ClusterTime>,
) -> SourceError {
    if is_lost_position(&error) {
        let name = error.name().to_owned();
        return SourceError::LostPosition { code: error.code().unwrap_or_default(), name, position, oldest };
    }
    match (error.class(), error.code()) {
        (_, Some(OBJECT_TOO_LARGE)) => SourceError::Oversize { position, source: error },
        (_, Some(NOT_A_REPLICA_SET)) => SourceError::Standalone,
        // It may be made at any time, and then must be read from its first change on.
        (_, Some(NAMESPACE_NOT_FOUND)) => SourceError::Interrupted(error),
        (ErrorClass::Unreachable, _) => SourceError::Unreachable(error),
        (ErrorClass::Interrupted, _) => SourceError::Interrupted(error),
        (ErrorClass::Authentication, _) => SourceError::Authentication(error),
        (ErrorClass::Unauthorized, _) => SourceError::Unauthorized {
            what: format!("the change stream of {}", scope.target()),
            help: format!("grant it: {}", grant(scope.target(), "<user>", "admin")),
            source: error,
        },
        // A reply that can not be read: the connection is of no use any more, but the next one may be.
        (ErrorClass::Client, _) if error.is_reply() => SourceError::Interrupted(error),
        (ErrorClass::Client | ErrorClass::Refused, _) => SourceError::Refused(error),
    }
}

/// The command that lets a user read a stream.
pub(super) fn grant(target: &Target, user: &str, user_database: &str) -> String {
    let role = match target {
        Target::Collection(namespace) => format!("{{role: \"read\", db: \"{}\"}}", namespace.database),
        Target::Database(database) => format!("{{role: \"read\", db: \"{database}\"}}"),
        Target::Deployment => "{role: \"readAnyDatabase\", db: \"admin\"}".to_owned(),
    };
    format!("db.getSiblingDB(\"{user_database}\").grantRolesToUser(\"{user}\", [{role}])")
}
