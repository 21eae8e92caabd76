//! Shapes of changes, each with a number: so that changes that look alike can be counted together at little cost.
//!
//! Here the transition of every field that may be an enumeration belongs to the shape, also of inserts and deletes: two changes have
//! one shape only if nothing that could be read of them as a word differs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};

use bson::{RawBsonRef, RawDocument};
use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::fields::{Fields, KeptField, KeptParent, Names, is_id_like};
use super::shape::{Side, Transition};
use super::touched::{self, known};
use super::{ShapeKey, Word};
use crate::change::element::{Element, elements};
use crate::change::{Change, Operation};

/// How many shapes are told apart.
const SHAPES_MAX: usize = 500;
/// How many fields are followed, and how many parents of fields.
const FIELDS_MAX: usize = 300;
/// How many changes are recognised without looking at them closely.
const SEEN_MAX: usize = 4_096;
/// The longest text that may be a word, in bytes of its value: length, text and NUL.
const WORD_BYTES_MAX: usize = 4 + 32 + 1;
/// How many paths are told.
const PATHS_TOLD_MAX: usize = 8;

const TEXT: u8 = 0x02;
const FLAG: u8 = 0x08;

/// Gives changes of one shape one number.
#[derive(Debug)]
pub struct ShapeBook {
    shapes: Vec<Known>,
    numbers: HashMap<Known, u32>,
    fields: Fields,
    names: Names,
    /// From what is quickly seen of a change to its number.
    seen: HashMap<u64, Option<u32>, FixedState>,
    /// Fields whose values are not looked at any more.
    closed: HashSet<u64, FixedState>,
}

/// A shape, with everything that was known when it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Known {
    key: ShapeKey,
    transitions: Vec<Transition>,
}

/// A shape in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedShape {
    /// Equal for shapes that turned out to be the same.
    pub identity: usize,
    /// `update of shop.orders: paidAt, status (status: pending -> paid)`.
    pub text: String,
}

/// Everything that a book knows, to be kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptBook {
    shapes: Vec<Known>,
    fields: Vec<KeptField>,
    parents: Vec<KeptParent>,
}

impl Default for ShapeBook {
    fn default() -> Self {
        Self {
            shapes: Vec::new(),
            numbers: HashMap::new(),
            fields: Fields::with_at_most(FIELDS_MAX),
            names: Names::with_at_most(FIELDS_MAX),
            seen: HashMap::default(),
            closed: HashSet::default(),
        }
    }
}

impl ShapeBook {
    /// The number of the change's shape; nothing if there are too many shapes.
    pub fn number(&mut self, change: &Change<'_>) -> Option<u32> {
        let Some(fingerprint) = self.fingerprint(change) else { return self.look_closely(change) };
        if let Some(number) = self.seen.get(&fingerprint) {
            return *number;
        }
        let number = self.look_closely(change);
        self.close(change);
        if self.seen.len() >= SEEN_MAX {
            self.seen.clear();
        }
        // What was closed just now belongs to another fingerprint from now on.
        if let Some(fingerprint) = self.fingerprint(change) {
            self.seen.insert(fingerprint, number);
        }
        number
    }

    /// The shapes by their numbers. What turned out to be no enumeration, or ids in names of fields, is left out of all of them.
    pub fn shapes(&self, has_values: bool) -> Vec<BookedShape> {
        let folded: Vec<Known> = self.shapes.iter().map(|shape| self.folded(shape)).collect();
        let mut words: BTreeMap<(&str, &str, &str), BTreeSet<&Word>> = BTreeMap::new();
        for Known { key, transitions } in &folded {
            for transition in transitions {
                let place = (key.database.as_str(), key.collection.as_str(), transition.path.as_str());
                let sides = [&transition.before, &transition.after].into_iter();
                let is = sides.filter_map(|side| if let Side::Is(word) = side { Some(word) } else { None });
                words.entry(place).or_default().extend(is);
            }
        }
        let mut identities: HashMap<&Known, usize> = HashMap::new();
        let shapes = folded.iter().enumerate().map(|(number, shape)| {
            let identity = *identities.entry(shape).or_insert(number);
            let text = shape.text(|path, word| {
                let known = words.get(&(&shape.key.database, &shape.key.collection, path));
                let number = known.and_then(|words| words.iter().position(|one| *one == word));
                if has_values { word.to_string() } else { format!("value {}", number.map_or(0, |number| number + 1)) }
            });
            BookedShape { identity, text }
        });
        shapes.collect()
    }

    /// Everything that is known.
    pub fn kept(&self) -> KeptBook {
        KeptBook { shapes: self.shapes.clone(), fields: self.fields.kept(), parents: self.names.kept() }
    }

    /// A book that goes on with what was kept.
    pub fn restored(kept: KeptBook) -> Self {
        let mut book = Self::default();
        book.fields.restore(kept.fields);
        book.names.restore(kept.parents);
        book.numbers = kept.shapes.iter().cloned().zip(0..).collect();
        book.shapes = kept.shapes;
        book
    }

    fn look_closely(&mut self, change: &Change<'_>) -> Option<u32> {
        let Self { names, fields, .. } = self;
        let mut walked = touched::of(change);
        walked.fold(|parent, name| names.note(change.database, change.collection, parent, name));
        let mut note = |path: &str, value: RawBsonRef<'_>| fields.note(change.database, change.collection, path, value);
        let transitions = match change.operation {
            Operation::Update | Operation::Replace => walked.transitions(&mut note),
            Operation::Insert | Operation::Delete => touched::of_whole(change).transitions(&mut note),
        };
        let key = ShapeKey {
            database: change.database.to_owned(),
            collection: change.collection.to_owned(),
            operation: change.operation,
            touched: walked.into_touched(),
        };
        let shape = Known { key, transitions };
        if let Some(number) = self.numbers.get(&shape) {
            return Some(*number);
        }
        // What is known by now to be no enumeration does not make a shape of its own.
        let shape = self.folded(&shape);
        if let Some(number) = self.numbers.get(&shape) {
            return Some(*number);
        }
        if self.shapes.len() >= SHAPES_MAX {
            return None;
        }
        let number = u32::try_from(self.shapes.len()).ok()?;
        self.shapes.push(shape.clone());
        self.numbers.insert(shape, number);
        Some(number)
    }

    fn folded(&self, shape: &Known) -> Known {
        let Known { key, transitions } = shape;
        let is_open = |parent: &str| self.names.is_open(&key.database, &key.collection, parent);
        let is_kept = |path: &str| !self.fields.is_closed(&key.database, &key.collection, path);
        let transitions = transitions.iter().filter(|transition| is_kept(&transition.path)).cloned().collect();
        Known { key: ShapeKey { touched: key.touched.folded(is_open), ..key.clone() }, transitions }
    }

    /// What a change looks like at first sight; changes that look alike so have one shape. Nothing if only a closer look tells.
    fn fingerprint(&self, change: &Change<'_>) -> Option<u64> {
        let mut hasher = FixedState::default().build_hasher();
        for text in [change.database, change.collection, change.operation.as_str()] {
            hasher.write(text.as_bytes());
            hasher.write_u8(0xff);
        }
        match (change.operation, &change.description) {
            (Operation::Insert, _) => self.hash_words(change, known(change.after), &mut hasher),
            (Operation::Delete, _) => self.hash_words(change, known(change.before), &mut hasher),
            (_, Some(description)) => {
                let before = known(change.before);
                for element in elements(description.updated) {
                    hasher.write(element.name);
                    hasher.write(&[0, element.content.0]);
                    self.hash_word(change, &element, before, &mut hasher);
                }
                for path in description.removed.into_iter().flatten().filter_map(|path| path.as_str()) {
                    hasher.write(path.as_bytes());
                    hasher.write_u8(0xfe);
                    hash_before(before, path, &mut hasher);
                }
                for entry in description.truncated.into_iter().flatten().flatten().filter_map(|one| one.as_document()) {
                    hasher.write(entry.get_str("field").unwrap_or_default().as_bytes());
                    hasher.write_u8(0xfd);
                }
            }
            (_, None) if known(change.before).is_some() && known(change.after).is_some() => return None,
            (_, None) => {}
        }
        Some(hasher.finish())
    }

    fn hash_words(&self, change: &Change<'_>, document: Option<&RawDocument>, hasher: &mut impl Hasher) {
        for element in document.map(elements).into_iter().flatten() {
            if matches!(element.content.0, TEXT | FLAG) && !self.is_closed(change, element.name) {
                hasher.write(element.name);
                hasher.write(element.content.1.get(..WORD_BYTES_MAX).unwrap_or(element.content.1));
            }
        }
    }

    fn hash_word(
        &self,
        change: &Change<'_>,
        element: &Element<'_>,
        before: Option<&RawDocument>,
        hasher: &mut impl Hasher,
    ) {
        if matches!(element.content.0, TEXT | FLAG) && !self.is_closed(change, element.name) {
            hasher.write(element.content.1.get(..WORD_BYTES_MAX).unwrap_or(element.content.1));
            hash_before(before, element.name_text(), hasher);
        }
    }

    fn is_closed(&self, change: &Change<'_>, name: &[u8]) -> bool {
        !self.closed.is_empty() && self.closed.contains(&field_hash(change, name))
    }

    /// Remembers which fields of the change need not be looked at any more.
    fn close(&mut self, change: &Change<'_>) {
        let document = match (change.operation, &change.description) {
            (Operation::Insert, _) => known(change.after),
            (Operation::Delete, _) => known(change.before),
            (_, Some(description)) => Some(description.updated),
            (_, None) => None,
        };
        for element in document.map(elements).into_iter().flatten() {
            let name = element.name_text();
            let is_never_told = || name.split('.').any(is_id_like);
            if matches!(element.content.0, TEXT | FLAG)
                && self.closed.len() < SEEN_MAX
                && (is_never_told() || self.fields.is_closed(change.database, change.collection, name))
            {
                self.closed.insert(field_hash(change, element.name));
            }
        }
    }
}

fn field_hash(change: &Change<'_>, name: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    for text in [change.database.as_bytes(), change.collection.as_bytes(), name] {
        hasher.write(text);
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// What stood at the path before, if it may have been a word.
fn hash_before(before: Option<&RawDocument>, path: &str, hasher: &mut impl Hasher) {
    let Some(before) = before else { return };
    let steps: Vec<&str> = path.split('.').collect();
    match touched::find(before, &steps) {
        Some(RawBsonRef::String(text)) => {
            hasher.write(text.as_bytes().get(..WORD_BYTES_MAX).unwrap_or(text.as_bytes()))
        }
        Some(RawBsonRef::Boolean(flag)) => hasher.write_u8(u8::from(flag)),
        Some(_) => hasher.write_u8(0xfc),
        None => hasher.write_u8(0xfb),
    }
}

impl Known {
    fn text(&self, word: impl Fn(&str, &Word) -> String) -> String {
        let Self { key, transitions } = self;
        let place = format!("{}.{}", key.database, key.collection);
        let side = |path: &str, side: &Side| match side {
            Side::Is(is) => word(path, is),
            Side::Unknown | Side::Missing => side.to_string(),
        };
        let transitions = transitions.iter().map(|Transition { path, before, after }| match key.operation {
            Operation::Insert => format!("{path}: {}", side(path, after)),
            Operation::Delete => format!("{path}: {}", side(path, before)),
            Operation::Update | Operation::Replace => {
                format!("{path}: {} -> {}", side(path, before), side(path, after))
            }
        });
        let mut transitions: Vec<String> = transitions.collect();
        if transitions.len() > PATHS_TOLD_MAX {
            transitions.truncate(PATHS_TOLD_MAX);
            transitions.push("more".to_owned());
        }
        let told = if transitions.is_empty() { String::new() } else { format!(" ({})", transitions.join(", ")) };
        let mut paths: Vec<&str> = key.touched.paths().iter().map(String::as_str).take(PATHS_TOLD_MAX).collect();
        if key.touched.has_more || paths.len() < key.touched.paths().len() {
            paths.push("more");
        }
        let paths = match (key.touched.is_whole, paths.is_empty()) {
            (true, _) => "the whole document (what differs is not known)".to_owned(),
            (false, true) => "nothing".to_owned(),
            (false, false) => paths.join(", "),
        };
        match key.operation {
            Operation::Insert => format!("insert into {place}{told}"),
            Operation::Delete => format!("delete from {place}{told}"),
            Operation::Update => format!("update of {place}: {paths}{told}"),
            Operation::Replace => format!("replacement in {place}: {paths}{told}"),
        }
    }
}
