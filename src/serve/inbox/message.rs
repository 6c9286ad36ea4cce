//! What is sent and what is kept, and the checks of what comes from outside.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use super::error::ApiError;
use crate::IntentError;
use crate::pack::MAX_LABELS;

/// Longest text of an escalation, in characters; the browser cuts longer ones.
pub const MAX_TEXT_CHARS: usize = 8_000;

/// Longest intent, stage or kind of redaction, in characters.
const MAX_NAME_CHARS: usize = 64;

/// Longest reason, in characters.
const MAX_REASON_CHARS: usize = 128;

/// Most kinds of redactions.
const MAX_REDACTIONS: usize = 16;

/// Largest time, in milliseconds since 1970: what JavaScript counts exactly.
const MAX_MS: u64 = (1 << 53) - 1;

/// A message that the gate did not leave to the device, as the browser sends it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// What the customer wrote, redacted; 1 to 8,000 characters.
    pub text: String,
    /// The chosen label.
    pub intent: String,
    /// Why it escalates, as the gate names it.
    pub reason: String,
    /// Which model answered.
    #[serde(default)]
    pub stage: Option<String>,
    /// Probability of the intent, 0 to 1; none where the message was not classified.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// One number a label, 0 to 1.
    #[serde(default)]
    pub probabilities: Option<BTreeMap<String, f64>>,
    /// Kinds of what was taken out of the text.
    #[serde(default)]
    pub redactions: Vec<String>,
    /// Whether the text is the beginning of a longer one.
    #[serde(default)]
    pub truncated: bool,
    /// When the customer's browser classified it, in milliseconds since 1970 by its clock.
    #[serde(deserialize_with = "whole")]
    pub created_ms: u64,
}

impl Escalation {
    /// Reads and checks a body.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        let escalation: Self = read_json(headers, body)?;
        escalation.check()?;
        Ok(escalation)
    }

    /// Reads and checks the body of `POST /api/escalations`, as the server does.
    ///
    /// # Errors
    /// `invalid_argument` with what is wrong with the body.
    pub fn from_json(body: &[u8]) -> crate::Result<Self> {
        let read = from_json(body).and_then(|escalation: Self| escalation.check().map(|()| escalation));
        read.map_err(|refused| IntentError::argument("body", refused))
    }

    fn check(&self) -> Result<(), ApiError> {
        check_length("text", &self.text, MAX_TEXT_CHARS)?;
        check_name("intent", &self.intent, MAX_NAME_CHARS)?;
        check_name("reason", &self.reason, MAX_REASON_CHARS)?;
        if let Some(stage) = &self.stage {
            check_name("stage", stage, MAX_NAME_CHARS)?;
        }
        if let Some(confidence) = self.confidence {
            check_share("confidence", confidence)?;
        }
        let probabilities = self.probabilities.iter().flatten();
        if probabilities.clone().count() > MAX_LABELS {
            return Err(ApiError::body("probabilities", format!("has more than {MAX_LABELS} labels")));
        }
        for (label, share) in probabilities {
            check_name("probabilities", label, MAX_NAME_CHARS)?;
            check_share("probabilities", *share)?;
        }
        if self.redactions.len() > MAX_REDACTIONS {
            return Err(ApiError::body("redactions", format!("has more than {MAX_REDACTIONS} entries")));
        }
        self.redactions.iter().try_for_each(|kind| check_name("redactions", kind, MAX_NAME_CHARS))
    }
}

/// An [`Escalation`] in the inbox.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// Counts up from 1 in the order of arrival; never used twice.
    pub id: i64,
    /// When it was stored, in milliseconds since 1970.
    pub received_ms: i64,
    /// What was sent.
    #[serde(flatten)]
    pub escalation: Escalation,
    /// When an agent marked it handled, in milliseconds since 1970.
    pub handled_ms: Option<i64>,
    /// The label that an agent gave it.
    pub corrected_intent: Option<String>,
}

/// What an agent changes; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    #[serde(default, deserialize_with = "present")]
    pub(super) handled: Option<bool>,
    /// `null` takes the label away again.
    #[serde(default, deserialize_with = "present")]
    pub(super) corrected_intent: Option<Option<String>>,
}

/// A whole number that JavaScript counts exactly, also where it is spelt `7.0`.
fn whole<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(value)?;
    let spelt_with_point =
        || number.as_f64().filter(|value| value.fract() == 0.0 && *value >= 0.0).map(|value| value as u64);
    let whole = number.as_u64().or_else(spelt_with_point).filter(|value| *value <= MAX_MS);
    whole.ok_or_else(|| serde::de::Error::custom(format!("expected a whole number from 0 to {MAX_MS}")))
}

/// Parts `null` from absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

impl Change {
    /// Reads and checks a body; a misspelt label would end up in training data.
    pub(super) fn read(headers: &HeaderMap, body: &[u8], labels: &[String]) -> Result<Self, ApiError> {
        let change: Self = read_json(headers, body)?;
        if change.handled.is_none() && change.corrected_intent.is_none() {
            let message = "changes nothing: give handled, corrected_intent or both";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", message));
        }
        match &change.corrected_intent {
            Some(Some(label)) if !labels.contains(label) => {
                Err(ApiError::body("corrected_intent", format!("is none of {}", labels.join(", "))))
            }
            _ => Ok(change),
        }
    }
}

/// The `Idempotency-Key` of a request: a UUID, in lower case.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<String, ApiError> {
    let invalid = |message| ApiError::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", message);
    let mut values = headers.get_all("idempotency-key").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(invalid("exactly one header Idempotency-Key is needed, with a UUID"));
    };
    let key = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let groups: Vec<&str> = key.split('-').collect();
    let sound = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && key.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    if sound { Ok(key) } else { Err(invalid("the Idempotency-Key is not a UUID")) }
}

fn read_json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // Anything else a page of any origin could send without asking.
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = "the body must be of type application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    }
    from_json(body)
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Fields by position, in an array, would be taken too.
    if body.trim_ascii_start().first() != Some(&b'{') {
        let code =
            if serde_json::from_slice::<IgnoredAny>(body).is_ok() { "invalid_body" } else { "invalid_json" };
        return Err(ApiError::new(StatusCode::BAD_REQUEST, code, "the body is not a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        let inner = error.into_inner();
        let code = if inner.is_data() { "invalid_body" } else { "invalid_json" };
        let refused = ApiError::new(StatusCode::BAD_REQUEST, code, inner.to_string());
        if field == "." { refused } else { refused.field(field) }
    });
    let value = read?;
    let end = reader.end().map_err(|error| error.to_string());
    end.map_err(|message| ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message))?;
    Ok(value)
}

fn check_length(field: &str, text: &str, max: usize) -> Result<(), ApiError> {
    match text.chars().count() {
        0 => Err(ApiError::body(field, "is empty")),
        length if length > max => Err(ApiError::body(field, format!("has more than {max} characters"))),
        _ => Ok(()),
    }
}

/// Names go into filters and logs: no control characters.
fn check_name(field: &str, name: &str, max: usize) -> Result<(), ApiError> {
    check_length(field, name, max)?;
    if name.chars().any(|c| c.is_ascii_control()) {
        return Err(ApiError::body(field, "has a control character"));
    }
    Ok(())
}

fn check_share(field: &str, share: f64) -> Result<(), ApiError> {
    if (0.0..=1.0).contains(&share) { Ok(()) } else { Err(ApiError::body(field, "is not from 0 to 1")) }
}
