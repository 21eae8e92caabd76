//! The first line is a JSONPath, the rest a document in JSON.
#![no_main]

use bson::Bson;
use changeling::rules::{self, Query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (path, document) = text.split_once('\n').unwrap_or((text, "null"));
    for parsed in [Query::parse(path), Query::parse_plain(path)] {
        match parsed {
            Ok(query) => {
                assert!(path.starts_with('$'), "{path:?} was taken");
                let _ = query.roots();
            }
            Err(error) => {
                assert!(error.offset <= path.chars().count(), "{path:?}: an error beyond its end");
                assert!(error.help.is_some(), "{path:?}: no way out");
            }
        }
    }
    let Ok(query) = Query::parse_plain(path) else { return };
    let Ok(json) = serde_json::from_str::<serde_json::Value>(document) else { return };
    let Ok(document) = Bson::try_from(json) else { return };
    let nodes = rules::query(&query, &document);
    assert!(!query.is_singular() || nodes.len() <= 1, "{path:?} selects {} nodes", nodes.len());
});
