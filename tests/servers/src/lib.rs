//! Real servers for the tests, examples and benches: found on this machine or fetched by a pinned hash, started in a
//! temporary folder on a free port, killed, paused and started again at will.
//!
//! Nothing that is started here outlives the process that started it, even if that is killed: see [`Guarded`].
//!
//! ```no_run
//! # async fn example() -> Result<(), changeling_servers::ServerError> {
//! use changeling_servers::{ReplicaSet, ReplicaSetOptions};
//! let set = ReplicaSet::start(&ReplicaSetOptions { members: 3, ..Default::default() }).await?;
//! set.client().await?.database("shop").list_collection_names().await?;
//! set.kill(0)?;
//! set.restart(0).await?;
//! # Ok(()) }
//! ```

mod error;
mod fetch;
mod guarded;
mod nats;
mod port;
mod replica_set;

use tokio::sync::OnceCell;

pub use error::ServerError;
pub use fetch::{mongod, nats_server};
pub use guarded::{Files, Guarded};
pub use nats::Nats;
pub use port::free_port;
pub use replica_set::{Login, ReplicaSet, ReplicaSetOptions};

/// A replica set of one member for all tests of this process that need nothing special: started by the first that asks,
/// stopped when the process ends. Every test uses database names of its own.
///
/// # Errors
/// See [`ReplicaSet::start`].
pub async fn shared() -> Result<&'static ReplicaSet, ServerError> {
    static SHARED: OnceCell<ReplicaSet> = OnceCell::const_new();
    SHARED.get_or_try_init(|| async { ReplicaSet::start(&ReplicaSetOptions::default()).await }).await
}

/// A NATS server with JetStream for all tests of this process, as [`shared`].
///
/// # Errors
/// See [`Nats::start`].
pub async fn shared_nats() -> Result<&'static Nats, ServerError> {
    static SHARED: OnceCell<Nats> = OnceCell::const_new();
    SHARED.get_or_try_init(Nats::start).await
}
