//! A rule as it was written, checked and typed: what the front (`read`) produces and the engine (`compile`) consumes.

use std::sync::Arc;

pub use crate::change::value::Numbers;
use crate::event::Evidence;

use super::{FieldPath, Matcher, NamespacePattern, Query, Template, TextTemplate};

/// The kinds of change a rule may fire on. Replace counts as update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// The document did not exist before.
    pub insert: bool,
    /// The document existed and still exists.
    pub update: bool,
    /// The document does not exist any more.
    pub delete: bool,
}

/// One enabled rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Unique in the rule set.
    pub id: Arc<str>,
    /// The name of the business event.
    pub event: Arc<str>,
    /// For people.
    pub description: Option<String>,
    /// For filters.
    pub tags: Vec<String>,
    /// Which collections it looks at; at least one.
    pub collections: Vec<NamespacePattern>,
    /// Which operations it fires on.
    pub operations: Operations,
    /// The transitions of fields.
    pub when: Option<When>,
    /// The conditions on the state.
    pub filter: Option<Where>,
    /// The payload.
    pub data: Template,
    /// The partition key; the document key where absent.
    pub key: Option<TextTemplate>,
    /// The CloudEvents subject.
    pub subject: Option<TextTemplate>,
    /// Whether numbers of different types may be equal.
    pub numbers: Numbers,
    /// What to do when a condition cannot be decided.
    pub unknown: UnknownPolicy,
    /// The weakest evidence that is accepted.
    pub evidence: Evidence,
    /// Where the rule stands, for messages: `rules/orders.yaml:7:5`.
    pub origin: String,
}

/// What happens when a rule's conditions cannot be decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// No event; counted by rule and reason.
    #[default]
    Skip,
}

/// A condition on what changed.
#[derive(Clone, Debug)]
pub enum When {
    /// Every one holds.
    All(Vec<When>),
    /// At least one holds.
    Any(Vec<When>),
    /// The value at a path made a transition.
    Field(FieldPath, Box<Transition>),
}

/// How the value at a path must have changed. All but `Unchanged` imply that it differs before and after.
#[derive(Clone, Debug)]
pub enum Transition {
    /// The value differs.
    Changed,
    /// The value does not differ.
    Unchanged,
    /// Missing or null before, a value after.
    Appears,
    /// A value before, missing or null after.
    Disappears,
    /// The value before and the value after match.
    Becomes {
        /// What the value was.
        from: Option<Matcher>,
        /// What the value is.
        to: Option<Matcher>,
    },
    /// A number (or date) went up or down.
    Moves {
        /// Up or down.
        direction: Direction,
        /// By how much: the absolute difference; for dates in milliseconds.
        by: Option<Matcher>,
        /// By how many percent of the value before.
        by_percent: Option<Matcher>,
    },
    /// `below: n`: was at least n, is less. `above: n`: was at most n, is more.
    Crosses(Direction, bson::Bson),
}

/// Up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Increased, or crossed to above.
    Up,
    /// Decreased, or crossed to below.
    Down,
}

/// A condition on the state.
#[derive(Clone, Debug)]
pub enum Where {
    /// Every one holds.
    All(Vec<Where>),
    /// One of the nodes that the query selects matches; `{exists: false}` holds when it selects none.
    Matches(Query, Matcher),
    /// The query selects at least one node.
    Exists(Query),
}
