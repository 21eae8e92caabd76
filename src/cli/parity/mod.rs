//! `changeling parity`: the events that rules infer, compared with those that the application wrote itself.

mod advice;
mod page;
mod report;
#[cfg(test)]
mod sample;
mod terminal;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use changeling::app::{Images, Relaying};
use changeling::config::{self, ExplicitPart};
use changeling::explicit::Relays;
use changeling::parity::{Figures, Parity as Compared, Verdict as Judged};
use changeling::rules::replay::{Account, Replay};
use changeling::rules::{RuleSet, ast};

use super::account::{self, ReadSummary};
use super::history::{self, HistoryArguments, Opened, Origin};
use super::progress::grouped;
use super::replay::{self, Ended};
use super::{Failure, Verdict, findings, logging};
use report::Report;

/// Compare the events that rules infer with those that the application wrote itself, and judge each type
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The configuration says where the application writes its events (explicit:) and may say how they are\n\
        compared (parity:). Both kinds of events are made of the same changes and paired by type and key, within a\n\
        transaction or else within a window of time. What came of it is told for every type of event: how many pairs\n\
        matched or differ, how many explicit events the rules missed, how many of theirs are extra; which types they took\n\
        for which; and a verdict: safe to infer, infer with care, or needs an outbox, with the proof.\n\n\
        Nothing is delivered, and the position of a running connector is not touched. Values of documents are shown\n\
        neither here nor in the page, unless --show-values is given.\n\n\
        Examples:\n  \
        changeling parity --since 24h                        the last day\n  \
        changeling parity --since 7d --html parity.html      the same as a page to pass round: one file, no network\n  \
        changeling parity --tape shop.tape --rules new/      would other rules do better?\n  \
        changeling parity --tape shop.tape --json | jq '.types[] | {name, verdict}'\n  \
        changeling parity --tape shop.tape --fail-on needs-an-outbox,infer-with-care\n      \
        in a build: fail if a rule is worse than the outbox\n\n\
        docs/parity.md says what each word means and what to do next.\n\n\
        Exit codes: 0 done, 1 a type has a verdict that --fail-on names, 2 the rules, the configuration or the\n\
        arguments can not be used, 3 not all could be read"
)]
pub struct Parity {
    #[command(flatten)]
    history: HistoryArguments,
    /// How many differences and shapes of changes to show for each type
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    top: usize,
    /// Show the values of fields that look like enumerations: status: pending -> paid
    #[arg(long)]
    show_values: bool,
    /// Write the report as a page too: one file that needs no network. A file of this name is replaced
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Exit with 1 if a type of event has one of these verdicts
    #[arg(long, value_name = "VERDICT", value_delimiter = ',')]
    fail_on: Vec<FailOn>,
    /// Print the report as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// The verdicts that `--fail-on` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// Changes do not tell the type apart
    NeedsAnOutbox,
    /// Rules know the type, but not always
    InferWithCare,
    /// There were too few events, or no type could be compared at all
    TooFewToSay,
}

impl FailOn {
    fn is(self, judged: Judged) -> bool {
        match self {
            Self::NeedsAnOutbox => judged == Judged::NeedsAnOutbox,
            Self::InferWithCare => judged == Judged::InferWithCare,
            Self::TooFewToSay => judged == Judged::Unknown,
        }
    }
}

/// True if a verdict is among those that are a failure. Where there is none, there were too few events.
fn is_failed(fail_on: &[FailOn], verdicts: impl Iterator<Item = Judged>) -> bool {
    let is_listed = |judged: Judged| fail_on.iter().any(|one| one.is(judged));
    let mut verdicts = verdicts.peekable();
    match verdicts.peek() {
        None => is_listed(Judged::Unknown),
        Some(_) => verdicts.any(is_listed),
    }
}

/// Why there is nothing to report, or the report can not be written.
#[derive(Debug, thiserror::Error)]
enum ParityError {
    #[error(
        "the configuration {path} names no explicit events: there is nothing to compare the rules with\nhelp: say where the application writes its events, for example explicit: [{{outbox: {{collection: shop.outbox, layout: debezium}}}}]; docs/explicit-events.md tells of the other kinds, and changeling replay shows what the rules make by themselves"
    )]
    NoRelay { path: String },
    #[error(
        "the page {path} can not be written\nhelp: name a file in a folder that is there and that you may write to"
    )]
    Page {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl Parity {
    /// Compares, and tells what it came to.
    pub fn run(&self) -> Result<Verdict, Failure> {
        logging::start(&config::LogSettings::default(), Some("warn"))
            .map_err(|error| Failure::Unusable(Box::new(error)))?;
        let ExplicitPart { explicit, parity } = self.read_explicit()?;
        if explicit.is_empty() {
            let path = self.history.config.path.display().to_string();
            return Err(Failure::Unusable(Box::new(ParityError::NoRelay { path })));
        }
        let relays = Relays::new(&explicit).map_err(|error| Failure::Unusable(Box::new(error)))?;
        let rules = self.history.read_rules()?.rules;
        let (set, kept) = (Arc::new(RuleSet::compile(rules.clone())), RuleSet::compile(rules.clone()));
        let mut compared = Compared::new(&parity.unwrap_or_default());
        compared.expect(set.short_hash(), rules.iter().map(|rule: &ast::Rule| &rule.event));
        let mut relaying = Relaying::compared(relays, compared);
        let mut played = Replay::new(RuleSet::compile(rules), 0);
        let begun = Instant::now();
        let Ended { origin, result, is_whole } = history::block_on(async |stop| {
            let images = |_: &RuleSet| Images::BeforeNeededAndLookedUp(Arc::clone(&set));
            let opened: Opened = self.history.open(kept, images, stop).await?;
            self.print_origin(&opened.origin)?;
            Ok(replay::read(opened, stop, |batch, bar| {
                played.apply(batch, &mut relaying, |_, _| {}, |_| {});
                bar.show(|| told(played.account()));
                Ok(())
            })
            .await)
        })?;
        played.finish(&mut relaying, |_| {});
        let figures = match &mut relaying.parity {
            Some(compared) => {
                compared.finish();
                compared.figures(self.show_values)
            }
            None => Figures::default(),
        };
        let read = ReadSummary::new(&origin, played.account(), begun.elapsed(), is_whole);
        let lacks_look_ups =
            set.image_needs_of_all().after && matches!(origin, Origin::Tape { .. }) && origin.lacks_look_ups();
        let report = Report::new(read, played.account(), &relaying, &figures, lacks_look_ups, self.show_values);
        self.tell(&report)?;
        result.map_err(history::failure)?;
        let verdicts = report.types().map(|one| one.judgement.verdict);
        Ok(if is_failed(&self.fail_on, verdicts) { Verdict::No } else { Verdict::Yes })
    }

    /// Without a configuration, nothing says what to compare with.
    fn read_explicit(&self) -> Result<ExplicitPart, Failure> {
        config::read_explicit(&self.history.config.path).map_err(history::unusable_config)
    }

    fn tell(&self, report: &Report<'_>) -> Result<(), Failure> {
        if let Some(path) = &self.html {
            write_page(path, &page::page(report, self.top))?;
        }
        if self.json {
            findings::print_json(report)?;
            return Ok(());
        }
        let mut output = anstream::stdout().lock();
        terminal::print(&mut output, report, terminal::width(), self.top)?;
        if let Some(path) = &self.html {
            writeln!(output, "\nthe page: {}", path.display())?;
        }
        output.flush()?;
        Ok(())
    }

    fn print_origin(&self, origin: &Origin) -> Result<(), Failure> {
        if !self.json {
            let mut output = anstream::stdout().lock();
            // What is lacking is among the notes.
            account::print_origin(&mut output, origin, false)?;
            output.flush()?;
        }
        Ok(())
    }
}

fn write_page(path: &Path, page: &str) -> Result<(), Failure> {
    let error = |source| ParityError::Page { path: path.display().to_string(), source };
    std::fs::write(path, page).map_err(|source| Failure::Unusable(Box::new(error(source))))
}

fn told(account: &Account) -> String {
    format!("{} changes, {} events", grouped(account.changes_count), grouped(account.events_count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_without_anything_to_compare_has_too_few_events() {
        let fails = |fail_on: FailOn, verdicts: &[Judged]| is_failed(&[fail_on], verdicts.iter().copied());
        assert!(fails(FailOn::TooFewToSay, &[]) && !fails(FailOn::NeedsAnOutbox, &[]));
        assert!(fails(FailOn::InferWithCare, &[Judged::SafeToInfer, Judged::InferWithCare]));
        assert!(!fails(FailOn::TooFewToSay, &[Judged::SafeToInfer]));
    }
}
