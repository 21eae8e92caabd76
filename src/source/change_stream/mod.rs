//! Changes from MongoDB's change streams, in raw batches as they arrive.

mod command;
mod failure;
mod fragments;
mod images;
mod look_up;
mod merge;
mod oplog;
mod plan;
mod probe;
mod push_down;
mod reply;
mod scope;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::Client;

use crate::change::Batch;
use crate::metrics::Metrics;
use crate::mongo_client::{Deployment, DeploymentKind, Version};
use crate::position::{ClusterTime, Start};
use crate::rules::ImageNeeds;
use crate::source::{Observer, Source, SourceError, SourceSettings, Wants};

use merge::Merge;
use stream::Stream;

pub use images::{KeptImages, enable_images, kept_images, missing_images};
pub use plan::{Plan, StreamPlan};
pub use probe::{Finding, Grade, probe};
pub use scope::{Scope, Target};

/// A change of one stream waits for the other's answer, so that none may be long in coming.
const MERGED_AWAIT_TIME: Duration = Duration::from_millis(50);

/// Reads change streams by a plan.
pub struct ChangeStreamSource {
    client: Client,
    settings: SourceSettings,
    /// The plan as it was asked for.
    asked: Plan,
    /// The plan as the deployment permits it.
    plan: Plan,
    metrics: Arc<Metrics>,
    deployment: Option<Deployment>,
    merge: Merge,
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
        let merge = merge(&client, settings, &plan, &metrics);
        Self {
            client,
            settings: settings.clone(),
            asked: plan.clone(),
            plan,
            metrics,
            deployment: None,
            merge,
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
            self.fit_plan();
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

    /// One stream is enough where there are no images, and several can only be merged on a replica set.
    fn fit_plan(&mut self) {
        let Some(Deployment { kind, version, .. }) = &self.deployment else { return };
        let is_fit = *version >= Version::WITH_IMAGES && matches!(kind, DeploymentKind::ReplicaSet { .. });
        if !is_fit && self.plan.streams().len() > 1 {
            tracing::info!("reading by one change stream: several are merged only on a replica set that keeps images");
            self.plan = self.asked.in_one_stream();
            self.merge = merge(&self.client, &self.settings, &self.plan, &self.metrics);
        }
    }
}

fn merge(client: &Client, settings: &SourceSettings, plan: &Plan, metrics: &Arc<Metrics>) -> Merge {
    let await_time = match plan.streams().len() {
        1 => settings.await_time.0,
        _ => settings.await_time.0.min(MERGED_AWAIT_TIME),
    };
    let stream = |stream: &StreamPlan| {
        Stream::new(client.clone(), stream.clone(), settings.batch_size, await_time, metrics.clone())
    };
    Merge::new(plan.streams().iter().map(stream).collect())
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
        self.merge.close();
        let version = self.facts().await?.version;
        self.merge.open(start, version >= Version::WITH_IMAGES).await
    }

    async fn next(&mut self) -> Result<Batch, SourceError> {
        let mut batch = self.merge.next().await?;
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
        looked_up.map_err(|error| self.merge.error(error))
    }

    fn adopt(&mut self, plan: &Plan) -> bool {
        if self.asked == *plan {
            return false;
        }
        (self.asked, self.plan) = (plan.clone(), plan.clone());
        self.merge = merge(&self.client, &self.settings, plan, &self.metrics);
        self.fit_plan();
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
