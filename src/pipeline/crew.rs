//! Tasks with names, so that one that fails or panics can be called by its name.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

use super::error::PipelineError;

/// Tasks of a pipeline that run at the same time. Dropping it ends them.
#[derive(Default)]
pub(super) struct Crew {
    tasks: JoinSet<Result<(), PipelineError>>,
    names: HashMap<Id, String>,
}

impl Crew {
    /// Starts a task.
    pub(super) fn spawn(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), PipelineError>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), name.into());
    }

    /// Waits for the next task to end, and gives its name; `None` if none is left. A panic is an error. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(String, Result<(), PipelineError>)> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        let result = match ended {
            Ok((_, result)) => result,
            Err(_) => Err(PipelineError::Panicked { task: name.clone() }),
        };
        Some((name, result))
    }
}
