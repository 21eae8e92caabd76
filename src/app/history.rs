//! Changes that have happened already, read once more: from a tape, or from the log of the database. Nothing is delivered and no
//! position is kept.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::AppError;
use crate::change::{Batch, Entry};
use crate::config::Config;
use crate::failure::Disposition;
use crate::metrics::Metrics;
use crate::mongo_client;
use crate::pipeline::StopSignal;
use crate::position::{ClusterTime, Position, Start};
use crate::rules::{ImageNeeds, RuleSet};
use crate::source::{ChangeStreamSource, Plan, Source, SourceError, TapeHeader, TapeSource};

/// How many batches are read ahead.
const AHEAD_COUNT: usize = 4;

/// The first and the longest pause before a source that failed is opened again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the next change.
    Now,
    /// With the oldest change that the log holds.
    Beginning,
    /// So long before now, by the clock of the database.
    Ago(Duration),
    /// With the first change at or after a time.
    At(ClusterTime),
}

/// How the documents that an update's own description lacks are had.
#[derive(Clone, Debug)]
pub enum Images {
    /// Those that the collections keep, before and after a change.
    All,
    /// Those that some rule needs, as far as the collections keep them.
    Needed(ImageNeeds),
    /// The same, and the others are looked up, as a run does.
    NeededAndLookedUp(Arc<RuleSet>),
    /// The same, and those before every change as well: they show what a field was.
    BeforeNeededAndLookedUp(Arc<RuleSet>),
}

impl Images {
    fn needs(&self) -> ImageNeeds {
        match self {
            Self::All => ImageNeeds { before: true, after: true },
            Self::Needed(needs) => *needs,
            Self::NeededAndLookedUp(rules) => rules.image_needs_of_all(),
            Self::BeforeNeededAndLookedUp(rules) => ImageNeeds { before: true, ..rules.image_needs_of_all() },
        }
    }
}

/// A log of changes, ready to be read to its end.
pub struct History {
    source: Box<dyn Source>,
    start: Start,
    /// What the source was asked for.
    needs: ImageNeeds,
    looked_up_for: Option<Arc<RuleSet>>,
    end: End,
    progress: HistoryProgress,
}

/// Where reading ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// When nothing is left.
    Empty,
    /// When everything up to this time has been read.
    At(ClusterTime),
    /// Never by itself.
    Never,
}

/// How far a history has been read. Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct HistoryProgress {
    done: Arc<AtomicU64>,
    total: Option<u64>,
}

impl HistoryProgress {
    /// What has been read, of all there is, in bytes of a tape or in seconds of the log; nothing if it has no end.
    pub fn share(&self) -> Option<(u64, u64)> {
        self.total.map(|total| (self.done.load(Ordering::Relaxed).min(total), total))
    }
}

impl History {
    /// What is on a tape, and what the tape says of itself.
    ///
    /// # Errors
    /// If it is no tape.
    pub fn of_tape(path: &Path) -> Result<(Self, TapeHeader), AppError> {
        let source = TapeSource::new(path).map_err(SourceError::Tape)?;
        let header = source.header().clone();
        let (total, done) = source.progress();
        let progress = HistoryProgress { done, total: Some(total) };
        let source = Box::new(source);
        let needs = ImageNeeds { before: header.has_before, after: header.has_after };
        let start = Start::Beginning;
        Ok((Self { source, start, needs, looked_up_for: None, end: End::Empty, progress }, header))
    }

    /// What has happened in the database to what the configuration watches, up to now. With [`From::Now`], what will happen.
    ///
    /// # Errors
    /// If the database can not be asked.
    pub async fn of_database(config: &Config, from: From, images: &Images) -> Result<Self, AppError> {
        let client = mongo_client::connect(&config.source.uri).await?;
        let metrics = Arc::new(Metrics::new().map_err(AppError::Metrics)?);
        // Nothing is left out: who looks at the past wants to see what the rules do not.
        // Settings of relays that can not be used have been refused when the configuration was read.
        let needs = images.needs().or(config.relays().unwrap_or_default().image_needs_of_all());
        let mut source = ChangeStreamSource::new(client, &config.source, Plan::new(config.scope(), needs), metrics);
        let now = source.operation_time().await?.unwrap_or_default();
        let start = match from {
            From::Now => Start::Now,
            From::Beginning => Start::Beginning,
            From::At(time) => Start::At(time),
            From::Ago(period) => {
                let seconds = u32::try_from(period.as_secs()).unwrap_or(u32::MAX);
                Start::At(ClusterTime { seconds: now.seconds.saturating_sub(seconds), increment: 0 })
            }
        };
        let total = match start {
            Start::At(time) => Some(u64::from(now.seconds.saturating_sub(time.seconds)).max(1)),
            Start::Now | Start::Beginning | Start::Resume(_) | Start::Beyond(_) => None,
        };
        let end = if start == Start::Now { End::Never } else { End::At(now) };
        let looked_up_for = match images {
            Images::NeededAndLookedUp(rules) | Images::BeforeNeededAndLookedUp(rules) => {
                Some(rules.clone()).filter(|rules| rules.image_needs_of_all().after)
            }
            Images::All | Images::Needed(_) => None,
        };
        let progress = HistoryProgress { done: Arc::default(), total };
        Ok(Self { source: Box::new(source), start, needs, looked_up_for, end, progress })
    }

    /// Goes on with what happens from now on, when everything up to now has been read.
    #[must_use]
    pub fn without_end(self) -> Self {
        Self { end: End::Never, progress: HistoryProgress { total: None, ..self.progress }, ..self }
    }

    /// Which documents the source was asked for.
    pub(super) fn needs(&self) -> ImageNeeds {
        self.needs
    }

    /// True if documents are looked up.
    pub(super) fn looks_up(&self) -> bool {
        self.looked_up_for.is_some()
    }

    /// How far it has been read.
    pub fn progress(&self) -> HistoryProgress {
        self.progress.clone()
    }

    /// Identifies the deployment, and what of it is watched.
    ///
    /// # Errors
    /// If the database can not be asked.
    pub async fn identity(&mut self) -> Result<(String, String), AppError> {
        Ok((self.source.deployment().await?, self.source.scope()))
    }

    /// Reads to the end, until `take` breaks or a stop is asked for. A task of its own reads ahead; `take` is called where this
    /// is awaited, with one batch after the other, also with empty ones: then nothing was left to read.
    ///
    /// # Errors
    /// What ended the reading. What was read before has been handed over.
    pub async fn read(
        self,
        stop: &StopSignal,
        mut take: impl FnMut(&Batch) -> Result<ControlFlow<()>, AppError>,
    ) -> Result<(), AppError> {
        let start = self.start.clone();
        let mut has_read = false;
        let (sender, mut receiver) = mpsc::channel(AHEAD_COUNT);
        let ahead = Ahead { history: self, out: sender };
        let _reading = AbortOnDrop(tokio::spawn(ahead.run()));
        loop {
            let next = tokio::select! {
                biased;
                () = stop.requested() => return Ok(()),
                next = receiver.recv() => next,
            };
            match next {
                None => return Ok(()),
                Some(Err(error)) if !has_read => return Err(not_begun(error, &start)),
                Some(read) => {
                    has_read = true;
                    if take(&read?)?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Why reading could not begin. Nobody has lost a position here.
fn not_begun(error: SourceError, start: &Start) -> AppError {
    match (error, start) {
        (SourceError::LostPosition { oldest, .. }, Start::At(asked)) => AppError::TooFarBack { asked: *asked, oldest },
        (error, _) => AppError::Source(error),
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The task that reads ahead.
struct Ahead {
    history: History,
    out: mpsc::Sender<Result<Batch, SourceError>>,
}

impl Ahead {
    async fn run(mut self) {
        if let Err(error) = self.read().await {
            // Nobody waits for it any more if this fails.
            let _ = self.out.send(Err(error)).await;
        }
    }

    async fn read(&mut self) -> Result<(), SourceError> {
        // Who starts is told at once what is wrong; an outage later is waited out.
        self.history.source.open(&self.history.start).await?;
        let (shortest, longest) = PAUSES;
        let mut pause = shortest;
        let mut is_open = true;
        loop {
            let read = match is_open {
                true => self.read_batch().await,
                false => self.history.source.open(&self.history.start).await.map(|()| ControlFlow::Continue(())),
            };
            match read {
                Ok(ControlFlow::Break(())) => return Ok(()),
                Ok(ControlFlow::Continue(())) => {
                    if is_open {
                        pause = shortest;
                    }
                    is_open = true;
                }
                // Without a position of our own there is no place to go on from.
                Err(error) if error.disposition() == Disposition::Retry && self.history.start != Start::Now => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "reading failed; opening the source again"
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                    is_open = false;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn read_batch(&mut self) -> Result<ControlFlow<()>, SourceError> {
        let mut batch = self.history.source.next().await?;
        loop {
            let rest = match &self.history.looked_up_for {
                Some(rules) if !batch.is_empty() => {
                    let done = self.history.source.look_up(&mut batch, &|change| rules.wants_look_up(change)).await?;
                    batch.split_off(done)
                }
                Some(_) | None => None,
            };
            let reached = position_after(&batch);
            let is_end = self.is_end(&batch, reached.as_ref());
            if let Some(reached) = reached {
                self.note(&reached);
                self.history.start = Start::Resume(reached);
            }
            if self.out.send(Ok(batch)).await.is_err() {
                return Ok(ControlFlow::Break(()));
            }
            match rest {
                Some(rest) => batch = rest,
                None if is_end => return Ok(ControlFlow::Break(())),
                None => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    fn is_end(&self, batch: &Batch, reached: Option<&Position>) -> bool {
        match self.history.end {
            End::Empty => batch.is_empty(),
            // While the server still searches its log, empty batches come too: only the position says that it is done.
            End::At(time) => reached.is_some_and(|reached| reached.time >= time),
            End::Never => false,
        }
    }

    /// Notes the seconds of the log that have been read; of a tape, the source notes the bytes.
    fn note(&self, reached: &Position) {
        if let (End::At(end), Some(total)) = (self.history.end, self.history.progress.total) {
            let left = u64::from(end.seconds.saturating_sub(reached.time.seconds));
            self.history.progress.done.store(total.saturating_sub(left), Ordering::Relaxed);
        }
    }
}

fn position_after(batch: &Batch) -> Option<Position> {
    let of_last = || match batch.len().checked_sub(1).and_then(|last| batch.entry(last)) {
        Some(Ok(Entry::Change(change))) => change.token.map(|token| Position::after(token, change.cluster_time)),
        Some(Ok(Entry::Notice(_)) | Err(_)) | None => None,
    };
    batch.end.clone().or_else(of_last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_begins_before_the_log_does_is_told_so_and_not_of_a_lost_position() {
        let time = |seconds| ClusterTime { seconds, increment: 0 };
        let lost = || SourceError::LostPosition {
            code: 286,
            name: "ChangeStreamHistoryLost".to_owned(),
            position: Some(time(10)),
            oldest: Some(time(3_600)),
        };
        let told = not_begun(lost(), &Start::At(time(10))).to_string();
        assert!(told.contains("1970-01-01T00:00:10Z") && told.contains("1970-01-01T01:00:00Z"), "{told}");
        assert!(!told.contains("on_lost_position") && told.contains("help:"), "{told}");
        assert!(matches!(not_begun(lost(), &Start::Beginning), AppError::Source(_)));
    }
}
