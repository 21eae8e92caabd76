//! `changeling record`: raw changes on a tape.

use std::io::Write as _;
use std::path::PathBuf;

use changeling::app::{self, Recorded, Recording};
use changeling::quantity::Period;
use owo_colors::OwoColorize as _;

use super::history::{self, BeginArguments};
use super::progress::{Bar, grouped, size};
use super::{ConfigArgument, Failure, Verdict, logging};

/// Record raw changes on a tape, to replay rules over them later
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A tape is a file of the changes of everything that the configuration watches, whatever the rules\n\
        make of them. Nothing is delivered, and the position of a running connector is not touched.\n\
        Ctrl-C ends it; the tape is whole then.\n\n\
        A tape holds the values of documents. It is made so that only you can read it; keep it, and remove\n\
        it, as you would a copy of the database.\n\n\
        Examples:\n  \
        changeling record --out shop.tape               from now until Ctrl-C\n  \
        changeling record --out shop.tape --for 10m     ten minutes from now on\n  \
        changeling record --out shop.tape --since 2h    the last two hours\n  \
        changeling replay --tape shop.tape              what the rules make of it\n\n\
        Exit codes: 0 recorded, 2 the configuration can not be used, 3 stopped by an error; what was\n\
        recorded until then is a whole tape"
)]
pub struct Record {
    #[command(flatten)]
    config: ConfigArgument,
    /// The tape; a file of this name must not be there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    begin: BeginArguments,
    /// End after so long (10m); without it, a recording of the past ends with now
    #[arg(long = "for", value_name = "PERIOD", value_parser = parse_period)]
    period: Option<Period>,
    /// End after so many changes
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    changes: Option<u64>,
    /// Ask for all documents before and after changes that the collections keep, not only for those that the rules need
    #[arg(long)]
    images: bool,
}

fn parse_period(text: &str) -> Result<Period, String> {
    Period::parse(text).ok_or_else(|| "expected a duration such as 10m".to_owned())
}

impl Record {
    /// Records until it is told to end, or has what it was asked for.
    pub fn run(&self) -> Result<Verdict, Failure> {
        let config = history::read_config(&self.config.path)?;
        logging::start(&config.log, Some("warn")).map_err(|error| Failure::Unusable(Box::new(error)))?;
        let recording = Recording {
            path: self.out.clone(),
            from: self.begin.from().unwrap_or(app::From::Now),
            period: self.period.map(|period| period.0),
            changes_max: self.changes,
            has_all_images: self.images,
        };
        let (out, watched) = (self.out.display(), config.scope().target().to_string());
        let mut output = anstream::stderr().lock();
        writeln!(output, "recording {watched} on {out}; {}", "a tape holds the values of documents".yellow())?;
        output.flush()?;
        drop(output);
        let recorded = history::block_on(async |stop| {
            let bar = Bar::without_end();
            let told = |recorded: Recorded| {
                bar.show(|| format!("{} changes, {}", grouped(recorded.changes_count), size(recorded.byte_count)));
            };
            app::record(&config, &recording, stop, told).await.map_err(history::failure)
        })?;
        let mut output = anstream::stdout().lock();
        writeln!(output, "{} changes, {}: {out}", grouped(recorded.changes_count), size(recorded.byte_count))?;
        Ok(Verdict::Yes)
    }
}
