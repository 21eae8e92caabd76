//! What `changeling check` says of images: a line for each collection that rules look at.

use std::sync::Arc;

use crate::namespace::Namespace;
use crate::rules::{ImageKind, ImageNeeds, ImageReason, RuleSet, WithoutImage};
use crate::source::{self, ChangeStreamSource, SourceError};

/// What the rules need of one collection, and what it keeps.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CollectionPlan {
    /// The collection.
    pub collection: Namespace,
    /// The rules that look at it.
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

/// The plan for every collection that is read and that rules look at.
///
/// # Errors
/// If the server can not be asked for its collections.
pub(super) async fn plans(
    rules: &RuleSet,
    source: &mut ChangeStreamSource,
) -> Result<Vec<CollectionPlan>, SourceError> {
    let mut plans = Vec::new();
    for kept in source::kept_images(source).await? {
        let Namespace { database, collection } = &kept.collection;
        let mut looking: Vec<Arc<str>> = Vec::new();
        for rule in rules.rule_ids_of(database, collection) {
            if !looking.contains(rule) {
                looking.push(Arc::clone(rule));
            }
        }
        if looking.is_empty() {
            continue;
        }
        let reasons = rules.image_reasons(database, collection);
        let needs = rules.image_needs(database, collection);
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
