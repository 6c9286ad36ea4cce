//! What happens in the inbox, live: server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use super::Shared;
use super::api::ask;
use super::error::ApiError;
use super::message::Item;
use super::rows::Filter;
use super::store::{Happened, Store, StoreError};

/// Messages read at once.
const PAGE: u32 = 100;

/// So often a silent stream shows that it is there, which proxies want to see.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a console waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LiveQuery {
    after: Option<i64>,
}

/// One console's view.
struct Live {
    store: Arc<Store>,
    happened: broadcast::Receiver<Happened>,
    stopped: watch::Receiver<bool>,
    /// Messages up to this one were sent.
    last: i64,
    /// Whether there may be messages that were not.
    behind: bool,
    ready: VecDeque<Event>,
    _permit: OwnedSemaphorePermit,
}

/// Messages after the one that `Last-Event-ID` or `after` names, else those that come from now on.
pub(super) async fn live(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<LiveQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let Query(query) = query?;
    let permit = shared.streams.clone().try_acquire_owned();
    let permit = permit.map_err(|_| ApiError::busy("too many live streams are open"))?;
    let header = headers.get("last-event-id").map(|value| value.to_str().ok()?.parse::<i64>().ok());
    let after = match header {
        Some(Some(id)) => Some(id),
        Some(None) => return Err(ApiError::query("Last-Event-ID", "is not the id of a message")),
        None => query.after,
    };
    if after.is_some_and(|after| after < 0) {
        return Err(ApiError::query("after", "is less than 0"));
    }
    // Before the id is read: what comes in between is seen twice rather than not at all.
    let happened = shared.store.watch();
    let last = match after {
        Some(after) => after,
        None => ask(&shared.store, Store::last_id).await?,
    };
    let live = Live {
        store: shared.store.clone(),
        happened,
        stopped: shared.stopped.clone(),
        last,
        behind: true,
        // The first event comes at once, so that a console knows that it is connected.
        ready: VecDeque::from([Event::default().retry(RETRY).comment("connected")]),
        _permit: permit,
    };
    let events = unfold(live, |mut live| async move {
        let event = live.next().await?;
        Some((Ok(event), live))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Live {
    /// The next event; `None` ends the stream, after which a console connects again.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.behind {
                self.read().await.ok()?;
                continue;
            }
            let happened = tokio::select! {
                // An error means that the server is gone.
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
                happened = self.happened.recv() => happened,
            };
            match happened {
                Ok(Happened::Stored) => self.behind = true,
                Ok(Happened::Changed(id)) => self.changed(id).await.ok()?,
                Err(RecvError::Lagged(_)) => {
                    self.behind = true;
                    // Which changes were missed is not known.
                    self.ready.push_back(Event::default().event("reset").data("{}"));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    async fn read(&mut self) -> Result<(), StoreError> {
        let filter = Filter { after: Some(self.last), limit: PAGE, ..Filter::default() };
        let items = ask(&self.store, move |store| store.list(&filter)).await?;
        self.behind = items.len() == usize::try_from(PAGE).unwrap_or(usize::MAX);
        for item in items {
            self.last = item.id;
            self.ready.push_back(event("escalation", &item)?.id(item.id.to_string()));
        }
        Ok(())
    }

    async fn changed(&mut self, id: i64) -> Result<(), StoreError> {
        match ask(&self.store, move |store| store.get(id)).await {
            Ok(item) => self.ready.push_back(event("update", &item)?),
            // Deleted since.
            Err(StoreError::Missing) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn event(name: &str, item: &Item) -> Result<Event, StoreError> {
    let event = Event::default().event(name).json_data(item);
    event.map_err(|error| StoreError::Storage(error.to_string()))
}
