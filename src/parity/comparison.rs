//! The comparison itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::account;
use super::content::{self, Ignored};
use super::footprint::{FootprintNumber, Footprints};
use super::item::{Item, Side};
use super::moment::{Moment, Unit};
use super::pending::Pending;
use super::types::{Tally, TypeNumber, Types};
use super::{Figures, ParitySettings};
use crate::change::Change;
use crate::event::{Event, GAP};
use crate::position::ClusterTime;
use crate::rules::coverage::ShapeBook;

/// An inferred event of a type that is not compared yet waits only while there have been so few: an application that records a type
/// at all does so soon.
const TENTATIVE_UNTIL: u64 = 1_000;
/// How many failures of one transaction are looked at for what was taken for what.
const FAILURES_MAX: usize = 200;

/// Compares inferred and explicit events in the order of the log.
///
/// Every change is to be told with the events that it made ([`Parity::note`]), and the events of transactions when these have ended
/// ([`Parity::note_ended`]). Where nothing more comes, [`Parity::finish`] decides what still waits.
///
/// Two events are a pair if they have the same type (after the settings' `types`) and the same key. They are looked for first within
/// one transaction (or one change outside of any), then within the window; several of one type and key pair in their order. An event of
/// a transaction need not wait for the window if events of its type have been found to pair within transactions, or if no rule makes
/// its type.
///
/// What was noted already is left out when it is noted again after [`Parity::restored`].
#[derive(Debug)]
pub struct Parity {
    pub(super) settings: ParitySettings,
    ignored: Ignored,
    window_seconds: u32,
    /// The hash of the rules in force.
    pub(super) rule_set: Option<String>,
    pub(super) types: Types,
    pub(super) moment: Moment,
    pub(super) pending: Pending,
    pub(super) book: ShapeBook,
    pub(super) footprints: Footprints,
    /// Explicit type, inferred type, how often the one was taken for the other; where one is absent, there was none. Without pairs.
    pub(super) confusions: BTreeMap<(Option<TypeNumber>, Option<TypeNumber>), u64>,
    pub(super) since: Option<ClusterTime>,
    pub(super) given_up_count: u64,
    pub(super) next_unit: u64,
}

/// Where events come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A transaction.
    Transaction,
    /// A change of a business document outside of any.
    Change,
    /// A change of an outbox or an event store outside of any: nothing is known of what it tells of.
    Apart,
}

impl Parity {
    /// Nothing has been compared.
    pub fn new(settings: &ParitySettings) -> Self {
        Self {
            ignored: Ignored::new(&settings.ignore),
            window_seconds: u32::try_from(settings.window.0.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX),
            rule_set: None,
            types: Types::new(&settings.types),
            moment: Moment::default(),
            pending: Pending::default(),
            book: ShapeBook::default(),
            footprints: Footprints::default(),
            confusions: BTreeMap::new(),
            since: None,
            given_up_count: 0,
            next_unit: 0,
            settings: settings.clone(),
        }
    }

    /// Says which types of events the rules in force may make. Figures are of one rule set: with another one, named by its hash, they
    /// begin anew. True if they do.
    pub fn expect<'n>(&mut self, rule_set: &str, names: impl IntoIterator<Item = &'n Arc<str>>) -> bool {
        self.types.expect(names);
        let before = self.rule_set.replace(rule_set.to_owned());
        if before.is_none_or(|before| before == rule_set) {
            return false;
        }
        self.types.forget_counts();
        self.confusions.clear();
        self.since = None;
        self.given_up_count = 0;
        true
    }

    /// The hash of the rules whose events are compared, as it was given last.
    pub fn rule_set(&self) -> Option<&str> {
        self.rule_set.as_deref()
    }

    /// Notes a change with the events, inferred and explicit, that were made of it by itself. `is_relayed` says that it belongs to an
    /// outbox or an event store, so that it is no business change. Changes without events have to be told too: they are what lies
    /// behind the explicit events of their transaction.
    pub fn note(&mut self, change: &Change<'_>, is_relayed: bool, events: &[Event]) {
        if change.transaction.is_none() && events.is_empty() || !self.enter(change.cluster_time) {
            return;
        }
        let Some(transaction) = &change.transaction else { return self.note_alone(change, is_relayed, events) };
        let unit = self.moment.unit_of(transaction);
        self.moment.see_operation(unit, change.operation_index);
        if !is_relayed {
            self.moment.add_shape(unit, self.book.number(change));
        }
        for event in events {
            if let Some(item) = self.take(event) {
                self.given_up_count += self.moment.add(unit, item);
            }
        }
    }

    /// Notes the events of transactions, committed at `time`, that were made when these had ended. Their changes were noted before,
    /// and no change of a later time was.
    pub fn note_ended(&mut self, time: ClusterTime, events: &[Event]) {
        if events.is_empty() || !self.enter(time) {
            return;
        }
        for event in events {
            let Some(item) = self.take(event) else { continue };
            let transaction = event.transaction.as_deref();
            match transaction.and_then(|text| self.moment.unit_with_text(text)) {
                Some(unit) => self.given_up_count += self.moment.add(unit, item),
                None => self.settle(vec![item], None, Place::Apart),
            }
        }
    }

    /// The log has come to `time`: everything before it has been noted.
    pub fn pass(&mut self, time: ClusterTime) {
        self.enter(time);
        self.expire();
    }

    /// Nothing that was committed so far is left to be noted: the transactions that were noted have ended.
    pub fn caught_up(&mut self) {
        let units = self.moment.end();
        self.close(units);
    }

    /// History was lost here: what waits is given up.
    pub fn cut(&mut self) {
        let units = self.moment.end();
        self.given_up_count += units.iter().map(|unit| unit.items.len() as u64).sum::<u64>();
        while let Some(item) = self.pending.take_first() {
            self.given_up_count += u64::from(!item.is_tentative);
        }
    }

    /// Nothing more comes: decides what still waits.
    pub fn finish(&mut self) {
        self.caught_up();
        while let Some(item) = self.pending.take_first() {
            self.expired(item);
        }
    }

    /// What it came to so far. Values of documents appear (in shapes, as transitions of fields that look like enumerations) only with
    /// `has_values`.
    pub fn figures(&self, has_values: bool) -> Figures {
        account::figures(self, has_values)
    }

    /// Events that could not be compared: for want of memory, or because history was lost.
    pub fn given_up_count(&self) -> u64 {
        self.given_up_count
    }

    /// The counts of every type that is compared: what is cheap to ask often.
    pub fn tallies(&self) -> impl Iterator<Item = Tally<'_>> {
        self.types.all().iter().filter(|kind| kind.is_compared).map(Tally::of)
    }

    /// How many events wait for a partner.
    pub fn pending_count(&self) -> u64 {
        self.pending.counted()
    }

    /// The log has come to a change of this time. False if it was noted before a restart.
    fn enter(&mut self, time: ClusterTime) -> bool {
        if time > self.moment.time {
            let units = self.moment.begin(time);
            self.close(units);
        }
        time == self.moment.time
    }

    /// Counts an event that has not been taken before.
    fn take(&mut self, event: &Event) -> Option<Item> {
        // What the connector tells of itself, such as a gap in a stream, is of neither side.
        if &*event.name == GAP || !self.moment.takes(&event.id) {
            return None;
        }
        self.since.get_or_insert(self.moment.time);
        let kind = self.types.count(event);
        Some(Item::new(event, kind, self.moment.time.seconds))
    }

    /// Notes a change outside of any transaction.
    fn note_alone(&mut self, change: &Change<'_>, is_relayed: bool, events: &[Event]) {
        let mut items = Vec::with_capacity(events.len());
        let mut is_compared = false;
        for event in events {
            let Some(item) = self.take(event) else { continue };
            let kind = self.types.get(item.kind);
            let compared = kind.is_some_and(|kind| kind.is_compared);
            is_compared |= compared;
            if compared || kind.is_some_and(|kind| kind.counts.inferred <= TENTATIVE_UNTIL) {
                items.push(item);
            }
        }
        if items.is_empty() {
            return;
        }
        let (place, footprint) = match is_relayed {
            true => (Place::Apart, None),
            false if is_compared => {
                let mut shapes = Vec::with_capacity(1);
                super::footprint::add_shape(&mut shapes, self.book.number(change));
                (Place::Change, self.footprints.number(&shapes))
            }
            false => (Place::Change, None),
        };
        self.settle(items, footprint, place);
    }

    /// These transactions have ended.
    fn close(&mut self, units: Vec<Unit>) {
        for Unit { items, shapes, .. } in units {
            let is_compared = |item: &Item| self.types.get(item.kind).is_some_and(|kind| kind.is_compared);
            if items.iter().any(is_compared) {
                let footprint = self.footprints.number(&shapes);
                self.settle(items, footprint, Place::Transaction);
            } else {
                let few =
                    |item: &Item| self.types.get(item.kind).is_some_and(|kind| kind.counts.inferred <= TENTATIVE_UNTIL);
                let items: Vec<Item> = items.into_iter().filter(few).collect();
                self.settle(items, None, Place::Transaction);
            }
        }
        self.expire();
    }

    /// Pairs the events that came together; what is left fails, or waits.
    fn settle(&mut self, mut items: Vec<Item>, footprint: Option<FootprintNumber>, place: Place) {
        self.next_unit += 1;
        for item in &mut items {
            (item.unit, item.footprint) = (self.next_unit, footprint);
        }
        let explicit = items.iter().filter(|item| item.side == Side::Explicit).map(|item| item.kind);
        let mut kinds: Vec<TypeNumber> = explicit.collect();
        if let Some(footprint) = footprint.filter(|_| !kinds.is_empty()) {
            kinds.sort_unstable();
            kinds.dedup();
            self.footprints.came_with(footprint, &kinds);
        }
        let rest = match items.len() {
            0 => return,
            1 => items,
            _ => self.pair_within(items, place),
        };
        self.leave(rest, place);
    }

    /// Pairs events of one transaction or change; gives those without a partner, in order.
    fn pair_within(&mut self, items: Vec<Item>, place: Place) -> Vec<Item> {
        let mut slots: Vec<Option<Item>> = items.into_iter().map(Some).collect();
        for (explicit, inferred) in partners(&slots) {
            let (Some(explicit), Some(inferred)) = (slots[explicit].take(), slots[inferred].take()) else { continue };
            if let Some(kind) = self.types.get_mut(explicit.kind) {
                kind.pairs_in_transactions |= place == Place::Transaction;
                kind.pairs_in_changes |= place == Place::Change;
            }
            self.pair(&explicit, &inferred);
        }
        slots.into_iter().flatten().collect()
    }

    /// Events that have no partner beside them: those that need not wait fail, the others look for one in the window.
    fn leave(&mut self, mut rest: Vec<Item>, place: Place) {
        let is_compared = |item: &Item| self.types.get(item.kind).is_some_and(|kind| kind.is_compared);
        let compared: Vec<bool> = rest.iter().map(is_compared).collect();
        let is_final: Vec<bool> = rest.iter().map(|item| self.is_final(item, place)).collect();
        let mut fates: Vec<Fate> =
            is_final.iter().map(|is_final| if *is_final { Fate::Expires } else { Fate::Waits }).collect();
        let mut is_taken = vec![false; rest.len()];
        let mut confused = Vec::new();
        // Only so many, so that a transaction of thousands of failures does not take for ever.
        let explicit = |rest: &[Item], number: usize| rest[number].side == Side::Explicit;
        for one in (0..rest.len()).filter(|number| explicit(&rest, *number)).take(FAILURES_MAX).collect::<Vec<_>>() {
            let (kind, key) = (rest[one].kind, rest[one].key.clone());
            let inferred = rest.iter().take(FAILURES_MAX).enumerate().filter(|(_, item)| item.side == Side::Inferred);
            let mut inferred = inferred.map(|(number, item)| (number, item.kind, item.key == key));
            let other = inferred.clone().find(|(number, _, is_same)| *is_same && !is_taken[*number]);
            rest[one].is_under_other_key = inferred.any(|(_, other, is_same)| other == kind && !is_same);
            let Some((other, other_kind, _)) = other else { continue };
            if !is_final[one] && !is_final[other] {
                continue;
            }
            is_taken[other] = true;
            match (is_final[one], is_final[other]) {
                (true, true) => (fates[one], fates[other]) = (Fate::Fails, Fate::Fails),
                (true, false) => fates[one] = Fate::Fails,
                (false, _) => fates[other] = Fate::Fails,
            }
            match (is_final[one], is_final[other] || !compared[other]) {
                (true, true) => confused.push((kind, other_kind)),
                (true, false) => rest[other].confused_with = Some(kind),
                (false, _) => rest[one].confused_with = Some(other_kind),
            }
        }
        for (explicit, inferred) in confused {
            self.confuse(Some(explicit), Some(inferred));
        }
        for (number, mut item) in rest.into_iter().enumerate() {
            item.is_tentative = !compared[number];
            match fates[number] {
                Fate::Fails => self.fail(&item),
                Fate::Expires => self.expired(item),
                Fate::Waits => self.wait(item),
            }
        }
    }

    /// True if the event need not wait for a partner from elsewhere.
    fn is_final(&self, item: &Item, place: Place) -> bool {
        let Some(kind) = self.types.get(item.kind) else { return false };
        let is_hopeless = item.side == Side::Explicit && !self.types.is_inferred(item.kind);
        match place {
            Place::Transaction => is_hopeless || kind.pairs_in_transactions,
            Place::Change => is_hopeless || kind.pairs_in_changes,
            Place::Apart => false,
        }
    }

    /// Looks for a partner among the events that wait, or waits for one.
    fn wait(&mut self, item: Item) {
        let oldest = item.seconds.saturating_sub(self.window_seconds);
        if let Some(other) = self.pending.take_partner(&item, oldest) {
            let (explicit, inferred) = if item.side == Side::Explicit { (item, other) } else { (other, item) };
            if explicit.footprint.is_none()
                && let Some(footprint) = inferred.footprint
            {
                self.footprints.came_with(footprint, &[explicit.kind]);
            }
            return self.pair(&explicit, &inferred);
        }
        let given_up = self.pending.push(item);
        self.given_up_count += given_up.iter().filter(|item| !item.is_tentative).count() as u64;
    }

    /// Gives up to find partners for events that the window has passed.
    fn expire(&mut self) {
        let oldest = self.moment.time.seconds.saturating_sub(self.window_seconds);
        while let Some(item) = self.pending.take_older_than(oldest) {
            self.expired(item);
        }
    }

    /// No partner will come.
    fn expired(&mut self, mut item: Item) {
        if item.is_tentative {
            return;
        }
        if let Some(other) = item.confused_with {
            self.confuse_both(&mut item, other);
        } else if let Some(other) = self.pending.confused_with(&item) {
            // The other may still find a partner: then this one stands alone after all.
            other.confused_with = Some(item.kind);
            let (explicit, inferred) = if item.side == Side::Explicit { (&item, &*other) } else { (&*other, &item) };
            other.beside = if explicit.footprint.is_none() { inferred.footprint } else { None };
            if other.is_tentative {
                let (kind, beside) = (other.kind, other.beside);
                self.confuse(Some(item.kind), Some(kind));
                item.footprint = item.footprint.or(beside);
                self.adopt(item.kind, beside);
            }
        } else {
            match item.side {
                Side::Explicit => self.confuse(Some(item.kind), None),
                Side::Inferred => self.confuse(None, Some(item.kind)),
            }
        }
        self.fail(&item);
    }

    /// The item has no partner, and neither had the one of the other side that it was found beside.
    fn confuse_both(&mut self, item: &mut Item, other: TypeNumber) {
        match item.side {
            Side::Explicit => {
                self.confuse(Some(item.kind), Some(other));
                item.footprint = item.footprint.or(item.beside);
                self.adopt(item.kind, item.beside);
            }
            Side::Inferred => {
                self.confuse(Some(other), Some(item.kind));
                self.adopt(other, item.beside);
                if let (Some(footprint), Some(kind)) = (item.beside, self.types.get_mut(other)) {
                    kind.counts.find_footprint(footprint);
                }
            }
        }
    }

    /// An explicit event of which it was not known what it tells of was found beside an inferred one.
    fn adopt(&mut self, kind: TypeNumber, footprint: Option<FootprintNumber>) {
        if let Some(footprint) = footprint {
            self.footprints.came_with(footprint, &[kind]);
        }
    }

    /// Counts an event without a partner.
    fn fail(&mut self, item: &Item) {
        let Some(kind) = self.types.get_mut(item.kind) else { return };
        kind.counts.fail(item.side, item.footprint);
        kind.counts.other_key += u64::from(item.is_under_other_key);
    }

    /// Counts a pair.
    fn pair(&mut self, explicit: &Item, inferred: &Item) {
        // What was taken for one of these stands alone.
        if let Some(other) = explicit.confused_with {
            self.confuse(None, Some(other));
        }
        if let Some(other) = inferred.confused_with.filter(|_| !inferred.is_tentative) {
            self.confuse(Some(other), None);
        }
        let found = content::differences(&explicit.content, &inferred.content, &self.ignored);
        let Some(kind) = self.types.get_mut(explicit.kind) else { return };
        let counts = &mut kind.counts;
        *(if found.is_empty() { &mut counts.matched } else { &mut counts.different }) += 1;
        counts.weak += u64::from(inferred.is_weak);
        counts.lags.add(explicit.time_ms.saturating_sub(inferred.time_ms));
        counts.add_differences(found);
    }

    fn confuse(&mut self, explicit: Option<TypeNumber>, inferred: Option<TypeNumber>) {
        *self.confusions.entry((explicit, inferred)).or_default() += 1;
    }
}

/// What becomes of an event that has no partner beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It has none, and it is known what it was taken for.
    Fails,
    /// It has none.
    Expires,
    /// One may come.
    Waits,
}

/// The pairs among events that came together, each as the places of the explicit and the inferred one.
fn partners(items: &[Option<Item>]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    if items.len() == 2 {
        if let [Some(one), Some(other)] = items
            && one.is_partner_of(other)
        {
            pairs.push(if one.side == Side::Explicit { (0, 1) } else { (1, 0) });
        }
        return pairs;
    }
    // Several of one type and key pair in their order: the places of each are put on a heap upside down.
    let mut waiting: HashMap<(TypeNumber, &str), Vec<usize>, FixedState> = HashMap::default();
    for (number, item) in items.iter().enumerate().rev() {
        if let Some(item) = item.as_ref().filter(|item| item.side == Side::Inferred) {
            waiting.entry((item.kind, &item.key)).or_default().push(number);
        }
    }
    for (number, item) in items.iter().enumerate() {
        let Some(item) = item.as_ref().filter(|item| item.side == Side::Explicit) else { continue };
        if let Some(other) = waiting.get_mut(&(item.kind, &*item.key)).and_then(Vec::pop) {
            pairs.push((number, other));
        }
    }
    pairs
}
