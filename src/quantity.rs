//! Durations and sizes as people write them in a configuration: `30s`, `1h 30m`, `16MiB`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A length of time, written as `250ms`, `30s`, `5m` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

/// A count of bytes, written as a number or as `512KiB`, `16MiB`, `1GiB` (1024) or `16MB` (1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteCount(pub u64);

impl Period {
    /// Reads a text such as `30s`; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        humantime::parse_duration(text.trim()).ok().map(Self)
    }

    /// A whole number of seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }
}

impl ByteCount {
    /// Reads a text such as `16MiB`; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let count: u64 = text[..digits].parse().ok()?;
        let factor = match text[digits..].trim() {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        count.checked_mul(factor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("expected a duration such as \"250ms\", \"30s\" or \"5m\""))
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let count = match Written::deserialize(deserializer)? {
            Written::Number(count) => Some(Self(count)),
            Written::Text(text) => Self::parse(&text),
        };
        count.ok_or_else(|| de::Error::custom("expected a size such as 65536, \"512KiB\" or \"16MiB\""))
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "period", "description": "A duration: 250ms, 30s, 5m, 1h 30m.", "examples": ["30s"]})
    }
}

impl JsonSchema for ByteCount {
    fn schema_name() -> Cow<'static, str> {
        "ByteCount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "format": "byte-count", "minimum": 0, "description": "A size: 65536, 512KiB, 16MiB.", "examples": ["16MiB"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_as_people_write_them() {
        assert_eq!(ByteCount::parse("16MiB"), Some(ByteCount(16 << 20)));
        assert_eq!(ByteCount::parse("16 MB"), Some(ByteCount(16_000_000)));
        assert_eq!(ByteCount::parse("65536"), Some(ByteCount(65_536)));
        for wrong in ["", "MiB", "1.5MiB", "-1", "16 mib", "99999999999999999999", "18446744073709551615KiB"] {
            assert_eq!(ByteCount::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Period::parse("1m 30s"), Some(Period::seconds(90)));
        assert_eq!(Period::parse("30"), None);
    }
}
