//! What to do with a type of event, in a sentence.

use changeling::parity::{TypeFigures, Verdict};

/// What to do next.
pub fn next(one: &TypeFigures) -> String {
    let name = &one.name;
    match one.judgement.verdict {
        Verdict::SafeToInfer => {
            format!(
                "leave {name} to its rule; the application need not write it any more, and until then send consumers only one of both (to:)"
            )
        }
        Verdict::InferWithCare if !one.is_inferred => {
            format!(
                "write a rule for {name}, if a change tells it (changeling coverage lists those without any event), and compare again; until then keep it explicit"
            )
        }
        Verdict::InferWithCare if one.other_key_count > 0 => {
            format!(
                "give the rule the key that the application uses for {name} (key:), and compare again; until then keep it explicit"
            )
        }
        Verdict::InferWithCare if one.different_count > 0 => {
            "look at what differs: correct the data of the rule, or list paths that may differ under parity.ignore; then compare again. Until then keep it explicit".to_owned()
        }
        Verdict::InferWithCare => {
            "look at the changes listed here: make the rule's conditions fit them and compare again. Until then keep it explicit".to_owned()
        }
        Verdict::NeedsAnOutbox if one.is_inferred => {
            format!("keep {name} in the outbox, and take its rule out: consumers would get events that are not true")
        }
        Verdict::NeedsAnOutbox => format!("keep {name} in the outbox; no rule makes it"),
        Verdict::Unknown => "compare over a longer time: --since 7d, or --from beginning".to_owned(),
    }
}

/// The reasons of the verdict, but for those that the shapes shown beside them tell with their proof.
pub fn reasons(one: &TypeFigures, top: usize) -> impl Iterator<Item = &String> {
    let is_told = move |reason: &str| {
        one.shapes.iter().take(top).any(|shape| shape.proof().is_some() && reason.ends_with(&shape.shape))
    };
    one.judgement.reasons.iter().filter(move |reason| !is_told(reason))
}

/// What a verdict comes to, for all types that have it.
pub fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::SafeToInfer => "the rules know them as well as the application does",
        Verdict::InferWithCare => "the rules know them not always, not all of their data, or not yet",
        Verdict::NeedsAnOutbox => "changes do not tell them: only the application knows",
        Verdict::Unknown => "there were too few events",
    }
}
