//! Structured logs: one JSON object a line on standard error. Messages of customers are in them only on request.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;

/// Starts logging for the whole process; where that was done already, it stays as it is.
pub fn install() {
    let lines =
        tracing_subscriber::fmt().json().flatten_event(true).with_target(false).with_current_span(false);
    // The one error is that there is a subscriber already.
    drop(lines.with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).try_init());
}

/// Logs method, route, status and time of a request: neither the address that asked nor what was said.
pub(super) async fn request(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let route = route.as_deref().unwrap_or("none");
    tracing::info!(%method, route, status = response.status().as_u16(), ms, "request");
    response
}
