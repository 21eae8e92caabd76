//! Where in the source we are.
//!
//! A [`Position`] is opaque: tokens are never compared. What orders positions is the [`Sequence`] that the reader gives
//! to every change of one run.

use std::fmt;

use bson::{RawDocument, RawDocumentBuf};

/// The cluster's logical clock: seconds since 1970 and an increment within the second (BSON type Timestamp).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterTime {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: u32,
    /// Order within that second, from 1.
    pub increment: u32,
}

impl ClusterTime {
    /// The 64-bit form that BSON stores: seconds in the high half, increment in the low half.
    pub fn as_u64(self) -> u64 {
        u64::from(self.seconds) << 32 | u64::from(self.increment)
    }

    /// The time in milliseconds since 1970; the increment has no place in it.
    pub fn as_millis(self) -> i64 {
        i64::from(self.seconds) * 1_000
    }
}

impl From<bson::Timestamp> for ClusterTime {
    fn from(timestamp: bson::Timestamp) -> Self {
        Self { seconds: timestamp.time, increment: timestamp.increment }
    }
}

impl From<ClusterTime> for bson::Timestamp {
    fn from(time: ClusterTime) -> Self {
        Self { time: time.seconds, increment: time.increment }
    }
}

impl fmt::Display for ClusterTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = bson::DateTime::from_millis(self.as_millis());
        match date.try_to_rfc3339_string() {
            Ok(text) => write!(formatter, "{text} (increment {})", self.increment),
            Err(_) => write!(formatter, "{}:{}", self.seconds, self.increment),
        }
    }
}

/// The order of changes and positions within one run of the connector. It starts at 1 with every run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// How a source goes on from a position.
#[derive(Clone, Debug, PartialEq)]
pub enum Resume {
    /// After the change or high-water mark that this token names (`resumeAfter`).
    After(RawDocumentBuf),
    /// After an `invalidate`, whose token only `startAfter` accepts.
    AfterInvalidate(RawDocumentBuf),
    /// At the position's cluster time, inclusive: changes of that very time are read again, with the same event ids.
    AtTime,
}

/// A place in the source: everything before it has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// The cluster time of the place; the only part that a change of what is watched can go on from.
    pub time: ClusterTime,
    /// How to go on from here.
    pub resume: Resume,
}

impl Position {
    /// The position after the change or batch that `token` names.
    pub fn after(token: &RawDocument, time: ClusterTime) -> Self {
        Self { time, resume: Resume::After(token.to_owned()) }
    }

    /// The token of the place, if it has one.
    pub fn token(&self) -> Option<&RawDocument> {
        match &self.resume {
            Resume::After(token) | Resume::AfterInvalidate(token) => Some(token),
            Resume::AtTime => None,
        }
    }

    /// The position at a cluster time, inclusive.
    pub fn at_time(time: ClusterTime) -> Self {
        Self { time, resume: Resume::AtTime }
    }
}

/// Where a source begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// With the next change.
    Now,
    /// With the oldest change that the oplog still holds.
    Beginning,
    /// With the first change at or after this time.
    At(ClusterTime),
    /// From a position of the same scope, usually a checkpoint's.
    Resume(Position),
    /// From a position of another scope, whose token the stream may refuse: everything after it. Where the token tells its place,
    /// that is exact; else changes of its very time are read again, with the same event ids.
    Beyond(Position),
}

impl Start {
    /// The same place for a source whose scope has changed.
    #[must_use]
    pub fn in_another_scope(self) -> Self {
        match self {
            Self::Resume(position) => Self::Beyond(position),
            other @ (Self::Now | Self::Beginning | Self::At(_) | Self::Beyond(_)) => other,
        }
    }
}
