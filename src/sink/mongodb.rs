//! Documents in a collection of MongoDB: the events table.

use schemars::JsonSchema;
use serde::Deserialize;

use super::settings::WrittenCollection;
use crate::namespace::Namespace;
use crate::secret::Secret;

/// One document per event in a collection; `_id` is the event's id, so that every event is there once.
///
/// In the deployment that also holds the checkpoint, events and checkpoint are written in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MongodbSettings {
    /// The collection, for example `shop.events`. No rule may watch it.
    pub collection: Namespace,
    /// The connection string; default: that of the source.
    #[serde(default)]
    pub uri: Option<Secret>,
}

impl MongodbSettings {
    pub(super) fn written_collection(&self) -> WrittenCollection<'_> {
        WrittenCollection { collection: &self.collection, in_source: self.uri.is_none() }
    }
}
