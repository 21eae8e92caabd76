//! A write that a MongoDB transaction carries along: what connects a checkpoint to the events it speaks of.

/// One document, found by `filter`, changed by `update`.
///
/// The checkpoint store makes it, a sink in the same deployment runs it in the transaction of its events. If the filter
/// finds no document, another process has become the owner of the checkpoint: the transaction must be aborted.
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionalWrite {
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
    /// What finds the document.
    pub filter: bson::Document,
    /// The update.
    pub update: bson::Document,
}
