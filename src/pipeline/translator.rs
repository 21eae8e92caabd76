//! From batches to events: applies the rules in the order of the log and hands what they make to every lane.

use std::collections::VecDeque;
use std::sync::Arc;

use bson::RawDocument;

use super::cleaner::CleanerEntrance;
use super::dead_letter_writer::DeadLetterWriter;
use super::error::PipelineError;
use super::parity_log::ParityLog;
use super::progress::Progress;
use super::queue::{Bounds, CloseOnDrop, HangUpOnDrop, Weigh};
use super::reader::Read;
use super::relay_log::RelayLog;
use super::status::Status;
use super::stop::StopSignal;
use super::tally::Tally;
use crate::change::{Batch, Change, DecodeError, Entry, Notice};
use crate::event::Event;
use crate::explicit::{Noted, Relays};
use crate::metrics::Metrics;
use crate::position::{ClusterTime, Position, Sequence};
use crate::rules::ast::UnknownPolicy;
use crate::rules::{Outcome, RuleSet, Translation};
use crate::sink::DeadLetter;

/// Events are handed to the lanes in chunks of about this many, or this many bytes: often enough for a steady flow, seldom
/// enough that the queues' locks cost nothing.
const CHUNK: Bounds = Bounds { count: 256, bytes: 1 << 20 };

/// Applies the rules.
pub(super) struct Translator {
    pub(super) input: HangUpOnDrop<Read>,
    pub(super) lanes: Vec<Entrance>,
    /// Absent if no relay has anything to clean up.
    pub(super) cleaner: Option<CleanerEntrance>,
    pub(super) progress: Arc<Progress>,
    pub(super) dead_letters: DeadLetterWriter,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tally: Tally,
    pub(super) status: Arc<Status>,
    pub(super) stop: StopSignal,
    pub(super) sequence: Sequence,
    pub(super) translation: Translation,
    pub(super) relays: Relays,
    pub(super) relay_log: RelayLog,
    /// Absent if inferred and explicit events are not compared.
    pub(super) parity: Option<Arc<ParityLog>>,
    /// The position after the last batch.
    pub(super) end: Option<Position>,
    pub(super) outcome: Outcome,
    pub(super) noted: Noted,
    pub(super) chunk: Chunk,
}

/// The way into a lane.
pub(super) struct Entrance {
    /// The name of its sink.
    pub(super) name: String,
    pub(super) queue: CloseOnDrop<Arc<Event>>,
}

/// Events that are made and not yet handed to the lanes.
#[derive(Default)]
pub(super) struct Chunk {
    events: Vec<Arc<Event>>,
    byte_count: usize,
}

/// What something was made of.
pub(super) struct Made<'b> {
    time: ClusterTime,
    /// The change and where it stands in its batch; absent for the transactions of a time, which have ended, and for what an
    /// outbox held.
    change: Option<(&'b Change<'b>, &'b Batch, usize)>,
    /// What an outbox held.
    document: Option<&'b RawDocument>,
}

impl<'b> Made<'b> {
    fn of_change(change: &'b Change<'b>, batch: &'b Batch, index: usize) -> Self {
        Self { time: change.cluster_time, change: Some((change, batch, index)), document: None }
    }

    fn of_transactions(time: Option<ClusterTime>) -> Self {
        Self { time: time.unwrap_or_default(), change: None, document: None }
    }

    pub(super) fn of_document(document: &'b RawDocument) -> Self {
        Self { time: ClusterTime::default(), change: None, document: Some(document) }
    }

    fn is_of_transactions(&self) -> bool {
        self.change.is_none() && self.document.is_none()
    }

    /// The position after it, where one is known.
    fn position(&self) -> Option<Position> {
        let (change, ..) = self.change?;
        change.token.map(|token| Position::after(token, change.cluster_time))
    }

    fn document(&self) -> Option<&RawDocument> {
        self.document.or_else(|| self.change.and_then(|(_, batch, index)| batch.document(index)))
    }

    /// The same in words, for people.
    fn subject(&self) -> String {
        match self.change {
            Some((change, ..)) => format!("a change of {}.{}", change.database, change.collection),
            None => "a transaction".to_owned(),
        }
    }
}

impl Translator {
    /// Runs until the reader has ended or a stop is asked for. What is read and not translated by then is read again after
    /// the next start.
    pub(super) async fn run(mut self) -> Result<(), PipelineError> {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.abandoned() => Ok(()),
            translated = self.work() => translated,
        }
    }

    async fn work(&mut self) -> Result<(), PipelineError> {
        let input = self.input.0.clone();
        let mut taken = VecDeque::with_capacity(1);
        loop {
            let is_more = tokio::select! {
                biased;
                () = self.stop.requested() => false,
                is_more = input.take(&mut taken, Bounds { count: 1, bytes: 0 }) => is_more,
            };
            if !is_more {
                return Ok(());
            }
            for read in taken.drain(..) {
                let bytes = read.byte_count();
                match read {
                    Read::Batch { batch, rules, received_at_ms } => {
                        self.translate(&batch, &rules, received_at_ms).await?;
                    }
                    Read::Recovered(documents) => self.recover(&documents).await?,
                    Read::Gap(event) => self.hand_over_gap(event).await?,
                    Read::Scope(scope) => {
                        self.end = None;
                        self.progress.begin_scope(self.sequence, scope);
                    }
                }
                input.release(1, bytes);
            }
        }
    }

    async fn translate(
        &mut self,
        batch: &Batch,
        rules: &Arc<RuleSet>,
        received_at_ms: i64,
    ) -> Result<(), PipelineError> {
        let mut last_change_at_ms = None;
        if let Some(parity) = &self.parity {
            parity.expect(rules);
        }
        for (index, entry) in batch.entries().enumerate() {
            if let Ok(Entry::Change(change)) = &entry {
                self.pass(change.cluster_time, batch, index).await?;
            }
            self.sequence.0 += 1;
            match entry {
                Ok(Entry::Change(change)) => {
                    last_change_at_ms = Some(change.time().timestamp_millis());
                    self.translate_change(&change, (batch, index), rules).await?;
                }
                Ok(Entry::Notice(notice)) => self.note(&notice),
                Err(error) => self.give_up_undecodable(batch, index, &error).await?,
            }
            if self.is_chunk_full() {
                self.hand_over().await;
                if self.stop.is_requested() {
                    self.progress.add_changes(self.tally.flush());
                    return Ok(());
                }
            }
        }
        self.progress.add_changes(self.tally.flush());
        // Empty batches end positions too: they keep a sequence number of their own.
        self.sequence.0 += 1;
        let open_at = self.translation.open_at();
        if open_at.is_some_and(|time| batch.ends(time)) {
            self.translation.end(&mut self.outcome);
            self.collect(Made::of_transactions(open_at)).await?;
        }
        self.metrics.transaction_bytes.set(i64::try_from(self.translation.byte_count()).unwrap_or(i64::MAX));
        if let Some(parity) = &self.parity {
            parity.read(batch);
        }
        if self.translation.is_open() {
            // Neither the position nor the time is one up to which everything is known.
            self.progress.ledger.read(self.sequence, None, None, None);
        } else {
            let caught_up_at_ms = batch.is_empty().then_some(received_at_ms);
            self.progress.ledger.read(self.sequence, batch.end.clone(), last_change_at_ms, caught_up_at_ms);
        }
        self.end.clone_from(&batch.end);
        self.hand_over().await;
        Ok(())
    }

    /// Makes events of the change that stands `at` a place of its batch.
    async fn translate_change(
        &mut self,
        change: &Change<'_>,
        (batch, index): (&Batch, usize),
        rules: &Arc<RuleSet>,
    ) -> Result<(), PipelineError> {
        let is_for_relays = self.relays.owns(change.database, change.collection);
        let is_matched = match is_for_relays {
            true => self.translation.pass_by(change, &mut self.outcome),
            false => self.translation.apply(rules, change, &mut self.outcome),
        };
        let is_matched = self.relays.apply(change, &mut self.outcome, &mut self.noted) || is_matched || is_for_relays;
        if let Err(error) = self.relay_log.tell(&mut self.noted, change.cluster_time) {
            // What was made of the changes before is delivered; this one is read again.
            self.progress.add_changes(self.tally.flush());
            self.hand_over().await;
            return Err(error);
        }
        if let Some(mut coverage) = self.status.coverage() {
            coverage.note(rules, change, is_matched, !self.outcome.undecided.is_empty());
        }
        if let Some(parity) = &self.parity {
            parity.note(change, is_for_relays, &self.outcome.events);
        }
        self.announce_done();
        self.collect(Made::of_change(change, batch, index)).await?;
        self.keep_done();
        self.tally.count(change, is_matched);
        Ok(())
    }

    /// The log has come to `time` with the change at `index`: what has ended before is collected, and the position between the two
    /// may be saved. Under a steady load of transactions no other is between two of them.
    async fn pass(&mut self, time: ClusterTime, batch: &Batch, index: usize) -> Result<(), PipelineError> {
        let open_at = self.translation.open_at();
        if !self.translation.pass(time, &mut self.outcome) {
            return Ok(());
        }
        self.collect(Made::of_transactions(open_at)).await?;
        let position = match index.checked_sub(1).map(|before| batch.entry(before)) {
            None => self.end.clone(),
            Some(Some(Ok(Entry::Change(change)))) => {
                change.token.map(|token| Position::after(token, change.cluster_time))
            }
            Some(_) => None,
        };
        self.progress.ledger.read(self.sequence, position, None, None);
        Ok(())
    }

    /// Why the pipeline has to stop before a change, or before its whole transaction: a rule that can not be decided says so.
    fn must_stop(&mut self, made: &Made<'_>) -> Option<PipelineError> {
        let undecided = self.outcome.undecided.iter().find(|one| one.policy == UnknownPolicy::Stop)?;
        self.tally.count_undecided(undecided);
        Some(PipelineError::Undecided {
            rule: undecided.rule.clone(),
            reason: undecided.reason,
            subject: made.subject(),
            time: made.time,
        })
    }

    /// Moves what came out to the chunk. The ledger is told first: no event is ever on its way that it does not know.
    pub(super) async fn collect(&mut self, made: Made<'_>) -> Result<(), PipelineError> {
        if self.outcome.is_empty() {
            return Ok(());
        }
        if let Some(error) = self.must_stop(&made) {
            // What was made of the changes before is delivered; this one, or its transaction, is read again.
            self.progress.add_changes(self.tally.flush());
            self.hand_over().await;
            return Err(error);
        }
        if let Some(mut coverage) = self.status.coverage() {
            coverage.note_fired(&self.outcome);
        }
        if let (Some(parity), true) = (&self.parity, made.is_of_transactions()) {
            parity.note_ended(made.time, &self.outcome.events);
        }
        for undecided in &self.outcome.undecided {
            self.tally.count_undecided(undecided);
        }
        if let Some(first) = self.outcome.events.first() {
            let (time_ms, count) = (first.time.timestamp_millis(), self.outcome.events.len());
            // A restart in the middle of a transaction repeats all of it.
            let position = if self.translation.is_open() { None } else { made.position() };
            let events = &self.outcome.events;
            let skipped = self.lanes.iter().enumerate().flat_map(|(lane, entrance)| {
                let others = (0..).zip(events).filter(|(_, event)| !event.goes_to(&entrance.name));
                others.map(move |(number, _)| (lane, number))
            });
            self.progress.ledger.fired(self.sequence, time_ms, count as u64, position, skipped);
        }
        for event in self.outcome.events.drain(..) {
            self.chunk.byte_count += event.byte_count();
            self.chunk.events.push(Arc::new(event));
        }
        if self.outcome.failed.is_empty() && self.outcome.undecided.is_empty() {
            return Ok(());
        }
        self.give_up(made.document()).await
    }

    /// What was noted of a change is to be cleaned up once its events, which are told to the ledger next, have settled.
    pub(super) fn announce_done(&self) {
        if let Some(cleaner) = &self.cleaner {
            cleaner.announce(&self.noted);
        }
    }

    /// The events are in the chunk.
    pub(super) fn keep_done(&mut self) {
        match &mut self.cleaner {
            Some(cleaner) => cleaner.keep(&mut self.noted),
            None => self.noted.done.clear(),
        }
    }

    pub(super) fn is_chunk_full(&self) -> bool {
        self.chunk.events.len() >= CHUNK.count || self.chunk.byte_count >= CHUNK.bytes
    }

    /// Hands every event of the chunk to the lanes that get it, waiting for room in each.
    pub(super) async fn hand_over(&mut self) {
        for Entrance { name, queue } in &self.lanes {
            let events: Vec<_> = self.chunk.events.iter().filter(|event| event.goes_to(name)).cloned().collect();
            queue.0.push_all(events).await;
        }
        self.chunk.events.clear();
        self.chunk.byte_count = 0;
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.send().await;
        }
    }

    async fn hand_over_gap(&mut self, event: Arc<Event>) -> Result<(), PipelineError> {
        self.sequence.0 += 1;
        let open_at = self.translation.open_at();
        if self.translation.cut(&mut self.outcome) {
            self.collect(Made::of_transactions(open_at)).await?;
        }
        if let Some(parity) = &self.parity {
            parity.cut();
        }
        // The position after the gap comes with the next batch; until then a restart finds the same gap again.
        self.progress.ledger.fired(self.sequence, event.time.timestamp_millis(), 1, None, None);
        self.chunk.events.push(event);
        self.hand_over().await;
        Ok(())
    }

    fn note(&self, notice: &Notice<'_>) {
        self.metrics.notices.with_label_values(&[notice.operation_type]).inc();
        tracing::info!(
            kind = notice.operation_type,
            database = notice.database,
            collection = notice.collection,
            time = %notice.cluster_time,
            "the source tells of something that is no change"
        );
    }

    async fn give_up_undecodable(
        &mut self,
        batch: &Batch,
        index: usize,
        error: &DecodeError,
    ) -> Result<(), PipelineError> {
        self.metrics.changes_undecodable.inc();
        let letter = DeadLetter {
            sink: None,
            rule: None,
            reason: error.to_string(),
            at: bson::DateTime::now(),
            event: None,
            change: batch.document(index).map(ToOwned::to_owned),
        };
        self.dead_letters.put(&letter).await
    }

    /// Puts into the dead letters what could not be built, or not be decided by a rule that wants it kept.
    async fn give_up(&mut self, change: Option<&RawDocument>) -> Result<(), PipelineError> {
        let undecided = std::mem::take(&mut self.outcome.undecided);
        let kept = undecided.into_iter().filter(|one| one.policy == UnknownPolicy::DeadLetter).map(|one| {
            let reason = format!("the rule can not be decided: {}", one.reason.explanation());
            (one.rule, reason)
        });
        let failed = std::mem::take(&mut self.outcome.failed).into_iter().map(|failed| (failed.rule, failed.reason));
        for (rule, reason) in failed.chain(kept) {
            let letter = DeadLetter {
                sink: None,
                rule: Some(rule),
                reason,
                at: bson::DateTime::now(),
                event: None,
                change: change.map(ToOwned::to_owned),
            };
            self.dead_letters.put(&letter).await?;
        }
        Ok(())
    }
}
