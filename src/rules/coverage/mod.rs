//! What the rules do not explain: the changes that fired none, by collection and shape, most frequent first, each with a rule that
//! would fire on it.
//!
//! A shape is the operation and the set of touched paths, with the indexes of arrays folded to `items.*`. For fields that look like
//! enumerations (texts and booleans, short, few of them, and each of them often) it is their transition too: `status: paid ->
//! refunded`. Everything is bounded: past the bounds, changes are counted without their shape.

mod book;
mod fields;
mod proposal;
mod shape;
mod touched;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use book::{BookedShape, KeptBook, ShapeBook};
pub use fields::Word;
pub use proposal::{Proposals, rule_file};
pub use shape::{Side, Transition};

pub(crate) use fields::is_id_like;
use fields::{Fields, Names};
use shape::Shape;
use touched::Touched;

use crate::change::{Change, Operation};

/// How many shapes are told apart.
const SHAPES_MAX: usize = 1_000;

/// Keeps account of the changes that fired no rule.
#[derive(Debug)]
pub struct Coverage {
    /// Whether transitions are kept, which are values of documents.
    has_values: bool,
    shapes: HashMap<ShapeKey, Shape>,
    fields: Fields,
    names: Names,
    other_count: u64,
}

/// What tells one shape from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct ShapeKey {
    database: String,
    collection: String,
    operation: Operation,
    touched: Touched,
}

/// The changes of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeCount {
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
    /// What happened to the document.
    pub operation: Operation,
    /// The paths that differ, in order; an index of an array, or a name that looks like an id, is `*`. Empty for inserts and
    /// deletes.
    pub touched: Vec<String>,
    /// There are more paths than are told.
    pub has_more: bool,
    /// It is not known which paths differ: a replace without the document before it.
    pub is_whole: bool,
    /// The transitions of fields that look like enumerations.
    pub transitions: Vec<Transition>,
    /// How many changes there were.
    pub count: u64,
    /// For how many of them some rule was undecided.
    pub undecided_count: u64,
}

impl Coverage {
    /// Nothing is known yet. Without values, no transition is kept.
    pub fn new(has_values: bool) -> Self {
        Self { has_values, shapes: HashMap::new(), fields: Fields::default(), names: Names::default(), other_count: 0 }
    }

    /// Counts a change that fired no rule.
    pub fn add(&mut self, change: &Change<'_>, is_undecided: bool) {
        let mut walked = touched::of(change);
        let Self { names, fields, .. } = self;
        walked.fold(|parent, name| names.note(change.database, change.collection, parent, name));
        let transitions = match self.has_values {
            true => walked.transitions(|path, value| fields.note(change.database, change.collection, path, value)),
            false => Vec::new(),
        };
        let key = ShapeKey {
            database: change.database.to_owned(),
            collection: change.collection.to_owned(),
            operation: change.operation,
            touched: walked.into_touched(),
        };
        if let Some(shape) = self.shapes.get_mut(&key) {
            shape.add(transitions, is_undecided, 1);
        } else if self.shapes.len() < SHAPES_MAX {
            let mut shape = Shape::default();
            shape.add(transitions, is_undecided, 1);
            self.shapes.insert(key, shape);
        } else {
            self.other_count += 1;
        }
    }

    /// Changes of further shapes, which are not told apart.
    pub fn other_count(&self) -> u64 {
        self.other_count
    }

    /// The shapes, the most frequent first. What turned out not to be an enumeration, or to be ids in names of fields, is left out
    /// also of what was counted before that was known.
    pub fn shapes(&self) -> Vec<ShapeCount> {
        let mut merged: HashMap<ShapeKey, Shape> = HashMap::new();
        for (key, shape) in &self.shapes {
            let is_open = |parent: &str| self.names.is_open(&key.database, &key.collection, parent);
            let key = ShapeKey { touched: key.touched.folded(is_open), ..key.clone() };
            let shape = shape.only(|path| self.fields.is_enumeration(&key.database, &key.collection, path));
            merged.entry(key).or_default().merge(shape);
        }
        let mut counts: Vec<ShapeCount> = merged.into_iter().flat_map(|(key, shape)| counts_of(&key, &shape)).collect();
        counts.sort_by(|one, other| {
            let place = |count: &ShapeCount| {
                (count.database.clone(), count.collection.clone(), count.operation.as_str(), count.touched.clone())
            };
            other.count.cmp(&one.count).then_with(|| place(one).cmp(&place(other)))
        });
        counts
    }
}

fn counts_of(key: &ShapeKey, shape: &Shape) -> Vec<ShapeCount> {
    let counts = shape.counts().map(|(transitions, count, undecided_count)| ShapeCount {
        database: key.database.clone(),
        collection: key.collection.clone(),
        operation: key.operation,
        touched: key.touched.paths().to_vec(),
        has_more: key.touched.has_more,
        is_whole: key.touched.is_whole,
        transitions: transitions.to_vec(),
        count,
        undecided_count,
    });
    counts.collect()
}

impl std::fmt::Display for ShapeCount {
    /// `update: status: paid -> refunded; updatedAt`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.operation.as_str())?;
        if matches!(self.operation, Operation::Insert | Operation::Delete) {
            return Ok(());
        }
        if self.is_whole {
            return formatter.write_str(" of the whole document (what differs is not known)");
        }
        let told = |path: &&String| !self.transitions.iter().any(|transition| transition.path == **path);
        let transitions = self.transitions.iter().map(Transition::to_string);
        let mut parts: Vec<String> = transitions.chain(self.touched.iter().filter(told).cloned()).collect();
        if self.has_more {
            parts.push("more".to_owned());
        }
        match parts.is_empty() {
            true => formatter.write_str(" without effect"),
            false => write!(formatter, " of {}", parts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests;
