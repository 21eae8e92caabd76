//! What every integration test needs: names of its own, waiting for conditions, and the real program.

pub mod chance;
pub mod explicit_load;
pub mod load;
mod program;
pub mod random_rules;
pub mod random_writes;
pub mod received;
mod stream;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use program::{Finished, Program, Running, binary};
pub use stream::{IMAGES, NO_IMAGES, Stream};

/// How long a condition may take to come true on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A database name that no other test of this run uses, for example `orders_4711_3`.
pub fn free_name(stem: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until `condition` gives a value; asks again every 20 ms.
///
/// # Panics
/// If it does not within [`PATIENCE`]; `what` says what was waited for.
pub async fn wait_for<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until `condition` holds, as [`wait_for`].
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    wait_for(what, async || condition().await.then_some(())).await;
}
