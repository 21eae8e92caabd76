//! The NATS sink beyond the contract: what a message looks like, and streams that do not fit.

use std::sync::Arc;

use changeling::event::{Address, AddressPart, Destination, Event, Explicit, Header, MessageForm, Payload};
use changeling::failure::Disposition;
use changeling::secret::Secret;
use changeling::sink::{self, Envelope, EnvelopeSettings, Route, SinkSettings};
use changeling_servers::{Files, Guarded, free_port};
use serde_json::{Value, json};

use async_nats::jetstream::{self, stream};

use crate::sink_stands::{build, envelope, event, events, large_event, messages};
use crate::support::{free_name, wait_until};

async fn server() -> (String, jetstream::Context) {
    let url = changeling_servers::shared_nats().await.expect("nats-server").url();
    let client = async_nats::connect(&url).await.expect("connected");
    (url, jetstream::new(client))
}

/// Names of its own, because all tests share one server.
fn settings(url: &str, name: &str) -> Value {
    json!({"servers": [url], "stream": {"name": name}, "subject": format!("{name}.{{collection}}.{{type}}")})
}

#[tokio::test]
async fn a_message_is_a_cloud_event_with_its_id_for_de_duplication() {
    let (url, _) = server().await;
    let name = free_name("message");
    let settings: SinkSettings = serde_json::from_value(json!({"nats": settings(&url, &name)})).expect("settings");
    let prefixed = EnvelopeSettings { type_prefix: "com.example.".into(), ..EnvelopeSettings::default() };
    let envelope = Envelope::new(&prefixed, "shop");
    let mut sink = sink::build("facts", &settings, &envelope, &Secret::new("")).expect("built");
    sink.open().await.expect("opened");
    sink.deliver(&events(7..8)).await.expect("delivered");
    let message = &messages(&url, &name).await[0];
    assert_eq!(message.subject.as_str(), format!("{name}.orders.com.example.OrderPaid"));
    assert_eq!(message.headers.get("Nats-Msg-Id").expect("an id").as_str(), event(7, "").id.to_string());
    assert_eq!(message.headers.get("content-type").expect("a type").as_str(), "application/cloudevents+json");
    let payload: Value = serde_json::from_slice(&message.payload).expect("JSON");
    assert_eq!((&payload["specversion"], &payload["type"]), (&json!("1.0"), &json!("com.example.OrderPaid")));
    assert_eq!(payload["id"], event(7, "").id.to_string());
}

#[tokio::test]
async fn an_event_with_an_address_goes_to_that_subject_and_a_bad_one_is_rejected() {
    let (url, _) = server().await;
    let name = free_name("address");
    let addressed = |number: u32, parts: Vec<AddressPart>| {
        let to = [Destination { sink: "facts".into(), address: Some(Address { parts }) }];
        Arc::new(Event { to: Some(to.into()), ..event(number, "customer 1") })
    };
    let text = |text: &str| AddressPart::Text(text.to_owned());
    let value = |text: &str| AddressPart::Value(text.to_owned());
    let good = addressed(1, vec![text(&format!("{name}.paid.")), value("a.b *")]);
    let bad = addressed(2, vec![text(&format!("{name}..")), value("a")]);
    let mut sink = build(json!({"nats": settings(&url, &name)}), "");
    sink.open().await.expect("opened");
    let failure = sink.deliver(&[good, bad]).await.expect_err("one subject is none");
    assert_eq!((failure.delivered, failure.error.disposition()), (1, Disposition::Reject), "{}", failure.error);
    sink.deliver(&events(3..4)).await.expect("delivered");
    let subjects: Vec<String> = messages(&url, &name).await.iter().map(|one| one.subject.to_string()).collect();
    assert_eq!(subjects, [format!("{name}.paid.a_b__"), format!("{name}.orders.OrderPaid")]);
}

/// An event as the relay of a Debezium outbox gives it.
fn outbox_event(number: u32, aggregate_type: &str, form: MessageForm, stem: &str) -> Event {
    let text = AddressPart::Text(format!("{stem}.outbox.event."));
    let route = Address { parts: vec![text, AddressPart::Value(aggregate_type.to_owned())] };
    let header = |name: &str, value: bson::RawBson| Header { name: name.into(), value };
    let headers = vec![
        header("id", "65a1f0c2d4b3a29180706050".into()),
        header("eventType", "OrderPaid".into()),
        header("note", "two\r\nlines".into()),
    ];
    let id = "65a1f0c2d4b3a29180706050".to_owned();
    let explicit = Explicit { id, headers, route: Some(route.into()), payload: Payload::Document, form };
    Event {
        rule: "shop.outbox".into(),
        partition_key: "1042".into(),
        data: bson::rawdoc! {"orderId": 1042, "lines": [{"sku": "a"}]},
        explicit: Some(Box::new(explicit)),
        ..event(number, "")
    }
}

#[tokio::test]
async fn a_consumer_of_a_debezium_outbox_sees_route_key_header_and_value() {
    let (url, jetstream) = server().await;
    let name = free_name("outbox");
    let settings: SinkSettings = serde_json::from_value(json!({"nats": settings(&url, &name)})).expect("settings");
    let parts = vec![AddressPart::Text(format!("{name}x.outbox.event.")), AddressPart::Value(String::new())];
    let route = Route { sinks: vec!["facts".to_owned()], address: Address { parts } };
    let envelope = envelope().with_routes(vec![route]);
    let mut sink = sink::build("facts", &settings, &envelope, &Secret::new("")).expect("built");
    sink.open().await.expect("opened");
    let created = jetstream.get_stream(&name).await.expect("there").cached_info().config.subjects.clone();
    assert_eq!(created, [format!("{name}.>"), format!("{name}x.outbox.event.>")]);
    let stem = format!("{name}x");
    let mut tombstone = outbox_event(3, "Order", MessageForm::Bare, &stem);
    tombstone.explicit.as_mut().expect("explicit").payload = Payload::Tombstone;
    let events = [
        outbox_event(1, "Order", MessageForm::Bare, &stem),
        outbox_event(2, "Or der.*>", MessageForm::BareCanonical, &stem),
        tombstone,
        outbox_event(4, "Order", MessageForm::Envelope, &stem),
        event(5, "1042"),
    ]
    .map(Arc::new);
    sink.deliver(&events).await.expect("delivered");
    let messages = messages(&url, &name).await;
    let subjects: Vec<&str> = messages.iter().map(|message| message.subject.as_str()).collect();
    let route = |word: &str| format!("{stem}.outbox.event.{word}");
    let (order, cleaned) = (route("Order"), route("Or_der___"));
    assert_eq!(subjects, [&*order, &*cleaned, &*order, &*order, &format!("{name}.orders.OrderPaid")]);
    let header = |number: usize, name: &str| messages[number].headers.get(name).map(|value| value.as_str());
    for (number, event) in events.iter().enumerate().take(4) {
        assert_eq!(header(number, "id"), Some("65a1f0c2d4b3a29180706050"));
        assert_eq!(header(number, "eventType"), Some("OrderPaid"));
        assert_eq!(header(number, "note"), Some("two  lines"));
        assert_eq!(header(number, "Nats-Msg-Id"), Some(&*event.id.to_string()));
    }
    assert_eq!((header(0, "ce-partitionkey"), header(0, "ce-origin")), (Some("1042"), Some("explicit")));
    assert_eq!((header(0, "ce-relay"), header(0, "content-type")), (Some("shop.outbox"), Some("application/json")));
    let bodies: Vec<String> =
        messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect();
    assert_eq!(bodies[0], r#"{"orderId":1042,"lines":[{"sku":"a"}]}"#);
    let canonical = r#"{
  "orderId": {
    "$numberInt": "1042"
  },
  "lines": [
    {
      "sku": "a"
    }
  ]
}"#;
    assert_eq!(bodies[1], canonical);
    assert_eq!((bodies[2].as_str(), header(2, "ce-tombstone"), header(2, "content-type")), ("", Some("true"), None));
    let envelope: Value = serde_json::from_str(&bodies[3]).expect("JSON");
    assert_eq!((&envelope["eventid"], &envelope["relay"]), (&json!("65a1f0c2d4b3a29180706050"), &json!("shop.outbox")));
    assert_eq!(header(3, "content-type"), Some("application/cloudevents+json"));
    assert_eq!((header(4, "ce-id"), header(4, "id")), (None, None));
    let inferred: Value = serde_json::from_str(&bodies[4]).expect("JSON");
    assert_eq!(inferred["origin"], "inferred");
}

#[tokio::test]
async fn a_stream_is_created_as_the_settings_say_and_never_changed() {
    let (url, jetstream) = server().await;
    let name = free_name("created");
    let mut settings = settings(&url, &name);
    settings["stream"]["duplicate_window"] = json!("30s");
    settings["stream"]["bytes_max"] = json!("16MiB");
    settings["stream"]["age_max"] = json!("7d");
    build(json!({"nats": settings}), "").open().await.expect("opened");
    let config = async || jetstream.get_stream(&name).await.expect("there").cached_info().config.clone();
    let created = config().await;
    assert_eq!(created.subjects, [format!("{name}.>")]);
    assert_eq!(created.duplicate_window.as_secs(), 30);
    assert_eq!((created.max_bytes, created.max_age.as_secs()), (16 << 20, 7 * 86_400));
    settings["stream"]["bytes_max"] = json!("32MiB");
    build(json!({"nats": settings}), "").open().await.expect("opened");
    assert_eq!(config().await.max_bytes, 16 << 20);
}

#[tokio::test]
async fn a_stream_that_does_not_fit_stops_with_the_way_out() {
    let (url, jetstream) = server().await;
    let name = free_name("unfit");
    let mut missing = settings(&url, &name);
    missing["stream"]["create"] = json!(false);
    let error = build(json!({"nats": missing}), "").open().await.expect_err("not there");
    assert_eq!(error.disposition(), Disposition::Stop);
    assert!(error.to_string().contains(&format!("nats stream add {name} --subjects '{name}.>'")), "{error}");

    let other = stream::Config { name: name.clone(), subjects: vec![format!("other.{name}")], ..Default::default() };
    jetstream.create_stream(other).await.expect("created");
    let error = build(json!({"nats": settings(&url, &name)}), "").open().await.expect_err("other subjects");
    assert_eq!(error.disposition(), Disposition::Stop);
    assert!(error.to_string().contains("takes no subject like"), "{error}");

    let routed = free_name("routed");
    let parts = vec![AddressPart::Text("outbox.event.".to_owned()), AddressPart::Value(String::new())];
    let route = |parts| vec![Route { sinks: Vec::new(), address: Address { parts } }];
    let build_routed = |parts| {
        let settings = json!({"nats": settings(&url, &routed)});
        let settings: SinkSettings = serde_json::from_value(settings).expect("settings");
        sink::build("facts", &settings, &envelope().with_routes(route(parts)), &Secret::new(""))
    };
    let own = stream::Config { name: routed.clone(), subjects: vec![format!("{routed}.>")], ..Default::default() };
    jetstream.create_stream(own).await.expect("created");
    let error = build_routed(parts).expect("built").open().await.expect_err("the route is not taken");
    assert_eq!(error.disposition(), Disposition::Stop);
    assert!(error.to_string().contains("takes no subject like outbox.event.>"), "{error}");
    assert!(error.to_string().contains(&format!("--subjects '{routed}.>,outbox.event.>'")), "{error}");
    let error = build_routed(vec![AddressPart::Value("anything".to_owned())]).err().expect("no subject");
    assert!(error.to_string().contains("begin with plain text"), "{error}");

    let mut taken = settings(&url, &free_name("second"));
    taken["subject"] = json!(format!("other.{name}"));
    let error = build(json!({"nats": taken}), "").open().await.expect_err("the subject is taken");
    assert_eq!(error.disposition(), Disposition::Stop);
    assert!(error.to_string().contains("another stream takes its subjects"), "{error}");

    let silent = free_name("silent");
    let config = stream::Config {
        name: silent.clone(),
        subjects: vec![format!("{silent}.>")],
        no_ack: true,
        ..Default::default()
    };
    jetstream.create_stream(config).await.expect("created");
    let error = build(json!({"nats": settings(&url, &silent)}), "").open().await.expect_err("no acknowledgements");
    assert!(error.to_string().contains("does not acknowledge"), "{error}");
}

#[tokio::test]
async fn a_message_too_large_for_server_or_stream_is_rejected() {
    let (url, jetstream) = server().await;
    let name = free_name("small");
    let config = stream::Config {
        name: name.clone(),
        subjects: vec![format!("{name}.>")],
        max_message_size: 2_000,
        ..Default::default()
    };
    jetstream.create_stream(config).await.expect("created");
    let mut sink = build(json!({"nats": settings(&url, &name)}), "");
    let mut too_large = event(1, "customer 1");
    too_large.data = bson::rawdoc! {"text": "a value ".repeat(500)};
    for too_large in [too_large, large_event(2)] {
        let mut batch = events(10..13);
        batch.insert(1, std::sync::Arc::new(too_large));
        let failure = sink.deliver(&batch).await.expect_err("too large");
        assert_eq!((failure.delivered, failure.error.disposition()), (1, Disposition::Reject), "{}", failure.error);
        assert!(!failure.error.to_string().contains("a value"), "{}", failure.error);
        sink.deliver(&batch[2..]).await.expect("delivered");
    }
    assert_eq!(messages(&url, &name).await.len(), 3);
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_waited_for_and_created_again() {
    let (url, jetstream) = server().await;
    let name = free_name("deleted");
    let mut sink = build(json!({"nats": settings(&url, &name)}), "");
    sink.deliver(&events(0..3)).await.expect("delivered");
    jetstream.delete_stream(&name).await.expect("deleted");
    let failure = sink.deliver(&events(3..6)).await.expect_err("nobody takes it");
    assert_eq!((failure.delivered, failure.error.disposition()), (0, Disposition::Retry), "{}", failure.error);
    sink.open().await.expect("created again");
    sink.deliver(&events(3..6)).await.expect("delivered");
    assert_eq!(messages(&url, &name).await.len(), 3);
}

#[tokio::test]
async fn only_who_has_the_password_is_let_in_and_it_is_never_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let log = folder.path().join("nats.log");
    let files = Files { stdout: log.clone(), stderr: log, folder: None };
    let arguments =
        ["--addr", "127.0.0.1", "--jetstream", "--port", &port.to_string(), "--user", "shop", "--pass", "hunter2"]
            .into_iter()
            .map(Into::into)
            .chain(["--store_dir".into(), folder.path().join("streams").into()])
            .collect::<Vec<std::ffi::OsString>>();
    let program = changeling_servers::nats_server().expect("nats-server");
    let _server = Guarded::start(&program, &arguments, [], folder.path(), &files).expect("started");
    wait_until("it listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    let url = format!("nats://127.0.0.1:{port}");
    let with = |authentication: Value| {
        let mut settings = settings(&url, "EVENTS");
        settings["authentication"] = authentication;
        settings
    };
    let mut sink = build(json!({"nats": with(json!({"user": "shop", "password": "hunter2"}))}), "");
    sink.deliver(&events(0..3)).await.expect("delivered");
    let in_url = json!({"servers": [format!("nats://shop:hunter2@127.0.0.1:{port}")], "stream": {"name": "EVENTS"},
        "subject": "EVENTS.{type}"});
    build(json!({"nats": in_url}), "").deliver(&events(3..6)).await.expect("delivered");
    for wrong in [json!({"user": "shop", "password": "swordfish"}), json!({"token": "swordfish"}), json!({})] {
        let error = build(json!({"nats": with(wrong)}), "").open().await.expect_err("not let in");
        assert_eq!(error.disposition(), Disposition::Stop, "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("does not let us in") && !text.contains("swordfish"), "{text}");
    }
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let refused = |mut settings: Value, change: (&str, Value)| {
        settings[change.0] = change.1;
        let settings: SinkSettings = serde_json::from_value(json!({"nats": settings})).expect("settings");
        let error = sink::build("facts", &settings, &envelope(), &Secret::new("")).err().expect("refused");
        assert_eq!(error.disposition(), Disposition::Stop);
        error.to_string()
    };
    let good = settings("nats://127.0.0.1:1", "EVENTS");
    for (change, reason) in [
        (("servers", json!([])), "no server is named"),
        (("window", json!(0)), "\"window\" is 0"),
        (("subject", json!("{type}")), "begin with plain text"),
        (("subject", json!("a b.{type}")), "holds a space"),
        (("authentication", json!({"user": "shop"})), "need each other"),
        (("authentication", json!({"token": "t", "nkey": "n"})), "more than one way"),
        (("tls", json!({"key_file": "key.pem"})), "need each other"),
    ] {
        let text = refused(good.clone(), change);
        assert!(text.contains(reason) && text.contains("help:"), "{text}");
    }
    let unreachable = build(json!({"nats": good}), "").open().await.expect_err("nobody listens");
    assert_eq!(unreachable.disposition(), Disposition::Retry, "{unreachable}");
}
