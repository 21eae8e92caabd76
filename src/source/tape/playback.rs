//! A tape as a source.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bson::RawDocumentBuf;

use super::TapeError;
use super::header::TapeHeader;
use super::reader::TapeReader;
use crate::change::{Batch, Entry};
use crate::position::{ClusterTime, Position, Resume, Start};
use crate::source::{Source, SourceError};

/// Reads a tape. At its end comes one empty batch, since nothing is left to read, and after that nothing, as from a database in
/// which nothing happens. Reading blocks the thread for as long as the disk takes.
#[derive(Debug)]
pub struct TapeSource {
    path: PathBuf,
    header: TapeHeader,
    byte_count: u64,
    read_byte_count: Arc<AtomicU64>,
    reader: Option<TapeReader<BufReader<File>>>,
    skip: Skip,
    /// The last position that was read.
    end: Option<Position>,
    /// Nothing was left to read when the last changes were recorded.
    leaves_nothing: bool,
}

/// What is still to be left out before the place to begin at.
#[derive(Clone, Debug, PartialEq)]
enum Skip {
    Nothing,
    Before(ClusterTime),
    Through(RawDocumentBuf),
}

impl TapeSource {
    /// A source over the tape in a file, which is not open yet.
    ///
    /// # Errors
    /// If there is no tape.
    pub fn new(path: &Path) -> Result<Self, TapeError> {
        let (reader, byte_count) = read(path)?;
        let header = reader.header().clone();
        let read_byte_count = Arc::default();
        Ok(Self {
            path: path.to_owned(),
            header,
            byte_count,
            read_byte_count,
            reader: None,
            skip: Skip::Nothing,
            end: None,
            leaves_nothing: false,
        })
    }

    /// What the tape says of itself.
    pub fn header(&self) -> &TapeHeader {
        &self.header
    }

    /// The length of the file in bytes, and how much of it has been read so far.
    pub fn progress(&self) -> (u64, Arc<AtomicU64>) {
        (self.byte_count, self.read_byte_count.clone())
    }

    /// Leaves out of the batch what stands before the place to begin at.
    fn without_skipped(&mut self, mut batch: Batch) -> Batch {
        let count = match &self.skip {
            Skip::Nothing => return batch,
            Skip::Before(time) => batch.entries().take_while(|entry| is_before(entry, *time)).count(),
            Skip::Through(token) => {
                let is_it = |index: &usize| {
                    batch.document(*index).and_then(|change| change.get_document("_id").ok()) == Some(token)
                };
                match (0..batch.len()).find(is_it) {
                    Some(index) => index + 1,
                    None if batch.end.as_ref().and_then(token_of) == Some(token) => batch.len(),
                    None => {
                        batch.skip_first(batch.len());
                        return batch;
                    }
                }
            }
        };
        let is_found = matches!(self.skip, Skip::Through(_)) || count < batch.len();
        batch.skip_first(count);
        if is_found {
            self.skip = Skip::Nothing;
        }
        batch
    }
}

fn read(path: &Path) -> Result<(TapeReader<BufReader<File>>, u64), TapeError> {
    let name = path.display().to_string();
    let unreadable = |source| TapeError::Unreadable { name: name.clone(), source };
    let file = File::open(path).map_err(unreadable)?;
    let byte_count = file.metadata().map_err(unreadable)?.len();
    Ok((TapeReader::new(BufReader::with_capacity(1 << 18, file), name.as_str())?, byte_count))
}

fn is_before(entry: &Result<Entry<'_>, crate::change::DecodeError>, time: ClusterTime) -> bool {
    match entry {
        Ok(Entry::Change(change)) => change.cluster_time < time,
        Ok(Entry::Notice(notice)) => notice.cluster_time < time,
        Err(_) => true,
    }
}

fn token_of(position: &Position) -> Option<&RawDocumentBuf> {
    match &position.resume {
        Resume::After(token) | Resume::AfterInvalidate(token) => Some(token),
        Resume::AtTime => None,
    }
}

#[async_trait]
impl Source for TapeSource {
    async fn open(&mut self, start: &Start) -> Result<(), SourceError> {
        let (reader, _) = read(&self.path).map_err(SourceError::Tape)?;
        self.skip = match start {
            // A tape has no other now than its beginning.
            Start::Now | Start::Beginning => Skip::Nothing,
            Start::At(time) => Skip::Before(*time),
            Start::Resume(position) | Start::Beyond(position) => match token_of(position) {
                Some(token) => Skip::Through(token.clone()),
                None => Skip::Before(position.time),
            },
        };
        self.end = match start {
            Start::Resume(position) | Start::Beyond(position) => Some(position.clone()),
            Start::Now | Start::Beginning | Start::At(_) => None,
        };
        self.read_byte_count.store(reader.offset(), Ordering::Relaxed);
        self.reader = Some(reader);
        Ok(())
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        loop {
            let Some(reader) = &mut self.reader else { return std::future::pending().await };
            let next = reader.next_batch();
            self.read_byte_count.store(reader.offset(), Ordering::Relaxed);
            let Some(batch) = next.map_err(SourceError::Tape)? else { break };
            let batch = self.without_skipped(batch);
            self.leaves_nothing = batch.leaves_nothing;
            if batch.end.is_some() {
                self.end = batch.end.clone();
            }
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
        self.reader = None;
        if matches!(self.skip, Skip::Through(_)) {
            return Err(SourceError::Tape(TapeError::PositionUnknown { name: self.path.display().to_string() }));
        }
        let mut end = Batch::empty(self.end.clone());
        end.leaves_nothing = self.leaves_nothing;
        Ok(end)
    }

    async fn deployment(&mut self) -> Result<String, SourceError> {
        Ok(format!("tape {}", self.header.deployment))
    }

    fn scope(&self) -> String {
        self.header.scope.clone()
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::source::tape::TapeWriter;

    fn change(second: u32) -> RawDocumentBuf {
        rawdoc! {
            "_id": {"_data": second.to_string()}, "operationType": "insert", "ns": {"db": "shop", "coll": "orders"},
            "documentKey": {"_id": 1}, "fullDocument": {"_id": 1},
            "clusterTime": bson::Timestamp { time: second, increment: 1 },
        }
    }

    fn position(second: u32) -> Position {
        Position::after(&rawdoc! {"_data": second.to_string()}, ClusterTime { seconds: second, increment: 1 })
    }

    /// The position after a batch, by a token of its own.
    fn end(second: u32) -> Position {
        Position::after(
            &rawdoc! {"_data": format!("{second} at the end")},
            ClusterTime { seconds: second, increment: 2 },
        )
    }

    async fn seconds(source: &mut TapeSource, start: Start) -> Result<Vec<u32>, SourceError> {
        source.open(&start).await?;
        let mut seconds = Vec::new();
        loop {
            let batch = source.next().await?;
            if batch.is_empty() {
                assert_eq!(batch.end, Some(end(6)), "the last position comes with the end");
                return Ok(seconds);
            }
            seconds.extend(batch.entries().map(|entry| match entry {
                Ok(Entry::Change(change)) => change.cluster_time.seconds,
                other => panic!("{other:?}"),
            }));
        }
    }

    #[tokio::test]
    async fn a_tape_is_read_from_any_place_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.tape");
        let header = TapeHeader {
            version: String::new(),
            name: "shop".to_owned(),
            scope: "s".to_owned(),
            deployment: "d".to_owned(),
            created_at: bson::DateTime::from_millis(0),
            has_before: false,
            has_after: false,
            has_look_ups: false,
        };
        let mut writer = TapeWriter::create(&path, &header).unwrap();
        for seconds in [1..=3, 4..=6] {
            let end = Some(end(*seconds.end()));
            let changes: Vec<RawDocumentBuf> = seconds.map(change).collect();
            writer.write(&Batch::from_documents(changes.iter().map(|one| one.as_ref()), end), |_| true).unwrap();
            writer.flush().unwrap();
        }
        drop(writer.finish().unwrap());
        assert!(matches!(TapeWriter::create(&path, &header), Err(TapeError::Exists { .. })));
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);

        let mut source = TapeSource::new(&path).unwrap();
        assert_eq!((source.scope().as_str(), source.deployment().await.unwrap().as_str()), ("s", "tape d"));
        assert_eq!(seconds(&mut source, Start::Beginning).await.unwrap(), [1, 2, 3, 4, 5, 6]);
        let at = |seconds| Start::At(ClusterTime { seconds, increment: 0 });
        assert_eq!(seconds(&mut source, at(3)).await.unwrap(), [3, 4, 5, 6]);
        assert_eq!(seconds(&mut source, at(9)).await.unwrap(), [] as [u32; 0]);
        for (from, left) in [
            (position(2), &[3, 4, 5, 6][..]),
            (position(3), &[4, 5, 6]),
            (end(3), &[4, 5, 6]),
            (position(4), &[5, 6]),
            (end(6), &[]),
            (Position::at_time(ClusterTime { seconds: 6, increment: 1 }), &[6]),
        ] {
            assert_eq!(seconds(&mut source, Start::Resume(from)).await.unwrap(), left);
        }
        let unknown = seconds(&mut source, Start::Resume(position(99))).await.unwrap_err();
        assert!(unknown.to_string().contains("does not hold the position"), "{unknown}");
        let (total, read) = source.progress();
        assert!(read.load(Ordering::Relaxed) <= total);
    }
}
