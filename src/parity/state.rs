//! What a comparison knows, as bytes: kept beside the checkpoint, so that figures and events that wait survive a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ParitySettings;
use super::comparison::Parity;
use super::footprint::{Footprints, KeptFootprints};
use super::item::Item;
use super::moment::{KeptMoment, Moment};
use super::types::{Type, TypeNumber};
use crate::position::ClusterTime;
use crate::rules::coverage::{KeptBook, ShapeBook};

/// The form that this release writes.
const VERSION: i32 = 1;
/// How many bytes of events that wait are kept: what a checkpoint can carry along. The newest ones.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// Why what was kept can not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It was written by another release.
    #[error("the figures of parity were kept by another release\nhelp: nothing is to be done, they begin anew")]
    OtherVersion,
    /// The settings of parity are others now.
    #[error("the figures of parity were made with other settings\nhelp: nothing is to be done, they begin anew")]
    OtherSettings,
    /// It is damaged.
    #[error("the figures of parity that were kept are damaged\nhelp: nothing is to be done, they begin anew")]
    Damaged,
}

#[derive(Serialize, Deserialize)]
struct AnyVersion {
    version: i32,
}

#[derive(Serialize, Deserialize)]
struct Kept<F> {
    version: i32,
    settings: KeptSettings,
    rule_set: Option<String>,
    since: Option<bson::Timestamp>,
    moment: KeptMoment,
    types: Vec<Type>,
    confusions: Vec<(Option<TypeNumber>, Option<TypeNumber>, u64)>,
    pending: Vec<Item>,
    given_up_count: u64,
    next_unit: u64,
    footprints: F,
    book: KeptBook,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct KeptSettings {
    window_ms: i64,
    types: Vec<(String, String)>,
    ignore: Vec<String>,
}

impl From<&ParitySettings> for KeptSettings {
    fn from(settings: &ParitySettings) -> Self {
        Self {
            window_ms: i64::try_from(settings.window.0.as_millis()).unwrap_or(i64::MAX),
            types: settings.types.clone().into_iter().collect(),
            ignore: settings.ignore.clone(),
        }
    }
}

impl Parity {
    /// Everything that is known, to go on with [`Parity::restored`] after the last change that was noted: who notes the changes before
    /// it once more does no harm. At most a few megabytes; usually a few kilobytes.
    pub fn save(&self) -> Vec<u8> {
        let mut room = PENDING_BYTES_MAX;
        let fits = |item: &&Item| {
            let bytes = item.byte_count();
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        };
        let mut pending: Vec<Item> = self.pending.items().rev().take_while(fits).cloned().collect();
        pending.reverse();
        let left_out = self.pending.items().take(self.pending.len() - pending.len());
        let lost = left_out.filter(|item| !item.is_tentative).count() as u64;
        let kept = Kept {
            version: VERSION,
            settings: KeptSettings::from(&self.settings),
            rule_set: self.rule_set.clone(),
            since: self.since.map(bson::Timestamp::from),
            moment: self.moment.kept(),
            types: self.types.all().to_vec(),
            confusions: self.confusions.iter().map(|((one, other), count)| (*one, *other, *count)).collect(),
            pending,
            given_up_count: self.given_up_count + lost,
            next_unit: self.next_unit,
            footprints: self.footprints.kept(),
            book: self.book.kept(),
        };
        // Counts that do not fit into 63 bits are the only way to fail.
        bson::serialize_to_vec(&kept).unwrap_or_default()
    }

    /// Goes on with what was saved.
    ///
    /// # Errors
    /// If it was saved by another release or with other settings, or is damaged: then a comparison begins anew.
    pub fn restored(settings: &ParitySettings, saved: &[u8]) -> Result<Self, StateError> {
        let AnyVersion { version } = bson::deserialize_from_slice(saved).map_err(|_| StateError::Damaged)?;
        if version != VERSION {
            return Err(StateError::OtherVersion);
        }
        let kept: Kept<KeptFootprints> = bson::deserialize_from_slice(saved).map_err(|_| StateError::Damaged)?;
        if kept.settings != KeptSettings::from(settings) {
            return Err(StateError::OtherSettings);
        }
        let mut parity = Self::new(settings);
        let confusions = kept.confusions.into_iter().map(|(one, other, count)| ((one, other), count));
        parity.confusions = confusions.collect::<BTreeMap<_, _>>();
        parity.rule_set = kept.rule_set;
        parity.since = kept.since.map(ClusterTime::from);
        parity.moment = Moment::restored(kept.moment);
        parity.types.restore(kept.types);
        for item in kept.pending {
            // There is room: no more were kept than may wait.
            parity.pending.push(item);
        }
        parity.given_up_count = kept.given_up_count;
        parity.next_unit = kept.next_unit;
        parity.footprints = Footprints::restored(kept.footprints);
        parity.book = ShapeBook::restored(kept.book);
        Ok(parity)
    }
}
