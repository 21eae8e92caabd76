//! All that a report of parity tells, for programs as it is; terminal and page are made of it.

use changeling::app::{RelayAccount, Relaying};
use changeling::event::GAP;
use changeling::parity::{Confusion, Difference, FailingShape, Figures, TypeFigures, Verdict, grouped};
use changeling::rules::replay::{Account, RuleAccount};
use serde::Serialize;

use super::super::account::ReadSummary;
use super::advice;

/// A report of parity.
#[derive(Debug, Serialize)]
pub struct Report<'f> {
    pub read: ReadSummary,
    pub sides: Sides,
    /// What makes the figures worse, or less sure, than the rules are.
    pub notes: Vec<String>,
    pub summary: Summary,
    types: Vec<TypeReport<'f>>,
    /// Types that rules infer and the application does not record.
    pub not_compared: Vec<&'f str>,
    matrix: &'f [Confusion],
    /// Values of documents may be in it.
    pub has_values: bool,
    #[serde(skip)]
    pub figures: Figures,
}

/// How many events there are of both kinds.
#[derive(Debug, Serialize)]
pub struct Sides {
    pub explicit_events: u64,
    pub inferred_events: u64,
    pub relays: Vec<String>,
    pub rule_count: usize,
}

/// How many types have which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub safe_to_infer: usize,
    pub infer_with_care: usize,
    pub needs_an_outbox: usize,
    pub too_few_to_say: usize,
}

#[derive(Debug, Serialize)]
struct TypeReport<'f> {
    name: &'f str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    explicit_names: &'f [String],
    verdict: Verdict,
    reasons: &'f [String],
    next: String,
    explicit: u64,
    inferred: u64,
    matched: u64,
    different: u64,
    missing: u64,
    extra: u64,
    other_key: u64,
    precision: Option<f64>,
    recall: Option<f64>,
    lag_ms: Option<f64>,
    differences: &'f [Difference],
    shapes: Vec<ShapeReport<'f>>,
}

#[derive(Debug, Serialize)]
struct ShapeReport<'f> {
    kind: &'static str,
    shape: &'f str,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    shared_with: Vec<SharedWith<'f>>,
}

#[derive(Debug, Serialize)]
struct SharedWith<'f> {
    #[serde(rename = "type")]
    name: &'f str,
    count: u64,
}

impl<'f> Report<'f> {
    /// The report of a history that was read.
    pub fn new(
        read: ReadSummary,
        account: &Account,
        relaying: &Relaying,
        figures: &'f Figures,
        lacks_look_ups: bool,
        has_values: bool,
    ) -> Self {
        // What the connector tells of itself is no rule's.
        let told = account.rules.iter().filter(|rule| *rule.rule != *GAP);
        let (relays, rules): (Vec<_>, Vec<_>) =
            told.partition(|rule| rule.is_explicit || relaying.names().any(|name| *name == *rule.rule));
        let count = |all: &[&RuleAccount]| all.iter().map(|one| one.events_count).sum();
        let sides = Sides {
            explicit_events: count(&relays),
            inferred_events: count(&rules),
            relays: relaying.names().collect(),
            rule_count: rules.len(),
        };
        let notes = notes(&sides, &relays, &rules, relaying.account(), figures, lacks_look_ups);
        let compared = || figures.types.iter().filter(|one| one.is_compared);
        Self {
            summary: Summary::new(compared()),
            types: compared().map(TypeReport::new).collect(),
            not_compared: figures.types.iter().filter(|one| !one.is_compared).map(|one| one.name.as_str()).collect(),
            matrix: &figures.matrix,
            read,
            sides,
            notes,
            has_values,
            figures: figures.clone(),
        }
    }

    /// The types that are compared.
    pub fn types(&self) -> impl Iterator<Item = &TypeFigures> {
        self.figures.types.iter().filter(|one| one.is_compared)
    }

    /// Those that have this verdict.
    pub fn types_with(&self, verdict: Verdict) -> impl Iterator<Item = &TypeFigures> {
        self.types().filter(move |one| one.judgement.verdict == verdict)
    }
}

impl Summary {
    fn new<'f>(types: impl Iterator<Item = &'f TypeFigures>) -> Self {
        let mut summary = Self::default();
        for one in types {
            *match one.judgement.verdict {
                Verdict::SafeToInfer => &mut summary.safe_to_infer,
                Verdict::InferWithCare => &mut summary.infer_with_care,
                Verdict::NeedsAnOutbox => &mut summary.needs_an_outbox,
                Verdict::Unknown => &mut summary.too_few_to_say,
            } += 1;
        }
        summary
    }

    /// Each verdict with how many types have it, the best first.
    pub fn counts(&self) -> [(Verdict, usize); 4] {
        [
            (Verdict::SafeToInfer, self.safe_to_infer),
            (Verdict::InferWithCare, self.infer_with_care),
            (Verdict::NeedsAnOutbox, self.needs_an_outbox),
            (Verdict::Unknown, self.too_few_to_say),
        ]
    }

    /// How many types there are.
    pub fn all(&self) -> usize {
        self.counts().iter().map(|(_, count)| count).sum()
    }
}

impl<'f> TypeReport<'f> {
    fn new(one: &'f TypeFigures) -> Self {
        Self {
            name: &one.name,
            explicit_names: &one.explicit_names,
            verdict: one.judgement.verdict,
            reasons: &one.judgement.reasons,
            next: advice::next(one),
            explicit: one.explicit_count,
            inferred: one.inferred_count,
            matched: one.matched_count,
            different: one.different_count,
            missing: one.missing_count,
            extra: one.extra_count,
            other_key: one.other_key_count,
            precision: one.precision,
            recall: one.recall,
            lag_ms: one.lag_ms,
            differences: &one.differences,
            shapes: one.shapes.iter().map(ShapeReport::new).collect(),
        }
    }
}

impl<'f> ShapeReport<'f> {
    fn new(shape: &'f FailingShape) -> Self {
        let shared_with = shape.shared_with.iter().map(|(name, count)| SharedWith { name, count: *count });
        Self {
            kind: shape.kind,
            shape: &shape.shape,
            count: shape.count,
            proof: shape.proof(),
            shared_with: shared_with.collect(),
        }
    }
}

/// How many rules that were undecided are named.
const UNDECIDED_RULES_MAX: usize = 5;

fn notes(
    sides: &Sides,
    relays: &[&RuleAccount],
    rules: &[&RuleAccount],
    found: &RelayAccount,
    figures: &Figures,
    lacks_look_ups: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    if sides.rule_count == 0 {
        notes.push(
            "there are no rules: every explicit event is missing an inferred one; changeling coverage proposes rules"
                .to_owned(),
        );
    }
    if sides.explicit_events == 0 {
        let relays = sides.relays.join(", ");
        notes.push(format!("{relays} passed no event on: nothing can be said of any rule; read more (--from beginning), and look whether the application writes there"));
    }
    if lacks_look_ups {
        notes.push(
            "the tape holds no documents that a run would look up: rules that need them are undecided here".to_owned(),
        );
    }
    let mut undecided: Vec<&&RuleAccount> = rules.iter().filter(|rule| rule.undecided_count() > 0).collect();
    undecided.sort_by_key(|rule| std::cmp::Reverse(rule.undecided_count()));
    for rule in undecided.iter().take(UNDECIDED_RULES_MAX) {
        let reason =
            rule.undecided.iter().max_by_key(|(_, count)| **count).map_or("", |(reason, _)| reason.explanation());
        let (name, count) = (&rule.rule, grouped(rule.undecided_count()));
        notes.push(format!("the rule {name} was undecided {count} times ({reason}): events that it missed for that count as missing; changeling check says what is lacking"));
    }
    if undecided.len() > UNDECIDED_RULES_MAX {
        notes.push(format!(
            "{} more rules were undecided; changeling replay counts them",
            undecided.len() - UNDECIDED_RULES_MAX
        ));
    }
    for relay in relays.iter().filter(|relay| relay.failures.count > 0) {
        let reason =
            relay.failures.reasons.iter().max_by_key(|(_, count)| **count).map_or("", |(reason, _)| reason.as_str());
        let (name, count) = (&relay.rule, grouped(relay.failures.count));
        notes.push(format!("{count} changes of {name} could not be made events: {reason}"));
    }
    for ((relay, what), count) in &found.ignored {
        notes.push(format!("{} changes of {relay} made no event: {what}", grouped(*count)));
    }
    for (relay, count) in &found.faults {
        notes.push(format!("{} events of {relay} did not come in the order of their versions", grouped(*count)));
    }
    notes.extend(early(figures));
    if figures.given_up_count > 0 {
        notes.push(format!(
            "{} events could not be compared: too many waited for a partner at once",
            grouped(figures.given_up_count)
        ));
    }
    notes
}

/// Inferred events that were not judged, since it was not known yet that the application records their type.
fn early(figures: &Figures) -> Option<String> {
    // Events that were given up are not judged either.
    if figures.given_up_count > 0 {
        return None;
    }
    let judged = |one: &TypeFigures| one.matched_count + one.different_count + one.extra_count;
    let early: Vec<String> = figures
        .types
        .iter()
        .filter(|one| one.is_compared && one.inferred_count > judged(one))
        .map(|one| format!("{} of {}", grouped(one.inferred_count - judged(one)), one.name))
        .collect();
    (!early.is_empty()).then(|| {
        let early = early.join(", ");
        format!("not judged, since they came before the first explicit event of their type: {early} inferred; name the types under parity.types to have all of them judged")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inferred_events_before_the_first_explicit_one_of_their_type_are_told() {
        let kind = TypeFigures {
            name: "OrderPaid".to_owned(),
            is_compared: true,
            inferred_count: 12,
            matched_count: 6,
            extra_count: 5,
            ..TypeFigures::default()
        };
        let others = TypeFigures { name: "StockTaken".to_owned(), inferred_count: 9, ..TypeFigures::default() };
        let figures = |given_up_count, types| Figures { types, given_up_count, ..Figures::default() };
        let told = early(&figures(0, vec![kind.clone(), others.clone()])).unwrap();
        assert!(told.contains("type: 1 of OrderPaid inferred"), "{told}");
        assert_eq!(early(&figures(0, vec![others])), None);
        assert_eq!(early(&figures(3, vec![kind])), None);
    }
}
