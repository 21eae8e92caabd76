//! A query after its singular prefix, in a form that can be run as it is.

use bson::RawBson;
use regex::Regex;

use super::Root;
use crate::rules::path::Path;

/// Takes every node to nodes below it.
#[derive(Clone, Debug)]
pub(in crate::rules) enum Segment {
    /// `[..]`: what the selectors select of the node.
    Child(Vec<Selector>),
    /// `..[..]`: what the selectors select of the node and of everything below it.
    Descendant(Vec<Selector>),
}

/// Selects children of a node.
#[derive(Clone, Debug)]
pub(in crate::rules) enum Selector {
    Name(String),
    Index(i64),
    Wildcard,
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Filter(Condition),
}

/// What a filter asks of a child.
#[derive(Clone, Debug)]
pub(in crate::rules) enum Condition {
    Or(Vec<Condition>),
    And(Vec<Condition>),
    Not(Box<Condition>),
    Exists(Nodes),
    Compare(Order, Operand, Operand),
    /// `match` (the whole text) and `search` (a part of it).
    Matches {
        text: Operand,
        pattern: Pattern,
        whole: bool,
    },
}

/// The comparison operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) enum Order {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// What can be compared.
#[derive(Clone, Debug)]
pub(in crate::rules) enum Operand {
    Literal(RawBson),
    /// The one node of a singular query, or nothing.
    Node(Nodes),
    Length(Box<Operand>),
    Count(Nodes),
    /// The value of the only node of a query; nothing if it selects none or several.
    Value(Nodes),
}

/// The regular expression of `match` or `search`.
#[derive(Clone, Debug)]
pub(in crate::rules) enum Pattern {
    /// Compiled once.
    Fixed(Regex),
    /// Comes from the document; compiled on every use.
    Read(Operand),
}

/// A query inside a filter.
#[derive(Clone, Debug)]
pub(in crate::rules) struct Nodes {
    pub(in crate::rules) start: Start,
    pub(in crate::rules) path: Path,
    pub(in crate::rules) rest: Vec<Segment>,
}

/// Where a query inside a filter starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) enum Start {
    /// `@`: the child that is asked about.
    Current,
    /// `$`: one of the roots.
    Root(Root),
}

impl Segment {
    pub(in crate::rules) fn selectors(&self) -> &[Selector] {
        match self {
            Self::Child(selectors) | Self::Descendant(selectors) => selectors,
        }
    }

    /// The name of the child that it selects, if it selects one by name.
    pub(in crate::rules) fn only_name(&self) -> Option<&str> {
        match self {
            Self::Child(selectors) => match selectors.as_slice() {
                [Selector::Name(name)] => Some(name),
                _ => None,
            },
            Self::Descendant(_) => None,
        }
    }

    /// True if it selects at most one node of every node.
    pub(in crate::rules) fn is_singular(&self) -> bool {
        matches!(self, Self::Child(selectors) if matches!(selectors.as_slice(), [Selector::Name(_) | Selector::Index(_)]))
    }

    /// Shows every query inside the segment's filters, nested ones included.
    pub(in crate::rules) fn visit_nodes<'q>(&'q self, visit: &mut dyn FnMut(&'q Nodes)) {
        for selector in self.selectors() {
            if let Selector::Filter(condition) = selector {
                condition.visit_nodes(visit);
            }
        }
    }
}

impl Condition {
    /// Shows every query inside the condition, nested ones included.
    pub(in crate::rules) fn visit_nodes<'q>(&'q self, visit: &mut dyn FnMut(&'q Nodes)) {
        match self {
            Self::Or(conditions) | Self::And(conditions) => {
                for condition in conditions {
                    condition.visit_nodes(visit);
                }
            }
            Self::Not(condition) => condition.visit_nodes(visit),
            Self::Exists(nodes) => nodes.visit_nodes(visit),
            Self::Compare(_, left, right) => {
                left.visit_nodes(visit);
                right.visit_nodes(visit);
            }
            Self::Matches { text, pattern, .. } => {
                text.visit_nodes(visit);
                if let Pattern::Read(operand) = pattern {
                    operand.visit_nodes(visit);
                }
            }
        }
    }
}

impl Operand {
    fn visit_nodes<'q>(&'q self, visit: &mut dyn FnMut(&'q Nodes)) {
        match self {
            Self::Literal(_) => {}
            Self::Node(nodes) | Self::Count(nodes) | Self::Value(nodes) => nodes.visit_nodes(visit),
            Self::Length(operand) => operand.visit_nodes(visit),
        }
    }
}

impl Nodes {
    fn visit_nodes<'q>(&'q self, visit: &mut dyn FnMut(&'q Nodes)) {
        visit(self);
        for segment in &self.rest {
            segment.visit_nodes(visit);
        }
    }

    /// True if the query selects at most one node, whatever the document.
    pub(in crate::rules) fn is_singular(&self) -> bool {
        self.rest.iter().all(Segment::is_singular)
    }
}
