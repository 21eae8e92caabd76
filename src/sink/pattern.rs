//! Text that is filled in for every event from the event's own attributes: `events.{type}`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A text with places in braces, each filled in per event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

/// A piece of a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Field(Field),
}

/// What a place in a [`Pattern`] is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The connector's name.
    Name,
    /// The database of the change.
    Database,
    /// The collection of the change.
    Collection,
    /// The CloudEvents type: prefix and name of the event.
    Type,
    /// The name of the event, without a prefix.
    Event,
    /// The id of the rule.
    Rule,
    /// The partition key.
    Key,
}

impl Field {
    const ALL: [(&'static str, Self); 7] = [
        ("name", Self::Name),
        ("database", Self::Database),
        ("collection", Self::Collection),
        ("type", Self::Type),
        ("event", Self::Event),
        ("rule", Self::Rule),
        ("key", Self::Key),
    ];
}

impl Pattern {
    /// Reads a text such as `events.{type}`.
    ///
    /// # Errors
    /// A sentence that says what is wrong: a brace without its partner, or an unknown name in braces.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(place) = rest.find(['{', '}']) {
            let (before, from_brace) = rest.split_at(place);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (name, after) = from_brace
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'))
                .ok_or_else(|| "a brace has no partner; names in braces look like \"{type}\"".to_owned())?;
            let field = Field::ALL.iter().find(|(known, _)| *known == name);
            let (_, field) = field.ok_or_else(|| {
                let known: Vec<&str> = Field::ALL.iter().map(|(known, _)| *known).collect();
                format!("\"{{{name}}}\" is not known; use one of {{{}}}", known.join("}, {"))
            })?;
            parts.push(Part::Field(*field));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// `events.{type}`.
    pub(super) fn events_by_type() -> Self {
        Self::from_parts(vec![Part::Text("events.".into()), Part::Field(Field::Type)])
    }

    pub(super) fn from_parts(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A text with places in braces that are filled in for every event: {name} (of the connector), {database}, {collection}, {type} (with its prefix), {event} (without), {rule}, {key}.", "examples": ["events.{type}"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_text_and_known_names_in_braces() {
        let pattern = Pattern::parse("shop.{collection}.{type}").expect("good");
        assert_eq!(
            pattern.parts(),
            [
                Part::Text("shop.".into()),
                Part::Field(Field::Collection),
                Part::Text(".".into()),
                Part::Field(Field::Type)
            ]
        );
        assert!(Pattern::parse("{type").is_err());
        assert_eq!(Pattern::parse("{type"), Pattern::parse("type}"));
        assert_eq!(
            Pattern::parse("{typ}"),
            Err("\"{typ}\" is not known; use one of {name}, {database}, {collection}, {type}, {event}, {rule}, {key}"
                .into())
        );
    }
}
