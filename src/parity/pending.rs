//! The events that wait for a partner, in the order of the log, within bounds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::item::{Item, Side};
use super::types::TypeNumber;

/// How many events may wait, and how many bytes of them.
const COUNT_MAX: usize = 20_000;
const BYTES_MAX: usize = 16 << 20;
/// How many events of one type wait that is not compared yet: the first explicit event of the type may come after its inferred one.
const TENTATIVE_MAX: usize = 4;
/// How many events of one key are looked at for one that may have been taken for another.
const CONFUSIONS_MAX: usize = 32;

/// The events that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    items: BTreeMap<u64, Item>,
    next: u64,
    byte_count: usize,
    /// By side, type and key, and by side and key: the numbers of the items, in order.
    lists: HashMap<u64, VecDeque<u64>, FixedState>,
    tentative: HashMap<TypeNumber, VecDeque<u64>>,
    tentative_count: usize,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The events that wait, without those that do not count.
    pub(super) fn counted(&self) -> u64 {
        (self.items.len() - self.tentative_count) as u64
    }

    pub(super) fn items(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.items.values()
    }

    /// Adds an event. Gives back what there is no room for any more.
    pub(super) fn push(&mut self, item: Item) -> Vec<Item> {
        let number = self.next;
        self.next += 1;
        self.byte_count += item.byte_count();
        for hash in hashes(&item) {
            self.lists.entry(hash).or_default().push_back(number);
        }
        let mut surplus = None;
        if item.is_tentative {
            self.tentative_count += 1;
            let same = self.tentative.entry(item.kind).or_default();
            same.push_back(number);
            surplus = if same.len() > TENTATIVE_MAX { same.front().copied() } else { None };
        }
        self.items.insert(number, item);
        if let Some(surplus) = surplus {
            self.remove(surplus);
        }
        let mut given_up = Vec::new();
        while self.items.len() > COUNT_MAX || self.byte_count > BYTES_MAX {
            let Some(&oldest) = self.items.keys().next() else { break };
            given_up.extend(self.remove(oldest));
        }
        given_up
    }

    /// The oldest event that is the same fact as `item`, seen from the other side, and not older than `oldest_seconds`.
    pub(super) fn take_partner(&mut self, item: &Item, oldest_seconds: u32) -> Option<Item> {
        let list = self.lists.get(&hash(item.side.other(), Some(item.kind), &item.key))?;
        let fits = |number: &&u64| {
            let other = self.items.get(number);
            other.is_some_and(|other| other.seconds >= oldest_seconds && item.is_partner_of(other))
        };
        let number = *list.iter().find(fits)?;
        self.remove(number)
    }

    /// An event of the other side that waits under the same key, and that no other was taken for: of the same transaction, if there is
    /// one.
    pub(super) fn confused_with(&mut self, item: &Item) -> Option<&mut Item> {
        let list = self.lists.get(&hash(item.side.other(), None, &item.key))?;
        let mut found = None;
        for number in list.iter().take(CONFUSIONS_MAX) {
            let Some(other) = self.items.get(number) else { continue };
            if other.kind == item.kind || other.key != item.key || other.confused_with.is_some() {
                continue;
            }
            if other.unit == item.unit {
                found = Some(*number);
                break;
            }
            found = found.or(Some(*number));
        }
        self.items.get_mut(&found?)
    }

    /// The oldest event if it is older than `oldest_seconds`.
    pub(super) fn take_older_than(&mut self, oldest_seconds: u32) -> Option<Item> {
        let (&number, oldest) = self.items.first_key_value()?;
        if oldest.seconds >= oldest_seconds {
            return None;
        }
        self.remove(number)
    }

    /// Takes everything, the oldest first.
    pub(super) fn take_first(&mut self) -> Option<Item> {
        let number = *self.items.keys().next()?;
        self.remove(number)
    }

    fn remove(&mut self, number: u64) -> Option<Item> {
        let item = self.items.remove(&number)?;
        self.byte_count -= item.byte_count();
        for hash in hashes(&item) {
            let Some(list) = self.lists.get_mut(&hash) else { continue };
            // Numbers grow, so that every list is in order.
            if let Ok(place) = list.binary_search(&number) {
                list.remove(place);
            }
            if list.is_empty() {
                self.lists.remove(&hash);
            }
        }
        if item.is_tentative {
            self.tentative_count -= 1;
            let same = self.tentative.entry(item.kind).or_default();
            if let Ok(place) = same.binary_search(&number) {
                same.remove(place);
            }
        }
        Some(item)
    }
}

fn hashes(item: &Item) -> [u64; 2] {
    [hash(item.side, Some(item.kind), &item.key), hash(item.side, None, &item.key)]
}

fn hash(side: Side, kind: Option<TypeNumber>, key: &str) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u32(kind.map_or(u32::MAX, u32::from));
    hasher.write_u8(side as u8);
    hasher.write(key.as_bytes());
    hasher.finish()
}
