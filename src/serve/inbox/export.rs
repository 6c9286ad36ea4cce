//! The inbox as training data.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Deserialize;

use super::Shared;
use super::api::ask;
use super::error::ApiError;
use super::message::Item;
use super::rows::Filter;
use super::store::{Store, StoreError};
use crate::dataset::{self, Example, Source};

/// Messages read at once.
const PAGE: u32 = 500;

/// Whose labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Labels {
    /// Messages that an agent gave a label, with that label.
    #[default]
    Agent,
    /// All messages, where there is no agent's label with the model's.
    All,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    #[serde(default)]
    labels: Labels,
}

/// Lines as `extra.jsonl` has them, oldest first.
pub(super) async fn jsonl(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(ExportQuery { labels }) = query?;
    // Read before the answer begins, so that a store that fails is an error and not an empty file.
    let first = page(&shared.store, labels, 0).await?;
    let store = shared.store.clone();
    let pages = unfold((store, Some(first)), move |(store, page)| async move {
        let (lines, last) = page?;
        let next = match last {
            Some(last) => match self::page(&store, labels, last).await {
                Ok(next) => Some(next),
                // A broken transfer shows that there is more.
                Err(error) => return Some((Err(std::io::Error::other(format!("{error:?}"))), (store, None))),
            },
            None => None,
        };
        Some((Ok(Bytes::from(lines)), (store, next)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"inbox.jsonl\""),
    ];
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// Lines of the messages after `after`, and the id of the last one if there are more.
async fn page(store: &Arc<Store>, labels: Labels, after: i64) -> Result<(String, Option<i64>), StoreError> {
    let corrected = labels == Labels::Agent;
    let filter = Filter { after: Some(after), corrected, limit: PAGE, ..Filter::default() };
    ask(store, move |store: &Store| {
        let items = store.list(&filter)?;
        let full = items.len() == usize::try_from(PAGE).unwrap_or(usize::MAX);
        let last = items.last().map(|item| item.id).filter(|_| full);
        let examples: Vec<Example> = items.into_iter().filter_map(example).collect();
        let lines =
            dataset::extra_jsonl(&examples).map_err(|error| StoreError::Storage(error.to_string()))?;
        Ok((lines, last))
    })
    .await
}

/// Nothing where nothing was written; the dataset has no white space around its messages.
fn example(item: Item) -> Option<Example> {
    let intent = item.corrected_intent.unwrap_or(item.escalation.intent);
    let text = item.escalation.text.trim();
    let group = dataset::group_named(&intent, &format!("inbox-{}", item.id));
    let (text, slice) = (text.to_owned(), "core".to_owned());
    (!text.is_empty()).then_some(Example { text, intent, source: Source::Extra, group, slice })
}
