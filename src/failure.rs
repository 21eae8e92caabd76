//! What is to be done about an error: the one question the pipeline asks of every failure.

/// The answer of a source, sink or checkpoint error to "what now?".
///
/// Every error type of this crate that can reach the pipeline answers with one exhaustive match, so that a new kind of
/// error cannot be added without deciding what it means for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The same attempt may succeed later: try again with backoff, in the same order.
    Retry,
    /// This one event can never be delivered: put it into the dead letters and go on with the next.
    Reject,
    /// Only an operator can help: stop, with the error printed and exit code 3.
    Stop,
}
