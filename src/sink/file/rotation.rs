//! Old files: when a file is put aside, under which name, and how many are kept.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Deserialize;

use super::line_file::{LineFile, sync_folder_of};
use crate::quantity::{ByteCount, Period};

/// When a file is put aside and a new one begun. The old one gets the time in UTC behind its name:
/// `events.jsonl.20260131T235959.999Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotationSettings {
    /// A file that has reached this size is put aside before more is written; default: no limit.
    pub size: Option<ByteCount>,
    /// A file whose first event was written this long ago is put aside before more is written; default: no limit.
    pub age: Option<Period>,
    /// How many old files are kept; the oldest are deleted. Default: all.
    pub keep: Option<u32>,
}

impl RotationSettings {
    /// True if `file` is to be put aside before more is written to it.
    pub(super) fn is_due(&self, file: &LineFile, now: SystemTime) -> bool {
        if file.length() == 0 || !file.is_regular() {
            return false;
        }
        let age = now.duration_since(file.begun()).unwrap_or_default();
        self.size.is_some_and(|size| file.length() >= size.0) || self.age.is_some_and(|limit| age >= limit.0)
    }

    /// Gives the file at `path` a name with the time, and deletes the oldest files beyond those to keep.
    pub(super) async fn put_aside(&self, path: &Path, now: SystemTime) -> io::Result<()> {
        let mut moment = bson::DateTime::from_system_time(now);
        let mut name = old_name(path, moment);
        while tokio::fs::try_exists(&name).await? {
            moment = bson::DateTime::from_millis(moment.timestamp_millis() + 1);
            name = old_name(path, moment);
        }
        tokio::fs::rename(path, &name).await?;
        sync_folder_of(path).await?;
        if let Some(keep) = self.keep
            && let Err(error) = delete_oldest(path, keep as usize).await
        {
            // The events are safe; that too much is kept is no reason to stop.
            tracing::warn!(path = %path.display(), %error, "old files could not be deleted");
        }
        Ok(())
    }
}

fn old_name(path: &Path, moment: bson::DateTime) -> PathBuf {
    let mut name = OsString::from(path);
    let text = moment.try_to_rfc3339_string().unwrap_or_default();
    let (seconds, fraction) = text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
    let seconds: String = seconds.chars().filter(|character| !matches!(character, '-' | ':')).collect();
    name.push(format!(".{seconds}.{fraction:0<3}Z"));
    PathBuf::from(name)
}

/// True for what [`old_name`] puts behind the name of a file.
fn is_time(suffix: &[u8]) -> bool {
    const SHAPE: &[u8] = b".00000000T000000.000Z";
    suffix.len() == SHAPE.len()
        && suffix
            .iter()
            .zip(SHAPE)
            .all(|(byte, shape)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape })
}

async fn delete_oldest(path: &Path, keep: usize) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    let mut old: Vec<PathBuf> = Vec::new();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut entries = tokio::fs::read_dir(folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        if is_old(&entry.file_name(), name) {
            old.push(entry.path());
        }
    }
    old.sort();
    let excess = old.len().saturating_sub(keep);
    for path in &old[..excess] {
        tokio::fs::remove_file(path).await?;
    }
    Ok(())
}

fn is_old(candidate: &OsStr, name: &OsStr) -> bool {
    candidate.as_encoded_bytes().strip_prefix(name.as_encoded_bytes()).is_some_and(is_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_are_named_by_time_and_nothing_else_is_taken_for_one() {
        let name = old_name(Path::new("a/events.jsonl"), bson::DateTime::from_millis(1_700_000_000_120));
        assert_eq!(name, Path::new("a/events.jsonl.20231114T221320.120Z"));
        let name = old_name(Path::new("events"), bson::DateTime::from_millis(1_700_000_000_000));
        assert_eq!(name, Path::new("events.20231114T221320.000Z"));
        let is_old = |candidate: &str| is_old(candidate.as_ref(), "events".as_ref());
        assert!(is_old("events.20231114T221320.000Z"));
        for other in ["events", "events.jsonl", "events.20231114T221320.000Z.gz", "more.20231114T221320.000Z"] {
            assert!(!is_old(other), "{other}");
        }
    }
}
