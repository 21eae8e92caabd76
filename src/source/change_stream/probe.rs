//! What a database would need before changeling can read it well: what `changeling check` prints.

use std::error::Error;
use std::time::Duration;

use bson::doc;

use super::{ChangeStreamSource, failure, images, oplog};
use crate::mongo_client::{Deployment, DeploymentKind, ErrorClass};
use crate::namespace::Namespace;
use crate::position::Start;
use crate::rules::ImageNeeds;
use crate::source::{Observer, Source, SourceError};

/// How good or bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could.
    Warning,
    /// It does not work like this.
    Problem,
}

/// One fact about the database, and the way out if it is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How good or bad it is.
    pub grade: Grade,
    /// What was found.
    pub text: String,
    /// The command or setting that makes it right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The collection that it is about, if it is about the images of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<Namespace>,
}

impl Finding {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self { grade: Grade::Ok, text: text.into(), help: None, collection: None }
    }

    pub(super) fn warning(text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { grade: Grade::Warning, text: text.into(), help: Some(help.into()), collection: None }
    }

    /// An error with its causes; its help becomes the finding's.
    fn problem(error: &SourceError) -> Self {
        let own = error.to_string();
        let (own, help) = match own.split_once("\nhelp: ") {
            Some((own, help)) => (own.to_owned(), Some(help.to_owned())),
            None => (own, None),
        };
        let mut text = own;
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self { grade: Grade::Problem, text, help, collection: None }
    }
}

/// The user we are logged in as, for commands that can be pasted.
pub(super) struct User {
    pub name: String,
    pub database: String,
}

/// Asks the database everything that `source` depends on, and really opens the stream. `needs` tells the images that the rules
/// need of a collection. The source is left closed.
pub async fn probe(
    source: &mut ChangeStreamSource,
    needs: &(dyn Fn(&Namespace) -> ImageNeeds + Send + Sync),
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let deployment = match source.facts().await {
        Ok(deployment) => deployment.clone(),
        Err(error) => return vec![Finding::problem(&error)],
    };
    let user = user(source).await;
    findings.extend(deployment_findings(&deployment, &user));
    findings.push(stream_finding(source, &user).await);
    if source.plan.images() != ImageNeeds::default() {
        findings.extend(images::findings(source, &deployment, needs).await);
    }
    findings.push(oplog_finding(source, &deployment, &user).await);
    findings
}

// `&mut`, here and below, although nothing changes: an open cursor is `Send` and not `Sync`, and whoever asks must be free to
// do so in a task.
pub(super) async fn user(source: &mut ChangeStreamSource) -> User {
    let status = source.client.database("admin").run_command(doc! {"connectionStatus": 1}).await.ok();
    let found = status.as_ref().and_then(|status| {
        let users = status.get_document("authInfo").ok()?.get_array("authenticatedUsers").ok()?;
        let user = users.first()?.as_document()?;
        Some(User { name: user.get_str("user").ok()?.to_owned(), database: user.get_str("db").ok()?.to_owned() })
    });
    found.unwrap_or_else(|| User { name: "<user>".to_owned(), database: "admin".to_owned() })
}

pub(super) fn grant(user: &User, role: &str, database: &str) -> String {
    let User { name, database: home } = user;
    format!("db.getSiblingDB(\"{home}\").grantRolesToUser(\"{name}\", [{{role: \"{role}\", db: \"{database}\"}}])")
}

fn deployment_findings(deployment: &Deployment, user: &User) -> Vec<Finding> {
    let kind = match &deployment.kind {
        DeploymentKind::ReplicaSet { name } => format!("the replica set {name}"),
        DeploymentKind::Sharded => "a sharded cluster".to_owned(),
        DeploymentKind::Standalone => "a standalone server".to_owned(),
    };
    let mut findings = vec![Finding::ok(format!("MongoDB {} answers, {kind}", deployment.version))];
    if deployment.is_identity_weak {
        findings.push(Finding::warning(
            "the id of the deployment may not be read, so that a checkpoint of another one of the same name would not be noticed",
            format!("grant it: {}", grant(user, "clusterMonitor", "admin")),
        ));
    }
    findings
}

async fn stream_finding(source: &mut ChangeStreamSource, user: &User) -> Finding {
    let opened = match source.open(&Start::Now).await {
        Ok(()) => source.next().await.map(drop),
        Err(error) => Err(error),
    };
    source.merge.close();
    match opened {
        Ok(()) => Finding::ok(format!("the change stream of {} can be read", source.plan.scope().target())),
        Err(error @ SourceError::Unauthorized { .. }) => Finding {
            help: Some(failure::grant(source.plan.scope().target(), &user.name, &user.database)),
            ..Finding::problem(&error)
        },
        Err(error) => Finding::problem(&error),
    }
}

async fn oplog_finding(source: &mut ChangeStreamSource, deployment: &Deployment, user: &User) -> Finding {
    if deployment.kind == DeploymentKind::Sharded {
        return Finding::ok(
            "behind mongos the oplog is not visible; `start: beginning` and the oplog's runway are not available",
        );
    }
    match oplog::oldest(&source.client).await {
        Ok(_) => {
            let window = oplog::OplogObserver { client: source.client.clone() }.window().await;
            let seconds = window.map_or(0, |window| window.last.seconds.saturating_sub(window.first.seconds));
            let period = humantime::format_duration(Duration::from_secs(u64::from(seconds)));
            Finding::ok(format!("the oplog holds the changes of the last {period}"))
        }
        Err(error) => {
            let text = format!(
                "the oplog may not be read ({error}): the time until a position is lost is not known, and `start: beginning` is not possible"
            );
            let help = match error.class() {
                ErrorClass::Unauthorized => format!("grant it: {}", grant(user, "read", "local")),
                ErrorClass::Unreachable
                | ErrorClass::Interrupted
                | ErrorClass::Authentication
                | ErrorClass::Refused
                | ErrorClass::Client => "everything else works without it".to_owned(),
            };
            Finding::warning(text, help)
        }
    }
}
