//! From the text of a configuration to its struct.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::schema_check::SchemaCheck;
use super::shape::Schemas;
use super::substitute::{Filled, Surroundings, substitute};
use super::{Config, semantics};
use crate::yaml::{self, FileDiagnostics, Node, Value};

/// Keys of later versions, and what to say of them.
const LATER_KEYS: [(&str, &str); 1] =
    [("explicit", "events that the application writes itself can not be relayed yet")];

/// Reads the file that `diagnostics` speaks of. `None` if there is an error.
pub(super) fn config(
    diagnostics: &mut FileDiagnostics<'_>,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Option<Config> {
    let before = diagnostics.error_count();
    let mut root = yaml::read(diagnostics)?;
    let mut filled = Filled::default();
    substitute(&mut root, &Surroundings { variable, folder }, &mut filled, diagnostics);
    refuse_later_keys(&mut root, diagnostics);
    let schema = super::schema();
    let schemas = Schemas::of(&schema);
    SchemaCheck { schemas, filled: &filled, diagnostics }.check_root(&schema, &mut root);
    if diagnostics.error_count() > before {
        return None;
    }
    let mut config: Config = decode(&root, &filled, diagnostics)?;
    config.folder = folder.to_owned();
    semantics::Semantics { config: &config, root: &root, filled: &filled, diagnostics }.check();
    (diagnostics.error_count() == before).then_some(config)
}

/// `C015`: a key that only a later version knows.
fn refuse_later_keys(root: &mut Node, diagnostics: &mut FileDiagnostics<'_>) {
    let Value::Map(entries) = &mut root.value else { return };
    for (key, reason) in LATER_KEYS {
        if let Some(index) = entries.iter().position(|entry| entry.key == key) {
            let entry = entries.remove(index);
            let message = format!("{key:?} is not available in this version: {reason}");
            diagnostics.error(entry.key_span, "C015", message).help("remove it");
        }
    }
}

/// `C010`: a value that its type does not take, found by serde where the schema does not tell.
fn decode<T: DeserializeOwned>(root: &Node, filled: &Filled, diagnostics: &mut FileDiagnostics<'_>) -> Option<T> {
    match serde_path_to_error::deserialize(root.to_json()) {
        Ok(value) => Some(value),
        Err(error) => {
            let (node, name) = find(root, error.path().iter());
            let message = match filled.holds_any(node) {
                true => format!("what is filled in can not be used for {name:?}"),
                false => format!("{name:?}: {}", error.inner()),
            };
            diagnostics.error(node.span, "C010", message);
            None
        }
    }
}

/// The node at the path, as far as it can be followed, and the last key on the way.
fn find<'n, 'p>(root: &'n Node, path: impl Iterator<Item = &'p Segment>) -> (&'n Node, &'n str) {
    let (mut node, mut name) = (root, "");
    for segment in path {
        let next = match segment {
            Segment::Map { key } => node.entry(key).map(|entry| (&entry.node, entry.key.as_str())),
            Segment::Enum { variant } => node.entry(variant).map(|entry| (&entry.node, entry.key.as_str())),
            Segment::Seq { index } => node.as_list().and_then(|nodes| nodes.get(*index)).map(|node| (node, name)),
            Segment::Unknown => None,
        };
        match next {
            Some(next) => (node, name) = next,
            None => break,
        }
    }
    (node, name)
}
