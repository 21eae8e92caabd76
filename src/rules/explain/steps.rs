//! The conditions of a rule, one by one, with their answers and what they saw.

use std::ops::ControlFlow;

use bson::{RawBson, RawBsonRef};

use super::{Answer, Seen, Step, Value, words};
use crate::change::value::Numbers;
use crate::event::Evidence;
use crate::rules::ast::{Each, State, When, Where};
use crate::rules::check::Check;
use crate::rules::condition::{Condition, Conditions, prepared};
use crate::rules::path::Path;
use crate::rules::query::{self, Query};
use crate::rules::view::{Fact, Known, Truth, View};
use crate::rules::{FieldPath, Matcher, each};

/// How many of the nodes that a query selects are told.
const NODES_MAX: usize = 3;

/// Looks at one change for a rule.
pub(super) struct Looking<'l, 'c> {
    pub(super) view: &'l View<'c>,
    pub(super) numbers: Numbers,
}

impl Looking<'_, '_> {
    /// Every condition on the change. `of_change` is `where` without what asks for elements of an array.
    pub(super) fn conditions(&self, conditions: &Conditions<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        match conditions.when {
            Some(When::All(all)) => steps.extend(all.iter().map(|when| self.when(when))),
            Some(when) => steps.push(self.when(when)),
            None => {}
        }
        match conditions.filter {
            Some(Where::All(all)) => steps.extend(all.iter().map(|filter| self.filter(filter))),
            Some(filter) => steps.push(self.filter(filter)),
            None => {}
        }
        steps.extend(conditions.enters.map(|state| self.state("enters", state)));
        steps.extend(conditions.leaves.map(|state| self.state("leaves", state)));
        steps
    }

    fn step(&self, key: &'static str, text: String, conditions: Conditions<'_>) -> Step {
        let mut evidence = Evidence::Exact;
        let truth = Condition::new(conditions, self.numbers).holds(self.view, &mut evidence);
        Step { key, text, answer: truth.into(), evidence, values: Vec::new(), parts: Vec::new() }
    }

    fn when(&self, when: &When) -> Step {
        let mut step = self.step("when", words::when(when), Conditions { when: Some(when), ..Conditions::default() });
        match when {
            When::All(parts) | When::Any(parts) => step.parts = parts.iter().map(|part| self.when(part)).collect(),
            When::Field(path, _) => step.values = self.both_sides(path),
        }
        step
    }

    fn both_sides(&self, path: &FieldPath) -> Vec<Value> {
        let path = Path::from(path);
        vec![
            Value { what: "before".to_owned(), seen: seen(self.view.before(&path)) },
            Value { what: "after".to_owned(), seen: seen(self.view.after(&path)) },
        ]
    }

    fn filter(&self, filter: &Where) -> Step {
        let mut step =
            self.step("where", words::filter(filter), Conditions { filter: Some(filter), ..Conditions::default() });
        match filter {
            Where::All(parts) => step.parts = parts.iter().map(|part| self.filter(part)).collect(),
            Where::Matches(query, _) | Where::Exists(query) => step.values = self.nodes(query),
        }
        step
    }

    fn nodes(&self, query: &Query) -> Vec<Value> {
        let value = |seen| Value { what: query.text.clone(), seen };
        match prepared(self.view, query, &mut Evidence::default()) {
            Known::Unknown(reason) => vec![value(Seen::Unknown(reason))],
            Known::Missing => vec![value(Seen::Missing)],
            Known::Value(start) => {
                let mut values = Vec::new();
                let _ = query::nodes(&self.view, start, query.rest(), &mut |node| {
                    values.push(value(of(node)));
                    if values.len() < NODES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                if values.is_empty() { vec![value(Seen::Missing)] } else { values }
            }
        }
    }

    /// A state as a whole, and each of its conditions before and after.
    fn state(&self, key: &'static str, state: &State) -> Step {
        let conditions = match key {
            "enters" => Conditions { enters: Some(state), ..Conditions::default() },
            _ => Conditions { leaves: Some(state), ..Conditions::default() },
        };
        let mut step = self.step(key, words::state(state), conditions);
        for (path, wanted) in &state.0 {
            let place = Path::from(path);
            for (side, fact) in [("before", self.view.before(&place)), ("after", self.view.after(&place))] {
                step.parts.push(self.state_part(path, wanted, side, fact));
            }
        }
        step
    }

    fn state_part(&self, path: &FieldPath, wanted: &Matcher, side: &'static str, fact: Fact<'_>) -> Step {
        let check = Check::new(wanted, self.numbers);
        let answer = match fact.known {
            Known::Value(value) => Truth::from(check.matches(Some(value))).into(),
            Known::Missing => Truth::from(check.matches(None)).into(),
            Known::Unknown(reason) => Answer::Unknown(reason),
        };
        Step {
            key: side,
            text: format!("{}: {}", path.text, words::matcher(wanted)),
            answer,
            evidence: fact.evidence,
            values: vec![Value { what: side.to_owned(), seen: seen(fact) }],
            parts: Vec::new(),
        }
    }

    /// The elements of an array: the answer for all of them is that of the best.
    pub(super) fn each(&self, each: &Each, of_element: Option<&Where>) -> Step {
        let compiled = each::Each::new(each, of_element, self.numbers);
        let (mut held, mut unknown, mut how) = (0_usize, None, None);
        compiled.visit(self.view, &mut each::Scratch::default(), &mut |_, truth, evidence| match truth {
            Truth::True => {
                held += 1;
                how = Some(how.map_or(evidence, |known: Evidence| known.min(evidence)));
            }
            Truth::Unknown(reason) => unknown = unknown.or(Some(reason)),
            Truth::False => {}
        });
        let answer = match (held, unknown) {
            (0, None) => Answer::No,
            (0, Some(reason)) => Answer::Unknown(reason),
            (_, _) => Answer::Yes,
        };
        let mut text = words::each(each);
        if let Some(filter) = of_element {
            text = format!("{text} and {}", words::filter(filter));
        }
        let values = vec![Value { what: "elements".to_owned(), seen: Seen::Count(held) }];
        Step { key: "each", text, answer, evidence: how.unwrap_or_default(), values, parts: Vec::new() }
    }
}

fn seen(fact: Fact<'_>) -> Seen {
    match fact.known {
        Known::Value(value) => of(value),
        Known::Missing => Seen::Missing,
        Known::Unknown(reason) => Seen::Unknown(reason),
    }
}

fn of(value: RawBsonRef<'_>) -> Seen {
    Seen::Value(RawBson::from(value))
}
