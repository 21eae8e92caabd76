//! Several streams as one: changes in the order of the log, and one position for all of them.
//!
//! A change is handed over when every stream has been read up to its place, so that none can bring an earlier one. A token tells its
//! place ([`Place`]), so the token of the last change, whichever stream it came from, is a position for all of them: each is opened
//! at the token's time, and what was read before is left out.
//!
//! A server that has nothing for a stream answers with a high-water mark: the time of the newest entry that it has looked at. The
//! mark itself only stands for what is before that time; an answer without a change shows that its entry was looked at too.
//! (Measured on MongoDB 6.0: without this, a lone change would wait for the next entry of the oplog, up to ten seconds.) That
//! holds of a replica set, and not of a router, which waits for its shards: behind one, all is read by one stream.

use bson::{RawDocument, RawDocumentBuf};
use futures_util::future::join_all;

use super::stream::Stream;
use crate::change::{Batch, Place};
use crate::mongo_client::DatabaseError;
use crate::position::{ClusterTime, Position, Resume, Start};
use crate::source::SourceError;

/// Streams that are read as one.
pub(super) struct Merge {
    lanes: Vec<Lane>,
    /// The position told last: it never goes back.
    told: Option<Position>,
}

/// One of the streams.
struct Lane {
    stream: Stream,
    /// What it gave and others have not come up to.
    waiting: Batch,
    reached: Reached,
    /// The time of the place where it was opened; what it says of that time itself says nothing of what it has looked at.
    opened_at: Option<ClusterTime>,
}

/// How far a stream has been read.
#[derive(Debug)]
enum Reached {
    /// Nobody knows yet.
    Unknown,
    /// Up to a token.
    Token(RawDocumentBuf, ClusterTime),
    /// Past every change of a time.
    PastTime(ClusterTime),
}

impl Reached {
    fn place(&self) -> Option<Place<'_>> {
        match self {
            Self::Unknown => None,
            Self::Token(token, time) => Some(Place::of(token).unwrap_or(Place::before(*time))),
            Self::PastTime(time) => Some(Place::after(*time)),
        }
    }
}

impl Merge {
    /// Streams that are not open yet.
    pub fn new(streams: Vec<Stream>) -> Self {
        let lane = |stream| Lane { stream, waiting: Batch::empty(None), reached: Reached::Unknown, opened_at: None };
        Self { lanes: streams.into_iter().map(lane).collect(), told: None }
    }

    /// Ends the streams on our side.
    pub fn close(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.stream.close());
    }

    /// Opens every stream at the same place.
    pub async fn open(&mut self, start: &Start, has_images: bool) -> Result<(), SourceError> {
        self.told = None;
        let is_alone = self.lanes.len() == 1;
        // The token of a change belongs to one of the streams only.
        let start = if is_alone { start.clone() } else { start.clone().in_another_scope() };
        for lane in &mut self.lanes {
            lane.waiting = Batch::empty(None);
            (lane.reached, lane.opened_at) = (Reached::Unknown, None);
            lane.stream.has_images = has_images;
        }
        let mut start = start;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.stream.open(&start).await?;
            if index > 0 || is_alone {
                continue;
            }
            // "Now" and "the oldest" are one place for all: that of the first.
            if start == Start::Now {
                let first = lane.stream.next().await?;
                lane.take(first);
            }
            let time = lane.stream.position().map(|position| position.time);
            if let (Start::Now | Start::Beginning, Some(time)) = (&start, time) {
                start = Start::At(time);
            }
        }
        for lane in &mut self.lanes {
            lane.opened_at = lane.stream.position().map(|position| position.time);
        }
        Ok(())
    }

    /// Waits for the next batch.
    pub async fn next(&mut self) -> Result<Batch, SourceError> {
        if let [lane] = self.lanes.as_mut_slice() {
            return lane.stream.next().await;
        }
        loop {
            self.read().await?;
            if let Some(batch) = self.merged() {
                return Ok(batch);
            }
        }
    }

    /// An error of the server, as one of the source.
    pub fn error(&self, error: DatabaseError) -> SourceError {
        match self.lanes.first() {
            Some(lane) => lane.stream.error(error, None),
            None => SourceError::Closed,
        }
    }

    /// Reads the stream that holds the others up, together with those that are about as far: of a stream that is far ahead
    /// nothing is needed, and its answer might be long in coming.
    async fn read(&mut self) -> Result<(), SourceError> {
        let seconds = |lane: &Lane| lane.reached.place().map_or(0, |place| place.time.seconds);
        let first = self.lanes.iter().map(seconds).min().unwrap_or_default();
        let lagging = self.lanes.iter_mut().filter(|lane| {
            lane.waiting.is_empty()
                && lane.reached.place().is_none_or(|place| place.time.seconds <= first.saturating_add(1))
        });
        let read = join_all(lagging.map(|lane| async {
            let batch = lane.stream.next().await?;
            lane.take(batch);
            Ok(())
        }));
        read.await.into_iter().collect()
    }

    /// What every stream has come up to; nothing if there is more to read before anything can be said.
    fn merged(&mut self) -> Option<Batch> {
        let limit = self.lanes.iter().min_by(|one, other| one.reached.place().cmp(&other.reached.place()))?;
        let position = limit.stream.position().cloned();
        let place = limit.reached.place();
        let counts: Vec<usize> = self.lanes.iter().map(|lane| lane.count_up_to(place)).collect();
        let is_more_waiting = self.lanes.iter().zip(&counts).any(|(lane, count)| lane.waiting.len() > *count);
        if counts.iter().all(|count| *count == 0) {
            if is_more_waiting {
                return None;
            }
            self.tell(position);
            let leaves_nothing = self.lanes.iter().all(|lane| matches!(lane.reached, Reached::PastTime(_)));
            let mut batch = Batch::empty(self.told.clone());
            batch.leaves_nothing = leaves_nothing;
            return Some(batch);
        }
        let mut batch = self.take(&counts);
        let last = batch.len().checked_sub(1).and_then(|last| batch.document(last));
        let after_last = last.and_then(after);
        self.tell(position);
        self.tell(after_last);
        batch.end = self.told.clone();
        Some(batch)
    }

    /// The first changes of every stream, so many of each, in the order of the log. They are copied only if they come from
    /// more than one.
    fn take(&mut self, counts: &[usize]) -> Batch {
        let mut parts: Vec<Batch> = Vec::new();
        for (lane, &count) in self.lanes.iter_mut().zip(counts).filter(|(_, count)| **count > 0) {
            let rest = lane.waiting.split_off(count).unwrap_or_else(|| Batch::empty(None));
            parts.push(std::mem::replace(&mut lane.waiting, rest));
        }
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let all = parts.iter().flat_map(|part| (0..part.len()).filter_map(|index| part.document(index)));
        let mut ordered: Vec<(Place<'_>, &RawDocument)> = all.map(|change| (place_of(change), change)).collect();
        // Stable, so that what a stream gives keeps its order whatever its tokens look like.
        ordered.sort_by_key(|(place, _)| *place);
        Batch::from_documents(ordered.into_iter().map(|(_, change)| change), None)
    }

    fn tell(&mut self, position: Option<Position>) {
        let Some(position) = position.filter(|position| position.token().is_some()) else { return };
        if self.told.as_ref().is_none_or(|told| is_after(&position, told)) {
            self.told = Some(position);
        }
    }
}

impl Lane {
    /// Takes what the stream gave.
    fn take(&mut self, batch: Batch) {
        if let Some(Position { time, resume }) = &batch.end {
            let is_new = self.opened_at.is_some_and(|opened| *time > opened);
            self.reached = match resume {
                Resume::After(_) if batch.leaves_nothing && is_new => Reached::PastTime(*time),
                Resume::After(token) | Resume::AfterInvalidate(token) => Reached::Token(token.clone(), *time),
                Resume::AtTime => Reached::Unknown,
            };
        }
        let last = batch.len().checked_sub(1).and_then(|last| batch.document(last));
        if let Some(last) = last
            && self.reached.place() < Some(place_of(last))
            && let Ok(token) = last.get_document("_id")
        {
            self.reached = Reached::Token(token.to_owned(), place_of(last).time);
        }
        self.waiting = batch;
    }

    fn count_up_to(&self, place: Option<Place<'_>>) -> usize {
        let Some(place) = place else { return 0 };
        let changes = (0..self.waiting.len()).filter_map(|index| self.waiting.document(index));
        changes.take_while(|change| place_of(change) <= place).count()
    }
}

/// The place of a change: what its token says, else its own time.
fn place_of(change: &RawDocument) -> Place<'_> {
    let told = change.get_document("_id").ok().and_then(Place::of);
    told.unwrap_or_else(|| {
        Place::before(change.get_timestamp("clusterTime").map(ClusterTime::from).unwrap_or_default())
    })
}

/// The position after a change.
fn after(change: &RawDocument) -> Option<Position> {
    let token = change.get_document("_id").ok()?;
    Some(Position::after(token, Place::of(token)?.time))
}

fn is_after(one: &Position, other: &Position) -> bool {
    match one.time.cmp(&other.time) {
        std::cmp::Ordering::Equal => match (one.token().and_then(Place::of), other.token().and_then(Place::of)) {
            (Some(one), Some(other)) => one > other,
            _ => false,
        },
        order => order.is_gt(),
    }
}
