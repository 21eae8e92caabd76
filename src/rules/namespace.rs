//! Which collections a rule looks at: a glob for the database and one for the collection.

use globset::{Glob, GlobBuilder, GlobMatcher};

use super::LanguageError;

/// `database.collection` with a glob per part: `tenant_*.orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacePattern {
    /// The pattern of the database name.
    pub database: String,
    /// The pattern of the collection name (which may itself hold dots).
    pub collection: String,
}

const CODE: &str = "R025";

impl NamespacePattern {
    /// Reads `database.collection`. The first dot separates, since the name of a database holds none.
    ///
    /// # Errors
    ///
    /// If a part is absent or is no glob.
    pub fn parse(text: &str) -> Result<Self, LanguageError> {
        if let Some(at) = text.chars().position(|character| character.is_whitespace() || character == '\0') {
            return Err(LanguageError::new(
                at,
                CODE,
                "the name of a collection here holds no blank",
                "write `database.collection`",
            ));
        }
        let Some((database, collection)) = text.split_once('.') else {
            let name = if text.is_empty() { "orders" } else { text };
            let help =
                format!("write `database.collection`, for example `shop.{name}`, or `*.{name}` for every database");
            return Err(LanguageError::new(0, CODE, "the collection has no database in front of it", &help));
        };
        let collection_start = database.chars().count() + 1;
        if database.is_empty() {
            return Err(LanguageError::new(
                0,
                CODE,
                "the name of the database is empty",
                "write `database.collection`",
            ));
        }
        if collection.is_empty() {
            let help = format!("write `{database}.*` for every collection of the database");
            return Err(LanguageError::new(collection_start, CODE, "the name of the collection is empty", &help));
        }
        for (part, start) in [(database, 0), (collection, collection_start)] {
            glob(part).map_err(|error| {
                let message = format!("`{part}` is not a glob: {}", error.kind());
                LanguageError::new(
                    start,
                    CODE,
                    &message,
                    "use `*`, `?`, `[a-z]` and `{a,b}`; `\\` before one of them makes it plain",
                )
            })?;
        }
        Ok(Self { database: database.to_owned(), collection: collection.to_owned() })
    }

    /// True if the pattern names exactly one collection.
    pub fn is_exact(&self) -> bool {
        is_plain(&self.database) && is_plain(&self.collection)
    }

    /// True if the pattern names exactly one database.
    pub fn is_in_one_database(&self) -> bool {
        is_plain(&self.database)
    }

    /// True if this pattern names everything that another one names, as far as that can be seen: a glob is covered by the same
    /// glob or by `*`. Compiles its globs on every call.
    pub fn covers(&self, other: &Self) -> bool {
        let part = |own: &str, theirs: &str| {
            let matches = || glob(own).is_ok_and(|glob| glob.compile_matcher().is_match(theirs));
            own == "*" || own == theirs || (is_plain(theirs) && matches())
        };
        part(&self.database, &other.database) && part(&self.collection, &other.collection)
    }

    /// True if the collection is one of those that the pattern names. Compiles its globs on every call: for set-up, not for
    /// every change.
    pub fn matches(&self, database: &str, collection: &str) -> bool {
        NamespaceMatcher::new(self).is_some_and(|matcher| matcher.matches(database, collection))
    }
}

/// A pattern, compiled.
#[derive(Debug)]
pub(super) struct NamespaceMatcher {
    database: GlobMatcher,
    collection: GlobMatcher,
}

impl NamespaceMatcher {
    /// Nothing if the pattern did not come from [`NamespacePattern::parse`] and is no glob.
    pub(super) fn new(pattern: &NamespacePattern) -> Option<Self> {
        let matcher = |text: &str| glob(text).ok().map(|glob| glob.compile_matcher());
        Some(Self { database: matcher(&pattern.database)?, collection: matcher(&pattern.collection)? })
    }

    pub(super) fn matches(&self, database: &str, collection: &str) -> bool {
        self.database.is_match(database) && self.collection.is_match(collection)
    }
}

fn glob(text: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build()
}

fn is_plain(text: &str) -> bool {
    !text.contains(['*', '?', '[', ']', '{', '}', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_a_glob_for_each_part_and_the_first_dot_separates() {
        let pattern = NamespacePattern::parse("tenant_*.orders.archive").unwrap();
        assert!(pattern.matches("tenant_7", "orders.archive"));
        assert!(!pattern.matches("tenant_7", "orders"));
        assert!(!pattern.matches("shop", "orders.archive"));
        assert!(!pattern.is_exact() && !pattern.is_in_one_database());
        let every = NamespacePattern::parse("shop.*").unwrap();
        assert!(every.matches("shop", "a.b") && every.matches("shop", "a/b") && every.is_in_one_database());
        assert!(NamespacePattern::parse("shop.orders").unwrap().is_exact());
        assert!(NamespacePattern::parse("shop.{orders,carts}").unwrap().matches("shop", "carts"));
    }

    #[test]
    fn a_bad_pattern_says_where_and_what_to_write() {
        for (text, offset, message) in [
            ("orders", 0, "the collection has no database in front of it"),
            ("", 0, "the collection has no database in front of it"),
            (".orders", 0, "the name of the database is empty"),
            ("shop.", 5, "the name of the collection is empty"),
            ("shop. orders", 5, "the name of a collection here holds no blank"),
        ] {
            let error = NamespacePattern::parse(text).unwrap_err();
            assert_eq!((error.offset, error.message.as_str()), (offset, message), "{text}");
        }
        let error = NamespacePattern::parse("shop.a[b").unwrap_err();
        assert_eq!(error.offset, 5);
        assert!(error.message.starts_with("`a[b` is not a glob: "), "{}", error.message);
    }
}
