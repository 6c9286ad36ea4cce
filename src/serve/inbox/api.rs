//! The handlers but for the stream and the export.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::error::ApiError;
use super::message::{Change, Escalation, Item, idempotency_key};
use super::rows::Filter;
use super::store::{Store, StoreError};

const DESCRIPTION: &str = include_str!("openapi.json");

/// Messages of a page, and most of them.
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 200;

type Answer<T> = Result<T, ApiError>;

/// Asks the store on a thread that may wait for the disk.
pub(super) async fn ask<T: Send + 'static>(
    store: &Arc<Store>,
    question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let store = Arc::clone(store);
    let asked = tokio::task::spawn_blocking(move || question(&store)).await;
    asked.unwrap_or_else(|error| Err(StoreError::Storage(error.to_string())))
}

pub(super) async fn description() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}

#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
}

pub(super) async fn health(State(shared): State<Arc<Shared>>) -> Answer<Json<Health>> {
    ask(&shared.store, Store::check).await?;
    Ok(Json(Health { status: "ok" }))
}

/// What a sender is told. The key shows it that this server answered, not something on the way.
#[derive(Serialize)]
struct Stored {
    id: i64,
    key: String,
    received_ms: i64,
    duplicate: bool,
}

pub(super) async fn submit(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Response> {
    let key = idempotency_key(&headers)?;
    let escalation = Escalation::read(&headers, &body?)?;
    let (intent, reason) = (escalation.intent.clone(), escalation.reason.clone());
    let text = shared.log_messages.then(|| escalation.text.clone());
    let receipt = shared.store.submit(key.clone(), escalation).await?;
    let duplicate = receipt.duplicate;
    tracing::info!(id = receipt.id, intent, reason, duplicate, text, "stored");
    let stored = Stored { id: receipt.id, key, received_ms: receipt.received_ms, duplicate };
    let status = if duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/api/escalations/{}", receipt.id);
    Ok((status, [(header::LOCATION, location)], Json(stored)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<u32>,
    before: Option<i64>,
    intent: Option<String>,
    reason: Option<String>,
    handled: Option<bool>,
}

/// A page of the inbox, newest first.
#[derive(Serialize)]
pub(super) struct Page {
    items: Vec<Item>,
    /// What `before` has to be for the next page; none at the end.
    next: Option<i64>,
    /// What agents may give.
    labels: Vec<String>,
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Answer<Json<Page>> {
    let Query(query) = query?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::query("limit", format!("is not from 1 to {MAX_PAGE}")));
    }
    if query.before.is_some_and(|before| before < 1) {
        return Err(ApiError::query("before", "is less than 1"));
    }
    let ListQuery { before, intent, reason, handled, .. } = query;
    // One more tells whether there is a next page.
    let filter = Filter { before, intent, reason, handled, limit: limit + 1, ..Filter::default() };
    let mut items = ask(&shared.store, move |store| store.list(&filter)).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().map(|item| item.id).filter(|_| more);
    Ok(Json(Page { items, next, labels: shared.labels.clone() }))
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    id: Result<Path<i64>, PathRejection>,
) -> Answer<Json<Item>> {
    let Path(id) = id?;
    Ok(Json(ask(&shared.store, move |store| store.get(id)).await?))
}

pub(super) async fn change(
    State(shared): State<Arc<Shared>>,
    id: Result<Path<i64>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Json<Item>> {
    let Path(id) = id?;
    let change = Change::read(&headers, &body?, &shared.labels)?;
    Ok(Json(shared.store.change(id, change).await?))
}
