//! What `changeling check` says of images: a line for each collection that rules or relays look at.

use std::sync::Arc;

use crate::explicit::Relays;
use crate::namespace::Namespace;
use crate::rules::{ImageKind, ImageNeeds, ImageReason, RuleSet, WithoutImage};
use crate::source::{self, ChangeStreamSource, Finding, SourceError};

/// All that reads changes.
pub(super) struct Readers<'r> {
    pub(super) rules: &'r RuleSet,
    pub(super) relays: &'r Relays,
}

impl Readers<'_> {
    /// The images that they need of a collection.
    pub(super) fn image_needs(&self, Namespace { database, collection }: &Namespace) -> ImageNeeds {
        let of_relays = self.relays.image_needs(database, collection);
        match self.relays.owns(database, collection) {
            true => of_relays,
            false => of_relays.or(self.rules.image_needs(database, collection)),
        }
    }

    /// The images that they need of some collection.
    pub(super) fn image_needs_of_all(&self) -> ImageNeeds {
        self.rules.image_needs_of_all().or(self.relays.image_needs_of_all())
    }

    /// Which of them need an image of a collection, and for what.
    fn image_reasons(&self, Namespace { database, collection }: &Namespace) -> Vec<ImageReason> {
        let mut reasons = self.relays.image_reasons(database, collection);
        if !self.relays.owns(database, collection) {
            reasons.extend(self.rules.image_reasons(database, collection));
        }
        reasons
    }

    /// The ids of the rules and the names of the relays that look at a collection.
    fn looking_at(&self, namespace: &Namespace) -> Vec<Arc<str>> {
        let Namespace { database, collection } = namespace;
        let relays = self.relays.collections().filter(|one| *one == namespace);
        let mut looking: Vec<Arc<str>> = relays.map(Relays::reader_name).collect();
        if self.relays.owns(database, collection) {
            return looking;
        }
        for rule in self.rules.rule_ids_of(database, collection) {
            if !looking.contains(rule) {
                looking.push(Arc::clone(rule));
            }
        }
        looking
    }

    /// Adds to what is told of a collection without images the rules that can not be decided there, and the relays that miss events.
    pub(super) fn name_undecided(&self, findings: &mut [Finding]) {
        for finding in findings {
            let Some(namespace) = &finding.collection else { continue };
            let Namespace { database, collection } = namespace;
            let undecided = match self.relays.owns(database, collection) {
                true => Vec::new(),
                false => self.rules.rules_asking_what_was_in(database, collection),
            };
            if !undecided.is_empty() {
                let names: Vec<&str> = undecided.iter().map(|rule| &***rule).collect();
                finding.text.push_str(&format!("; rules that can not be decided: {}", names.join(", ")));
            }
            if self.relays.image_needs(database, collection) != ImageNeeds::default() {
                finding.text.push_str(
                    "; where an array of events is written whole, its relay can not tell which of them are new",
                );
            }
        }
    }
}

/// What rules and relays need of one collection, and what it keeps.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CollectionPlan {
    /// The collection.
    pub collection: Namespace,
    /// The rules and relays that look at it.
    pub rules: Vec<Arc<str>>,
    /// `nothing`, `pre-image`, `post-image`, or `pre- and post-image`.
    pub needs: &'static str,
    /// Whether the collection keeps images; absent if it does not exist.
    pub keeps: Option<bool>,
    /// Which rule needs an image, for which path, and what happens without it.
    pub reasons: Vec<ImageReason>,
    /// What the images cost, by measurements on MongoDB 6.0.
    pub cost: &'static str,
    /// The command that makes the collection keep them; absent if they are not needed or are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The rules that can not be decided, in whole or on replacements, as long as the collection keeps none.
    pub undecided: Vec<Arc<str>>,
}

/// The plan for every collection that is read and that rules or relays look at.
///
/// # Errors
/// If the server can not be asked for its collections.
pub(super) async fn plans(
    readers: &Readers<'_>,
    source: &mut ChangeStreamSource,
) -> Result<Vec<CollectionPlan>, SourceError> {
    let mut plans = Vec::new();
    for kept in source::kept_images(source).await? {
        let looking = readers.looking_at(&kept.collection);
        if looking.is_empty() {
            continue;
        }
        let reasons = readers.image_reasons(&kept.collection);
        let needs = readers.image_needs(&kept.collection);
        let is_missing = needs != ImageNeeds::default() && kept.are_kept != Some(true);
        plans.push(CollectionPlan {
            rules: looking,
            needs: word(needs),
            keeps: kept.are_kept,
            cost: cost(needs),
            command: kept.command().filter(|_| is_missing),
            undecided: if is_missing { undecided(&reasons) } else { Vec::new() },
            reasons,
            collection: kept.collection,
        });
    }
    Ok(plans)
}

fn word(needs: ImageNeeds) -> &'static str {
    match (needs.before, needs.after) {
        (false, false) => "nothing",
        (true, false) => "pre-image",
        (false, true) => "post-image",
        (true, true) => "pre- and post-image",
    }
}

fn cost(needs: ImageNeeds) -> &'static str {
    match (needs.before, needs.after) {
        (false, false) => "none",
        (true, _) => {
            "the old document is stored on every update and delete (updates 13% slower with 240 bytes); reading costs the server about 2.5 times as much per change"
        }
        (false, true) => {
            "the old document is stored on every update and delete (updates 13% slower with 240 bytes); without images, one query per batch looks documents up"
        }
    }
}

fn undecided(reasons: &[ImageReason]) -> Vec<Arc<str>> {
    let mut rules: Vec<Arc<str>> = Vec::new();
    for reason in reasons.iter().filter(|reason| reason.without != WithoutImage::LookedUp) {
        if !rules.contains(&reason.rule) {
            rules.push(Arc::clone(&reason.rule));
        }
    }
    rules
}

impl CollectionPlan {
    /// Why images are needed, a line for each place: `OrderPaid: status (when), of replacements only`.
    pub fn why(&self) -> Vec<String> {
        let line = |reason: &ImageReason| {
            let ImageReason { rule, path, part, image, without } = reason;
            let how = match (image, without) {
                (_, WithoutImage::UndecidedOnReplace) => ", for replacements",
                (ImageKind::After, WithoutImage::LookedUp) => ", else looked up",
                (_, WithoutImage::Undecided | WithoutImage::LookedUp) => "",
            };
            format!("{rule}: {path} ({part}){how}")
        };
        let mut lines: Vec<String> = Vec::new();
        for line in self.reasons.iter().map(line) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }
}
