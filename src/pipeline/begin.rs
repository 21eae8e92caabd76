//! Where a run begins: owner of the checkpoint, in the right deployment, at the right position.

use tokio::time::Instant;

use super::Pipeline;
use super::backoff::Backoff;
use super::error::{PipelineError, chain};
use super::lease::Lease;
use super::{cleaner, reader, saver};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::failure::Disposition;
use crate::mongo_client::is_same_deployment;
use crate::outbox::Occasion;
use crate::position::{Position, Start};

/// The name of the dead letters in the status.
const DEAD_LETTERS: &str = "dead letters";

/// What is known before the first change is read.
pub(super) struct Beginning {
    pub(super) start: Start,
    pub(super) deployment: String,
    pub(super) scope: String,
    /// The position of the checkpoint, if there is one.
    pub(super) position: Option<Position>,
    /// What was saved of parity.
    pub(super) parity: Option<Vec<u8>>,
    /// What outboxes are read for before the first change.
    pub(super) occasion: Occasion,
    pub(super) lease: Lease,
}

/// Becomes the owner of the checkpoint and finds out where to start, however long it takes.
pub(super) async fn begin(pipeline: &mut Pipeline) -> Result<Beginning, PipelineError> {
    let (saved, lease) = acquire(pipeline).await?;
    open_dead_letters(pipeline).await?;
    prepare_outboxes(pipeline).await?;
    let deployment = deployment(pipeline).await?;
    let scope = pipeline.source.scope();
    let position = saved.as_ref().map(|saved| saved.position.clone());
    let parity = saved.as_ref().and_then(|saved| saved.parity.clone());
    let occasion = position.as_ref().map_or(Occasion::NoCheckpoint, |position| Occasion::Checkpoint(position.time));
    let start = start_from(saved, &deployment, &scope, &pipeline.start)?;
    match &start {
        Start::Now => tracing::info!("reading begins with the next change"),
        Start::Beginning => tracing::info!("reading begins with the oldest change there is"),
        Start::At(time) => tracing::info!(%time, "reading begins at a time"),
        Start::Resume(position) | Start::Beyond(position) => {
            tracing::info!(time = %position.time, "reading goes on from the checkpoint");
        }
    }
    Ok(Beginning { start, deployment, scope, position, parity, occasion, lease })
}

/// An owner that shows a sign of life is not waited for; one that shows none is replaced when its lease ends.
///
/// `&mut` although nothing changes: sources and sinks are `Send` and not `Sync`, and a run must be free to move to a task.
async fn acquire(pipeline: &mut Pipeline) -> Result<(Option<Checkpoint>, Lease), PipelineError> {
    let mut backoff = Backoff::new(&pipeline.settings.retry);
    let mut expected_end = None;
    pipeline.status.waiting(saver::PART, "becoming its owner");
    loop {
        let begun = Instant::now();
        let error = match pipeline.store.acquire().await {
            Ok(saved) => return Ok((saved, Lease::new(begun + pipeline.lease))),
            Err(error) => error,
        };
        match &error {
            CheckpointError::Owned { expires_at: Some(expires_at), .. }
                if expected_end.is_none_or(|expected| *expires_at <= expected) =>
            {
                if expected_end.is_none() {
                    tracing::warn!(error = %chain(&error), "another process owns the checkpoint; waiting for the end of its lease, or a sign of its life");
                    pipeline.status.waiting(saver::PART, chain(&error));
                }
                expected_end = Some(*expires_at);
                tokio::time::sleep(pipeline.lease / 8).await;
            }
            _ if error.disposition() == Disposition::Retry => {
                tracing::warn!(error = %chain(&error), "the checkpoint could not be read; trying again");
                pipeline.status.waiting(saver::PART, chain(&error));
                backoff.pause().await;
            }
            _ => return Err(PipelineError::Checkpoint(error)),
        }
    }
}

/// A mistake in where dead letters go must not show only when the first one is to be written.
async fn open_dead_letters(pipeline: &mut Pipeline) -> Result<(), PipelineError> {
    let mut backoff = Backoff::new(&pipeline.settings.retry);
    while let Err(error) = pipeline.dead_letters.open().await {
        match error.disposition() {
            Disposition::Retry => {
                tracing::warn!(error = %chain(&error), "the dead letters can not be opened; trying again");
                pipeline.status.waiting(DEAD_LETTERS, chain(&error));
                backoff.pause().await;
            }
            Disposition::Reject | Disposition::Stop => return Err(PipelineError::DeadLetters(error)),
        }
    }
    pipeline.status.ready(DEAD_LETTERS);
    Ok(())
}

/// What is missing for the clean-up, such as a permission, must not show only when there is something to clean up.
async fn prepare_outboxes(pipeline: &mut Pipeline) -> Result<(), PipelineError> {
    let Some(outboxes) = pipeline.outboxes.clone() else { return Ok(()) };
    let mut backoff = Backoff::new(&pipeline.settings.retry);
    while let Err(error) = outboxes.prepare().await {
        match error.disposition() {
            Disposition::Retry => {
                tracing::warn!(error = %chain(&error), "the outboxes can not be reached; trying again");
                pipeline.status.waiting(cleaner::PART, chain(&error));
                backoff.pause().await;
            }
            Disposition::Reject | Disposition::Stop => return Err(PipelineError::Outbox(Box::new(error))),
        }
    }
    Ok(())
}

async fn deployment(pipeline: &mut Pipeline) -> Result<String, PipelineError> {
    let mut backoff = Backoff::new(&pipeline.settings.retry);
    pipeline.status.waiting(reader::PART, "connecting");
    loop {
        match pipeline.source.deployment().await {
            Ok(deployment) => return Ok(deployment),
            Err(error) if error.disposition() == Disposition::Retry => {
                tracing::warn!(error = %chain(&error), "the source can not be reached; trying again");
                pipeline.status.waiting(reader::PART, chain(&error));
                backoff.pause().await;
            }
            Err(error) => return Err(PipelineError::Source(error)),
        }
    }
}

/// At the checkpoint if it is of this deployment; by its place in the log, if what is watched, or how, has changed.
fn start_from(
    saved: Option<Checkpoint>,
    deployment: &str,
    scope: &str,
    otherwise: &Start,
) -> Result<Start, PipelineError> {
    let Some(saved) = saved else { return Ok(otherwise.clone()) };
    if !is_same_deployment(&saved.deployment, deployment) {
        return Err(PipelineError::OtherDeployment { saved: saved.deployment, source_is: deployment.to_owned() });
    }
    if saved.scope != scope {
        tracing::info!("what is watched has changed since the checkpoint: its time tells where to go on");
        return Ok(Start::Beyond(saved.position));
    }
    Ok(Start::Resume(saved.position))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::position::ClusterTime;

    #[test]
    fn a_run_goes_on_from_the_checkpoint_if_deployment_and_scope_are_the_same() {
        let time = ClusterTime { seconds: 10, increment: 2 };
        let position = Position::after(&rawdoc! {"_data": "82"}, time);
        let saved = || Checkpoint {
            deployment: "replica-set a".to_owned(),
            scope: "shop".to_owned(),
            position: position.clone(),
            parity: None,
        };
        let start = |saved, deployment, scope| start_from(saved, deployment, scope, &Start::Beginning);
        assert_eq!(start(None, "replica-set a", "shop").unwrap(), Start::Beginning);
        assert_eq!(start(Some(saved()), "replica-set a", "shop").unwrap(), Start::Resume(position.clone()));
        assert_eq!(start(Some(saved()), "replica-set a", "shop.orders").unwrap(), Start::Beyond(position.clone()));
        let refused = start(Some(saved()), "replica-set b", "shop").unwrap_err().to_string();
        assert!(refused.contains("\"replica-set a\"") && refused.contains("\"replica-set b\""), "{refused}");
        assert!(refused.contains("help:"), "{refused}");
    }
}
