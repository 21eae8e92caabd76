//! Why a pipeline stopped without being asked to.

use std::sync::Arc;

use crate::checkpoint::CheckpointError;
use crate::outbox::OutboxError;
use crate::position::ClusterTime;
use crate::rules::UnknownReason;
use crate::sink::SinkError;
use crate::source::SourceError;

/// Why a pipeline stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The source can not go on.
    #[error("reading changes stopped")]
    Source(#[source] SourceError),
    /// A sink can not go on.
    #[error("delivering to the sink \"{sink}\" stopped")]
    Sink {
        /// The sink's name.
        sink: String,
        /// Why.
        #[source]
        source: SinkError,
    },
    /// The dead letters can not be written, so that nothing may be given up.
    #[error("the dead letters can not be written")]
    DeadLetters(#[source] SinkError),
    /// The checkpoint can not be read or saved.
    #[error("the checkpoint can not be kept")]
    Checkpoint(#[source] CheckpointError),
    /// An outbox can not be read or cleaned up.
    #[error("the explicit events can not be looked after")]
    Outbox(#[source] Box<OutboxError>),
    /// The checkpoint was written while reading another deployment.
    #[error(
        "the checkpoint belongs to the deployment \"{saved}\", but the source is \"{source_is}\": its position means nothing there\nhelp: connect to the deployment the checkpoint belongs to, or give this connector another name, or remove the checkpoint to begin anew"
    )]
    OtherDeployment {
        /// The deployment in the checkpoint.
        saved: String,
        /// The deployment that the source reads.
        source_is: String,
    },
    /// A rule says that nothing may go on without it, and it can not be decided.
    #[error(
        "the rule \"{rule}\" can not be decided for {subject} at {time}: {}; it says `unknown: stop`\nhelp: the position is before it; {}; to go past it, give the rule another `unknown`",
        .reason.explanation(), .reason.way_out()
    )]
    Undecided {
        /// The id of the rule.
        rule: Arc<str>,
        /// Why.
        reason: UnknownReason,
        /// What it can not be decided for: a change and its collection, or a transaction.
        subject: String,
        /// The commit time of the change.
        time: ClusterTime,
    },
    /// A relay met a change that its settings want the connector to stop at.
    #[error(
        "a document of {relay} was changed ({what}) at {time}, which makes no event; its settings say `invalid_operations: fatal`\nhelp: the position is before it; look for who changes the outbox, and to go past it, say `invalid_operations: warn`"
    )]
    InvalidOperation {
        /// The collection of the relay.
        relay: String,
        /// What happened.
        what: &'static str,
        /// The commit time of the change.
        time: ClusterTime,
    },
    /// A task panicked: a broken invariant of changeling.
    #[error("the {task} panicked: this is an error in changeling, please report it")]
    Panicked {
        /// What the task does.
        task: String,
    },
    /// More than one task failed.
    #[error("{}", DisplayAll(.0))]
    Several(Vec<PipelineError>),
}

struct DisplayAll<'e>(&'e [PipelineError]);

impl std::fmt::Display for DisplayAll<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} tasks failed", self.0.len())?;
        for error in self.0 {
            write!(formatter, "\n- ")?;
            formatter.write_str(&chain(error))?;
        }
        Ok(())
    }
}

impl PipelineError {
    /// One error out of those of all tasks; `None` if there are none.
    pub(super) fn gather(mut errors: Vec<Self>) -> Option<Self> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Self::Several(errors)),
        }
    }
}

/// An error and its causes in one text: for the status, and for logs of failures that pass and so never reach `main`.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
