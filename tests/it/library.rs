//! What programs that use changeling as a library rely on.

use changeling::pipeline::{Pipeline, RunReport, StopSignal};

/// Compiles only if a run may be handed to `tokio::spawn`.
fn spawned(pipeline: Pipeline) -> tokio::task::JoinHandle<Option<RunReport>> {
    tokio::spawn(async move { pipeline.run(StopSignal::new()).await.ok() })
}

#[test]
fn a_run_can_be_a_task_of_its_own() {
    let _: fn(Pipeline) -> tokio::task::JoinHandle<Option<RunReport>> = spawned;
}
