//! The command that opens a stream.

use bson::{Bson, Document, RawDocumentBuf, doc};

use super::plan::StreamPlan;
use super::scope::{Scope, Target};
use crate::position::ClusterTime;
use crate::rules::ImageNeeds;

/// Where a stream is opened, in the server's own terms.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OpenAt {
    /// With the next change.
    Now,
    /// At a cluster time, inclusive.
    Time(ClusterTime),
    /// After the change or high-water mark of a token.
    After(RawDocumentBuf),
    /// After an `invalidate`.
    AfterInvalidate(RawDocumentBuf),
}

/// The database to run the command in.
pub(super) fn database(scope: &Scope) -> &str {
    match scope.target() {
        Target::Collection(namespace) => &namespace.database,
        Target::Database(database) => database,
        Target::Deployment => "admin",
    }
}

/// The `aggregate` command. Its first batch is empty by request, so that opening never waits for a scan of the oplog.
pub(super) fn aggregate(plan: &StreamPlan, at: &OpenAt, images: ImageNeeds, is_splitting: bool) -> Document {
    let mut stage = Document::new();
    // Never `required`: one collection without images would end the stream for all.
    if images.after {
        stage.insert("fullDocument", "whenAvailable");
    }
    if images.before {
        stage.insert("fullDocumentBeforeChange", "whenAvailable");
    }
    match at {
        OpenAt::Now => {}
        OpenAt::Time(time) => drop(stage.insert("startAtOperationTime", bson::Timestamp::from(*time))),
        OpenAt::After(token) => drop(stage.insert("resumeAfter", to_bson(token))),
        OpenAt::AfterInvalidate(token) => drop(stage.insert("startAfter", to_bson(token))),
    }
    let collection = match plan.scope.target() {
        Target::Collection(namespace) => Bson::String(namespace.collection.clone()),
        Target::Database(_) => Bson::Int32(1),
        Target::Deployment => {
            stage.insert("allChangesForCluster", true);
            Bson::Int32(1)
        }
    };
    let mut pipeline = vec![doc! {"$changeStream": stage}];
    pipeline.extend(plan.stages());
    if is_splitting {
        pipeline.push(doc! {"$changeStreamSplitLargeEvent": {}});
    }
    doc! {"aggregate": collection, "pipeline": pipeline, "cursor": {"batchSize": 0}}
}

/// A token that cannot be read is sent as an empty one, which the server refuses.
fn to_bson(token: &RawDocumentBuf) -> Document {
    Document::try_from(token.as_ref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{NamespacePattern, PushDown};

    #[test]
    fn images_are_asked_for_only_where_needed_and_never_required() {
        let orders = NamespacePattern { database: "shop".to_owned(), collection: "orders".to_owned() };
        let scope = Scope::covering(&[orders], &[]);
        let plan =
            StreamPlan { scope, images: ImageNeeds::default(), push_down: PushDown::NOTHING, relays: Vec::new() };
        let command = |images| aggregate(&plan, &OpenAt::Now, images, false);
        assert_eq!(
            command(ImageNeeds::default()),
            doc! {"aggregate": "orders", "pipeline": [{"$changeStream": {}}], "cursor": {"batchSize": 0}}
        );
        let text = command(ImageNeeds { before: true, after: true }).to_string();
        assert_eq!(text.matches("whenAvailable").count(), 2, "{text}");
    }

    #[test]
    fn the_deployment_is_read_from_admin_with_the_split_stage_last() {
        let scope = Scope::covering(&[], &[]);
        assert_eq!(database(&scope), "admin");
        let time = ClusterTime { seconds: 7, increment: 1 };
        let plan =
            StreamPlan { scope, images: ImageNeeds::default(), push_down: PushDown::NOTHING, relays: Vec::new() };
        let command = aggregate(&plan, &OpenAt::Time(time), ImageNeeds::default(), true);
        assert_eq!(
            command.get_array("pipeline").unwrap(),
            &[
                Bson::from(doc! {"$changeStream": {
                    "startAtOperationTime": bson::Timestamp { time: 7, increment: 1 }, "allChangesForCluster": true
                }}),
                Bson::from(doc! {"$changeStreamSplitLargeEvent": {}}),
            ]
        );
    }
}
