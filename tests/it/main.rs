//! The integration tests: one binary. Everything that speaks to MongoDB or NATS speaks to a real server.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that fails says so by panicking")]

mod checkpoint;
mod cli;
mod config;
mod crash;
mod each;
mod explain;
mod http;
mod images;
mod jsonpath_compliance;
mod library;
mod pipeline;
mod pipeline_mongodb;
mod pipeline_rules;
mod push_down;
mod reload;
mod rule_cases;
mod rules;
mod schemas;
mod servers;
mod simulated;
mod simulation;
mod sink_contract;
mod sink_mongodb;
mod sink_nats;
mod sink_nats_loss;
mod sink_stands;
mod source;
mod source_failures;
mod source_probe;
mod source_semantics;
mod streams;
mod support;
mod tape;
mod tidy;
mod transactions;
