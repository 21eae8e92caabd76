//! What a source reads, and how: everything about its streams that follows from the rules.

use std::fmt::Write;

use bson::Document;
use sha2::{Digest, Sha256};

use super::push_down;
use super::scope::{Scope, exact};
use crate::explicit::{RelayReads, Relays};
use crate::namespace::Namespace;
use crate::rules::{ImageNeeds, NamespacePattern, PushDown, RuleSet};
use crate::source::StreamCount;

/// Of so many collections at most the changes are worth being read by a stream of their own: the other stream must leave them out.
const SEPARATE_MAX: usize = 3;
/// For each of them there must be so many others.
const OTHERS_MIN: usize = 4;

/// What a source reads, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One stream over everything.
    whole: StreamPlan,
    streams: Vec<StreamPlan>,
}

/// One stream of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamPlan {
    /// What it covers.
    pub scope: Scope,
    /// The images that are asked for on every update, replace and delete, where the server has them.
    pub images: ImageNeeds,
    /// What the server leaves out of what no relay needs.
    pub push_down: PushDown,
    /// What relays need beside that; empty also where nothing is left out.
    pub relays: Vec<RelayReads>,
}

impl Plan {
    /// One stream over everything, from which nothing is left out.
    pub fn new(scope: Scope, images: ImageNeeds) -> Self {
        Self::one(StreamPlan { scope, images, push_down: PushDown::NOTHING, relays: Vec::new() })
    }

    /// One stream over everything.
    pub fn one(stream: StreamPlan) -> Self {
        Self { whole: stream.clone(), streams: vec![stream] }
    }

    /// The plan for these rules: `watched` is what is watched for them, `written` are collections of our own.
    pub fn for_rules(
        rules: &RuleSet,
        relays: &Relays,
        watched: &[NamespacePattern],
        written: &[Namespace],
        streams: StreamCount,
        is_pushed_down: bool,
    ) -> Self {
        let push_down = |covers: &dyn Fn(&NamespacePattern) -> bool| match is_pushed_down {
            true => rules.push_down(covers),
            false => PushDown::NOTHING,
        };
        let relays_of = |covers: &dyn Fn(&Namespace) -> bool| -> Vec<RelayReads> {
            let reads = relays.reads().iter().filter(|relay| is_pushed_down && covers(&relay.collection));
            reads.cloned().collect()
        };
        let images = rules.image_needs_of_all().or(relays.image_needs_of_all());
        let scope = Scope::covering(watched, written);
        let plan =
            Self::one(StreamPlan { scope, images, push_down: push_down(&|_| true), relays: relays_of(&|_| true) });
        let Some(with_images) = collections_for_images(rules, relays, watched, streams) else { return plan };
        let is_one_of_them = |pattern: &NamespacePattern| exact(pattern).is_some_and(|one| with_images.contains(&one));
        let others: Vec<NamespacePattern> = watched.iter().filter(|one| !is_one_of_them(one)).cloned().collect();
        let (first, hidden) = (with_images.iter().map(pattern).collect::<Vec<_>>(), [written, &with_images].concat());
        let (first, second) = (Scope::covering(&first, &[]), Scope::covering(&others, &hidden));
        if others.is_empty() || with_images.iter().any(|one| second.may_cover(one)) {
            return plan;
        }
        let names_one =
            |pattern: &NamespacePattern| with_images.iter().any(|one| pattern.matches(&one.database, &one.collection));
        let first = StreamPlan {
            scope: first,
            images,
            push_down: push_down(&names_one),
            relays: relays_of(&|collection| with_images.contains(collection)),
        };
        let second = StreamPlan {
            scope: second,
            images: ImageNeeds::default(),
            push_down: push_down(&|pattern| !is_one_of_them(pattern)),
            relays: relays_of(&|collection| !with_images.contains(collection)),
        };
        Self { streams: vec![first, second], ..plan }
    }

    /// The same read by one stream: for a deployment on which several can not be merged, or have no images to keep apart.
    pub(super) fn in_one_stream(&self) -> Self {
        Self { streams: vec![self.whole.clone()], ..self.clone() }
    }

    /// What all streams cover together.
    pub fn scope(&self) -> &Scope {
        &self.whole.scope
    }

    /// The images that some stream asks for.
    pub fn images(&self) -> ImageNeeds {
        self.streams.iter().fold(ImageNeeds::default(), |images, stream| images.or(stream.images))
    }

    /// The streams; at least one.
    pub fn streams(&self) -> &[StreamPlan] {
        &self.streams
    }

    /// Identifies the plan in a checkpoint: a token is good for a stream that is opened in the very same way. What the server
    /// leaves out may be the change of the token, and in how many parts it cuts a large event depends on what it leaves out of it.
    pub fn fingerprint(&self) -> String {
        let texts: Vec<String> = self.streams.iter().map(StreamPlan::fingerprint).collect();
        texts.join(" and ")
    }
}

/// The collections that get a stream of their own, with images; nothing if one stream is the better choice.
///
/// Measured on MongoDB 6.0, as CPU of the server: to ask for images costs an update, replace or delete 9 us also where the
/// collection keeps none (9.4 become 18.5). A second stream looks at every entry of the oplog again, for 2 to 5 us. With as many
/// changes in every collection, and half of them updates, two streams are even with one at about three collections without
/// images for one with them; and they delay a change by up to their await time.
fn collections_for_images(
    rules: &RuleSet,
    relays: &Relays,
    watched: &[NamespacePattern],
    streams: StreamCount,
) -> Option<Vec<Namespace>> {
    let mut needs = rules.needs_by_pattern();
    for collection in relays.collections() {
        let Namespace { database, collection: name } = collection;
        let needed = relays.image_needs(database, name);
        match needs.iter_mut().find(|(known, _)| exact(known).is_some_and(|known| known == *collection)) {
            Some((_, known)) => *known = known.or(needed),
            None => needs.push((pattern(collection), needed)),
        }
    }
    let (with, without): (Vec<_>, Vec<_>) = needs.into_iter().partition(|(_, needs)| *needs != ImageNeeds::default());
    let is_watched = |one: &Namespace| watched.iter().any(|pattern| pattern.matches(&one.database, &one.collection));
    let with: Option<Vec<Namespace>> = with.iter().map(|(pattern, _)| exact(pattern)).collect();
    let mut with = with?;
    with.retain(is_watched);
    let is_many_without = without.len() >= OTHERS_MIN * with.len() || without.iter().any(|(one, _)| !one.is_exact());
    let is_wanted = match streams {
        // An event must not tell by how many streams its change was read.
        _ if rules.reads_evidence() => false,
        StreamCount::One => false,
        StreamCount::Two => true,
        StreamCount::Auto => is_many_without,
    };
    (is_wanted && !without.is_empty() && (1..=SEPARATE_MAX).contains(&with.len())).then_some(with)
}

fn pattern(namespace: &Namespace) -> NamespacePattern {
    NamespacePattern { database: namespace.database.clone(), collection: namespace.collection.clone() }
}

impl StreamPlan {
    /// The stages after `$changeStream`.
    pub(super) fn stages(&self) -> Vec<Document> {
        let mut stages = self.scope.stages();
        stages.extend(push_down::stages(&self.push_down, &self.relays, self.images));
        stages
    }

    fn fingerprint(&self) -> String {
        let mut text = self.scope.fingerprint();
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {:?}", self.images, self.stages()));
        text.push_str(" as ");
        for byte in hash.finalize().iter().take(4) {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::SourceFile;

    fn rules(text: &str) -> RuleSet {
        let read = crate::rules::read(&[SourceFile { name: "rules".to_owned(), text: text.to_owned() }]);
        assert!(!read.diagnostics.has_errors(), "{}", read.diagnostics.render());
        RuleSet::compile(read.rules)
    }

    /// The fingerprints of the streams, without their hashes.
    fn streams(rules: &RuleSet, streams: StreamCount) -> Vec<String> {
        let plan = Plan::for_rules(rules, &Relays::default(), &rules.namespaces(), &[], streams, true);
        let word = |stream: &StreamPlan| format!("{} {}", stream.scope.fingerprint(), stream.images.before);
        plan.streams().iter().map(word).collect()
    }

    const FEW: &str = r#"version: 1
rules:
  - {event: Paid, collection: shop.orders, when: {status: {from: new, to: paid}}}
  - {event: Made, collection: [shop.carts, shop.people], on: insert}
"#;

    #[test]
    fn two_streams_are_opened_where_few_collections_need_images_and_many_do_not() {
        let few = rules(FEW);
        assert_eq!(
            streams(&few, StreamCount::Auto),
            ["change_stream database shop only shop.carts shop.orders shop.people true"]
        );
        let two = [
            "change_stream collection shop.orders true",
            "change_stream database shop only shop.carts shop.people false",
        ];
        assert_eq!(streams(&few, StreamCount::Two), two);
        let many = rules(&FEW.replace("[shop.carts, shop.people]", "[shop.a, shop.b, shop.c, shop.d]"));
        let two =
            ["change_stream collection shop.orders true", "change_stream database shop without shop.orders false"];
        assert_eq!(streams(&many, StreamCount::Auto), two);
        assert_eq!(streams(&many, StreamCount::One).len(), 1);
        let glob = rules(&FEW.replace("[shop.carts, shop.people]", "'shop.*'"));
        assert_eq!(streams(&glob, StreamCount::Auto), two);
        let globs_need_images = rules(&FEW.replace("shop.orders", "shop.o*"));
        assert_eq!(streams(&globs_need_images, StreamCount::Two).len(), 1);
        let evidence =
            rules(&format!("{FEW}  - {{event: E, collection: shop.x, on: insert, data: {{e: $.meta.evidence}}}}\n"));
        assert_eq!(streams(&evidence, StreamCount::Two).len(), 1, "an event would tell of it");
        let all_need_images = rules(&FEW.replace("on: insert", "when: {x: changed}"));
        assert_eq!(streams(&all_need_images, StreamCount::Two).len(), 1);
    }

    #[test]
    fn an_embedded_outbox_needs_images_and_an_outbox_does_not() {
        let relays = |settings: &str| {
            let settings: Vec<crate::explicit::RelaySettings> = serde_json::from_str(settings).unwrap();
            Relays::new(&settings).unwrap()
        };
        let outbox = r#"{"outbox": {"collection": "shop.outbox", "layout": "debezium"}}"#;
        let embedded = r#"{"embedded_outbox": {"collection": "shop.people"}}"#;
        let made = rules("version: 1\nrules: [{event: Made, collection: shop.carts, on: insert}]\n");
        let streams = |settings: &str, streams| {
            let relays = relays(settings);
            let mut watched = made.namespaces();
            watched.extend(relays.collections().map(pattern));
            let plan = Plan::for_rules(&made, &relays, &watched, &[], streams, true);
            let word = |one: &StreamPlan| {
                let relays: Vec<String> = one.relays.iter().map(|relay| relay.collection.to_string()).collect();
                format!("{} {} for {}", one.scope.target(), one.images.before, relays.join(" "))
            };
            plan.streams().iter().map(word).collect::<Vec<_>>()
        };
        assert_eq!(streams(&format!("[{outbox}]"), StreamCount::Two), ["database shop false for shop.outbox"]);
        let both = format!("[{outbox}, {embedded}]");
        assert_eq!(streams(&both, StreamCount::Auto), ["database shop true for shop.outbox shop.people"]);
        assert_eq!(
            streams(&both, StreamCount::Two),
            ["collection shop.people true for shop.people", "database shop false for shop.outbox"]
        );
    }

    #[test]
    fn a_plan_that_asks_for_something_else_has_another_fingerprint() {
        let plan = |collection: &str, before| {
            let pattern = NamespacePattern { database: "shop".to_owned(), collection: collection.to_owned() };
            Plan::new(Scope::covering(&[pattern], &[]), ImageNeeds { before, after: false })
        };
        assert_eq!(plan("orders", true).fingerprint(), plan("orders", true).fingerprint());
        assert_ne!(plan("orders", true).fingerprint(), plan("orders", false).fingerprint());
        assert_ne!(plan("orders", true).fingerprint(), plan("carts", true).fingerprint());
        assert!(plan("orders", true).fingerprint().starts_with("change_stream collection shop.orders as "));
    }
}
