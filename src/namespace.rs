//! The name of one collection, as a configuration writes it: `shop.orders`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A database and one of its collections, written `database.collection`; the collection may hold further dots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace {
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
}

impl Namespace {
    /// Reads `database.collection`; `None` if one of them is missing or holds what MongoDB does not allow.
    pub fn parse(text: &str) -> Option<Self> {
        let (database, collection) = text.split_once('.')?;
        let database_is_good = !database.is_empty() && !database.contains(['/', '\\', ' ', '"', '$', '\0']);
        let collection_is_good =
            !collection.is_empty() && !collection.starts_with('.') && !collection.contains(['$', '\0']);
        (database_is_good && collection_is_good)
            .then(|| Self { database: database.to_owned(), collection: collection.to_owned() })
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.database, self.collection)
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("expected a database and a collection such as \"shop.orders\""))
    }
}

impl Serialize for Namespace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Namespace {
    fn schema_name() -> Cow<'static, str> {
        "Namespace".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[^./\\\\ \"$]+\\.[^.$][^$]*$", "description": "A database and a collection: shop.orders.", "examples": ["shop.orders"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_database_and_a_collection() {
        let namespace = Namespace::parse("shop.system.events").expect("good");
        assert_eq!((namespace.database.as_str(), namespace.collection.as_str()), ("shop", "system.events"));
        assert_eq!(namespace.to_string(), "shop.system.events");
        for wrong in ["", "shop", "shop.", ".orders", "shop..orders", "my shop.orders", "shop.$cmd"] {
            assert_eq!(Namespace::parse(wrong), None, "{wrong}");
        }
    }
}
