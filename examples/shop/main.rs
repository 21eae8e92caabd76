//! The main job in one command: a real MongoDB, a small shop that writes only its own collections, and changeling beside it.
//!
//! `cargo run --release --example shop [-- --orders N --seed N --keep --quiet]`

mod chance;
mod deed;
mod display;
mod life;
mod orders;
mod shop;

fn main() {}
