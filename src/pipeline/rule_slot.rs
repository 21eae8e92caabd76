//! The rule set in force, exchangeable while the pipeline runs.

use std::sync::{Arc, PoisonError, RwLock};

use crate::rules::RuleSet;

/// Holds the rule set in force. The pipeline looks at it once per batch, so that a batch sees one set only.
#[derive(Clone, Debug)]
pub struct RuleSlot {
    rules: Arc<RwLock<Arc<RuleSet>>>,
}

impl RuleSlot {
    /// The rule set in force.
    pub fn current(&self) -> Arc<RuleSet> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another rule set in force, from the next batch on.
    pub fn swap(&self, rules: Arc<RuleSet>) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }
}

impl From<Arc<RuleSet>> for RuleSlot {
    fn from(rules: Arc<RuleSet>) -> Self {
        Self { rules: Arc::new(RwLock::new(rules)) }
    }
}
