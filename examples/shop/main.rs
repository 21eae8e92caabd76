//! The main job in one command: a real MongoDB, a small shop, and changeling beside it, which infers from the shop's writes what it
//! did. The shop also writes an outbox, which changeling relays, so that the inferred events can be compared with the shop's own
//! words.
//!
//! `cargo run --release --example shop [-- --orders N --seed N --keep --quiet]`

mod chance;
mod connector;
mod deed;
mod display;
mod life;
mod orders;
mod shop;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anstream::{eprintln, println};
use changeling::parity;
use changeling_servers::{ReplicaSet, ReplicaSetOptions};
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::connector::{Connector, Figures};
use crate::deed::{Deed, Tally};
use crate::shop::Shop;

/// What a shell expects of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A shop on a real MongoDB, and changeling that tells what it does
#[derive(Debug, Parser)]
#[command(name = "shop")]
struct Arguments {
    /// How many carts are filled, most of which become orders
    #[arg(long, default_value_t = 150, value_name = "N")]
    orders: u64,
    /// The same seed gives the same customers, carts and prices
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Leave everything running after the table, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Do not print each event
    #[arg(long)]
    quiet: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Ctrl-C ends the story wherever it is; dropping what was started stops it.
    let outcome = tokio::select! {
        outcome = play(&arguments) => outcome,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("stopped; nothing is left running");
            return if arguments.keep { ExitCode::SUCCESS } else { ExitCode::from(INTERRUPTED) };
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(error.as_ref());
            while let Some(error) = cause {
                eprintln!("error: {error}");
                cause = error.source();
            }
            ExitCode::from(3)
        }
    }
}

/// True if every operation of the shop that leaves a change gave exactly its event.
async fn play(arguments: &Arguments) -> Result<bool, Failure> {
    let started = Instant::now();
    let set = ReplicaSet::start(&ReplicaSetOptions::default()).await?;
    println!("a replica set of one runs at {}", set.uri());
    let shop = Shop { client: set.client().await?, tally: Tally::default() };
    let connector = Connector::start(&set.uri(), &shop.client, arguments.quiet).await?;
    println!("changeling watches it with {} rules\n", connector.rule_count());
    run_shop(&shop, arguments).await?;
    let performed = shop.tally.figures();
    let expected = performed.iter().map(|(deed, count)| count * (1 + u64::from(deed.leaves_an_event()))).sum();
    connector.wait_for(expected).await?;
    if arguments.keep {
        let (events, parity) = connector.figures().await?;
        let agrees = report(&performed, &events, &parity, started);
        println!("\nMongoDB  {}", set.uri());
        if let Some(address) = connector.address() {
            println!("metrics  http://{address}/metrics");
        }
        println!("running until Ctrl-C");
        std::future::pending::<()>().await;
        return Ok(agrees);
    }
    // What comes while it drains counts too.
    let (events, parity) = connector.stop().await?;
    Ok(report(&performed, &events, &parity, started))
}

/// Lives of orders, several at once, as in a shop with several customers.
async fn run_shop(shop: &Shop, arguments: &Arguments) -> Result<(), Failure> {
    const CUSTOMERS_AT_ONCE: usize = 8;
    shop.open().await?;
    stream::iter(0..arguments.orders)
        .map(|number| life::live(shop, arguments.seed, number))
        .buffer_unordered(CUSTOMERS_AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

fn report(performed: &BTreeMap<Deed, u64>, events: &Figures, parity: &parity::Figures, started: Instant) -> bool {
    let agrees = display::compare(performed, events);
    let count = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    println!(
        "{} business operations, {} explicit events, {} inferred ones, {:.1} s in all",
        performed.values().sum::<u64>(),
        count(&events.explicit),
        count(&events.inferred),
        started.elapsed().as_secs_f64()
    );
    match agrees {
        true => {
            println!("every operation that left a change has an event, and every event of the outbox was relayed\n")
        }
        false => println!("the figures differ: see the table\n"),
    }
    display::judge(parity);
    agrees
}
