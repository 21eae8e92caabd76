//! Which images of documents the rules need of a collection, and why: which rule, which path, which part of it.

use std::sync::Arc;

use super::rule::CompiledRule;
use super::{ImageNeeds, NamespacePattern, RuleSet};
use crate::event::Evidence;

/// An image of a document that a change stream can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageKind {
    /// The document before the change.
    Before,
    /// The document after the change.
    After,
}

/// What becomes of a rule that does not get an image it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutImage {
    /// Nothing is decided: its conditions are unknown, or values are missing in its events.
    Undecided,
    /// It is undecided on replacements; of updates, their own description says enough.
    UndecidedOnReplace,
    /// The document is looked up, and may be a later one.
    LookedUp,
}

/// One place that a rule reads and that only an image tells.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ImageReason {
    /// The image.
    pub image: ImageKind,
    /// The rule's id.
    pub rule: Arc<str>,
    /// The path as the rule names it.
    pub path: String,
    /// The part of the rule that names it: `when`, `where`, `data`.
    pub part: &'static str,
    /// What happens without the image.
    pub without: WithoutImage,
}

impl RuleSet {
    /// Why the rules need images of a collection; empty if they need none. Compiles globs on every call: for set-up, not for
    /// every change.
    pub fn image_reasons(&self, database: &str, collection: &str) -> Vec<ImageReason> {
        self.rules_of(database, collection).flat_map(reasons).collect()
    }

    /// The ids of the rules that look at a collection, in file order. Compiles globs on every call.
    pub fn rule_ids_of<'r>(&'r self, database: &'r str, collection: &'r str) -> impl Iterator<Item = &'r Arc<str>> {
        self.rules_of(database, collection).map(|rule| &rule.id)
    }

    /// The collections that the rules name, each with the images that some rule that names it needs.
    pub fn needs_by_pattern(&self) -> Vec<(NamespacePattern, ImageNeeds)> {
        let mut all: Vec<(NamespacePattern, ImageNeeds)> = Vec::new();
        for (pattern, needs) in self.rules.iter().flat_map(|rule| rule.collections.iter().map(|one| (one, rule.needs)))
        {
            match all.iter_mut().find(|(known, _)| known == pattern) {
                Some((_, known)) => *known = known.or(needs),
                None => all.push((pattern.clone(), needs)),
            }
        }
        all
    }

    fn rules_of<'r>(&'r self, database: &'r str, collection: &'r str) -> impl Iterator<Item = &'r CompiledRule> {
        let covers = move |rule: &&CompiledRule| rule.collections.iter().any(|one| one.matches(database, collection));
        self.rules.iter().filter(covers)
    }
}

fn reasons(rule: &CompiledRule) -> impl Iterator<Item = ImageReason> {
    let operations = rule.operations;
    rule.reads.iter().flat_map(move |read| {
        let reason = |image, without| ImageReason {
            image,
            rule: Arc::clone(&rule.id),
            path: read.text.clone(),
            part: read.part,
            without,
        };
        let before = match (read.before, read.transition) {
            (true, _) if operations.update || operations.delete => Some(WithoutImage::Undecided),
            // An update's own description is no exact evidence.
            (_, true) if operations.update && rule.evidence == Evidence::Exact => Some(WithoutImage::Undecided),
            (_, true) if operations.update => Some(WithoutImage::UndecidedOnReplace),
            _ => None,
        };
        let after = (read.after && operations.update).then_some(match rule.evidence {
            Evidence::LookUp => WithoutImage::LookedUp,
            Evidence::Exact | Evidence::Delta => WithoutImage::Undecided,
        });
        let before = before.map(|without| reason(ImageKind::Before, without));
        before.into_iter().chain(after.map(|without| reason(ImageKind::After, without)))
    })
}

#[cfg(test)]
mod tests {
    use bson::bson;

    use super::*;
    use crate::rules::Template;
    use crate::rules::ast::{Operations, Rule};
    use crate::rules::sample::{becomes, rule, rule_when, value_of};

    fn reasons_of(rules: &[Rule]) -> Vec<String> {
        let rules = RuleSet::compile(rules.to_vec());
        let reasons = rules.image_reasons("shop", "orders");
        let word = |reason: &ImageReason| {
            format!("{:?} {}: {} ({}) {:?}", reason.image, reason.rule, reason.path, reason.part, reason.without)
        };
        let needs = rules.image_needs("shop", "orders");
        assert_eq!(needs.before, reasons.iter().any(|reason| reason.image == ImageKind::Before));
        assert_eq!(needs.after, reasons.iter().any(|reason| reason.image == ImageKind::After));
        reasons.iter().map(word).collect()
    }

    #[test]
    fn every_need_names_the_rule_the_path_and_the_part_and_what_happens_without_it() {
        let paid = || rule_when("status", becomes(None, Some(bson!("paid"))));
        let with = |query: &str| Template::Map(vec![("x".into(), value_of(query))]);
        assert_eq!(reasons_of(&[paid()]), ["Before Rule: status (when) UndecidedOnReplace"]);
        assert_eq!(
            reasons_of(&[Rule { data: with("$.after.total"), ..paid() }]),
            ["Before Rule: status (when) UndecidedOnReplace", "After Rule: $.after.total (data) LookedUp"]
        );
        assert_eq!(
            reasons_of(&[rule_when("status", becomes(Some(bson!("new")), None))]),
            ["Before Rule: status (when) Undecided"]
        );
        let exact = Rule { evidence: Evidence::Exact, data: with("$.before"), ..paid() };
        assert_eq!(
            reasons_of(&[exact]),
            ["Before Rule: status (when) Undecided", "Before Rule: $.before (data) Undecided"]
        );
        let insert = Rule {
            operations: Operations { insert: true, ..Operations::default() },
            data: with("$.after"),
            ..rule("R")
        };
        assert!(reasons_of(&[insert, rule("S")]).is_empty());
    }
}
