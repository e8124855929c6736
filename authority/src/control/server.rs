//! The HTTP server and the signals.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{ControlSocket, ControlState, metrics};
use crate::{dump, network};

/// Serves until SIGTERM or SIGINT, and returns which it was. `ready` is called with the real address once both are listened for.
pub fn serve(
    address: SocketAddr,
    state: &Arc<ControlState>,
    socket: ControlSocket,
    ready: impl FnOnce(SocketAddr),
) -> Result<&'static str> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/health", get(health))
        .route("/status", get(status))
        .with_state(Arc::clone(state));
    let private = dump::router(Arc::clone(&state.dump)).merge(network::router(Arc::clone(&state.network)));
    runtime.block_on(async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot serve metrics at {address}; choose another address with --metrics or `metrics` in authority.toml")
        })?;
        ready(listener.local_addr()?);
        tokio::select! {
            _ = terminate.recv() => Ok("SIGTERM"),
            _ = interrupt.recv() => Ok("SIGINT"),
            served = socket.serve(private) => {
                served?;
                Ok("the end of the control socket")
            }
            served = axum::serve(listener, router) => {
                served.context("the metrics server failed")?;
                Ok("the end of the metrics server")
            }
        }
    })
}

async fn metrics_page(State(state): State<Arc<ControlState>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::page(&state)).into_response()
}

async fn health(State(state): State<Arc<ControlState>>) -> Response {
    match state.unhealthy() {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn status(State(state): State<Arc<ControlState>>) -> Response {
    let body = serde_json::to_string(&state.status()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
