//! What a stream covers: the smallest of collection, database and deployment that holds everything watched.

use std::collections::BTreeSet;
use std::fmt;

use bson::{Document, doc};

use crate::namespace::Namespace;
use crate::rules::NamespacePattern;

/// Above this many namespaces a filter on them costs the server more than sending the changes that nobody asked for
/// (measured on MongoDB 6.0: to leave a change out takes 2.5 us with one namespace, 3.5 with two and the notices, 12 with
/// twenty; to send it takes 9).
pub(super) const FILTERED_NAMESPACES_MAX: usize = 3;

/// The collection that a pattern names, if it names exactly one.
pub(super) fn exact(pattern: &NamespacePattern) -> Option<Namespace> {
    (is_exact(&pattern.database) && is_exact(&pattern.collection))
        .then(|| Namespace { database: pattern.database.clone(), collection: pattern.collection.clone() })
}

/// The namespace as changes name it.
pub(super) fn document_of(namespace: &Namespace) -> Document {
    doc! {"db": &namespace.database, "coll": &namespace.collection}
}

fn is_exact(text: &str) -> bool {
    !text.contains(['*', '?', '[', '{', '\\'])
}

/// What a stream is opened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One collection. Its stream ends when the collection is dropped or renamed, and is opened again.
    Collection(Namespace),
    /// All collections of one database. Its stream ends when the database is dropped, and is opened again.
    Database(String),
    /// Everything but `admin`, `config` and `local`. Its stream never ends.
    Deployment,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collection(namespace) => write!(formatter, "collection {namespace}"),
            Self::Database(database) => write!(formatter, "database {database}"),
            Self::Deployment => formatter.write_str("deployment"),
        }
    }
}

/// What a stream covers, and what the server leaves out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    target: Target,
    /// The collections that patterns name exactly.
    named: BTreeSet<Namespace>,
    only: BTreeSet<Namespace>,
    hidden: BTreeSet<Namespace>,
}

impl Scope {
    /// The smallest scope that covers all `patterns`; the whole deployment if there is none. The collections in `hidden` (our
    /// own, for events) are left out by the server, unless a pattern names them exactly. That is worth it only for collections
    /// that get a large share of all changes: it costs every other change 1.7 us, and saves 4 us per change left out.
    pub fn covering(patterns: &[NamespacePattern], hidden: &[Namespace]) -> Self {
        let named: BTreeSet<Namespace> = patterns.iter().filter_map(exact).collect();
        let all = (!patterns.is_empty() && patterns.iter().all(|pattern| exact(pattern).is_some())).then_some(&named);
        let target = target(patterns, all);
        let is_covered = |namespace: &Namespace| match &target {
            Target::Collection(_) => false,
            Target::Database(database) => namespace.database == *database,
            Target::Deployment => !["admin", "config", "local"].contains(&namespace.database.as_str()),
        };
        let is_single = matches!(target, Target::Collection(_));
        let is_filtered = !is_single && all.is_some_and(|all| all.len() <= FILTERED_NAMESPACES_MAX);
        let only = if is_filtered { named.clone() } else { BTreeSet::new() };
        let mut hidden: BTreeSet<Namespace> = match only.is_empty() {
            true => {
                hidden.iter().filter(|namespace| is_covered(namespace) && !named.contains(namespace)).cloned().collect()
            }
            false => BTreeSet::new(),
        };
        if hidden.len() > FILTERED_NAMESPACES_MAX {
            hidden.clear();
        }
        Self { target, named, only, hidden }
    }

    /// What the stream is opened on.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The collections that are named exactly.
    pub(super) fn named(&self) -> &BTreeSet<Namespace> {
        &self.named
    }

    /// True if changes of the collection come through.
    pub(super) fn may_cover(&self, namespace: &Namespace) -> bool {
        match &self.target {
            Target::Collection(only) => only == namespace,
            Target::Database(_) | Target::Deployment if !self.only.is_empty() => self.only.contains(namespace),
            Target::Database(database) => namespace.database == *database && !self.hidden.contains(namespace),
            Target::Deployment => !self.hidden.contains(namespace),
        }
    }

    /// Identifies the scope in a checkpoint. It changes when, and only when, a token might not fit any more.
    pub fn fingerprint(&self) -> String {
        let list = |namespaces: &BTreeSet<Namespace>| {
            namespaces.iter().map(Namespace::to_string).collect::<Vec<_>>().join(" ")
        };
        let mut text = format!("change_stream {}", self.target);
        if !self.only.is_empty() {
            text.push_str(&format!(" only {}", list(&self.only)));
        }
        if !self.hidden.is_empty() {
            text.push_str(&format!(" without {}", list(&self.hidden)));
        }
        text
    }

    /// The stages after `$changeStream` that leave out what nobody watches. Both forms are ones that the server evaluates on
    /// its oplog, before it makes an event (source: `change_stream_rewrite_helpers.cpp` of MongoDB).
    pub(super) fn stages(&self) -> Vec<Document> {
        if !self.only.is_empty() {
            let mut any: Vec<Document> =
                self.only.iter().map(|namespace| doc! {"ns": document_of(namespace)}).collect();
            // What ends a stream or renames a collection must come through.
            any.push(doc! {"operationType": {"$in": ["drop", "rename", "dropDatabase", "invalidate"]}});
            return vec![doc! {"$match": {"$or": any}}];
        }
        if !self.hidden.is_empty() {
            let hidden: Vec<Document> = self.hidden.iter().map(document_of).collect();
            return vec![doc! {"$match": {"ns": {"$nin": hidden}}}];
        }
        Vec::new()
    }
}

fn target(patterns: &[NamespacePattern], exact: Option<&BTreeSet<Namespace>>) -> Target {
    if let Some(exact) = exact
        && let (1, Some(namespace)) = (exact.len(), exact.first())
    {
        return Target::Collection(namespace.clone());
    }
    match patterns.first() {
        Some(first)
            if is_exact(&first.database) && patterns.iter().all(|pattern| pattern.database == first.database) =>
        {
            Target::Database(first.database.clone())
        }
        _ => Target::Deployment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(patterns: &[&str], hidden: &[&str]) -> Scope {
        let patterns: Vec<NamespacePattern> = patterns
            .iter()
            .map(|text| text.split_once('.').unwrap())
            .map(|(database, collection)| NamespacePattern {
                database: database.to_owned(),
                collection: collection.to_owned(),
            })
            .collect();
        let hidden: Vec<Namespace> = hidden.iter().map(|text| Namespace::parse(text).unwrap()).collect();
        Scope::covering(&patterns, &hidden)
    }

    #[test]
    fn the_scope_is_the_smallest_that_covers_everything() {
        for (patterns, fingerprint) in [
            (&["shop.orders", "shop.orders"][..], "collection shop.orders"),
            (&["shop.orders", "shop.carts"], "database shop only shop.carts shop.orders"),
            (&["shop.a", "shop.b", "shop.c", "shop.d"], "database shop"),
            (&["shop.*"], "database shop"),
            (&["shop.order_?", "shop.carts"], "database shop"),
            (&["shop.orders", "crm.people"], "deployment only crm.people shop.orders"),
            (&["tenant_*.orders"], "deployment"),
            (&["shop.*", "crm.people"], "deployment"),
            (&[], "deployment"),
        ] {
            assert_eq!(scope(patterns, &[]).fingerprint(), format!("change_stream {fingerprint}"), "{patterns:?}");
        }
    }

    #[test]
    fn our_own_collections_are_left_out_unless_they_are_watched_by_name() {
        let hidden = &["changeling.checkpoints", "shop.events", "admin.x"];
        let text = |patterns| scope(patterns, hidden).fingerprint();
        assert_eq!(text(&["*.*"]), "change_stream deployment without changeling.checkpoints shop.events");
        assert_eq!(text(&["shop.*"]), "change_stream database shop without shop.events");
        assert_eq!(text(&["shop.*", "shop.events"]), "change_stream database shop");
        assert_eq!(text(&["shop.orders"]), "change_stream collection shop.orders");
        assert_eq!(scope(&["crm.*"], hidden).stages(), Vec::<Document>::new());
    }

    #[test]
    fn a_filter_on_namespaces_lets_through_what_ends_a_stream() {
        let stages = scope(&["shop.orders", "shop.carts"], &[]).stages();
        assert_eq!(stages.len(), 1);
        let text = stages[0].to_string();
        for word in ["drop", "rename", "dropDatabase", "invalidate", "orders", "carts"] {
            assert!(text.contains(word), "{text}");
        }
    }
}
