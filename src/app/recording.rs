//! Records raw changes on a tape: no rule looks at them, nothing is delivered, no position is kept.

use std::collections::HashMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::AppError;
use super::history::{From, History, Images};
use crate::change::{Batch, Entry};
use crate::config::Config;
use crate::pipeline::StopSignal;
use crate::rules::NamespacePattern;
use crate::source::{SourceError, TapeError, TapeHeader, TapeWriter};

/// What is to be recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The file, which must not be there yet.
    pub path: PathBuf,
    /// Where to begin.
    pub from: From,
    /// How long to go on; without it, a recording of the past ends with what has happened when it begins, and one from now on goes
    /// on until it is stopped.
    pub period: Option<Duration>,
    /// How many changes to record at most.
    pub changes_max: Option<u64>,
    /// Ask for all documents that the collections keep, and not only for those that the rules need.
    pub has_all_images: bool,
}

/// What has been recorded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Changes on the tape; drops, renames and the like count too.
    pub changes_count: u64,
    /// The length of the tape in bytes; what is not packed yet is not counted.
    pub byte_count: u64,
}

/// Records what happens to what the configuration watches. `told` learns of the progress after every batch, also when nothing
/// has happened.
///
/// # Errors
/// If the database can not be read, or the tape not be written. What was recorded before is a whole tape.
pub async fn record(
    config: &Config,
    recording: &Recording,
    stop: &StopSignal,
    mut told: impl FnMut(Recorded),
) -> Result<Recorded, AppError> {
    let images = match recording.has_all_images {
        true => Images::All,
        false => Images::NeededAndLookedUp(config.rule_set.clone()),
    };
    let mut history = tokio::select! {
        history = History::of_database(config, recording.from, &images) => history?,
        () = stop.requested() => return Ok(Recorded::default()),
    };
    if recording.period.is_some() {
        history = history.without_end();
    }
    let header = header(config, &mut history).await?;
    let mut writer = TapeWriter::create(&recording.path, &header).map_err(SourceError::Tape)?;
    let mut watched = Watched::new(config.watched());
    let deadline = recording.period.map(|period| Instant::now() + period);
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let read = history.read(stop, |batch| {
        let left = recording.changes_max.map_or(u64::MAX, |most| most.saturating_sub(writer.changes_count()));
        write(&mut writer, batch, left, &mut watched).map_err(SourceError::Tape)?;
        told(Recorded { changes_count: writer.changes_count(), byte_count: writer.byte_count() });
        let is_full = recording.changes_max.is_some_and(|most| writer.changes_count() >= most);
        Ok(if is_full || is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    let read = match deadline {
        // A database in which nothing happens says so every second at the least; one that is away does not.
        Some(deadline) => match tokio::time::timeout_at((deadline + Duration::from_secs(2)).into(), read).await {
            Ok(read) => read,
            Err(_) => Ok(()),
        },
        None => read.await,
    };
    // Whatever ended it, the tape is whole.
    let changes_count = writer.changes_count();
    let file = writer.finish().map_err(SourceError::Tape)?;
    read?;
    let byte_count = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    Ok(Recorded { changes_count, byte_count })
}

/// Writes what is watched, and at most so many.
fn write(writer: &mut TapeWriter<File>, batch: &Batch, most: u64, watched: &mut Watched) -> Result<(), TapeError> {
    let mut left = most;
    let beyond = (0..batch.len()).find(|index| {
        let is_too_many = left == 0;
        left = left.saturating_sub(u64::from(watched.holds(batch, *index)));
        is_too_many
    });
    let mut part = batch.clone();
    if beyond == Some(0) {
        return Ok(());
    }
    if let Some(count) = beyond {
        // It ends where its last change does, and says so.
        part.split_off(count);
    }
    writer.write(&part, |index| watched.holds(&part, index))?;
    // Nothing was left to read: there is time to take care of what is there.
    if batch.is_empty() { writer.flush() } else { Ok(()) }
}

async fn header(config: &Config, history: &mut History) -> Result<TapeHeader, AppError> {
    let (deployment, scope) = history.identity().await?;
    let needs = history.needs();
    Ok(TapeHeader {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: config.name.clone(),
        scope,
        deployment: TapeHeader::deployment_of(&deployment),
        created_at: bson::DateTime::now(),
        has_before: needs.before,
        has_after: needs.after,
        has_look_ups: history.looks_up(),
    })
}

/// Tells the changes of what is watched from those that only come along because one stream covers more.
struct Watched {
    patterns: Vec<NamespacePattern>,
    known: HashMap<String, HashMap<String, bool>>,
}

/// How many databases and collections are remembered. Past it all are forgotten.
const REMEMBERED_COUNT_MAX: usize = 10_000;

impl Watched {
    fn new(patterns: Vec<NamespacePattern>) -> Self {
        Self { patterns, known: HashMap::new() }
    }

    /// True for notices and for what can not be decoded: a tape is for those who want to know.
    fn holds(&mut self, batch: &Batch, index: usize) -> bool {
        let Some(Ok(Entry::Change(change))) = batch.entry(index) else { return true };
        if let Some(known) = self.known.get(change.database).and_then(|known| known.get(change.collection)) {
            return *known;
        }
        let is_watched = self.patterns.iter().any(|pattern| pattern.matches(change.database, change.collection));
        if self.known.values().map(HashMap::len).sum::<usize>() >= REMEMBERED_COUNT_MAX {
            self.known.clear();
        }
        let known = self.known.entry(change.database.to_owned()).or_default();
        known.insert(change.collection.to_owned(), is_watched);
        is_watched
    }
}
