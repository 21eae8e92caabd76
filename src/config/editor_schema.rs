//! The JSON Schema of a configuration file as editors need it: in draft 7, which they understand best, with an example for every
//! key that is not told by its default, and with room for values from the environment.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::Config;

/// An example for each key, as JSON.
const EXAMPLES: [(&str, &str); 45] = [
    ("name", r#""shop""#),
    ("source", r#"{"uri": "${MONGODB_URI}"}"#),
    ("source.uri", r#""${MONGODB_URI}""#),
    ("source.watch", r#"["shop", "billing.invoices", "tenant_*"]"#),
    ("source.start", r#""2026-01-31T12:00:00Z""#),
    ("rules", r#"["rules"]"#),
    ("explicit", r#"[{"outbox": {"collection": "shop.outbox", "layout": "debezium"}}]"#),
    ("explicit.<items>.outbox.custom.type", r#""$.type""#),
    ("explicit.<items>.outbox.custom.key", r#""$.orderId""#),
    ("explicit.<items>.outbox.custom.data", r#""$.data""#),
    ("explicit.<items>.outbox.clean_up.mark.field", r#""relayedAt""#),
    ("events.type_prefix", r#""com.example.shop.""#),
    ("events.source", r#""/changeling/{name}/{database}.{collection}""#),
    ("checkpoint.mongodb", r#"{"collection": "changeling.checkpoints"}"#),
    ("checkpoint.mongodb.uri", r#""${CHECKPOINT_URI}""#),
    ("checkpoint.file", r#""state/position""#),
    ("sinks", r#"{"out": {"stdout": {}}, "facts": {"mongodb": {"collection": "shop_facts.events"}}}"#),
    ("sinks.<name>.file.path", r#""events.jsonl""#),
    ("sinks.<name>.file.rotate.size", r#""64MiB""#),
    ("sinks.<name>.file.rotate.age", r#""24h""#),
    ("sinks.<name>.file.rotate.keep", "7"),
    ("sinks.<name>.mongodb.uri", r#""${FACTS_URI}""#),
    ("sinks.<name>.nats.servers", r#"["nats://localhost:4222"]"#),
    ("sinks.<name>.nats.stream.name", r#""shop""#),
    ("sinks.<name>.nats.stream.subjects", r#"["shop.>"]"#),
    ("sinks.<name>.nats.stream.age_max", r#""30d""#),
    ("sinks.<name>.nats.stream.bytes_max", r#""10GiB""#),
    ("sinks.<name>.nats.subject", r#""shop.{type}""#),
    ("sinks.<name>.nats.authentication.user", r#""changeling""#),
    ("sinks.<name>.nats.authentication.password", r#""${NATS_PASSWORD}""#),
    ("sinks.<name>.nats.authentication.token", r#""${NATS_TOKEN}""#),
    ("sinks.<name>.nats.authentication.credentials_file", r#""changeling.creds""#),
    ("sinks.<name>.nats.authentication.nkey", r#""${file:changeling.nkey}""#),
    ("sinks.<name>.nats.tls.ca_file", r#""ca.pem""#),
    ("sinks.<name>.nats.tls.certificate_file", r#""client.pem""#),
    ("sinks.<name>.nats.tls.key_file", r#""client.key""#),
    ("dead_letters.file", r#""dead_letters.jsonl""#),
    ("dead_letters.mongodb.uri", r#""${DEAD_LETTERS_URI}""#),
    ("pipeline.retry.attempts_max", "20"),
    ("http.listen", r#""127.0.0.1:9464""#),
    ("log.level", r#""info""#),
    ("log.format", r#""json""#),
    ("reload", r#"{"watch": false}"#),
    ("coverage", r#""on""#),
    ("dead_letters", r#"{"file": "dead_letters.jsonl"}"#),
];

pub(super) fn schema() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Config>().to_value();
    describe_only_keys(&mut schema);
    let whole = schema.clone();
    for (path, example) in EXAMPLES {
        let place = find(&whole, "", path).and_then(|pointer| schema.pointer_mut(&pointer));
        if let (Some(Value::Object(place)), Ok(example)) = (place, serde_json::from_str::<Value>(example)) {
            place.insert("examples".to_owned(), json!([example]));
        }
    }
    make_room(&mut schema);
    schema
}

/// Where the schema of a key stands; the key's own, not one that it shares with others.
fn find(whole: &Value, at: &str, path: &str) -> Option<String> {
    let schema = whole.pointer(at)?;
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let step = match key {
        "<name>" => format!("{at}/additionalProperties"),
        "<items>" => format!("{at}/items"),
        key => format!("{at}/properties/{key}"),
    };
    if whole.pointer(&step).is_some() {
        return match rest {
            Some(rest) => find(whole, &step, rest),
            None => Some(step),
        };
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return find(whole, target.trim_start_matches('#'), path);
    }
    ["allOf", "anyOf", "oneOf"].into_iter().find_map(|list| {
        let count = schema.get(list)?.as_array()?.len();
        (0..count).find_map(|index| find(whole, &format!("{at}/{list}/{index}"), path))
    })
}

/// A choice of one key is described at the choice; editors look for it at the key.
fn describe_only_keys(schema: &mut Value) {
    if let Value::Object(fields) = schema
        && let Some(description) = fields.get("description").cloned()
        && let Some(Value::Object(properties)) = fields.get_mut("properties")
        && properties.len() == 1
        && let Some(Value::Object(only)) = properties.values_mut().next()
    {
        only.entry("description").or_insert(description);
    }
    each_below(schema, describe_only_keys);
}

/// Lets a text with `${...}` stand for every value that is no text.
fn make_room(schema: &mut Value) {
    if !is_narrow(schema) {
        return each_below(schema, make_room);
    }
    let Value::Object(fields) = schema else { return };
    let mut outer = serde_json::Map::new();
    for annotation in ["description", "default", "examples"] {
        if let Some(value) = fields.remove(annotation) {
            outer.insert(annotation.to_owned(), value);
        }
    }
    let filled_in = json!({"type": "string", "pattern": r"\$\{.+\}"});
    outer.insert("anyOf".to_owned(), json!([schema.take(), filled_in]));
    *schema = Value::Object(outer);
}

/// True of a single value (a number, a truth, a word of several, a text of some form) that a text with `${...}` would not fit.
fn is_narrow(schema: &Value) -> bool {
    let holds = |name: &str| schema.get(name).is_some();
    let is_word = |choice: &Value| choice.get("const").is_some() || choice.get("enum").is_some();
    if holds("enum") || holds("const") {
        return true;
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        return choices.iter().all(is_word);
    }
    match schema.get("type") {
        Some(Value::String(only)) => match only.as_str() {
            "integer" | "number" | "boolean" => true,
            "string" => holds("pattern"),
            _ => false,
        },
        Some(Value::Array(types)) => {
            let is_of = |name: &str| types.iter().any(|one| one == name);
            !is_of("string") && !is_of("object") && !is_of("array")
        }
        _ => false,
    }
}

fn each_below(schema: &mut Value, mut visit: impl FnMut(&mut Value)) {
    let Value::Object(fields) = schema else { return };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("properties" | "definitions", Value::Object(schemas)) => schemas.values_mut().for_each(&mut visit),
            ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter_mut().for_each(&mut visit),
            ("additionalProperties" | "items", schema @ Value::Object(_)) => visit(schema),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_has_its_key() {
        let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Config>().to_value();
        for (path, example) in EXAMPLES {
            assert!(find(&schema, "", path).is_some(), "there is no key {path}");
            assert!(serde_json::from_str::<Value>(example).is_ok(), "{path}: {example}");
        }
    }
}
