//! What triggers can not know: small scenarios on a real MongoDB, each with the events that the application records itself beside
//! those that rules infer from what it writes.
//!
//! `cargo run --example limitations [-- NAME... | --list]`

mod page;
mod scenario;
mod stage;
mod witness;

use std::process::ExitCode;

use anstream::{eprintln, print, println};
use clap::Parser;

use crate::scenario::Scenario;
use crate::stage::Stage;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What triggers can not know, shown on a real MongoDB
#[derive(Debug, Parser)]
#[command(name = "limitations")]
struct Arguments {
    /// The scenarios to play; all of them if none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only list the scenarios
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen = scenario::all().and_then(|all| Ok(scenario::chosen(all, &arguments.names)?));
    let scenarios = match chosen {
        Ok(scenarios) => scenarios,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    if arguments.list {
        let longest = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
        scenarios.iter().for_each(|Scenario { name, title, .. }| println!("{name:<longest$}  {title}"));
        return ExitCode::SUCCESS;
    }
    // Dropping what was started stops it.
    let played = tokio::select! {
        played = play(&scenarios) => played,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("stopped; nothing is left running");
            return ExitCode::from(130);
        }
    };
    if let Err(error) = played {
        let mut cause: Option<&dyn std::error::Error> = Some(error.as_ref());
        while let Some(error) = cause {
            eprintln!("error: {error}");
            cause = error.source();
        }
        return ExitCode::from(3);
    }
    ExitCode::SUCCESS
}

async fn play(scenarios: &[Scenario]) -> Result<(), Failure> {
    let stage = Stage::start().await?;
    for (number, scenario) in scenarios.iter().enumerate() {
        let text = page::render(scenario, &stage.play(scenario).await?);
        if number > 0 {
            println!("\n");
        }
        print!("{text}");
    }
    Ok(())
}
