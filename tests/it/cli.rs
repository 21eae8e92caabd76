//! The command line: the real program in a folder of its own. What it prints, where, and its exit code.

use std::net::TcpListener;

use changeling_servers::{Login, ReplicaSet, ReplicaSetOptions, free_port, shared};
use serde_json::Value;

use crate::support::{Finished, Program, free_name, wait_until};

const RULES: &str = "\
version: 1
defaults: {collection: shop.orders}
rules:
  - event: OrderPlaced
    on: insert
    data: {orderId: $.key._id}
  - event: OrderPaid
    when: {status: paid}
    data: {orderId: $.key._id, total: $.after.total}
tests:
  - name: a new order is placed
    change: {insert: shop.orders, after: {_id: 1, status: pending}}
    expect: [{event: OrderPlaced, data: {orderId: 1}}]
  - name: a pending order is paid
    change: {update: shop.orders, before: {_id: 1, status: pending, total: 10}, after: {_id: 1, status: paid, total: 10}}
    expect: [{event: OrderPaid, data: {orderId: 1, total: 10}}]
";

/// A configuration that reads from `uri`, and as little else as can be.
fn config(uri: &str) -> String {
    format!(
        "name: shop\nsource: {{uri: \"{uri}\"}}\nrules: [rules.yaml]\nsinks: {{out: {{stdout: {{}}}}}}\n\
         checkpoint: {{file: position}}\nhttp: {{listen: 127.0.0.1:0}}\n"
    )
}

fn program(uri: &str) -> Program {
    Program::with_config(&config(uri)).file("rules.yaml", RULES)
}

/// Checks that standard error holds every one of `parts`, that nothing panicked, and that no secret was told.
fn says(finished: &Finished, parts: &[&str]) {
    for part in parts {
        assert!(finished.stderr.contains(part), "{part:?} is not in standard error\n{finished}");
    }
    assert!(!finished.stderr.contains("panicked"), "{finished}");
    assert!(
        !finished.stderr.contains("hunter2") && !finished.stdout.contains("hunter2"),
        "a secret was told\n{finished}"
    );
}

#[tokio::test]
async fn help_teaches_and_goes_to_standard_output() {
    let program = Program::new();
    let help = program.run(&["--help"]).await.expect_code(0);
    for part in ["run", "check", "test", "record", "replay", "coverage", "query", "schema", "completions", "Exit codes"]
    {
        assert!(help.stdout.contains(part), "{part}\n{help}");
    }
    for command in ["run", "check", "test", "record", "replay", "coverage", "query", "schema", "completions"] {
        let help = program.run(&[command, "--help"]).await.expect_code(0);
        assert!(help.stdout.contains("Example"), "{command} shows no example\n{help}");
        assert!(help.stderr.is_empty(), "{help}");
    }
    let version = program.run(&["--version"]).await.expect_code(0);
    assert_eq!(version.stdout, format!("changeling {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn bad_usage_is_told_on_standard_error_with_exit_code_2() {
    let program = Program::new();
    says(&program.run(&[]).await.expect_code(2), &["Usage", "Commands:"]);
    for arguments in [vec!["rnu"], vec!["run", "--fast"], vec!["query"], vec!["schema", "everything"]] {
        let finished = program.run(&arguments).await.expect_code(2);
        assert!(finished.stdout.is_empty(), "{finished}");
        says(&finished, &["--help"]);
    }
    says(&program.run(&["rnu"]).await, &["unrecognized subcommand", "rnu"]);
}

#[tokio::test]
async fn a_missing_configuration_is_one_clear_message() {
    for command in ["run", "check", "test"] {
        let finished = Program::new().run(&[command]).await.expect_code(2);
        says(
            &finished,
            &["the configuration changeling.yaml can not be read", "No such file", "help: name another file with -c"],
        );
        assert!(finished.stdout.is_empty(), "{finished}");
    }
}

#[tokio::test]
async fn run_refuses_a_bad_configuration_and_bad_rules_with_all_their_problems() {
    let bad = config("mongodb://me:hunter2@localhost/").replace("stdout", "stdot").replace("name:", "nam:");
    let finished = Program::with_config(&bad).file("rules.yaml", RULES).run(&["run"]).await.expect_code(2);
    says(
        &finished,
        &["changeling.yaml:1:1: C001", "changeling.yaml:4:15: C001", "help: did you mean \"stdout\"?", "2 errors"],
    );
    let rules = RULES.replace("when:", "wehn:");
    let finished = program("mongodb://localhost/").file("rules.yaml", &rules).run(&["run"]).await.expect_code(2);
    says(&finished, &["rules.yaml:8:5: R", "\"wehn\"", "did you mean \"when\"?"]);
}

#[tokio::test]
async fn an_invalid_uri_is_refused_without_printing_it() {
    for uri in ["postgres://me:hunter2@localhost/", "mongodb://me:hunter2@", "mongodb://me:hunter2@localhost:99999/"] {
        let finished = program("${MONGODB_URI}").variable("MONGODB_URI", uri).run(&["run"]).await.expect_code(2);
        says(&finished, &["error: the connection string of MongoDB is not valid", "help: its form is mongodb://"]);
    }
}

#[tokio::test]
async fn an_unreachable_server_is_told_at_the_start() {
    let uri = format!("mongodb://localhost:{}/?serverSelectionTimeoutMS=500", free_port());
    let finished = program(&uri).run(&["run"]).await.expect_code(3);
    says(&finished, &["error: MongoDB can not be reached", "Connection refused"]);
    let finished = program(&uri).run(&["check"]).await.expect_code(1);
    says(&finished, &["MongoDB can not be reached"]);
}

#[tokio::test]
async fn a_standalone_server_is_refused_with_the_way_to_a_replica_set() {
    let options = ReplicaSetOptions { standalone: true, ..ReplicaSetOptions::default() };
    let server = ReplicaSet::start(&options).await.expect("a mongod");
    let finished = program(&server.uri()).run(&["run"]).await.expect_code(3);
    says(&finished, &["error: the server is not a member of a replica set", "rs.initiate()"]);
    let finished = program(&server.uri()).run(&["check"]).await.expect_code(1);
    says(&finished, &["the server is not a member of a replica set"]);
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_permission_are_told_with_the_way_out() {
    let login = Login { user: "root".to_owned(), password: "secret".to_owned() };
    let options = ReplicaSetOptions { login: Some(login), ..ReplicaSetOptions::default() };
    let server = ReplicaSet::start(&options).await.expect("a mongod with users");
    let finished = program(&server.uri_as(Some(("root", "hunter2")))).run(&["run"]).await.expect_code(3);
    says(&finished, &["error: MongoDB does not accept the user", "help: check user, password and authSource"]);

    let admin = server.client().await.expect("a client").database("admin");
    let user = bson::doc! {"createUser": "reader", "pwd": "hunter2", "roles": [{"role": "read", "db": "other"}]};
    admin.run_command(user).await.expect("a user who may read another database");
    let finished = program(&server.uri_as(Some(("reader", "hunter2")))).run(&["run"]).await.expect_code(3);
    says(&finished, &["may not read", "grantRolesToUser"]);

    let user = bson::doc! {"createUser": "shopper", "pwd": "hunter2", "roles": [{"role": "read", "db": "shop"}]};
    admin.run_command(user).await.expect("a user who may read the shop and write nothing");
    let in_mongodb = config(&server.uri_as(Some(("shopper", "hunter2")))).replace("checkpoint: {file: position}\n", "");
    let program = Program::with_config(&in_mongodb).file("rules.yaml", RULES);
    let finished = program.run(&["check"]).await.expect_code(1);
    let grant = "db.getSiblingDB(\"admin\").grantRolesToUser(\"shopper\", [{role: \"readWrite\", db: \"changeling\"}])";
    says(&finished, &["the user shopper may not write changeling.checkpoints", grant]);
    let finished = program.run(&["run"]).await.expect_code(3);
    says(&finished, &["changeling.checkpoints", "help: "]);
}

#[tokio::test]
async fn a_checkpoint_that_another_process_owns_is_refused() {
    let server = shared().await.expect("a mongod");
    let name = free_name("owned");
    let config = config(&server.uri())
        .replace("checkpoint: {file: position}\n", "")
        .replace("name: shop", &format!("name: {name}"));
    let program = Program::with_config(&config).file("rules.yaml", RULES);
    let first = program.start(&["run"]);
    wait_until("the first owns the checkpoint", async || first.stderr().contains("the source is open")).await;
    let second = Program::with_config(&config).file("rules.yaml", RULES).run(&["run"]).await.expect_code(3);
    says(&second, &[&format!("the checkpoint \"{name}\" is owned by"), "help: stop that process"]);
    first.stopped().await.expect_code(0);
}

#[tokio::test]
async fn output_that_goes_to_no_terminal_has_no_colour_and_a_closed_pipe_is_no_panic() {
    let program = program("mongodb://localhost/").file("rules.yaml", &RULES.replace("on: insert", "on: isnert"));
    let finished = program.run(&["check", "--offline"]).await;
    assert!(!finished.stdout.contains('\x1b') && !finished.stderr.contains('\x1b'), "{finished}");
    // The far end of the pipe is closed before the program starts.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = std::process::Command::new(crate::support::binary())
        .args(["schema", "rules"])
        .stdout(writer)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn a_wrong_log_level_is_refused() {
    let finished = program("mongodb://localhost/").run(&["run", "--log-level", "a=b=c"]).await.expect_code(2);
    says(&finished, &["\"a=b=c\" is no log level", "help: give off, error"]);
}

#[tokio::test]
async fn a_port_in_use_is_told_before_anything_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let config = config("mongodb://localhost:1/").replace("127.0.0.1:0", &address);
    let finished = Program::with_config(&config).file("rules.yaml", RULES).run(&["run"]).await.expect_code(3);
    says(
        &finished,
        &[&format!("the address {address} of http.listen can not be used"), "in use", "help: give another address"],
    );
}

#[tokio::test]
async fn a_state_folder_that_can_not_be_written_is_told() {
    let server = shared().await.expect("a mongod");
    let config = config(&server.uri()).replace("file: position", "file: rules.yaml/position");
    let finished = Program::with_config(&config).file("rules.yaml", RULES).run(&["run"]).await.expect_code(3);
    says(&finished, &["rules.yaml/position"]);
}

#[tokio::test]
async fn test_runs_the_tests_of_rule_files_without_any_database() {
    let good = program("${NOT_SET_ANYWHERE}").run(&["test"]).await.expect_code(0);
    assert!(good.stdout.contains("2 passed"), "{good}");
    let rules = RULES.replace("data: {orderId: 1, total: 10}", "data: {orderId: 1, total: 11}");
    let program = program("${NOT_SET_ANYWHERE}").file("rules.yaml", &rules);
    let bad = program.run(&["test", "rules.yaml"]).await.expect_code(1);
    assert!(bad.stdout.contains("FAILED a pending order is paid  rules.yaml:"), "{bad}");
    assert!(bad.stdout.contains("1 passed, 1 failed"), "{bad}");
    let json = program.run(&["test", "--json"]).await.expect_code(1);
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((&json["passed"], &json["tests"][1]["passed"]), (&Value::Bool(false), &Value::Bool(false)));
    let none = program.run(&["test", "nowhere.yaml"]).await.expect_code(2);
    says(&none, &["the rules nowhere.yaml can not be read"]);
}

#[tokio::test]
async fn query_prints_what_is_selected_as_lines_of_json() {
    let program = Program::new().file(
        "order.json",
        r#"{"items": [{"sku": "a", "qty": 3}, {"sku": "b", "qty": 1}], "at": {"$date": "2026-01-31T12:00:00Z"}}"#,
    );
    let skus = program.run(&["query", "$.items[*].sku", "order.json"]).await.expect_code(0);
    assert_eq!(skus.stdout, "\"a\"\n\"b\"\n");
    let at = program.run(&["query", "$.at", "order.json"]).await.expect_code(0);
    assert_eq!(at.stdout, "{\"$date\":\"2026-01-31T12:00:00Z\"}\n");
    let none = program.run(&["query", "$.items[?@.qty > 5]", "order.json"]).await.expect_code(1);
    assert!(none.stdout.is_empty(), "{none}");
    let wrong = program.run(&["query", "$.a b", "order.json"]).await.expect_code(2);
    says(&wrong, &["  $.a b\n", "^", "help:"]);
    let missing = program.run(&["query", "$.a", "none.json"]).await.expect_code(2);
    says(&missing, &["the document none.json can not be read"]);
}

#[tokio::test]
async fn schema_and_completions_are_printed() {
    let program = Program::new();
    for of in ["rules", "config"] {
        let finished = program.run(&["schema", of]).await.expect_code(0);
        let schema: Value = serde_json::from_str(&finished.stdout).expect("JSON");
        assert!(schema["properties"]["rules"].is_object(), "{finished}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let finished = program.run(&["completions", shell]).await.expect_code(0);
        assert!(finished.stdout.contains("changeling"), "{finished}");
    }
}

#[tokio::test]
async fn check_offline_looks_at_files_only_and_says_so() {
    let good = program("mongodb://nowhere.invalid/").run(&["check", "--offline"]).await.expect_code(0);
    assert!(good.stdout.contains("not asked"), "{good}");
    let bad = program("mongodb://nowhere.invalid/").file("rules.yaml", &RULES.replace("on: insert", "on: isnert"));
    let finished = bad.run(&["check", "--offline"]).await.expect_code(1);
    says(&finished, &["rules.yaml:5:9: R", "did you mean \"insert\"?", "1 error"]);
    let json = bad.run(&["check", "--offline", "--json"]).await.expect_code(1);
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((&json["good"], &json["problems"][0]["line"]), (&Value::Bool(false), &Value::from(5)));
}

#[tokio::test]
async fn check_tells_what_the_database_is_and_what_it_lacks() {
    let server = shared().await.expect("a mongod");
    let database = free_name("check");
    let rules = RULES
        .replace("shop.orders", &format!("{database}.orders"))
        .replace("{status: paid}", "{status: {from: pending, to: paid}}");
    let program = program(&server.uri()).file("rules.yaml", &rules);
    let finished = program.run(&["check"]).await;
    assert!(finished.stdout.contains("replica set"), "{finished}");
    assert!(finished.stdout.contains("changeStreamPreAndPostImages"), "the command is told\n{finished}");
    assert!(finished.stdout.contains("rules that can not be decided: OrderPaid\n"), "{finished}");
    let running = program.start(&["run"]);
    wait_until("the start tells the same", async || {
        let log = running.stderr();
        log.contains("rules that can not be decided: OrderPaid") && log.contains("createCollection")
    })
    .await;
    running.stopped().await.expect_code(0);
}
