//! What relays make of one change, for people and for programs.

use std::fmt::Write as _;

use bson::RawBsonRef;
use changeling::change::Change;
use changeling::event::Event;
use changeling::explicit::{Noted, Relays};
use changeling::rules::{Outcome, described};
use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::explanation::Told;

/// What relays make of a change of a collection that is theirs too.
pub struct Relayed {
    /// No rule sees the change.
    pub is_withheld: bool,
    relay: String,
    events: Vec<Event>,
    failed: Vec<String>,
    ignored: Vec<&'static str>,
}

impl Relayed {
    /// Nothing where no relay looks at the collection.
    pub fn of(change: &Change<'_>, relays: &mut Relays) -> Option<Self> {
        let is_it = |relay: &changeling::namespace::Namespace| {
            relay.database == change.database && relay.collection == change.collection
        };
        let relay = relays.collections().find(|relay| is_it(relay))?.to_string();
        let (mut outcome, mut noted) = (Outcome::default(), Noted::default());
        relays.apply(change, &mut outcome, &mut noted);
        Some(Self {
            is_withheld: relays.owns(change.database, change.collection),
            relay,
            events: outcome.events,
            failed: outcome.failed.into_iter().map(|failed| failed.reason).collect(),
            ignored: noted.ignored.iter().map(|ignored| ignored.what).collect(),
        })
    }

    /// Writes it for people.
    pub fn write(&self, out: &mut String, told: &Told) {
        // Writing to a string can not fail, here and below.
        let _ = match self.is_withheld {
            true => writeln!(out, "{} is for a relay: no rule sees it", self.relay),
            false => writeln!(out, "{} is for a relay too", self.relay),
        };
        for event in &self.events {
            let data = described(RawBsonRef::Document(&event.data), told.show_values);
            let _ = writeln!(out, "{} {}  {data}", "✔".green(), event.name.bold());
        }
        for reason in &self.failed {
            let _ = writeln!(out, "{} becomes a dead letter: {reason}", "✘".red());
        }
        for what in &self.ignored {
            let _ = writeln!(out, "{} makes no event: {what}", "✘".red());
        }
        if self.events.is_empty() && self.failed.is_empty() && self.ignored.is_empty() {
            let _ = writeln!(out, "- makes no event");
        }
        out.push('\n');
    }
}

/// The same for programs.
#[derive(Serialize)]
pub struct RelayedReport {
    relay: String,
    withheld_from_rules: bool,
    events: Vec<String>,
    dead_letters: Vec<String>,
    ignored: Vec<&'static str>,
}

impl RelayedReport {
    /// What is told of it.
    pub fn new(relayed: &Relayed) -> Self {
        Self {
            relay: relayed.relay.clone(),
            withheld_from_rules: relayed.is_withheld,
            events: relayed.events.iter().map(|event| event.name.to_string()).collect(),
            dead_letters: relayed.failed.clone(),
            ignored: relayed.ignored.clone(),
        }
    }
}
