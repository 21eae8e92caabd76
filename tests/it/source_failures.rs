//! What can go wrong between a source and a real server, and what the source says of it.

use bson::doc;
use changeling::failure::Disposition;
use changeling::position::{Position, Resume, Start};
use changeling::source::{Source, SourceError};
use changeling_servers::{Login, ReplicaSet, ReplicaSetOptions};

use crate::support::{NO_IMAGES, Stream, wait_for};

/// The whole chain of an error, as `main` prints it.
fn chain(error: &SourceError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

async fn refusal(uri: &str, pattern: &str, start: &Start) -> SourceError {
    let mut stream = Stream::new(uri, &[pattern], NO_IMAGES).await;
    if let Err(error) = stream.source.open(start).await {
        return error;
    }
    wait_for("the stream fails", async || stream.next().await.err()).await
}

#[tokio::test]
async fn an_unreachable_server_is_named_and_tried_again() {
    let port = changeling_servers::free_port();
    let uri = format!("mongodb://user:hunter2@127.0.0.1:{port}/?replicaSet=rs0&serverSelectionTimeoutMS=500");
    let error = refusal(&uri, "shop.orders", &Start::Now).await;
    assert_eq!(error.disposition(), Disposition::Retry);
    let text = chain(&error);
    assert!(text.starts_with("MongoDB can not be reached: no fitting server was found in time"), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("refused"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains('{'), "{text}");
}

#[tokio::test]
async fn a_standalone_server_is_refused_with_the_way_to_a_replica_set() {
    let options = ReplicaSetOptions { standalone: true, ..Default::default() };
    let server = ReplicaSet::start(&options).await.unwrap();
    let error = refusal(&server.uri(), "shop.orders", &Start::Now).await;
    assert_eq!(error.disposition(), Disposition::Stop);
    let text = chain(&error);
    assert!(text.contains("--replSet") && text.contains("rs.initiate()"), "{text}");
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_permission_stop_with_the_way_out() {
    let login = Login { user: "root".to_owned(), password: "rootPassword".to_owned() };
    let options = ReplicaSetOptions { login: Some(login), ..Default::default() };
    let server = ReplicaSet::start(&options).await.unwrap();
    let admin = server.client().await.unwrap().database("admin");
    let roles = vec![doc! {"role": "read", "db": "shop"}];
    admin.run_command(doc! {"createUser": "reader", "pwd": "readerPassword", "roles": roles}).await.unwrap();

    let wrong = refusal(&server.uri_as(Some(("reader", "hunter2"))), "shop.orders", &Start::Now).await;
    assert_eq!(wrong.disposition(), Disposition::Stop);
    let text = chain(&wrong);
    assert!(text.contains("authSource") && text.contains("authentication failed"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");

    let reader = server.uri_as(Some(("reader", "readerPassword")));
    for (pattern, scope, role) in [
        ("crm.people", "collection crm.people", "{role: \"read\", db: \"crm\"}"),
        ("crm.*", "database crm", "{role: \"read\", db: \"crm\"}"),
        ("*.orders", "deployment", "{role: \"readAnyDatabase\", db: \"admin\"}"),
    ] {
        let error = refusal(&reader, pattern, &Start::Now).await;
        assert_eq!(error.disposition(), Disposition::Stop);
        let text = chain(&error);
        assert!(text.contains(&format!("may not read the change stream of {scope}")), "{text}");
        assert!(text.contains(role) && text.contains("server error 13 Unauthorized"), "{text}");
    }
    let beginning = refusal(&reader, "shop.orders", &Start::Beginning).await;
    assert_eq!(beginning.disposition(), Disposition::Stop);
    assert!(chain(&beginning).contains("{role: \"read\", db: \"local\"}"), "{}", chain(&beginning));

    let mut allowed = Stream::open(&reader, &["shop.orders"], NO_IMAGES).await;
    allowed.next().await.unwrap();
    assert!(allowed.source.observer().unwrap().window().await.is_none());
    assert_eq!(allowed.source.deployment().await.unwrap(), "replica-set changeling", "the weak form");
    let root = server.uri();
    let mut strong = Stream::open(&root, &["shop.orders"], NO_IMAGES).await;
    let strong = strong.source.deployment().await.unwrap();
    assert!(changeling::mongo_client::is_same_deployment(&strong, "replica-set changeling"));
}

#[tokio::test]
async fn a_login_that_a_server_breaks_off_while_it_shuts_down_is_no_wrong_password() {
    let login = Login { user: "root".to_owned(), password: "rootPassword".to_owned() };
    let options = ReplicaSetOptions { login: Some(login), test_commands: true, ..Default::default() };
    let server = ReplicaSet::start(&options).await.unwrap();
    let data = doc! {"failCommands": ["saslStart", "saslContinue"], "errorCode": 91, "appName": app_name()};
    server.fail_point(0, "failCommand", doc! {"times": 1}, data).await.unwrap();
    let error = refusal(&server.uri(), "shop.orders", &Start::Now).await;
    assert_eq!((error.reason(), error.disposition()), ("interrupted", Disposition::Retry), "{}", chain(&error));
    assert!(chain(&error).contains("91"), "{}", chain(&error));
}

#[tokio::test]
async fn every_server_error_of_the_table_has_its_answer() {
    let options = ReplicaSetOptions { test_commands: true, ..Default::default() };
    let server = ReplicaSet::start(&options).await.unwrap();
    let once = doc! {"times": 1};
    for (code, labels, reason) in [
        (286, vec![], "lost_position"),
        (280, vec!["NonResumableChangeStreamError"], "lost_position"),
        (260, vec![], "lost_position"),
        (136, vec![], "lost_position"),
        (43, vec![], "interrupted"),
        (237, vec![], "interrupted"),
        (91, vec![], "interrupted"),
        (189, vec![], "interrupted"),
        (10_107, vec![], "interrupted"),
        (11_600, vec![], "interrupted"),
        (11_601, vec![], "interrupted"),
        (11_602, vec![], "interrupted"),
        (13_436, vec![], "interrupted"),
        (4_711, vec!["ResumableChangeStreamError"], "interrupted"),
        (4_711, vec![], "refused"),
        (13, vec![], "unauthorized"),
        (40_573, vec![], "standalone"),
    ] {
        let mut stream = Stream::open(&server.uri(), &["shop.orders"], NO_IMAGES).await;
        stream.next().await.unwrap();
        let data = doc! {"failCommands": ["getMore"], "errorCode": code, "errorLabels": labels, "appName": app_name()};
        server.fail_point(0, "failCommand", once.clone(), data).await.unwrap();
        let error = wait_for("the stream fails", async || stream.next().await.err()).await;
        assert_eq!(error.reason(), reason, "{code}: {}", chain(&error));
        let stops = matches!(reason, "lost_position" | "refused" | "unauthorized" | "standalone");
        assert_eq!(error.disposition() == Disposition::Stop, stops, "{code}");
        assert_eq!(error.is_lost_position(), reason == "lost_position", "{code}");
        // What may pass does pass.
        stream.open_at(&stream.resume()).await;
        stream.next().await.unwrap();
    }
    let data = doc! {"failCommands": ["getMore"], "closeConnection": true, "appName": app_name()};
    let mut stream = Stream::open(&server.uri(), &["shop.orders"], NO_IMAGES).await;
    server.fail_point(0, "failCommand", once, data).await.unwrap();
    let error = wait_for("the stream fails", async || stream.next().await.err()).await;
    assert_eq!((error.reason(), error.disposition()), ("unreachable", Disposition::Retry));
}

fn app_name() -> String {
    format!("changeling/{}", env!("CARGO_PKG_VERSION"))
}

#[tokio::test]
async fn a_lost_position_tells_where_it_was_and_where_the_oplog_begins() {
    let server =
        ReplicaSet::start(&ReplicaSetOptions { oplog_megabytes: Some(1), ..Default::default() }).await.unwrap();
    let orders = server.client().await.unwrap().database("shop").collection("orders");
    let mut stream = Stream::open(&server.uri(), &["shop.orders"], NO_IMAGES).await;
    orders.insert_one(doc! {"_id": 0}).await.unwrap();
    stream.read(1).await;
    let position = stream.position();
    let observer = stream.source.observer().unwrap();
    for id in 1..5 {
        orders.insert_one(doc! {"_id": id, "text": "x".repeat(1 << 20)}).await.unwrap();
    }
    // The server cuts its oplog about once a minute, when something is written.
    let mut id = 5;
    wait_for("the oplog has left the position behind", async || {
        id += 1;
        orders.insert_one(doc! {"_id": id}).await.unwrap();
        let window = observer.window().await.unwrap();
        (window.first > position.time).then_some(())
    })
    .await;
    let at_time = Position { resume: Resume::AtTime, ..position.clone() };
    for start in [Start::Resume(position.clone()), Start::Resume(at_time), Start::Beyond(position.clone())] {
        let error = refusal(&server.uri(), "shop.orders", &start).await;
        assert_eq!(error.disposition(), Disposition::Stop);
        let SourceError::LostPosition { code, position: lost, oldest, .. } = &error else {
            panic!("{}", chain(&error))
        };
        assert!([286, 136].contains(code), "{code}");
        assert_eq!(*lost, Some(position.time));
        assert!(oldest.is_some_and(|oldest| oldest > position.time));
        let text = chain(&error);
        assert!(
            text.contains("later; the changes between are not read") && text.contains("on_lost_position"),
            "{text}"
        );
    }
    let mut beginning = Stream::new(&server.uri(), &["shop.orders"], NO_IMAGES).await;
    wait_for("a change is read", async || {
        // The oplog may be cut again between our look at its beginning and the opening: then it is tried again.
        if let Err(error) = beginning.source.open(&Start::Beginning).await {
            assert_eq!(error.disposition(), Disposition::Retry, "{}", chain(&error));
        }
        match beginning.next().await {
            Ok(batch) => (!batch.is_empty()).then_some(()),
            Err(error) => {
                assert_eq!(error.disposition(), Disposition::Retry, "{}", chain(&error));
                None
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_restarted_server_and_a_new_primary_are_read_on_without_a_gap() {
    let options = ReplicaSetOptions { members: 3, ..Default::default() };
    let server = ReplicaSet::start(&options).await.unwrap();
    let orders = server.client().await.unwrap().database("shop").collection("orders");
    let mut stream = Stream::open(&server.uri(), &["shop.orders"], NO_IMAGES).await;
    let write = async |id: i32| {
        wait_for("the write is taken", async || {
            let duplicate = |error: &mongodb::error::Error| error.to_string().contains("11000");
            match orders.insert_one(doc! {"_id": id}).await {
                Ok(_) => Some(()),
                Err(error) if duplicate(&error) => Some(()),
                Err(_) => None,
            }
        })
        .await;
    };
    write(0).await;
    stream.read_until("the first change", |stream| stream.ids().len() == 1).await;
    server.step_down().await.unwrap();
    write(1).await;
    let primary = server.primary().await.unwrap();
    server.kill(primary).unwrap();
    write(2).await;
    server.restart(primary).await.unwrap();
    write(3).await;
    wait_for("all changes are read", async || {
        if let Err(error) = stream.next().await {
            assert_eq!(error.disposition(), Disposition::Retry, "{}", chain(&error));
            while stream.source.open(&stream.resume()).await.is_err() {}
        }
        (stream.ids().len() == 4).then_some(())
    })
    .await;
    assert_eq!(stream.ids(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_server_that_answers_nothing_any_more_is_given_up() {
    let server = ReplicaSet::start(&ReplicaSetOptions::default()).await.unwrap();
    // The driver's monitor notices, and breaks the connection that waits for the next change.
    let uri = format!("{}&heartbeatFrequencyMS=500&connectTimeoutMS=1000&serverSelectionTimeoutMS=1000", server.uri());
    let mut stream = Stream::open(&uri, &["shop.orders"], NO_IMAGES).await;
    stream.next().await.unwrap();
    server.pause(0).unwrap();
    let error = wait_for("the stream fails", async || stream.next().await.err()).await;
    assert_eq!((error.reason(), error.disposition()), ("unreachable", Disposition::Retry));
    assert!(stream.source.open(&stream.resume()).await.is_err());
    server.resume(0).unwrap();
    wait_for("the stream opens again", async || stream.source.open(&stream.resume()).await.ok()).await;
    stream.next().await.unwrap();
}
