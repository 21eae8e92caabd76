//! What must be so before an outbox is used: permissions, and the index that deletes what was marked.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Client;

use super::OutboxError;
use super::fault::{fault, forbidden};
use super::place::{Place, Upkeep};
use crate::mongo_client::{DatabaseError, Privileges};

/// What a server says of a collection that is not there.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// What is wrong with one outbox, or stands in the way of its clean-up. Nothing is written.
pub(super) async fn inspect(
    client: &Client,
    place: &Place,
    privileges: Option<&Privileges>,
) -> Result<(), OutboxError> {
    let has_index = index(client, place).await?;
    if let Some(privileges) = privileges {
        let needs_index = if has_index { None } else { Some("createIndex") };
        let may = |action: &&str| privileges.may(action, &place.collection);
        if !place.actions().iter().chain(&needs_index).all(may) {
            return Err(forbidden(place, &privileges.user, &privileges.database, None));
        }
    }
    Ok(())
}

/// Makes the index that it takes, if it is not there.
pub(super) async fn make_index(client: &Client, place: &Place) -> Result<(), OutboxError> {
    let Upkeep::Mark { field, keep_for_seconds } = &place.upkeep else { return Ok(()) };
    if index(client, place).await? {
        return Ok(());
    }
    let index = doc! {
        "key": {field: 1}, "name": format!("changeling_{field}"), "expireAfterSeconds": keep_for_seconds
    };
    let command = doc! {"createIndexes": &place.collection.collection, "indexes": [index]};
    let made = client.database(&place.collection.database).run_command(command).await;
    made.map_err(|error| fault(place, DatabaseError::new(&error)))?;
    tracing::info!(collection = %place.collection, field, keep_for_seconds, "made the index that deletes what was relayed");
    Ok(())
}

/// True if the index is there, or none is needed.
async fn index(client: &Client, place: &Place) -> Result<bool, OutboxError> {
    let Upkeep::Mark { field, keep_for_seconds } = &place.upkeep else { return Ok(true) };
    let told = |error: mongodb::error::Error| DatabaseError::new(&error);
    let command = doc! {"listIndexes": &place.collection.collection};
    let listed = client.database(&place.collection.database).run_cursor_command(command).await.map_err(told);
    let listed: Vec<Document> = match listed {
        Ok(listed) => listed.try_collect().await.map_err(|error| fault(place, told(error)))?,
        Err(error) if error.code() == Some(NAMESPACE_NOT_FOUND) => return Ok(false),
        Err(error) => return Err(fault(place, error)),
    };
    match expiry(&listed, field) {
        None => Ok(false),
        Some(Some(seconds)) if seconds == *keep_for_seconds => Ok(true),
        Some(other) => Err(differs(place, field, *keep_for_seconds, other)),
    }
}

/// After how many seconds an index on the field alone deletes; `Some(None)` if there is one that does not.
fn expiry(indexes: &[Document], field: &str) -> Option<Option<i64>> {
    let is_on_field =
        |index: &&Document| index.get_document("key").is_ok_and(|key| key.len() == 1 && key.contains_key(field));
    let found: Vec<_> = indexes.iter().filter(is_on_field).collect();
    let expiries = found.iter().map(|index| index.get("expireAfterSeconds").and_then(seconds));
    expiries.max()
}

fn seconds(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(seconds) => Some(i64::from(*seconds)),
        Bson::Int64(seconds) => Some(*seconds),
        // Servers give back whatever type it was made with.
        Bson::Double(seconds) => Some(*seconds as i64),
        _ => None,
    }
}

fn differs(place: &Place, field: &str, wanted: i64, found: Option<i64>) -> OutboxError {
    let (database, collection) = (&place.collection.database, &place.collection.collection);
    let found = match found {
        Some(seconds) => format!("deletes after {seconds} s"),
        None => "deletes nothing".to_owned(),
    };
    OutboxError::Refused {
        collection: place.collection.to_string(),
        reason: format!("its index on {field} {found}, and `keep_for` says {wanted} s"),
        help: format!(
            "change it: db.getSiblingDB(\"{database}\").runCommand({{collMod: \"{collection}\", index: {{keyPattern: {{\"{field}\": 1}}, expireAfterSeconds: {wanted}}}}}); or change `keep_for`"
        ),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_is_that_of_an_index_on_the_field_alone() {
        let indexes = [
            doc! {"key": {"_id": 1}},
            doc! {"key": {"relayedAt": 1, "type": 1}, "expireAfterSeconds": 5},
            doc! {"key": {"at": -1}, "expireAfterSeconds": 60.0},
            doc! {"key": {"seen": 1}},
        ];
        assert_eq!(expiry(&indexes, "relayedAt"), None);
        assert_eq!(expiry(&indexes, "at"), Some(Some(60)));
        assert_eq!(expiry(&indexes, "seen"), Some(None));
    }
}
