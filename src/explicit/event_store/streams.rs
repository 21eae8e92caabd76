//! The last version of every stream that was seen lately: bounded in count and in bytes, the least recently used is forgotten first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::explicit::StreamFaultKind;

/// Streams that are remembered at most.
const STREAMS_MAX: usize = 100_000;
/// What their ids may take, and what remembering them takes, in bytes.
const BYTES_MAX: usize = 32 << 20;
/// What remembering a stream takes beside its id, about: two entries of maps with a shared text.
const OVERHEAD_BYTES: usize = 128;

/// The last versions.
#[derive(Debug)]
pub(super) struct Streams {
    first_version: i64,
    count_max: usize,
    bytes_max: usize,
    byte_count: usize,
    last: HashMap<Arc<str>, Last>,
    /// From the moment of the last use to the stream.
    by_use: BTreeMap<u64, Arc<str>>,
    /// The moment: counts the events.
    now: u64,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    version: i64,
    used_at: u64,
}

/// How a version lies to the last one of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the next one, or the first.
    Next,
    /// Nothing is known of the stream, and this is not its first version: whether one is missing, nobody can tell.
    Unverified,
    /// It is another one.
    Fault {
        /// What is wrong.
        kind: StreamFaultKind,
        /// The version that was expected.
        expected: i64,
    },
}

impl Streams {
    pub(super) fn new(first_version: i64) -> Self {
        Self::with_bounds(first_version, STREAMS_MAX, BYTES_MAX)
    }

    fn with_bounds(first_version: i64, count_max: usize, bytes_max: usize) -> Self {
        Self {
            first_version,
            count_max,
            bytes_max,
            byte_count: 0,
            last: HashMap::new(),
            by_use: BTreeMap::new(),
            now: 0,
        }
    }

    /// Takes the next version of a stream. After a gap, the stream goes on from what was found; after a repeat, from where it was.
    pub(super) fn take(&mut self, stream: &str, version: i64) -> Place {
        self.now += 1;
        let Some(last) = self.last.get_mut(stream) else {
            self.remember(stream, version);
            return if version == self.first_version { Place::Next } else { Place::Unverified };
        };
        if let Some(name) = self.by_use.remove(&last.used_at) {
            self.by_use.insert(self.now, name);
        }
        last.used_at = self.now;
        let expected = last.version.saturating_add(1);
        last.version = last.version.max(version);
        match version.cmp(&expected) {
            std::cmp::Ordering::Equal => Place::Next,
            std::cmp::Ordering::Greater => Place::Fault { kind: StreamFaultKind::Gap, expected },
            std::cmp::Ordering::Less => Place::Fault { kind: StreamFaultKind::Repeat, expected },
        }
    }

    fn remember(&mut self, stream: &str, version: i64) {
        let name: Arc<str> = Arc::from(stream);
        self.byte_count += stream.len() + OVERHEAD_BYTES;
        self.last.insert(Arc::clone(&name), Last { version, used_at: self.now });
        self.by_use.insert(self.now, name);
        // The one at hand is the last to go: it is remembered however long its id is.
        while self.last.len() > 1 && (self.last.len() > self.count_max || self.byte_count > self.bytes_max) {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            self.last.remove(&oldest);
            self.byte_count -= oldest.len() + OVERHEAD_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gap(expected: i64) -> Place {
        Place::Fault { kind: StreamFaultKind::Gap, expected }
    }

    fn repeat(expected: i64) -> Place {
        Place::Fault { kind: StreamFaultKind::Repeat, expected }
    }

    #[test]
    fn every_stream_counts_for_itself_and_what_is_out_of_order_is_told() {
        let mut streams = Streams::new(1);
        for (stream, version, wanted) in [
            ("a", 1, Place::Next),
            ("b", 1, Place::Next),
            ("a", 2, Place::Next),
            ("a", 4, gap(3)),
            // What was missing comes late: the stream is further already.
            ("a", 3, repeat(5)),
            ("a", 5, Place::Next),
            ("b", 1, repeat(2)),
            ("b", 2, Place::Next),
            ("c", 7, Place::Unverified),
            ("c", 8, Place::Next),
            ("c", 10, gap(9)),
            ("d", 0, Place::Unverified),
            ("d", 1, Place::Next),
        ] {
            assert_eq!(streams.take(stream, version), wanted, "{stream} {version}");
        }
        assert_eq!(Streams::new(0).take("a", 0), Place::Next);
    }

    #[test]
    fn the_least_recently_used_is_forgotten_by_count_and_by_bytes() {
        let mut streams = Streams::with_bounds(1, 2, BYTES_MAX);
        let taken = ["a", "b", "a", "c"].map(|stream| streams.take(stream, 1));
        assert_eq!(taken, [Place::Next, Place::Next, repeat(2), Place::Next]);
        assert_eq!(streams.take("b", 2), Place::Unverified, "forgotten for c, as a was used since");
        assert_eq!(streams.take("c", 2), Place::Next);
        assert_eq!(streams.take("a", 2), Place::Unverified);
        let mut small = Streams::with_bounds(1, 10, 2 * OVERHEAD_BYTES + 2);
        let taken = ["a", "b", "c"].map(|stream| small.take(stream, 1));
        assert_eq!((taken, small.last.len()), ([Place::Next; 3], 2));
        assert_eq!(small.take(&"long".repeat(100), 1), Place::Next);
        assert_eq!((small.last.len(), small.by_use.len()), (1, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_memory_is_that_of_a_list_that_is_searched(
            uses in prop::collection::vec((0_u8..6, 0_i64..5), 0..60), count_max in 1_usize..5
        ) {
            let mut streams = Streams::with_bounds(1, count_max, BYTES_MAX);
            // Most recently used last.
            let mut list: Vec<(u8, i64)> = Vec::new();
            for (stream, version) in uses {
                let known = list.iter().position(|(other, _)| *other == stream).map(|at| list.remove(at).1);
                let wanted = match known {
                    None if version == 1 => Place::Next,
                    None => Place::Unverified,
                    Some(last) if version == last + 1 => Place::Next,
                    Some(last) if version > last => gap(last + 1),
                    Some(last) => repeat(last + 1),
                };
                list.push((stream, known.map_or(version, |last| last.max(version))));
                if list.len() > count_max {
                    list.remove(0);
                }
                prop_assert_eq!(streams.take(&stream.to_string(), version), wanted);
                prop_assert_eq!((streams.last.len(), streams.by_use.len()), (list.len(), list.len()));
                prop_assert_eq!(streams.byte_count, list.len() * (OVERHEAD_BYTES + 1));
            }
        }
    }
}
