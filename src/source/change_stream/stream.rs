//! One change stream: opened, read reply by reply, and opened again where that is part of reading on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf};
use futures_util::StreamExt;
use mongodb::Client;
use mongodb::options::CursorType;
use mongodb::raw_batch_cursor::RawBatchCursor;

use crate::change::{Batch, Place};
use crate::metrics::Metrics;
use crate::mongo_client::{DatabaseError, ErrorClass};
use crate::position::{ClusterTime, Position, Resume, Start};
use crate::rules::ImageNeeds;
use crate::source::SourceError;

use super::command::{self, OpenAt};
use super::fragments::Fragments;
use super::plan::StreamPlan;
use super::reply::Reply;
use super::{failure, oplog};

/// Reads one change stream.
///
/// On its own it opens the stream again only where that is part of reading on: after an `invalidate`, and around a change that
/// is too large for one event. Every other end of the stream is an error, and the reader decides.
pub(super) struct Stream {
    client: Client,
    plan: StreamPlan,
    /// False if the server keeps no images of documents.
    pub has_images: bool,
    batch_size: u32,
    await_time: Duration,
    metrics: Arc<Metrics>,
    cursor: Option<RawBatchCursor>,
    /// The server has ended the stream, and nothing was invalidated.
    is_closed: bool,
    /// The place after everything handed over; what the stream is opened again at.
    position: Option<Position>,
    /// The token up to which changes are left out: they belong to another stream, and have been read there.
    read_before: Option<RawDocumentBuf>,
    /// We started with the oldest entry of the oplog and have handed nothing over.
    is_at_beginning: bool,
    /// Batches that are read and not yet handed over.
    ready: VecDeque<Batch>,
    fragments: Fragments,
    /// Whether the server can cut large events: unknown until tried.
    can_split: Option<bool>,
    pace: Pace,
}

/// How the stream is read just now. The second and third are for a server that cannot cut large events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// In full batches with all images.
    Full,
    /// Change by change, to come as close as possible to one that is too large; at most so many more.
    Single { left: u32 },
    /// That one change, without images.
    Bare,
}

impl Stream {
    /// A stream that is not open yet.
    pub fn new(client: Client, plan: StreamPlan, batch_size: u32, await_time: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            plan,
            has_images: true,
            batch_size,
            await_time,
            metrics,
            cursor: None,
            is_closed: false,
            position: None,
            read_before: None,
            is_at_beginning: false,
            ready: VecDeque::new(),
            fragments: Fragments::default(),
            can_split: None,
            pace: Pace::Full,
        }
    }

    /// Ends it on our side; `open` begins it anew.
    pub fn close(&mut self) {
        self.cursor = None;
    }

    /// The place after everything handed over, or where it was opened; absent as long as that is not known.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// The images to ask for just now.
    fn images(&self) -> ImageNeeds {
        match self.pace {
            Pace::Bare => ImageNeeds::default(),
            Pace::Full | Pace::Single { .. } if !self.has_images => ImageNeeds::default(),
            Pace::Full | Pace::Single { .. } => self.plan.images,
        }
    }

    /// Opens it; what was open before is closed.
    pub async fn open(&mut self, start: &Start) -> Result<(), SourceError> {
        self.cursor = None;
        self.pace = Pace::Full;
        self.ready.clear();
        self.read_before = None;
        self.position = match start {
            Start::Now | Start::Beginning => None,
            Start::At(time) => Some(Position::at_time(*time)),
            Start::Resume(position) => Some(position.clone()),
            Start::Beyond(position) => {
                self.read_before = position.token().map(RawDocument::to_owned);
                Some(Position::at_time(position.time))
            }
        };
        self.is_at_beginning = *start == Start::Beginning;
        if *start == Start::Beginning {
            self.position = Some(Position::at_time(self.beginning().await?));
        }
        let Some(position) = self.position.clone() else { return self.open_at(&OpenAt::Now).await };
        match self.open_at(&open_at(&position)).await {
            Err(SourceError::Refused(error))
                if position.resume != Resume::AtTime && failure::is_unreadable_token(&error) =>
            {
                // Nothing is lost by it: the time is a part of the position of its own, and reading from it repeats a little.
                tracing::warn!(%error, time = %position.time, "the server can not read the saved resume token; going on from its time");
                self.position = Some(Position::at_time(position.time));
                self.open_at(&OpenAt::Time(position.time)).await
            }
            opened => opened,
        }
    }

    /// Waits for the next batch.
    pub async fn next(&mut self) -> Result<Batch, SourceError> {
        loop {
            if let Some(mut batch) = self.ready.pop_front() {
                self.leave_out_what_was_read(&mut batch);
                if let Some(end) = &batch.end {
                    self.position = Some(end.clone());
                    self.is_at_beginning = false;
                }
                return Ok(batch);
            }
            self.read().await?;
        }
    }

    /// Until the place is reached up to which another stream has read, nothing is handed over, and no position is told: the old
    /// one is still the better one.
    fn leave_out_what_was_read(&mut self, batch: &mut Batch) {
        let Some(token) = &self.read_before else { return };
        let Some(place) = Place::of(token) else { return self.read_before = None };
        let token_of = |index| batch.document(index).and_then(|change: &RawDocument| change.get_document("_id").ok());
        let is_read = |index: &usize| token_of(*index).and_then(Place::of).is_some_and(|other| other <= place);
        let count = (0..batch.len()).take_while(is_read).count();
        batch.drop_first(count);
        let end = batch.end.as_ref().and_then(Position::token).and_then(Place::of);
        if batch.is_empty() && end.is_none_or(|end| end <= place) {
            // After an `invalidate` only its own token leads on.
            if !matches!(batch.end, Some(Position { resume: Resume::AfterInvalidate(_), .. })) {
                batch.end = None;
            }
        } else {
            self.read_before = None;
        }
    }

    async fn open_at(&mut self, at: &OpenAt) -> Result<(), SourceError> {
        self.cursor = None;
        self.is_closed = false;
        self.fragments.clear();
        let images = self.images();
        let asks_to_split = images != ImageNeeds::default() && self.can_split != Some(false);
        let mut opened = self.aggregate(at, images, asks_to_split).await;
        if let Err(error) = &opened
            && asks_to_split
            && error.class() == ErrorClass::Refused
            && !failure::is_lost_position(error)
        {
            // Which servers have the stage is not told by their versions; this one may have refused because of it.
            opened = self.aggregate(at, images, false).await;
            if opened.is_ok() {
                self.can_split = Some(false);
                tracing::debug!("the server does not cut events over 16 MB; they are read without images");
            }
        } else if opened.is_ok() && asks_to_split {
            self.can_split = Some(true);
        }
        match opened {
            Ok(cursor) => self.begin(cursor, at).await,
            Err(error) => Err(self.lost_or(error).await),
        }
    }

    async fn aggregate(
        &mut self,
        at: &OpenAt,
        images: ImageNeeds,
        splits: bool,
    ) -> Result<RawBatchCursor, DatabaseError> {
        let database = self.client.database(command::database(&self.plan.scope));
        let batch_size = if self.pace == Pace::Full { self.batch_size } else { 1 };
        let mut run = database
            .run_cursor_command(command::aggregate(&self.plan, at, images, splits))
            .cursor_type(CursorType::TailableAwait)
            .max_time(self.await_time)
            .batch_size(batch_size);
        if let Some(criteria) = self.client.selection_criteria() {
            run = run.selection_criteria(criteria.clone());
        }
        run.batch().await.map_err(|error| DatabaseError::new(&error))
    }

    /// Takes the reply to the opening. It holds no change; if we start now it tells the place where we start, and that nothing is
    /// left to read there.
    async fn begin(&mut self, mut cursor: RawBatchCursor, at: &OpenAt) -> Result<(), SourceError> {
        let first = match cursor.next().await {
            Some(first) => first.map_err(|error| self.error(DatabaseError::new(&error), None))?,
            None => return Err(SourceError::Closed),
        };
        let reply = Reply::new(first).map_err(|error| self.error(error, None))?;
        if reply.is_last {
            return Err(SourceError::Closed);
        }
        self.cursor = Some(cursor);
        if *at == OpenAt::Now {
            let end = reply.end(None);
            self.ready.push_back(reply.into_batch(end));
        }
        Ok(())
    }

    /// Opens the stream at our own position again.
    async fn open_again(&mut self) -> Result<(), SourceError> {
        let Some(position) = self.position.clone() else { return Err(SourceError::Closed) };
        self.open_at(&open_at(&position)).await
    }

    /// Reads one reply of the server and makes it ready.
    async fn read(&mut self) -> Result<(), SourceError> {
        if self.is_closed {
            return Err(SourceError::Closed);
        }
        let Some(cursor) = &mut self.cursor else { return self.open_again().await };
        match cursor.next().await {
            Some(Ok(raw)) => self.take(raw).map_err(|error| self.error(error, None)),
            Some(Err(error)) => {
                self.cursor = None;
                self.failed(DatabaseError::new(&error)).await
            }
            None => Err(SourceError::Closed),
        }
    }

    fn take(&mut self, raw: mongodb::raw_batch_cursor::RawBatch) -> Result<(), DatabaseError> {
        let mut reply = Reply::new(raw)?;
        if reply.is_last {
            self.cursor = None;
            self.is_closed = !reply.is_invalidated();
        }
        let was_waiting = self.fragments.is_waiting();
        if let Some(joined) = self.fragments.take(&mut reply)? {
            self.ready.push_back(joined);
        }
        // A reply with nothing but fragments in it is no sign that nothing is left to read.
        let is_all_fragments = reply.documents.is_empty() && (was_waiting || self.fragments.is_waiting());
        if !is_all_fragments {
            let end = reply.end(self.position.as_ref());
            self.slow_down_or_up(reply.documents.len());
            self.ready.push_back(reply.into_batch(end));
        }
        Ok(())
    }

    /// Goes back to full batches when the change that is too large has been read, or was not met.
    fn slow_down_or_up(&mut self, count: usize) {
        match self.pace {
            Pace::Full => {}
            Pace::Bare if count == 0 => {}
            Pace::Bare => {
                self.metrics.changes_oversize.inc();
                tracing::warn!("a change was too large for one event of the server, and was read without its images");
                self.pace = Pace::Full;
                self.cursor = None;
            }
            Pace::Single { left } => {
                let left = left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
                self.pace = Pace::Single { left };
                if left == 0 {
                    self.pace = Pace::Full;
                    self.cursor = None;
                }
            }
        }
    }

    /// After an error of the server while reading: a change that is too large is gone around, everything else is an error.
    async fn failed(&mut self, error: DatabaseError) -> Result<(), SourceError> {
        let is_oversize = error.code() == Some(failure::OBJECT_TOO_LARGE) && self.position.is_some();
        let next = match self.pace {
            _ if !is_oversize => None,
            Pace::Full => Some(Pace::Single { left: self.batch_size.saturating_add(1) }),
            Pace::Single { .. } => Some(Pace::Bare),
            Pace::Bare => None,
        };
        match next {
            Some(pace) => {
                self.pace = pace;
                self.open_again().await
            }
            None => Err(self.lost_or(error).await),
        }
    }

    async fn lost_or(&mut self, error: DatabaseError) -> SourceError {
        if !failure::is_lost_position(&error) {
            return self.error(error, None);
        }
        if self.is_at_beginning {
            // The oplog was cut after we looked where it begins; nobody had a position in it yet.
            return SourceError::Interrupted(error);
        }
        let oldest = oplog::oldest(&self.client).await.ok().flatten();
        self.error(error, oldest)
    }

    pub fn error(&self, error: DatabaseError, oldest: Option<ClusterTime>) -> SourceError {
        failure::source_error(error, &self.plan.scope, self.position.as_ref().map(|position| position.time), oldest)
    }

    async fn beginning(&mut self) -> Result<ClusterTime, SourceError> {
        match oplog::oldest(&self.client).await {
            Ok(Some(oldest)) => Ok(oldest),
            Ok(None) => Err(SourceError::BeginningUnknown(None)),
            Err(error) if error.class() == ErrorClass::Unauthorized => Err(SourceError::BeginningUnknown(Some(error))),
            Err(error) => Err(self.error(error, None)),
        }
    }
}

fn open_at(position: &Position) -> OpenAt {
    match &position.resume {
        Resume::After(token) => OpenAt::After(token.clone()),
        Resume::AfterInvalidate(token) => OpenAt::AfterInvalidate(token.clone()),
        Resume::AtTime => OpenAt::Time(position.time),
    }
}
