//! Whether a run keeps account of what the rules do not explain.

use schemars::JsonSchema;
use serde::Deserialize;

/// Whether a run keeps account of the changes that fired no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CoverageSetting {
    /// Changes that no rule can fire on need not leave the server.
    #[default]
    Off,
    /// Every change of what is watched is read, and `/coverage` tells by collection and shape which of them fired no rule.
    On,
    /// The same without transitions of fields, so that no value of a document is kept.
    Paths,
}

impl CoverageSetting {
    /// True if it is switched on.
    pub fn is_on(self) -> bool {
        self != Self::Off
    }

    /// True if transitions of fields are kept.
    pub fn has_values(self) -> bool {
        self == Self::On
    }
}
