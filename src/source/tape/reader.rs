//! Reads a tape, frame by frame, and believes nothing in it before it is checked.

use std::io::{self, Read};

use super::TapeError;
use super::format::{FORMAT_VERSION, FRAME_HEAD_BYTES, FrameHead, FrameKind, MAGIC};
use super::header::TapeHeader;
use super::payload::decode_changes;
use crate::change::Batch;

/// Reads a tape from its beginning. After an error nothing more comes.
#[derive(Debug)]
pub struct TapeReader<R> {
    frames: Frames<R>,
    header: TapeHeader,
    changes_count: u64,
    has_ended: bool,
}

impl<R: Read> TapeReader<R> {
    /// Reads what the tape says of itself; `name` is for messages.
    ///
    /// # Errors
    /// If it is no tape, or one of a newer format.
    pub fn new(input: R, name: impl Into<String>) -> Result<Self, TapeError> {
        let mut frames = Frames::new(input, name.into())?;
        let offset = frames.offset;
        let header = match frames.next()? {
            (FrameKind::Header, plain) => TapeHeader::decode(&plain),
            (FrameKind::Changes | FrameKind::End, _) => None,
        };
        let header = header.ok_or_else(|| frames.damaged(offset, "what it says of itself can not be read"))?;
        Ok(Self { frames, header, changes_count: 0, has_ended: false })
    }

    /// What the tape says of itself.
    pub fn header(&self) -> &TapeHeader {
        &self.header
    }

    /// How far it has been read, in bytes.
    pub fn offset(&self) -> u64 {
        self.frames.offset
    }

    /// The next changes; nothing at the end.
    ///
    /// # Errors
    /// If the tape goes on with something that can not be used. It gives nothing more then.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, TapeError> {
        if self.has_ended {
            return Ok(None);
        }
        let offset = self.frames.offset;
        // Whatever goes wrong, nothing after it can be trusted.
        self.has_ended = true;
        match self.frames.next()? {
            (FrameKind::Changes, plain) => {
                let batch = decode_changes(plain).map_err(|error| self.frames.damaged(offset, error.0))?;
                self.changes_count += batch.len() as u64;
                self.has_ended = false;
                Ok(Some(batch))
            }
            (FrameKind::End, plain) if plain != self.changes_count.to_le_bytes() => {
                Err(self.frames.damaged(offset, "changes are missing before its end"))
            }
            (FrameKind::End, _) => match self.frames.is_at_end()? {
                true => Ok(None),
                false => Err(self.frames.damaged(self.frames.offset, "it goes on after its end")),
            },
            (FrameKind::Header, _) => Err(self.frames.damaged(offset, "it begins again in the middle")),
        }
    }
}

/// Reads one frame after the other.
struct Frames<R> {
    input: R,
    name: String,
    /// Where the next frame begins, in bytes.
    offset: u64,
    decompressor: zstd::bulk::Decompressor<'static>,
}

impl<R> std::fmt::Debug for Frames<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Frames").field("name", &self.name).field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl<R: Read> Frames<R> {
    /// Reads what stands before the first frame.
    fn new(mut input: R, name: String) -> Result<Self, TapeError> {
        let mut start = [0; MAGIC.len() + 4];
        let count = match fill(&mut input, &mut start) {
            Ok(count) => count,
            Err(source) => return Err(TapeError::Unreadable { name, source }),
        };
        if count == 0 {
            return Err(TapeError::Empty { name });
        }
        if !start[..count].starts_with(&MAGIC[..count.min(MAGIC.len())]) {
            return Err(TapeError::NotATape { name });
        }
        if count < start.len() {
            return Err(TapeError::Truncated { name, offset: 0 });
        }
        let found = u32::from_le_bytes([start[16], start[17], start[18], start[19]]);
        if found > FORMAT_VERSION {
            return Err(TapeError::Newer { name, found });
        }
        match zstd::bulk::Decompressor::new() {
            Ok(decompressor) => Ok(Self { input, name, offset: start.len() as u64, decompressor }),
            Err(source) => Err(TapeError::Unreadable { name, source }),
        }
    }

    fn next(&mut self) -> Result<(FrameKind, Vec<u8>), TapeError> {
        let offset = self.offset;
        let mut bytes = [0; FRAME_HEAD_BYTES];
        if fill(&mut self.input, &mut bytes).map_err(|source| self.unreadable(source))? < bytes.len() {
            return Err(self.truncated(offset));
        }
        let head = FrameHead::decode(&bytes).map_err(|what| self.damaged(offset, what))?;
        // Grows with what is really there, so that a wrong length alone takes no memory.
        let mut packed = Vec::new();
        let wanted = head.packed_length as u64;
        (&mut self.input).take(wanted).read_to_end(&mut packed).map_err(|source| self.unreadable(source))?;
        if packed.len() < head.packed_length {
            return Err(self.truncated(offset));
        }
        if !head.is_intact(&packed) {
            return Err(self.damaged(offset, "the checksum is wrong"));
        }
        let plain = self.decompressor.decompress(&packed, head.plain_length);
        let plain = plain.map_err(|_| self.damaged(offset, "it can not be unpacked"))?;
        if plain.len() != head.plain_length {
            return Err(self.damaged(offset, "it does not hold what it says"));
        }
        self.offset += (FRAME_HEAD_BYTES + packed.len()) as u64;
        Ok((head.kind, plain))
    }

    fn is_at_end(&mut self) -> Result<bool, TapeError> {
        let count = fill(&mut self.input, &mut [0]).map_err(|source| self.unreadable(source))?;
        Ok(count == 0)
    }

    fn unreadable(&self, source: io::Error) -> TapeError {
        TapeError::Unreadable { name: self.name.clone(), source }
    }

    fn truncated(&self, offset: u64) -> TapeError {
        TapeError::Truncated { name: self.name.clone(), offset }
    }

    fn damaged(&self, offset: u64, what: &'static str) -> TapeError {
        TapeError::Damaged { name: self.name.clone(), offset, what }
    }
}

/// Reads until `bytes` is full or nothing more comes, and gives the count of bytes read.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        match input.read(&mut bytes[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Reads a whole tape from memory and decodes every change in it; gives how many could be. Never panics, and takes no memory
/// beyond what [`super::FRAME_BYTES_MAX`] allows.
///
/// # Errors
/// Where it can not be read on.
pub fn read_slice(bytes: &[u8]) -> Result<usize, TapeError> {
    let mut reader = TapeReader::new(bytes, "in memory")?;
    let mut count = 0;
    while let Some(batch) = reader.next_batch()? {
        count += batch.entries().filter(Result::is_ok).count();
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bson::{RawDocumentBuf, rawdoc};
    use proptest::prelude::*;

    use super::*;
    use crate::change::{Entry, Image, LookUp};
    use crate::position::{ClusterTime, Position, Resume};
    use crate::source::tape::{FRAME_BYTES_MAX, TapeWriter};

    fn header() -> TapeHeader {
        TapeHeader {
            version: "0.1.0".to_owned(),
            name: "shop".to_owned(),
            scope: "change_stream database shop".to_owned(),
            deployment: TapeHeader::deployment_of("replica-set rs0 123"),
            created_at: bson::DateTime::from_millis(1_767_225_600_000),
            has_before: true,
            has_after: false,
            has_look_ups: true,
        }
    }

    fn change(number: i32, length: usize) -> RawDocumentBuf {
        rawdoc! {
            "_id": {"_data": format!("{number:08}")}, "operationType": "update", "ns": {"db": "shop", "coll": "orders"},
            "documentKey": {"_id": number}, "clusterTime": bson::Timestamp { time: 7, increment: 1 },
            "updateDescription": {"updatedFields": {"note": "n".repeat(length)}, "removedFields": []},
        }
    }

    fn batch(numbers: std::ops::Range<i32>, length: usize) -> Batch {
        let end = rawdoc! {"_data": format!("{:08}", numbers.end)};
        let changes: Vec<RawDocumentBuf> = numbers.map(|number| change(number, length)).collect();
        let end = Position::after(&end, ClusterTime { seconds: 7, increment: 9 });
        Batch::from_documents(changes.iter().map(|change| change.as_ref()), Some(end))
    }

    /// A tape of three frames of changes.
    fn tape() -> Vec<u8> {
        let mut writer = TapeWriter::new(Vec::new(), "t", &header()).unwrap();
        for first in [0, 10, 20] {
            writer.write(&batch(first..first + 10, 50), |_| true).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> (Vec<Batch>, Option<TapeError>) {
        let mut reader = TapeReader::new(bytes, "t").unwrap();
        let mut batches = Vec::new();
        loop {
            match reader.next_batch() {
                Ok(Some(batch)) => batches.push(batch),
                Ok(None) => return (batches, None),
                Err(error) => {
                    assert!(reader.next_batch().unwrap().is_none(), "nothing comes after an error");
                    return (batches, Some(error));
                }
            }
        }
    }

    #[test]
    fn a_tape_gives_back_what_was_written_with_positions_and_look_ups() {
        let mut first = batch(0..3, 10);
        let found = Arc::new(rawdoc! {"_id": 2, "status": "paid"});
        first.attach(&[0, 2], &LookUp::Found(found.clone()));
        first.attach(&[1], &LookUp::Gone);
        let invalidated = Position {
            time: ClusterTime { seconds: 9, increment: 0 },
            resume: Resume::AfterInvalidate(rawdoc! {"_data": "x"}),
        };
        let mut writer = TapeWriter::new(Vec::new(), "t", &header()).unwrap();
        writer.write(&first, |_| true).unwrap();
        writer.flush().unwrap();
        writer.write(&batch(3..6, 10), |index| index != 1).unwrap();
        writer.flush().unwrap();
        writer.write(&Batch::empty(Some(invalidated.clone())), |_| true).unwrap();
        writer.flush().unwrap();
        assert_eq!(writer.changes_count(), 5);
        let bytes = writer.finish().unwrap();
        assert_eq!(TapeReader::new(&*bytes, "t").unwrap().header(), &header());
        let (batches, error) = read(&bytes);
        assert!(error.is_none(), "{error:?}");
        let [one, two, three] = batches.as_slice() else { panic!("{batches:?}") };
        assert_eq!((one.end.clone(), three.end.clone()), (first.end.clone(), Some(invalidated)));
        assert_eq!((one.len(), two.len(), three.len()), (3, 2, 0));
        assert_eq!(one.document(1), first.document(1));
        assert_eq!(two.document(1).unwrap(), &*change(5, 10));
        let after: Vec<bool> = one
            .entries()
            .map(|entry| matches!(entry, Ok(Entry::Change(change)) if matches!(change.after, Image::LookedUp(document) if *document == **found)))
            .collect();
        assert_eq!(after, [true, false, true]);
        assert_eq!(one.looked_up_byte_count(), found.as_bytes().len(), "a document in common is held once");
    }

    #[test]
    fn many_changes_are_cut_into_frames_and_pack_well() {
        let mut writer = TapeWriter::new(Vec::new(), "t", &header()).unwrap();
        writer.write(&batch(0..5_000, 1_000), |_| true).unwrap();
        let bytes = writer.finish().unwrap();
        assert!(bytes.len() < 500_000, "{} bytes", bytes.len());
        let (batches, error) = read(&bytes);
        assert!(error.is_none() && batches.len() > 4, "{} frames, {error:?}", batches.len());
        assert_eq!(batches.iter().map(Batch::len).sum::<usize>(), 5_000);
        assert!(batches.last().unwrap().end.is_some());
    }

    #[test]
    fn a_tape_that_was_cut_off_gives_what_stands_before_and_says_where() {
        let whole = tape();
        let (mut counts, mut offsets) = (Vec::new(), Vec::new());
        for length in 20..whole.len() {
            let reader = TapeReader::new(&whole[..length], "t");
            let Err(TapeError::Truncated { name, offset }) = reader.map(|_| ()) else {
                let (batches, error) = read(&whole[..length]);
                let Some(TapeError::Truncated { name, offset }) = error else { panic!("{length}: {error:?}") };
                assert_eq!(name, "t");
                assert!(offset <= length as u64);
                counts.push(batches.iter().map(Batch::len).sum::<usize>());
                offsets.push(offset);
                continue;
            };
            assert_eq!((name.as_str(), offset), ("t", 20));
        }
        counts.dedup();
        offsets.dedup();
        assert_eq!(counts, [0, 10, 20, 30]);
        assert_eq!(offsets.len(), 4);
    }

    #[test]
    fn what_is_no_tape_is_told_from_one_that_is_empty_cut_or_newer() {
        let error = |bytes: &[u8]| read_slice(bytes).unwrap_err();
        assert!(matches!(error(b""), TapeError::Empty { .. }));
        assert!(matches!(error(b"{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n"), TapeError::NotATape { .. }));
        assert!(matches!(error(b"chan"), TapeError::Truncated { offset: 0, .. }));
        let mut newer = tape();
        newer[16] = 2;
        let said = error(&newer).to_string();
        assert!(said.contains("format 2") && said.contains("help:"), "{said}");
        let mut longer = tape();
        longer.push(0);
        assert!(matches!(error(&longer), TapeError::Damaged { what: "it goes on after its end", .. }));
    }

    #[test]
    fn a_damaged_byte_is_found_and_what_stands_before_is_read() {
        let whole = tape();
        for at in 20..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let Ok(mut reader) = TapeReader::new(&*bytes, "t") else { continue };
            let mut count = 0;
            let error = loop {
                match reader.next_batch() {
                    Ok(Some(batch)) => count += batch.len(),
                    Ok(None) => panic!("the damage at {at} was not found"),
                    Err(error) => break error,
                }
            };
            let (TapeError::Damaged { offset, .. } | TapeError::Truncated { offset, .. }) = error else {
                panic!("{at}: {error:?}");
            };
            assert!(offset <= at as u64 && count % 10 == 0, "{at}: {offset}, {count}");
        }
    }

    #[test]
    fn a_length_that_can_not_be_takes_no_memory() {
        let mut bytes = tape();
        bytes.truncate(20);
        bytes.push(b'h');
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        assert!(matches!(read_slice(&bytes).unwrap_err(), TapeError::Damaged { .. }));
        bytes[21..25].copy_from_slice(&(FRAME_BYTES_MAX as u32).to_le_bytes());
        assert!(matches!(read_slice(&bytes).unwrap_err(), TapeError::Truncated { .. }));
        for count in [1_u32, 1_000, u32::MAX] {
            assert!(decode_changes(count.to_le_bytes().to_vec()).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn damaged_payloads_never_panic(place in any::<prop::sample::Index>(), byte in any::<u8>(), kept in any::<prop::sample::Index>()) {
            let mut batch = batch(0..4, 5);
            batch.attach(&[1], &LookUp::Found(Arc::new(rawdoc! {"_id": 1})));
            let mut payload = super::super::payload::Payload::default();
            for index in 0..batch.len() {
                payload.push(batch.document(index).unwrap(), batch.look_up(index));
            }
            payload.end_at(batch.end.clone(), true);
            let mut bytes = payload.encode();
            prop_assert_eq!(decode_changes(bytes.clone()).unwrap().len(), 4);
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if let Ok(batch) = decode_changes(bytes.clone()) {
                prop_assert!(batch.entries().count() <= 4);
            }
            bytes.truncate(kept.index(bytes.len()));
            prop_assert!(decode_changes(bytes).is_err());
        }
    }
}
