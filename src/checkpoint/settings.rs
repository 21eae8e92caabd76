//! The settings of the checkpoint, as a configuration writes them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::namespace::Namespace;
use crate::quantity::Period;
use crate::secret::Secret;

/// Where the checkpoint is kept: in a collection of MongoDB (the default) or in a file.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSettings {
    /// In a collection of MongoDB.
    pub mongodb: Option<MongodbCheckpointSettings>,
    /// In the file of this path; its folder must exist.
    pub file: Option<PathBuf>,
    /// How often it is saved if it has moved.
    pub interval: Period,
    /// How long another process must wait before it may take over from one that died. It is renewed every third of this.
    pub lease: Period,
}

/// A checkpoint in a collection of MongoDB.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MongodbCheckpointSettings {
    /// The collection. No rule may watch it.
    pub collection: Namespace,
    /// The connection string; absent: that of the source.
    pub uri: Option<Secret>,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { mongodb: None, file: None, interval: Period::seconds(1), lease: Period::seconds(30) }
    }
}

impl Default for MongodbCheckpointSettings {
    fn default() -> Self {
        let collection = Namespace { database: "changeling".to_owned(), collection: "checkpoints".to_owned() };
        Self { collection, uri: None }
    }
}

/// The place that settings ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckpointPlace {
    /// A collection of MongoDB.
    Mongodb(MongodbCheckpointSettings),
    /// A file.
    File(PathBuf),
}

impl CheckpointSettings {
    /// Where the checkpoint is kept; `None` if the settings ask for two places at once.
    pub fn place(&self) -> Option<CheckpointPlace> {
        match (&self.mongodb, &self.file) {
            (None, None) => Some(CheckpointPlace::Mongodb(MongodbCheckpointSettings::default())),
            (Some(mongodb), None) => Some(CheckpointPlace::Mongodb(mongodb.clone())),
            (None, Some(file)) => Some(CheckpointPlace::File(file.clone())),
            (Some(_), Some(_)) => None,
        }
    }
}
