//! The JSON Schemas of rule files and of the configuration, held against every file that is shipped or documented by an
//! independent validator (`boon`).

use std::fs;
use std::path::{Path, PathBuf};

use boon::{Compiler, Format, SchemaIndex, Schemas};
use changeling::quantity::Period;
use changeling::yaml::{self, Diagnostics, SourceFile};
use changeling::{config, rules};
use serde_json::{Value, json};

struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new(schema: Value) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        // To it, a period is one of the calendar.
        compiler.register_format(Format { name: "period", func: period });
        compiler.add_resource("schema.json", schema).unwrap();
        let index = compiler.compile("schema.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        Self { schemas, index }
    }

    fn rules() -> Self {
        Self::new(rules::schema())
    }

    fn config() -> Self {
        Self::new(config::editor_schema())
    }

    fn fault(&self, value: &Value) -> Option<String> {
        self.schemas.validate(value, self.index).err().map(|error| format!("{error:#}"))
    }
}

fn period(value: &Value) -> Result<(), Box<dyn std::error::Error>> {
    match value.as_str().is_none_or(|text| Period::parse(text).is_some()) {
        true => Ok(()),
        false => Err("no period".into()),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn json_of(name: &str, text: &str) -> Value {
    let file = SourceFile { name: name.to_owned(), text: text.to_owned() };
    let mut diagnostics = Diagnostics::default();
    let node = yaml::read(&mut diagnostics.of(&file));
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render());
    node.unwrap_or_else(|| panic!("{name} is no YAML")).to_json()
}

/// Files below `folder` whose names end with `ending`.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_string_lossy().ends_with(ending) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn name_of(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The shipped files of ours: what they are, and their schema as their first line must name it.
fn shipped() -> Vec<(PathBuf, Kind)> {
    let rules =
        files("rules", ".yaml").into_iter().chain(files("fuzz/targets", ".yaml")).map(|path| (path, Kind::Rules));
    // The alerts are a file of Prometheus.
    let configs = files("deploy", ".yaml").into_iter().filter(|path| !path.ends_with("alerts.yaml"));
    rules.chain(configs.map(|path| (path, Kind::Config))).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rules,
    Config,
    /// Some rules, without the file around them.
    RuleList,
    /// Some keys of a configuration.
    ConfigPart,
}

impl Kind {
    /// What a block of a document is; `None` if it is neither.
    fn of(value: &Value) -> Option<Self> {
        if let Some(list) = value.as_array() {
            return list.iter().all(|one| one.get("event").is_some()).then_some(Self::RuleList);
        }
        let has = |key: &str| value.get(key).is_some();
        let keys = config::schema()["properties"].as_object().unwrap().clone();
        if value.get("rules").is_some_and(|rules| rules[0].is_object()) || has("tests") {
            Some(Self::Rules)
        } else if has("source") && has("sinks") && has("rules") {
            Some(Self::Config)
        } else {
            value.as_object()?.keys().all(|key| keys.contains_key(key)).then_some(Self::ConfigPart)
        }
    }

    fn fault(self, value: &Value) -> Option<String> {
        match self {
            Self::Rules => Validator::rules().fault(value),
            Self::Config => Validator::config().fault(value),
            Self::RuleList => Validator::rules().fault(&json!({"version": 1, "rules": value})),
            Self::ConfigPart => {
                let mut schema = config::editor_schema();
                schema.as_object_mut().unwrap().remove("required");
                Validator::new(schema).fault(value)
            }
        }
    }
}

#[test]
fn every_shipped_file_names_its_schema_and_keeps_to_it() {
    let shipped = shipped();
    assert!(shipped.len() >= 7, "only {} files", shipped.len());
    for (path, kind) in shipped {
        let (name, text) = (name_of(&path), fs::read_to_string(&path).unwrap());
        let first = text.lines().next().unwrap_or_default();
        let schema = first
            .strip_prefix("# yaml-language-server: $schema=")
            .unwrap_or_else(|| panic!("{name} does not name its schema: {first}"));
        let schema = path.parent().unwrap().join(schema);
        let named: Value =
            serde_json::from_str(&fs::read_to_string(&schema).unwrap_or_else(|error| panic!("{name}: {error}")))
                .unwrap();
        let wanted = if kind == Kind::Rules { rules::schema() } else { config::editor_schema() };
        assert!(named == wanted, "{name} names another schema than that of its kind");
        let fault = kind.fault(&json_of(&name, &text));
        assert!(fault.is_none(), "{name}: {}", fault.unwrap_or_default());
    }
}

#[test]
fn the_shipped_schema_of_the_configuration_is_the_one_that_is_printed() {
    let path = root().join("deploy/schema.json");
    let mut wanted = serde_json::to_string_pretty(&config::editor_schema()).unwrap();
    wanted.push('\n');
    if std::env::var_os("CHANGELING_UPDATE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let shipped = fs::read_to_string(&path).unwrap_or_default();
    assert!(shipped == wanted, "deploy/schema.json is old: CHANGELING_UPDATE=1 cargo test --test it schemas::");
}

#[test]
fn every_yaml_block_of_the_documents_keeps_to_a_schema() {
    let mut count = 0;
    for path in files("docs", ".md").into_iter().chain([root().join("README.md")]) {
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            if !line.trim_start().starts_with("```yaml") {
                continue;
            }
            let block: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| !line.trim_start().starts_with("```")).collect();
            let name = format!("{}, block at line {}", name_of(&path), number + 1);
            let value = json_of(&name, &(block.join("\n") + "\n"));
            let kind = Kind::of(&value).unwrap_or_else(|| panic!("{name} is neither rules nor a configuration"));
            let fault = kind.fault(&value);
            assert!(fault.is_none(), "{name} ({kind:?}): {}", fault.unwrap_or_default());
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} blocks");
}

/// What a schema can tell: an unknown key, a missing one, a value of the wrong type.
const SHAPE: [&str; 3] = ["R002", "R003", "R004"];

/// Cases with such a code that only the reading can tell: a key is missing only because of what others, or `defaults`, say.
const BEYOND_A_SCHEMA: [&str; 2] = ["/rule_without_on/", "/transaction_missing_keys/"];

#[test]
fn the_schema_of_rules_takes_every_good_file_and_refuses_what_has_the_wrong_shape() {
    let validator = Validator::rules();
    let (mut good, mut bad, mut wrong) = (0, 0, Vec::new());
    for path in files("tests/data/rules", ".yaml") {
        let file = SourceFile { name: name_of(&path), text: fs::read_to_string(&path).unwrap() };
        let mut unread = Diagnostics::default();
        let Some(node) = yaml::read(&mut unread.of(&file)) else { continue };
        if unread.has_errors() {
            continue;
        }
        let reading = rules::read(std::slice::from_ref(&file));
        let codes: Vec<&str> = reading.diagnostics.iter().map(|one| one.code).collect();
        let fault = validator.fault(&node.to_json());
        if !reading.diagnostics.has_errors() {
            good += 1;
            wrong.extend(fault.map(|fault| format!("{} is good, and the schema says: {fault}", file.name)));
        } else if codes.iter().any(|code| SHAPE.contains(code)) {
            bad += 1;
            if fault.is_none() && !BEYOND_A_SCHEMA.iter().any(|case| file.name.contains(case)) {
                wrong.push(format!("{} has the wrong shape ({codes:?}), and the schema says nothing", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(good >= 10 && bad >= 5, "{good} good files, {bad} bad ones");
}

#[test]
fn values_from_the_environment_fit_where_numbers_and_words_stand() {
    let validator = Validator::config();
    let config = |more: &str| {
        json_of(
            "changeling.yaml",
            &format!(
                "name: shop\nsource: {{uri: \"${{URI}}\"}}\nrules: [rules]\nsinks: {{out: {{stdout: {{}}}}}}\n{more}"
            ),
        )
    };
    for (more, is_good) in [
        ("", true),
        ("pipeline: {queue_events_max: \"${QUEUE}\"}", true),
        ("pipeline: {queue_events_max: 100, retry: {factor: \"${FACTOR:-2}\"}}", true),
        ("log: {level: \"${LEVEL}\"}", true),
        ("log: {level: debug}", true),
        ("reload: {watch: \"${WATCH}\"}", true),
        ("log: {level: loud}", false),
        ("pipeline: {queue_events_max: many}", false),
        ("pipeline: {queue_events_mx: 1}", false),
        ("reload: {watch: 3}", false),
        ("nam: shop", false),
    ] {
        let fault = validator.fault(&config(more));
        assert_eq!(fault.is_none(), is_good, "{more}: {fault:?}");
    }
}

/// Every key of a schema, with the schemas that speak of it: its own and those it refers to.
fn each_key<'s>(whole: &'s Value, schema: &'s Value, path: &str, visit: &mut dyn FnMut(&str, &[&'s Value])) {
    if path.matches('.').count() > 6 {
        return;
    }
    for one in spoken(whole, schema) {
        for (key, below) in one.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{key}");
            visit(&path, &spoken(whole, below));
            each_key(whole, below, &path, visit);
        }
        for list in ["items", "additionalProperties"] {
            if let Some(below) = one.get(list).filter(|below| below.is_object()) {
                each_key(whole, below, &format!("{path}.<{list}>"), visit);
            }
        }
    }
}

/// A schema, and all that it is made of without a step into the value.
fn spoken<'s>(whole: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let mut all = vec![schema];
    let mut next = 0;
    while let Some(one) = all.get(next).copied() {
        next += 1;
        if let Some(target) = one.get("$ref").and_then(Value::as_str) {
            all.push(whole.pointer(target.trim_start_matches('#')).unwrap_or_else(|| panic!("no {target}")));
        }
        for list in ["allOf", "anyOf", "oneOf"] {
            all.extend(one.get(list).and_then(Value::as_array).into_iter().flatten());
        }
    }
    all
}

#[test]
fn every_key_is_described_and_shown_by_an_example_or_told_by_its_kind() {
    for (name, schema) in [("rules", rules::schema()), ("config", config::editor_schema())] {
        let mut wrong = Vec::new();
        each_key(&schema, &schema, name, &mut |path, schemas| {
            let has = |field: &str| schemas.iter().any(|one| one.get(field).is_some());
            if !has("description") {
                wrong.push(format!("{path} has no description"));
            }
            let is_of = |wanted: &str| schemas.iter().any(|one| one.get("type").is_some_and(|kind| kind == wanted));
            let is_told = ["examples", "default", "enum", "const", "properties", "pattern"].into_iter().any(has);
            if !is_told && (is_of("string") || is_of("integer") || is_of("array")) && name == "config" {
                wrong.push(format!("{path} has no example"));
            }
        });
        wrong.sort();
        wrong.dedup();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
