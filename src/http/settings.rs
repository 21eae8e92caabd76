//! What a configuration says about the HTTP server.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// The HTTP server for metrics and health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Where `/metrics`, `/healthz` and `/readyz` are served: `host:port`, port 0 for any free one; or `off`.
    pub listen: Listen,
}

/// An address to listen on, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nothing is served.
    Off,
    /// `host:port`.
    At(String),
}

impl Listen {
    /// Reads `off` or `host:port`; `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(Self::Off);
        }
        let (host, port) = text.rsplit_once(':')?;
        let bare_version_6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        (!host.is_empty() && !bare_version_6 && port.parse::<u16>().is_ok()).then(|| Self::At(text.to_owned()))
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self::At("127.0.0.1:9464".to_owned())
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("expected \"host:port\" or \"off\""))
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "listen",
            "description": "host:port, or off.",
            "examples": ["127.0.0.1:9464", "off"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        for good in ["127.0.0.1:9464", "localhost:0", "[::1]:9464", "0.0.0.0:80"] {
            assert_eq!(Listen::parse(good), Some(Listen::At(good.to_owned())));
        }
        assert_eq!(Listen::parse("off"), Some(Listen::Off));
        for bad in ["", "9464", ":9464", "localhost", "::1:9464", "127.0.0.1:99999", "127.0.0.1:http", "Off"] {
            assert_eq!(Listen::parse(bad), None, "{bad}");
        }
    }
}
