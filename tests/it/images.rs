//! Images of documents: what `check` says of them, and `source.images: enable`.

use bson::{Document, doc};
use changeling_servers::{Login, ReplicaSet, ReplicaSetOptions, shared};
use mongodb::Database;
use serde_json::Value;

use crate::support::{Finished, Program, free_name, wait_until};

const RULES: &str = "\
version: 1
rules:
  - {event: OrderPlaced, collection: DATABASE.orders, on: insert}
  - {event: OrderPaid, collection: DATABASE.orders, when: {status: {from: new, to: paid}}, data: {total: $.after.total}}
  - {event: CartSeen, collection: DATABASE.carts, on: insert}
";

fn program(uri: &str, database: &str, source: &str) -> Program {
    let config = format!(
        "name: {database}\nsource: {{uri: \"{uri}\", await_time: 50ms{source}}}\nrules: [rules.yaml]\nsinks: {{out: {{stdout: {{}}}}}}\n\
         checkpoint: {{file: position}}\nhttp: {{listen: 127.0.0.1:0}}\n"
    );
    Program::with_config(&config).file("rules.yaml", &RULES.replace("DATABASE", database))
}

async fn keeps_images(database: &Database, collection: &str) -> bool {
    let command = doc! {"listCollections": 1, "filter": {"name": collection}};
    let listed = database.run_command(command).await.unwrap();
    let first =
        listed.get_document("cursor").unwrap().get_array("firstBatch").unwrap()[0].as_document().unwrap().clone();
    let images = first
        .get_document("options")
        .ok()
        .and_then(|options| options.get_document("changeStreamPreAndPostImages").ok().cloned());
    images.is_some_and(|images: Document| images.get_bool("enabled").unwrap_or(false))
}

fn assert_holds(finished: &Finished, parts: &[&str]) {
    for part in parts {
        assert!(finished.stdout.contains(part), "{part:?} is not in standard output\n{finished}");
    }
}

#[tokio::test]
async fn check_shows_what_every_collection_needs_and_why_and_the_command() {
    let server = shared().await.unwrap();
    let name = free_name("images");
    let database = server.client().await.unwrap().database(&name);
    for collection in ["orders", "carts", "unwatched"] {
        database.create_collection(collection).await.unwrap();
    }
    let program = program(&server.uri(), &name, "");
    let finished = program.run(&["check"]).await.expect_code(0);
    let command = format!(
        "db.getSiblingDB(\"{name}\").runCommand({{collMod: \"orders\", changeStreamPreAndPostImages: {{enabled: true}}}})"
    );
    assert_holds(&finished, &["needs", "keeps", "cost", &command, "without it, undecided: OrderPaid"]);
    assert!(!finished.stdout.contains("unwatched"), "{finished}");

    let finished = program.run(&["check", "--json"]).await.expect_code(0);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    let plans = report["images"].as_array().unwrap();
    let plan = |collection: &str| {
        let name = format!("{name}.{collection}");
        plans.iter().find(|plan| plan["collection"] == name.as_str()).unwrap_or_else(|| panic!("{report}"))
    };
    assert_eq!(plans.len(), 2, "{report}");
    assert_eq!((&plan("carts")["needs"], &plan("carts")["keeps"]), (&"nothing".into(), &false.into()));
    let orders = plan("orders");
    assert_eq!((&orders["needs"], &orders["keeps"]), (&"pre- and post-image".into(), &false.into()));
    assert_eq!(orders["command"], command.as_str());
    assert_eq!(orders["undecided"], serde_json::json!(["OrderPaid"]));
    let reason = |image: &str, path: &str, part: &str, without: &str| serde_json::json!({"image": image, "rule": "OrderPaid", "path": path, "part": part, "without": without});
    let reasons =
        [reason("before", "status", "when", "undecided"), reason("after", "$.after.total", "data", "looked_up")];
    assert_eq!(orders["reasons"], Value::from(reasons.to_vec()));
    assert!(!keeps_images(&database, "orders").await, "check changes nothing");
}

#[tokio::test]
async fn a_run_switches_on_the_images_that_rules_need_and_no_others() {
    let server = shared().await.unwrap();
    let name = free_name("images");
    let database = server.client().await.unwrap().database(&name);
    for collection in ["orders", "carts"] {
        database.create_collection(collection).await.unwrap();
    }
    let program = program(&server.uri(), &name, ", images: enable");
    let running = program.start(&["run"]);
    wait_until("the source is open", async || running.stderr().contains("the source is open")).await;
    assert!(keeps_images(&database, "orders").await && !keeps_images(&database, "carts").await);
    let orders = database.collection::<Document>("orders");
    orders.insert_one(doc! {"_id": 1, "status": "new", "total": 7}).await.unwrap();
    orders.update_one(doc! {"_id": 1}, doc! {"$set": {"status": "paid"}}).await.unwrap();
    wait_until("the payment is told", async || running.stdout().contains("OrderPaid")).await;
    assert!(running.stdout().contains("\"total\":7"), "{}", running.stdout());
}

#[tokio::test]
async fn an_embedded_outbox_needs_the_document_before_and_an_outbox_needs_nothing() {
    let server = shared().await.unwrap();
    let name = free_name("images");
    let database = server.client().await.unwrap().database(&name);
    for collection in ["orders", "outbox"] {
        database.create_collection(collection).await.unwrap();
    }
    let config = |images: &str| {
        format!(
            "name: {name}\nsource: {{uri: \"{}\", await_time: 50ms, images: {images}}}\nrules: []\nsinks: {{out: {{stdout: {{}}}}}}\n\
             explicit: [{{embedded_outbox: {{collection: {name}.orders}}}}, {{outbox: {{collection: {name}.outbox, layout: debezium}}}}]\n\
             checkpoint: {{file: position}}\nhttp: {{listen: 127.0.0.1:0}}\n",
            server.uri()
        )
    };
    let program = Program::with_config(&config("as_is"));
    let finished = program.run(&["check", "--json"]).await.expect_code(0);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    let plans = report["images"].as_array().unwrap();
    let plan = |collection: &str| {
        let name = format!("{name}.{collection}");
        plans.iter().find(|plan| plan["collection"] == name.as_str()).unwrap_or_else(|| panic!("{report}"))
    };
    assert_eq!((&plan("outbox")["needs"], &plan("outbox")["reasons"]), (&"nothing".into(), &Value::Array(Vec::new())));
    let (orders, relay) = (plan("orders"), format!("relay {name}.orders"));
    let reason = serde_json::json!(
        {"image": "before", "rule": relay, "path": "_events", "part": "embedded_outbox", "without": "undecided"}
    );
    assert_eq!((&orders["needs"], &orders["reasons"]), (&"pre-image".into(), &Value::Array(vec![reason])));
    assert_eq!(orders["rules"], serde_json::json!([relay]));
    let warned = report["database"].to_string();
    assert!(warned.contains("its relay can not tell which of them are new"), "{report}");
    let program = Program::with_config(&config("enable"));
    let running = program.start(&["run"]);
    wait_until("the source is open", async || running.stderr().contains("the source is open")).await;
    assert!(keeps_images(&database, "orders").await && !keeps_images(&database, "outbox").await);
}

#[tokio::test]
async fn a_user_who_may_not_switch_images_on_is_told_which_role_to_grant() {
    let login = Login { user: "root".to_owned(), password: "rootPassword".to_owned() };
    let server = ReplicaSet::start(&ReplicaSetOptions { login: Some(login), ..Default::default() }).await.unwrap();
    let client = server.client().await.unwrap();
    client.database("shop").create_collection("orders").await.unwrap();
    let roles = vec![doc! {"role": "read", "db": "shop"}, doc! {"role": "clusterMonitor", "db": "admin"}];
    client
        .database("admin")
        .run_command(doc! {"createUser": "reader", "pwd": "readerPassword", "roles": roles})
        .await
        .unwrap();
    let uri = server.uri_as(Some(("reader", "readerPassword")));
    let finished = program(&uri, "shop", ", images: enable").run(&["run"]).await.expect_code(3);
    let grant = "db.getSiblingDB(\"admin\").grantRolesToUser(\"reader\", [{role: \"dbAdmin\", db: \"shop\"}])";
    for part in ["shop.orders", grant] {
        assert!(finished.stderr.contains(part), "{part}\n{finished}");
    }
}
