//! The rule set in force, exchangeable while the pipeline runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::oneshot;

use crate::position::ClusterTime;
use crate::rules::RuleSet;
use crate::source::Plan;

/// Holds the rule set in force, and the one that is to take its place. The reader looks at it once per batch, so that a batch
/// sees one set only.
#[derive(Clone, Debug)]
pub struct RuleSlot {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    in_force: RwLock<InForce>,
    proposed: Mutex<Option<Proposal>>,
}

/// A rule set and how the source is read for it.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) rules: Arc<RuleSet>,
    /// Absent where the source is always read in one way.
    pub(super) plan: Option<Plan>,
}

/// A rule set that is to be put in force, and who wants to know what came of it.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) next: InForce,
    pub(super) answer: oneshot::Sender<Result<Exchanged, ExchangeError>>,
}

/// Another rule set is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchanged {
    /// Everything up to this time was put to the set before, everything after it is put to the new one. Absent if nothing had
    /// been read.
    pub after: Option<ClusterTime>,
    /// True if the source had to be opened again, because the new set needs other collections or other images.
    pub reopened: bool,
}

/// Why the rule set in force stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// A later set is to be put in force instead.
    #[error("another rule set came before its place in the log was reached")]
    Superseded,
    /// The source can not be read as the new set needs it.
    #[error("the source can not be read as the new rules need it: {reason}")]
    Refused {
        /// What the source says.
        reason: String,
    },
}

impl RuleSlot {
    /// A set in force, and the plan that the source was made with.
    pub fn new(rules: Arc<RuleSet>, plan: Option<Plan>) -> Self {
        let in_force = RwLock::new(InForce { rules, plan });
        Self { shared: Arc::new(Shared { in_force, proposed: Mutex::new(None) }) }
    }

    /// The rule set in force.
    pub fn current(&self) -> Arc<RuleSet> {
        self.in_force().rules
    }

    /// Asks for another rule set to be put in force as soon as the reader comes to a place between two commits. A set that waits
    /// already is superseded. If the source must be read in another way for it, it is opened again at that very place; if it can
    /// not be, the set before stays in force.
    ///
    /// The set is exchanged whether or not the answer is waited for. There is none if the pipeline ends first.
    pub fn exchange(
        &self,
        rules: Arc<RuleSet>,
        plan: Option<Plan>,
    ) -> impl Future<Output = Option<Result<Exchanged, ExchangeError>>> + Send + 'static + use<> {
        let (answer, answered) = oneshot::channel();
        let proposal = Proposal { next: InForce { rules, plan }, answer };
        if let Some(earlier) = self.proposed().replace(proposal) {
            earlier.supersede();
        }
        async move { answered.await.ok() }
    }

    pub(super) fn in_force(&self) -> InForce {
        self.shared.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn put_in_force(&self, next: InForce) {
        *self.shared.in_force.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// The set that is to be put in force, once.
    pub(super) fn take_proposal(&self) -> Option<Proposal> {
        self.proposed().take()
    }

    fn proposed(&self) -> MutexGuard<'_, Option<Proposal>> {
        self.shared.proposed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proposal {
    /// Tells who waits for an answer; nobody need.
    pub(super) fn answer(self, answer: Result<Exchanged, ExchangeError>) {
        let _ = self.answer.send(answer);
    }

    pub(super) fn supersede(self) {
        self.answer(Err(ExchangeError::Superseded));
    }
}

impl From<Arc<RuleSet>> for RuleSlot {
    fn from(rules: Arc<RuleSet>) -> Self {
        Self::new(rules, None)
    }
}
