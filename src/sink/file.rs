//! JSON lines in a file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::settings::JsonFormat;
use crate::quantity::{ByteCount, Period};

/// One event per line in a file, which only this sink may write to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// The file; it is made if it is not there, and appended to if it is. Its folder must exist.
    pub path: PathBuf,
    /// How `data` is written; default: `natural`.
    #[serde(default)]
    pub json: JsonFormat,
    /// When the file is forced onto the disk; default: `batch`.
    #[serde(default)]
    pub fsync: FileSync,
    /// When a new file is begun; default: never.
    #[serde(default)]
    pub rotate: RotationSettings,
}

/// When what was written is forced onto the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileSync {
    /// Once after every batch, before it counts as delivered: nothing is lost even if the power fails.
    #[default]
    Batch,
    /// At most once per this period, after a batch: if the power fails (not if only changeling does), what was written since may
    /// be lost.
    Every(Period),
    /// When the operating system sees fit.
    Never,
}

/// When a file is put aside and a new one begun. The old one gets the time in UTC behind its name: `events.jsonl.20260131T235959.999Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotationSettings {
    /// After the batch with which the file reaches this size; default: no limit.
    pub size: Option<ByteCount>,
    /// Before the batch that would be written to a file this old; default: no limit.
    pub age: Option<Period>,
    /// How many old files are kept; the oldest are deleted. Default: all.
    pub keep: Option<u32>,
}
