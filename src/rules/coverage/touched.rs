//! The paths that a change touches.

use std::collections::BTreeSet;

use bson::{RawBsonRef, RawDocument};
use serde::{Deserialize, Serialize};

use super::fields::{Word, is_id_like};
use super::shape::{Side, Transition};
use crate::change::element::{self, elements};
use crate::change::value::{self, Numbers};
use crate::change::{Change, Description, Image, Operation};

/// How many paths of one change are told apart.
const PATHS_MAX: usize = 16;
/// How many are looked at.
const PATHS_WALKED_MAX: usize = 256;
/// How deep a path is followed.
const STEPS_MAX: usize = 6;

/// What stands for an index, or for a name that is an id.
pub(super) const ANY: &str = "*";

/// The set of paths that a change touches, as far as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Touched {
    paths: Vec<String>,
    pub(super) has_more: bool,
    pub(super) is_whole: bool,
}

impl Touched {
    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The same with every name below a parent that `is_open` folded to `*`.
    pub(super) fn folded(&self, is_open: impl Fn(&str) -> bool) -> Self {
        let fold = |path: &String| {
            let mut folded = String::new();
            for step in split(path) {
                let is_folded = !folded.is_empty() && is_open(&folded);
                push_step(&mut folded, if is_folded { ANY } else { &step });
            }
            folded
        };
        let paths: BTreeSet<String> = self.paths.iter().map(fold).collect();
        Self { paths: paths.into_iter().collect(), ..self.clone() }
    }
}

/// The paths of one change, with their values before and after.
#[derive(Debug, Default)]
pub(super) struct Walked<'c> {
    paths: Vec<WalkedPath<'c>>,
    is_whole: bool,
}

#[derive(Debug)]
struct WalkedPath<'c> {
    steps: Vec<String>,
    /// Nothing if it is not known.
    before: Option<Option<RawBsonRef<'c>>>,
    after: Option<RawBsonRef<'c>>,
}

/// The paths that the change touches.
pub(super) fn of<'c>(change: &Change<'c>) -> Walked<'c> {
    let mut walked = Walked::default();
    if matches!(change.operation, Operation::Insert | Operation::Delete) {
        return walked;
    }
    match (&change.description, change.before, change.after) {
        (Some(description), before, _) => walked.describe(description, known(before)),
        (None, Image::Exact(before), Image::Exact(after)) => walked.compare(before, after, &mut Vec::new()),
        (None, _, _) => walked.is_whole = true,
    }
    walked
}

/// The fields of a document that came or went as a whole, as far as the change tells them; nothing of another change.
pub(super) fn of_whole<'c>(change: &Change<'c>) -> Walked<'c> {
    let mut walked = Walked::default();
    let (before, after) = match change.operation {
        Operation::Insert => (None, known(change.after)),
        Operation::Delete => (known(change.before), None),
        Operation::Update | Operation::Replace => (None, None),
    };
    for element in before.or(after).map(elements).into_iter().flatten() {
        let value = element.value();
        let (before, after) = if before.is_some() { (Some(value), None) } else { (Some(None), value) };
        walked.paths.push(WalkedPath { steps: vec![element.name_text().to_owned()], before, after });
    }
    walked
}

pub(super) fn known(image: Image<'_>) -> Option<&RawDocument> {
    match image {
        Image::Exact(document) => Some(document),
        Image::LookedUp(_) | Image::Absent | Image::Unknown => None,
    }
}

impl<'c> Walked<'c> {
    fn describe(&mut self, description: &Description<'c>, before: Option<&'c RawDocument>) {
        let steps_of = |path: &str| {
            let told = description.disambiguated.and_then(|paths| paths.get_array(path).ok());
            match told {
                Some(steps) => steps.into_iter().flatten().map(step_text).collect(),
                None => path.split('.').map(str::to_owned).collect::<Vec<String>>(),
            }
        };
        for element in elements(description.updated) {
            self.push(steps_of(element.name_text()), before, element.value());
        }
        for path in description.removed.into_iter().flatten().filter_map(|path| path.as_str()) {
            self.push(steps_of(path), before, None);
        }
        for entry in description.truncated.into_iter().flatten().flatten().filter_map(|entry| entry.as_document()) {
            if let Ok(path) = entry.get_str("field") {
                let mut steps = steps_of(path);
                steps.push(ANY.to_owned());
                self.paths.push(WalkedPath { steps, before: None, after: None });
            }
        }
    }

    /// Adds a path that was written, unless it is known that nothing differs there.
    fn push(&mut self, steps: Vec<String>, before: Option<&'c RawDocument>, after: Option<RawBsonRef<'c>>) {
        if self.paths.len() >= PATHS_WALKED_MAX {
            return;
        }
        let before = before.map(|document| find(document, &steps));
        match (before, after) {
            (Some(None), None) => return,
            (Some(Some(before)), Some(after)) if value::equal(before, after, Numbers::ByValue) => return,
            _ => {}
        }
        self.paths.push(WalkedPath { steps, before, after });
    }

    fn compare(&mut self, before: &'c RawDocument, after: &'c RawDocument, steps: &mut Vec<String>) {
        for element in elements(before) {
            let name = element.name_text();
            self.compare_values(name, element.value(), element::get(after, name), steps);
        }
        for element in elements(after) {
            let name = element.name_text();
            if element::get(before, name).is_none() {
                self.compare_values(name, None, element.value(), steps);
            }
        }
    }

    fn compare_values(
        &mut self,
        name: &str,
        before: Option<RawBsonRef<'c>>,
        after: Option<RawBsonRef<'c>>,
        steps: &mut Vec<String>,
    ) {
        if self.paths.len() >= PATHS_WALKED_MAX {
            return;
        }
        steps.push(name.to_owned());
        match (before, after) {
            (Some(before), Some(after)) if value::equal(before, after, Numbers::ByValue) => {}
            (Some(RawBsonRef::Document(before)), Some(RawBsonRef::Document(after))) if steps.len() < STEPS_MAX => {
                self.compare(before, after, steps);
            }
            (before, after) => self.paths.push(WalkedPath { steps: steps.clone(), before: Some(before), after }),
        }
        steps.pop();
    }

    /// Folds indexes and ids to `*`. `note` is told of every other name, with the path above it, and says if there are too many
    /// of them to be names.
    pub(super) fn fold(&mut self, mut note: impl FnMut(&str, &str) -> bool) {
        for path in &mut self.paths {
            let is_array = |value: Option<RawBsonRef<'_>>| matches!(value, Some(RawBsonRef::Array(_)));
            let mut parent = String::new();
            path.steps.truncate(STEPS_MAX);
            for step in &mut path.steps {
                if step != ANY && (is_id_like(step) || note(&parent, step)) {
                    *step = ANY.to_owned();
                }
                push_step(&mut parent, step);
            }
            // An element that was pushed comes as `items.3`, one that was pulled with the whole array.
            if is_array(path.after) || is_array(path.before.flatten()) {
                path.steps.push(ANY.to_owned());
            }
        }
    }

    /// The transitions of fields that may be enumerations: `note` is told of a value at a path, and gives its word if it may be
    /// one of few.
    pub(super) fn transitions(&self, mut note: impl FnMut(&str, RawBsonRef<'_>) -> Option<Word>) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for WalkedPath { steps, before, after } in self.paths.iter().take(PATHS_MAX) {
            if steps.iter().any(|step| step == ANY) {
                continue;
            }
            let path = join(steps);
            let mut side = |value: Option<RawBsonRef<'_>>| match value {
                None => Some(Side::Missing),
                Some(value) => note(&path, value).map(Side::Is),
            };
            let after = side(*after);
            let before = match before {
                None => Some(Side::Unknown),
                Some(value) => side(*value),
            };
            let (Some(before), Some(after)) = (before, after) else { continue };
            if matches!((&before, &after), (Side::Is(_), _) | (_, Side::Is(_))) {
                transitions.push(Transition { path, before, after });
            }
        }
        transitions.sort();
        transitions
    }

    pub(super) fn into_touched(self) -> Touched {
        let paths: BTreeSet<String> = self.paths.iter().map(|path| join(&path.steps)).collect();
        let has_more = paths.len() > PATHS_MAX || self.paths.len() >= PATHS_WALKED_MAX;
        Touched { paths: paths.into_iter().take(PATHS_MAX).collect(), has_more, is_whole: self.is_whole }
    }
}

/// A step of `disambiguatedPaths`: a name, or an index as a number.
fn step_text(step: RawBsonRef<'_>) -> String {
    match step {
        RawBsonRef::String(name) => name.to_owned(),
        RawBsonRef::Int32(index) => index.to_string(),
        RawBsonRef::Int64(index) => index.to_string(),
        _ => ANY.to_owned(),
    }
}

pub(super) fn find<'c>(document: &'c RawDocument, steps: &[impl AsRef<str>]) -> Option<RawBsonRef<'c>> {
    let (first, rest) = steps.split_first()?;
    let mut value = element::get(document, first.as_ref())?;
    for step in rest {
        let step = step.as_ref();
        value = match value {
            RawBsonRef::Document(document) => element::get(document, step)?,
            RawBsonRef::Array(array) => element::get(RawDocument::from_bytes(array.as_bytes()).ok()?, step)?,
            _ => return None,
        };
    }
    Some(value)
}

/// The path as `when` takes it, but for `*`: names joined by dots, and in brackets where they hold what a path can not.
pub(super) fn join<S: AsRef<str>>(steps: &[S]) -> String {
    let mut path = String::new();
    steps.iter().for_each(|step| push_step(&mut path, step.as_ref()));
    path
}

fn push_step(path: &mut String, step: &str) {
    let is_plain = !step.is_empty()
        && step.trim() == step
        && !step.starts_with('$')
        && !step.contains(['.', '[', ']', '"', '\'', '\\']);
    if is_plain {
        if !path.is_empty() {
            path.push('.');
        }
        return path.push_str(step);
    }
    path.push_str("[\"");
    for character in step.chars() {
        if matches!(character, '"' | '\\') {
            path.push('\\');
        }
        path.push(character);
    }
    path.push_str("\"]");
}

/// The steps of a joined path.
pub(super) fn split(path: &str) -> Vec<String> {
    crate::rules::FieldPath::parse(path).map(|path| path.steps).unwrap_or_default()
}
