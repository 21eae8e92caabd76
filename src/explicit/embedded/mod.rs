//! PLACEHOLDER EmbeddedOutbox.

mod settings;

pub use settings::{EmbeddedCleanUp, EmbeddedOutboxSettings};

use super::Noted;
use super::settings::RelayError;
use crate::change::Change;
use crate::namespace::Namespace;
use crate::rules::Outcome;

/// A relay.
#[derive(Debug)]
pub(super) struct EmbeddedOutbox {
    collection: Namespace,
}

impl EmbeddedOutbox {
    pub(super) fn new(_number: usize, settings: &EmbeddedOutboxSettings) -> Result<Self, RelayError> {
        Ok(Self { collection: settings.collection.clone() })
    }

    pub(super) fn collection(&self) -> &Namespace {
        &self.collection
    }

    /// True if the change was for it.
    pub(super) fn apply(&mut self, _change: &Change<'_>, _outcome: &mut Outcome, _noted: &mut Noted) -> bool {
        false
    }
}
