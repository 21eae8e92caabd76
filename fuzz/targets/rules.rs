//! Any text as a rule file: it is read or refused with a place and a way out, and what is read can be compiled and tested.
#![no_main]

use changeling::rules::{self, RuleSet, examples};
use changeling::yaml::{Severity, SourceFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = SourceFile { name: "rules.yaml".to_owned(), text: text.to_owned() };
    let reading = rules::read(std::slice::from_ref(&file));
    let _ = reading.diagnostics.render();
    // As YAML counts lines: a carriage return alone ends one, too. What is missing at the end is told on the line after it.
    let line_count = text.replace("\r\n", "\n").split(['\n', '\r']).count();
    for diagnostic in reading.diagnostics.iter() {
        assert!(diagnostic.line >= 1 && diagnostic.line <= line_count, "no such line: {diagnostic}");
        assert!(diagnostic.help.is_some() || diagnostic.severity != Severity::Error, "no way out: {diagnostic}");
    }
    if !reading.diagnostics.has_errors() {
        let _ = examples::run(&reading);
        let again = rules::read(&[file]);
        let set = RuleSet::compile(reading.rules);
        assert_eq!(set.hash(), RuleSet::compile(again.rules).hash(), "one text, two sets");
    }
});
