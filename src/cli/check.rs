//! `changeling check`: is everything ready for a run?

use std::io::{self, Write as _};

use changeling::app::{self, CollectionPlan, Probed};
use changeling::config::{self, Config, ConfigError, Reading};
use changeling::source::{Finding, Grade};
use changeling::yaml::Diagnostics;
use comfy_table::{ContentArrangement, Table};
use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::{ConfigArgument, Failure, Verdict, failure, findings};

/// Check the configuration, the rules, and what the database would need
#[derive(Debug, clap::Args)]
#[command(
    after_help = "All mistakes of the configuration and of the rules are told at once, each with its line and the way out. Then the\n\
        database is asked for its version, its kind, our permissions and the images of documents that rules need;\n\
        what is missing is told with the command that changes it. A table shows what the rules need of each collection,\n\
        which rule and path asks for it, and what it costs. Nothing is written anywhere.\n\n\
        Examples:\n  \
        changeling check\n  \
        changeling check --offline     files only, for example before a commit\n  \
        changeling check --json        the same for programs\n\n\
        Exit codes: 0 ready (there may be warnings), 1 something has to be changed, 2 the configuration can not be read"
)]
pub struct Check {
    #[command(flatten)]
    config: ConfigArgument,
    /// Do not ask the database
    #[arg(long)]
    offline: bool,
    /// Print the findings as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// The findings, for programs.
#[derive(Serialize)]
struct Report<'r> {
    good: bool,
    problems: &'r Diagnostics,
    /// Absent if the database was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'r [Finding]>,
    /// What the rules need of each collection; absent if the database does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<&'r [CollectionPlan]>,
}

impl Check {
    /// Looks at everything and says what was found.
    pub fn run(&self) -> Result<Verdict, Failure> {
        let reading = config::read(&self.config.path).map_err(|error| Failure::Unusable(Box::new(error)))?;
        if !self.json {
            findings::print(&reading.diagnostics);
            self.print_files(&reading)?;
        }
        let diagnostics = reading.diagnostics.clone();
        let database = match reading.usable() {
            Ok(config) if !self.offline => Some(ask(config)?),
            Ok(_) | Err(ConfigError::Unusable(_)) => None,
            Err(error) => return Err(Failure::Unusable(Box::new(error))),
        };
        let findings = database.as_ref().map(|probed| probed.findings.as_slice());
        let images = database.as_ref().and_then(|probed| probed.images.as_deref());
        let has_problem = findings.into_iter().flatten().any(|finding| finding.grade == Grade::Problem);
        let good = !diagnostics.has_errors() && !has_problem;
        if self.json {
            findings::print_json(&Report { good, problems: &diagnostics, database: findings, images })?;
        } else {
            self.print_database(diagnostics.has_errors(), findings)?;
            images.filter(|images| !images.is_empty()).map_or(Ok(()), print_images)?;
        }
        Ok(if good { Verdict::Yes } else { Verdict::No })
    }

    fn print_files(&self, reading: &Reading) -> io::Result<()> {
        let mut output = anstream::stdout().lock();
        let said = match reading.diagnostics.is_empty() {
            true => "good".green().to_string(),
            false => findings::summary(&reading.diagnostics),
        };
        let (rules, tests) = (reading.rules.rules.len(), reading.rules.examples.len());
        let of = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let (rules, tests) = (of(rules, "rule"), of(tests, "test"));
        writeln!(output, "configuration {}, {rules}, {tests}: {said}", self.config.path.display())?;
        output.flush()
    }

    fn print_database(&self, has_errors: bool, database: Option<&[Finding]>) -> io::Result<()> {
        let mut output = anstream::stdout().lock();
        match database {
            None if self.offline => writeln!(output, "the database was not asked (--offline)")?,
            None if has_errors => writeln!(output, "the database was not asked, because of the errors")?,
            None => {}
            Some(found) => {
                for finding in found {
                    print(&mut output, finding)?;
                }
            }
        }
        output.flush()
    }
}

/// How wide the table is where no terminal says how wide it is, in characters.
const WIDTH_WITHOUT_TERMINAL: u16 = 140;

/// The table of collections and images; the commands stand under it, whole, so that they can be copied.
fn print_images(plans: &[CollectionPlan]) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH_WITHOUT_TERMINAL);
    }
    table.set_header(["collection", "rules", "needs", "keeps", "why (rule: path)", "expected cost"]);
    for plan in plans {
        let rules: Vec<&str> = plan.rules.iter().map(|rule| &**rule).collect();
        let keeps = match plan.keeps {
            Some(true) => "images",
            Some(false) => "none",
            None => "does not exist",
        };
        let name = plan.collection.to_string();
        table.add_row([name.as_str(), &rules.join("\n"), plan.needs, keeps, &plan.why().join("\n"), plan.cost]);
    }
    let mut output = anstream::stdout().lock();
    writeln!(output, "\nimages of documents\n{table}")?;
    for (plan, command) in plans.iter().filter_map(|plan| Some((plan, plan.command.as_ref()?))) {
        let undecided: Vec<&str> = plan.undecided.iter().map(|rule| &**rule).collect();
        let without = match undecided.is_empty() {
            true => "without it, documents are looked up".to_owned(),
            false => format!("without it, undecided: {}", undecided.join(", ")),
        };
        writeln!(output, "{} {command}\n         {without}", plan.collection)?;
    }
    output.flush()
}

/// What is wrong goes to standard error, everything else to standard output.
fn print(output: &mut impl io::Write, finding: &Finding) -> io::Result<()> {
    let mut text = match finding.grade {
        Grade::Ok => format!("{} {}\n", "ok      ".green(), finding.text),
        Grade::Warning => format!("{} {}\n", "warning ".yellow(), finding.text),
        Grade::Problem => format!("{} {}\n", "problem ".red().bold(), finding.text),
    };
    if let Some(help) = &finding.help {
        text.push_str(&format!("         {} {help}\n", "help:".cyan()));
    }
    match finding.grade {
        Grade::Ok | Grade::Warning => output.write_all(text.as_bytes()),
        Grade::Problem => {
            output.flush()?;
            anstream::stderr().lock().write_all(text.as_bytes())
        }
    }
}

fn ask(config: Config) -> Result<Probed, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let found = runtime.block_on(app::probe(&config));
    runtime.shutdown_background();
    match found {
        Ok(found) => Ok(found),
        // A connection string that is not valid is a finding as any other.
        Err(error) => Ok(Probed { findings: vec![failure::finding(&error)], images: None }),
    }
}
