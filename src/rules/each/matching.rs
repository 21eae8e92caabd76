//! What happened to the elements of an array: those of before and after matched by identity, equal ones in order.
//!
//! The answer depends on the two arrays alone, however the change came: the k-th element of an identity before is the k-th of it after,
//! what is left over was removed or added. Most changes touch one element, so what is the same at both ends is set aside first, where
//! that gives the same answer.

use super::array::Array;
use super::identity::{Identity, equal};
use crate::rules::ast::ElementChange;

/// No partner.
const NONE: u32 = u32::MAX;
/// Up to so many pairs are compared one by one; more are found by fingerprint.
const PAIRS_MAX: usize = 512;

/// An element to which something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it stands after the change, or stood before if it was removed.
    pub(super) index: u32,
    /// Its offset in the array before, unless it was added.
    pub(super) before: Option<u32>,
    /// Its offset in the array after, unless it was removed.
    pub(super) after: Option<u32>,
}

/// Matches the elements of two arrays. Kept from change to change, for its memory.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// The elements to which it happened, in the order of the array.
    pub(super) found: Vec<Found>,
    /// The offsets of the elements after the common start.
    old: Vec<u32>,
    new: Vec<u32>,
    /// For every one of `old` and `new`, its partner in the other.
    of_old: Vec<u32>,
    of_new: Vec<u32>,
    /// Fingerprints with the place in `old` and `new`, sorted.
    old_prints: Vec<(u64, u32)>,
    new_prints: Vec<(u64, u32)>,
}

/// Two arrays, and how their elements are told apart.
#[derive(Clone, Copy)]
struct Pair<'a> {
    identity: &'a Identity,
    before: Array<'a>,
    after: Array<'a>,
}

impl Matching {
    /// Fills `found` with the elements to which `is` happened.
    pub(super) fn find(&mut self, identity: &Identity, is: ElementChange, before: Array<'_>, after: Array<'_>) {
        self.found.clear();
        if before.bytes() == after.bytes() {
            return;
        }
        let (count, start) = before.common_start(after);
        before.places_from(start, &mut self.old);
        after.places_from(start, &mut self.new);
        let (old_count, new_count) = (self.old.len(), self.new.len());
        reset(&mut self.of_old, old_count);
        reset(&mut self.of_new, new_count);
        let mut ends = (old_count, new_count);
        if old_count > 0 && new_count > 0 {
            let pair = Pair { identity, before, after };
            let same_end = self.common_end(pair);
            ends = (old_count - same_end, new_count - same_end);
            if !self.one_by_one(pair, is, ends) {
                reset(&mut self.of_old, old_count);
                reset(&mut self.of_new, new_count);
                ends = (old_count, new_count);
                self.by_fingerprint(pair);
            }
        }
        self.report(identity, is, before, after, count, ends);
    }

    /// How many elements at the end are the same to the byte in both.
    fn common_end(&self, pair: Pair<'_>) -> usize {
        let backwards = self.old.iter().rev().zip(self.new.iter().rev());
        backwards.take_while(|&(&old, &new)| pair.before.content(old) == pair.after.content(new)).count()
    }

    /// Matches what lies before `ends`. False if there is too much of it, or if what is left over has the identity of an element behind:
    /// then the equal ends are not partners of each other.
    fn one_by_one(&mut self, pair: Pair<'_>, is: ElementChange, (old_end, new_end): (usize, usize)) -> bool {
        if old_end * new_end > PAIRS_MAX {
            return false;
        }
        let mut first_free = 0;
        for new in 0..new_end {
            let content = pair.after.content(self.new[new]);
            let mut free = (first_free..old_end).filter(|&old| self.of_old[old] == NONE);
            let partner = free.find(|&old| pair.identity.same(pair.before.content(self.old[old]), content));
            if let Some(old) = partner {
                self.pair_up(old, new);
            }
            while first_free < old_end && self.of_old[first_free] != NONE {
                first_free += 1;
            }
        }
        let behind = &self.new[new_end..];
        let left_old = (0..old_end).filter(|&old| is != ElementChange::Added && self.of_old[old] == NONE);
        let left_new = (0..new_end).filter(|&new| is != ElementChange::Removed && self.of_new[new] == NONE);
        let mut left = left_old
            .map(|old| pair.before.content(self.old[old]))
            .chain(left_new.map(|new| pair.after.content(self.new[new])));
        let mut compared = 0;
        left.all(|content| {
            compared += behind.len();
            compared <= PAIRS_MAX && !behind.iter().any(|&new| pair.identity.same(content, pair.after.content(new)))
        })
    }

    /// Matches everything after the common start.
    fn by_fingerprint(&mut self, pair: Pair<'_>) {
        prints(pair.identity, pair.before, &self.old, &mut self.old_prints);
        prints(pair.identity, pair.after, &self.new, &mut self.new_prints);
        let (mut old_at, mut new_at) = (0, 0);
        while let (Some(&(old_print, _)), Some(&(new_print, _))) =
            (self.old_prints.get(old_at), self.new_prints.get(new_at))
        {
            let end = |prints: &[(u64, u32)], at: usize, print: u64| {
                at + prints[at..].iter().take_while(|(other, _)| *other == print).count()
            };
            let old_end = end(&self.old_prints, old_at, old_print.min(new_print));
            let new_end = end(&self.new_prints, new_at, old_print.min(new_print));
            self.match_group(pair, (old_at, old_end), (new_at, new_end));
            (old_at, new_at) = (old_end, new_end);
        }
    }

    /// Matches the elements of one fingerprint, which are in the order of their arrays.
    fn match_group(
        &mut self,
        pair: Pair<'_>,
        (old_start, old_end): (usize, usize),
        (new_start, new_end): (usize, usize),
    ) {
        let mut first_free = old_start;
        for new in new_start..new_end {
            let new = self.new_prints[new].1 as usize;
            let content = pair.after.content(self.new[new]);
            let partner = (first_free..old_end).map(|at| self.old_prints[at].1 as usize).find(|&old| {
                self.of_old[old] == NONE && pair.identity.same(pair.before.content(self.old[old]), content)
            });
            if let Some(old) = partner {
                self.pair_up(old, new);
            }
            while first_free < old_end && self.of_old[self.old_prints[first_free].1 as usize] != NONE {
                first_free += 1;
            }
        }
    }

    fn pair_up(&mut self, old: usize, new: usize) {
        self.of_old[old] = new as u32;
        self.of_new[new] = old as u32;
    }

    fn report(
        &mut self,
        identity: &Identity,
        is: ElementChange,
        before: Array<'_>,
        after: Array<'_>,
        count: u32,
        (old_end, new_end): (usize, usize),
    ) {
        let index = |place: usize| count + place as u32;
        match is {
            ElementChange::Added => {
                let added = (0..new_end).filter(|&new| self.of_new[new] == NONE);
                self.found.extend(added.map(|new| Found {
                    index: index(new),
                    before: None,
                    after: Some(self.new[new]),
                }));
            }
            ElementChange::Removed => {
                let removed = (0..old_end).filter(|&old| self.of_old[old] == NONE);
                self.found.extend(removed.map(|old| Found {
                    index: index(old),
                    before: Some(self.old[old]),
                    after: None,
                }));
            }
            ElementChange::Changed => {
                let kept = (0..new_end).filter(|&new| self.of_new[new] != NONE);
                let pairs = kept.map(|new| (new, self.old[self.of_new[new] as usize], self.new[new]));
                let differ =
                    pairs.filter(|&(_, old, new)| !equal(before.content(old), after.content(new), identity.numbers));
                self.found.extend(differ.map(|(new, old, place)| Found {
                    index: index(new),
                    before: Some(old),
                    after: Some(place),
                }));
            }
        }
    }
}

fn reset(partners: &mut Vec<u32>, count: usize) {
    partners.clear();
    partners.resize(count, NONE);
}

fn prints(identity: &Identity, array: Array<'_>, places: &[u32], prints: &mut Vec<(u64, u32)>) {
    prints.clear();
    prints.extend((0_u32..).zip(places).map(|(at, &place)| (identity.fingerprint(array.content(place)), at)));
    prints.sort_unstable();
}
