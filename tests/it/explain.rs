//! `changeling explain`: what it says of a change that was typed in, and of what happened to a document in a real database.

use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::support::{Program, free_name};

const RULES: &str = "defaults: {collection: shop.orders}\nrules:\n  \
    - {event: OrderPaid, when: {status: {from: pending, to: paid}}, where: {$.after.total: {gte: 10}}}\n  \
    - {event: OrderOverdrawn, enters: {total: {lt: 0}}}\n  \
    - {event: OrderMoved, first_of: status, when: {status: changed}}\n  \
    - {event: OrderLost, first_of: status, when: {status: {to: paid}}, where: {$.after.lost: {not: true}}}\n  \
    - {event: ItemAdded, each: {path: items, key: sku, is: added}}\n  \
    - {event: OrderPlaced, on: insert}\n  \
    - {event: ReturnOpened, collection: shop.returns, on: insert}\n";

fn program(change: &str) -> Program {
    Program::new().file("rules.yaml", RULES).file("change.yaml", change)
}

const PAID: &str = "{update: shop.orders, before: {_id: 7, status: pending, total: 9, items: []}, \
    after: {_id: 7, status: paid, total: 9, items: [{sku: secret-tea}]}}\n";

#[tokio::test]
async fn a_change_that_was_typed_in_is_explained_condition_by_condition_without_its_values() {
    let explained = program(PAID).run(&["explain", "--rules", "rules.yaml", "--change", "change.yaml"]).await;
    let explained = explained.expect_code(0);
    for line in [
        "update shop.orders  _id int, 2026-01-01T00:00:00Z",
        "✘ OrderPaid   does not fire",
        "    ✔ when status: {from: pending, to: paid}        before string, after string",
        "    ✘ where $.after.total: {gte: 10}                $.after.total int",
        "✔ OrderMoved  fires, evidence exact",
        "✘ OrderLost   does not fire: OrderMoved, earlier in its group, does",
        "✔ ItemAdded   fires, evidence exact",
        "3 other rules do not look at such a change (--all tells why)",
    ] {
        assert!(explained.stdout.contains(line), "{line}\n{}", explained.stdout);
    }
    for value in ["secret-tea", " 9", " 7"] {
        let values: Vec<&str> = explained.stdout.lines().filter(|line| line.contains(value)).collect();
        assert!(values.is_empty(), "{values:?}");
    }
    let whole = program(PAID)
        .run(&["explain", "--rules", "rules.yaml", "--change", "change.yaml", "--show-values", "--all"])
        .await
        .expect_code(0);
    for line in ["_id 7,", "$.after.total 9", "it fires on insert, and this is an update", "it looks at shop.returns"] {
        assert!(whole.stdout.contains(line), "{line}\n{}", whole.stdout);
    }
}

#[tokio::test]
async fn what_is_not_known_is_shown_as_such_and_as_json() {
    let change =
        "changes:\n  - {update: shop.orders, description: {updated: {status: paid}}}\n  - {delete: shop.orders}\n";
    let arguments = ["explain", "--rules", "rules.yaml", "--change", "change.yaml", "--json"];
    let explained = program(change).run(&arguments).await.expect_code(0);
    let changes: Value = serde_json::from_str(&explained.stdout).unwrap();
    assert_eq!(changes.as_array().map(Vec::len), Some(2));
    let paid = &changes[0]["rules"][0];
    assert_eq!(
        (&paid["rule"], &paid["verdict"], &paid["reason"]),
        (&"OrderPaid".into(), &"undecided".into(), &"no_pre_image".into())
    );
    let condition = &paid["conditions"][0];
    assert_eq!((&condition["key"], &condition["holds"]), (&"when".into(), &Value::Null));
    assert_eq!(
        condition["values"],
        serde_json::json!([
            {"what": "before", "seen": "not known"}, {"what": "after", "seen": "string"}
        ])
    );
    assert_eq!(changes[1]["rules"], serde_json::json!([]), "no rule fires on a delete");
}

#[tokio::test]
async fn what_can_not_be_explained_says_why() {
    for (change, arguments, code, said) in [
        (PAID, ["--rule", "OrderPayed"].as_slice(), 2, "there is no rule \"OrderPayed\""),
        ("{updat: shop.orders}\n", &[], 2, "did you mean \"update\""),
        (PAID, &["--last", "3"], 2, "cannot be used with"),
        (PAID, &["--rule", "ReturnOpened"], 0, ""),
    ] {
        let mut all = vec!["explain", "--rules", "rules.yaml", "--change", "change.yaml"];
        all.extend(arguments);
        let finished = program(change).run(&all).await.expect_code(code);
        assert!(finished.stderr.contains(said), "{said}\n{}", finished.stderr);
    }
    let nothing = Program::new().file("rules.yaml", RULES).run(&["explain", "--rules", "rules.yaml"]).await;
    assert!(nothing.expect_code(2).stderr.contains("nothing says which changes to read"));
}

#[tokio::test]
async fn what_happened_to_a_document_is_found_in_the_history_of_the_database() {
    let server = changeling_servers::shared().await.expect("mongod");
    let uri = server.uri();
    let client = Client::with_uri_str(&uri).await.expect("a client");
    let name = free_name("explain");
    let database = client.database(&name);
    let images = doc! {"enabled": true};
    database.run_command(doc! {"create": "orders", "changeStreamPreAndPostImages": images}).await.expect("created");
    let orders = database.collection::<Document>("orders");
    for id in 1..=3 {
        orders.insert_one(doc! {"_id": id, "status": "pending", "total": 20}).await.expect("inserted");
        orders.update_one(doc! {"_id": id}, doc! {"$set": {"status": "paid"}}).await.expect("updated");
    }
    let config =
        format!("name: {name}\nsource: {{uri: \"{uri}\"}}\nrules: [rules.yaml]\nsinks: {{out: {{stdout: {{}}}}}}\n");
    let rules = RULES.replace("shop.", &format!("{name}."));
    let program = Program::with_config(&config).file("rules.yaml", &rules);
    let collection = format!("{name}.orders");
    let arguments = ["explain", "--since", "1h", "--collection", &collection, "--id", "2", "--json", "--show-values"];
    let explained = program.run(&arguments).await.expect_code(0);
    let changes: Value = serde_json::from_str(&explained.stdout).unwrap();
    let seen: Vec<(&str, &str)> = changes
        .as_array()
        .into_iter()
        .flatten()
        .map(|change| (change["operation"].as_str().unwrap(), change["key"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("insert", "2"), ("update", "2")]);
    let paid = &changes[1]["rules"][0];
    assert_eq!(
        (&paid["rule"], &paid["verdict"], &paid["evidence"]),
        (&"OrderPaid".into(), &"fired".into(), &"exact".into())
    );
    let last =
        program.run(&["explain", "--since", "1h", "--collection", &collection, "--last", "1"]).await.expect_code(0);
    assert_eq!(last.stdout.matches("update ").count(), 1, "{}", last.stdout);
    let none = program.run(&["explain", "--since", "1h", "--collection", &collection, "--id", "nobody"]).await;
    assert!(none.expect_code(1).stdout.contains("there is no such change"));
}
