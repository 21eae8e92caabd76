//! Why a rule fired on a change, did not, or could not be decided: every candidate, condition by condition. Pure; what comes of
//! the change is asked of the engine itself, the steps are asked one by one.

mod steps;
mod words;

use std::sync::Arc;

use bson::RawBson;

use super::ast::{self, Operations, UnknownPolicy};
use super::condition::Conditions;
use super::group;
use super::path::{Path, Step as PathStep};
use super::rule::CompiledRule;
use super::transition::both;
use super::view::{Truth, View};
use super::{NamespacePattern, Outcome, RuleSet, UnknownReason};
use crate::change::value::Numbers;
use crate::change::{Change, Operation};
use crate::event::Evidence;

use steps::Looking;

/// A set of rules that explains itself.
#[derive(Debug)]
pub struct Explainer {
    rules: Vec<ast::Rule>,
    groups: Vec<Option<usize>>,
    /// The top-level fields of which an update must touch one for a rule to look at it.
    touched: Vec<Option<Vec<String>>>,
    set: RuleSet,
}

/// What a rule says of a change, and why.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The rule's id.
    pub rule: Arc<str>,
    /// The event's name.
    pub event: Arc<str>,
    /// Where the rule stands.
    pub place: String,
    /// What came of it.
    pub verdict: RuleVerdict,
    /// Its conditions; none if it is no candidate.
    pub steps: Vec<Step>,
}

/// What came of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleVerdict {
    /// It fired, and made so many events; the evidence is the weakest of them.
    Fired {
        /// How many.
        events_count: usize,
        /// How they are known.
        evidence: Evidence,
        /// Why something had to be assumed, if it had.
        assumed: Option<UnknownReason>,
    },
    /// Its conditions hold, and its event could not be built, for this reason.
    Failed(String),
    /// Its conditions do not hold.
    Unmet,
    /// It could not be decided.
    Undecided {
        /// Why.
        reason: UnknownReason,
        /// What the rule wants to be done about it.
        policy: UnknownPolicy,
    },
    /// Its conditions hold or may hold, and an earlier rule of its group fired.
    Later {
        /// The id of the earlier rule.
        earlier: Arc<str>,
    },
    /// It does not look at such a change, for this reason.
    NoCandidate(String),
    /// It makes its event when the transaction has ended; these members take the change, as far as it is known.
    Member {
        /// The names of the members.
        members: Vec<Arc<str>>,
    },
}

/// One condition and its answer.
#[derive(Clone, Debug)]
pub struct Step {
    /// The key of the rule that it belongs to; inside a state, the side of the change.
    pub key: &'static str,
    /// The condition in the words of a rule file.
    pub text: String,
    /// Whether it holds.
    pub answer: Answer,
    /// On what evidence.
    pub evidence: Evidence,
    /// What it looked at.
    pub values: Vec<Value>,
    /// What it consists of.
    pub parts: Vec<Step>,
}

/// An answer of three-valued logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It can not be decided.
    Unknown(UnknownReason),
}

/// Something that a condition looked at.
#[derive(Clone, Debug)]
pub struct Value {
    /// `before`, `after`, or a query.
    pub what: String,
    /// What was there.
    pub seen: Seen,
}

/// What a condition found.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A value.
    Value(RawBson),
    /// Nothing.
    Missing,
    /// Nobody knows.
    Unknown(UnknownReason),
    /// So many elements.
    Count(usize),
}

impl From<Truth> for Answer {
    fn from(truth: Truth) -> Self {
        match truth {
            Truth::True => Self::Yes,
            Truth::False => Self::No,
            Truth::Unknown(reason) => Self::Unknown(reason),
        }
    }
}

impl From<Answer> for Truth {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::True,
            Answer::No => Self::False,
            Answer::Unknown(reason) => Self::Unknown(reason),
        }
    }
}

impl Explanation {
    /// The answer of all conditions together.
    pub fn answer(&self) -> Answer {
        answer_of(&self.steps)
    }
}

fn answer_of(steps: &[Step]) -> Answer {
    steps.iter().fold(Truth::True, |all, step| both(all, || step.answer.into())).into()
}

impl Explainer {
    /// An explainer of checked rules.
    pub fn new(rules: Vec<ast::Rule>) -> Self {
        let groups = group::numbers(&rules);
        let touched = rules.iter().map(|rule| CompiledRule::new(rule).touched).collect();
        Self { set: RuleSet::compile(rules.clone()), rules, groups, touched }
    }

    /// Why each rule did what it did, in the order of the rules.
    pub fn explain(&self, change: &Change<'_>) -> Vec<Explanation> {
        let mut outcome = Outcome::default();
        self.set.apply(change, &mut outcome);
        let view = View::new(change);
        let mut matched: Vec<(usize, Arc<str>)> = Vec::new();
        let mut all = Vec::new();
        for ((rule, group), touched) in self.rules.iter().zip(&self.groups).zip(&self.touched) {
            let earlier = group.and_then(|group| matched.iter().find(|(known, _)| *known == group)).map(|(_, id)| id);
            let explanation = explain(rule, touched.as_deref(), &view, &outcome, earlier);
            let matches = matches!(explanation.verdict, RuleVerdict::Fired { .. } | RuleVerdict::Failed(_));
            if let Some(group) = group
                && matches
            {
                matched.push((*group, Arc::clone(&rule.id)));
            }
            all.push(explanation);
        }
        all
    }
}

fn explain(
    rule: &ast::Rule,
    touched: Option<&[String]>,
    view: &View<'_>,
    outcome: &Outcome,
    earlier: Option<&Arc<str>>,
) -> Explanation {
    let explanation = |verdict, steps| Explanation {
        rule: Arc::clone(&rule.id),
        event: Arc::clone(&rule.event),
        place: rule.origin.clone(),
        verdict,
        steps,
    };
    let looking = Looking { view, numbers: rule.numbers };
    if let Some(transaction) = &rule.transaction {
        let (verdict, steps) = of_transaction(transaction, &looking);
        return explanation(verdict, steps);
    }
    let conditions = Conditions::from(rule);
    if !has_said(rule, outcome)
        && let Some(reason) = no_candidate(&rule.collections, rule.operations, touched, view)
    {
        return explanation(RuleVerdict::NoCandidate(reason), Vec::new());
    }
    let steps = match &rule.each {
        None => looking.conditions(&conditions),
        Some(each) => {
            let asks_element = |query: &super::Query| query.roots().iter().any(|root| root.is_of_an_element());
            let (of_change, of_element) = conditions.filter.map_or((None, None), |filter| filter.split(&asks_element));
            let mut steps = looking.conditions(&Conditions { filter: of_change.as_ref(), ..conditions });
            steps.push(looking.each(each, of_element.as_ref()));
            steps
        }
    };
    let verdict = verdict(rule, outcome, earlier, answer_of(&steps));
    explanation(verdict, steps)
}

/// True if something came of the rule.
fn has_said(rule: &ast::Rule, outcome: &Outcome) -> bool {
    let mut ids = outcome.events.iter().map(|event| &event.rule);
    let mut others = outcome.undecided.iter().map(|one| &one.rule).chain(outcome.failed.iter().map(|one| &one.rule));
    ids.any(|id| **id == *rule.id) || others.any(|id| **id == *rule.id)
}

/// What the engine made of the rule.
fn verdict(rule: &ast::Rule, outcome: &Outcome, earlier: Option<&Arc<str>>, answer: Answer) -> RuleVerdict {
    let is_own = |id: &Arc<str>| **id == *rule.id;
    let undecided = outcome.undecided.iter().find(|one| is_own(&one.rule));
    let events = || outcome.events.iter().filter(|event| is_own(&event.rule));
    if let Some(evidence) = events().map(|event| event.evidence).max() {
        let assumed = undecided.map(|one| one.reason);
        return RuleVerdict::Fired { events_count: events().count(), evidence, assumed };
    }
    if let Some(failed) = outcome.failed.iter().find(|failed| is_own(&failed.rule)) {
        return RuleVerdict::Failed(failed.reason.clone());
    }
    match (undecided, earlier) {
        (Some(one), _) => RuleVerdict::Undecided { reason: one.reason, policy: one.policy },
        (None, Some(earlier)) if answer != Answer::No => RuleVerdict::Later { earlier: Arc::clone(earlier) },
        (None, _) => RuleVerdict::Unmet,
    }
}

/// Why a rule, or a member, does not look at the change.
fn no_candidate(
    collections: &[NamespacePattern],
    operations: Operations,
    touched: Option<&[String]>,
    view: &View<'_>,
) -> Option<String> {
    let change = view.change;
    if !collections.iter().any(|pattern| pattern.matches(change.database, change.collection)) {
        let names: Vec<String> =
            collections.iter().map(|pattern| format!("{}.{}", pattern.database, pattern.collection)).collect();
        return Some(format!("it looks at {}", names.join(", ")));
    }
    let (is_asked, word) = match change.operation {
        Operation::Insert => (operations.insert, "an insert"),
        Operation::Update => (operations.update, "an update"),
        Operation::Replace => (operations.update, "a replace"),
        Operation::Delete => (operations.delete, "a delete"),
    };
    if !is_asked {
        let asked = [(operations.insert, "insert"), (operations.update, "update"), (operations.delete, "delete")];
        let asked: Vec<&str> = asked.iter().filter(|(is_asked, _)| *is_asked).map(|(_, word)| *word).collect();
        return Some(format!("it fires on {}, and this is {word}", asked.join(" and ")));
    }
    let is_update = matches!(change.operation, Operation::Update | Operation::Replace);
    let fields = touched.filter(|_| is_update)?;
    let is_touched = |field: &String| {
        let path = Path::new(vec![PathStep::name(field)]);
        view.differs(&path, view.mention(&path), Numbers::Strict).0 != Truth::False
    };
    let none = !fields.iter().any(is_touched);
    none.then(|| format!("the change touches none of the fields it waits for: {}", fields.join(", ")))
}

/// What a change is to a rule with `transaction`.
fn of_transaction(transaction: &ast::Transaction, looking: &Looking<'_, '_>) -> (RuleVerdict, Vec<Step>) {
    if looking.view.change.transaction.is_none() {
        return (
            RuleVerdict::NoCandidate("it looks at transactions, and this change is in none".to_owned()),
            Vec::new(),
        );
    }
    let (mut steps, mut members, mut why) = (Vec::new(), Vec::new(), Vec::new());
    for member in &transaction.members {
        if let Some(reason) = no_candidate(&member.collections, member.operations, None, looking.view) {
            why.push(format!("{}: {reason}", member.alias));
            continue;
        }
        let parts = looking.conditions(&Conditions::from(member));
        let answer = answer_of(&parts);
        if answer != Answer::No {
            members.push(Arc::clone(&member.alias));
        }
        steps.push(Step {
            key: "member",
            text: member.alias.to_string(),
            answer,
            evidence: parts.iter().map(|part| part.evidence).max().unwrap_or_default(),
            values: Vec::new(),
            parts,
        });
    }
    match (steps.is_empty(), members.is_empty()) {
        (true, _) => (RuleVerdict::NoCandidate(why.join("; ")), steps),
        (false, true) => (RuleVerdict::Unmet, steps),
        (false, false) => (RuleVerdict::Member { members }, steps),
    }
}
