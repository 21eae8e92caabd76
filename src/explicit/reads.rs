//! What relays need of the changes of their collections: the server may leave out the rest.

use super::RelaySettings;
use super::settings::CleanUp;
use crate::namespace::Namespace;

/// What a relay needs of the changes of its collection. It needs all that is inserted or replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayReads {
    /// The collection.
    pub collection: Namespace,
    /// True if no rule sees its changes.
    pub is_alone: bool,
    /// The updates that it needs.
    pub updates: UpdatesRead,
    /// True if it is to be told that something was deleted.
    pub deletes: bool,
}

/// The updates that a relay needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdatesRead {
    /// All, because they should not be and are told.
    All,
    /// The same, but for those that set this top-level field: they are our own marks.
    NotSetting(String),
    /// Those that touch the top-level field in which this dotted path begins, at any depth.
    Touching(String),
}

impl UpdatesRead {
    /// The top-level field in which a dotted path begins.
    pub fn top_level(path: &str) -> &str {
        path.split('.').next().unwrap_or_default()
    }
}

impl RelayReads {
    pub(super) fn of(settings: &RelaySettings) -> Self {
        let updates = match settings {
            RelaySettings::Outbox(outbox) => match &outbox.clean_up {
                CleanUp::Mark { field, .. } if !field.contains('.') => UpdatesRead::NotSetting(field.clone()),
                CleanUp::Mark { .. } | CleanUp::Keep | CleanUp::Delete => UpdatesRead::All,
            },
            RelaySettings::EmbeddedOutbox(embedded) => UpdatesRead::Touching(embedded.path.clone()),
            RelaySettings::EventStore(_) => UpdatesRead::All,
        };
        // What was relayed may be deleted, but nothing of a history.
        let deletes = matches!(settings, RelaySettings::EventStore(_));
        Self { collection: settings.collection().clone(), is_alone: settings.is_alone(), updates, deletes }
    }
}
