//! Configurations: every mistake is told with its place and the way out, and the page about them is complete.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use changeling::config;
use serde_json::Value;

/// Compares what is said about every `tests/data/config/<case>/changeling.yaml` with the `problems.txt` beside it. With
/// CHANGELING_UPDATE=1 it writes them anew.
fn check(case: &Path) -> Result<(), String> {
    let reading = config::read(&case.join("changeling.yaml")).expect("every case has a configuration");
    let said = reading.diagnostics.render();
    assert!(
        reading.config.is_none() || !reading.diagnostics.has_errors(),
        "{}: errors and a configuration",
        case.display()
    );
    assert!(!said.contains("hunter2"), "{}: a secret was printed:\n{said}", case.display());
    let path = case.join("problems.txt");
    if std::env::var_os("CHANGELING_UPDATE").is_some() {
        fs::write(&path, &said).expect("writing what is said");
        return Ok(());
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    match said == expected {
        true => Ok(()),
        false => Err(format!("{}\n--- expected\n{expected}\n--- said\n{said}", case.display())),
    }
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir("tests/data/config").expect("the cases are there");
    let mut cases: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    cases.sort();
    cases
}

#[test]
fn every_bad_configuration_is_told_what_is_wrong_and_what_to_do() {
    let cases = cases();
    assert!(cases.len() >= 20, "only {} cases", cases.len());
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(
        failures.is_empty(),
        "{}\n\nIf that is right: CHANGELING_UPDATE=1 cargo test --test it config::",
        failures.join("\n\n")
    );
}

#[test]
fn the_page_about_the_configuration_names_every_key_and_no_other() {
    let schema = config::schema();
    let mut keys = BTreeSet::new();
    collect_keys(&schema, &schema, "", &mut keys);
    let page = fs::read_to_string("docs/config.md").expect("docs/config.md is there");
    let (_, tables) = page.split_once("\n## Keys\n").expect("the page has its chapter about keys");
    let told: BTreeSet<String> = tables
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        // A list of things is written with brackets, `explicit[].outbox`.
        .map(|key| key.replace("[]", ""))
        .collect();
    let missing: Vec<_> = keys.difference(&told).collect();
    let unknown: Vec<_> = told.difference(&keys).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "docs/config.md\nmissing: {missing:#?}\nunknown: {unknown:#?}");
}

/// Every key as a dotted path; `<name>` stands for a name of the user's choice.
fn collect_keys(root: &Value, schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let definition = root.pointer(target.trim_start_matches('#')).expect("a reference leads to a definition");
        collect_keys(root, definition, path, keys);
    }
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        keys.insert(join(key));
        collect_keys(root, schema, &join(key), keys);
    }
    if let Some(schema) = schema.get("additionalProperties").filter(|schema| schema.is_object()) {
        collect_keys(root, schema, &join("<name>"), keys);
    }
    for list in ["oneOf", "anyOf"] {
        for schema in schema.get(list).and_then(Value::as_array).into_iter().flatten() {
            collect_keys(root, schema, path, keys);
        }
    }
    if let Some(items) = schema.get("items") {
        collect_keys(root, items, path, keys);
    }
}
