//! *changeling* attaches to an existing MongoDB, watches its collections and, by declarative rules, turns raw field-level
//! diffs into named business events.
//!
//! The house, from the ground up; between folders, a file imports only lower floors:
//!
//! | floor | what |
//! |---|---|
//! | 0 | [`change`], [`event`], [`position`], [`namespace`], [`failure`], [`secret`], [`quantity`], [`metrics`], [`transactional_write`]: the nouns; [`yaml`]: texts with positions; [`canonical_json`] |
//! | 1 | [`rules`]: pure, from a change to events; [`mongo_client`] |
//! | 2 | [`explicit`]: pure, from what the application wrote itself to events; [`parity`]: pure, both kinds of events compared |
//! | 3 | [`source`], [`sink`], [`checkpoint`], [`outbox`]: four traits and what implements them |
//! | 4 | [`pipeline`]: the only place that spawns tasks |
//! | 5 | `http`, `config` |
//! | 6 | `app`: from a configuration to a running pipeline |
//! | 7 | `cli`, `main` |
//!
//! What always holds:
//! - only `main` exits the process, and only `pipeline` and `app` spawn tasks;
//! - a position is saved only after every lane has settled everything up to it;
//! - positions are ordered by our own sequence number, tokens are never compared;
//! - every queue has a bound in count and in bytes; a change that fires no rule settles at once;
//! - rules are pure and immutable; a new set is swapped in whole;
//! - no document value and no secret appears in a log, a metric or an error.

pub mod app;
pub mod canonical_json;
pub mod change;
pub mod checkpoint;
pub mod config;
pub mod event;
pub mod explicit;
pub mod failure;
pub mod http;
pub mod metrics;
pub mod mongo_client;
pub mod namespace;
pub mod outbox;
pub mod parity;
pub mod pipeline;
pub mod position;
pub mod quantity;
pub mod rules;
pub mod secret;
pub mod sink;
pub mod source;
pub mod transactional_write;
pub mod yaml;
