//! What stands beside the rules while a history is played.

use crate::change::Change;
use crate::position::ClusterTime;
use crate::rules::Outcome;

/// What makes events of changes beside the rules, or looks at what they make. Every method has a body: `()` does nothing.
pub trait Beside {
    /// True if no rule may see the change.
    fn owns(&self, _change: &Change<'_>) -> bool {
        false
    }

    /// Appends to `outcome` the events that it makes of a change. True if the change was for it.
    fn apply(&mut self, _change: &Change<'_>, _outcome: &mut Outcome) -> bool {
        false
    }

    /// Sees what a change came to, before that is handed over.
    fn note(&mut self, _change: &Change<'_>, _outcome: &Outcome) {}

    /// Sees what the transactions of a time came to when they had ended.
    fn note_ended(&mut self, _time: ClusterTime, _outcome: &Outcome) {}
}

impl Beside for () {}

/// Changes that no rule may see, and nothing else.
pub(super) struct Withheld<F>(pub(super) F);

impl<F: Fn(&Change<'_>) -> bool> Beside for Withheld<F> {
    fn owns(&self, change: &Change<'_>) -> bool {
        self.0(change)
    }
}
