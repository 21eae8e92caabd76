//! Dead letters as JSON lines in a file.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::super::envelope::Envelope;
use super::super::file::{FileFault, LineFile};
use super::super::{DeadLetter, DeadLetters, SinkError};
use super::NAME;
use super::letter::write_letter;

/// Appends every letter as one line and waits until it is on the disk.
#[derive(Debug)]
pub struct FileDeadLetters {
    path: PathBuf,
    envelope: Envelope,
    file: Mutex<Option<LineFile>>,
}

impl FileDeadLetters {
    /// Dead letters in the file at `path`, which is opened later.
    pub fn new(path: &Path, envelope: &Envelope) -> Self {
        Self { path: path.to_owned(), envelope: envelope.clone(), file: Mutex::new(None) }
    }

    async fn append(&self, line: &[u8]) -> Result<(), FileFault> {
        let mut file = self.file.lock().await;
        let open = match &mut *file {
            Some(open) => open,
            None => file.insert(LineFile::open(&self.path).await?),
        };
        Ok(open.append(line, true).await?)
    }

    /// Opens the file and lets it go again: who has no dead letters yet shuts nobody else out.
    async fn try_open(&self) -> Result<(), FileFault> {
        match &*self.file.lock().await {
            Some(_) => Ok(()),
            None => LineFile::open(&self.path).await.map(drop),
        }
    }
}

#[async_trait]
impl DeadLetters for FileDeadLetters {
    async fn open(&self) -> Result<(), SinkError> {
        self.try_open().await.map_err(|fault| fault.of_sink(NAME, &self.path))
    }

    async fn put(&self, letter: &DeadLetter) -> Result<(), SinkError> {
        let mut line = Vec::new();
        write_letter(&mut line, letter, &self.envelope);
        line.push(b'\n');
        self.append(&line).await.map_err(|fault| fault.of_sink(NAME, &self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sink::EnvelopeSettings;
    use crate::sink::samples::event;

    fn letters(path: &Path) -> FileDeadLetters {
        FileDeadLetters::new(path, &Envelope::new(&EnvelopeSettings::default(), "shop"))
    }

    #[tokio::test]
    async fn a_letter_says_who_why_and_when_and_holds_all_there_is_to_replay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dead.jsonl");
        let letters = letters(&path);
        letters.open().await.expect("opened");
        let rejected = DeadLetter {
            sink: Some("facts".into()),
            rule: Some("OrderPaid".into()),
            reason: "too large".into(),
            at: bson::DateTime::from_millis(1_700_000_000_000),
            event: Some(Arc::new(event(1))),
            change: None,
        };
        letters.put(&rejected).await.expect("written");
        let change = bson::RawDocumentBuf::from_bytes(vec![12, 0, 0, 0, 2, b'a', 0, 99, 0, 0, 0, 0]).expect("length");
        let undecodable = DeadLetter { sink: None, rule: None, event: None, change: Some(change), ..rejected };
        letters.put(&undecodable).await.expect("written");
        let text = std::fs::read_to_string(&path).expect("readable");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let first = &lines[0];
        assert_eq!(
            (&first["connector"], &first["sink"], &first["rule"], &first["reason"], &first["at"]),
            (
                &"shop".into(),
                &"facts".into(),
                &"OrderPaid".into(),
                &"too large".into(),
                &"2023-11-14T22:13:20.000Z".into()
            )
        );
        assert_eq!(first["event"]["id"], event(1).id.to_string());
        assert_eq!(first["event"]["data"]["orderId"], serde_json::json!({"$numberLong": "1"}));
        let bytes = &lines[1]["change"]["undecodable"]["$binary"]["base64"];
        assert_eq!(bytes, "DAAAAAJhAGMAAAAA", "{}", lines[1]);
        assert!(lines[1].get("event").is_none() && lines[1].get("sink").is_none());
    }

    #[tokio::test]
    async fn a_full_disk_is_reported_and_waited_for() {
        let letter = DeadLetter {
            sink: None,
            rule: None,
            reason: "whatever".into(),
            at: bson::DateTime::from_millis(0),
            event: None,
            change: None,
        };
        let error = letters(Path::new("/dev/full")).put(&letter).await.expect_err("no space");
        assert_eq!(error.disposition(), crate::failure::Disposition::Retry);
        assert!(error.to_string().contains("no space is left"), "{error}");
    }
}
