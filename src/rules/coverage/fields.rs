//! Which fields look like enumerations, and which names of fields are no names but ids. Both are learnt from what comes, within
//! bounds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use bson::RawBsonRef;
use serde::{Deserialize, Serialize};

/// A value that may be one of few.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Word {
    /// A short text that looks like a name: `paid`, `in_transit`.
    Text(String),
    /// A boolean.
    Flag(bool),
}

impl fmt::Display for Word {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Flag(flag) => flag.fmt(formatter),
        }
    }
}

/// How many different values an enumeration has at most.
const WORDS_MAX: usize = 12;
/// How often each of them must have come on average: names of people are short words too, but each comes once or twice.
const REPEATS_MIN: u64 = 3;
/// The longest word, in bytes.
const WORD_LENGTH_MAX: usize = 32;
/// How many fields are followed.
const FIELDS_MAX: usize = 2_000;
/// How many names one document may have under one parent, over all documents, before they count as ids.
const NAMES_MAX: usize = 64;
/// How many parents are followed.
const PARENTS_MAX: usize = 2_000;

/// A field: database, collection, path.
type Place = (String, String, String);

/// The values of fields, as long as they may be enumerations.
#[derive(Debug)]
pub(super) struct Fields {
    fields: HashMap<Place, Field>,
    fields_max: usize,
}

impl Default for Fields {
    fn default() -> Self {
        Self::with_at_most(FIELDS_MAX)
    }
}

#[derive(Debug, Default)]
struct Field {
    /// Empty once it is known to be no enumeration.
    words: BTreeMap<Word, u64>,
    is_open: bool,
}

impl Fields {
    /// None is known, and no more than so many are followed.
    pub(super) fn with_at_most(fields_max: usize) -> Self {
        Self { fields: HashMap::new(), fields_max }
    }

    /// Notes a value; gives its word if the field may be an enumeration.
    pub(super) fn note(&mut self, database: &str, collection: &str, path: &str, value: RawBsonRef<'_>) -> Option<Word> {
        let place = (database.to_owned(), collection.to_owned(), path.to_owned());
        if self.fields.len() >= self.fields_max && !self.fields.contains_key(&place) {
            return None;
        }
        let field = self.fields.entry(place).or_default();
        if field.is_open {
            return None;
        }
        let word = match value {
            RawBsonRef::String(text) if is_word(text) => Word::Text(text.to_owned()),
            RawBsonRef::Boolean(flag) => Word::Flag(flag),
            // Null says nothing for or against it.
            RawBsonRef::Null => return None,
            _ => {
                field.close();
                return None;
            }
        };
        *field.words.entry(word.clone()).or_default() += 1;
        if field.words.len() > WORDS_MAX {
            field.close();
            return None;
        }
        Some(word)
    }

    /// True if, after all that was noted, the field looks like an enumeration.
    pub(super) fn is_enumeration(&self, database: &str, collection: &str, path: &str) -> bool {
        let place = (database.to_owned(), collection.to_owned(), path.to_owned());
        self.fields.get(&place).is_some_and(Field::is_enumeration)
    }

    /// True if it is known that the field is no enumeration, or it is not followed, so that no value of it has a word any more.
    pub(super) fn is_closed(&self, database: &str, collection: &str, path: &str) -> bool {
        let place = (database.to_owned(), collection.to_owned(), path.to_owned());
        match self.fields.get(&place) {
            Some(field) => field.is_open,
            None => self.fields.len() >= self.fields_max,
        }
    }

    /// What is known, in an order of its own: to be kept.
    pub(super) fn kept(&self) -> Vec<KeptField> {
        let kept = self.fields.iter().map(|(place, field)| KeptField {
            place: place.clone(),
            words: field.words.iter().map(|(word, count)| (word.clone(), *count)).collect(),
            is_open: field.is_open,
        });
        let mut kept: Vec<KeptField> = kept.collect();
        kept.sort_by(|one, other| one.place.cmp(&other.place));
        kept
    }

    /// Knows again what was kept.
    pub(super) fn restore(&mut self, kept: Vec<KeptField>) {
        let fields = kept
            .into_iter()
            .map(|KeptField { place, words, is_open }| (place, Field { words: words.into_iter().collect(), is_open }));
        self.fields = fields.collect();
    }
}

/// What is known of a field, to be kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeptField {
    place: Place,
    words: Vec<(Word, u64)>,
    is_open: bool,
}

impl Field {
    fn close(&mut self) {
        self.words.clear();
        self.is_open = true;
    }

    fn is_enumeration(&self) -> bool {
        let is_flag = self.words.keys().all(|word| matches!(word, Word::Flag(_)));
        let repeats = self.words.values().sum::<u64>() / (self.words.len() as u64).max(1);
        !self.is_open && !self.words.is_empty() && (is_flag || repeats >= REPEATS_MIN)
    }
}

fn is_word(text: &str) -> bool {
    let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | ' ');
    !text.is_empty()
        && text.len() <= WORD_LENGTH_MAX
        && text.trim() == text
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(fits)
        && !is_id_like(text)
}

/// True if a name is an index, or an id rather than a name: many digits, many hexadecimal digits, or very long.
pub(crate) fn is_id_like(name: &str) -> bool {
    const NAME_LENGTH_MAX: usize = 64;
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let digits_in_a_row = name.split(|character: char| !character.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let is_hexadecimal = name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_number
        || digits_in_a_row >= 5
        || name.len() >= 8 && is_hexadecimal && digits >= 2
        || name.len() > NAME_LENGTH_MAX
        || name.contains('@')
}

/// The names of fields by what they stand under.
#[derive(Debug)]
pub(super) struct Names {
    parents: HashMap<Place, Parent>,
    parents_max: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self::with_at_most(PARENTS_MAX)
    }
}

#[derive(Debug, Default)]
struct Parent {
    /// Empty once there are too many.
    names: BTreeSet<String>,
    is_open: bool,
}

impl Names {
    /// None is known, and no more parents than so many are followed.
    pub(super) fn with_at_most(parents_max: usize) -> Self {
        Self { parents: HashMap::new(), parents_max }
    }

    /// What is known: to be kept. The names of a parent that has too many are left out.
    pub(super) fn kept(&self) -> Vec<KeptParent> {
        let kept = self.parents.iter().map(|(place, parent)| KeptParent {
            place: place.clone(),
            names: parent.names.iter().cloned().collect(),
            is_open: parent.is_open,
        });
        let mut kept: Vec<KeptParent> = kept.collect();
        kept.sort_by(|one, other| one.place.cmp(&other.place));
        kept
    }

    /// Knows again what was kept.
    pub(super) fn restore(&mut self, kept: Vec<KeptParent>) {
        let parents = kept.into_iter().map(|KeptParent { place, names, is_open }| {
            (place, Parent { names: names.into_iter().collect(), is_open })
        });
        self.parents = parents.collect();
    }

    /// Notes a name under a parent (empty for the document itself); true if there are too many names to be names. The document
    /// itself may have as many as it likes: their number is bounded by that of the shapes.
    pub(super) fn note(&mut self, database: &str, collection: &str, parent: &str, name: &str) -> bool {
        if parent.is_empty() {
            return false;
        }
        let place = (database.to_owned(), collection.to_owned(), parent.to_owned());
        if self.parents.len() >= self.parents_max && !self.parents.contains_key(&place) {
            return false;
        }
        let parent = self.parents.entry(place).or_default();
        if !parent.is_open {
            parent.names.insert(name.to_owned());
            if parent.names.len() > NAMES_MAX {
                parent.names.clear();
                parent.is_open = true;
            }
        }
        parent.is_open
    }

    /// True if there are too many names under the parent.
    pub(super) fn is_open(&self, database: &str, collection: &str, parent: &str) -> bool {
        let place = (database.to_owned(), collection.to_owned(), parent.to_owned());
        self.parents.get(&place).is_some_and(|parent| parent.is_open)
    }
}

/// What is known of the names under a parent, to be kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeptParent {
    place: Place,
    names: Vec<String>,
    is_open: bool,
}
