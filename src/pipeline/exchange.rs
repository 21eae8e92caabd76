//! Puts another rule set in force at an exact place of the log: everything before it was put to the old set, everything after it is
//! put to the new one, and nothing to both or to none.

use super::error::chain;
use super::reader::{Read, Reader};
use super::rule_slot::{ExchangeError, Exchanged, InForce, Proposal};
use crate::change::{Batch, Entry};
use crate::failure::Disposition;
use crate::position::{ClusterTime, Start};
use crate::source::SourceError;

/// An exchange for which the source is being opened again.
pub(super) struct Reopening {
    proposal: Proposal,
    before: InForce,
    start_before: Start,
}

/// How many changes of `batch`, from the first, still belong to the set before. The place lies between two cluster times: the
/// changes of one time are one transaction, and a set must see the whole of it. `None` if this batch lies within one.
///
/// `handled` is the newest time of which changes may have been handed on.
pub(super) fn place(batch: &Batch, handled: Option<ClusterTime>) -> Option<usize> {
    let Some(newest) = batch.len().checked_sub(1) else { return Some(0) };
    let time = |index: usize| match batch.entry(index)? {
        Ok(Entry::Change(change)) => Some(change.cluster_time),
        Ok(Entry::Notice(notice)) => Some(notice.cluster_time),
        Err(_) => None,
    };
    let last = time(newest)?;
    let count = (0..newest).rev().take_while(|&index| time(index) == Some(last)).last().unwrap_or(newest);
    (count > 0 || handled.is_none_or(|handled| handled < last)).then_some(count)
}

impl Reader {
    /// Hands a batch on, and puts the set that is waiting in force within it or around it, if its place is there.
    pub(super) async fn exchange(&mut self, mut batch: Batch, received_at_ms: i64) -> Result<(), SourceError> {
        let Some(count) = place(&batch, self.handled()) else { return self.hand_on(batch, received_at_ms).await };
        let rest = match count {
            0 if !batch.is_empty() => Some(batch),
            _ => {
                let rest = batch.split_off(count);
                self.hand_on(batch, received_at_ms).await?;
                rest
            }
        };
        let Some(proposal) = self.waiting.take() else { return Ok(()) };
        if self.adopt(&proposal.next) {
            // The rest is read again, by the new plan.
            let start = self.start.clone().in_another_scope();
            let start_before = std::mem::replace(&mut self.start, start);
            self.reopening = Some(Reopening { proposal, before: self.rules.in_force(), start_before });
            self.must_open = true;
            return Ok(());
        }
        self.put_in_force(proposal, false);
        match rest {
            Some(rest) => self.hand_on(rest, received_at_ms).await,
            None => Ok(()),
        }
    }

    fn adopt(&mut self, next: &InForce) -> bool {
        next.plan.as_ref().is_some_and(|plan| self.source.adopt(plan))
    }

    /// The source is open by the new plan.
    pub(super) async fn reopened(&mut self) {
        if let Some(Reopening { proposal, .. }) = self.reopening.take() {
            self.out.0.push_all([Read::Scope(self.source.scope())]).await;
            self.put_in_force(proposal, true);
        }
    }

    fn put_in_force(&mut self, proposal: Proposal, reopened: bool) {
        let Proposal { next, answer } = proposal;
        let before = self.rules.current();
        let after = self.handled();
        tracing::info!(
            ruleset = &**next.rules.short_hash(),
            before = &**before.short_hash(),
            rules = next.rules.len(),
            after = after.map(tracing::field::display),
            reopened,
            "another rule set is in force from here on"
        );
        self.metrics.rule_set.set(next.rules.short_hash(), next.rules.len());
        self.rules.put_in_force(next);
        // Nobody need wait for it.
        let _ = answer.send(Ok(Exchanged { after, reopened }));
    }

    /// True if the failure is that of an exchange: then the set before stays in force, and the source is read as before.
    pub(super) fn takes_back(&mut self, error: &SourceError) -> bool {
        let is_final = error.is_lost_position() || error.disposition() != Disposition::Retry;
        let Some(Reopening { proposal, before, start_before }) = self.reopening.take_if(|_| is_final) else {
            return false;
        };
        tracing::error!(
            error = %chain(error),
            ruleset = &**proposal.next.rules.short_hash(),
            before = &**before.rules.short_hash(),
            "the source can not be read as the new rules need it; the rule set before stays in force"
        );
        if let Some(plan) = &before.plan {
            self.source.adopt(plan);
        }
        self.start = start_before;
        proposal.answer(Err(ExchangeError::Refused { reason: chain(error) }));
        true
    }

    /// The newest time of which changes may have been handed on.
    fn handled(&self) -> Option<ClusterTime> {
        match &self.start {
            Start::Resume(position) | Start::Beyond(position) => Some(position.time),
            Start::Now | Start::Beginning | Start::At(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn batch(times: &[u32]) -> Batch {
        let documents: Vec<_> = times
            .iter()
            .map(|seconds| {
                rawdoc! {
                    "operationType": "delete", "ns": {"db": "shop", "coll": "orders"}, "documentKey": {"_id": 1},
                    "clusterTime": bson::Timestamp { time: *seconds, increment: 1 },
                }
            })
            .collect();
        Batch::from_documents(documents.iter().map(AsRef::as_ref), None)
    }

    #[test]
    fn a_set_begins_between_two_cluster_times_and_never_within_one() {
        let handled = |seconds| Some(ClusterTime { seconds, increment: 1 });
        for (times, handled, wanted) in [
            (&[][..], handled(5), Some(0)),
            (&[6], handled(5), Some(0)),
            (&[6], None, Some(0)),
            // In the midst of a transaction of which a part was handed on already.
            (&[5], handled(5), None),
            (&[5, 5, 5], handled(5), None),
            (&[5, 5, 6, 6, 6], handled(5), Some(2)),
            (&[6, 6], handled(5), Some(0)),
            (&[6, 7, 8], handled(5), Some(2)),
        ] {
            assert_eq!(place(&batch(times), handled), wanted, "{times:?} after {handled:?}");
        }
    }
}
