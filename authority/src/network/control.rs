//! The filter on the control socket: its status, and the operator's switch.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::NetworkView;

/// Shows the filter's status.
pub const STATUS_PATH: &str = "/filter";
/// Takes the filter off.
pub const OFF_PATH: &str = "/filter/off";
/// Puts it back.
pub const ON_PATH: &str = "/filter/on";

/// The routes of the filter. Whoever can open the control socket may use them.
pub fn router(network: Arc<NetworkView>) -> Router {
    Router::new()
        .route(STATUS_PATH, get(status))
        .route(OFF_PATH, get(async |state: State<Arc<NetworkView>>| switch(state, true)))
        .route(ON_PATH, get(async |state: State<Arc<NetworkView>>| switch(state, false)))
        .with_state(network)
}

async fn status(State(network): State<Arc<NetworkView>>) -> Response {
    match network.filter_status() {
        Some(status) => {
            let body = serde_json::to_string(&status).unwrap_or_default();
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        None => none(&network),
    }
}

fn switch(State(network): State<Arc<NetworkView>>, off: bool) -> Response {
    let Some(filter) = network.filter() else { return none(&network) };
    filter.want_off(off);
    let body = network.filter_status().and_then(|status| serde_json::to_string(&status).ok()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn none(network: &NetworkView) -> Response {
    let mut words = "there is no filter: the daemon runs over sockets".to_owned();
    match network.missed().first() {
        Some(missed) => words.push_str(&format!(", since {missed}")),
        None => words.push_str("; name an interface by filter.interface or --interface"),
    }
    (StatusCode::NOT_FOUND, format!("{words}\n")).into_response()
}
