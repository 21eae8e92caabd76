//! The house rules that a machine can check: floors, sizes, names, and that docs and code tell the same story.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

const CODE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
/// Words that say nothing about what a thing is for.
const EMPTY_WORDS: [&str; 5] = ["util", "helper", "common", "manager", "misc"];

/// One Rust file, without the tests at its end.
struct Source {
    /// Relative to the repository.
    name: String,
    text: String,
    code: String,
}

impl Source {
    /// The folder or file directly below `src`; `None` outside.
    fn module(&self) -> Option<&str> {
        let rest = self.name.strip_prefix("src/")?;
        Some(rest.split('/').next()?.trim_end_matches(".rs"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.') && entry.file_name() != ".ci";
        if hidden || entry.file_name() == "target" {
            continue;
        }
        match path.is_dir() {
            true => files_below(&path, files),
            false => files.push(path),
        }
    }
}

/// Every file of the repository whose name ends with one of `endings`, with its text.
fn texts(endings: &[&str]) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    files_below(root(), &mut paths);
    let mut texts: Vec<(String, String)> = paths
        .iter()
        .filter(|path| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)))
        .filter_map(|path| {
            let name = path.strip_prefix(root()).ok()?.to_string_lossy().into_owned();
            Some((name, fs::read_to_string(path).ok()?))
        })
        .collect();
    texts.sort();
    texts
}

fn sources() -> Vec<Source> {
    let sources: Vec<Source> = texts(&[".rs"])
        .into_iter()
        .map(|(name, text)| {
            let end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            Source { code: text[..end].to_owned(), name, text }
        })
        .collect();
    assert!(sources.len() > 20, "the sources are where this test looks for them");
    sources
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// All findings at once, a line each.
fn assert_none(findings: Vec<String>, rule: &str) {
    assert!(findings.is_empty(), "{rule}:\n{}", findings.join("\n"));
}

/// The floors that the map in `lib.rs` gives to the modules.
fn floors(map: &str) -> BTreeMap<String, u32> {
    let name = Regex::new(r"`([a-z_]+)`").unwrap();
    let mut floors = BTreeMap::new();
    for line in map.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some((floor, what)) = line.split_once('|') else { continue };
        let Ok(floor) = floor.trim().parse() else { continue };
        floors.extend(name.captures_iter(what).map(|found| (found[1].to_owned(), floor)));
    }
    floors
}

/// The modules of this crate that a text names, each with its line number.
fn imports(code: &str) -> Vec<(usize, String)> {
    let path = Regex::new(r"\bcrate::(?:\{([^;]*)\}|([a-z_]+))").unwrap();
    let first = Regex::new(r"(?:^|[{,])\s*([a-z_]+)").unwrap();
    let mut imports = Vec::new();
    let code: String =
        code.lines().map(|line| if is_comment(line) { "\n".to_owned() } else { format!("{line}\n") }).collect();
    for found in path.captures_iter(&code) {
        let start = found.get(0).map_or(0, |whole| whole.start());
        let line = code[..start].lines().count().max(1);
        match (found.get(1), found.get(2)) {
            (Some(group), _) => {
                let flat = without_inner_groups(group.as_str());
                imports.extend(first.captures_iter(&flat).map(|module| (line, module[1].to_owned())));
            }
            (None, Some(module)) => imports.push((line, module.as_str().to_owned())),
            (None, None) => {}
        }
    }
    imports
}

fn without_inner_groups(group: &str) -> String {
    let mut depth = 0;
    group
        .chars()
        .filter(|character| {
            depth += i32::from(*character == '{');
            let keep = depth == 0;
            depth -= i32::from(*character == '}');
            keep
        })
        .collect()
}

/// Nouns may name each other; the configuration is made of the parts' own settings, those of `http` too.
fn may_import(floors: &BTreeMap<String, u32>, from: &str, to: &str) -> bool {
    let (Some(from_floor), Some(to_floor)) = (floors.get(from), floors.get(to)) else { return false };
    from == to || to_floor < from_floor || (*from_floor == 0 && *to_floor == 0) || (from == "config" && to == "http")
}

#[test]
fn imports_go_down() {
    let sources = sources();
    let map = sources.iter().find(|source| source.name == "src/lib.rs").expect("lib.rs is the map");
    let floors = floors(&map.text);
    let mut findings = Vec::new();
    for source in &sources {
        let Some(module) = source.module().filter(|module| *module != "lib") else { continue };
        if !floors.contains_key(module) {
            findings.push(format!("{}: the map in src/lib.rs gives `{module}` no floor", source.name));
        }
        for (line, import) in imports(&source.code) {
            // `crate::` in a file of the program, which is a crate of its own, names the program's own modules.
            if !(may_import(&floors, module, &import) || module == "main" && import == "cli") {
                findings.push(format!("{}:{line}: `{module}` must not import `{import}`", source.name));
            }
        }
    }
    assert_none(findings, "between folders a file imports only lower floors");
}

#[test]
fn the_import_check_sees_what_is_wrong() {
    let floors = floors("//! | 0 | [`event`] |\n//! | 2 | [`sink`], `source` |\n//! | 4 | `http`, `config` |");
    let found = imports("use crate::{event::Event, sink::{self, Sink}};\n// crate::http\nlet x = crate::config::y();");
    let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["event", "sink", "config"]);
    assert_eq!(found[2].0, 3);
    assert!(may_import(&floors, "sink", "event") && may_import(&floors, "config", "http"));
    assert!(!may_import(&floors, "sink", "source") && !may_import(&floors, "event", "sink"));
    assert!(!may_import(&floors, "http", "config") && !may_import(&floors, "sink", "unknown"));
}

#[test]
fn the_pure_floors_know_no_runtime_no_files_and_no_clock() {
    let sources = sources();
    let map = sources.iter().find(|source| source.name == "src/lib.rs").expect("lib.rs is the map");
    let floors = floors(&map.text);
    let words = ["tokio::", "std::fs", "std::net", "File::open", "SystemTime::now", "Instant::now", "DateTime::now"];
    let mut findings = Vec::new();
    for source in &sources {
        let module = source.module().unwrap_or_default();
        if module == "mongo_client" || floors.get(module).is_none_or(|floor| *floor > 2) {
            continue;
        }
        findings.extend(lines_with(source, &words));
    }
    assert_none(findings, "floors 0 to 2 are pure");
}

fn lines_with(source: &Source, words: &[&str]) -> Vec<String> {
    let lines = source.code.lines().enumerate().filter(|(_, line)| !is_comment(line));
    lines
        .flat_map(|(index, line)| words.iter().filter(move |word| line.contains(**word)).map(move |word| (index, word)))
        .map(|(index, word)| format!("{}:{}: {word}", source.name, index + 1))
        .collect()
}

#[test]
fn only_the_pipeline_and_the_app_spawn_and_only_main_ends_the_process() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.name.starts_with("src/")) {
        let module = source.module().unwrap_or_default();
        if !["pipeline", "app"].contains(&module) {
            findings.extend(lines_with(source, &["tokio::spawn", "task::spawn(", "thread::spawn", ".spawn("]));
        }
        if module != "main" {
            findings.extend(lines_with(source, &["process::exit", "process::abort"]));
        }
        if module != "main" && module != "cli" {
            findings.extend(lines_with(source, &["println!(", "print!("]));
        }
    }
    assert_none(
        findings,
        "tasks are spawned by pipeline and app, the process is ended by main, people are spoken to by cli",
    );
}

#[test]
fn files_and_functions_are_short() {
    let mut findings = Vec::new();
    for source in sources() {
        let count = source.code.lines().filter(|line| !line.trim().is_empty() && !is_comment(line)).count();
        if count > CODE_LINES_MAX {
            findings.push(format!("{}: {count} lines of code, at most {CODE_LINES_MAX}", source.name));
        }
        for (line, name, length) in functions(&source.text) {
            if length > FUNCTION_LINES_MAX {
                findings
                    .push(format!("{}:{line}: `{name}` has {length} lines, at most {FUNCTION_LINES_MAX}", source.name));
            }
        }
    }
    assert_none(findings, "what is long is several things");
}

/// The functions of a formatted text: line, name, count of lines. A function ends at the brace that is as far in as it began.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let head = Regex::new(r"^( *)(?:pub(?:\([a-z]+\))? )?(?:const |async )*fn ([a-z_0-9]+)").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(found) = head.captures(line) else { continue };
        let end = format!("{}}}", &found[1]);
        let length =
            lines[index..].iter().position(|line| **line == end || line.ends_with(';') && line.starts_with(&found[0]));
        functions.push((index + 1, found[2].to_owned(), length.map_or(1, |length| length + 1)));
    }
    functions
}

#[test]
fn the_length_check_counts_lines() {
    let text = "fn one() {\n    fn two() -> u8 {\n        2\n    }\n}\npub(crate) async fn three();\n";
    assert_eq!(functions(text), [(1, "one".into(), 5), (2, "two".into(), 3), (6, "three".into(), 1)]);
}

#[test]
fn names_say_what_a_thing_is_for() {
    let declared = Regex::new(r"\b(?:struct|enum|trait|type|mod) +([A-Za-z_0-9]+)").unwrap();
    let mut findings = Vec::new();
    let mut check = |place: String, name: &str| {
        let lower = name.to_lowercase();
        if EMPTY_WORDS.iter().any(|word| lower.contains(word)) {
            findings.push(format!("{place}: {name}"));
        }
    };
    for source in sources() {
        check(source.name.clone(), &source.name);
        for (index, line) in source.text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            for found in declared.captures_iter(line) {
                check(format!("{}:{}", source.name, index + 1), &found[1]);
            }
        }
    }
    assert_none(findings, "no file, module or type is named after nothing");
}

#[test]
fn nothing_is_unfinished_switched_off_or_unsafe() {
    // Put together here, so that this file does not find itself.
    let words: Vec<String> = [
        ("todo", "!("),
        ("unimplemented", "!("),
        ("dbg", "!("),
        ("allow(dead", "_code"),
        ("#[ign", "ore"),
        ("unsafe", " {"),
    ]
    .iter()
    .map(|(start, end)| format!("{start}{end}"))
    .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut findings = Vec::new();
    for source in sources() {
        let whole = Source { code: source.text.clone(), ..source };
        findings.extend(lines_with(&whole, &words));
        if !whole.text.starts_with("//!") {
            findings.push(format!("{}:1: the file does not say what it is for", whole.name));
        }
    }
    assert_none(findings, "what is here is finished, and says what it is for");
}

#[test]
fn the_project_does_not_name_the_machine_it_is_written_on() {
    let here = root().to_string_lossy().into_owned();
    let home = std::env::var("HOME").unwrap_or_default();
    let mut findings = Vec::new();
    for (name, text) in texts(&[".rs", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", "run"]) {
        for place in [&here, &home].into_iter().filter(|place| place.len() > 1) {
            if text.contains(&format!("{place}/")) {
                findings.push(format!("{name}: names a folder of this machine"));
            }
        }
    }
    assert_none(findings, "the project speaks of itself alone");
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_metric_is_in_its_page_and_nothing_else() {
    let name = Regex::new(r"\bchangeling_[a-z_]+[a-z]").unwrap();
    let quoted = Regex::new(r#""(changeling_[a-z_]+[a-z])""#).unwrap();
    let declared: BTreeSet<String> = sources()
        .iter()
        .filter(|source| source.name.starts_with("src/"))
        .flat_map(|source| quoted.captures_iter(&source.code).map(|found| found[1].to_owned()).collect::<Vec<_>>())
        .collect();
    let page = page("docs/metrics.md");
    let described: BTreeSet<String> = name.find_iter(&page).map(|found| found.as_str().to_owned()).collect();
    let missing = declared.difference(&described).map(|name| format!("{name} is not in docs/metrics.md"));
    // A page may name the parts that Prometheus adds to a histogram.
    let base = |name: &str| {
        ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let invented = described
        .iter()
        .filter(|name| !declared.contains(*name) && !declared.contains(&base(name)))
        .map(|name| format!("{name} is in docs/metrics.md only"));
    assert_none(missing.chain(invented).collect(), "code and page name the same metrics");
}

#[tokio::test]
async fn every_flag_is_in_the_help_of_its_command_and_in_the_documentation() {
    let program = crate::support::Program::new();
    let command = Regex::new(r"(?m)^  ([a-z]+)  ").unwrap();
    let flag = Regex::new(r"--[a-z][a-z-]+").unwrap();
    let help = program.run(&["--help"]).await.expect_code(0).stdout;
    let commands = help.split("Commands:").nth(1).expect("the help lists commands");
    let commands = commands.split("\n\n").next().unwrap_or_default();
    let documentation: String = texts(&[".md"]).into_iter().map(|(_, text)| text).collect();
    let mut findings = Vec::new();
    for name in command.captures_iter(commands).map(|found| found[1].to_owned()).filter(|name| name != "help") {
        if !documentation.contains(&format!("changeling {name}")) {
            findings.push(format!("changeling {name}"));
        }
        let help = program.run(&[&name, "--help"]).await.expect_code(0).stdout;
        let flags: BTreeSet<&str> = flag.find_iter(&help).map(|found| found.as_str()).collect();
        let undocumented = flags.iter().filter(|flag| **flag != "--help" && !documentation.contains(**flag));
        findings.extend(undocumented.map(|flag| format!("changeling {name} {flag}")));
    }
    assert_none(findings, "every command and flag is in the documentation");
}

/// The names of all keys that a JSON Schema knows, at any depth.
fn keys(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            if let Some(serde_json::Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| keys(value, found));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_configuration_is_in_its_page() {
    let mut found = BTreeSet::new();
    keys(&changeling::config::schema(), &mut found);
    assert!(found.contains("sinks") && found.contains("fsync"), "the schema lists keys: {found:?}");
    let page = page("docs/config.md");
    let findings = found.into_iter().filter(|key| {
        let word = Regex::new(&format!(r"\b{key}\b")).unwrap();
        !word.is_match(&page)
    });
    assert_none(findings.collect(), "every key is in docs/config.md");
}
