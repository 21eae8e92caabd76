//! Changes from MongoDB's change streams, in raw batches as they arrive.

mod command;
mod failure;
mod fragments;
mod look_up;
mod oplog;
mod plan;
mod probe;
mod reply;
mod scope;
mod stream;

use std::sync::Arc;

use async_trait::async_trait;
use mongodb::Client;

use crate::change::Batch;
use crate::metrics::Metrics;
use crate::mongo_client::{Deployment, DeploymentKind, Version};
use crate::position::{ClusterTime, Start};
use crate::rules::ImageNeeds;
use crate::source::{Observer, Source, SourceError, SourceSettings, Wants};

use stream::Stream;

pub use plan::Plan;
pub use probe::{Finding, Grade, missing_images, probe};
pub use scope::{Scope, Target};

/// Reads change streams by a plan.
pub struct ChangeStreamSource {
    client: Client,
    settings: SourceSettings,
    plan: Plan,
    metrics: Arc<Metrics>,
    deployment: Option<Deployment>,
    stream: Stream,
    looker: look_up::Looker,
}

impl std::fmt::Debug for ChangeStreamSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ChangeStreamSource").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl ChangeStreamSource {
    /// A source that is not open yet.
    pub fn new(client: Client, settings: &SourceSettings, plan: Plan, metrics: Arc<Metrics>) -> Self {
        let stream = stream(&client, settings, &plan, &metrics);
        Self {
            client,
            settings: settings.clone(),
            plan,
            metrics,
            deployment: None,
            stream,
            looker: look_up::Looker::default(),
        }
    }

    /// The deployment, asked for once.
    async fn facts(&mut self) -> Result<&Deployment, SourceError> {
        if self.deployment.is_none() {
            let found = Deployment::find(&self.client).await;
            let found = found.map_err(|error| failure::source_error(error, self.plan.scope(), None, None))?;
            check(&found)?;
            if found.version < Version::WITH_IMAGES && self.plan.images() != ImageNeeds::default() {
                tracing::warn!(
                    version = %found.version,
                    "the server keeps no images of documents before and after a change (they come with version 6.0); rules that need them are undecided"
                );
            }
            self.deployment = Some(found);
        }
        self.deployment.as_ref().ok_or(SourceError::Closed)
    }

    /// The newest operation that the server knew of when it was first asked.
    ///
    /// # Errors
    /// If it can not be asked, or has no change streams.
    pub async fn operation_time(&mut self) -> Result<Option<ClusterTime>, SourceError> {
        Ok(self.facts().await?.time)
    }
}

fn stream(client: &Client, settings: &SourceSettings, plan: &Plan, metrics: &Arc<Metrics>) -> Stream {
    let SourceSettings { batch_size, await_time, .. } = settings;
    Stream::new(client.clone(), plan.streams()[0].clone(), *batch_size, await_time.0, metrics.clone())
}

/// Refuses what has no change streams that could be resumed.
fn check(deployment: &Deployment) -> Result<(), SourceError> {
    if deployment.kind == DeploymentKind::Standalone {
        return Err(SourceError::Standalone);
    }
    if deployment.version < Version::OLDEST {
        return Err(SourceError::TooOld { found: deployment.version, oldest: Version::OLDEST });
    }
    Ok(())
}

#[async_trait]
impl Source for ChangeStreamSource {
    async fn open(&mut self, start: &Start) -> Result<(), SourceError> {
        self.stream.close();
        let version = self.facts().await?.version;
        self.stream.has_images = version >= Version::WITH_IMAGES;
        self.stream.open(start).await
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        let mut batch = self.stream.next().await?;
        // Of two shards one may have sent its part of a transaction, and the other not yet.
        batch.leaves_nothing &= self.deployment.as_ref().is_none_or(|found| found.kind != DeploymentKind::Sharded);
        Ok(batch)
    }

    async fn look_up(&mut self, batch: &mut Batch, wants: &Wants<'_>) -> Result<usize, SourceError> {
        let mut counts = look_up::Counts::default();
        let looked_up = self.looker.look_up(&self.client, batch, wants, &mut counts).await;
        for (outcome, count) in [("found", counts.found), ("gone", counts.gone)] {
            if count > 0 {
                self.metrics.look_ups.with_label_values(&[outcome]).inc_by(count);
            }
        }
        looked_up.map_err(|error| self.stream.error(error, None))
    }

    fn adopt(&mut self, plan: &Plan) -> bool {
        if self.plan == *plan {
            return false;
        }
        self.plan = plan.clone();
        self.stream = stream(&self.client, &self.settings, plan, &self.metrics);
        true
    }

    async fn deployment(&mut self) -> Result<String, SourceError> {
        Ok(self.facts().await?.identity.clone())
    }

    fn scope(&self) -> String {
        self.plan.fingerprint()
    }

    fn observer(&self) -> Option<Arc<dyn Observer>> {
        Some(Arc::new(oplog::OplogObserver { client: self.client.clone() }))
    }
}
