//! The JSONPath Compliance Test Suite (`tests/data/jsonpath-compliance`, its licence beside it): every case, through the library
//! and through `changeling query`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use bson::Bson;
use changeling::rules::{self, Query};
use serde::Deserialize;
use serde_json::Value;

use crate::support::binary;

/// Cases that we do not meet, each with the reason that docs/rules.md gives. One that is met must leave the list.
const DEVIATIONS: [(&str, &str); 0] = [];

/// How many programs run at once.
const WORKERS: usize = 4;

#[derive(Deserialize)]
struct Suite {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    selector: String,
    #[serde(default)]
    invalid_selector: bool,
    #[serde(default)]
    document: Value,
    /// The only right list of nodes.
    result: Option<Vec<Value>>,
    /// All the right ones, where several are.
    results: Option<Vec<Vec<Value>>>,
}

impl Case {
    /// What is wrong with an answer: nodes, or nothing if the selector was refused.
    fn fault(&self, answer: Option<Vec<Value>>) -> Option<String> {
        let Self { name, selector, document, .. } = self;
        let fault = match answer {
            None if self.invalid_selector => return None,
            None => "refused, although it is valid".to_owned(),
            Some(_) if self.invalid_selector => "accepted, although it is not valid".to_owned(),
            Some(nodes) => {
                let right = self.result.iter().chain(self.results.iter().flatten()).any(|right| *right == nodes);
                if right {
                    return None;
                }
                format!("of {document} gives {}", Value::Array(nodes))
            }
        };
        Some(format!("{name}: {selector:?} {fault}"))
    }
}

fn suite() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/jsonpath-compliance/cts.json");
    let suite: Suite = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(suite.tests.len() >= 700, "only {} cases: is the suite whole?", suite.tests.len());
    suite.tests
}

/// Checks every answer against the suite and the list of known deviations.
fn judge<'c>(answers: impl Iterator<Item = (&'c Case, Option<Vec<Value>>)>) {
    let mut wrong = Vec::new();
    for (case, answer) in answers {
        let deviates = DEVIATIONS.iter().any(|(name, _)| *name == case.name);
        match (case.fault(answer), deviates) {
            (Some(fault), false) => wrong.push(fault),
            (None, true) => wrong.push(format!("{} is met: take it off the list", case.name)),
            (None, false) | (Some(_), true) => {}
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_library_meets_every_case_of_the_compliance_suite() {
    let cases = suite();
    judge(cases.iter().map(|case| {
        let query = Query::parse_plain(&case.selector).ok();
        let nodes = |query| {
            let document = Bson::try_from(case.document.clone()).unwrap();
            rules::query(&query, &document).into_iter().map(Bson::into_relaxed_extjson).collect()
        };
        (case, query.map(nodes))
    }));
}

#[test]
fn the_program_meets_every_case_of_the_compliance_suite() {
    let mut cases = suite();
    // No argument of a program can hold a NUL: these two, both not valid, are left to the library.
    cases.retain(|case| !case.selector.contains('\0'));
    assert!(cases.len() >= 700);
    let share = cases.len().div_ceil(WORKERS);
    let answers = thread::scope(|scope| {
        let workers: Vec<_> = cases
            .chunks(share)
            .map(|cases| scope.spawn(move || cases.iter().map(|case| (case, asked(case))).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    judge(answers.into_iter());
}

/// What `changeling query` answers; checks that its exit code says the same.
fn asked(case: &Case) -> Option<Vec<Value>> {
    let mut program = Command::new(binary())
        .args(["query", "--", &case.selector])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse the selector before it reads.
    let _ = write!(program.stdin.take().unwrap(), "{}", case.document);
    let Output { status, stdout, stderr } = program.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    if status.code() == Some(2) {
        assert!(stderr.contains("help: "), "{}: no way out\n{stderr}", case.selector);
        return None;
    }
    let nodes: Vec<Value> = stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let wanted = if nodes.is_empty() { 1 } else { 0 };
    assert_eq!(status.code(), Some(wanted), "{}\n{stderr}", case.selector);
    Some(nodes)
}
