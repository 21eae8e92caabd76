//! Any bytes as a tape, and as what stands unpacked in one of its frames: it is read or refused, and what was read can be
//! written and read again.
#![no_main]

use changeling::change::Batch;
use changeling::source::tape::{TapeHeader, TapeReader, TapeWriter, decode_changes, read_slice};
use libfuzzer_sys::fuzz_target;

/// Every change of a batch that can be decoded, in words.
fn told(batch: &Batch) -> Vec<String> {
    batch.entries().map(|entry| format!("{entry:?}")).collect()
}

fn copied(batch: &Batch, header: &TapeHeader) -> Vec<String> {
    let mut writer = TapeWriter::new(Vec::new(), "copy", header).expect("memory can be written");
    writer.write(batch, |_| true).expect("what was read can be written");
    let tape = writer.finish().expect("memory can be written");
    let mut reader = TapeReader::new(tape.as_slice(), "copy").expect("what was written can be read");
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch().expect("what was written can be read") {
        all.extend(told(&batch));
    }
    all
}

fuzz_target!(|data: &[u8]| {
    let _ = read_slice(data);
    let Ok(mut reader) = TapeReader::new(data, "fuzz") else {
        if let Ok(batch) = decode_changes(data.to_vec()) {
            assert_eq!(told(&batch).len(), batch.len());
        }
        return;
    };
    let header = reader.header().clone();
    while let Ok(Some(batch)) = reader.next_batch() {
        assert_eq!(told(&batch), copied(&batch, &header), "a copy differs");
    }
});
