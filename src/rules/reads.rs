//! What a rule reads of the documents before and after a change: from it follow the images it needs and what the server may leave out.

use super::ast::{self, Operations, State, Transition, When};
use super::check::Check;
use super::condition::Conditions;
use super::path::Path;
use super::query::{Root, Start};
use super::view::root_path;
use super::{ImageNeeds, Query};
use crate::change::value::Numbers;

/// The top-level fields of which one must be touched for the conditions to hold on an update; `None` if none needs to be.
pub(super) fn touched(conditions: &Conditions<'_>) -> Option<Vec<String>> {
    let states = [conditions.enters, conditions.leaves].into_iter().flatten().map(touched_by_state);
    conditions.when.and_then(touched_by_when).into_iter().chain(states).min_by_key(Vec::len)
}

fn touched_by_state(State(all): &State) -> Vec<String> {
    let mut fields: Vec<String> = all.iter().map(|(path, _)| Path::from(path).top_level().to_owned()).collect();
    fields.sort();
    fields.dedup();
    fields
}

fn touched_by_when(when: &When) -> Option<Vec<String>> {
    match when {
        When::Field(_, transition) if matches!(**transition, Transition::Unchanged) => None,
        When::Field(path, _) => Some(vec![Path::from(path).top_level().to_owned()]),
        When::All(parts) => parts.iter().filter_map(touched_by_when).min_by_key(Vec::len),
        When::Any(parts) => {
            let mut fields = Vec::new();
            for part in parts {
                fields.extend(touched_by_when(part)?);
            }
            fields.sort();
            fields.dedup();
            Some(fields)
        }
    }
}

/// One place of the documents that a rule reads.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// The place, from the document's root on.
    pub(super) path: Path,
    /// The path as the rule names it: `status`, `$.before.total`.
    pub(super) text: String,
    /// The part of the rule: `when`, `data`.
    pub(super) part: &'static str,
    /// It asks what was there before.
    pub(super) before: bool,
    /// It asks whether something is different now, which a replacement shows only beside the document before it.
    pub(super) transition: bool,
    /// It asks what is there after an update, which the update need not say.
    pub(super) after: bool,
}

/// What a rule reads of the documents before and after a change.
#[derive(Default)]
pub(super) struct Reads {
    /// The part of the rule that is being looked at, for people.
    pub(super) part: &'static str,
    /// Every place of a document.
    list: Vec<Read>,
    /// It reads the update's own description, beyond what that says of the places in `list`.
    pub(super) description: bool,
    /// It reads how well the change as a whole is known, which depends on the images that are asked for.
    pub(super) evidence: bool,
    /// It reads what was there before.
    before: bool,
    /// It has a transition, which a replacement shows only beside the document before it.
    transitions: bool,
    /// The places it reads after the change.
    pub(super) after: Vec<Path>,
    /// The places that must have been written for the rule to fire.
    written: Vec<Path>,
}

impl Reads {
    pub(super) fn add_conditions(&mut self, conditions: &Conditions<'_>) {
        if let Some(when) = conditions.when {
            self.part = "when";
            self.add_when(when);
        }
        if let Some(filter) = conditions.filter {
            self.part = "where";
            self.add_where(filter);
        }
        for (part, state) in [("enters", conditions.enters), ("leaves", conditions.leaves)] {
            self.part = part;
            state.into_iter().for_each(|state| self.add_state(state));
        }
    }

    fn add_state(&mut self, State(all): &State) {
        (self.before, self.transitions) = (true, true);
        for (path, matcher) in all {
            self.add_place(path.into(), [true, true, true]);
            // Of one path it is known that it is written, as long as nothing but what is written in it is asked.
            if all.len() == 1 && Check::new(matcher, Numbers::ByValue).of_container().is_some() {
                self.written.push(path.into());
            }
            self.after.push(path.into());
        }
    }

    fn add_when(&mut self, when: &When) {
        match when {
            When::All(parts) => parts.iter().for_each(|part| self.add_when(part)),
            When::Any(parts) => {
                let written = self.written.len();
                parts.iter().for_each(|part| self.add_when(part));
                // Only one of them needs to be.
                self.written.truncate(written);
            }
            When::Field(path, transition) => self.add_transition(path.into(), transition),
        }
    }

    fn add_transition(&mut self, path: Path, transition: &Transition) {
        self.transitions = true;
        let asks = match transition {
            Transition::Changed | Transition::Unchanged => [false, true, false],
            Transition::Becomes { from, to } => [from.is_some(), true, to.is_some()],
            Transition::Appears | Transition::Disappears | Transition::Moves { .. } | Transition::Crosses(..) => {
                [true; 3]
            }
        };
        self.add_place(path.clone(), asks);
        match transition {
            Transition::Changed => self.written.push(path),
            Transition::Unchanged => {}
            Transition::Becomes { from, to } => {
                self.before |= from.is_some();
                let Some(to) = to else { return self.written.push(path) };
                // Of a whole document the description may tell only what was written in it.
                if Check::new(to, Numbers::ByValue).of_container().is_some() {
                    self.written.push(path.clone());
                }
                self.after.push(path);
            }
            Transition::Appears | Transition::Disappears | Transition::Moves { .. } | Transition::Crosses(..) => {
                self.before = true;
                self.after.push(path.clone());
                self.written.push(path);
            }
        }
    }

    fn add_where(&mut self, filter: &ast::Where) {
        match filter {
            ast::Where::All(parts) => parts.iter().for_each(|part| self.add_where(part)),
            ast::Where::Matches(query, _) | ast::Where::Exists(query) => self.add_query(query),
        }
    }

    /// The array is read before and after: what it held before tells what happened to its elements. What it holds after follows from
    /// that and from the update's own description.
    pub(super) fn add_each(&mut self, each: &ast::Each) {
        let path = Path::from(&each.path);
        self.part = "each";
        self.add_place(path.clone(), [true, false, true]);
        self.before = true;
        self.after.push(path.clone());
        self.written.push(path);
    }

    pub(super) fn add_query(&mut self, query: &Query) {
        self.add(query.root(), query.path());
        for segment in query.rest() {
            segment.visit_nodes(&mut |nodes| {
                if let Start::Root(root) = nodes.start {
                    self.add(root, &nodes.path);
                }
            });
        }
    }

    /// A place of the document itself; `asks` what was there, whether it differs, and what is there.
    fn add_place(&mut self, path: Path, [before, transition, after]: [bool; 3]) {
        let text = path.dotted().to_owned();
        self.list.push(Read { path, text, part: self.part, before, transition, after });
    }

    fn add(&mut self, root: Root, path: &Path) {
        let (before, after) = (matches!(root, Root::Before | Root::Whole), matches!(root, Root::After | Root::Whole));
        if before || after {
            let path = if root == Root::Whole { root_path() } else { path.clone() };
            let text = match (root, path.dotted()) {
                (Root::Whole, _) => "$".to_owned(),
                (root, "") => format!("$.{}", root.as_str()),
                (root, dotted) => format!("$.{}.{dotted}", root.as_str()),
            };
            self.list.push(Read { path, text, part: self.part, before, transition: false, after });
        }
        // Operation and names are told by every change.
        let is_plain =
            path.steps.first().is_some_and(|step| ["operation", "database", "collection"].contains(&&*step.text));
        let is_evidence = path.steps.first().is_none_or(|step| &*step.text == "evidence");
        self.evidence |= root == Root::Whole || (root == Root::Meta && is_evidence);
        self.description |= root == Root::Whole || (root == Root::Change && !is_plain);
        match root {
            Root::Before => self.before = true,
            Root::After => self.after.push(path.clone()),
            Root::Whole => {
                self.before = true;
                self.after.push(root_path());
            }
            // An element is part of its array, which `add_each` adds.
            Root::Key | Root::Change | Root::Meta | Root::Item | Root::ItemBefore | Root::Index => {}
        }
    }

    /// Every place that the rule reads.
    pub(super) fn list(&self) -> Vec<Read> {
        let mut list = self.list.clone();
        // Of what must have been written for the rule to fire, the update says what it is now.
        list.iter_mut().for_each(|read| read.after &= !self.written.contains(&read.path));
        list
    }

    pub(super) fn asks_what_was(&self, operations: Operations) -> bool {
        self.before && (operations.update || operations.delete)
    }

    /// What the rule needs beyond the change's own description.
    pub(super) fn needs(&self, operations: Operations) -> ImageNeeds {
        ImageNeeds {
            before: self.asks_what_was(operations) || (self.transitions && operations.update),
            after: operations.update && self.after.iter().any(|path| !self.written.contains(path)),
        }
    }
}
