//! Parity: inferred and explicit events compared, so that anyone can see what triggers can and can not know. Pure.

mod figures;
mod settings;

pub use figures::{Confusion, Difference, FailingShape, Figures, Judgement, TypeFigures, Verdict};
pub use settings::ParitySettings;
