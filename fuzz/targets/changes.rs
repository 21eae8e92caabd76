//! Any bytes as what a server sends: change documents, decoded and put to rules that use the whole language. An input that
//! starts with a bracket is Extended JSON, a list of change documents; any other is taken as raw BSON documents, one after
//! the other.
#![no_main]

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use bson::{Bson, RawDocumentBuf};
use bytes::Bytes;
use changeling::change::{Batch, Entry, LookUp};
use changeling::rules::{self, Outcome, RuleSet, Translation};
use changeling::yaml::SourceFile;
use libfuzzer_sys::fuzz_target;

static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| {
    let file = SourceFile { name: "everything.yaml".to_owned(), text: include_str!("everything.yaml").to_owned() };
    let reading = rules::read(&[file]);
    assert!(!reading.diagnostics.has_errors(), "{}", reading.diagnostics.render());
    Arc::new(RuleSet::compile(reading.rules))
});

/// Cuts bytes into documents where their lengths say so; what is left over is a document too, if a broken one.
fn cut(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let rest = &bytes[start..];
        let length = rest.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        let length = if (5..=rest.len()).contains(&length) { length } else { rest.len() };
        ranges.push(start..start + length);
        start += length;
    }
    ranges
}

fn of_json(text: &str) -> Option<Batch> {
    let list: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let documents: Vec<RawDocumentBuf> = list
        .into_iter()
        .map(|json| match Bson::try_from(json) {
            Ok(Bson::Document(document)) => RawDocumentBuf::try_from(&document).ok(),
            _ => None,
        })
        .collect::<Option<_>>()?;
    Some(Batch::from_documents(documents.iter().map(AsRef::as_ref), None))
}

fn apply(batch: &Batch) -> Vec<String> {
    let mut outcome = Outcome::default();
    // Small, so that inputs come past it.
    let mut translation = Translation::new(2_048);
    for entry in batch.entries() {
        match entry {
            Ok(Entry::Change(change)) => {
                let _ = RULES.wants_look_up(&change);
                translation.apply(&RULES, &change, &mut outcome);
            }
            Ok(Entry::Notice(notice)) => {
                let _ = (notice.kind, notice.cluster_time);
            }
            Err(error) => {
                let _ = error.to_string();
            }
        }
    }
    translation.end(&mut outcome);
    outcome.events.iter().map(|event| format!("{event:?}")).collect()
}

fuzz_target!(|data: &[u8]| {
    let batch = match data.first() {
        Some(b'[') => std::str::from_utf8(data).ok().and_then(of_json),
        _ => Some(Batch::new(Bytes::copy_from_slice(data), cut(data), None)),
    };
    let Some(mut batch) = batch else { return };
    assert_eq!(apply(&batch), apply(&batch), "one batch, two answers");
    // The same changes with a document that was looked up later.
    let found = batch.document(0).map(|document| LookUp::Found(document.to_owned().into()));
    if let Some(found) = found {
        let indexes: Vec<usize> = (0..batch.len()).collect();
        batch.attach(&indexes, &found);
        let _ = apply(&batch);
    }
    let _ = batch.split_off(batch.len() / 2);
});
