//! The checkpoint stores: the collection on a real MongoDB, the file on a real disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc, rawdoc};
use changeling::checkpoint::{
    Checkpoint, CheckpointError, CheckpointSettings, FileStore, MemoryStore, MongodbStore, Store, build,
};
use changeling::position::{ClusterTime, Position, Resume};
use mongodb::{Client, Collection};

use crate::support::{free_name, wait_until};

const LONG: Duration = Duration::from_secs(3_600);

fn checkpoint(number: u32) -> Checkpoint {
    let time = ClusterTime { seconds: number, increment: 1 };
    let token =
        rawdoc! {"_data": format!("82{number:08x}"), "_typeBits": bson::Binary::from_base64("gg==", None).unwrap()};
    Checkpoint {
        deployment: "replica-set $rs".to_owned(),
        scope: "$shop".to_owned(),
        position: Position::after(&token, time),
        parity: Some(vec![number as u8, 0, 255]),
    }
}

/// What every store must do, given two views of the same place.
async fn keeps_its_promise(first: &dyn Store, second: &dyn Store) {
    assert_eq!(first.acquire().await.unwrap(), None);
    first.save(&checkpoint(1)).await.unwrap();
    first.renew().await.unwrap();
    let at_time = Position::at_time(ClusterTime { seconds: 2, increment: 0 });
    let invalidate = Position {
        time: ClusterTime { seconds: 3, increment: 9 },
        resume: Resume::AfterInvalidate(rawdoc! {"_data": "82ff"}),
    };
    let mut saved = checkpoint(4);
    for position in [at_time, invalidate, checkpoint(4).position] {
        saved.position = position;
        first.save(&saved).await.unwrap();
        first.release().await.unwrap();
        assert_eq!(second.acquire().await.unwrap().as_ref(), Some(&saved));
        second.release().await.unwrap();
        assert_eq!(first.acquire().await.unwrap().as_ref(), Some(&saved));
    }
    first.release().await.unwrap();
    // The first has been paused since, and does not know that it is not the owner any more.
    assert_eq!(second.acquire().await.unwrap(), Some(saved));
    second.save(&checkpoint(5)).await.unwrap();
    assert!(matches!(first.save(&checkpoint(3)).await, Err(CheckpointError::Fenced { .. })));
    assert!(matches!(first.renew().await, Err(CheckpointError::Fenced { .. })));
    first.release().await.unwrap();
    second.renew().await.unwrap();
    second.release().await.unwrap();
    assert_eq!(first.acquire().await.unwrap(), Some(checkpoint(5)), "nothing was overwritten");
}

struct Place {
    client: Client,
    database: String,
}

impl Place {
    async fn new() -> Self {
        let client = changeling_servers::shared().await.unwrap().client().await.unwrap();
        Self { client, database: free_name("checkpoints") }
    }

    fn store(&self, lease: Duration) -> MongodbStore {
        MongodbStore::new(&self.client, &self.database, "checkpoints", "shop", lease)
    }

    fn documents(&self) -> Collection<Document> {
        self.client.database(&self.database).collection("checkpoints")
    }

    async fn document(&self) -> Document {
        self.documents().find_one(doc! {"_id": "shop"}).await.unwrap().unwrap()
    }

    async fn set(&self, fields: Document) {
        let updated = self.documents().update_one(doc! {"_id": "shop"}, doc! {"$set": fields}).await.unwrap();
        assert_eq!(updated.matched_count, 1);
    }
}

#[tokio::test]
async fn every_store_keeps_positions_and_fences_off_who_was_paused() {
    let memory = MemoryStore::new();
    keeps_its_promise(&memory, &memory.successor()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/position");
    keeps_its_promise(&FileStore::new(&path, "shop"), &FileStore::new(&path, "shop")).await;
    let place = Place::new().await;
    keeps_its_promise(&place.store(LONG), &place.store(LONG)).await;
}

#[tokio::test]
async fn mongodb_refuses_a_second_owner_until_the_lease_ends_or_is_given_up() {
    let place = Place::new().await;
    let (first, second) = (place.store(LONG), place.store(LONG));
    first.acquire().await.unwrap();
    first.save(&checkpoint(1)).await.unwrap();
    let refused = second.acquire().await.unwrap_err();
    let CheckpointError::Owned { expires_at: Some(expires_at), .. } = &refused else { panic!("{refused:?}") };
    assert!(*expires_at > bson::DateTime::now());
    let text = refused.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("help:"), "{text}");
    assert!(first.acquire().await.is_ok(), "the owner itself may ask again, as after a reply that was lost");

    // The lease runs out, as it does when its owner is paused or gone.
    place.set(doc! {"owner.expiresAt": bson::DateTime::from_millis(0)}).await;
    assert_eq!(second.acquire().await.unwrap(), Some(checkpoint(1)));
    let fenced = first.save(&checkpoint(0)).await.unwrap_err();
    assert!(matches!(&fenced, CheckpointError::Fenced { name, .. } if name == "shop"), "{fenced:?}");
    assert_eq!(place.document().await.get_document("position").unwrap().get_timestamp("time").unwrap().time, 1);
}

#[tokio::test]
async fn a_renewed_or_saved_lease_moves_on_by_the_clock_of_the_server() {
    let place = Place::new().await;
    let store = place.store(LONG);
    store.acquire().await.unwrap();
    for sign_of_life in ["renew", "save"] {
        place.set(doc! {"owner.expiresAt": bson::DateTime::from_millis(0)}).await;
        match sign_of_life {
            "renew" => store.renew().await.unwrap(),
            _ => store.save(&checkpoint(1)).await.unwrap(),
        }
        let expires_at = *place.document().await.get_document("owner").unwrap().get_datetime("expiresAt").unwrap();
        let left = expires_at.timestamp_millis() - bson::DateTime::now().timestamp_millis();
        assert!((3_000_000..=3_600_000).contains(&left), "{sign_of_life}: {left}");
    }
}

#[tokio::test]
async fn an_owner_that_died_on_this_machine_is_replaced_at_once() {
    let place = Place::new().await;
    let (first, second) = (place.store(LONG), place.store(LONG));
    first.acquire().await.unwrap();
    first.save(&checkpoint(1)).await.unwrap();
    // As if the owner had been another process, which is gone.
    place.set(doc! {"owner.pid": i64::from(u32::MAX)}).await;
    assert_eq!(second.acquire().await.unwrap(), Some(checkpoint(1)));

    // The same on another machine: nobody can see whether it lives.
    place.set(doc! {"owner.pid": i64::from(u32::MAX), "owner.host": "elsewhere"}).await;
    assert!(matches!(first.acquire().await, Err(CheckpointError::Owned { .. })));
}

#[tokio::test]
async fn of_many_that_start_at_once_one_becomes_the_owner() {
    let place = Arc::new(Place::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let place = place.clone();
        tasks.spawn(async move { place.store(LONG).acquire().await });
    }
    let acquired = tasks.join_all().await;
    assert_eq!(acquired.iter().filter(|acquired| acquired.is_ok()).count(), 1, "{acquired:?}");
    assert!(acquired.iter().all(|acquired| matches!(acquired, Ok(None) | Err(CheckpointError::Owned { .. }))));
}

#[tokio::test]
async fn a_checkpoint_joins_a_transaction_and_is_fenced_in_it() {
    let place = Place::new().await;
    let (first, second) = (place.store(LONG), place.store(LONG));
    first.acquire().await.unwrap();
    assert!(first.deployment().unwrap().starts_with("replica-set "));
    let write = first.transactional_write(&checkpoint(7)).unwrap();
    let run = async || {
        let mut session = place.client.start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        let documents = place.client.database(&write.database).collection::<Document>(&write.collection);
        let updated = documents.update_one(write.filter.clone(), write.update.clone()).session(&mut session).await;
        let matched_count = updated.unwrap().matched_count;
        session.commit_transaction().await.unwrap();
        matched_count
    };
    assert_eq!(run().await, 1);
    first.release().await.unwrap();
    assert_eq!(second.acquire().await.unwrap(), Some(checkpoint(7)));
    assert_eq!(run().await, 0, "the epoch is another one");
    assert!(place.document().await.contains_key("savedAt"));
}

#[tokio::test]
async fn a_transaction_that_died_with_its_owner_does_not_hold_up_the_successor() {
    let place = Place::new().await;
    let (dead, successor) = (place.store(LONG), place.store(LONG));
    dead.acquire().await.unwrap();
    dead.save(&checkpoint(1)).await.unwrap();
    let mut session = place.client.start_session().await.unwrap();
    dead.note_session(session.id()).await.unwrap();
    place.set(doc! {"owner.expiresAt": bson::DateTime::from_millis(0)}).await;
    let write = dead.transactional_write(&checkpoint(2)).unwrap();
    session.start_transaction().await.unwrap();
    place.documents().update_one(write.filter, write.update).session(&mut session).await.unwrap();
    // Nobody ends the transaction. The server would, after a minute.
    let acquired = tokio::time::timeout(Duration::from_secs(45), successor.acquire()).await;
    assert_eq!(acquired.expect("nothing holds it up").unwrap(), Some(checkpoint(1)));
    assert!(session.commit_transaction().await.is_err());
    successor.save(&checkpoint(3)).await.unwrap();
}

#[tokio::test]
async fn what_mongodb_keeps_and_cannot_be_read_is_refused_with_the_way_out() {
    let place = Place::new().await;
    let store = place.store(LONG);
    store.acquire().await.unwrap();
    store.save(&checkpoint(1)).await.unwrap();
    place.set(doc! {"position.time": "yesterday"}).await;
    let text = store.acquire().await.unwrap_err().to_string();
    assert!(text.contains("deleteOne({_id: \"shop\"})"), "{text}");
    place.set(doc! {"version": 2}).await;
    let text = store.acquire().await.unwrap_err().to_string();
    assert!(text.contains("version 2") && text.contains("help:"), "{text}");
}

#[tokio::test]
async fn a_mongodb_that_is_away_is_a_reason_to_try_again() {
    let port = changeling_servers::free_port();
    let uri = format!("mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=50");
    let client = Client::with_uri_str(uri).await.unwrap();
    let store = MongodbStore::new(&client, "changeling", "checkpoints", "shop", LONG);
    let error = store.acquire().await.unwrap_err();
    assert!(matches!(error, CheckpointError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_has_one_owner_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("position");
    let (first, second) = (FileStore::new(&path, "shop"), FileStore::new(&path, "shop"));
    first.acquire().await.unwrap();
    first.save(&checkpoint(1)).await.unwrap();
    let refused = second.acquire().await.unwrap_err();
    assert!(matches!(refused, CheckpointError::Owned { expires_at: None, .. }), "{refused:?}");
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    drop(first);
    assert_eq!(second.acquire().await.unwrap(), Some(checkpoint(1)));
}

#[tokio::test]
async fn a_paused_owner_overwrites_nothing_even_where_locks_mean_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("position");
    let (first, second) = (FileStore::new(&path, "shop"), FileStore::new(&path, "shop"));
    first.acquire().await.unwrap();
    first.save(&checkpoint(1)).await.unwrap();
    // Whoever removes the lock file makes the lock meaningless.
    fs::remove_file(folder.path().join("position.lock")).unwrap();
    second.acquire().await.unwrap();
    second.save(&checkpoint(2)).await.unwrap();
    assert!(matches!(first.save(&checkpoint(1)).await, Err(CheckpointError::Fenced { .. })));
    assert!(matches!(first.renew().await, Err(CheckpointError::Fenced { .. })));
    drop((first, second));
    assert_eq!(FileStore::new(&path, "shop").acquire().await.unwrap(), Some(checkpoint(2)));
}

#[tokio::test]
async fn a_save_that_is_cut_off_leaves_the_position_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("position");
    let store = FileStore::new(&path, "shop");
    store.acquire().await.unwrap();
    store.save(&checkpoint(1)).await.unwrap();
    drop(store);
    fs::write(folder.path().join("position.new"), "{\"version\": 1, \"na").unwrap();
    assert_eq!(FileStore::new(&path, "shop").acquire().await.unwrap(), Some(checkpoint(1)));
}

async fn refusal(path: &Path, name: &str) -> String {
    let error = FileStore::new(path, name).acquire().await.unwrap_err();
    assert!(matches!(error, CheckpointError::Unusable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("help:"), "{text}");
    text
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("position");
    for damaged in
        ["", "{", "[]", "{\"version\": 1}", "{\"version\": 1, \"name\": \"shop\", \"epoch\": -1, \"owner\": \"\"}"]
    {
        fs::write(&path, damaged).unwrap();
        assert!(refusal(&path, "shop").await.contains("is damaged"), "{damaged}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged, "what can not be read is not touched");
    }
    fs::write(&path, "{\"version\": 2, \"future\": true}").unwrap();
    assert!(refusal(&path, "shop").await.contains("has version 2"));

    fs::remove_file(&path).unwrap();
    FileStore::new(&path, "shop").acquire().await.unwrap();
    assert!(refusal(&path, "other").await.contains("belongs to the connector \"shop\""));

    let under_a_file = path.join("position");
    assert!(refusal(&under_a_file, "shop").await.contains("can not"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_stops_the_saving_and_keeps_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("position");
    let store = FileStore::new(&path, "shop");
    store.acquire().await.unwrap();
    store.save(&checkpoint(1)).await.unwrap();
    // Everything written to this device fails as on a full disk.
    std::os::unix::fs::symlink("/dev/full", folder.path().join("position.new")).unwrap();
    let error = store.save(&checkpoint(2)).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains("make room"), "{error}");
    fs::remove_file(folder.path().join("position.new")).unwrap();
    drop(store);
    assert_eq!(FileStore::new(&path, "shop").acquire().await.unwrap(), Some(checkpoint(1)));
}

#[tokio::test]
async fn settings_choose_the_store() {
    let place = Place::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/position");
    let file = CheckpointSettings { file: Some(path.clone()), ..CheckpointSettings::default() };
    build(&file, "shop", &place.client).await.unwrap().acquire().await.unwrap();
    assert!(path.exists());
    let both = CheckpointSettings { mongodb: Some(Default::default()), ..file };
    assert!(build(&both, "shop", &place.client).await.is_err());
    let collection = format!("{}.positions", place.database);
    let mongodb: CheckpointSettings =
        serde_json::from_value(serde_json::json!({"mongodb": {"collection": collection}})).unwrap();
    build(&mongodb, "shop", &place.client).await.unwrap().acquire().await.unwrap();
    let positions = place.client.database(&place.database).collection::<Document>("positions");
    wait_until("the document is there", async || positions.count_documents(doc! {}).await.unwrap() == 1).await;
}
