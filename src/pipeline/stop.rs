//! The wish to stop. Who catches signals makes it; the pipeline obeys.

use tokio_util::sync::CancellationToken;

/// A wish to stop, in two steps: first drain, then give up.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    drain: CancellationToken,
    abandon: CancellationToken,
}

impl StopSignal {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first call asks to stop reading and to empty the queues; the second asks to give up what is left.
    pub fn request(&self) {
        if self.drain.is_cancelled() {
            self.abandon.cancel();
        }
        self.drain.cancel();
    }

    /// True once a stop has been asked for.
    pub fn is_requested(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Asks to drain, and no more than that, however often.
    pub(super) fn drain(&self) {
        self.drain.cancel();
    }

    /// Asks to give up at once, without draining.
    pub(super) fn abandon(&self) {
        self.drain.cancel();
        self.abandon.cancel();
    }

    /// Waits until a stop is asked for.
    pub async fn requested(&self) {
        self.drain.cancelled().await;
    }

    /// Waits until it is asked to give up.
    pub(super) async fn abandoned(&self) {
        self.abandon.cancelled().await;
    }

    /// True once it has been asked to give up.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandon.is_cancelled()
    }

    /// A signal that follows this one and can be given without this one.
    pub(super) fn child(&self) -> Self {
        Self { drain: self.drain.child_token(), abandon: self.abandon.child_token() }
    }
}
