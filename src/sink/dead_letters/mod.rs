//! Where what can not be delivered is kept, with the reason and enough to do it again.

mod file;
mod letter;
mod mongodb;

pub use file::FileDeadLetters;
pub use mongodb::MongodbDeadLetters;

/// What errors call the dead letters, where they name a sink.
pub(super) const NAME: &str = "dead_letters";
