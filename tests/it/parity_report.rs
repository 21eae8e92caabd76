//! `changeling parity`: the real program, over the log of a real server and over tapes.

use std::fs;
use std::path::Path;

use bson::{Document, doc};
use changeling::source::{TapeHeader, TapeWriter};
use changeling_servers::shared;
use mongodb::{Client, ClientSession};
use serde_json::{Value, json};

use crate::support::{Program, free_name};

fn rules(database: &str) -> String {
    format!(
        "\
version: 1
defaults: {{collection: {database}.orders, key: '{{$.key._id}}'}}
rules:
  - {{event: OrderPlaced, on: insert, data: {{orderId: $.key._id, total: $.after.total}}}}
  - {{event: OrderShipped, when: {{status: {{from: placed, to: shipped}}}}, data: {{orderId: $.key._id}}}}
  - {{event: CancelledByCustomer, when: {{status: {{from: placed, to: cancelled}}}}, data: {{orderId: $.key._id}}}}
"
    )
}

/// An application that records what it does, and rules that try to know it too.
struct Shop {
    client: Client,
    database: String,
    begun: String,
    program: Program,
}

impl Shop {
    async fn new(stem: &str) -> Self {
        let server = shared().await.unwrap();
        let client = server.client().await.unwrap();
        let database = free_name(stem);
        let images = doc! {"create": "orders", "changeStreamPreAndPostImages": {"enabled": true}};
        client.database(&database).run_command(images).await.unwrap();
        client.database(&database).create_collection("outbox").await.unwrap();
        let hello = client.database("admin").run_command(doc! {"hello": 1}).await.unwrap();
        let now = hello.get_timestamp("operationTime").unwrap().time;
        let begun = bson::DateTime::from_millis(i64::from(now) * 1_000).try_to_rfc3339_string().unwrap();
        let config = format!(
            "name: {database}\nsource: {{uri: \"{}\", watch: [{database}], await_time: 100ms}}\nrules: [rules.yaml]\n\
             explicit: [{{outbox: {{collection: {database}.outbox, layout: debezium}}}}]\n\
             sinks: {{out: {{stdout: {{}}}}}}\ncheckpoint: {{file: state/position}}\n",
            server.uri()
        );
        let program = Program::with_config(&config).file("rules.yaml", &rules(&database));
        Self { client, database, begun, program }
    }

    /// One operation: a change of the order and its event, in one transaction.
    async fn operation(
        &self,
        session: &mut ClientSession,
        id: i32,
        update: Option<Document>,
        kind: &str,
        data: Document,
    ) {
        let database = self.client.database(&self.database);
        let (orders, outbox) = (database.collection::<Document>("orders"), database.collection::<Document>("outbox"));
        session.start_transaction().await.unwrap();
        match update {
            Some(update) => drop(orders.update_one(doc! {"_id": id}, update).session(&mut *session).await.unwrap()),
            None => {
                let order = doc! {"_id": id, "status": "placed", "total": id * 10, "note": "hunter2"};
                drop(orders.insert_one(order).session(&mut *session).await.unwrap());
            }
        }
        let event = doc! {"aggregatetype": "order", "aggregateid": id.to_string(), "type": kind, "payload": data};
        outbox.insert_one(event).session(&mut *session).await.unwrap();
        session.commit_transaction().await.unwrap();
    }

    /// 72 orders are placed; a third each is shipped, cancelled by the customer, cancelled by the shop.
    async fn live(&self) {
        let mut session = self.client.start_session().await.unwrap();
        for id in 0..72_i32 {
            let placed = doc! {"orderId": id, "total": id * 10};
            self.operation(&mut session, id, None, "OrderPlaced", placed).await;
            let (kind, status, data) = match id % 3 {
                0 => ("OrderShipped", "shipped", doc! {"orderId": id, "carrier": "hunter2"}),
                1 => ("CancelledByCustomer", "cancelled", doc! {"orderId": id}),
                _ => ("CancelledByShop", "cancelled", doc! {"orderId": id, "reason": "hunter2"}),
            };
            self.operation(&mut session, id, Some(doc! {"$set": {"status": status}}), kind, data).await;
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn of<'r>(report: &'r Value, name: &str) -> &'r Value {
    let types = report["types"].as_array().unwrap();
    types.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} is not in {report:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_which_types_rules_know_and_proves_which_they_can_not() {
    let shop = Shop::new("parity_report").await;
    shop.live().await;
    let since = ["parity", "--since", &shop.begun];
    let run = shop.program.run(&[&since[..], &["--json", "--html", "parity.html"]].concat()).await.expect_code(0);
    let report = parsed(&run.stdout);
    assert_eq!(report["sides"]["explicit_events"], json!(144), "{run}");

    let placed = of(&report, "OrderPlaced");
    assert_eq!((&placed["verdict"], &placed["matched"]), (&json!("safe_to_infer"), &json!(72)), "{report:#}");
    let shipped = of(&report, "OrderShipped");
    assert_eq!((&shipped["verdict"], &shipped["different"]), (&json!("infer_with_care"), &json!(24)), "{report:#}");
    assert_eq!(shipped["differences"][0], json!({"path": "carrier", "what": "only explicit", "count": 24}));
    let (customer, by_shop) = (of(&report, "CancelledByCustomer"), of(&report, "CancelledByShop"));
    assert_eq!((&customer["matched"], &customer["extra"]), (&json!(24), &json!(24)), "{report:#}");
    assert_eq!((&by_shop["missing"], &by_shop["inferred"]), (&json!(24), &json!(0)), "{report:#}");
    for (failing, other) in [(customer, "CancelledByShop"), (by_shop, "CancelledByCustomer")] {
        assert_eq!(failing["verdict"], "needs_an_outbox", "{report:#}");
        let proof = failing["shapes"][0]["proof"].as_str().unwrap_or_default();
        assert!(proof.contains(other) || failing["name"] == "CancelledByCustomer", "{proof}\n{report:#}");
    }
    let confused = json!({"explicit": "CancelledByShop", "inferred": "CancelledByCustomer", "count": 24});
    assert!(report["matrix"].as_array().unwrap().contains(&confused), "{report:#}");

    let page = shop.program.text("parity.html");
    assert!(page.contains("needs an outbox") && page.contains("Cancelled<wbr>By<wbr>Shop"), "{page}");
    let told = shop.program.run(&since).await.expect_code(0);
    for words in ["4 types of events", "needs an outbox", "proof:", "next:", "explicit, as inferred"] {
        assert!(told.stdout.contains(words), "{words}\n{told}");
    }
    let all = format!("{}{}{page}", run.stdout, told.stdout);
    assert!(!all.contains("hunter2") && !all.contains("placed ->"), "values are shown only if asked for\n{all}");
    let shown = shop.program.run(&[&since[..], &["--show-values"]].concat()).await.expect_code(0);
    assert!(shown.stdout.contains("placed -> cancelled") && !shown.stdout.contains("hunter2"), "{shown}");

    // A build can be made to fail by it.
    let strict = [&since[..], &["--fail-on", "needs-an-outbox,infer-with-care"]].concat();
    shop.program.run(&strict).await.expect_code(1);
    shop.program.run(&[&since[..], &["--fail-on", "too-few-to-say"]].concat()).await.expect_code(0);

    // A tape has what the log has, and says the same.
    shop.program.run(&["record", "--out", "shop.tape", "--since", &shop.begun]).await.expect_code(0);
    let taped = parsed(&shop.program.run(&["parity", "--tape", "shop.tape", "--json"]).await.expect_code(0).stdout);
    assert_eq!(taped["types"], report["types"]);
    assert_eq!(taped["matrix"], report["matrix"]);
    the_other_commands_know_relays(&shop).await;
}

async fn the_other_commands_know_relays(shop: &Shop) {
    let outbox = format!("{}.outbox", shop.database);
    let replayed = shop.program.run(&["replay", "--tape", "shop.tape", "--json"]).await.expect_code(0);
    let report = parsed(&replayed.stdout);
    let relay = report["rules"].as_array().unwrap().iter().find(|one| one["rule"] == *outbox);
    let relay = relay.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!((&relay["events"], &relay["origin"]), (&json!(144), &json!("explicit")), "{report:#}");
    assert_eq!(report["unmatched"], 0, "what relays take is not unmatched: {report:#}");

    // A glob that covers the outbox does not see it.
    let database = &shop.database;
    let glob = format!("version: 1\nrules:\n  - {{event: Inserted, collection: '{database}.*', on: insert}}\n");
    fs::write(shop.program.path("glob.yaml"), glob).unwrap();
    let globbed = shop.program.run(&["replay", "--tape", "shop.tape", "--rules", "glob.yaml", "--json"]).await;
    let report = parsed(&globbed.expect_code(0).stdout);
    assert_eq!(report["rules"][0]["events"], 72, "{report:#}");

    let covered = shop.program.run(&["coverage", "--tape", "shop.tape", "--json"]).await.expect_code(0);
    assert_eq!(parsed(&covered.stdout)["shapes"], json!([]), "{covered}");

    let explained = ["explain", "--tape", "shop.tape", "--collection", &outbox, "--last", "1"];
    let explained = shop.program.run(&explained).await.expect_code(0);
    assert!(explained.stdout.contains("no rule sees it"), "{explained}");
    assert!(explained.stdout.contains("CancelledByShop") && !explained.stdout.contains("hunter2"), "{explained}");
}

fn write_empty_tape(path: &Path) {
    let header = TapeHeader {
        version: "0.1.0".to_owned(),
        name: "shop".to_owned(),
        scope: "change_stream database shop".to_owned(),
        deployment: TapeHeader::deployment_of("replica-set rs0"),
        created_at: bson::DateTime::from_millis(1_767_225_600_000),
        has_before: false,
        has_after: false,
        has_look_ups: false,
    };
    drop(TapeWriter::create(path, &header).unwrap().finish().unwrap());
}

#[tokio::test]
async fn where_nothing_can_be_compared_it_says_why_and_what_to_do() {
    let program = Program::new().file("rules.yaml", &rules("shop"));
    write_empty_tape(&program.path("empty.tape"));
    let arguments = ["parity", "--tape", "empty.tape"];

    let none = program.run(&arguments).await.expect_code(2);
    assert!(none.stderr.contains("changeling.yaml can not be read") && none.stderr.contains("help:"), "{none}");

    fs::write(program.path("changeling.yaml"), "rules: [rules.yaml]\n").unwrap();
    let no_relay = program.run(&arguments).await.expect_code(2);
    assert!(no_relay.stderr.contains("names no explicit events"), "{no_relay}");
    assert!(no_relay.stderr.contains("explicit: [{outbox: {collection: shop.outbox"), "{no_relay}");

    let relay = "rules: [rules.yaml]\nexplicit: [{outbox: {collection: shop.outbox, layout: debezium}}]\n";
    fs::write(program.path("changeling.yaml"), relay).unwrap();
    let empty = program.run(&arguments).await.expect_code(0);
    assert!(empty.stdout.contains("shop.outbox passed no event on"), "{empty}");
    assert!(empty.stdout.contains("no type of event could be compared"), "{empty}");
    let report = parsed(&program.run(&["parity", "--tape", "empty.tape", "--json"]).await.expect_code(0).stdout);
    assert_eq!((&report["types"], &report["matrix"]), (&json!([]), &json!([])), "{report:#}");

    fs::write(program.path("none.yaml"), "version: 1\nrules: []\n").unwrap();
    let no_rules = program.run(&["parity", "--tape", "empty.tape", "--rules", "none.yaml"]).await.expect_code(0);
    assert!(no_rules.stdout.contains("there are no rules"), "{no_rules}");

    let no_place = program.run(&["parity", "--tape", "empty.tape", "--html", "gone/parity.html"]).await.expect_code(2);
    assert!(no_place.stderr.contains("the page gone/parity.html can not be written"), "{no_place}");

    let wrong = "rules: [rules.yaml]\nexplicit: [{outbox: {collection: shop.outbox, layout: none}}]\n";
    fs::write(program.path("changeling.yaml"), wrong).unwrap();
    let refused = program.run(&arguments).await.expect_code(2);
    assert!(refused.stderr.contains("layout"), "{refused}");
}
