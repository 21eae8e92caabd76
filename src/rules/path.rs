//! Dotted paths, as `when` uses them, and the one step type that paths and queries share.

use bson::{RawArray, RawBsonRef, RawDocument};

use super::LanguageError;
use crate::change::element;

/// A dotted path inside a document, as `when` uses it: `address.city`, `items.0.sku`, `prices["a.b"].x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPath {
    /// The text as written.
    pub text: String,
    /// Its steps; at least one. A step of digits names an array index or a field, whichever is there.
    pub steps: Vec<String>,
}

const CODE: &str = "R023";

impl FieldPath {
    /// Reads a dotted path. Names that hold a dot, a bracket or a quote, or start with `$`, stand in brackets and quotes.
    ///
    /// # Errors
    ///
    /// With the offset of the character that cannot stand there.
    pub fn parse(text: &str) -> Result<Self, LanguageError> {
        let mut reader = Reader { characters: text.chars().collect(), at: 0 };
        let mut steps = vec![reader.step(true)?];
        while let Some(character) = reader.peek() {
            match character {
                '.' => {
                    reader.at += 1;
                    steps.push(reader.step(false)?);
                }
                '[' => steps.push(reader.bracket()?),
                _ => {
                    return Err(
                        reader.error("a dot is missing between two steps of the path", "write `a.b`, or `a[\"b.c\"]`")
                    );
                }
            }
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

struct Reader {
    characters: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn error(&self, message: &str, help: &str) -> LanguageError {
        LanguageError::new(self.at, CODE, message, help)
    }

    fn step(&mut self, first: bool) -> Result<String, LanguageError> {
        match self.peek() {
            None if first => {
                return Err(self.error("the path is empty", "name a field, for example `status` or `address.city`"));
            }
            None => return Err(self.error("the path ends with a dot", "remove the dot, or name the field after it")),
            Some('[') if first => return self.bracket(),
            Some('.') => return Err(self.error("a step of the path is empty", "name a field between the dots")),
            Some('$') => return Err(self.dollar()),
            Some(_) => {}
        }
        let start = self.at;
        while let Some(character) = self.peek() {
            match character {
                '.' | '[' => break,
                ']' | '"' | '\'' => {
                    return Err(self.error(
                        &format!("the path holds a stray {character}"),
                        "write names with dots, brackets or quotes as `[\"the.name\"]`",
                    ));
                }
                _ => self.at += 1,
            }
        }
        let name: String = self.characters[start..self.at].iter().collect();
        if name.trim() != name || name.is_empty() {
            self.at = start;
            return Err(self.error("a step of the path has blanks around it", "remove them, or write `[\" name \"]`"));
        }
        Ok(name)
    }

    fn dollar(&self) -> LanguageError {
        let rest: String = self.characters[self.at..].iter().collect();
        let path = rest
            .strip_prefix("$.after.")
            .or_else(|| rest.strip_prefix("$.before."))
            .or_else(|| rest.strip_prefix("$."));
        match path {
            Some(path) if self.at == 0 => self.error(
                "this is a JSONPath, a dotted path is wanted here",
                &format!("write `{path}`; conditions on JSONPaths belong under `where`"),
            ),
            _ => self.error("a step of the path starts with $", "write it in brackets, as `[\"$name\"]`"),
        }
    }

    fn bracket(&mut self) -> Result<String, LanguageError> {
        let open = self.at;
        self.at += 1;
        let quote = match self.peek() {
            Some(quote @ ('"' | '\'')) => quote,
            Some(digit) if digit.is_ascii_digit() => {
                let digits: String = self.characters[self.at..].iter().take_while(|c| c.is_ascii_digit()).collect();
                let help = if open == 0 { format!("write `{digits}`") } else { format!("write `.{digits}`") };
                self.at = open;
                return Err(self.error("an array index in a dotted path has no brackets", &help));
            }
            Some('*' | '?') => {
                self.at = open;
                return Err(self.error(
                    "a dotted path does not go through the elements of an array",
                    "follow the elements with `each`, ask for them with a JSONPath under `where`, or name one, as `items.0`",
                ));
            }
            _ => return Err(self.error("a name in brackets has no quotes", "write `[\"the.name\"]`")),
        };
        self.at += 1;
        let mut name = String::new();
        loop {
            match self.peek() {
                None => {
                    self.at = open;
                    return Err(self.error("the bracket is not closed", "write `[\"the.name\"]`"));
                }
                Some('\\') if self.characters.get(self.at + 1).is_some() => {
                    name.push(self.characters[self.at + 1]);
                    self.at += 2;
                }
                Some(character) => {
                    self.at += 1;
                    if character == quote {
                        break;
                    }
                    name.push(character);
                }
            }
        }
        if self.peek() != Some(']') {
            return Err(self.error("the bracket is not closed", "write `[\"the.name\"]`"));
        }
        self.at += 1;
        Ok(name)
    }
}

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The name, or the index in decimal digits: how the step is written in an update's description.
    pub(super) text: Box<str>,
    /// The index, if the step may be taken in an array.
    pub(super) index: Option<usize>,
    /// True if the step may be taken in a document.
    pub(super) named: bool,
}

impl Step {
    /// A step that finds a field of a document, and nothing in an array.
    pub(super) fn name(name: &str) -> Self {
        Self { text: name.into(), index: None, named: true }
    }

    /// A step that finds an element of an array, and nothing in a document.
    pub(super) fn index(index: usize) -> Self {
        Self { text: index.to_string().into(), index: Some(index), named: false }
    }

    /// A step of a dotted path: digits find an element of an array or a field of a document, whichever is there.
    pub(super) fn dotted(text: &str) -> Self {
        let canonical = text == "0" || !text.starts_with('0');
        let index = if canonical && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
        Self { text: text.into(), index, named: true }
    }
}

/// Steps from a document to a value in it, ready to be compared with the dotted names of an update's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) steps: Box<[Step]>,
    /// The texts of the steps, joined with dots.
    dotted: Box<str>,
    /// The length of `dotted` after each step.
    ends: Box<[usize]>,
    /// It is one name without a dot: nothing else can be meant by it.
    pub(super) is_plain_name: bool,
}

/// How a path and a dotted name of an update's description lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// Neither is a part of the other.
    Apart,
    /// They are the same.
    Same,
    /// The name is that of a value around the path; the path goes on after this many of its steps.
    Around(usize),
    /// The name is that of a value below the path.
    Below,
}

impl Path {
    pub(super) fn new(steps: Vec<Step>) -> Self {
        let mut dotted = String::new();
        let mut ends = Vec::with_capacity(steps.len());
        for step in &steps {
            if !ends.is_empty() {
                dotted.push('.');
            }
            dotted.push_str(&step.text);
            ends.push(dotted.len());
        }
        let is_plain_name = steps.len() == 1 && !dotted.contains('.');
        Self { steps: steps.into(), dotted: dotted.into(), ends: ends.into(), is_plain_name }
    }

    /// The texts of the steps, joined with dots.
    pub(super) fn dotted(&self) -> &str {
        &self.dotted
    }

    /// What an update's description calls the top-level field: a literal dot in a name cannot be told from a step there.
    pub(super) fn top_level(&self) -> &str {
        self.dotted.split('.').next().unwrap_or_default()
    }

    /// How a dotted name lies to this path.
    pub(super) fn relation(&self, name: &str) -> Relation {
        if self.steps.is_empty() {
            return Relation::Below;
        }
        let (path, name) = (self.dotted.as_bytes(), name.as_bytes());
        if name.len() == path.len() {
            return if name == path { Relation::Same } else { Relation::Apart };
        }
        if name.len() > path.len() {
            return if name[path.len()] == b'.' && name.starts_with(path) { Relation::Below } else { Relation::Apart };
        }
        if path[name.len()] != b'.' || !path.starts_with(name) {
            return Relation::Apart;
        }
        match self.ends.iter().position(|&end| end == name.len()) {
            Some(step) => Relation::Around(step + 1),
            None => Relation::Apart,
        }
    }

    /// How a name of which the server gives every step lies to this path.
    pub(super) fn relation_to_steps<'s>(&self, mut names: impl Iterator<Item = std::borrow::Cow<'s, str>>) -> Relation {
        for (index, step) in self.steps.iter().enumerate() {
            match names.next() {
                None => return Relation::Around(index),
                Some(name) if *name != *step.text => return Relation::Apart,
                Some(_) => {}
            }
        }
        if names.next().is_some() { Relation::Below } else { Relation::Same }
    }
}

impl From<&FieldPath> for Path {
    fn from(path: &FieldPath) -> Self {
        Self::new(path.steps.iter().map(|step| Step::dotted(step)).collect())
    }
}

/// The value that `steps` lead to from `value`, if it is there.
pub(super) fn find<'v>(value: RawBsonRef<'v>, steps: &[Step]) -> Option<RawBsonRef<'v>> {
    steps.iter().try_fold(value, |value, step| match value {
        RawBsonRef::Document(document) if step.named => element::get(document, &step.text),
        RawBsonRef::Array(array) => element_at(array, step.index?),
        _ => None,
    })
}

/// The element of an array at an index, without building those before it.
fn element_at(array: &RawArray, index: usize) -> Option<RawBsonRef<'_>> {
    element::elements(RawDocument::from_bytes(array.as_bytes()).ok()?).nth(index)?.value()
}

/// The value that a dotted name of an update's description leads to.
pub(super) fn find_dotted<'v, 'n>(
    value: RawBsonRef<'v>,
    names: impl Iterator<Item = std::borrow::Cow<'n, str>>,
) -> Option<RawBsonRef<'v>> {
    let mut names = names;
    names.try_fold(value, |value, name| match value {
        RawBsonRef::Document(document) => element::get(document, &name),
        RawBsonRef::Array(array) => element_at(array, name.parse().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_with_dots_brackets_and_both_quotes() {
        for (text, steps) in [
            ("status", vec!["status"]),
            ("address.city", vec!["address", "city"]),
            ("items.0.sku", vec!["items", "0", "sku"]),
            ("prices[\"a.b\"].x", vec!["prices", "a.b", "x"]),
            ("[\"price.amount\"]", vec!["price.amount"]),
            ("['$ref'].x", vec!["$ref", "x"]),
            ("a['it\\'s'][\"b\"]", vec!["a", "it's", "b"]),
            ("first name.größe", vec!["first name", "größe"]),
        ] {
            assert_eq!(FieldPath::parse(text).unwrap().steps, steps, "{text}");
        }
    }

    #[test]
    fn a_bad_path_says_where_and_what_to_write() {
        for (text, offset, message) in [
            ("", 0, "the path is empty"),
            ("a.", 2, "the path ends with a dot"),
            ("a..b", 2, "a step of the path is empty"),
            (".a", 0, "a step of the path is empty"),
            ("$.after.status", 0, "this is a JSONPath, a dotted path is wanted here"),
            ("a.$b", 2, "a step of the path starts with $"),
            ("a[0]", 1, "an array index in a dotted path has no brackets"),
            ("a[b]", 2, "a name in brackets has no quotes"),
            ("a[\"b\"", 5, "the bracket is not closed"),
            ("a[\"b", 1, "the bracket is not closed"),
            ("a[\"b\"]c", 6, "a dot is missing between two steps of the path"),
            ("ä]", 1, "the path holds a stray ]"),
            ("a. b", 2, "a step of the path has blanks around it"),
        ] {
            let error = FieldPath::parse(text).unwrap_err();
            assert_eq!((error.offset, error.message.as_str(), error.code), (offset, message, CODE), "{text}");
            assert!(error.help.is_some(), "{text}");
        }
        assert_eq!(
            FieldPath::parse("$.after.a.b").unwrap_err().help.unwrap(),
            "write `a.b`; conditions on JSONPaths belong under `where`"
        );
    }

    #[test]
    fn a_dotted_name_lies_around_at_or_below_a_path_only_at_the_ends_of_steps() {
        let path = |text: &str| Path::from(&FieldPath::parse(text).unwrap());
        for (text, name, relation) in [
            ("a.b", "a.b", Relation::Same),
            ("a.b", "a", Relation::Around(1)),
            ("a.b", "a.b.c", Relation::Below),
            ("a.b", "a.bc", Relation::Apart),
            ("a.bc", "a.b", Relation::Apart),
            ("a", "ab.c", Relation::Apart),
            ("items.0.sku", "items.0", Relation::Around(2)),
            ("[\"a.b\"].c", "a", Relation::Apart),
            ("[\"a.b\"].c", "a.b", Relation::Around(1)),
        ] {
            assert_eq!(path(text).relation(name), relation, "{text} {name}");
        }
        assert_eq!(path("[\"a.b\"]").relation_to_steps(["a".into(), "b".into()].into_iter()), Relation::Apart);
        assert_eq!(path("a.b").relation_to_steps(["a".into(), "b".into()].into_iter()), Relation::Same);
        assert_eq!(Path::new(vec![]).relation("a"), Relation::Below);
        assert_eq!(path("[\"a.b\"].c").top_level(), "a");
    }

    #[test]
    fn a_dotted_step_of_digits_may_be_an_index_or_a_name() {
        assert_eq!(Step::dotted("10").index, Some(10));
        for name in ["01", "-1", "1a", "+1", "99999999999999999999999"] {
            assert_eq!(Step::dotted(name).index, None, "{name}");
        }
    }
}
