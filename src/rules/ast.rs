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
    /// What the document must start to satisfy.
    pub enters: Option<State>,
    /// What the document must stop to satisfy.
    pub leaves: Option<State>,
    /// The array whose elements make one event each.
    pub each: Option<Each>,
    /// The changes of one transaction that make one event together. Such a rule has no collections, operations and conditions
    /// of its own: its members have.
    pub transaction: Option<Transaction>,
    /// The group of rules of one file of which only the first that matches a change fires, in file order.
    pub first_of: Option<Arc<str>>,
    /// The sinks that get the events; all where absent.
    pub to: Option<Vec<Destination>>,
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

impl Rule {
    /// A rule that looks at these collections and operations, without conditions and data; the event has the name of the rule.
    pub fn new(id: &str, collections: Vec<NamespacePattern>, operations: Operations) -> Self {
        Self {
            id: id.into(),
            event: id.into(),
            description: None,
            tags: Vec::new(),
            collections,
            operations,
            when: None,
            filter: None,
            enters: None,
            leaves: None,
            each: None,
            transaction: None,
            first_of: None,
            to: None,
            data: Template::Map(Vec::new()),
            key: None,
            subject: None,
            numbers: Numbers::ByValue,
            unknown: UnknownPolicy::Skip,
            evidence: Evidence::LookUp,
            origin: String::new(),
        }
    }

    /// The name of the file in which the rule stands; empty if it stands in none.
    pub fn file(&self) -> &str {
        self.origin.rsplitn(3, ':').nth(2).unwrap_or_default()
    }
}

/// What happens when a rule's conditions cannot be decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// No event; counted by rule and reason.
    #[default]
    Skip,
    /// The event is made as if the conditions that could not be decided held.
    Assume,
    /// The event goes to the dead letters.
    DeadLetter,
    /// The connector stops before the change.
    Stop,
}

/// Conditions on the values at dotted paths of a document (or of an array element), which hold together.
#[derive(Clone, Debug)]
pub struct State(pub Vec<(FieldPath, Matcher)>);

/// The elements of an array, followed by their identity.
#[derive(Clone, Debug)]
pub struct Each {
    /// Where the array stands in the document.
    pub path: FieldPath,
    /// What tells one element from another, as paths inside an element; if empty, the whole element does.
    pub key: Vec<FieldPath>,
    /// What must have happened to an element.
    pub is: ElementChange,
    /// The transitions inside a changed element.
    pub when: Option<When>,
    /// The conditions on the element: on the new one, or on the removed one.
    pub filter: Option<State>,
}

/// What happened to an element of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementChange {
    /// It was not there before.
    Added,
    /// It is not there after.
    Removed,
    /// It is there before and after, by its key, and differs.
    Changed,
}

/// Several changes of one transaction that make one event.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// What must be among the changes, in the order of the file.
    pub members: Vec<Member>,
    /// The ids of rules whose events this one takes the place of.
    pub absorbs: Vec<Arc<str>>,
}

/// One of the changes that a transaction must hold.
#[derive(Clone, Debug)]
pub struct Member {
    /// The name by which queries reach it.
    pub alias: Arc<str>,
    /// Which collections it looks at; at least one.
    pub collections: Vec<NamespacePattern>,
    /// Which operations it takes.
    pub operations: Operations,
    /// The transitions of fields.
    pub when: Option<When>,
    /// The conditions on the state.
    pub filter: Option<Where>,
    /// What the document must start to satisfy.
    pub enters: Option<State>,
    /// What the document must stop to satisfy.
    pub leaves: Option<State>,
    /// One or more changes, instead of exactly one.
    pub is_many: bool,
    /// None is enough.
    pub is_optional: bool,
}

/// A sink that gets the events of a rule.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The sink's name in the configuration.
    pub sink: Arc<str>,
    /// The topic or subject there, instead of the one that the sink's own settings give.
    pub address: Option<TextTemplate>,
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

impl Where {
    /// The conditions whose queries are not chosen, and those whose queries are.
    pub(super) fn split(&self, choose: &impl Fn(&Query) -> bool) -> (Option<Self>, Option<Self>) {
        match self {
            Self::All(parts) => {
                let (mut others, mut chosen) = (Vec::new(), Vec::new());
                for part in parts {
                    let (other, one) = part.split(choose);
                    others.extend(other);
                    chosen.extend(one);
                }
                let all = |parts: Vec<Self>| (!parts.is_empty()).then_some(Self::All(parts));
                (all(others), all(chosen))
            }
            Self::Matches(query, _) | Self::Exists(query) if choose(query) => (None, Some(self.clone())),
            Self::Matches(..) | Self::Exists(_) => (Some(self.clone()), None),
        }
    }
}
