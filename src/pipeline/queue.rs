//! A queue between two tasks, bounded in count and in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use tokio::sync::Notify;

use crate::event::Event;

/// What has a weight in bytes.
pub(super) trait Weigh {
    fn byte_count(&self) -> usize;
}

impl Weigh for Arc<Event> {
    fn byte_count(&self) -> usize {
        Event::byte_count(self)
    }
}

/// A queue with one sender and one receiver. What was taken counts against the bounds until it is released, so that the
/// bounds are those of the memory held, not of the waiting line alone.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    room: Notify,
    filled: Notify,
    bounds: Bounds,
    gauges: Option<(IntGauge, IntGauge)>,
}

/// How much a queue holds at most. A single thing that is heavier than `bytes` passes alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    held_count: usize,
    held_bytes: usize,
    /// The sender sends no more.
    closed: bool,
    /// The receiver takes no more: what is pushed falls away.
    hung_up: bool,
}

impl<T: Weigh> Queue<T> {
    /// An empty queue; the gauges show count and bytes held.
    pub(super) fn new(bounds: Bounds, gauges: Option<(IntGauge, IntGauge)>) -> Self {
        let state = State { waiting: VecDeque::new(), held_count: 0, held_bytes: 0, closed: false, hung_up: false };
        Self { state: Mutex::new(state), room: Notify::new(), filled: Notify::new(), bounds, gauges }
    }

    /// Appends everything, in order, waiting for room as often as needed.
    pub(super) async fn push_all(&self, things: impl IntoIterator<Item = T>) {
        let mut things = things.into_iter().peekable();
        while things.peek().is_some() {
            if self.admit(&mut things) {
                self.filled.notify_one();
            }
            if things.peek().is_some() {
                self.room.notified().await;
            }
        }
    }

    /// Lets in what there is room for; true if it was anything.
    fn admit(&self, things: &mut std::iter::Peekable<impl Iterator<Item = T>>) -> bool {
        let mut state = self.state();
        let before = state.held_count;
        while let Some(thing) = things.peek() {
            let bytes = thing.byte_count();
            let full = state.held_count >= self.bounds.count.max(1)
                || state.held_bytes.saturating_add(bytes) > self.bounds.bytes;
            if full && state.held_count > 0 && !state.hung_up {
                break;
            }
            let Some(thing) = things.next() else { break };
            if !state.hung_up {
                state.held_count += 1;
                state.held_bytes += bytes;
                state.waiting.push_back(thing);
            }
        }
        self.show(&state);
        state.held_count > before
    }

    /// Waits until something is there and moves as much as the bounds allow, at least one, to the end of `taken`.
    /// False if nothing will ever come. Cancel-safe.
    pub(super) async fn take(&self, taken: &mut VecDeque<T>, most: Bounds) -> bool {
        loop {
            {
                let mut state = self.state();
                if !state.waiting.is_empty() {
                    let mut bytes = 0;
                    for count in 0..most.count.max(1) {
                        let Some(next) = state.waiting.front() else { break };
                        bytes += next.byte_count();
                        if count > 0 && bytes > most.bytes {
                            break;
                        }
                        taken.extend(state.waiting.pop_front());
                    }
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Says that something that was taken does not occupy memory any more.
    pub(super) fn release(&self, count: usize, bytes: usize) {
        {
            let mut state = self.state();
            state.held_count = state.held_count.saturating_sub(count);
            state.held_bytes = state.held_bytes.saturating_sub(bytes);
            self.show(&state);
        }
        self.room.notify_one();
    }

    /// The sender will send no more.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_one();
    }

    /// Waits until the sender sends no more and nothing is held. Not to be mixed with a waiting [`Queue::take`].
    pub(super) async fn ended(&self) {
        loop {
            {
                let state = self.state();
                if state.closed && state.held_count == 0 {
                    return;
                }
            }
            self.filled.notified().await;
        }
    }

    /// The receiver will take no more; the sender is not held up by it any longer.
    pub(super) fn hang_up(&self) {
        {
            let mut state = self.state();
            state.hung_up = true;
            state.waiting.clear();
            (state.held_count, state.held_bytes) = (0, 0);
            self.show(&state);
        }
        self.room.notify_one();
    }

    fn show(&self, state: &State<T>) {
        if let Some((count, bytes)) = &self.gauges {
            count.set(i64::try_from(state.held_count).unwrap_or(i64::MAX));
            bytes.set(i64::try_from(state.held_bytes).unwrap_or(i64::MAX));
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a queue when the sending task ends, however it ends.
pub(super) struct CloseOnDrop<T: Weigh>(pub(super) Arc<Queue<T>>);

impl<T: Weigh> Drop for CloseOnDrop<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Hangs up a queue when the receiving task ends, however it ends.
pub(super) struct HangUpOnDrop<T: Weigh>(pub(super) Arc<Queue<T>>);

impl<T: Weigh> Drop for HangUpOnDrop<T> {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    impl Weigh for usize {
        fn byte_count(&self) -> usize {
            *self
        }
    }

    const ANY: Bounds = Bounds { count: 100, bytes: 1_000 };

    fn taken(queue: &Queue<usize>, most: Bounds) -> Option<Vec<usize>> {
        let mut taken = VecDeque::new();
        queue.take(&mut taken, most).now_or_never()?.then(|| taken.into())
    }

    #[test]
    fn no_more_is_held_than_the_bounds_allow_in_count_and_in_bytes() {
        let queue = Queue::new(Bounds { count: 3, bytes: 100 }, None);
        let mut push = Box::pin(queue.push_all([10, 10, 10, 70, 200]));
        assert!(push.as_mut().now_or_never().is_none());
        assert_eq!(taken(&queue, ANY), Some(vec![10, 10, 10]));
        assert!(push.as_mut().now_or_never().is_none(), "what was taken still counts");
        assert_eq!(taken(&queue, ANY), None);
        queue.release(1, 10);
        assert!(push.as_mut().now_or_never().is_none());
        assert_eq!(taken(&queue, ANY), Some(vec![70]), "90 of 100 bytes fit");
        queue.release(2, 20);
        assert!(push.as_mut().now_or_never().is_none());
        assert_eq!(taken(&queue, ANY), None, "a heavy thing waits until nothing else is held");
        queue.release(1, 70);
        assert!(push.as_mut().now_or_never().is_some());
        assert_eq!(taken(&queue, ANY), Some(vec![200]), "and passes alone");
    }

    #[test]
    fn a_taker_gets_as_much_as_it_asks_for_and_at_least_one() {
        let queue = Queue::new(ANY, None);
        assert!(queue.push_all([50, 5, 5, 5]).now_or_never().is_some());
        assert_eq!(taken(&queue, Bounds { count: 10, bytes: 10 }), Some(vec![50]));
        assert_eq!(taken(&queue, Bounds { count: 2, bytes: 100 }), Some(vec![5, 5]));
        queue.close();
        assert_eq!(taken(&queue, ANY), Some(vec![5]), "what was sent before the end is still there");
        let mut nothing = VecDeque::new();
        assert_eq!(queue.take(&mut nothing, ANY).now_or_never(), Some(false));
    }

    #[test]
    fn a_sender_is_not_held_up_by_a_receiver_that_is_gone() {
        let queue = Queue::new(Bounds { count: 1, bytes: 10 }, None);
        let mut push = Box::pin(queue.push_all([1, 1, 1]));
        assert!(push.as_mut().now_or_never().is_none());
        queue.hang_up();
        assert!(push.as_mut().now_or_never().is_some());
    }
}
