//! What a database would need before changeling can read it well: what `changeling check` prints.

use std::error::Error;
use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;

use super::{ChangeStreamSource, Target, failure, oplog};
use crate::mongo_client::{DatabaseError, Deployment, DeploymentKind, ErrorClass, Version};
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
    fn ok(text: impl Into<String>) -> Self {
        Self { grade: Grade::Ok, text: text.into(), help: None, collection: None }
    }

    fn warning(text: impl Into<String>, help: impl Into<String>) -> Self {
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
struct User {
    name: String,
    database: String,
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
        findings.extend(image_findings(source, &deployment, needs).await);
    }
    findings.push(oplog_finding(source, &deployment, &user).await);
    findings
}

/// What of that is missing of the images that the rules need; nothing is opened.
///
/// # Errors
/// If the server can not be asked, or is none that a source can read.
pub async fn missing_images(
    source: &mut ChangeStreamSource,
    needs: &(dyn Fn(&Namespace) -> ImageNeeds + Send + Sync),
) -> Result<Vec<Finding>, SourceError> {
    if source.plan.images() == ImageNeeds::default() {
        return Ok(Vec::new());
    }
    let deployment = source.facts().await?.clone();
    let mut findings = image_findings(source, &deployment, needs).await;
    findings.retain(|finding| finding.grade != Grade::Ok);
    Ok(findings)
}

// `&mut`, here and below, although nothing changes: an open cursor is `Send` and not `Sync`, and whoever asks must be free to
// do so in a task.
async fn user(source: &mut ChangeStreamSource) -> User {
    let status = source.client.database("admin").run_command(doc! {"connectionStatus": 1}).await.ok();
    let found = status.as_ref().and_then(|status| {
        let users = status.get_document("authInfo").ok()?.get_array("authenticatedUsers").ok()?;
        let user = users.first()?.as_document()?;
        Some(User { name: user.get_str("user").ok()?.to_owned(), database: user.get_str("db").ok()?.to_owned() })
    });
    found.unwrap_or_else(|| User { name: "<user>".to_owned(), database: "admin".to_owned() })
}

fn grant(user: &User, role: &str, database: &str) -> String {
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

async fn image_findings(
    source: &mut ChangeStreamSource,
    deployment: &Deployment,
    needs: &(dyn Fn(&Namespace) -> ImageNeeds + Send + Sync),
) -> Vec<Finding> {
    if deployment.version < Version::WITH_IMAGES {
        let text = "the server keeps no images of documents before and after a change; rules that need them are undecided, or look the document up";
        return vec![Finding::warning(text, "upgrade MongoDB to 6.0 or later")];
    }
    let collections = match collections(source).await {
        Ok(collections) => collections,
        Err(error) => {
            let text = format!("the options of the collections can not be read: {error}");
            return vec![Finding::warning(text, "the role \"read\" on their database permits it")];
        }
    };
    let mut findings = Vec::new();
    let mut with_images = 0;
    for (namespace, has_images) in collections {
        let needed = needs(&namespace);
        if needed == ImageNeeds::default() {
            continue;
        }
        match has_images {
            Some(true) => with_images += 1,
            Some(false) => {
                findings.push(Finding { collection: Some(namespace.clone()), ..without_images(&namespace, needed) });
            }
            None => findings.push(Finding { collection: Some(namespace.clone()), ..absent(&namespace) }),
        }
    }
    if with_images > 0 {
        findings.insert(0, Finding::ok(format!("{with_images} collections keep the images that rules need")));
    }
    findings
}

fn without_images(namespace: &Namespace, needed: ImageNeeds) -> Finding {
    let effect = match needed.before {
        true => "conditions on the document before a change are undecided",
        false => "the document after an update is looked up, and may be a later one",
    };
    let Namespace { database, collection } = namespace;
    Finding::warning(
        format!("{namespace} keeps no images: {effect}"),
        format!(
            "db.getSiblingDB({}).runCommand({{collMod: {}, changeStreamPreAndPostImages: {{enabled: true}}}})",
            quoted(database),
            quoted(collection)
        ),
    )
}

fn absent(namespace: &Namespace) -> Finding {
    let Namespace { database, collection } = namespace;
    Finding::warning(
        format!("{namespace} does not exist yet, and will keep no images unless it is made with them"),
        format!(
            "db.getSiblingDB({}).createCollection({}, {{changeStreamPreAndPostImages: {{enabled: true}}}})",
            quoted(database),
            quoted(collection)
        ),
    )
}

/// As a string of JavaScript, for mongosh.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The collections in scope and whether they keep images; `None` for one that is named and does not exist.
async fn collections(source: &mut ChangeStreamSource) -> Result<Vec<(Namespace, Option<bool>)>, DatabaseError> {
    let databases = match source.plan.scope().target() {
        Target::Collection(namespace) => vec![namespace.database.clone()],
        Target::Database(database) => vec![database.clone()],
        Target::Deployment => {
            let names = source.client.list_database_names().authorized_databases(true).await;
            let names = names.map_err(|error| DatabaseError::new(&error))?;
            names.into_iter().filter(|name| !["admin", "config", "local"].contains(&name.as_str())).collect()
        }
    };
    let mut found = Vec::new();
    for database in databases {
        let listed = list(source, &database).await?;
        found.extend(
            listed.into_iter().map(|(collection, has_images)| {
                (Namespace { database: database.clone(), collection }, Some(has_images))
            }),
        );
    }
    for named in source.plan.scope().named() {
        if !found.iter().any(|(namespace, _)| namespace == named) {
            found.push((named.clone(), None));
        }
    }
    found.retain(|(namespace, _)| source.plan.scope().may_cover(namespace));
    found.sort();
    Ok(found)
}

async fn list(source: &mut ChangeStreamSource, database: &str) -> Result<Vec<(String, bool)>, DatabaseError> {
    let told = |error: mongodb::error::Error| DatabaseError::new(&error);
    let command = doc! {"listCollections": 1, "filter": {"type": "collection"}};
    let listed = source.client.database(database).run_cursor_command(command).await.map_err(told)?;
    let listed: Vec<Document> = listed.try_collect().await.map_err(told)?;
    let collection = |entry: &Document| {
        let name = entry.get_str("name").ok().filter(|name| !name.starts_with("system."))?;
        let images = entry
            .get_document("options")
            .ok()
            .and_then(|options| options.get_document("changeStreamPreAndPostImages").ok());
        let has_images = images.is_some_and(|images| images.get_bool("enabled").unwrap_or(false));
        Some((name.to_owned(), has_images))
    };
    Ok(listed.iter().filter_map(collection).collect())
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
