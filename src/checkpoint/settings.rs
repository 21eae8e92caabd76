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
    /// In the file of this path, on a disk that survives. Its folder is made if need be.
    pub file: Option<PathBuf>,
    /// How often it is saved if it has moved.
    pub interval: Period,
    /// How long a process stays the owner of the checkpoint after its last sign of life, before another may take over. One that
    /// is killed and started again on the same machine need not wait. It is renewed every third of this.
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
        Self { mongodb: None, file: None, interval: Period::seconds(1), lease: Period::seconds(10) }
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

/// Settings that can not be used together, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointSettingsError {
    /// Two places.
    #[error("checkpoint: \"mongodb\" and \"file\" exclude each other\nhelp: keep one of them")]
    TwoPlaces,
    /// The interval is out of its range.
    #[error("checkpoint.interval: must be from 10ms to 1h")]
    Interval,
    /// The lease is out of its range.
    #[error("checkpoint.lease: must be from 1s to 1h")]
    Lease,
}

impl CheckpointSettings {
    /// Finds what serde cannot.
    ///
    /// # Errors
    /// The first setting that can not be used.
    pub fn check(&self) -> Result<CheckpointPlace, CheckpointSettingsError> {
        if !(10..=3_600_000).contains(&self.interval.0.as_millis()) {
            return Err(CheckpointSettingsError::Interval);
        }
        if !(1_000..=3_600_000).contains(&self.lease.0.as_millis()) {
            return Err(CheckpointSettingsError::Lease);
        }
        self.place().ok_or(CheckpointSettingsError::TwoPlaces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_need_be_written_and_what_is_written_is_checked() {
        let mongodb = CheckpointPlace::Mongodb(MongodbCheckpointSettings::default());
        assert_eq!(CheckpointSettings::default().check(), Ok(mongodb));
        let check = |json| serde_json::from_value::<CheckpointSettings>(json).unwrap().check().unwrap_err().to_string();
        assert!(check(serde_json::json!({"mongodb": {}, "file": "state"})).contains("exclude"));
        assert!(check(serde_json::json!({"interval": "0s"})).starts_with("checkpoint.interval"));
        assert!(check(serde_json::json!({"lease": "10ms"})).starts_with("checkpoint.lease"));
    }
}
