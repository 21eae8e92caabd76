//! Parity: inferred and explicit events compared, so that anyone can see what triggers can and can not know. Pure.

mod account;
mod comparison;
mod content;
mod figures;
mod footprint;
mod item;
mod judgement;
mod lags;
mod matrix;
mod moment;
mod pending;
mod settings;
mod state;
mod table;
mod types;

pub use comparison::Parity;
pub use figures::{Confusion, Difference, FailingShape, Figures, Judgement, TypeFigures, Verdict};
pub use matrix::{Matrix, painted_matrix};
pub use settings::ParitySettings;
pub use state::StateError;
pub use table::{Paint, Tone, grouped, lag, painted_table, share, table};
pub use types::Tally;

#[cfg(test)]
mod tests;
