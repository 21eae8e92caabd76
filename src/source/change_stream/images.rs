//! The images of documents that collections keep: which do, what is missing of those that rules need, and how they are switched on.

use bson::{Document, doc};
use futures_util::TryStreamExt;

use super::probe::{Finding, Grade, grant, user};
use super::{ChangeStreamSource, Target};
use crate::mongo_client::{DatabaseError, Deployment, ErrorClass, Version};
use crate::namespace::Namespace;
use crate::rules::ImageNeeds;
use crate::source::SourceError;

/// Whether a collection keeps images of its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptImages {
    /// The collection.
    pub collection: Namespace,
    /// Absent if the collection does not exist.
    pub are_kept: Option<bool>,
}

impl KeptImages {
    /// The command that makes the collection keep them, for mongosh; absent if it does.
    pub fn command(&self) -> Option<String> {
        match self.are_kept {
            Some(true) => None,
            Some(false) => Some(enabling(&self.collection)),
            None => Some(creating(&self.collection)),
        }
    }
}

/// Of every collection that is read, whether it keeps images.
///
/// # Errors
/// If the server can not be asked, or does not let us see the collections.
pub async fn kept_images(source: &mut ChangeStreamSource) -> Result<Vec<KeptImages>, SourceError> {
    source.facts().await?;
    let found = collections(source).await;
    let found = found.map_err(|error| source.merge.error(error))?;
    Ok(found.into_iter().map(|(collection, are_kept)| KeptImages { collection, are_kept }).collect())
}

/// Makes collections keep images from now on. Where they do already, nothing changes.
///
/// # Errors
/// If the server refuses it: with the role that permits it.
pub async fn enable_images(source: &mut ChangeStreamSource, collections: &[Namespace]) -> Result<(), SourceError> {
    for namespace in collections {
        let command = doc! {"collMod": &namespace.collection, "changeStreamPreAndPostImages": {"enabled": true}};
        let told = source.client.database(&namespace.database).run_command(command).await;
        if let Err(error) = told.map_err(|error| DatabaseError::new(&error)) {
            if error.class() != ErrorClass::Unauthorized {
                return Err(source.merge.error(error));
            }
            let user = user(source).await;
            return Err(SourceError::Unauthorized {
                what: format!("switching on the images of {namespace} (source.images: enable)"),
                help: format!("grant it: {}", grant(&user, "dbAdmin", &namespace.database)),
                source: error,
            });
        }
        tracing::info!(collection = %namespace, "the collection keeps images of its documents from now on");
    }
    Ok(())
}

/// What is missing of the images that the rules need; nothing is opened.
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
    let mut found = findings(source, &deployment, needs).await;
    found.retain(|finding| finding.grade != Grade::Ok);
    Ok(found)
}

/// What there is to say of the images that the rules need. `needs` tells those of a collection.
pub(super) async fn findings(
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
    Finding::warning(format!("{namespace} keeps no images: {effect}"), enabling(namespace))
}

fn absent(namespace: &Namespace) -> Finding {
    let text = format!("{namespace} does not exist yet, and will keep no images unless it is made with them");
    Finding::warning(text, creating(namespace))
}

/// The command that makes a collection keep images, for mongosh.
fn enabling(Namespace { database, collection }: &Namespace) -> String {
    let (database, collection) = (quoted(database), quoted(collection));
    format!(
        "db.getSiblingDB({database}).runCommand({{collMod: {collection}, changeStreamPreAndPostImages: {{enabled: true}}}})"
    )
}

/// The command that makes a collection that keeps images, for mongosh.
fn creating(Namespace { database, collection }: &Namespace) -> String {
    let (database, collection) = (quoted(database), quoted(collection));
    format!(
        "db.getSiblingDB({database}).createCollection({collection}, {{changeStreamPreAndPostImages: {{enabled: true}}}})"
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
