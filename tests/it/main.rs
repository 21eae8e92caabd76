//! The integration tests: one binary. Everything that speaks to MongoDB or NATS speaks to a real server.

mod checkpoint;
mod config;
mod crash;
mod servers;
mod support;
mod tidy;
