//! What a configuration says about parity.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::quantity::Period;

/// How inferred and explicit events are compared.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParitySettings {
    /// How far apart, by the clock of the database, an inferred and an explicit event may be that are not of one transaction.
    pub window: Period,
    /// What an explicit type is called by the rules, where that is something else: `{order.paid: OrderPaid}`.
    pub types: BTreeMap<String, String>,
    /// Dotted paths of the data that may differ.
    pub ignore: Vec<String>,
}

impl Default for ParitySettings {
    fn default() -> Self {
        Self { window: Period::seconds(30), types: BTreeMap::new(), ignore: Vec::new() }
    }
}
