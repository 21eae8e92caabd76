//! What is at the other end of the connection.

use std::fmt;

use bson::{Document, doc};
use mongodb::Client;

use super::DatabaseError;
use crate::position::ClusterTime;

/// The version of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// As in 6.0.
    pub major: u32,
    /// As in 6.0.
    pub minor: u32,
    /// The number after them.
    pub patch: u32,
}

impl Version {
    /// The first version whose change streams give images of documents before and after a change.
    pub const WITH_IMAGES: Self = Self { major: 6, minor: 0, patch: 0 };
    /// The first version that changeling works with (`startAfter`, post-batch resume tokens).
    pub const OLDEST: Self = Self { major: 4, minor: 2, patch: 0 };

    /// Reads `6.0.5` or `7.1.0-rc0`; what is missing is 0.
    pub fn parse(text: &str) -> Self {
        let mut numbers = text.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self { major: next(), minor: next(), patch: next() }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// How the servers of a deployment belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeploymentKind {
    /// A replica set; one node is enough.
    ReplicaSet {
        /// Its name.
        name: String,
    },
    /// A sharded cluster, reached through `mongos`.
    Sharded,
    /// A single server without a replica set: it has no oplog, so nothing can be read from it.
    Standalone,
}

/// The deployment at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Says which deployment it is: `replica-set rs0 65a0...`, `sharded 65a0...`; without the id where we may not read it.
    pub identity: String,
    /// True if the identity has no id of the deployment, so that another one of the same name looks the same.
    pub is_identity_weak: bool,
    /// The version of the server that answered.
    pub version: Version,
    /// How its servers belong together.
    pub kind: DeploymentKind,
    /// The newest operation that the answering server knew of; absent on a standalone.
    pub time: Option<ClusterTime>,
}

impl Deployment {
    /// Asks the server (`hello`, `buildInfo`, and what it permits of `replSetGetConfig` or `config.version`).
    pub async fn find(client: &Client) -> Result<Self, DatabaseError> {
        let admin = client.database("admin");
        let run =
            async |command: Document| admin.run_command(command).await.map_err(|error| DatabaseError::new(&error));
        let hello = match run(doc! {"hello": 1}).await {
            Ok(hello) => hello,
            // Servers before 4.4.2 know it by its old name only.
            Err(error) if error.code() == Some(59) => run(doc! {"isMaster": 1}).await?,
            Err(error) => return Err(error),
        };
        let build = run(doc! {"buildInfo": 1}).await?;
        let version = Version::parse(build.get_str("version").unwrap_or_default());
        let kind = match (hello.get_str("setName"), hello.get_str("msg")) {
            (Ok(name), _) => DeploymentKind::ReplicaSet { name: name.to_owned() },
            (Err(_), Ok("isdbgrid")) => DeploymentKind::Sharded,
            (Err(_), _) => DeploymentKind::Standalone,
        };
        let id = match &kind {
            DeploymentKind::ReplicaSet { .. } => replica_set_id(client).await,
            DeploymentKind::Sharded => cluster_id(client).await,
            DeploymentKind::Standalone => None,
        };
        let time = hello.get_timestamp("operationTime").ok().map(ClusterTime::from);
        Ok(Self { identity: identity(&kind, id.as_deref()), is_identity_weak: id.is_none(), version, kind, time })
    }
}

fn identity(kind: &DeploymentKind, id: Option<&str>) -> String {
    let name = match kind {
        DeploymentKind::ReplicaSet { name } => format!("replica-set {name}"),
        DeploymentKind::Sharded => "sharded".to_owned(),
        DeploymentKind::Standalone => "standalone".to_owned(),
    };
    match id {
        Some(id) => format!("{name} {id}"),
        None => name,
    }
}

/// The id that the replica set got when it was initiated. A refusal is no error: most users may not read it.
async fn replica_set_id(client: &Client) -> Option<String> {
    let id_of = |config: &Document| config.get_document("settings").ok()?.get_object_id("replicaSetId").ok();
    if let Ok(reply) = client.database("admin").run_command(doc! {"replSetGetConfig": 1}).await
        && let Some(id) = reply.get_document("config").ok().and_then(id_of)
    {
        return Some(id.to_hex());
    }
    let saved = client.database("local").collection::<Document>("system.replset").find_one(doc! {}).await;
    saved.ok().flatten().as_ref().and_then(id_of).map(|id| id.to_hex())
}

async fn cluster_id(client: &Client) -> Option<String> {
    let version = client.database("config").collection::<Document>("version").find_one(doc! {}).await;
    version.ok().flatten()?.get_object_id("clusterId").ok().map(|id| id.to_hex())
}

/// True if two identities may name the same deployment: equal, or equal but for an id that one of them could not read
/// (permissions come and go; that must not make a checkpoint useless).
pub fn is_same_deployment(one: &str, other: &str) -> bool {
    let extends = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.starts_with(' ') && !rest[1..].contains(' '))
    };
    let is_named = |identity: &str| identity.starts_with("sharded") || identity.starts_with("replica-set ");
    one == other || (is_named(one) && is_named(other) && (extends(one, other) || extends(other, one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered() {
        assert_eq!(Version::parse("7.1.0-rc0"), Version { major: 7, minor: 1, patch: 0 });
        assert!(Version::parse("5.0.31") < Version::WITH_IMAGES);
        assert!(Version::parse("10.0.0") > Version::WITH_IMAGES);
        assert_eq!(Version::parse("").to_string(), "0.0.0");
    }

    #[test]
    fn a_lost_or_gained_permission_does_not_make_another_deployment() {
        let rs0 = |id| identity(&DeploymentKind::ReplicaSet { name: "rs0".to_owned() }, id);
        assert!(is_same_deployment(&rs0(Some("aa")), &rs0(Some("aa"))));
        assert!(is_same_deployment(&rs0(Some("aa")), &rs0(None)));
        assert!(is_same_deployment(&rs0(None), &rs0(Some("aa"))));
        assert!(!is_same_deployment(&rs0(Some("aa")), &rs0(Some("bb"))));
        assert!(!is_same_deployment(&rs0(None), "replica-set rs1"));
        assert!(!is_same_deployment(&rs0(None), "replica-set rs01"));
        assert!(is_same_deployment("sharded", "sharded aa"));
        assert!(!is_same_deployment("sharded", &rs0(None)));
        assert!(!is_same_deployment("tape", "tape aa"));
    }
}
