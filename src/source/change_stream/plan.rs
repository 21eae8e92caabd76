//! What a source reads, and how: everything about its streams that follows from the rules.

use std::fmt::Write;

use bson::Document;
use sha2::{Digest, Sha256};

use super::scope::Scope;
use crate::rules::ImageNeeds;

/// What a source reads, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    scope: Scope,
    streams: Vec<StreamPlan>,
}

/// One stream of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StreamPlan {
    pub scope: Scope,
    pub images: ImageNeeds,
}

impl Plan {
    /// One stream over everything. `images` are asked for on every update, replace and delete, where the server has them.
    pub fn new(scope: Scope, images: ImageNeeds) -> Self {
        let stream = StreamPlan { scope: scope.clone(), images };
        Self { scope, streams: vec![stream] }
    }

    /// What all streams cover together.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The images that some stream asks for.
    pub fn images(&self) -> ImageNeeds {
        self.streams.iter().fold(ImageNeeds::default(), |images, stream| images.or(stream.images))
    }

    /// The streams; at least one.
    pub(super) fn streams(&self) -> &[StreamPlan] {
        &self.streams
    }

    /// Identifies the plan in a checkpoint: a token is good for a stream that is opened in the very same way. What the server
    /// leaves out may be the change of the token, and in how many parts it cuts a large event depends on what it leaves out of it.
    pub fn fingerprint(&self) -> String {
        let texts: Vec<String> = self.streams.iter().map(StreamPlan::fingerprint).collect();
        texts.join(" and ")
    }
}

impl StreamPlan {
    /// The stages after `$changeStream`.
    pub fn stages(&self) -> Vec<Document> {
        self.scope.stages()
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
    use crate::rules::NamespacePattern;

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
