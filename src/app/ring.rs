//! A ring that only the servers can show: a sink's own connection string that leads, under another name, to the very deployment
//! that is watched.

use crate::config::Config;
use crate::mongo_client::{self, Deployment};
use crate::namespace::Namespace;
use crate::rules::RuleSet;
use crate::sink::{MongodbSettings, SinkSettings};

/// A sink that writes what is read, so that its events would make events, without end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    /// The name of the sink.
    pub(super) sink: String,
    /// The collection.
    pub(super) collection: Namespace,
}

/// The first sink that closes a ring with the deployment of this identity. A server that can not be asked, or does not say which
/// deployment it is, shows none.
pub(super) async fn find(config: &Config, rules: &RuleSet, deployment: &str) -> Option<Ring> {
    let patterns = rules.namespaces();
    let is_read = |one: &Namespace| {
        config.explicit.iter().any(|relay| relay.collection() == one)
            || patterns.iter().any(|pattern| pattern.matches(&one.database, &one.collection))
    };
    for (sink, settings) in &config.sinks {
        let SinkSettings::Mongodb(MongodbSettings { collection, uri: Some(uri) }) = settings else { continue };
        if *uri == config.source.uri || !is_read(collection) {
            continue;
        }
        let Ok(client) = mongo_client::connect(uri).await else { continue };
        let Ok(found) = Deployment::find(&client).await else { continue };
        if found.identity == deployment && !found.is_identity_weak {
            return Some(Ring { sink: sink.clone(), collection: collection.clone() });
        }
    }
    None
}
