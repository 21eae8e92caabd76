//! What a comparison came to.

use serde::Serialize;

use super::footprint::NO_CHANGE;
use super::table::grouped;

/// All figures of a comparison. None of them holds a value of a document, unless values were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// When the first event that was counted was committed, in milliseconds since 1970; absent if there is none.
    pub since_ms: Option<i64>,
    /// The time up to which the log was read, in milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// By type, in the order of their names.
    pub types: Vec<TypeFigures>,
    /// Which explicit types left what the rules took for which inferred ones; matches included.
    pub matrix: Vec<Confusion>,
    /// Events that still wait for a partner.
    pub pending_count: u64,
    /// Events that could not be compared: for want of memory, or because history was lost.
    pub given_up_count: u64,
}

/// The figures of one type of event.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TypeFigures {
    /// The name of the events, as the rules have it.
    pub name: String,
    /// What the application calls them, where that is something else.
    pub explicit_names: Vec<String>,
    /// False for events that only rules make: the application records none of that type, so that there is nothing to compare. From
    /// the first explicit event of a type on it is compared; a type that the settings name, from the beginning.
    pub is_compared: bool,
    /// False if it is known that no rule in force makes such events.
    pub is_inferred: bool,
    /// All explicit events of this type, also those that still wait.
    pub explicit_count: u64,
    /// All inferred events of this type, also those that still wait or are not compared.
    pub inferred_count: u64,
    /// Pairs with the same data.
    pub matched_count: u64,
    /// Pairs with other data.
    pub different_count: u64,
    /// Explicit events without an inferred one.
    pub missing_count: u64,
    /// Inferred events without an explicit one.
    pub extra_count: u64,
    /// Explicit events that were missed although their transaction had an inferred one of the same type: under another key.
    pub other_key_count: u64,
    /// Pairs whose inferred event was known on weaker evidence than `exact`.
    pub weak_count: u64,
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

/// A difference between the data of a pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The dotted path.
    pub path: String,
    /// What differs, in words, without values: `only explicit`, `only inferred`, `other value`, `int and string`.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// A shape of changes behind events without a partner.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailingShape {
    /// `missing` or `extra`.
    pub kind: &'static str,
    /// The shape in words: `update of shop.orders: paidAt, status (status: pending -> paid)`; where values are hidden, `value 1` stands
    /// for them. All changes of a transaction count together.
    pub shape: String,
    /// How often.
    pub count: u64,
    /// Other explicit types that left the very same shape, with how often they did without this one: two types that always come
    /// together do not count.
    pub shared_with: Vec<(String, u64)>,
}

impl FailingShape {
    /// True if nothing was written that a rule could see.
    pub fn is_no_change(&self) -> bool {
        self.shape == NO_CHANGE
    }

    /// Why it proves that changes do not tell the type, in a sentence; nothing where it does not.
    pub fn proof(&self) -> Option<String> {
        if self.is_no_change() {
            return Some("nothing was written that a rule could see".to_owned());
        }
        let others = self.shared_with.iter().map(|(name, count)| format!("{name} ({})", grouped(*count)));
        let others: Vec<String> = others.collect();
        (!others.is_empty()).then(|| {
            format!("the very same change was left by {}: it does not tell which of them happened", others.join(", "))
        })
    }
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
