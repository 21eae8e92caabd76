//! The main job in one command: a real MongoDB, a small shop that writes only its own collections, and changeling beside it,
//! which infers from those writes what the shop did.
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
use changeling_servers::{ReplicaSet, ReplicaSetOptions};
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::connector::Connector;
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
    let countable = performed.iter().filter(|(deed, _)| deed.unseen_because().is_none());
    let expected = countable.map(|(_, count)| count).sum();
    connector.wait_for(expected).await?;
    if arguments.keep {
        let agrees = report(&performed, &connector.figures().await?, started);
        println!("\nMongoDB  {}", set.uri());
        if let Some(address) = connector.address() {
            println!("metrics  http://{address}/metrics");
        }
        println!("running until Ctrl-C");
        std::future::pending::<()>().await;
        return Ok(agrees);
    }
    // What comes while it drains counts too.
    let inferred = connector.stop().await?;
    Ok(report(&performed, &inferred, started))
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

fn report(performed: &BTreeMap<Deed, u64>, inferred: &BTreeMap<String, u64>, started: Instant) -> bool {
    let agrees = display::compare(performed, inferred);
    let (operations, events): (u64, u64) = (performed.values().sum(), inferred.values().sum());
    println!("{operations} business operations, {events} events, {:.1} s in all", started.elapsed().as_secs_f64());
    match agrees {
        true => println!("every operation that left a change has its event"),
        false => println!("the figures differ: see the table"),
    }
    agrees
}
