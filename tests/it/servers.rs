//! The servers that all other tests rely on: they start, die, come back with their data, and leave nothing behind.

use changeling_servers::{Files, Guarded, Login, Nats, ReplicaSet, ReplicaSetOptions};
use mongodb::bson::doc;

use crate::support::{Program, free_name, wait_until};

#[tokio::test]
async fn a_shared_replica_set_has_change_streams() {
    let set = changeling_servers::shared().await.unwrap();
    let database = set.client().await.unwrap().database(&free_name("servers"));
    let mut stream = database.watch().await.unwrap();
    database.collection("orders").insert_one(doc! {"_id": 1}).await.unwrap();
    let change = stream.next_if_any().await.unwrap();
    let change = match change {
        Some(change) => change,
        None => stream.next_if_any().await.unwrap().expect("the insert is in the stream"),
    };
    assert_eq!(change.document_key, Some(doc! {"_id": 1}));
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_its_data() {
    let set = ReplicaSet::start(&ReplicaSetOptions::default()).await.unwrap();
    let client = set.client().await.unwrap();
    let orders = client.database("shop").collection("orders");
    orders.insert_one(doc! {"_id": 1}).await.unwrap();
    let uri = set.uri();
    set.kill(0).unwrap();
    set.restart(0).await.unwrap();
    assert_eq!(set.uri(), uri);
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 1);
    assert_eq!(set.step_down().await.unwrap(), 0);
}

#[tokio::test]
async fn a_set_of_three_chooses_another_primary_and_lets_only_its_user_in() {
    let login = Login { user: "root".to_owned(), password: "rootPassword".to_owned() };
    let options = ReplicaSetOptions { members: 3, login: Some(login), ..Default::default() };
    let set = ReplicaSet::start(&options).await.unwrap();
    let first = set.primary().await.unwrap();
    assert_ne!(set.step_down().await.unwrap(), first);
    set.client().await.unwrap().database("shop").collection("orders").insert_one(doc! {"_id": 1}).await.unwrap();
    let stranger = mongodb::Client::with_uri_str(set.uri_as(None)).await.unwrap();
    assert!(stranger.database("shop").list_collection_names().await.is_err());
}

#[tokio::test]
async fn a_nats_server_comes_back_with_its_streams() {
    let nats = Nats::start().await.unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let config = async_nats::jetstream::stream::Config { name: "events".to_owned(), ..Default::default() };
    async_nats::jetstream::new(client).create_stream(config).await.unwrap();
    nats.restart().await.unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    async_nats::jetstream::new(client).get_stream("events").await.unwrap();
}

#[tokio::test]
async fn a_guarded_process_dies_and_its_folder_goes_when_its_parent_is_gone() {
    let outer = Program::new().file("data/file", "x");
    let data = outer.path("data");
    let log = outer.path("log");
    let files = Files { stdout: log.clone(), stderr: log.clone(), folder: Some(data.clone()) };
    let process = Guarded::start("sleep".as_ref(), &["600".into()], [], outer.path("").as_path(), &files).unwrap();
    let sleeper = process.id();
    assert!(runs(sleeper));
    process.abandon();
    wait_until("the guarded process is gone", async || !runs(sleeper)).await;
    wait_until("its folder is gone", async || !data.exists()).await;
}

fn runs(process_id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}
