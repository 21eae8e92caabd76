//! Why a source cannot go on, and what is to be done about it.

use std::fmt;

use crate::failure::Disposition;
use crate::mongo_client::{DatabaseError, Version};
use crate::position::ClusterTime;
use crate::source::tape::TapeError;

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No server can be reached, or the connection broke.
    #[error("MongoDB can not be reached")]
    Unreachable(#[source] DatabaseError),
    /// A server answered that it can not go on just now: a new primary, a shutdown, a killed cursor.
    #[error("the change stream of MongoDB was interrupted")]
    Interrupted(#[source] DatabaseError),
    /// The stream ended though nothing was invalidated.
    #[error("the change stream of MongoDB was closed by the server")]
    Closed,
    /// User or password are wrong.
    #[error(
        "MongoDB does not accept the user of the connection string\nhelp: check user, password and authSource of the URI"
    )]
    Authentication(#[source] DatabaseError),
    /// The user may not do what is needed.
    #[error("the user of the connection string may not read {what}\nhelp: {help}")]
    Unauthorized {
        /// What it may not read.
        what: String,
        /// The command that grants it.
        help: String,
        /// The server's refusal.
        #[source]
        source: DatabaseError,
    },
    /// A single server without a replica set has no change streams.
    #[error("the server is not a member of a replica set, so that it has no change streams\nhelp: {MAKE_REPLICA_SET}")]
    Standalone,
    /// The server is older than what changeling needs.
    #[error(
        "the server has version {found}, and change streams are read from version {oldest} on\nhelp: upgrade MongoDB"
    )]
    TooOld {
        /// The server's version.
        found: Version,
        /// The oldest version that will do.
        oldest: Version,
    },
    /// The oplog does not hold our position any more: changes are lost unless a copy of them exists elsewhere.
    #[error(
        "the oplog of MongoDB does not hold the position {} any more (server error {code} {name}): {}\nhelp: {LOST_POSITION_HELP}",
        Asked(*.position),
        Distance { position: *.position, oldest: *.oldest }
    )]
    LostPosition {
        /// The server's error code: 286, 280, 260 or 136.
        code: i32,
        /// The server's name for it.
        name: String,
        /// Where we were; absent if we started without a position.
        position: Option<ClusterTime>,
        /// The oldest entry of the oplog, if we may read it.
        oldest: Option<ClusterTime>,
    },
    /// One change is larger than what the server sends in one event, even without its images.
    #[error(
        "a change at or after {} is too large for one event of the server, even without images\nhelp: changes of this size can not be read through a change stream; make the document smaller, then remove the checkpoint and set `start` to a time after this change",
        Asked(*.position)
    )]
    Oversize {
        /// The position before it.
        position: Option<ClusterTime>,
        /// The server's refusal.
        #[source]
        source: DatabaseError,
    },
    /// The oldest entry of the oplog is asked for, and may not be read.
    #[error(
        "`start: beginning` needs the oldest entry of the oplog, which can not be read\nhelp: grant it: db.getSiblingDB(\"admin\").grantRolesToUser(\"<user>\", [{{role: \"read\", db: \"local\"}}]); or give a time: `start: 2026-01-31T00:00:00Z`"
    )]
    BeginningUnknown(#[source] Option<DatabaseError>),
    /// The server or the driver refused for another reason.
    #[error("the change stream of MongoDB can not be read")]
    Refused(#[source] DatabaseError),
    /// A tape can not be read.
    #[error(transparent)]
    Tape(TapeError),
}

/// How a standalone becomes a replica set of one node.
pub(crate) const MAKE_REPLICA_SET: &str = "make it a replica set of one node: start mongod with --replSet rs0 (or `replication: {replSetName: rs0}` in mongod.conf), then run rs.initiate() once in mongosh";

const LOST_POSITION_HELP: &str = "what happened in between must be brought into line by other means (for example from a backup or by reading the collections); then go on without it by `on_lost_position: gap`, which sends a changeling.gap event, or remove the checkpoint and set `start`. A larger oplog gives more time: db.adminCommand({replSetResizeOplog: 1, size: <MB>, minRetentionHours: <hours>})";

struct Asked(Option<ClusterTime>);

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => time.fmt(formatter),
            None => formatter.write_str("asked for"),
        }
    }
}

struct Distance {
    position: Option<ClusterTime>,
    oldest: Option<ClusterTime>,
}

impl fmt::Display for Distance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.position, self.oldest) {
            (Some(position), Some(oldest)) if oldest > position => {
                let seconds = u64::from(oldest.seconds.saturating_sub(position.seconds));
                let period = humantime::format_duration(std::time::Duration::from_secs(seconds));
                write!(formatter, "its oldest entry is of {oldest}, {period} later; the changes between are not read")
            }
            (_, Some(oldest)) => {
                write!(formatter, "its oldest entry is of {oldest}, but the server does not find the position in it")
            }
            (_, None) => formatter.write_str("the changes since then can not be read"),
        }
    }
}

impl SourceError {
    /// What is to be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unreachable(_) | Self::Interrupted(_) | Self::Closed => Disposition::Retry,
            Self::Authentication(_)
            | Self::Unauthorized { .. }
            | Self::Standalone
            | Self::TooOld { .. }
            | Self::LostPosition { .. }
            | Self::Oversize { .. }
            | Self::BeginningUnknown(_)
            | Self::Refused(_) => Disposition::Stop,
            Self::Tape(error) => error.disposition(),
        }
    }

    /// True if history is lost, so that the policy `on_lost_position` applies.
    pub fn is_lost_position(&self) -> bool {
        matches!(self, Self::LostPosition { .. })
    }

    /// A word of a closed set, fit for a metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Interrupted(_) => "interrupted",
            Self::Closed => "closed",
            Self::Authentication(_) => "authentication",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Standalone => "standalone",
            Self::TooOld { .. } => "too_old",
            Self::LostPosition { .. } => "lost_position",
            Self::Oversize { .. } => "oversize",
            Self::BeginningUnknown(_) => "beginning_unknown",
            Self::Refused(_) => "refused",
            Self::Tape(_) => "tape",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_position_says_how_far_behind_it_was_and_what_can_be_done() {
        let at = |seconds| Some(ClusterTime { seconds, increment: 1 });
        let error = |position, oldest| {
            SourceError::LostPosition { code: 286, name: "ChangeStreamHistoryLost".to_owned(), position, oldest }
                .to_string()
        };
        let text = error(at(1_000), at(1_000 + 7_260));
        assert!(text.contains("1970-01-01T00:16:40Z"), "{text}");
        assert!(text.contains("2h 1m later"), "{text}");
        assert!(text.contains("on_lost_position: gap"), "{text}");
        assert!(error(at(1_000), None).contains("can not be read"));
        assert!(error(None, at(5)).contains("does not find the position"));
    }
}
