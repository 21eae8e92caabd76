//! `changeling coverage`: what the rules do not explain.

use std::io::{self, Write};
use std::time::Instant;

use changeling::app::{Images, Relaying};
use changeling::config;
use changeling::rules::coverage::{Coverage as Covered, Proposals, ShapeCount, rule_file};
use changeling::rules::replay::{Account, Fate, Replay};
use changeling::rules::{ImageNeeds, RuleSet};
use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::account::ReadSummary;
use super::history::{self, HistoryArguments};
use super::progress::grouped;
use super::replay::Ended;
use super::{Failure, Verdict, findings, logging, replay};

/// List the changes that no rule explains, each kind with a rule that would
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Changes that fired no rule are counted by collection and shape: the operation and the fields that\n\
        differ. Indexes of arrays and ids in names of fields are shown as *. Of fields that look like an\n\
        enumeration (short words or booleans, few of them, each of them often) the transition is shown too,\n\
        status: paid -> refunded; --hide-values leaves it out. Every kind comes with a rule that fires on\n\
        it, to be renamed and put into a rule file.\n\n\
        Examples:\n  \
        changeling coverage --since 2h      what happened that no rule explains\n  \
        changeling coverage --tape shop.tape --yaml > rules/new.yaml\n      \
        the proposed rules as a rule file\n\n\
        A running connector tells the same at /coverage, if its configuration says coverage: on.\n\n\
        Exit codes: 0 done, 2 the rules, the configuration or the arguments can not be used, 3 not all\n\
        could be read"
)]
pub struct Coverage {
    #[command(flatten)]
    history: HistoryArguments,
    /// How many kinds of changes to show
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    top: usize,
    /// Show no transitions: they are values of documents
    #[arg(long)]
    hide_values: bool,
    /// Print nothing but the proposed rules, as a rule file
    #[arg(long, conflicts_with = "json")]
    yaml: bool,
    /// Print the findings as JSON on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'r> {
    read: ReadSummary,
    unmatched: u64,
    undecided: u64,
    /// Changes of kinds that are too many to be told apart.
    other: u64,
    shapes: Vec<ShapeReport>,
    never_fired: Vec<&'r str>,
}

#[derive(Serialize)]
struct ShapeReport {
    count: u64,
    undecided: u64,
    collection: String,
    what: String,
    /// Absent if no rule could fire on it.
    rule: Option<String>,
}

impl Coverage {
    /// Reads the history and lists what no rule explains.
    pub fn run(&self) -> Result<Verdict, Failure> {
        logging::start(&config::LogSettings::default(), Some("warn"))
            .map_err(|error| Failure::Unusable(Box::new(error)))?;
        let rules = self.history.read_rules()?.rules;
        let mut played = Replay::new(RuleSet::compile(rules.clone()), 0);
        let mut relaying = Relaying::new(self.history.read_relays()?);
        let mut covered = Covered::new(!self.hide_values);
        let begun = Instant::now();
        let Ended { origin, result, is_whole } = history::block_on(async |stop| {
            let opened = self.history.open(RuleSet::compile(rules), images, stop).await?;
            Ok(replay::read(opened, stop, |batch, bar| {
                let see = |change: &changeling::change::Change<'_>, fate| match fate {
                    Fate::Fired => {}
                    Fate::Undecided | Fate::Unmatched => covered.add(change, fate == Fate::Undecided),
                };
                played.apply(batch, &mut relaying, see, |_| {});
                bar.show(|| told(played.account()));
                Ok(())
            })
            .await)
        })?;
        played.finish(&mut relaying, |_| {});
        let account = played.account();
        let read = ReadSummary::new(&origin, account, begun.elapsed(), is_whole);
        let mut proposals = Proposals::beside(account.rules.iter().map(|rule| &*rule.rule));
        let shapes = covered.shapes().into_iter().take(self.top);
        let shapes: Vec<ShapeReport> = shapes.map(|shape| report(&shape, proposals.rule(&shape))).collect();
        let report = Report {
            read,
            unmatched: account.unmatched_count,
            undecided: account.undecided_count,
            other: covered.other_count(),
            shapes,
            never_fired: account.never_fired().map(|rule| &*rule.rule).collect(),
        };
        if self.json {
            findings::print_json(&report)?;
        } else {
            let mut output = anstream::stdout().lock();
            match self.yaml {
                true => output.write_all(report.rule_file().as_bytes())?,
                false => report.print(&mut output)?,
            }
            output.flush()?;
        }
        result.map_err(history::failure)?;
        Ok(Verdict::Yes)
    }
}

/// Documents before changes show what a field was.
fn images(rules: &RuleSet) -> Images {
    Images::Needed(rules.image_needs_of_all().or(ImageNeeds { before: true, after: false }))
}

fn told(account: &Account) -> String {
    format!("{} changes, {} fired no rule", grouped(account.changes_count), grouped(account.unmatched_count))
}

fn report(shape: &ShapeCount, rule: Option<String>) -> ShapeReport {
    ShapeReport {
        count: shape.count,
        undecided: shape.undecided_count,
        collection: format!("{}.{}", shape.database, shape.collection),
        what: shape.to_string(),
        rule,
    }
}

impl Report<'_> {
    fn print(&self, output: &mut impl Write) -> io::Result<()> {
        self.read.print(output)?;
        let (unmatched, undecided) = (grouped(self.unmatched), grouped(self.undecided));
        writeln!(output, "{} fired no rule, {undecided} more were left undecided", unmatched.bold())?;
        let all = self.unmatched + self.undecided;
        for shape in &self.shapes {
            let share = 100.0 * shape.count as f64 / all.max(1) as f64;
            let count = grouped(shape.count);
            writeln!(output, "\n{} ({share:.0} %) {}: {}", count.bold(), shape.collection.cyan(), shape.what)?;
            if shape.undecided > 0 {
                let told = format!(
                    "of {} some rule was undecided: changeling check says what is missing",
                    grouped(shape.undecided)
                );
                writeln!(output, "  {}", told.yellow())?;
            }
            for line in shape.rule.iter().flat_map(|rule| rule.lines()) {
                writeln!(output, "  {}", line.green())?;
            }
        }
        let shown: u64 = self.shapes.iter().map(|shape| shape.count).sum();
        if shown < all {
            let told = format!("{} more of other kinds; --top shows more of them", grouped(all - shown));
            writeln!(output, "\n{}", told.dimmed())?;
        }
        if !self.never_fired.is_empty() {
            writeln!(output, "\n{} {}", "rules that never fired:".yellow(), self.never_fired.join(", "))?;
        }
        Ok(())
    }

    fn rule_file(&self) -> String {
        let rules = self.shapes.iter().filter_map(|shape| {
            let purpose = format!("{} x {} {}", grouped(shape.count), shape.collection, shape.what);
            // A name of a field may hold a line break; a comment may not.
            let purpose = purpose.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
            Some((purpose, shape.rule.as_deref()?))
        });
        rule_file(rules)
    }
}
