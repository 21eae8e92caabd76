//! Small golden cases of the rule language, many to a file: `tests/data/rules/<topic>.cases`. A case is a line `=== what it says`,
//! a rule file, and after a line `---` everything that is said about it: the findings of the reading and the differences of the
//! tests inside it. A case without that line has no findings, and all of its tests pass.
//! `CHANGELING_UPDATE=1 cargo test --test it rule_cases::` writes what comes out; read the diff before keeping it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use changeling::rules::{self, examples};
use changeling::yaml::SourceFile;

/// One case of a file.
struct Case {
    name: String,
    rules: String,
    said: String,
}

fn cases_of(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut is_said = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Case { name: name.to_owned(), rules: String::new(), said: String::new() });
            is_said = false;
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        match line {
            "---" => is_said = true,
            line if is_said => writeln!(case.said, "{line}").unwrap(),
            line => writeln!(case.rules, "{line}").unwrap(),
        }
    }
    for case in &mut cases {
        case.rules.truncate(case.rules.trim_end().len());
        case.rules.push('\n');
        case.said.truncate(case.said.trim_end().len());
    }
    cases
}

fn written(cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases {
        write!(text, "=== {}\n{}", case.name, case.rules).unwrap();
        if !case.said.is_empty() {
            write!(text, "---\n{}\n", case.said).unwrap();
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Everything there is to say about a rule file.
fn said(rules_text: &str) -> String {
    let reading = rules::read(&[SourceFile { name: "rules.yaml".to_owned(), text: rules_text.to_owned() }]);
    let mut text = reading.diagnostics.render();
    for finding in reading.diagnostics.iter() {
        assert!(finding.help.is_some(), "no way out:\n{finding}");
    }
    if !reading.diagnostics.has_errors() {
        for result in examples::run(&reading).iter().filter(|result| !result.passed()) {
            writeln!(text, "test {} (line {})", result.name, result.line).unwrap();
            result.differences.iter().for_each(|difference| writeln!(text, "  {difference}").unwrap());
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rules");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cases"));
    paths.sort();
    paths
}

#[test]
fn every_small_case_says_exactly_what_it_should() {
    let reference = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md")).unwrap();
    let mut wrong = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for path in files() {
        let mut cases = cases_of(&fs::read_to_string(&path).unwrap());
        for case in &mut cases {
            let name = format!("{}: {}", path.file_stem().unwrap().to_string_lossy(), case.name);
            let actual = said(&case.rules);
            if actual != case.said {
                wrong.push(format!("{name}\n--- expected\n{}\n--- said\n{actual}", case.said));
                case.said = actual;
            }
            for code in case.said.lines().filter_map(|line| line.split_once(": R")?.1.get(..3)) {
                assert!(reference.contains(&format!("`R{code}`")), "docs/rules.md does not explain R{code}");
            }
            assert!(names.insert(name.clone()), "two cases are called {name}");
        }
        if std::env::var_os("CHANGELING_UPDATE").is_some() {
            fs::write(&path, written(&cases)).unwrap();
            wrong.clear();
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(names.len() >= 70, "only {} cases", names.len());
}
