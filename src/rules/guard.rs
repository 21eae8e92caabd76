//! Rules listed under the value that a field must have: of a thousand rules that wait for a thousand values of one field, only
//! those of the value that is there are looked at.

use std::collections::HashMap;

use bson::{Bson, RawBsonRef, RawDocument};
use foldhash::fast::RandomState;

use super::ast::{State, Transition, When, Where};
use super::condition::Conditions;
use super::path::Path;
use super::query::Root;
use super::{FieldPath, Matcher};
use crate::change::element;

/// A top-level field that must have one of a few values for a rule to fire. Necessary, not sufficient.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Guard {
    pub(super) field: String,
    values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Integer(i64),
}

impl Guard {
    /// The guard on what a field becomes, by an update that touches it.
    pub(super) fn of_update(conditions: &Conditions<'_>) -> Option<Self> {
        let enters = || match conditions.enters?.0.as_slice() {
            // Of several conditions any may be the one that is new.
            [only] => Self::of_state(std::slice::from_ref(only)),
            _ => None,
        };
        conditions.when.and_then(Self::of_when).or_else(enters)
    }

    /// The guard on what a field of an inserted document is.
    pub(super) fn of_insert(conditions: &Conditions<'_>) -> Option<Self> {
        let filter = || conditions.filter.and_then(|filter| Self::of_where(filter, Root::After));
        let enters = || conditions.enters.and_then(|State(all)| Self::of_state(all));
        conditions.when.and_then(Self::of_when).or_else(enters).or_else(filter)
    }

    /// The guard on what a field of a deleted document was.
    pub(super) fn of_delete(conditions: &Conditions<'_>) -> Option<Self> {
        let filter = || conditions.filter.and_then(|filter| Self::of_where(filter, Root::Before));
        conditions.leaves.and_then(|State(all)| Self::of_state(all)).or_else(filter)
    }

    fn of_state(all: &[(FieldPath, Matcher)]) -> Option<Self> {
        all.iter().find_map(|(path, matcher)| Self::new(top_level(path)?, matcher))
    }

    fn of_when(when: &When) -> Option<Self> {
        match when {
            When::All(parts) => parts.iter().find_map(Self::of_when),
            When::Field(path, transition) => match &**transition {
                Transition::Becomes { to: Some(to), .. } => Self::new(top_level(path)?, to),
                _ => None,
            },
            When::Any(_) => None,
        }
    }

    /// The guard on what a field of a root is.
    fn of_where(filter: &Where, root: Root) -> Option<Self> {
        match filter {
            Where::All(parts) => parts.iter().find_map(|part| Self::of_where(part, root)),
            Where::Matches(query, matcher) if query.root() == root && query.is_path() => match &*query.path().steps {
                [step] if step.named => Self::new(step.text.to_string(), matcher),
                _ => None,
            },
            Where::Matches(..) | Where::Exists(_) => None,
        }
    }

    /// The values of which the field must have one.
    pub(super) fn values(&self) -> impl Iterator<Item = Bson> {
        self.values.iter().map(|value| match value {
            Value::Text(text) => Bson::String(text.clone()),
            Value::Integer(integer) => Bson::Int64(*integer),
        })
    }

    fn new(field: String, matcher: &Matcher) -> Option<Self> {
        Some(Self { field, values: values(matcher)? })
    }
}

/// The name of a top-level field, if the path is one and cannot be taken for another.
fn top_level(path: &FieldPath) -> Option<String> {
    match path.steps.as_slice() {
        [name] if !name.contains('.') => Some(Path::from(path).top_level().to_owned()),
        _ => None,
    }
}

/// The texts and whole numbers of which a value must be one to match.
fn values(matcher: &Matcher) -> Option<Vec<Value>> {
    match matcher {
        Matcher::Equals(Bson::String(text)) => Some(vec![Value::Text(text.clone())]),
        Matcher::Equals(Bson::Int32(number)) => Some(vec![Value::Integer(i64::from(*number))]),
        Matcher::Equals(Bson::Int64(number)) => Some(vec![Value::Integer(*number)]),
        Matcher::OneOf(matchers) => {
            matchers.iter().map(values).collect::<Option<Vec<_>>>().map(|values| values.into_iter().flatten().collect())
        }
        Matcher::All(matchers) => matchers.iter().find_map(values),
        _ => None,
    }
}

/// A map from names; names are short, and looked up for every change.
pub(super) type ByName<T> = HashMap<Box<str>, T, RandomState>;

/// Rules of one field, by the value that they wait for.
#[derive(Debug, Default)]
pub(super) struct ByValue {
    /// Rules that do not wait for one.
    any: Vec<usize>,
    texts: ByName<Vec<usize>>,
    integers: HashMap<i64, Vec<usize>, RandomState>,
}

impl ByValue {
    pub(super) fn add(&mut self, number: usize, guard: Option<&Guard>) {
        let Some(guard) = guard else { return self.any.push(number) };
        for value in &guard.values {
            match value {
                Value::Text(text) => self.texts.entry(text.as_str().into()).or_default().push(number),
                Value::Integer(integer) => self.integers.entry(*integer).or_default().push(number),
            }
        }
    }

    /// Adds the rules that may hold where the field has this value.
    pub(super) fn find(&self, value: Option<RawBsonRef<'_>>, numbers: &mut Vec<usize>) {
        numbers.extend_from_slice(&self.any);
        let waiting = match value {
            Some(RawBsonRef::String(text) | RawBsonRef::Symbol(text)) => self.texts.get(text),
            Some(RawBsonRef::Int32(number)) => self.integers.get(&i64::from(number)),
            Some(RawBsonRef::Int64(number)) => self.integers.get(&number),
            // They may equal a whole number: the rules see for themselves.
            Some(RawBsonRef::Double(_) | RawBsonRef::Decimal128(_)) => {
                return self.integers.values().for_each(|rules| numbers.extend_from_slice(rules));
            }
            _ => None,
        };
        numbers.extend_from_slice(waiting.map_or(&[], Vec::as_slice));
    }
}

/// Up to so many fields are searched for one by one; with more, every field of the document is looked up among them.
const SEARCHED_FIELDS_MAX: usize = 4;

/// Rules that look at whole documents, by a field and its value.
#[derive(Debug, Default)]
pub(super) struct ByField {
    /// Rules that wait for no value of a field.
    any: Vec<usize>,
    all: Vec<usize>,
    fields: ByName<ByValue>,
}

impl ByField {
    pub(super) fn add(&mut self, number: usize, guard: Option<&Guard>) {
        self.all.push(number);
        let Some(guard) = guard else { return self.any.push(number) };
        self.fields.entry(guard.field.as_str().into()).or_default().add(number, Some(guard));
    }

    /// Adds the rules that may hold for a document, in their order; all of them if it is not known.
    pub(super) fn find(&self, document: Option<&RawDocument>, numbers: &mut Vec<usize>) {
        let Some(document) = document else { return numbers.extend_from_slice(&self.all) };
        numbers.extend_from_slice(&self.any);
        if self.fields.is_empty() {
            return;
        }
        if self.fields.len() <= SEARCHED_FIELDS_MAX {
            for (field, rules) in &self.fields {
                rules.find(element::get(document, field), numbers);
            }
        } else {
            for element in element::elements(document) {
                if let Some(rules) = self.fields.get(element.name_text()) {
                    rules.find(element.value(), numbers);
                }
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
    }
}
