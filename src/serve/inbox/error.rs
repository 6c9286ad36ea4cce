//! The one shape of errors: `{"error": {"code", "message", "field"?}}`.

use std::fmt;

use axum::Json;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::store::StoreError;

/// What a request is refused with. Codes are stable; the table is in `openapi.json`.
#[derive(Debug)]
pub(in crate::serve) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    field: Option<String>,
    /// Seconds.
    retry_after: Option<u64>,
}

#[derive(Serialize)]
struct Shape<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl ApiError {
    pub(in crate::serve) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None, retry_after: None }
    }

    /// A body that is JSON and not what is asked for.
    pub(super) fn body(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_body", message).field(field)
    }

    pub(super) fn query(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_query", message).field(field)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address")
    }

    pub(super) fn busy(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(1)
    }

    pub(super) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub(in crate::serve) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(out, "{field}: {}", self.message),
            None => out.write_str(&self.message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, code, message, field, retry_after } = self;
        let error = Body { code, message: &message, field: field.as_deref() };
        let mut response = (status, Json(Shape { error })).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::busy("too many messages are waiting to be stored"),
            StoreError::Mismatch => {
                let message = "this Idempotency-Key was used for another message";
                Self::new(StatusCode::CONFLICT, "idempotency_mismatch", message)
            }
            StoreError::Missing => Self::not_found(),
            StoreError::Storage(detail) => {
                // The caller can do nothing with it, the operator can.
                tracing::error!(detail, "the inbox can't be read or written");
                let message = "the inbox can't be read or written; nothing was stored";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage", message).retry_after(5)
            }
        }
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is longer than this server takes",
            ),
            _ => Self::new(StatusCode::BAD_REQUEST, "invalid_body", "the body could not be read to its end"),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_query", rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    /// An id that is not a number is that of no message.
    fn from(_: PathRejection) -> Self {
        Self::not_found()
    }
}
