//! The figures that only time moves: lag, age of the checkpoint, oplog runway.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::progress::Progress;
use crate::metrics::Metrics;
use crate::source::Observer;

/// How often lag and age are shown.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often the oplog is asked for its oldest entry, and how long it may take to answer.
const RUNWAY_INTERVAL: Duration = Duration::from_secs(30);

/// Shows how far behind we are. Runs until it is dropped.
pub(super) async fn observe(progress: Arc<Progress>, observer: Option<Arc<dyn Observer>>, metrics: Arc<Metrics>) {
    let figures = async {
        loop {
            show(&progress, &metrics, bson::DateTime::now().timestamp_millis());
            tokio::time::sleep(INTERVAL).await;
        }
    };
    let runway = async {
        let Some(observer) = observer else { return };
        loop {
            let seconds = match tokio::time::timeout(RUNWAY_INTERVAL, observer.window()).await {
                Ok(Some(window)) => progress
                    .position()
                    .map(|position| i64::from(position.time.seconds) - i64::from(window.first.seconds)),
                Ok(None) | Err(_) => None,
            };
            if let Some(seconds) = seconds {
                metrics.set_oplog_runway_seconds(seconds.max(0) as f64);
            }
            // Until the first position is known, ask more often than the oplog moves.
            let known = seconds.is_some() || progress.position().is_some();
            tokio::time::sleep(if known { RUNWAY_INTERVAL } else { INTERVAL }).await;
        }
    };
    tokio::join!(figures, runway);
}

fn show(progress: &Progress, metrics: &Metrics, now_ms: i64) {
    if let Some(true_up_to_ms) = progress.ledger.true_up_to_ms() {
        metrics.set_lag_seconds((now_ms - true_up_to_ms).max(0) as f64 / 1_000.0);
    }
    if let Some(true_at) = progress.true_at() {
        metrics.set_checkpoint_age_seconds(Instant::now().saturating_duration_since(true_at).as_secs_f64());
    }
}
