//! What has settled: from what the lanes say, the position up to which everything has.
//!
//! Every event of a run has a number: the first is 1. Lanes settle in order, so that one number per lane says what it has
//! settled; an event that a lane never gets counts as settled there with the one before it. A step remembers a position and how many events were made up to it: the position has settled when every lane
//! has settled that many. Only changes that fire and ends of batches make steps, and steps that no event lies between
//! become one: memory is bounded by the events that the lanes hold.
//!
//! What is to be cleaned up after events have settled comes in portions, which are counted in the same way: a position waits for
//! those before it, so that a crash between the two repeats the events and then cleans up.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::position::{Position, Sequence};

/// The ledger of one run.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: Mutex<Entries>,
    /// Told when the first position has settled, so that the first checkpoint need not wait for its turn.
    pub(super) first_settled: Notify,
    /// The number of events, from the first, that every lane has settled.
    settled_events: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entries {
    /// Steps that have not settled, in order.
    steps: VecDeque<Step>,
    settled: Option<Settled>,
    lanes: Vec<LaneProgress>,
    /// Events made.
    events_count: u64,
    /// Portions to clean up, and how many of them, from the first, are cleaned up.
    portions_count: u64,
    cleaned_count: u64,
    /// When the source last said that nothing was left to read, in milliseconds since 1970.
    caught_up_at_ms: Option<i64>,
    /// The time of the last change read.
    last_change_at_ms: Option<i64>,
}

/// What a lane has settled.
#[derive(Clone, Debug, Default)]
struct LaneProgress {
    /// The number of events, from the first, that it has settled or never gets.
    settled: u64,
    /// The events further on that it never gets: how many stand before a run of them, and how many they are.
    skips: VecDeque<(u64, u64)>,
}

#[derive(Debug)]
struct Step {
    /// Events made up to this step.
    events_count: u64,
    /// Portions to clean up that it waits for.
    portions_count: u64,
    /// The time of the first change of this step that fired.
    time_ms: i64,
    sequence: Sequence,
    position: Option<Position>,
}

/// A position up to which everything has settled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settled {
    /// Orders such positions.
    pub(super) sequence: Sequence,
    pub(super) position: Position,
}

impl Ledger {
    /// A ledger for lanes numbered from 0.
    pub(super) fn new(lane_count: usize) -> Self {
        let entries = Entries {
            steps: VecDeque::new(),
            settled: None,
            lanes: vec![LaneProgress::default(); lane_count],
            events_count: 0,
            portions_count: 0,
            cleaned_count: 0,
            caught_up_at_ms: None,
            last_change_at_ms: None,
        };
        Self { entries: Mutex::new(entries), first_settled: Notify::new(), settled_events: watch::Sender::new(0) }
    }

    /// Something was read that made `events_count` more events. To be told before the events reach a lane. `skipped` holds
    /// each lane and event, counted from 0 among these, where the lane never gets the event.
    pub(super) fn fired(
        &self,
        sequence: Sequence,
        time_ms: i64,
        events_count: u64,
        position: Option<Position>,
        skipped: impl IntoIterator<Item = (usize, u64)>,
    ) {
        let mut entries = self.entries();
        let first = entries.events_count;
        for (lane, event) in skipped {
            if let Some(lane) = entries.lanes.get_mut(lane) {
                lane.skip(first + event);
            }
        }
        entries.events_count += events_count;
        entries.push(time_ms, sequence, position);
        self.take_settled(&mut entries);
    }

    /// A batch was read to its end. `last_change_at_ms` is the time of its last change; `caught_up_at_ms` is when it
    /// arrived, if it was empty.
    pub(super) fn read(
        &self,
        sequence: Sequence,
        position: Option<Position>,
        last_change_at_ms: Option<i64>,
        caught_up_at_ms: Option<i64>,
    ) {
        let mut entries = self.entries();
        entries.last_change_at_ms = last_change_at_ms.or(entries.last_change_at_ms);
        entries.caught_up_at_ms = caught_up_at_ms.or(entries.caught_up_at_ms);
        let Some(position) = position else { return };
        let (portions_count, cleaned_count) = (entries.portions_count, entries.cleaned_count);
        match entries.steps.back_mut() {
            // Nothing lies between the last step and here: what settles the one settles the other.
            Some(last) if last.portions_count == portions_count => {
                (last.sequence, last.position) = (sequence, Some(position));
            }
            None if cleaned_count == portions_count => self.advance(&mut entries, Settled { sequence, position }),
            Some(_) | None => {
                let time_ms = last_change_at_ms.unwrap_or(position.time.as_millis());
                entries.push(time_ms, sequence, Some(position));
            }
        }
    }

    /// What is read from here on waits for one more portion to be cleaned up. To be told before the events that the portion
    /// belongs to.
    pub(super) fn announce_portion(&self) {
        self.entries().portions_count += 1;
    }

    /// So many more portions are cleaned up.
    pub(super) fn cleaned_up(&self, portions_count: u64) {
        let mut entries = self.entries();
        entries.cleaned_count += portions_count;
        self.take_settled(&mut entries);
    }

    /// The number of events, from the first, that every lane has settled, whenever it grows.
    pub(super) fn settled_events(&self) -> watch::Receiver<u64> {
        self.settled_events.subscribe()
    }

    /// A lane has settled `events_count` more of the events that it gets.
    pub(super) fn settle(&self, lane: usize, events_count: u64) {
        let mut entries = self.entries();
        if let Some(lane) = entries.lanes.get_mut(lane) {
            lane.settle(events_count);
        }
        self.take_settled(&mut entries);
    }

    fn take_settled(&self, entries: &mut Entries) {
        let everywhere = entries.settled_everywhere(None);
        if everywhere > *self.settled_events.borrow() {
            self.settled_events.send_replace(everywhere);
        }
        let mut latest = None;
        let cleaned = entries.cleaned_count;
        while entries.steps.front().is_some_and(|step| step.has_settled(everywhere, cleaned)) {
            let step = entries.steps.pop_front();
            latest = step.and_then(Step::settled).or(latest);
        }
        if let Some(settled) = latest {
            self.advance(entries, settled);
        }
    }

    /// The position up to which everything has settled.
    pub(super) fn settled(&self) -> Option<Settled> {
        self.entries().settled.clone()
    }

    /// The position up to which everything would have settled if `lane` had settled `events_count` more events; absent if
    /// it would be the same as it is.
    pub(super) fn settled_if(&self, lane: usize, events_count: u64) -> Option<Settled> {
        let entries = self.entries();
        let everywhere = entries.settled_everywhere(Some((lane, events_count)));
        let end = entries.steps.partition_point(|step| step.has_settled(everywhere, entries.cleaned_count));
        let latest = entries.steps.range(..end).rev().find(|step| step.position.is_some())?;
        Some(Settled { sequence: latest.sequence, position: latest.position.clone()? })
    }

    /// True if nothing is left that a position waits for.
    pub(super) fn is_settled(&self) -> bool {
        self.entries().steps.is_empty()
    }

    /// Events made, and how many of them some lane has not settled.
    pub(super) fn counts(&self) -> (u64, u64) {
        let entries = self.entries();
        let everywhere = entries.settled_everywhere(None);
        (entries.events_count, entries.events_count.saturating_sub(everywhere))
    }

    /// The time up to which everything that was committed is known to have settled, in milliseconds since 1970; absent
    /// until anything is known.
    ///
    /// It is that of the oldest change with an unsettled event. If there is none, it is that of the last change read, or,
    /// if later, the moment at which the source last said that nothing was left.
    pub(super) fn true_up_to_ms(&self) -> Option<i64> {
        let entries = self.entries();
        match entries.steps.front() {
            Some(oldest) => Some(oldest.time_ms),
            None => entries.last_change_at_ms.max(entries.caught_up_at_ms),
        }
    }

    fn advance(&self, entries: &mut Entries, settled: Settled) {
        if entries.settled.replace(settled).is_none() {
            self.first_settled.notify_one();
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn push(&mut self, time_ms: i64, sequence: Sequence, position: Option<Position>) {
        let (events_count, portions_count) = (self.events_count, self.portions_count);
        self.steps.push_back(Step { events_count, portions_count, time_ms, sequence, position });
    }

    /// The number of events, from the first, that every lane has settled, with `more` added to one lane.
    fn settled_everywhere(&self, more: Option<(usize, u64)>) -> u64 {
        let settled = self.lanes.iter().enumerate().map(|(index, lane)| match more {
            Some((that, added)) if that == index => lane.settled_with(added),
            _ => lane.settled,
        });
        settled.min().unwrap_or(self.events_count)
    }
}

impl LaneProgress {
    /// The lane never gets the event that so many events stand before. To be told in the order of the events.
    fn skip(&mut self, before: u64) {
        if before == self.settled {
            self.settled += 1;
            return;
        }
        match self.skips.back_mut() {
            Some((start, count)) if *start + *count == before => *count += 1,
            _ => self.skips.push_back((before, 1)),
        }
    }

    fn settle(&mut self, events_count: u64) {
        self.settled = self.settled_with(events_count);
        while self.skips.front().is_some_and(|(start, _)| *start < self.settled) {
            self.skips.pop_front();
        }
    }

    /// What it would have settled with `more` of the events that it gets.
    fn settled_with(&self, more: u64) -> u64 {
        let (mut settled, mut left) = (self.settled, more);
        for (start, count) in &self.skips {
            let gets = start - settled;
            if left < gets {
                break;
            }
            left -= gets;
            settled = start + count;
        }
        settled + left
    }
}

impl Step {
    fn has_settled(&self, events_count: u64, portions_count: u64) -> bool {
        self.events_count <= events_count && self.portions_count <= portions_count
    }

    fn settled(self) -> Option<Settled> {
        Some(Settled { sequence: self.sequence, position: self.position? })
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use proptest::prelude::*;

    use super::*;
    use crate::position::ClusterTime;

    fn position(number: u64) -> Position {
        let time = ClusterTime { seconds: u32::try_from(number).unwrap(), increment: 1 };
        Position::after(&rawdoc! {"_data": number.to_string()}, time)
    }

    /// What the ledger must say, by looking at everything every time.
    #[derive(Default)]
    struct Naive {
        /// Position number, and events and portions up to it.
        positions: Vec<(u64, u64, u64)>,
        portions: u64,
        cleaned: u64,
        lanes: Vec<u64>,
        /// For every event, whether each lane gets it.
        gets: Vec<Vec<bool>>,
    }

    impl Naive {
        fn events_count(&self) -> u64 {
            self.gets.len() as u64
        }

        /// How many events of a lane are left.
        fn left(&self, lane: usize) -> u64 {
            self.gets.iter().filter(|gets| gets[lane]).count() as u64 - self.lanes[lane]
        }

        /// The number of events, from the first, that are settled in a lane that has settled so many of its own.
        fn settled(&self, lane: usize, mut own: u64) -> u64 {
            let is_settled = |gets: &&Vec<bool>| {
                let is_own = gets[lane];
                let is_settled = !is_own || own > 0;
                own -= u64::from(is_own && is_settled);
                is_settled
            };
            self.gets.iter().take_while(is_settled).count() as u64
        }

        fn everywhere(&self, lane: usize, more: u64) -> u64 {
            let lanes = self.lanes.iter().enumerate();
            let settled = lanes.map(|(index, own)| self.settled(index, if index == lane { own + more } else { *own }));
            settled.min().unwrap_or(self.events_count())
        }

        fn settled_if(&self, lane: usize, more: u64) -> Option<u64> {
            let everywhere = self.everywhere(lane, more);
            let has_settled =
                |(_, events, portions): &&(u64, u64, u64)| *events <= everywhere && *portions <= self.cleaned;
            self.positions.iter().rfind(has_settled).map(|(number, ..)| *number)
        }
    }

    /// The two side by side, and what a run may do to them.
    struct Both {
        ledger: Ledger,
        naive: Naive,
        sequence: u64,
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A change that makes so many events, with a position of its own or not. Of each event a bit per lane says that it
        /// does not get it.
        Fire(u64, bool, u32),
        /// The end of a batch, with a position or without.
        End(bool),
        /// A lane settles so many of its events.
        Settle(usize, u64),
        /// What comes waits for one more portion.
        Announce,
        /// So many portions are cleaned up.
        Clean(u64),
    }

    impl Both {
        fn new(lane_count: usize) -> Self {
            let naive = Naive { lanes: vec![0; lane_count], ..Naive::default() };
            Self { ledger: Ledger::new(lane_count), naive, sequence: 0 }
        }

        fn apply(&mut self, step: Step) {
            match step {
                Step::Fire(events, has_position, skips) => {
                    self.sequence += 1;
                    let lane_count = self.naive.lanes.len();
                    let mut skipped = Vec::new();
                    for event in 0..events {
                        let is_skipped = |lane: usize| skips >> (event as usize * lane_count + lane) & 1 == 1;
                        self.naive.gets.push((0..lane_count).map(|lane| !is_skipped(lane)).collect());
                        skipped.extend((0..lane_count).filter(|lane| is_skipped(*lane)).map(|lane| (lane, event)));
                    }
                    if has_position {
                        self.naive.positions.push((self.sequence, self.naive.events_count(), self.naive.portions));
                    }
                    let position = has_position.then(|| position(self.sequence));
                    self.ledger.fired(Sequence(self.sequence), 0, events, position, skipped);
                }
                Step::End(has_position) => {
                    self.sequence += 1;
                    if has_position {
                        self.naive.positions.push((self.sequence, self.naive.events_count(), self.naive.portions));
                    }
                    let position = has_position.then(|| position(self.sequence));
                    self.ledger.read(Sequence(self.sequence), position, None, None);
                }
                Step::Settle(lane, events) => {
                    if lane >= self.naive.lanes.len() {
                        return;
                    }
                    let events = events.min(self.naive.left(lane));
                    self.naive.lanes[lane] += events;
                    self.ledger.settle(lane, events);
                }
                Step::Announce => {
                    self.naive.portions += 1;
                    self.ledger.announce_portion();
                }
                Step::Clean(portions) => {
                    let portions = portions.min(self.naive.portions - self.naive.cleaned);
                    self.naive.cleaned += portions;
                    self.ledger.cleaned_up(portions);
                }
            }
            self.check();
        }

        fn check(&self) {
            let expected = self.naive.settled_if(usize::MAX, 0);
            let settled = self.ledger.settled();
            assert_eq!(settled.as_ref().map(|settled| settled.sequence.0), expected);
            assert_eq!(settled.map(|settled| settled.position), expected.map(position));
            for lane in 0..self.naive.lanes.len() {
                for more in 0..=self.naive.left(lane) {
                    let would = self.naive.settled_if(lane, more).filter(|would| Some(*would) != expected);
                    let settled_if = self.ledger.settled_if(lane, more).map(|settled| settled.sequence.0);
                    assert_eq!(settled_if, would, "lane {lane}, {more} more");
                }
            }
            let events_count = self.naive.events_count();
            let unsettled = events_count - self.naive.everywhere(usize::MAX, 0);
            assert_eq!(self.ledger.counts(), (events_count, unsettled));
            let kept = self.ledger.entries().lanes.iter().map(|lane| lane.skips.len() as u64).max();
            assert!(kept.unwrap_or_default() <= unsettled, "one run per unsettled event at most");
            let everywhere = *self.ledger.settled_events().borrow();
            assert_eq!(everywhere, events_count - unsettled, "who cleans up is told");
            let waiting = unsettled + self.naive.portions - self.naive.cleaned;
            let steps = self.ledger.entries().steps.len() as u64;
            assert!(waiting > 0 || steps == 0, "nothing is kept that waits for nothing");
            if self.naive.portions == 0 {
                assert!(steps <= unsettled, "one step per unsettled event at most");
            }
        }
    }

    /// Runs every order in which the lanes can settle the events, one by one or in pairs.
    fn settle_in_every_order(make: &dyn Fn() -> Both, done: &mut Vec<Step>) -> u32 {
        let mut both = make();
        for step in done.iter() {
            both.apply(*step);
        }
        let left: Vec<u64> = (0..both.naive.lanes.len()).map(|lane| both.naive.left(lane)).collect();
        if left.iter().all(|left| *left == 0) {
            assert_eq!(both.ledger.settled().map(|settled| settled.sequence.0), Some(both.sequence));
            return 1;
        }
        let mut orders = 0;
        for (lane, left) in left.into_iter().enumerate() {
            for events in 1..=left.min(2) {
                done.push(Step::Settle(lane, events));
                orders += settle_in_every_order(make, done);
                done.pop();
            }
        }
        orders
    }

    #[test]
    fn in_every_order_of_settling_the_position_is_what_all_lanes_have_settled() {
        let make = || {
            let mut both = Both::new(2);
            let fire = |events, has_position| Step::Fire(events, has_position, 0);
            for step in [fire(1, true), fire(2, true), Step::End(true), fire(1, false), Step::End(true)] {
                both.apply(step);
            }
            both
        };
        assert_eq!(settle_in_every_order(&make, &mut Vec::new()), 556, "orders");
    }

    #[test]
    fn what_fires_nothing_settles_at_once_but_not_before_what_fired_earlier() {
        let ledger = Ledger::new(1);
        assert_eq!(ledger.true_up_to_ms(), None, "nothing is known yet");
        ledger.read(Sequence(1), Some(position(1)), Some(5_000), None);
        assert_eq!(ledger.settled().unwrap().sequence, Sequence(1));
        assert_eq!(ledger.true_up_to_ms(), Some(5_000));
        ledger.fired(Sequence(2), 6_000, 1, Some(position(2)), None);
        ledger.read(Sequence(3), Some(position(3)), Some(7_000), None);
        ledger.read(Sequence(4), Some(position(4)), None, Some(9_000));
        assert_eq!(ledger.settled().unwrap().sequence, Sequence(1));
        assert_eq!(ledger.true_up_to_ms(), Some(6_000), "the oldest change that is not settled");
        ledger.settle(0, 1);
        assert_eq!(ledger.settled().unwrap().sequence, Sequence(4));
        assert_eq!(ledger.true_up_to_ms(), Some(9_000), "nothing was left to read at that time");
    }

    #[test]
    fn without_lanes_everything_settles_at_once() {
        let mut both = Both::new(0);
        both.apply(Step::Fire(1, true, 0));
        both.apply(Step::End(true));
        assert_eq!(both.ledger.counts(), (1, 0));
    }

    #[test]
    fn a_position_waits_for_what_is_to_be_cleaned_up_before_it() {
        let ledger = Ledger::new(1);
        ledger.fired(Sequence(1), 0, 1, Some(position(1)), None);
        ledger.announce_portion();
        ledger.fired(Sequence(2), 0, 1, Some(position(2)), None);
        ledger.settle(0, 2);
        assert_eq!(*ledger.settled_events().borrow(), 2);
        assert_eq!(ledger.settled().unwrap().sequence, Sequence(1), "the second is not cleaned up");
        assert!(!ledger.is_settled());
        ledger.cleaned_up(1);
        assert_eq!(ledger.settled().unwrap().sequence, Sequence(2));
        assert!(ledger.is_settled());
        // What made no event waits too.
        ledger.announce_portion();
        ledger.read(Sequence(3), Some(position(3)), None, None);
        ledger.read(Sequence(4), Some(position(4)), None, None);
        assert_eq!(ledger.settled().unwrap().sequence, Sequence(2));
        ledger.cleaned_up(1);
        assert_eq!(ledger.settled().unwrap().sequence, Sequence(4));
    }

    #[test]
    fn what_a_lane_never_gets_settles_there_at_once() {
        let ledger = Ledger::new(2);
        ledger.fired(Sequence(1), 0, 1, Some(position(1)), [(0, 0)]);
        assert_eq!(ledger.settled(), None, "the other lane has it");
        ledger.settle(1, 1);
        assert_eq!(ledger.settled().unwrap().sequence, Sequence(1));
        ledger.fired(Sequence(2), 0, 1, Some(position(2)), [(0, 0), (1, 0)]);
        assert_eq!(ledger.settled().unwrap().sequence, Sequence(2), "no lane gets it");
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..4_u64, any::<bool>(), any::<u32>(), any::<u32>())
                .prop_map(|(events, position, skips, some)| Step::Fire(events, position, skips & some)),
            any::<bool>().prop_map(Step::End),
            (0..3_usize, 1..5_u64).prop_map(|(lane, events)| Step::Settle(lane, events)),
            Just(Step::Announce),
            (1..3_u64).prop_map(Step::Clean),
        ]
    }

    proptest! {
        #[test]
        fn the_ledger_says_what_a_naive_one_says(lanes in 1..4_usize, steps in prop::collection::vec(step(), 0..60)) {
            let mut both = Both::new(lanes);
            for step in steps {
                both.apply(step);
            }
        }
    }
}
