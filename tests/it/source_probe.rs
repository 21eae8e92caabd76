//! What `check` learns of a database before anything is read.

use bson::{Document, doc};
use changeling::namespace::Namespace;
use changeling::rules::ImageNeeds;
use changeling::source::{Finding, Grade, probe};
use changeling_servers::{Login, ReplicaSet, ReplicaSetOptions};

use crate::support::{IMAGES, NO_IMAGES, Stream, free_name};

async fn findings(uri: &str, patterns: &[&str], needs: ImageNeeds) -> Vec<Finding> {
    let mut stream = Stream::new(uri, patterns, needs).await;
    let of_collection = |namespace: &Namespace| match namespace.collection.as_str() {
        "unwatched" => NO_IMAGES,
        _ => needs,
    };
    probe(&mut stream.source, &of_collection).await
}

fn text(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        format!("{:?} {} -> {}\n", finding.grade, finding.text, finding.help.as_deref().unwrap_or("-"))
    };
    findings.iter().map(line).collect()
}

#[tokio::test]
async fn a_database_that_has_everything_gives_no_warning() {
    let server = changeling_servers::shared().await.unwrap();
    let database = free_name("probe");
    let images = doc! {"create": "orders", "changeStreamPreAndPostImages": {"enabled": true}};
    let client = server.client().await.unwrap();
    client.database(&database).run_command(images).await.unwrap();
    let findings = findings(&server.uri(), &[&format!("{database}.orders")], IMAGES).await;
    let text = text(&findings);
    assert!(findings.iter().all(|finding| finding.grade == Grade::Ok && finding.help.is_none()), "{text}");
    for part in ["MongoDB 6.", "the replica set changeling", "can be read", "1 collections keep", "the oplog holds"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn collections_without_images_come_with_the_command_that_works() {
    let server = changeling_servers::shared().await.unwrap();
    let database = free_name("probe");
    let client = server.client().await.unwrap();
    for collection in ["orders", "odd\"name", "unwatched"] {
        client.database(&database).create_collection(collection).await.unwrap();
    }
    let patterns = [format!("{database}.*"), format!("{database}.later")];
    let findings = findings(&server.uri(), &[&patterns[0], &patterns[1]], IMAGES).await;
    let warnings: Vec<&Finding> = findings.iter().filter(|finding| finding.grade == Grade::Warning).collect();
    let help: Vec<&str> = warnings.iter().map(|finding| finding.help.as_deref().unwrap()).collect();
    let enabled = "changeStreamPreAndPostImages: {enabled: true}";
    assert_eq!(
        help,
        [
            format!("db.getSiblingDB(\"{database}\").createCollection(\"later\", {{{enabled}}})"),
            format!("db.getSiblingDB(\"{database}\").runCommand({{collMod: \"odd\\\"name\", {enabled}}})"),
            format!("db.getSiblingDB(\"{database}\").runCommand({{collMod: \"orders\", {enabled}}})"),
        ]
    );
    let command: Document = doc! {"collMod": "orders", "changeStreamPreAndPostImages": {"enabled": true}};
    client.database(&database).run_command(command).await.unwrap();
    let after = self::findings(&server.uri(), &[&format!("{database}.orders")], IMAGES).await;
    assert!(after.iter().all(|finding| finding.grade == Grade::Ok), "{}", text(&after));
}

#[tokio::test]
async fn a_user_with_few_permissions_is_told_what_to_grant_by_name() {
    let login = Login { user: "root".to_owned(), password: "rootPassword".to_owned() };
    let server = ReplicaSet::start(&ReplicaSetOptions { login: Some(login), ..Default::default() }).await.unwrap();
    let admin = server.client().await.unwrap().database("admin");
    let roles = vec![doc! {"role": "read", "db": "shop"}];
    admin.run_command(doc! {"createUser": "reader", "pwd": "readerPassword", "roles": roles}).await.unwrap();
    let uri = server.uri_as(Some(("reader", "readerPassword")));

    let shop = findings(&uri, &["shop.orders"], NO_IMAGES).await;
    let shop_text = text(&shop);
    assert!(shop.iter().all(|finding| finding.grade != Grade::Problem), "{shop_text}");
    let grant = |role: &str, database: &str| {
        format!("db.getSiblingDB(\"admin\").grantRolesToUser(\"reader\", [{{role: \"{role}\", db: \"{database}\"}}])")
    };
    assert!(shop_text.contains(&grant("read", "local")), "{shop_text}");
    assert!(shop_text.contains(&grant("clusterMonitor", "admin")), "{shop_text}");

    let all = findings(&uri, &["*.orders"], NO_IMAGES).await;
    let problems: Vec<&Finding> = all.iter().filter(|finding| finding.grade == Grade::Problem).collect();
    assert_eq!(problems.len(), 1, "{}", text(&all));
    assert_eq!(problems[0].help, Some(grant("readAnyDatabase", "admin")));

    for (role, database) in [("read", "local"), ("clusterMonitor", "admin"), ("readAnyDatabase", "admin")] {
        let roles = vec![doc! {"role": role, "db": database}];
        admin.run_command(doc! {"grantRolesToUser": "reader", "roles": roles}).await.unwrap();
    }
    let granted = findings(&uri, &["*.orders"], NO_IMAGES).await;
    assert!(granted.iter().all(|finding| finding.grade == Grade::Ok), "{}", text(&granted));

    let wrong = findings(&server.uri_as(Some(("reader", "hunter2"))), &["shop.orders"], NO_IMAGES).await;
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].grade, Grade::Problem);
    assert!(wrong[0].help.as_deref().is_some_and(|help| help.contains("authSource")), "{}", text(&wrong));
}
