//! The changes that the members of one rule have taken in one transaction, and what the rule reads of them in the end.

use std::collections::HashSet;
use std::sync::Arc;

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use super::excerpt::{Excerpt, Standing, asked};
use super::{MemberPlan, TransactionRule};
use crate::event::Evidence;
use crate::rules::UnknownReason;
use crate::rules::path::{Path, find};
use crate::rules::query::Segment;
use crate::rules::view::{Fact, Known, Truth, View};

/// What one change is to one member.
#[derive(Debug)]
pub(in crate::rules) struct MemberChange {
    /// The number of the rule among those with `transaction`.
    pub(in crate::rules) rule: usize,
    pub(super) member: usize,
    /// Why it is not known whether the member takes the change; absent if it takes it for sure.
    pub(super) doubt: Option<UnknownReason>,
    pub(super) evidence: Evidence,
    pub(super) excerpt: Excerpt,
    pub(super) lead: Lead,
}

/// The change that stands for the transaction in the event: in its id, its source and its key.
#[derive(Debug)]
pub(super) struct Lead {
    pub(super) database: Arc<str>,
    pub(super) collection: Arc<str>,
    pub(super) key: RawDocumentBuf,
    pub(super) operation_index: u32,
    pub(super) wall_time: Option<bson::DateTime>,
    pub(super) has_token: bool,
}

/// What the members of a rule have taken so far.
#[derive(Debug)]
pub(in crate::rules) struct Gathering {
    members: Vec<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    sure_count: u32,
    doubtful_count: u32,
    doubt: Option<UnknownReason>,
    evidence: Evidence,
    excerpts: RawArrayBuf,
    standings: Vec<Standing>,
    lead: Option<Lead>,
    /// The numbers of the changes in their transaction.
    changes: Vec<u32>,
}

impl Gathering {
    pub(super) fn new(member_count: usize) -> Self {
        Self { members: std::iter::repeat_with(Gathered::default).take(member_count).collect() }
    }

    /// Adds what a change is to a member; gives the bytes of memory it takes from now on. A doubtful change is kept only if
    /// the rule assumes that what it does not know holds.
    pub(in crate::rules) fn add(&mut self, taken: MemberChange, number: u32, rule: &TransactionRule) -> usize {
        let found = self.members.get_mut(taken.member).zip(rule.members.get(taken.member));
        let Some((gathered, plan)) = found else { return 0 };
        match taken.doubt {
            None => gathered.sure_count += 1,
            Some(reason) => {
                gathered.doubtful_count += 1;
                gathered.doubt = gathered.doubt.or(Some(reason));
            }
        }
        let is_kept = (taken.doubt.is_none() || rule.assumes) && (plan.is_many || gathered.changes.is_empty());
        if !is_kept {
            return 0;
        }
        gathered.evidence = gathered.evidence.max(taken.evidence);
        let bytes = taken.excerpt.document.as_bytes().len() + size_of::<u32>();
        gathered.excerpts.push(taken.excerpt.document);
        gathered.standings.resize(taken.excerpt.standings.len(), Standing::default());
        for (standing, other) in gathered.standings.iter_mut().zip(taken.excerpt.standings) {
            standing.add(other);
        }
        gathered.changes.push(number);
        gathered.lead.get_or_insert(taken.lead);
        bytes
    }

    /// Lets go of everything but the counts.
    pub(in crate::rules) fn forget(&mut self) {
        for gathered in &mut self.members {
            gathered.excerpts = RawArrayBuf::new();
            gathered.changes = Vec::new();
            gathered.lead = None;
        }
    }

    /// Whether the rule's members have what they need, in three-valued logic. `assumes` counts a change that may be a member as one.
    pub(super) fn answer(&self, plans: &[MemberPlan], assumes: bool) -> Truth {
        let mut answer = Truth::True;
        for (plan, gathered) in plans.iter().zip(&self.members) {
            match gathered.answer(plan, assumes) {
                Truth::False => return Truth::False,
                Truth::Unknown(reason) if answer == Truth::True => answer = Truth::Unknown(reason),
                Truth::Unknown(_) | Truth::True => {}
            }
        }
        answer
    }

    /// The change that stands for the transaction: of the first member, in the order of the file, that takes exactly one; if there
    /// is none, the first change of the first member that has any.
    pub(super) fn lead(&self, plans: &[MemberPlan]) -> Option<&Lead> {
        let of = |wanted: fn(&MemberPlan) -> bool| {
            plans.iter().zip(&self.members).filter(move |(plan, _)| wanted(plan)).find_map(|(_, one)| one.lead.as_ref())
        };
        of(|plan| !plan.is_many && !plan.is_optional).or_else(|| of(|_| true))
    }

    /// The weakest evidence on which a member took a change.
    pub(super) fn evidence(&self) -> Evidence {
        self.members.iter().map(|gathered| gathered.evidence).max().unwrap_or_default()
    }

    /// The numbers of the changes that are members.
    pub(in crate::rules) fn changes(&self) -> HashSet<u32> {
        self.members.iter().flat_map(|gathered| &gathered.changes).copied().collect()
    }

    /// The document that the rule reads.
    pub(super) fn collect<'r>(&self, plans: &'r [MemberPlan], about: &View<'_>) -> Collected<'r> {
        let mut document = RawDocumentBuf::new();
        for (plan, gathered) in plans.iter().zip(&self.members) {
            if plan.is_many {
                document.append(&plan.name, gathered.excerpts.clone());
            } else if let Some(Ok(only)) = gathered.excerpts.into_iter().next() {
                document.append(&plan.name, only);
            }
        }
        document.append(cstr!("meta"), about.about_transaction(self.evidence()));
        let standings = self.members.iter().map(|gathered| gathered.standings.clone()).collect();
        Collected { document, plans, standings }
    }
}

impl Gathered {
    fn answer(&self, plan: &MemberPlan, assumes: bool) -> Truth {
        let sure_count = if assumes { self.sure_count + self.doubtful_count } else { self.sure_count };
        let has_too_many = !plan.is_many && sure_count > 1;
        let has_too_few = !plan.is_optional && self.sure_count + self.doubtful_count == 0;
        match self.doubt {
            _ if has_too_many || has_too_few => Truth::False,
            Some(reason) => Truth::Unknown(reason),
            _ => Truth::True,
        }
    }
}

/// What a rule with `transaction` reads: every member by its alias, and `meta`.
#[derive(Debug)]
pub(in crate::rules) struct Collected<'r> {
    document: RawDocumentBuf,
    plans: &'r [MemberPlan],
    standings: Vec<Vec<Standing>>,
}

impl Collected<'_> {
    /// The value at the end of a query's singular prefix; `rest` is what follows it.
    pub(in crate::rules) fn fact(&self, path: &Path, rest: &[Segment]) -> Fact<'_> {
        let standing = self.standing(path, rest);
        let found = find(RawBsonRef::Document(&self.document), &path.steps);
        let known = standing.unknown.map_or_else(|| Known::of(found), Known::Unknown);
        Fact { known, evidence: standing.evidence }
    }

    /// The document as it is, without what is not known.
    pub(in crate::rules) fn document(&self) -> &RawDocument {
        &self.document
    }

    fn standing(&self, path: &Path, rest: &[Segment]) -> Standing {
        let mut standing = Standing::default();
        let (alias, below) = match path.steps.split_first() {
            Some((alias, below)) => (Some(&*alias.text), below),
            None => (None, &[][..]),
        };
        for (plan, standings) in self.plans.iter().zip(&self.standings) {
            if alias.is_some_and(|alias| alias != plan.name.as_str()) {
                continue;
            }
            let wanted = alias.map(|_| asked(plan.is_many, below, rest));
            for (spot, of_spot) in plan.spots.iter().zip(standings) {
                if wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|wanted| wanted.overlaps(spot))) {
                    standing.add(*of_spot);
                }
            }
        }
        standing
    }
}
