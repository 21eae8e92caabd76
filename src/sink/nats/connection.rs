//! The connection to the servers, and the stream at its other end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::connection::State;
use async_nats::jetstream::context::{ContextBuilder, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};

use super::super::SinkError;
use super::fault::{self, Fault};
use super::settings::{NatsAuthentication, NatsSettings, NatsTls, StreamSettings};
use super::subject::have_common_subjects;

/// An open connection whose stream was checked.
pub(super) struct Connection {
    client: Client,
    pub(super) jetstream: Context,
    is_denied: Arc<AtomicBool>,
}

impl Connection {
    pub(super) async fn open(sink: &str, settings: &NatsSettings) -> Result<Self, SinkError> {
        let lasting = |reason: &str, help: &str| Fault::lasting(reason, help).of_sink(sink, None);
        let mut servers = Vec::with_capacity(settings.servers.len());
        for server in &settings.servers {
            // The parser's error quotes the address, which may hold a password.
            let server: ServerAddr = server.expose().parse().map_err(|_| {
                lasting("an address of a server is not valid", "an address looks like nats://host:4222")
            })?;
            servers.push(server);
        }
        let is_denied = Arc::new(AtomicBool::new(false));
        let options = with_login_of_address(options(sink, settings, &is_denied).await?, settings, &servers);
        let client = options.connect(servers).await.map_err(|error| {
            // Its source may quote an address.
            fault::of_connection(error.kind()).of_sink(sink, None)
        })?;
        let jetstream = ContextBuilder::new()
            .timeout(settings.acknowledgement_timeout.0)
            .ack_timeout(settings.acknowledgement_timeout.0)
            .max_ack_inflight(settings.window.max(1))
            .build(client.clone());
        Ok(Self { client, jetstream, is_denied })
    }

    /// True while a server is connected; the library connects again by itself.
    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// True if the server has refused a message since the last time, for want of a permission.
    pub(super) fn was_denied(&self) -> bool {
        self.is_denied.swap(false, Ordering::Relaxed)
    }

    /// Creates the stream if it is not there, or checks that it takes `subjects` and acknowledges.
    pub(super) async fn check_stream(
        &self,
        settings: &StreamSettings,
        subjects: &[String],
    ) -> Result<(), (Fault, Cause)> {
        let name = &settings.name;
        let found = match self.jetstream.get_stream(name).await {
            Ok(stream) => stream.cached_info().config.clone(),
            Err(error) if is_missing(&error.kind()) && settings.create => {
                let config = stream_config(settings, subjects);
                let created = self.jetstream.create_stream(config).await;
                let created = created.map_err(|error| (fault::of_creation(&error, name), Some(error.into())))?;
                tracing::info!(stream = %name, "stream created");
                created.cached_info().config.clone()
            }
            Err(error) if is_missing(&error.kind()) => {
                let reason = format!("the stream {name} is not there");
                let subjects = subjects.join(",");
                let help =
                    format!("create it (nats stream add {name} --subjects '{subjects}'), or set \"create: true\"");
                return Err((Fault::lasting(reason, help), None));
            }
            Err(error) => return Err((fault::of_stream(&error, name), Some(error.into()))),
        };
        if found.no_ack {
            let reason = format!("the stream {name} does not acknowledge messages");
            return Err((Fault::lasting(reason, "choose a stream without \"no_ack\""), None));
        }
        let is_taken = |subject: &String| found.subjects.iter().any(|taken| have_common_subjects(taken, subject));
        if let Some(subject) = subjects.iter().find(|subject| !is_taken(subject)) {
            let reason = format!("the stream {name} takes no subject like {subject}");
            let all = [found.subjects.as_slice(), std::slice::from_ref(subject)].concat().join(",");
            let help = format!(
                "add it (nats stream edit {name} --subjects '{all}'), or set another \"subject\" here, or another route of the relay"
            );
            return Err((Fault::lasting(reason, help), None));
        }
        Ok(())
    }
}

/// The library's error behind a fault, if there is one.
pub(super) type Cause = Option<Box<dyn std::error::Error + Send + Sync>>;

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn stream_config(settings: &StreamSettings, subjects: &[String]) -> Config {
    let subjects = if settings.subjects.is_empty() { subjects.to_vec() } else { settings.subjects.clone() };
    Config {
        name: settings.name.clone(),
        description: Some("Business events, written by changeling.".to_owned()),
        subjects,
        num_replicas: settings.replicas,
        duplicate_window: settings.duplicate_window.0,
        max_age: settings.age_max.map(|age| age.0).unwrap_or_default(),
        max_bytes: settings.bytes_max.map_or(-1, |bytes| i64::try_from(bytes.0).unwrap_or(i64::MAX)),
        discard: DiscardPolicy::Old,
        ..Config::default()
    }
}

async fn options(
    sink: &str,
    settings: &NatsSettings,
    is_denied: &Arc<AtomicBool>,
) -> Result<ConnectOptions, SinkError> {
    let is_denied = is_denied.clone();
    let options = ConnectOptions::new()
        .name(format!("changeling {sink}"))
        .request_timeout(Some(settings.acknowledgement_timeout.0))
        .event_callback(move |event| {
            // The server names the subject when it denies one, and with it perhaps a value: only the kind is told.
            match &event {
                Event::ServerError(error) if error.to_string().to_lowercase().contains("permissions violation") => {
                    is_denied.store(true, Ordering::Relaxed);
                }
                Event::Connected => tracing::debug!("nats connected"),
                Event::Disconnected => tracing::warn!("nats disconnected"),
                _ => tracing::debug!("nats connection event"),
            }
            std::future::ready(())
        });
    let options = with_tls(options, &settings.tls);
    with_authentication(options, &settings.authentication, sink).await
}

fn with_tls(mut options: ConnectOptions, tls: &NatsTls) -> ConnectOptions {
    if let Some(path) = &tls.ca_file {
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options.require_tls(tls.required)
}

/// The library takes no login from an address, but people write it there: `nats://user:password@host`, `nats://token@host`.
fn with_login_of_address(options: ConnectOptions, settings: &NatsSettings, servers: &[ServerAddr]) -> ConnectOptions {
    let login = servers.iter().find_map(|server| Some((server.username()?, server.password())));
    match login {
        Some(_) if settings.authentication.is_set() => options,
        Some((user, Some(password))) => options.user_and_password(user.to_owned(), password.to_owned()),
        Some((token, None)) => options.token(token.to_owned()),
        None => options,
    }
}

async fn with_authentication(
    options: ConnectOptions,
    authentication: &NatsAuthentication,
    sink: &str,
) -> Result<ConnectOptions, SinkError> {
    let NatsAuthentication { user, password, token, credentials_file, nkey } = authentication;
    if let (Some(user), Some(password)) = (user, password) {
        return Ok(options.user_and_password(user.clone(), password.expose().to_owned()));
    }
    if let Some(token) = token {
        return Ok(options.token(token.expose().to_owned()));
    }
    if let Some(nkey) = nkey {
        return Ok(options.nkey(nkey.expose().to_owned()));
    }
    let Some(path) = credentials_file else { return Ok(options) };
    options.credentials_file(path).await.map_err(|error| {
        let reason = format!("the credentials file {} can not be used", path.display());
        // A parser's error might quote what it read.
        let cause: Cause = error.raw_os_error().is_some().then(|| Box::new(error) as _);
        Fault::lasting(reason, "name a file as \"nsc generate creds\" writes it").of_sink(sink, cause)
    })
}
