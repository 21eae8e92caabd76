//! What is to be done with a type of event, from its figures.
//!
//! In this order:
//! 1. nothing to compare, or fewer than [`DECIDED_MIN`] events and none of them failed: *unknown*;
//! 2. of its events, at least the share [`PROOF_SHARE_MIN`] failed with a shape of changes that other explicit types left too, or left
//!    no change at all: *needs an outbox*. That is a proof, so that few events are enough;
//! 3. anything differs, is missing, extra, or was known on weaker evidence than exact: *infer with care*;
//! 4. else *safe to infer*.

use super::footprint::NO_CHANGE;
use super::{Judgement, TypeFigures, Verdict};

/// So many events must have been decided before rules are trusted.
pub(super) const DECIDED_MIN: u64 = 20;
/// From this share of the events on, a proof counts.
pub(super) const PROOF_SHARE_MIN: f64 = 0.01;
/// How many reasons of one kind are told.
const REASONS_MAX: usize = 3;

/// What the judgement is made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts<'f> {
    is_compared: bool,
    is_inferred: bool,
    explicit: u64,
    pairs: u64,
    different: u64,
    missing: u64,
    extra: u64,
    other_key: u64,
    weak: u64,
    /// What differs most often.
    differences: Vec<String>,
    /// Word, shape, how often, the other explicit types that left it.
    shared: Vec<(&'f str, &'f str, u64, Vec<&'f str>)>,
    /// Explicit events that left no change but themselves.
    without_change: u64,
}

impl<'f> Facts<'f> {
    pub(super) fn of(figures: &'f TypeFigures) -> Self {
        let shared = figures.shapes.iter().filter(|shape| !shape.shared_with.is_empty() && shape.shape != NO_CHANGE);
        let shared = shared.map(|shape| {
            let others = shape.shared_with.iter().map(|(name, _)| name.as_str()).collect();
            (shape.kind, shape.shape.as_str(), shape.count, others)
        });
        let without_change = figures.shapes.iter().filter(|shape| shape.shape == NO_CHANGE);
        Self {
            is_compared: figures.is_compared,
            is_inferred: figures.is_inferred,
            explicit: figures.explicit_count,
            pairs: figures.matched_count + figures.different_count,
            different: figures.different_count,
            missing: figures.missing_count,
            extra: figures.extra_count,
            other_key: figures.other_key_count,
            weak: figures.weak_count,
            differences: figures.differences.iter().map(|one| format!("{} ({})", one.path, one.what)).collect(),
            shared: shared.collect(),
            without_change: without_change.map(|shape| shape.count).sum(),
        }
    }

    fn decided(&self) -> u64 {
        self.pairs + self.missing + self.extra
    }

    /// What proves that changes do not tell the type apart.
    fn proofs(&self) -> Vec<String> {
        let is_enough = |count: u64| count as f64 >= PROOF_SHARE_MIN * self.decided() as f64;
        let mut proofs = Vec::new();
        if self.without_change > 0 && is_enough(self.without_change) {
            proofs.push(format!(
                "{} left no change but {}: there was nothing that a rule could see",
                counted(self.without_change, "event"),
                if self.without_change == 1 { "itself" } else { "themselves" }
            ));
        }
        let shared = self.shared.iter().filter(|(_, _, count, _)| is_enough(*count));
        proofs.extend(shared.take(REASONS_MAX).map(|(kind, shape, count, others)| {
            format!(
                "{} {kind} behind the very shape of change that {} left too: {shape}",
                counted(*count, "event"),
                listed(others)
            )
        }));
        proofs
    }

    /// What speaks for care.
    fn cares(&self) -> Vec<String> {
        let mut cares = Vec::new();
        if !self.is_inferred && self.explicit > 0 {
            cares.push("no rule makes it".to_owned());
        }
        if self.missing > 0 {
            let all = self.pairs + self.missing;
            cares.push(format!(
                "{} of {} missing{}",
                self.missing,
                counted(all, "explicit event"),
                share(self.missing, all)
            ));
        }
        if self.other_key > 0 {
            cares.push(format!(
                "{} of the missing had an inferred event of the same type in their transaction, under another key: compare the rule's `key` with the application's",
                self.other_key
            ));
        }
        if self.extra > 0 {
            let all = self.pairs + self.extra;
            cares.push(format!("{} of {} extra{}", self.extra, counted(all, "inferred event"), share(self.extra, all)));
        }
        if self.different > 0 {
            let told: Vec<&str> = self.differences.iter().take(REASONS_MAX).map(String::as_str).collect();
            cares.push(format!(
                "the data of {} of {} differ: {}",
                self.different,
                counted(self.pairs, "pair"),
                told.join(", ")
            ));
        }
        if self.weak > 0 {
            cares.push(format!(
                "{} of {} known on weaker evidence than exact: keep the documents before and after changes",
                self.weak,
                counted(self.pairs, "pair")
            ));
        }
        cares
    }
}

/// The judgement.
pub(super) fn of(facts: &Facts<'_>) -> Judgement {
    let (proofs, mut cares) = (facts.proofs(), facts.cares());
    let few = (facts.decided() < DECIDED_MIN)
        .then(|| format!("{} decided so far; {DECIDED_MIN} tell something", counted(facts.decided(), "event")));
    let judgement = |verdict, reasons| Judgement { verdict, reasons };
    if !facts.is_compared {
        let reason = "the application records no such event: there is nothing to compare".to_owned();
        return judgement(Verdict::Unknown, vec![reason]);
    }
    if !proofs.is_empty() {
        let reasons = proofs.into_iter().chain(cares).collect();
        return judgement(Verdict::NeedsAnOutbox, reasons);
    }
    if facts.decided() == 0 {
        return judgement(Verdict::Unknown, few.into_iter().collect());
    }
    if !cares.is_empty() {
        cares.extend(few);
        return judgement(Verdict::InferWithCare, cares);
    }
    match few {
        Some(few) => judgement(Verdict::Unknown, vec![few]),
        None => judgement(Verdict::SafeToInfer, vec![format!("{}, all alike", counted(facts.pairs, "pair"))]),
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn share(count: u64, all: u64) -> String {
    let percent = count as f64 * 100.0 / all.max(1) as f64;
    if percent >= 1.0 { format!(" ({percent:.0} %)") } else { format!(" ({percent:.2} %)") }
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first, second] => format!("{first} and {second}"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts { is_compared: true, is_inferred: true, explicit: 100, pairs: 100, ..Facts::default() }
    }

    fn verdict(facts: &Facts<'_>) -> (Verdict, Vec<String>) {
        let Judgement { verdict, reasons } = of(facts);
        assert!(!reasons.is_empty(), "{facts:?}");
        (verdict, reasons)
    }

    #[test]
    fn what_always_agrees_is_safe_once_there_is_enough_of_it() {
        assert_eq!(verdict(&facts()).0, Verdict::SafeToInfer);
        let few = verdict(&Facts { pairs: DECIDED_MIN - 1, ..facts() });
        assert_eq!(few, (Verdict::Unknown, vec!["19 events decided so far; 20 tell something".to_owned()]));
        assert_eq!(verdict(&Facts { is_compared: false, ..facts() }).0, Verdict::Unknown);
        assert_eq!(verdict(&Facts { pairs: 0, ..facts() }).0, Verdict::Unknown);
    }

    #[test]
    fn anything_amiss_asks_for_care_and_says_why() {
        for (facts, reason) in [
            (Facts { missing: 25, pairs: 75, ..facts() }, "25 of 100 explicit events missing (25 %)"),
            (Facts { extra: 1, pairs: 999, ..facts() }, "1 of 1000 inferred events extra (0.10 %)"),
            (
                Facts { different: 3, differences: vec!["by (only explicit)".to_owned()], ..facts() },
                "the data of 3 of 100 pairs differ: by (only explicit)",
            ),
            (
                Facts { weak: 1, ..facts() },
                "1 of 100 pairs known on weaker evidence than exact: keep the documents before and after changes",
            ),
            (Facts { is_inferred: false, pairs: 0, missing: 100, ..facts() }, "no rule makes it"),
        ] {
            let (verdict, reasons) = verdict(&facts);
            assert_eq!((verdict, reasons[0].as_str()), (Verdict::InferWithCare, reason));
        }
    }

    #[test]
    fn a_shape_that_others_left_too_is_a_proof_however_few_there_are_but_not_where_it_is_rare() {
        let shape = "update of shop.orders: status (status: value 1 -> value 2)";
        let shared = |count| vec![("missing", shape, count, vec!["OrderRefused"])];
        let few = Facts { pairs: 1, missing: 1, shared: shared(1), ..facts() };
        let (proven, reasons) = verdict(&few);
        assert_eq!(proven, Verdict::NeedsAnOutbox);
        assert_eq!(
            reasons[0],
            format!("1 event missing behind the very shape of change that OrderRefused left too: {shape}")
        );
        assert_eq!(verdict(&Facts { missing: 1, shared: shared(1), ..facts() }).0, Verdict::InferWithCare);
        assert_eq!(verdict(&Facts { missing: 2, shared: shared(2), ..facts() }).0, Verdict::NeedsAnOutbox);
        let silent = Facts { pairs: 0, missing: 2, without_change: 2, ..facts() };
        assert_eq!(verdict(&silent).0, Verdict::NeedsAnOutbox);
    }
}
