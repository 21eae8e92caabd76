//! Until when we own the checkpoint. Deliveries wait while we may not.

use tokio::sync::watch;
use tokio::time::Instant;

/// The end of the lease, moved on by every sign of life that the checkpoint store has taken.
///
/// A process that was paused, or cut off from the store, finds its lease ended and delivers nothing until the store has
/// confirmed that nobody took over. So no successor's events are overtaken by old ones of ours.
#[derive(Debug)]
pub(super) struct Lease {
    expires: watch::Sender<Instant>,
}

impl Lease {
    /// A lease that ends at `expires`.
    pub(super) fn new(expires: Instant) -> Self {
        Self { expires: watch::Sender::new(expires) }
    }

    /// The lease now ends at `expires`.
    pub(super) fn renewed(&self, expires: Instant) {
        self.expires.send_replace(expires);
    }

    /// True while we are the owner for certain.
    pub(super) fn is_held(&self) -> bool {
        Instant::now() < *self.expires.borrow()
    }

    /// Waits until we are the owner for certain.
    pub(super) async fn held(&self) {
        let mut expires = self.expires.subscribe();
        while Instant::now() >= *expires.borrow_and_update() {
            // The sender lives as long as we do.
            if expires.changed().await.is_err() {
                return;
            }
        }
    }
}
