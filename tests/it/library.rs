//! What programs that use changeling as a library rely on.

use changeling::app::{self, App};
use changeling::config::Config;
use changeling::pipeline::{Pipeline, StopSignal};

/// Compiles only if what `start` makes may be handed to `tokio::spawn`.
fn is_a_task<T, F: Future + Send>(_: impl Fn(T) -> F) {}

#[test]
fn a_run_can_be_a_task_of_its_own() {
    is_a_task(|pipeline: Pipeline| pipeline.run(StopSignal::new()));
    is_a_task(|app: App| app.run(StopSignal::new()));
    is_a_task(|config: Config| async move { app::probe(&config).await.is_ok() });
}
