//! What a JSON Schema, as schemars makes it of our structs, asks for at one place.

use serde_json::{Map, Value};

/// The shape that a schema gives a value.
pub enum Shape<'s> {
    /// One of these words, or a mapping with exactly one of these keys.
    OneOf {
        /// The words.
        words: Vec<&'s str>,
        /// The keys and the schemas of their values.
        kinds: Vec<(&'s str, &'s Value)>,
    },
    /// One of these, or nothing at all.
    AnyOf(&'s [Value]),
    /// A value of one of these JSON types.
    Plain(Vec<&'s str>),
    /// Whatever it is.
    Anything,
}

/// A schema with the definitions it refers to.
#[derive(Clone, Copy)]
pub struct Schemas<'s> {
    definitions: Option<&'s Map<String, Value>>,
}

impl<'s> Schemas<'s> {
    /// The definitions of a root schema.
    pub fn of(root: &'s Value) -> Self {
        Self { definitions: root.get("$defs").and_then(Value::as_object) }
    }

    /// The schema itself, where this one only refers to it.
    pub fn resolve(&self, mut schema: &'s Value) -> &'s Value {
        while let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let name = target.strip_prefix("#/$defs/").unwrap_or(target);
            match self.definitions.and_then(|definitions| definitions.get(name)) {
                Some(definition) => schema = definition,
                None => return schema,
            }
        }
        schema
    }

    /// What a resolved schema asks for.
    pub fn shape(&self, schema: &'s Value) -> Shape<'s> {
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return Shape::OneOf { words: words.iter().filter_map(Value::as_str).collect(), kinds: Vec::new() };
        }
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            return self.one_of(choices).unwrap_or(Shape::AnyOf(choices));
        }
        if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
            return Shape::AnyOf(choices);
        }
        match schema.get("type") {
            Some(Value::String(one)) => Shape::Plain(vec![one]),
            Some(Value::Array(several)) => Shape::Plain(several.iter().filter_map(Value::as_str).collect()),
            _ => Shape::Anything,
        }
    }

    /// An enum: each choice is a word, several words, or a mapping with one key. `None` if it is something else.
    fn one_of(&self, choices: &'s [Value]) -> Option<Shape<'s>> {
        let (mut words, mut kinds) = (Vec::new(), Vec::new());
        for choice in choices {
            if let Some(word) = choice.get("const").and_then(Value::as_str) {
                words.push(word);
            } else if let Some(several) = choice.get("enum").and_then(Value::as_array) {
                words.extend(several.iter().filter_map(Value::as_str));
            } else {
                let required = choice.get("required").and_then(Value::as_array).filter(|keys| keys.len() == 1)?;
                let key = required.first().and_then(Value::as_str)?;
                kinds.push((key, choice.get("properties")?.get(key)?));
            }
        }
        Some(Shape::OneOf { words, kinds })
    }
}
