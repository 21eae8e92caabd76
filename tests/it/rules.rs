//! Golden cases of the rule language: `tests/data/rules/<case>/` holds rule files, `problems.txt` with every finding exactly as
//! it is printed (absent: there is none), and `failures.txt` with the differences of the tests inside the rule files (absent: all
//! of them pass). `CHANGELING_UPDATE=1 cargo test --test it rules::` writes what comes out; read the diff before keeping it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use changeling::rules::{self, examples};
use changeling::yaml::{Severity, SourceFile};

fn cases() -> Vec<PathBuf> {
    folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rules"))
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    paths.sort();
    paths
}

fn files(folder: &Path) -> Vec<SourceFile> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let source = |path: &PathBuf| SourceFile {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        text: fs::read_to_string(path).unwrap(),
    };
    paths.iter().map(source).collect()
}

/// The differences of every test that fails.
fn failures(reading: &rules::Reading) -> String {
    let mut text = String::new();
    for result in examples::run(reading).iter().filter(|result| !result.passed()) {
        writeln!(text, "{}:{}: {}", result.file, result.line, result.name).unwrap();
        for difference in &result.differences {
            writeln!(text, "  {difference}").unwrap();
        }
    }
    text
}

/// Compares a text with its golden file; a file that is absent is empty. Writes the file instead if asked to.
fn compare(path: &Path, actual: &str, wrong: &mut Vec<String>) {
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return;
    }
    if std::env::var_os("CHANGELING_UPDATE").is_some() {
        match actual.is_empty() {
            true => fs::remove_file(path).unwrap(),
            false => fs::write(path, actual).unwrap(),
        }
        return;
    }
    wrong.push(format!("{}\n--- expected\n{expected}--- actual\n{actual}", path.display()));
}

fn check(case: &Path, wrong: &mut Vec<String>) -> Severities {
    let reading = rules::read(&files(case));
    compare(&case.join("problems.txt"), &reading.diagnostics.render(), wrong);
    let failures = if reading.diagnostics.has_errors() { String::new() } else { failures(&reading) };
    compare(&case.join("failures.txt"), &failures, wrong);
    wrong.extend(reading.diagnostics.iter().filter(|one| one.help.is_none()).map(|one| format!("no way out:\n{one}")));
    Severities {
        errors: reading.diagnostics.count(Severity::Error),
        warnings: reading.diagnostics.count(Severity::Warning),
        codes: reading.diagnostics.iter().map(|one| one.code.to_owned()).collect(),
    }
}

struct Severities {
    errors: usize,
    warnings: usize,
    codes: Vec<String>,
}

#[test]
fn every_golden_case_says_exactly_what_it_should() {
    let mut wrong = Vec::new();
    let mut bad_count = 0;
    let mut codes = std::collections::BTreeSet::new();
    for case in cases() {
        let found = check(&case, &mut wrong);
        bad_count += usize::from(found.errors + found.warnings > 0);
        codes.extend(found.codes);
    }
    assert!(wrong.is_empty(), "{} golden files differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(bad_count >= 45, "only {bad_count} bad rule files");
    let reference = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md")).unwrap();
    for code in codes {
        assert!(reference.contains(&format!("`{code}`")), "docs/rules.md does not explain {code}");
    }
}

#[test]
fn the_shipped_rules_have_no_findings_and_pass_their_own_tests() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/shop");
    let reading = rules::read(&files(&shop));
    assert!(reading.diagnostics.is_empty(), "{}", reading.diagnostics.render());
    assert!(reading.rules.len() >= 15 && reading.examples.len() >= reading.rules.len());
    assert_eq!(failures(&reading), "");
}

/// The YAML blocks of the reference that are rule files.
fn rule_files_of(markdown: &str) -> Vec<SourceFile> {
    let mut files = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim() != "```yaml" {
            continue;
        }
        let block: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
        let text = block.join("\n") + "\n";
        if text.contains("version: 1") {
            files.push(SourceFile { name: format!("docs/rules.md, block at line {}", number + 1), text });
        }
    }
    files
}

#[test]
fn every_rule_file_in_the_reference_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md");
    let files = rule_files_of(&fs::read_to_string(path).unwrap());
    assert!(files.len() >= 5, "only {} rule files in the reference", files.len());
    for file in files {
        let reading = rules::read(std::slice::from_ref(&file));
        assert!(!reading.diagnostics.has_errors(), "{}\n{}", file.text, reading.diagnostics.render());
        assert_eq!(failures(&reading), "", "{}", file.name);
    }
}
