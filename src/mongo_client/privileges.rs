//! What our user may do, as the server itself sees it.

use bson::{Document, doc};
use mongodb::Client;

use super::DatabaseError;
use crate::namespace::Namespace;

/// The actions that a collection is written with: by checkpoints, events and dead letters.
const WRITING: [&str; 3] = ["find", "insert", "update"];

/// The user we are logged in as, and what it may do.
#[derive(Clone, Debug)]
pub struct Privileges {
    /// The user's name.
    pub user: String,
    /// The database that the user is defined in.
    pub database: String,
    granted: Vec<Document>,
}

impl Privileges {
    /// Asks the server. `None` if we are not logged in: then the server asks nobody for permission, or refuses everything.
    ///
    /// # Errors
    /// If the server can not be asked.
    pub async fn find(client: &Client) -> Result<Option<Self>, DatabaseError> {
        let command = doc! {"connectionStatus": 1, "showPrivileges": true};
        let status = client.database("admin").run_command(command).await;
        Ok(Self::read(&status.map_err(|error| DatabaseError::new(&error))?))
    }

    fn read(status: &Document) -> Option<Self> {
        let info = status.get_document("authInfo").ok()?;
        let user = info.get_array("authenticatedUsers").ok()?.first()?.as_document()?;
        let granted = info.get_array("authenticatedUserPrivileges").ok()?;
        Some(Self {
            user: user.get_str("user").ok()?.to_owned(),
            database: user.get_str("db").ok()?.to_owned(),
            granted: granted.iter().filter_map(|one| one.as_document().cloned()).collect(),
        })
    }

    /// True if the user may read, insert and update documents of the collection.
    pub fn may_write(&self, collection: &Namespace) -> bool {
        WRITING.iter().all(|action| self.may(action, collection))
    }

    /// True if the user may do one thing there, by the server's word for it, such as `remove`.
    pub fn may(&self, action: &str, collection: &Namespace) -> bool {
        self.granted.iter().any(|one| grants(one, action, collection))
    }
}

fn grants(privilege: &Document, action: &str, collection: &Namespace) -> bool {
    let Ok(resource) = privilege.get_document("resource") else { return false };
    let Ok(actions) = privilege.get_array("actions") else { return false };
    // An empty name stands for every database, or every collection.
    let covers = |key: &str, name: &str| resource.get_str(key).is_ok_and(|named| named.is_empty() || named == name);
    let is_covered = resource.get_bool("anyResource").unwrap_or(false)
        || (covers("db", &collection.database) && covers("collection", &collection.collection));
    is_covered && actions.iter().any(|one| matches!(one.as_str(), Some(name) if name == action || name == "anyAction"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_write(resource: Document, actions: &[&str]) -> bool {
        let status = doc! {"authInfo": {
            "authenticatedUsers": [{"user": "me", "db": "admin"}],
            "authenticatedUserPrivileges": [{"resource": resource, "actions": actions}],
        }};
        let collection = Namespace { database: "changeling".to_owned(), collection: "checkpoints".to_owned() };
        Privileges::read(&status).unwrap().may_write(&collection)
    }

    #[test]
    fn a_privilege_counts_for_what_its_resource_covers() {
        let all = &WRITING[..];
        assert!(may_write(doc! {"db": "changeling", "collection": ""}, all));
        assert!(may_write(doc! {"db": "", "collection": "checkpoints"}, all));
        assert!(may_write(doc! {"anyResource": true}, &["anyAction"]));
        assert!(!may_write(doc! {"db": "changeling", "collection": ""}, &["find", "changeStream"]));
        assert!(!may_write(doc! {"db": "shop", "collection": ""}, all));
        assert!(!may_write(doc! {"cluster": true}, all));
    }

    #[test]
    fn without_a_login_there_is_nothing_to_tell() {
        assert!(Privileges::read(&doc! {"authInfo": {"authenticatedUsers": []}}).is_none());
    }
}
