//! What transactions did to the business documents, and which explicit events came with it.
//!
//! Two explicit types that leave the same footprint can not be told apart by it. Types that always come in one transaction do not
//! count: for two types there must be transactions of this footprint that have the one and not the other, and the other way round.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::types::TypeNumber;
use crate::rules::coverage::BookedShape;

/// How many footprints are told apart.
const FOOTPRINTS_MAX: usize = 1_000;
/// How many sets of explicit types are told apart for each.
const SIGNATURES_MAX: usize = 16;
/// How many shapes of one transaction are told apart.
pub(super) const SHAPES_MAX: usize = 8;
/// Stands for further shapes of a transaction.
const MORE: u32 = u32::MAX;
/// Stands for changes of the transaction that were not seen: of collections that are not watched.
const UNSEEN: u32 = u32::MAX - 1;

/// The number of a footprint.
pub(super) type FootprintNumber = u32;

/// Footprints by number.
#[derive(Debug, Default)]
pub(super) struct Footprints {
    footprints: Vec<Footprint>,
    numbers: HashMap<Vec<u32>, FootprintNumber, FixedState>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Footprint {
    /// The numbers of its shapes, in order.
    shapes: Vec<u32>,
    /// Which explicit types came with it, in order, and how often.
    signatures: Vec<(Vec<TypeNumber>, u64)>,
}

/// A footprint in words, after everything that is known now.
#[derive(Clone, Debug, Default)]
pub(super) struct ToldFootprint {
    pub(super) text: String,
    /// There is more to it than was told apart: two that look alike need not be.
    is_partly_seen: bool,
    signatures: BTreeMap<Vec<TypeNumber>, u64>,
}

/// Adds a shape to those of a transaction.
pub(super) fn add_shape(shapes: &mut Vec<u32>, shape: Option<u32>) {
    let shape = shape.unwrap_or(MORE);
    let shape = if shapes.len() < SHAPES_MAX || shapes.contains(&shape) { shape } else { MORE };
    if let Err(place) = shapes.binary_search(&shape) {
        shapes.insert(place, shape);
    }
}

/// Notes that not every change of the transaction was seen.
pub(super) fn add_unseen(shapes: &mut Vec<u32>) {
    if let Err(place) = shapes.binary_search(&UNSEEN) {
        shapes.insert(place, UNSEEN);
    }
}

impl Footprints {
    /// The number of what these shapes make together; nothing if there are too many.
    pub(super) fn number(&mut self, shapes: &[u32]) -> Option<FootprintNumber> {
        if let Some(number) = self.numbers.get(shapes) {
            return Some(*number);
        }
        if self.footprints.len() >= FOOTPRINTS_MAX {
            return None;
        }
        let number = FootprintNumber::try_from(self.footprints.len()).ok()?;
        self.footprints.push(Footprint { shapes: shapes.to_vec(), signatures: Vec::new() });
        self.numbers.insert(shapes.to_vec(), number);
        Some(number)
    }

    /// These explicit types, in order and without repeats, came with a footprint.
    pub(super) fn came_with(&mut self, number: FootprintNumber, kinds: &[TypeNumber]) {
        let Some(footprint) = self.footprints.get_mut(number as usize) else { return };
        let signatures = &mut footprint.signatures;
        match signatures.iter().position(|(signature, _)| signature == kinds) {
            Some(place) => signatures[place].1 += 1,
            None if signatures.len() < SIGNATURES_MAX => signatures.push((kinds.to_vec(), 1)),
            None => {}
        }
    }

    /// The footprints in words; those that turned out to be the same come together under the number that is given for each.
    pub(super) fn told(&self, shapes: &[BookedShape]) -> (Vec<usize>, BTreeMap<usize, ToldFootprint>) {
        let mut identities: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut told: BTreeMap<usize, ToldFootprint> = BTreeMap::new();
        let places = self.footprints.iter().enumerate().map(|(number, footprint)| {
            let known = footprint.shapes.iter().filter_map(|shape| shapes.get(*shape as usize));
            let mut known: Vec<(usize, &str)> = known.map(|shape| (shape.identity, shape.text.as_str())).collect();
            known.sort_unstable();
            known.dedup();
            let mut identity: Vec<usize> = known.iter().map(|(identity, _)| *identity).collect();
            let mut texts: Vec<&str> = known.iter().map(|(_, text)| *text).collect();
            texts.sort_unstable();
            for (stand_in, words) in [(MORE, "more"), (UNSEEN, "changes of what is not watched")] {
                if footprint.shapes.contains(&stand_in) {
                    identity.push(usize::MAX - (u32::MAX - stand_in) as usize);
                    texts.push(words);
                }
            }
            let place = *identities.entry(identity).or_insert(number);
            let entry = told.entry(place).or_insert_with(|| ToldFootprint {
                text: if texts.is_empty() { NO_CHANGE.to_owned() } else { texts.join(" + ") },
                is_partly_seen: texts.len() > known.len(),
                signatures: BTreeMap::new(),
            });
            for (signature, count) in &footprint.signatures {
                *entry.signatures.entry(signature.clone()).or_default() += count;
            }
            place
        });
        (places.collect(), told)
    }

    pub(super) fn kept(&self) -> impl Serialize + use<> {
        self.footprints.clone()
    }

    pub(super) fn restored(kept: KeptFootprints) -> Self {
        let numbers = kept.0.iter().map(|footprint| footprint.shapes.clone()).zip(0..).collect();
        Self { footprints: kept.0, numbers }
    }
}

/// What was kept.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct KeptFootprints(Vec<Footprint>);

/// The words for a transaction that did nothing else.
pub(super) const NO_CHANGE: &str = "no change but the event itself";

impl ToldFootprint {
    /// The other explicit types that came with it and without this one, if this one came with it without them.
    pub(super) fn shared_with(&self, kind: TypeNumber) -> Vec<(TypeNumber, u64)> {
        if self.is_partly_seen {
            return Vec::new();
        }
        let has = |signature: &[TypeNumber], kind: TypeNumber| signature.binary_search(&kind).is_ok();
        let mut others: BTreeMap<TypeNumber, u64> = BTreeMap::new();
        for (signature, count) in self.signatures.iter().filter(|(signature, _)| !has(signature, kind)) {
            signature.iter().for_each(|other| *others.entry(*other).or_default() += count);
        }
        let comes_without = |other: TypeNumber| self.signatures.keys().any(|one| has(one, kind) && !has(one, other));
        let never_came = !self.signatures.keys().any(|signature| has(signature, kind));
        others.into_iter().filter(|(other, _)| never_came || comes_without(*other)).collect()
    }
}
