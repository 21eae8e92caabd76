//! The JSON Schema (draft 7, which editors understand best) of rule files.

use serde_json::Value;

/// The schema, with descriptions and examples, so that an editor completes and checks rule files.
pub fn schema() -> Value {
    serde_json::from_str(include_str!("../../rules/schema.json")).expect("a test reads the schema")
}
