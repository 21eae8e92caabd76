//! The command line: one file per command. Nothing else knows clap.

mod account;
mod check;
mod comparison;
mod completions;
mod coverage;
mod explain;
mod explanation;
mod failure;
mod findings;
mod history;
mod logging;
mod parity;
mod progress;
mod query;
mod record;
mod relayed;
mod replay;
mod run;
mod schema;
mod test;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// Turns a MongoDB's changes into named business events, by rules
#[derive(Debug, Parser)]
#[command(
    name = "changeling",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Start here:\n  \
        changeling test      run the tests inside the rule files\n  \
        changeling check     config, rules, and what the database would need\n  \
        changeling run       events to the sinks, logs to standard error\n\n\
        Exit codes:\n  \
        0  done\n  \
        1  check, test, replay --compare or parity --fail-on said no, or query selected nothing\n  \
        2  the arguments or the configuration can not be used\n  \
        3  stopped while running"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Test(test::Test),
    Record(record::Record),
    Replay(replay::Replay),
    Coverage(coverage::Coverage),
    Parity(parity::Parity),
    Query(query::Query),
    Explain(explain::Explain),
    Schema(schema::Schema),
    Completions(completions::Completions),
}

/// Which configuration a command is about.
#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// The configuration
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "changeling.yaml")]
    path: PathBuf,
}

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done, or all is well.
    Yes,
    /// A check or a test said no.
    No,
}

impl Verdict {
    /// The exit code: 0 or 1.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
        }
    }
}

/// Reads the arguments of this process and runs the command they name.
///
/// # Errors
/// If the command could not say yes or no.
pub fn run() -> Result<Verdict, Failure> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help that was asked for goes to standard output and is no error; clap knows which is which.
            error.print()?;
            return match u8::try_from(error.exit_code()) {
                Ok(0) => Ok(Verdict::Yes),
                Ok(exit_code) => Err(Failure::Said { exit_code }),
                Err(_) => Err(Failure::Said { exit_code: 2 }),
            };
        }
    };
    match arguments.command {
        Command::Run(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Test(command) => command.run(),
        Command::Record(command) => command.run(),
        Command::Replay(command) => command.run(),
        Command::Coverage(command) => command.run(),
        Command::Parity(command) => command.run(),
        Command::Query(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Schema(command) => command.run(),
        Command::Completions(command) => command.run(),
    }
}
