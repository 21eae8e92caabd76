//! What a tape says of itself.

use bson::{Document, RawDocumentBuf, doc};
use sha2::{Digest, Sha256};

/// What a tape says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct TapeHeader {
    /// The version of changeling that recorded it.
    pub version: String,
    /// The name of the connector whose configuration was used.
    pub name: String,
    /// What was watched, as in a checkpoint.
    pub scope: String,
    /// Tells one deployment from another without naming it.
    pub deployment: String,
    /// When the recording began.
    pub created_at: bson::DateTime,
    /// Documents before a change were asked for.
    pub has_before: bool,
    /// Documents after a change were asked for.
    pub has_after: bool,
    /// Documents that the rules asked for were looked up.
    pub has_look_ups: bool,
}

impl TapeHeader {
    /// The name by which a tape knows a deployment: a hash, since the identity may name hosts.
    pub fn deployment_of(identity: &str) -> String {
        Sha256::digest(identity.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let document = doc! {
            "changeling": &self.version, "name": &self.name, "scope": &self.scope, "deployment": &self.deployment,
            "createdAt": self.created_at,
            "images": {"before": self.has_before, "after": self.has_after, "lookUps": self.has_look_ups},
        };
        // Only a name with a zero byte could fail, and all names are ours.
        RawDocumentBuf::try_from(&document).map(RawDocumentBuf::into_bytes).unwrap_or_default()
    }

    /// Nothing if a field is absent. Unknown fields are left alone.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let document: Document = bson::deserialize_from_slice(bytes).ok()?;
        let text = |name: &str| document.get_str(name).ok().map(str::to_owned);
        let images = document.get_document("images").ok()?;
        let has = |name: &str| images.get_bool(name).unwrap_or_default();
        Some(Self {
            version: text("changeling")?,
            name: text("name")?,
            scope: text("scope")?,
            deployment: text("deployment")?,
            created_at: *document.get_datetime("createdAt").ok()?,
            has_before: has("before"),
            has_after: has("after"),
            has_look_ups: has("lookUps"),
        })
    }
}
