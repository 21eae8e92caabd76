//! What happened to the elements of an array: those of before and after matched by identity, equal ones in order.
//!
//! The answer depends on the two arrays alone, however the change came: the k-th element of an identity before is the k-th of it after,
//! what is left over was removed or added. Most changes touch one element, so what is the same at both ends is set aside first, where
//! that gives the same answer.

use super::array::{Array, Place};
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
    /// The places of the elements after the common start.
    old: Vec<Place>,
    new: Vec<Place>,
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
            let others = behind.iter().map(|&new| pair.after.content(new));
            compared <= PAIRS_MAX && !pair.identity.is_among(content, others)
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
                    after: Some(self.new[new].start),
                }));
            }
            ElementChange::Removed => {
                let removed = (0..old_end).filter(|&old| self.of_old[old] == NONE);
                self.found.extend(removed.map(|old| Found {
                    index: index(old),
                    before: Some(self.old[old].start),
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
                    before: Some(old.start),
                    after: Some(place.start),
                }));
            }
        }
    }
}

fn reset(partners: &mut Vec<u32>, count: usize) {
    partners.clear();
    partners.resize(count, NONE);
}

fn prints(identity: &Identity, array: Array<'_>, places: &[Place], prints: &mut Vec<(u64, u32)>) {
    prints.clear();
    prints.extend((0_u32..).zip(places).map(|(at, &place)| (identity.fingerprint(array.content(place)), at)));
    prints.sort_unstable();
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawArrayBuf, bson};
    use proptest::prelude::*;

    use super::*;
    use crate::change::value::{self, Numbers};
    use crate::rules::path::Path;
    use crate::rules::{FieldPath, text};

    fn raw(values: &[Bson]) -> RawArrayBuf {
        let mut array = RawArrayBuf::new();
        values.iter().for_each(|value| array.push(text::raw(value)));
        array
    }

    fn identity(key: &[&str]) -> Identity {
        Identity::new(key.iter().map(|path| Path::from(&FieldPath::parse(path).unwrap())), Numbers::ByValue)
    }

    /// The place in the array before and in that after, for every element that was found.
    type Places = Vec<(Option<usize>, Option<usize>)>;

    fn places(array: &RawArrayBuf) -> Vec<u32> {
        let mut places = Vec::new();
        Array::in_bytes(array.as_bytes()).places_from(4, &mut places);
        places.into_iter().map(|place| place.start).collect()
    }

    fn found(matching: &mut Matching, key: &[&str], is: ElementChange, before: &[Bson], after: &[Bson]) -> Places {
        let (before, after) = (raw(before), raw(after));
        matching.find(&identity(key), is, Array::in_bytes(before.as_bytes()), Array::in_bytes(after.as_bytes()));
        let (old, new) = (places(&before), places(&after));
        let at = |places: &[u32], place: u32| places.iter().position(|&other| other == place).unwrap();
        let found = matching.found.iter().map(|found| {
            let was = found.before.map(|place| at(&old, place));
            let is = found.after.map(|place| at(&new, place));
            assert_eq!(is.or(was), Some(found.index as usize));
            (was, is)
        });
        found.collect()
    }

    /// The same by the definition: the k-th of an identity before is the k-th of it after.
    fn naive(key: &[&str], is: ElementChange, before: &[Bson], after: &[Bson]) -> Places {
        let equal = |left: &Bson, right: &Bson| {
            value::equal(text::raw(left).as_raw_bson_ref(), text::raw(right).as_raw_bson_ref(), Numbers::ByValue)
        };
        let part = |element: &Bson, name: &str| element.as_document().and_then(|fields| fields.get(name)).cloned();
        let has_key = |element: &Bson| key.iter().any(|name| part(element, name).is_some());
        let same = |left: &Bson, right: &Bson| match (has_key(left), has_key(right)) {
            (true, true) => key.iter().all(|name| match (part(left, name), part(right, name)) {
                (None, None) => true,
                (Some(left), Some(right)) => equal(&left, &right),
                _ => false,
            }),
            (false, false) => equal(left, right),
            _ => false,
        };
        let nth = |all: &[Bson], at: usize| all[..at].iter().filter(|other| same(other, &all[at])).count();
        let partner = |all: &[Bson], at: usize, others: &[Bson]| {
            (0..others.len()).filter(|&other| same(&others[other], &all[at])).nth(nth(all, at))
        };
        match is {
            ElementChange::Added => (0..after.len())
                .filter(|&new| partner(after, new, before).is_none())
                .map(|new| (None, Some(new)))
                .collect(),
            ElementChange::Removed => (0..before.len())
                .filter(|&old| partner(before, old, after).is_none())
                .map(|old| (Some(old), None))
                .collect(),
            ElementChange::Changed => (0..after.len())
                .filter_map(|new| Some((partner(after, new, before)?, new)))
                .filter(|&(old, new)| !equal(&before[old], &after[new]))
                .map(|(old, new)| (Some(old), Some(new)))
                .collect(),
        }
    }

    const ALL: [ElementChange; 3] = [ElementChange::Added, ElementChange::Removed, ElementChange::Changed];

    #[test]
    fn elements_are_followed_by_their_keys_wherever_they_move() {
        let item = |sku: &str, quantity: i32| bson!({"sku": sku, "q": quantity});
        let before = [item("a", 1), item("b", 1), item("c", 1)];
        let mut matching = Matching::default();
        for (after, added, removed, changed) in [
            (vec![item("c", 1), item("a", 1), item("b", 1)], vec![], vec![], vec![]),
            (vec![item("a", 1), item("b", 1), item("c", 1), item("d", 1)], vec![3], vec![], vec![]),
            (vec![item("d", 1), item("a", 1), item("b", 1), item("c", 1)], vec![0], vec![], vec![]),
            (vec![item("b", 1), item("c", 1)], vec![], vec![0], vec![]),
            (vec![item("a", 1), item("c", 1)], vec![], vec![1], vec![]),
            (vec![item("c", 2), item("b", 1), item("d", 1)], vec![2], vec![0], vec![(2, 0)]),
            (vec![], vec![], vec![0, 1, 2], vec![]),
            // Of equal keys, the first is the first: the one too many is the last.
            (vec![item("a", 1), item("a", 2), item("b", 1), item("c", 1)], vec![1], vec![], vec![]),
            (vec![item("a", 2), item("b", 1), item("a", 1), item("c", 1)], vec![2], vec![], vec![(0, 0)]),
        ] {
            let one = |places: Vec<usize>, is: ElementChange| -> Places {
                let place = |place| if is == ElementChange::Added { (None, Some(place)) } else { (Some(place), None) };
                places.into_iter().map(place).collect()
            };
            let changed = changed.into_iter().map(|(old, new)| (Some(old), Some(new))).collect::<Places>();
            for (is, wanted) in [
                (ElementChange::Added, one(added, ElementChange::Added)),
                (ElementChange::Removed, one(removed, ElementChange::Removed)),
                (ElementChange::Changed, changed),
            ] {
                assert_eq!(found(&mut matching, &["sku"], is, &before, &after), wanted, "{is:?} {after:?}");
                assert_eq!(naive(&["sku"], is, &before, &after), wanted, "{is:?} {after:?}");
            }
        }
    }

    #[test]
    fn without_a_key_equal_values_are_counted() {
        let mut matching = Matching::default();
        let before = [bson!("a"), bson!(1), bson!("a"), bson!({"x": 1, "y": [1]})];
        let after = [bson!({"y": [1.0], "x": 1_i64}), bson!("a"), bson!(1.0), bson!(1), bson!("b")];
        let added = found(&mut matching, &[], ElementChange::Added, &before, &after);
        assert_eq!(added, [(None, Some(3)), (None, Some(4))]);
        let removed = found(&mut matching, &[], ElementChange::Removed, &before, &after);
        assert_eq!(removed, [(Some(2), None)]);
    }

    #[test]
    fn ten_thousand_elements_are_matched_in_any_order() {
        let count = 10_000;
        let item = |number: i32| bson!({"sku": format!("sku-{number}"), "q": number % 7});
        let before: Vec<Bson> = (0..count).map(item).collect();
        let mut after: Vec<Bson> = (0..count).rev().filter(|number| number % 100 != 0).map(item).collect();
        after.push(bson!({"sku": "sku-1", "q": 99}));
        let mut matching = Matching::default();
        assert_eq!(found(&mut matching, &["sku"], ElementChange::Removed, &before, &after).len(), 100);
        assert_eq!(found(&mut matching, &["sku"], ElementChange::Added, &before, &after).len(), 1);
        let alike = vec![bson!({"sku": "same"}); count as usize];
        assert_eq!(found(&mut matching, &["sku"], ElementChange::Removed, &alike, &alike[1..]).len(), 1);
        let other = vec![bson!({"sku": "same", "q": 1}); count as usize];
        assert_eq!(found(&mut matching, &["sku"], ElementChange::Changed, &alike, &other).len(), count as usize);
    }

    fn element() -> impl Strategy<Value = Bson> {
        let small = || {
            prop_oneof![
                (0_i32..4).prop_map(Bson::from),
                (0_i64..4).prop_map(Bson::from),
                (0_i32..4).prop_map(|number| Bson::from(f64::from(number))),
                Just(Bson::Null),
            ]
        };
        prop_oneof![
            6 => (small(), small()).prop_map(|(key, value)| bson!({"k": key, "v": value})),
            2 => (small(), small(), small()).prop_map(|(key, l, value)| bson!({"v": value, "l": l, "k": key})),
            1 => small().prop_map(|value| bson!({"v": value})),
            1 => small(),
            1 => prop::collection::vec(small(), 0..3).prop_map(Bson::Array),
        ]
    }

    /// An array, and what a few operations make of it: mostly they touch little.
    fn pair() -> impl Strategy<Value = (Vec<Bson>, Vec<Bson>)> {
        let operation = (0_u8..6, any::<prop::sample::Index>(), any::<prop::sample::Index>(), element());
        (prop::collection::vec(element(), 0..40), prop::collection::vec(operation, 0..4)).prop_map(
            |(before, operations)| {
                let mut after = before.clone();
                for (kind, place, other, element) in operations {
                    if after.is_empty() {
                        after.push(element);
                        continue;
                    }
                    let (place, other) = (place.index(after.len()), other.index(after.len()));
                    match kind {
                        0 => after.push(element),
                        1 => after.insert(place, element),
                        2 => drop(after.remove(place)),
                        3 => after[place] = element,
                        4 => after.swap(place, other),
                        _ => after.sort_by_key(ToString::to_string),
                    }
                }
                (before, after)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn matching_gives_what_the_definition_says((before, after) in pair(), key in 0_usize..3) {
            let key: &[&str] = [&["k"][..], &["k", "l"], &[]][key];
            let mut matching = Matching::default();
            for is in ALL {
                let found = found(&mut matching, key, is, &before, &after);
                prop_assert_eq!(found, naive(key, is, &before, &after), "{:?}", is);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn large_arrays_are_matched_by_fingerprint_to_the_same_end(before in prop::collection::vec(element(), 30..60), after in prop::collection::vec(element(), 30..60)) {
            let mut matching = Matching::default();
            for is in ALL {
                let found = found(&mut matching, &["k"], is, &before, &after);
                prop_assert_eq!(found, naive(&["k"], is, &before, &after), "{:?}", is);
            }
        }
    }
}
