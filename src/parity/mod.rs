//! Parity: inferred and explicit events compared, so that anyone can see what triggers can and can not know. Pure.

mod comparison;
mod figures;
mod matrix;
mod settings;
mod table;
mod types;

pub use comparison::Parity;
pub use figures::{Confusion, Difference, FailingShape, Figures, Judgement, TypeFigures, Verdict};
pub use matrix::{Matrix, painted_matrix};
pub use settings::ParitySettings;
pub use table::{Paint, Tone, grouped, lag, painted_table, share, table};
