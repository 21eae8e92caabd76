//! From counts to figures.

use std::collections::BTreeMap;

use super::comparison::Parity;
use super::footprint::ToldFootprint;
use super::item::Side;
use super::judgement::{self, Facts};
use super::types::{Tally, Type, TypeNumber};
use super::{Confusion, Difference, FailingShape, Figures, TypeFigures};
use crate::position::ClusterTime;

/// How many differences, and how many shapes, of one type are told.
const TOLD_MAX: usize = 20;
/// The words for a shape that is not known.
const UNKNOWN_SHAPE: &str = "not known: it was written outside of a transaction";
/// The words for shapes of which there were too many.
const OTHER_SHAPES: &str = "others";

/// What a comparison came to.
pub(super) fn figures(parity: &Parity, has_values: bool) -> Figures {
    let (places, footprints) = parity.footprints.told(&parity.book.shapes(has_values));
    let told = Told { parity, places, footprints };
    let numbered = (0..).zip(parity.types.all());
    let mut types: Vec<TypeFigures> = numbered.map(|(number, kind)| told.figures(number, kind)).collect();
    types.sort_by(|one, other| one.name.cmp(&other.name));
    let millis = |time: ClusterTime| time.as_millis();
    let now = Some(parity.moment.time).filter(|time| *time != ClusterTime::default());
    Figures {
        since_ms: parity.since.map(millis),
        until_ms: now.map(millis),
        types,
        matrix: told.matrix(),
        pending_count: parity.pending_count(),
        given_up_count: parity.given_up_count,
    }
}

struct Told<'p> {
    parity: &'p Parity,
    places: Vec<usize>,
    footprints: BTreeMap<usize, ToldFootprint>,
}

impl Told<'_> {
    fn name(&self, number: TypeNumber) -> String {
        self.parity.types.get(number).map(|kind| kind.name.clone()).unwrap_or_default()
    }

    fn figures(&self, number: TypeNumber, kind: &Type) -> TypeFigures {
        let counts = &kind.counts;
        let tally = Tally::of(kind);
        let mut differences: Vec<Difference> = counts
            .differences
            .iter()
            .map(|(path, what, count)| Difference { path: path.clone(), what: what.clone(), count: *count })
            .collect();
        differences
            .sort_by(|one, other| (other.count, &one.path, &one.what).cmp(&(one.count, &other.path, &other.what)));
        differences.truncate(TOLD_MAX);
        let shapes = self.shapes(number, kind);
        let mut figures = TypeFigures {
            name: kind.name.clone(),
            explicit_names: kind.explicit_names.iter().cloned().collect(),
            is_compared: kind.is_compared,
            is_inferred: self.parity.types.is_inferred(number),
            explicit_count: counts.explicit,
            inferred_count: counts.inferred,
            matched_count: counts.matched,
            different_count: counts.different,
            missing_count: counts.missing,
            extra_count: counts.extra,
            other_key_count: counts.other_key,
            weak_count: counts.weak,
            precision: tally.precision(),
            recall: tally.recall(),
            lag_ms: tally.lag_ms(),
            differences,
            shapes,
            ..TypeFigures::default()
        };
        figures.judgement = judgement::of(&Facts::of(&figures));
        figures.shapes.truncate(TOLD_MAX);
        figures
    }

    /// The shapes behind events without a partner, the most frequent first.
    fn shapes(&self, number: TypeNumber, kind: &Type) -> Vec<FailingShape> {
        let mut merged: BTreeMap<(Side, Option<usize>), u64> = BTreeMap::new();
        let mut told: [u64; 2] = [0, 0];
        for (side, footprint, count) in &kind.counts.failing {
            let place = footprint.and_then(|footprint| self.places.get(footprint as usize).copied());
            *merged.entry((*side, place)).or_default() += count;
            told[*side as usize] += count;
        }
        let shapes = merged.into_iter().map(|((side, place), count)| {
            let footprint = place.and_then(|place| self.footprints.get(&place));
            let shared_with = footprint.map(|footprint| footprint.shared_with(number)).unwrap_or_default();
            FailingShape {
                kind: word(side),
                shape: footprint.map_or(UNKNOWN_SHAPE, |footprint| &footprint.text).to_owned(),
                count,
                shared_with: shared_with.into_iter().map(|(other, count)| (self.name(other), count)).collect(),
            }
        });
        let mut shapes: Vec<FailingShape> = shapes.collect();
        for (side, all) in [(Side::Explicit, kind.counts.missing), (Side::Inferred, kind.counts.extra)] {
            let count = all.saturating_sub(told[side as usize]);
            if count > 0 {
                let shape = OTHER_SHAPES.to_owned();
                shapes.push(FailingShape { kind: word(side), shape, count, shared_with: Vec::new() });
            }
        }
        shapes.sort_by(|one, other| (other.count, one.kind, &one.shape).cmp(&(one.count, other.kind, &other.shape)));
        shapes
    }

    fn matrix(&self) -> Vec<Confusion> {
        let numbered = (0_u16..).zip(self.parity.types.all());
        let pairs = numbered.map(|(_, kind)| {
            let name = Some(kind.name.clone());
            Confusion { explicit: name.clone(), inferred: name, count: kind.counts.matched + kind.counts.different }
        });
        let confusions = self.parity.confusions.iter().map(|((explicit, inferred), count)| Confusion {
            explicit: explicit.map(|number| self.name(number)),
            inferred: inferred.map(|number| self.name(number)),
            count: *count,
        });
        let mut cells: Vec<Confusion> = pairs.chain(confusions).filter(|cell| cell.count > 0).collect();
        // Where there was none comes last.
        let order = |name: &Option<String>| (name.is_none(), name.clone());
        cells.sort_by_cached_key(|cell| (order(&cell.explicit), order(&cell.inferred)));
        cells
    }
}

fn word(side: Side) -> &'static str {
    match side {
        Side::Explicit => "missing",
        Side::Inferred => "extra",
    }
}
