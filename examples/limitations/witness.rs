//! What rules, relays and parity make of the changes of a scenario.

use std::sync::Arc;

use bson::{Bson, Document};
use changeling::change::{Batch, Change, Entry};
use changeling::config::Config;
use changeling::event::{Event, Evidence, Payload};
use changeling::explicit::{Noted, Relays};
use changeling::parity::{Figures, Parity};
use changeling::position::ClusterTime;
use changeling::rules::{Outcome, RuleSet, Translation};

use super::Failure;

/// The memory for transactions that have not ended, in bytes.
const TRANSACTION_BYTES_MAX: usize = 1 << 20;

/// What came of a scenario.
#[derive(Debug, Default)]
pub struct Story {
    /// What came of each step, in order.
    pub steps: Vec<Told>,
    /// How well both kinds of events agree.
    pub figures: Figures,
    /// The same with the better rules, where there are any.
    pub better_figures: Option<Figures>,
}

/// What came of one step.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Events that the application recorded.
    pub explicit: Kinds,
    /// Events that rules made, and what they could not decide.
    pub inferred: Kinds,
}

/// Events by what is told of them, each with the first one and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Kinds(Vec<Kind>);

#[derive(Clone, Debug)]
struct Kind {
    name: String,
    first: String,
    count: u64,
    is_event: bool,
}

impl Kinds {
    fn add(&mut self, event: &Event) {
        self.count(&event.name, true, || described(event));
    }

    fn add_failure(&mut self, text: String) {
        self.count(&text, false, || text.clone());
    }

    fn count(&mut self, name: &str, is_event: bool, first: impl Fn() -> String) {
        match self.0.iter_mut().find(|kind| kind.name == name) {
            Some(kind) => kind.count += 1,
            None => self.0.push(Kind { name: name.to_owned(), first: first(), count: 1, is_event }),
        }
    }

    /// A line for each kind; a dash where there is none.
    pub fn lines(&self) -> String {
        let line = |kind: &Kind| match kind.count {
            1 => kind.first.clone(),
            count if kind.is_event => format!("{} ×{count}", kind.first),
            count => format!("{}, {count} times", kind.first),
        };
        match self.0.as_slice() {
            [] => "-".to_owned(),
            kinds => kinds.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// Puts changes to rules and relays, as a run does, and remembers to which step each belongs.
pub struct Witness {
    rules: Arc<RuleSet>,
    relays: Relays,
    translation: Translation,
    parity: Parity,
    outcome: Outcome,
    noted: Noted,
    /// The place in the log after each step.
    ends: Vec<ClusterTime>,
    story: Story,
}

impl Witness {
    /// # Errors
    /// If a relay can not be used as it is set up.
    pub fn new(config: &Config, ends: &[ClusterTime]) -> Result<Self, Failure> {
        let story = Story { steps: vec![Told::default(); ends.len()], ..Story::default() };
        let mut parity = Parity::new(&config.parity.clone().unwrap_or_default());
        // In scenarios a rule has no id of its own: it is the name of its event.
        parity.expect(config.rule_set.hash(), config.rule_set.rule_ids());
        Ok(Self {
            parity,
            rules: config.rule_set.clone(),
            relays: config.relays()?,
            translation: Translation::new(TRANSACTION_BYTES_MAX),
            outcome: Outcome::default(),
            noted: Noted::default(),
            ends: ends.to_vec(),
            story,
        })
    }

    /// Takes the next changes.
    pub fn see(&mut self, batch: &Batch) {
        for entry in batch.entries() {
            if let Ok(Entry::Change(change)) = entry {
                self.apply(&change);
            }
        }
        if let Some(time) = self.translation.open_at()
            && batch.ends(time)
        {
            self.end(time);
        }
    }

    /// The transactions of a time have ended.
    fn end(&mut self, time: ClusterTime) {
        self.translation.end(&mut self.outcome);
        self.parity.note_ended(time, &self.outcome.events);
        self.tell(time);
    }

    fn apply(&mut self, change: &Change<'_>) {
        if let Some(time) = self.translation.open_at().filter(|time| *time != change.cluster_time) {
            self.end(time);
        }
        let is_for_relays = self.relays.owns(change.database, change.collection);
        match is_for_relays {
            true => self.translation.pass_by(change, &mut self.outcome),
            false => self.translation.apply(&self.rules, change, &mut self.outcome),
        };
        self.relays.apply(change, &mut self.outcome, &mut self.noted);
        self.parity.note(change, is_for_relays, &self.outcome.events);
        self.tell(change.cluster_time);
    }

    /// There is no further change.
    pub fn finish(mut self) -> Story {
        if let Some(time) = self.translation.open_at() {
            self.end(time);
        }
        self.parity.finish();
        self.story.figures = self.parity.figures(true);
        self.story
    }

    /// Notes what came out of the log at a time.
    fn tell(&mut self, time: ClusterTime) {
        let step = self.ends.partition_point(|end| *end < time);
        let Some(told) = self.story.steps.get_mut(step) else { return self.outcome.clear() };
        for event in &self.outcome.events {
            let kinds = if event.explicit.is_some() { &mut told.explicit } else { &mut told.inferred };
            kinds.add(event);
        }
        for undecided in &self.outcome.undecided {
            let reason = undecided.reason.explanation();
            told.inferred.add_failure(format!("{} can not be decided: {reason}", undecided.rule));
        }
        for failed in &self.outcome.failed {
            told.inferred.add_failure(format!("{} can not be made: {}", failed.rule, failed.reason));
        }
        self.outcome.clear();
        self.noted.clear();
    }
}

/// The event in a line, without what differs from run to run.
fn described(event: &Event) -> String {
    let data = match event.explicit.as_deref().map(|explicit| &explicit.payload) {
        Some(Payload::Text(text)) => text.clone(),
        Some(Payload::Value(value)) => {
            Bson::try_from(value.clone()).map_or_else(|_| String::new(), |value| plain(&value))
        }
        Some(Payload::Binary(_)) => "(bytes)".to_owned(),
        Some(Payload::Nothing | Payload::Tombstone) => "(nothing)".to_owned(),
        Some(Payload::Document) | None => {
            plain(&Bson::Document(Document::try_from(event.data.as_ref()).unwrap_or_default()))
        }
    };
    let evidence = match event.evidence {
        Evidence::Exact => String::new(),
        Evidence::Delta | Evidence::LookUp => format!(" (evidence {})", event.evidence.as_str()),
    };
    format!("{} {data}{evidence}", event.name)
}

fn plain(value: &Bson) -> String {
    match value {
        Bson::String(text) => text.clone(),
        Bson::Array(values) => format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Bson::Document(document) => {
            let fields: Vec<String> =
                document.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}
