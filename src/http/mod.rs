//! The small HTTP server for those who watch changeling: `/metrics`, `/healthz`, `/readyz`, `/coverage` and `/parity`.
//!
//! It listens on loopback unless told otherwise, and answers nothing that could change anything.

mod settings;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::pipeline::{Status, Verdict};

pub use settings::{HttpSettings, Listen};

/// A socket that is bound, and not yet served: the address is known before anything else starts.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why the HTTP server can not run.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is taken, not ours or not allowed.
    #[error(
        "the address {address} of http.listen can not be used\nhelp: give another address, port 0 for any free one, or switch it off with http: {{listen: off}}"
    )]
    Bind {
        /// The address as written.
        address: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The bound socket broke.
    #[error("the HTTP server on {address} has stopped")]
    Serve {
        /// The bound address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    status: Arc<Status>,
}

impl HttpServer {
    /// Binds the address of `settings`; `None` if the server is switched off.
    ///
    /// # Errors
    /// If the address can not be bound, for example because another process has it.
    pub async fn bind(settings: &HttpSettings) -> Result<Option<Self>, HttpError> {
        let Listen::At(address) = &settings.listen else { return Ok(None) };
        let failed = |source| HttpError::Bind { address: address.clone(), source };
        let listener = TcpListener::bind(address.as_str()).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Some(Self { listener, address }))
    }

    /// The bound address; the real port where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is done.
    ///
    /// # Errors
    /// If the socket breaks.
    pub async fn serve(
        self,
        metrics: Arc<Metrics>,
        status: Arc<Status>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), HttpError> {
        let address = self.address;
        let served = axum::serve(self.listener, router(Shared { metrics, status })).with_graceful_shutdown(stop).await;
        served.map_err(|source| HttpError::Serve { address, source })
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/coverage", get(coverage))
        .route("/parity", get(parity))
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    const TYPE: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    match shared.metrics.render() {
        Ok(text) => (TYPE, text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn healthy(State(shared): State<Shared>) -> Response {
    answer("healthy", &shared.status.health())
}

async fn ready(State(shared): State<Shared>) -> Response {
    answer("ready", &shared.status.readiness())
}

/// What the rules do not explain, or how to have it told.
async fn coverage(State(shared): State<Shared>) -> Response {
    const TYPE: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    let log = shared.status.coverage().map(|log| log.to_json());
    match log {
        Some(log) => (TYPE, format!("{log:#}\n")).into_response(),
        None => {
            let help = serde_json::json!({"error": "no account is kept of it", "help": "set coverage: on in the configuration"});
            (StatusCode::NOT_FOUND, TYPE, format!("{help}\n")).into_response()
        }
    }
}

/// How inferred and explicit events compare, or how to have it told.
async fn parity(State(shared): State<Shared>) -> Response {
    const TYPE: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    match shared.status.parity().map(|log| log.to_json()) {
        Some(log) => (TYPE, format!("{log:#}\n")).into_response(),
        None => {
            let help =
                serde_json::json!({"error": "events are not compared", "help": "set parity: {} in the configuration"});
            (StatusCode::NOT_FOUND, TYPE, format!("{help}\n")).into_response()
        }
    }
}

/// 200, or 503 with the reasons; always as JSON, so that it can be read by people and by programs.
fn answer(question: &str, verdict: &Verdict) -> Response {
    const TYPE: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    let status = if verdict.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({question: verdict.is_good(), "reasons": verdict.reasons});
    (status, TYPE, format!("{body}\n")).into_response()
}
