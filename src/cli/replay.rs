//! `changeling replay`: what rules make of a history, without delivering anything.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use changeling::app::{AppError, Images, Relaying};
use changeling::change::Batch;
use changeling::config;
use changeling::pipeline::StopSignal;
use changeling::rules::RuleSet;
use changeling::rules::replay::{Account, Comparison, Replay as Played};
use changeling::sink::{Envelope, EnvelopeSettings, EventFile, SinkError};
use serde::Serialize;

use super::account::{self, AccountReport, ReadSummary};
use super::comparison::{self, ComparisonReport};
use super::history::{self, HistoryArguments, Opened, Origin};
use super::progress::{Bar, grouped};
use super::{Failure, Verdict, findings, logging};

/// Show what rules make of a tape, or of the recent history of the database, and what relays pass on
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is delivered, and the position of a running connector is not touched. Of documents only\n\
        the types of values are shown, unless --show-values is given.\n\n\
        Examples:\n  \
        changeling replay --since 2h                      what the rules make of the last two hours\n  \
        changeling replay --tape shop.tape --samples 3    of a tape, with three events of each rule\n  \
        changeling replay --tape shop.tape --rules new/   with other rules than the configuration's\n  \
        changeling replay --tape shop.tape --compare rules/ new/\n      \
        which events appear, vanish or change\n  \
        changeling replay --tape shop.tape --events out.jsonl\n      \
        the events in a file, as a file sink writes them\n\n\
        Exit codes: 0 done, or with --compare: the same events, 1 --compare found a difference,\n\
        2 the rules, the configuration or the arguments can not be used, 3 not all could be read"
)]
pub struct Replay {
    #[command(flatten)]
    history: HistoryArguments,
    /// Compare the events of two sets of rules: files or folders
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with_all = ["rules", "events"])]
    compare: Option<Vec<PathBuf>>,
    /// How many events of each rule to show (with --compare: of each kind of difference)
    #[arg(long, value_name = "COUNT")]
    samples: Option<usize>,
    /// Show the values of documents, and not only their types
    #[arg(long)]
    show_values: bool,
    /// Write the events, with their values, to a file that is not there yet
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Print the findings as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// How many differences of each kind are shown if nobody says.
const DIFFERENCES_SHOWN: usize = 2;

#[derive(Serialize)]
struct Report<T> {
    read: ReadSummary,
    #[serde(flatten)]
    found: T,
}

impl Replay {
    /// Reads the history and says what was found.
    pub fn run(&self) -> Result<Verdict, Failure> {
        logging::start(&config::LogSettings::default(), Some("warn"))
            .map_err(|error| Failure::Unusable(Box::new(error)))?;
        match self.compare.as_deref() {
            Some([old, new]) => self.compare(old, new),
            Some(_) | None => self.replay(),
        }
    }

    fn replay(&self) -> Result<Verdict, Failure> {
        let rules = self.history.read_rules()?.rules;
        let set = RuleSet::compile(rules.clone());
        let wants_look_ups = set.image_needs_of_all().after;
        let mut played = Played::new(set, self.samples.unwrap_or(0));
        let mut relaying = Relaying::new(self.history.read_relays()?);
        let begun = Instant::now();
        let Ended { origin, result, is_whole } = history::block_on(async |stop| {
            let opened = self.history.open(RuleSet::compile(rules), needed, stop).await?;
            let file = self.events.as_ref().map(|path| EventFile::create(path, &self.envelope(&opened.origin)));
            let mut file = file.transpose().map_err(|error| Failure::Unusable(Box::new(error)))?;
            self.print_origin(&opened.origin, wants_look_ups)?;
            let mut ended = read(opened, stop, |batch, bar| {
                let mut written = Ok::<(), SinkError>(());
                played.apply(
                    batch,
                    &mut relaying,
                    |_, _| {},
                    |event| {
                        if let Some(file) = &mut file
                            && written.is_ok()
                        {
                            written = file.write(&event);
                        }
                    },
                );
                bar.show(|| told(played.account()));
                Ok(written?)
            })
            .await;
            let mut written = Ok(());
            played.finish(&mut relaying, |event| {
                if let Some(file) = &mut file
                    && written.is_ok()
                {
                    written = file.write(&event);
                }
            });
            let written = written.and_then(|()| file.map_or(Ok(()), EventFile::finish));
            ended.result = ended.result.and(written.map_err(AppError::from));
            Ok(ended)
        })?;
        let account = played.account();
        let read = ReadSummary::new(&origin, account, begun.elapsed(), is_whole);
        if self.json {
            let found = AccountReport::new(account, &relaying, self.show_values);
            findings::print_json(&Report { read, found })?;
        } else {
            let mut output = anstream::stdout().lock();
            read.print(&mut output)?;
            account::print(&mut output, account, self.show_values)?;
            account::print_relays(&mut output, relaying.account())?;
            output.flush()?;
        }
        result.map_err(history::failure)?;
        Ok(Verdict::Yes)
    }

    fn compare(&self, old: &std::path::Path, new: &std::path::Path) -> Result<Verdict, Failure> {
        let read_rules = |path: &std::path::Path| {
            let reading = history::usable_rules(history::read_rule_files(&[path.to_owned()])?)?;
            Ok::<_, Failure>(reading.rules)
        };
        let (old, new) = (read_rules(old)?, read_rules(new)?);
        let both = RuleSet::compile([old.clone(), new.clone()].concat());
        let wants_look_ups = both.image_needs_of_all().after;
        let samples_max = self.samples.unwrap_or(DIFFERENCES_SHOWN);
        // Explicit events are the same whatever the rules.
        let relays = self.history.read_relays()?;
        let mut comparison = Comparison::new(RuleSet::compile(old), RuleSet::compile(new), samples_max);
        let begun = Instant::now();
        let Ended { origin, result, is_whole } = history::block_on(async |stop| {
            let opened = self.history.open(both, needed, stop).await?;
            self.print_origin(&opened.origin, wants_look_ups)?;
            Ok(read(opened, stop, |batch, bar| {
                comparison.apply(batch, |change| relays.owns(change.database, change.collection));
                bar.show(|| told(comparison.accounts().1));
                Ok(())
            })
            .await)
        })?;
        comparison.finish();
        let read = ReadSummary::new(&origin, comparison.accounts().1, begun.elapsed(), is_whole);
        if self.json {
            findings::print_json(&Report { read, found: ComparisonReport::new(&comparison, self.show_values) })?;
        } else {
            let mut output = anstream::stdout().lock();
            read.print(&mut output)?;
            comparison::print(&mut output, &comparison, self.show_values)?;
            output.flush()?;
        }
        result.map_err(history::failure)?;
        Ok(if comparison.is_same() { Verdict::Yes } else { Verdict::No })
    }

    fn print_origin(&self, origin: &Origin, wants_look_ups: bool) -> Result<(), Failure> {
        if !self.json {
            let mut output = anstream::stdout().lock();
            account::print_origin(&mut output, origin, wants_look_ups)?;
            output.flush()?;
        }
        Ok(())
    }

    /// As the configuration wraps events, where there is one that can be read.
    fn envelope(&self, origin: &Origin) -> Envelope {
        if let Ok(config) = config::read(&self.history.config.path).and_then(config::Reading::usable) {
            return Envelope::new(&config.events, &config.name);
        }
        match origin {
            Origin::Tape { header, .. } => Envelope::new(&EnvelopeSettings::default(), &header.name),
            Origin::Database => Envelope::new(&EnvelopeSettings::default(), "replay"),
        }
    }
}

/// What the rules need, as far as the log holds it.
fn needed(rules: &RuleSet) -> Images {
    Images::Needed(rules.image_needs_of_all())
}

fn told(account: &Account) -> String {
    format!("{} changes, {} events", grouped(account.changes_count), grouped(account.events_count))
}

/// What ended a reading. What was found can be told all the same.
pub struct Ended {
    pub origin: Origin,
    pub result: Result<(), AppError>,
    /// Everything was read.
    pub is_whole: bool,
}

/// Reads everything, or until it is stopped.
pub async fn read(
    opened: Opened,
    stop: &StopSignal,
    mut take: impl FnMut(&Batch, &Bar) -> Result<(), AppError>,
) -> Ended {
    let Opened { history, origin } = opened;
    let bar = Bar::new(history.progress());
    let result = history
        .read(stop, |batch| {
            take(batch, &bar)?;
            Ok(ControlFlow::Continue(()))
        })
        .await;
    let is_whole = result.is_ok() && !stop.is_requested();
    Ended { origin, result, is_whole }
}
