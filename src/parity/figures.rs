//! What a comparison came to.

use serde::Serialize;

/// All figures of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// By type, in their order.
    pub types: Vec<TypeFigures>,
    /// Which explicit types left what the rules took for which inferred ones; matches included.
    pub matrix: Vec<Confusion>,
    /// Events that could not be compared for want of memory.
    pub given_up_count: u64,
}

/// The figures of one type of event.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TypeFigures {
    /// The name of the events, as the rules have it.
    pub name: String,
    /// Pairs with the same data.
    pub matched_count: u64,
    /// Pairs with other data.
    pub different_count: u64,
    /// Explicit events without an inferred one.
    pub missing_count: u64,
    /// Inferred events without an explicit one.
    pub extra_count: u64,
    /// Of the inferred events, the share that has an explicit one, from 0 to 1; absent without inferred events.
    pub precision: Option<f64>,
    /// Of the explicit events, the share that has an inferred one, from 0 to 1; absent without explicit events.
    pub recall: Option<f64>,
    /// How much later, in the middle, the explicit event of a pair was committed than the inferred one, in milliseconds; below zero if
    /// it was earlier.
    pub lag_ms: Option<f64>,
    /// What differs in the data of pairs, the most frequent first.
    pub differences: Vec<Difference>,
    /// What changes lie behind its events that have no partner, the most frequent first.
    pub shapes: Vec<FailingShape>,
    /// What it comes to.
    pub judgement: Judgement,
}

impl TypeFigures {
    /// Explicit events of the type.
    pub fn explicit_count(&self) -> u64 {
        self.matched_count + self.different_count + self.missing_count
    }

    /// Inferred events of the type.
    pub fn inferred_count(&self) -> u64 {
        self.matched_count + self.different_count + self.extra_count
    }
}

/// A difference between the data of a pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The dotted path.
    pub path: String,
    /// What differs, in words, without values: `only explicit`, `only inferred`, `other value`, `int32 and string`.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// A shape of changes behind events without a partner.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailingShape {
    /// `missing` or `extra`.
    pub kind: &'static str,
    /// The shape in words: `update shop.orders: status, paidAt (status: pending -> paid)`; without values where they are hidden.
    pub shape: String,
    /// How often.
    pub count: u64,
    /// Other explicit types that left the very same shape, with how often.
    pub shared_with: Vec<(String, u64)>,
}

/// A cell of the matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusion {
    /// The explicit type; absent where there was none.
    pub explicit: Option<String>,
    /// The inferred type; absent where there was none.
    pub inferred: Option<String>,
    /// How often.
    pub count: u64,
}

/// What is to be done with a type of event.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Judgement {
    /// In a word.
    pub verdict: Verdict,
    /// Why, in sentences.
    pub reasons: Vec<String>,
}

/// The judgement of a type of event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Too few events to say.
    #[default]
    Unknown,
    /// Rules know it as well as the application does.
    SafeToInfer,
    /// Mostly; the reasons say where not.
    InferWithCare,
    /// Changes do not tell it apart.
    NeedsAnOutbox,
}

impl Verdict {
    /// The verdict as people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "too few to say",
            Self::SafeToInfer => "safe to infer",
            Self::InferWithCare => "infer with care",
            Self::NeedsAnOutbox => "needs an outbox",
        }
    }
}
