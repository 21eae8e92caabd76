//! Why a pipeline stopped without being asked to.

use crate::checkpoint::CheckpointError;
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
            let mut next: Option<&dyn std::error::Error> = Some(error);
            let mut separator = "";
            while let Some(error) = next {
                write!(formatter, "{separator}{error}")?;
                (separator, next) = (": ", error.source());
            }
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
