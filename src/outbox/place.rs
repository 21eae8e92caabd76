//! What there is to do for one relay in the application's database.

use bson::{Bson, Document, doc};

use super::Occasion;
use crate::explicit::{CleanUp, EmbeddedCleanUp, RelaySettings};
use crate::namespace::Namespace;

/// A collection with explicit events, and what is done with them.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The number of the relay.
    pub(super) relay: usize,
    pub(super) collection: Namespace,
    pub(super) upkeep: Upkeep,
    /// Whether what is there is read at the start.
    is_read: bool,
}

/// What happens to what has been relayed.
#[derive(Clone, Debug)]
pub(super) enum Upkeep {
    /// Nothing.
    Keep,
    /// The document is deleted.
    Delete,
    /// A field of the document gets the time.
    Mark { field: String, keep_for_seconds: i64 },
    /// The element is taken out of its array. Its id is the first of these fields that it has.
    Pull { path: String, ids: Vec<String> },
}

impl Place {
    /// What there is to do for a relay; `None` if that is nothing.
    pub(super) fn new(relay: usize, settings: &RelaySettings) -> Option<Self> {
        let place = match settings {
            RelaySettings::Outbox(settings) => Self {
                relay,
                collection: settings.collection.clone(),
                upkeep: match &settings.clean_up {
                    CleanUp::Keep => Upkeep::Keep,
                    CleanUp::Delete => Upkeep::Delete,
                    CleanUp::Mark { field, keep_for } => Upkeep::Mark {
                        field: field.clone(),
                        keep_for_seconds: i64::try_from(keep_for.0.as_secs()).unwrap_or(i64::MAX),
                    },
                },
                is_read: settings.catches_up(),
            },
            RelaySettings::EmbeddedOutbox(settings) => Self {
                relay,
                collection: settings.collection.clone(),
                upkeep: match settings.clean_up {
                    EmbeddedCleanUp::Keep => return None,
                    EmbeddedCleanUp::Pull => Upkeep::Pull { path: settings.path.clone(), ids: settings.id_fields() },
                },
                is_read: true,
            },
            RelaySettings::EventStore(_) => return None,
        };
        (place.is_read || !matches!(place.upkeep, Upkeep::Keep)).then_some(place)
    }

    /// True if it is read on this occasion.
    pub(super) fn is_read_on(&self, occasion: Occasion) -> bool {
        let is_wanted = match (&self.upkeep, occasion) {
            (Upkeep::Delete | Upkeep::Mark { .. }, _) | (_, Occasion::NoCheckpoint) => true,
            // Of what is kept for ever nobody knows what has been relayed: it is published once, at the very beginning.
            (Upkeep::Keep, Occasion::Checkpoint(_) | Occasion::LostPosition) => false,
            // Business documents are many: they are looked through only where something may be missing.
            (Upkeep::Pull { .. }, Occasion::Checkpoint(_)) => false,
            (Upkeep::Pull { .. }, Occasion::LostPosition) => true,
        };
        self.is_read && is_wanted
    }

    /// Selects what has perhaps not been relayed.
    pub(super) fn unrelayed(&self) -> Document {
        match &self.upkeep {
            Upkeep::Keep | Upkeep::Delete => doc! {},
            Upkeep::Mark { field, .. } => doc! {field: {"$exists": false}},
            Upkeep::Pull { path, .. } => doc! {format!("{path}.0"): {"$exists": true}},
        }
    }

    /// The same of documents with these ids.
    pub(super) fn unrelayed_of(&self, ids: Vec<Bson>) -> Document {
        let mut filter = self.unrelayed();
        filter.insert("_id", doc! {"$in": ids});
        filter
    }

    /// What a user must be allowed to do there, in the words of the server.
    pub(super) fn actions(&self) -> Vec<&'static str> {
        let mut actions = Vec::new();
        if self.is_read {
            actions.push("find");
        }
        match &self.upkeep {
            Upkeep::Keep => {}
            Upkeep::Delete => actions.push("remove"),
            Upkeep::Mark { .. } | Upkeep::Pull { .. } => actions.push("update"),
        }
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explicit::{EmbeddedOutboxSettings, Layout, OutboxSettings};
    use crate::position::ClusterTime;
    use crate::quantity::Period;

    fn place(clean_up: CleanUp, catch_up: Option<bool>) -> Option<Place> {
        let collection = Namespace::parse("shop.outbox").unwrap();
        let settings = OutboxSettings { clean_up, catch_up, ..OutboxSettings::new(collection, Layout::Debezium) };
        Place::new(3, &RelaySettings::Outbox(Box::new(settings)))
    }

    const OCCASIONS: [Occasion; 3] = [
        Occasion::NoCheckpoint,
        Occasion::Checkpoint(ClusterTime { seconds: 1, increment: 1 }),
        Occasion::LostPosition,
    ];

    #[test]
    fn what_is_cleaned_up_is_read_at_every_start_and_what_is_kept_only_at_the_first_and_on_request() {
        let mark = CleanUp::Mark { field: "relayedAt".to_owned(), keep_for: Period::seconds(60) };
        for (clean_up, catch_up, wanted) in [
            (CleanUp::Delete, None, [true; 3]),
            (CleanUp::Delete, Some(false), [false; 3]),
            (mark, None, [true; 3]),
            (CleanUp::Keep, Some(true), [true, false, false]),
        ] {
            let place = place(clean_up.clone(), catch_up).unwrap();
            assert_eq!(OCCASIONS.map(|occasion| place.is_read_on(occasion)), wanted, "{clean_up:?} {catch_up:?}");
        }
        assert!(place(CleanUp::Keep, None).is_none(), "nothing is to be done there");
        let embedded = |clean_up| {
            let settings = EmbeddedOutboxSettings::new(Namespace::parse("shop.orders").unwrap());
            let settings = EmbeddedOutboxSettings { clean_up, ..settings };
            Place::new(0, &RelaySettings::EmbeddedOutbox(Box::new(settings)))
        };
        let pulled = embedded(EmbeddedCleanUp::Pull).unwrap();
        assert_eq!(OCCASIONS.map(|occasion| pulled.is_read_on(occasion)), [true, false, true]);
        assert!(embedded(EmbeddedCleanUp::Keep).is_none());
    }
}
