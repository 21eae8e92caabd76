//! The types of events, by number, and what the comparison of each came to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::content::Differences;
use super::footprint::FootprintNumber;
use super::item::Side;
use super::lags::Lags;
use crate::event::Event;

/// How many types are told apart.
const TYPES_MAX: usize = 500;
/// What the others are counted as.
const OTHERS: &str = "(others)";
/// How many differences of the data are told apart for each type.
const DIFFERENCES_MAX: usize = 100;
/// How many footprints are told apart for each type.
const FAILING_MAX: usize = 100;
/// How many names an application may have for one type.
const NAMES_MAX: usize = 20;

/// The number of a type.
pub(super) type TypeNumber = u16;

/// The types of events.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// What the rules call an explicit type.
    aliases: BTreeMap<String, String>,
    types: Vec<Type>,
    numbers: HashMap<Arc<str>, TypeNumber, FixedState>,
    /// The numbers of explicit types by what the application calls them.
    explicit_numbers: HashMap<Arc<str>, TypeNumber, FixedState>,
    /// The types that rules may make; absent if that is not known.
    expected: Option<HashSet<Arc<str>>>,
}

/// One type.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Type {
    pub(super) name: String,
    /// What the application calls it, where that is something else.
    pub(super) explicit_names: BTreeSet<String>,
    pub(super) is_compared: bool,
    /// Some pair was in one transaction, so that no event of a transaction need wait after its end; or in one change outside of any.
    pub(super) pairs_in_transactions: bool,
    pub(super) pairs_in_changes: bool,
    pub(super) counts: Counts,
}

/// What the comparison of one type came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) explicit: u64,
    pub(super) inferred: u64,
    pub(super) matched: u64,
    pub(super) different: u64,
    pub(super) missing: u64,
    pub(super) extra: u64,
    pub(super) other_key: u64,
    pub(super) weak: u64,
    pub(super) lags: Lags,
    /// Path, what, how often.
    pub(super) differences: Vec<(String, String, u64)>,
    /// The side that had no partner, what its transaction did (absent if that is not known), how often.
    pub(super) failing: Vec<(Side, Option<FootprintNumber>, u64)>,
}

/// The counts of one type.
#[derive(Clone, Copy, Debug)]
pub struct Tally<'t> {
    /// The name of the type.
    pub name: &'t str,
    /// Pairs with the same data, pairs with other data, events that are missing, events that are extra.
    pub counts: [u64; 4],
    lags: &'t Lags,
}

impl<'t> Tally<'t> {
    pub(super) fn of(kind: &'t Type) -> Self {
        let Counts { matched, different, missing, extra, lags, .. } = &kind.counts;
        Self { name: &kind.name, counts: [*matched, *different, *missing, *extra], lags }
    }

    /// The share of the inferred events that has an explicit one; nothing without inferred events.
    pub fn precision(&self) -> Option<f64> {
        let [.., extra] = self.counts;
        self.share(extra)
    }

    /// The share of the explicit events that has an inferred one; nothing without explicit events.
    pub fn recall(&self) -> Option<f64> {
        let [.., missing, _] = self.counts;
        self.share(missing)
    }

    /// How much later, in the middle, the explicit event of a pair was committed, in milliseconds.
    pub fn lag_ms(&self) -> Option<f64> {
        self.lags.median_ms()
    }

    fn share(&self, others: u64) -> Option<f64> {
        let [matched, different, ..] = self.counts;
        let (pairs, all) = (matched + different, matched + different + others);
        (all > 0).then(|| pairs as f64 / all as f64)
    }
}

impl Counts {
    /// Adds what differs in a pair.
    pub(super) fn add_differences(&mut self, found: Differences) {
        for (path, what) in found {
            match self.differences.iter().position(|(one, other, _)| *one == path && *other == what) {
                Some(place) => self.differences[place].2 += 1,
                None if self.differences.len() < DIFFERENCES_MAX => self.differences.push((path, what, 1)),
                None => {}
            }
        }
    }

    /// For one of the explicit events without a partner it has become known what its change did.
    pub(super) fn find_footprint(&mut self, footprint: FootprintNumber) {
        let unknown = |(side, known, count): &&mut (Side, Option<FootprintNumber>, u64)| {
            *side == Side::Explicit && known.is_none() && *count > 0
        };
        if let Some((.., count)) = self.failing.iter_mut().find(unknown) {
            *count -= 1;
            self.missing -= 1;
            self.failing.retain(|(.., count)| *count > 0);
            self.fail(Side::Explicit, Some(footprint));
        }
    }

    /// Counts an event without a partner.
    pub(super) fn fail(&mut self, side: Side, footprint: Option<FootprintNumber>) {
        *(match side {
            Side::Explicit => &mut self.missing,
            Side::Inferred => &mut self.extra,
        }) += 1;
        match self.failing.iter().position(|(one, other, _)| *one == side && *other == footprint) {
            Some(place) => self.failing[place].2 += 1,
            None if self.failing.len() < FAILING_MAX => self.failing.push((side, footprint, 1)),
            None => {}
        }
    }
}

impl Types {
    pub(super) fn new(aliases: &BTreeMap<String, String>) -> Self {
        let mut types = Self { aliases: aliases.clone(), ..Self::default() };
        for name in aliases.values() {
            let number = types.number(&Arc::from(name.as_str()));
            if let Some(one) = types.get_mut(number) {
                one.is_compared = true;
            }
        }
        types
    }

    pub(super) fn expect<'n>(&mut self, names: impl IntoIterator<Item = &'n Arc<str>>) {
        self.expected = Some(names.into_iter().cloned().collect());
    }

    /// False if it is known that no rule makes events of the type.
    pub(super) fn is_inferred(&self, number: TypeNumber) -> bool {
        let name = self.get(number).map(|one| one.name.as_str());
        self.expected.as_ref().is_none_or(|expected| name.is_some_and(|name| expected.contains(name)))
    }

    /// Counts an event; gives the number of its type. From its first explicit event on a type is compared.
    pub(super) fn count(&mut self, event: &Event) -> TypeNumber {
        if event.explicit.is_none() {
            let number = self.number(&event.name);
            if let Some(one) = self.get_mut(number) {
                one.counts.inferred += 1;
            }
            return number;
        }
        let number = self.explicit_number(&event.name);
        if let Some(one) = self.get_mut(number) {
            one.counts.explicit += 1;
            one.is_compared = true;
        }
        number
    }

    pub(super) fn get(&self, number: TypeNumber) -> Option<&Type> {
        self.types.get(usize::from(number))
    }

    pub(super) fn get_mut(&mut self, number: TypeNumber) -> Option<&mut Type> {
        self.types.get_mut(usize::from(number))
    }

    pub(super) fn all(&self) -> &[Type] {
        &self.types
    }

    /// Begins to count anew; the numbers stay.
    pub(super) fn forget_counts(&mut self) {
        for one in &mut self.types {
            one.counts = Counts::default();
        }
    }

    pub(super) fn restore(&mut self, kept: Vec<Type>) {
        self.numbers = kept.iter().map(|one| Arc::from(one.name.as_str())).zip(0..).collect();
        self.explicit_numbers.clear();
        self.types = kept;
    }

    fn explicit_number(&mut self, name: &Arc<str>) -> TypeNumber {
        if let Some(&number) = self.explicit_numbers.get(name) {
            return number;
        }
        let alias = self.aliases.get(&**name).map(|alias| Arc::from(alias.as_str()));
        let number = self.number(alias.as_ref().unwrap_or(name));
        if let Some(one) = self.types.get_mut(usize::from(number))
            && one.name != **name
            && one.explicit_names.len() < NAMES_MAX
        {
            one.explicit_names.insert(name.to_string());
        }
        if self.explicit_numbers.len() < TYPES_MAX {
            self.explicit_numbers.insert(name.clone(), number);
        }
        number
    }

    fn number(&mut self, name: &Arc<str>) -> TypeNumber {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        if self.types.len() >= TYPES_MAX && &**name != OTHERS {
            return self.number(&Arc::from(OTHERS));
        }
        let number = TypeNumber::try_from(self.types.len()).unwrap_or(TypeNumber::MAX);
        self.types.push(Type {
            name: name.to_string(),
            explicit_names: BTreeSet::new(),
            is_compared: false,
            pairs_in_transactions: false,
            pairs_in_changes: false,
            counts: Counts::default(),
        });
        self.numbers.insert(name.clone(), number);
        number
    }
}
