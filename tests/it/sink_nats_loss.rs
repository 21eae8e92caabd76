//! The NATS sink over a line that loses single messages: the order of a key holds all the same.

use std::sync::{Arc, Mutex};

use changeling::event::Event;
use changeling::failure::Disposition;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy};
use tokio::net::{TcpListener, TcpStream};

use crate::sink_stands::{build, event, messages};
use crate::support::free_name;

/// A line to a real server on which messages with certain ids get lost, each once.
struct LossyLine {
    url: String,
    lost: Arc<Mutex<Vec<String>>>,
}

impl LossyLine {
    async fn to(server: &str) -> Self {
        let server = server.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("nats://{}", listener.local_addr().expect("an address"));
        let lost = Arc::new(Mutex::new(Vec::new()));
        let to_lose = lost.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server");
                let (client_reader, mut client_writer) = client.into_split();
                let (mut server_reader, server_writer) = server.into_split();
                tokio::spawn(async move { copy(&mut server_reader, &mut client_writer).await });
                tokio::spawn(forward(BufReader::new(client_reader), server_writer, to_lose.clone()));
            }
        });
        Self { url, lost }
    }

    fn lose(&self, event: &Event) {
        self.lost.lock().expect("no panic").push(event.id.to_string());
    }
}

/// Passes on what a client sends (lines; after `PUB` and `HPUB` a message of the length that ends the line).
async fn forward(
    mut client: impl AsyncBufReadExt + Unpin,
    mut server: impl AsyncWriteExt + Unpin,
    lost: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let mut message = Vec::new();
        if line.starts_with("PUB ") || line.starts_with("HPUB ") {
            let length: usize =
                line.split_whitespace().last().and_then(|length| length.parse().ok()).expect("a length");
            message.resize(length + 2, 0);
            client.read_exact(&mut message).await.expect("a message");
        }
        let text = String::from_utf8_lossy(&message).into_owned();
        let is_lost = {
            let mut lost = lost.lock().expect("no panic");
            let place = lost.iter().position(|id| text.contains(&format!("Nats-Msg-Id: {id}")));
            place.map(|place| lost.remove(place)).is_some()
        };
        if !is_lost && server.write_all(&[line.as_bytes(), &message].concat()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_lost_message_is_not_overtaken_by_a_later_one_of_its_key() {
    let server = changeling_servers::shared_nats().await.expect("nats-server").url();
    let line = LossyLine::to(&server).await;
    let name = free_name("lossy");
    let settings = json!({
        "servers": [line.url], "stream": {"name": name, "duplicate_window": "100ms"},
        "subject": format!("{name}.{{type}}"), "acknowledgement_timeout": "1s",
    });
    let mut sink = build(json!({"nats": settings}), "");
    sink.open().await.expect("opened");
    let keys = ["a", "b", "a", "c", "b", "c", "d", "a"];
    let batch: Vec<Arc<Event>> = (0..).zip(keys).map(|(number, key)| Arc::new(event(number, key))).collect();
    // The first of "a" and the second of "c".
    line.lose(&batch[0]);
    line.lose(&batch[5]);
    let mut settled = 0;
    let mut failures = 0;
    while let Err(failure) = sink.deliver(&batch[settled..]).await {
        assert_eq!(failure.error.disposition(), Disposition::Retry, "{}", failure.error);
        settled += failure.delivered;
        failures += 1;
        assert!(failures < 10, "{}", failure.error);
        sink.open().await.expect("opened");
    }
    assert!(failures > 0, "nothing was lost");
    let stored: Vec<(String, i64)> = messages(&server, &name)
        .await
        .iter()
        .map(|message| {
            let event: Value = serde_json::from_slice(&message.payload).expect("JSON");
            let key = event["partitionkey"].as_str().expect("a key").to_owned();
            (key, event["data"]["number"].as_i64().expect("a number"))
        })
        .collect();
    // None is repeated, although the server has forgotten the ids in the meantime.
    assert_eq!(stored.len(), batch.len(), "{stored:?}");
    for key in ["a", "b", "c", "d"] {
        let numbers: Vec<i64> = stored.iter().filter(|(of, _)| of == key).map(|(_, number)| *number).collect();
        assert!(numbers.is_sorted(), "the order of key {key} is broken: {stored:?}");
    }
}
