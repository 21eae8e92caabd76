//! `/metrics`, `/healthz` and `/readyz` of the real program while it runs, and the page about the figures.

use std::collections::BTreeSet;
use std::fs;

use bson::doc;
use changeling::metrics::Metrics;
use changeling_servers::shared;
use serde_json::Value;

use crate::support::{Program, Running, free_name, wait_for, wait_until};

/// The address that the program says it serves on.
async fn address(running: &Running) -> String {
    wait_for("the program says where it serves", async || {
        running.assert_runs();
        let log = running.stderr();
        let (_, rest) = log.split_once("\"address\":\"")?;
        Some(rest.split('"').next()?.to_owned())
    })
    .await
}

async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("http://{address}{path}")).await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

fn value(metrics: &str, sample: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}

#[tokio::test]
async fn a_run_can_be_scraped_and_says_whether_it_is_ready() {
    let server = shared().await.unwrap();
    let database = free_name("http");
    let orders = server.client().await.unwrap().database(&database).collection("orders");
    let rules = format!(
        "version: 1\nrules:\n  - {{event: OrderPlaced, collection: {database}.orders, on: insert, data: {{total: $.after.total}}}}\n"
    );
    let config = format!(
        "name: {database}\nsource: {{uri: \"{}\", await_time: 100ms, push_down: false}}\nrules: [rules.yaml]\nsinks: {{out: {{stdout: {{}}}}}}\n\
         checkpoint: {{file: position, interval: 100ms}}\nhttp: {{listen: \"127.0.0.1:0\"}}\nlog: {{format: json}}\n",
        server.uri()
    );
    let program = Program::with_config(&config).file("rules.yaml", &rules);
    let running = program.start(&["run"]);
    let address = address(&running).await;
    wait_until("it is ready", async || {
        running.assert_runs();
        get(&address, "/readyz").await.is_some_and(|(status, _)| status == 200)
    })
    .await;
    let (status, health) = get(&address, "/healthz").await.unwrap();
    assert_eq!((status, health.trim()), (200, "{\"healthy\":true,\"reasons\":[]}"));
    assert_eq!(get(&address, "/").await.unwrap().0, 404);

    orders.insert_one(doc! {"_id": 1, "total": 10, "note": "hunter2"}).await.unwrap();
    orders.update_one(doc! {"_id": 1}, doc! {"$set": {"total": 11}}).await.unwrap();
    let metrics = wait_for("both changes are counted and the event is settled", async || {
        running.assert_runs();
        let (_, metrics) = get(&address, "/metrics").await?;
        let updates = format!("changeling_changes_total{{collection=\"{database}.orders\",operation=\"update\"}} ");
        let settled = "changeling_events_total{rule=\"OrderPlaced\",sink=\"out\"} ";
        (value(&metrics, &updates) == Some(1.0) && value(&metrics, settled) == Some(1.0)).then_some(metrics)
    })
    .await;
    assert_eq!(value(&metrics, "changeling_rules "), Some(1.0));
    assert!(metrics.contains("changeling_build_info{version="), "{metrics}");
    assert!(metrics.contains("process_resident_memory_bytes"), "{metrics}");
    wait_until("the lag is known and small", async || {
        let Some((_, metrics)) = get(&address, "/metrics").await else { return false };
        value(&metrics, "changeling_lag_seconds ").is_some_and(|lag| lag < 60.0)
            && value(&metrics, "changeling_oplog_runway_seconds ").is_some()
            && value(&metrics, "changeling_checkpoint_age_seconds ").is_some()
    })
    .await;

    let finished = running.stopped().await.expect_code(0);
    let events: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 1, "{finished}");
    assert_eq!((&events[0]["type"], &events[0]["data"]["total"]), (&Value::from("OrderPlaced"), &Value::from(10)));
    for line in finished.stderr.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}\n{finished}"));
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(!finished.stderr.contains("hunter2") && !metrics.contains("hunter2"), "{finished}");
}

#[test]
fn the_page_about_the_figures_names_every_figure_and_no_other() {
    let metrics = Metrics::new().unwrap();
    metrics.set_lag_seconds(0.0);
    metrics.set_oplog_runway_seconds(0.0);
    metrics.set_checkpoint_age_seconds(0.0);
    let source = fs::read_to_string("src/metrics.rs").expect("the figures are there");
    let in_source = source.split('"').filter(|text| is_figure(text)).map(str::to_owned);
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    let rendered = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned);
    let figures: BTreeSet<String> = in_source.chain(rendered).collect();
    let page = fs::read_to_string("docs/metrics.md").expect("docs/metrics.md is there");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let told: BTreeSet<String> = rows.filter(|name| !name.contains(' ')).map(str::to_owned).collect();
    let missing: Vec<_> = figures.difference(&told).collect();
    let unknown: Vec<_> = told.difference(&figures).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "docs/metrics.md\nmissing: {missing:#?}\nunknown: {unknown:#?}");
}

fn is_figure(text: &str) -> bool {
    let rest = text.strip_prefix("changeling_").unwrap_or_default();
    !rest.is_empty() && rest.chars().all(|character| character.is_ascii_lowercase() || character == '_')
}
