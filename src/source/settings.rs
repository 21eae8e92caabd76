//! The settings of a source, as a configuration writes them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::position::{ClusterTime, Start};
use crate::quantity::Period;
use crate::rules::NamespacePattern;
use crate::secret::Secret;

/// Where changes come from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// The connection string of MongoDB (`mongodb://...` or `mongodb+srv://...`). It is never printed.
    pub uri: Secret,
    /// How the log is read.
    #[serde(default)]
    pub kind: SourceKind,
    /// What is watched: databases (`shop`), collections (`shop.orders`) or globs (`tenant_*`, `shop.order_*`). Empty: the
    /// collections that the rules name.
    #[serde(default)]
    pub watch: Vec<String>,
    /// Where to begin when there is no checkpoint: `now`, `beginning` (the oldest change the oplog holds), or a time such as
    /// `2026-01-31T12:00:00Z`.
    #[serde(default)]
    pub start: StartSetting,
    /// What to do when the oplog does not hold the checkpoint's position any more.
    #[serde(default)]
    pub on_lost_position: OnLostPosition,
    /// What is done about images of documents that rules need and that a collection does not keep: `as_is` leaves the collection
    /// alone, `enable` makes it keep them from the start of the run on. They are never switched off.
    #[serde(default)]
    pub images: ImageSetting,
    /// How many change streams are opened: `one`, `two` (one with images over the collections whose rules need them, one without
    /// over the others), or whichever costs the server less.
    #[serde(default)]
    pub streams: StreamCount,
    /// Whether the server leaves out what no rule reads: operations, updates, fields of documents. With `coverage: on` nothing is
    /// left out.
    #[serde(default = "default_push_down")]
    pub push_down: bool,
    /// How many changes the server sends at most in one reply.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch_size: u32,
    /// How long the server waits for a change before it answers that there is none. On a quiet database the position moves
    /// this often.
    #[serde(default = "default_await_time")]
    pub await_time: Period,
}

fn default_push_down() -> bool {
    true
}

fn default_batch_size() -> u32 {
    2_000
}

fn default_await_time() -> Period {
    Period::seconds(1)
}

/// How the log is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// By a change stream.
    #[default]
    ChangeStream,
    /// Directly from the oplog of a replica set; not yet available.
    Oplog,
}

/// What is done about images that rules need and that a collection does not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageSetting {
    /// Nothing: the rules are undecided, or look the document up.
    #[default]
    AsIs,
    /// The collection is told to keep them, with `collMod`, when a run starts.
    Enable,
}

/// How many change streams are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamCount {
    /// Two where that costs the server less, else one.
    #[default]
    Auto,
    /// One over everything.
    One,
    /// One with images and one without, wherever that is possible.
    Two,
}

/// What to do when history is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLostPosition {
    /// Stop with an error, so that somebody looks at it.
    #[default]
    Stop,
    /// Send a `changeling.gap` event to every sink and go on from now.
    Gap,
}

/// Where to begin when there is no checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum StartSetting {
    /// With the next change.
    #[default]
    Now,
    /// With the oldest change that the oplog holds.
    Beginning,
    /// With the first change at or after a time.
    At(ClusterTime),
}

impl StartSetting {
    /// The place to open a source at.
    pub fn start(&self) -> Start {
        match self {
            Self::Now => Start::Now,
            Self::Beginning => Start::Beginning,
            Self::At(time) => Start::At(*time),
        }
    }

    /// Reads `now`, `beginning` or a time; `None` if it is none of them.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "now" => Some(Self::Now),
            "beginning" => Some(Self::Beginning),
            time => {
                let seconds = OffsetDateTime::parse(time, &Rfc3339).ok()?.unix_timestamp();
                // Increments of a second begin at 1, so this is before everything of that second.
                Some(Self::At(ClusterTime { seconds: u32::try_from(seconds).ok()?, increment: 0 }))
            }
        }
    }
}

impl<'de> Deserialize<'de> for StartSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "expected \"now\", \"beginning\" or a time such as \"2026-01-31T12:00:00Z\"";
        Self::parse(text.trim()).ok_or_else(|| de::Error::custom(expected))
    }
}

impl JsonSchema for StartSetting {
    fn schema_name() -> Cow<'static, str> {
        "StartSetting".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "now, beginning, or a time such as 2026-01-31T12:00:00Z.",
            "anyOf": [{"enum": ["now", "beginning"]}, {"type": "string", "format": "date-time"}]
        })
    }
}

/// Settings that can not be used together, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The kind `oplog` is a later one.
    #[error("source.kind: \"oplog\" is not available yet\nhelp: use \"change_stream\"")]
    OplogUnavailable,
    /// An entry of `watch` can not be a namespace.
    #[error(
        "source.watch: \"{entry}\" is no database, collection or glob\nhelp: write shop, shop.orders, tenant_* or shop.order_*"
    )]
    Watch {
        /// The entry as written.
        entry: String,
    },
    /// The batch size is out of its range.
    #[error("source.batch_size: must be from 1 to 100000")]
    BatchSize,
    /// The await time is out of its range.
    #[error("source.await_time: must be from 10ms to 1m")]
    AwaitTime,
}

impl SourceSettings {
    /// Finds what serde cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.kind == SourceKind::Oplog {
            return Err(SettingsError::OplogUnavailable);
        }
        if !(1..=100_000).contains(&self.batch_size) {
            return Err(SettingsError::BatchSize);
        }
        if !(10..=60_000).contains(&self.await_time.0.as_millis()) {
            return Err(SettingsError::AwaitTime);
        }
        self.watched().map(|_| ())
    }

    /// The entries of `watch` as patterns; a database alone stands for all its collections.
    pub fn watched(&self) -> Result<Vec<NamespacePattern>, SettingsError> {
        self.watch.iter().map(|entry| watch_entry(entry)).collect()
    }
}

fn watch_entry(entry: &str) -> Result<NamespacePattern, SettingsError> {
    // A database name never holds a dot; the name of a collection may.
    let (database, collection) = entry.split_once('.').unwrap_or((entry, "*"));
    let has_forbidden = |text: &str, forbidden: &[char]| text.is_empty() || text.contains(forbidden);
    if has_forbidden(database, &['/', '\\', ' ', '"', '$']) || has_forbidden(collection, &['$', '\0']) {
        return Err(SettingsError::Watch { entry: entry.to_owned() });
    }
    Ok(NamespacePattern { database: database.to_owned(), collection: collection.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: serde_json::Value) -> Result<SourceSettings, serde_json::Error> {
        serde_json::from_value(json)
    }

    #[test]
    fn a_uri_alone_is_enough() {
        let settings = settings(serde_json::json!({"uri": "mongodb://host"})).unwrap();
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(settings.start.start(), Start::Now);
        assert_eq!(settings.batch_size, 2_000);
        assert_eq!(settings.on_lost_position, OnLostPosition::Stop);
    }

    #[test]
    fn a_start_is_a_word_or_a_time() {
        let start = |text: &str| settings(serde_json::json!({"uri": "", "start": text})).map(|settings| settings.start);
        assert_eq!(start("beginning").unwrap(), StartSetting::Beginning);
        let noon = StartSetting::At(ClusterTime { seconds: 1_769_860_800, increment: 0 });
        assert_eq!(start("2026-01-31T12:00:00Z").unwrap(), noon);
        assert_eq!(start("2026-01-31T13:00:00+01:00").unwrap(), noon);
        for wrong in ["", "yesterday", "2026-01-31", "1960-01-01T00:00:00Z"] {
            assert!(start(wrong).unwrap_err().to_string().contains("beginning"), "{wrong}");
        }
    }

    #[test]
    fn what_can_not_be_used_is_refused_with_the_key_s_name() {
        let check = |json| settings(json).unwrap().check().unwrap_err().to_string();
        assert!(check(serde_json::json!({"uri": "", "kind": "oplog"})).starts_with("source.kind"));
        assert!(check(serde_json::json!({"uri": "", "batch_size": 0})).starts_with("source.batch_size"));
        assert!(check(serde_json::json!({"uri": "", "await_time": "1ms"})).starts_with("source.await_time"));
        assert!(check(serde_json::json!({"uri": "", "watch": [".orders"]})).starts_with("source.watch"));
        assert!(settings(serde_json::json!({"uri": "", "wacht": []})).is_err());
    }

    #[test]
    fn an_entry_of_watch_is_a_database_a_collection_or_a_glob() {
        let pattern = |entry: &str| watch_entry(entry).map(|pattern| (pattern.database, pattern.collection)).unwrap();
        assert_eq!(pattern("shop"), ("shop".to_owned(), "*".to_owned()));
        assert_eq!(pattern("shop.orders.archive"), ("shop".to_owned(), "orders.archive".to_owned()));
        assert_eq!(pattern("tenant_*.orders"), ("tenant_*".to_owned(), "orders".to_owned()));
    }
}
