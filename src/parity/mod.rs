//! Parity: inferred and explicit events compared, so that anyone can see what triggers can and can not know. Pure.

mod figures;
mod matrix;
mod settings;
mod table;

pub use figures::{Confusion, Difference, FailingShape, Figures, Judgement, TypeFigures, Verdict};
pub use matrix::{Matrix, painted_matrix};
pub use settings::ParitySettings;
pub use table::{Paint, Tone, grouped, lag, painted_table, share, table};
