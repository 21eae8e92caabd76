//! `changeling test`: run the tests inside the rule files.

use std::io::{self, Write as _};
use std::path::PathBuf;

use changeling::config::{self, ConfigError};
use changeling::rules::{self, examples};
use changeling::yaml::Diagnostics;
use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::{ConfigArgument, Failure, Verdict, findings};

/// Run the tests inside the rule files
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A test is a change and the events that must come of it; it needs no database. Without arguments, the rule\n\
        files of the configuration are tested, and nothing else of it is looked at.\n\n\
        Examples:\n  \
        changeling test\n  \
        changeling test rules/shop/orders.yaml rules/billing\n\n\
        Exit codes: 0 every test passed, 1 one failed or a rule file has errors, 2 there are no such files"
)]
pub struct Test {
    /// Rule files, or folders of them; without any, those of the configuration
    #[arg(value_name = "RULES")]
    rules: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgument,
    /// Print the results as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// The results, for programs.
#[derive(Serialize)]
struct Results<'r> {
    passed: bool,
    problems: &'r Diagnostics,
    tests: Vec<Outcome<'r>>,
}

#[derive(Serialize)]
struct Outcome<'r> {
    file: &'r str,
    line: usize,
    name: &'r str,
    passed: bool,
    differences: &'r [String],
}

impl Test {
    /// Runs every test.
    pub fn run(&self) -> Result<Verdict, Failure> {
        let reading = self.read()?;
        let results = match reading.diagnostics.has_errors() {
            true => Vec::new(),
            false => examples::run(&reading),
        };
        let passed = !reading.diagnostics.has_errors() && results.iter().all(examples::ExampleResult::passed);
        if self.json {
            let tests = results.iter().map(|result| Outcome {
                file: &result.file,
                line: result.line,
                name: &result.name,
                passed: result.passed(),
                differences: &result.differences,
            });
            findings::print_json(&Results { passed, problems: &reading.diagnostics, tests: tests.collect() })?;
        } else {
            findings::print(&reading.diagnostics);
            if !reading.diagnostics.has_errors() {
                print(&results)?;
            }
        }
        Ok(if passed { Verdict::Yes } else { Verdict::No })
    }

    fn read(&self) -> Result<rules::Reading, Failure> {
        if self.rules.is_empty() {
            return config::read_rules(&self.config.path).map_err(|error| match error {
                ConfigError::Unusable(diagnostics) => {
                    findings::print(&diagnostics);
                    Failure::Said { exit_code: 2 }
                }
                error @ ConfigError::Unreadable { .. } => Failure::Unusable(Box::new(error)),
            });
        }
        let (files, errors) = config::rule_files(&self.rules);
        match errors.into_iter().next() {
            Some(error) => Err(Failure::Unusable(Box::new(error))),
            None => Ok(rules::read(&files)),
        }
    }
}

fn print(results: &[examples::ExampleResult]) -> io::Result<()> {
    let mut output = anstream::stdout().lock();
    let has_several_files = results.iter().any(|result| result.file != results[0].file);
    let mut file = "";
    for result in results {
        if has_several_files && result.file != file {
            file = &result.file;
            writeln!(output, "{}", file.dimmed())?;
        }
        if result.passed() {
            writeln!(output, "{} {}", "ok    ".green(), result.name)?;
            continue;
        }
        writeln!(output, "{} {}  {}:{}", "FAILED".red().bold(), result.name.bold(), result.file, result.line)?;
        for difference in &result.differences {
            writeln!(output, "         {difference}")?;
        }
    }
    let failed = results.iter().filter(|result| !result.passed()).count();
    let passed = results.len() - failed;
    match (results.len(), failed) {
        (0, _) => writeln!(output, "there are no tests; a rule file holds them under \"tests\"")?,
        (_, 0) => writeln!(output, "\n{passed} passed")?,
        _ => writeln!(output, "\n{passed} passed, {failed} failed")?,
    }
    output.flush()
}
