//! Messages as rows of the tables, and back.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::de::DeserializeOwned;

use super::message::{Change, Escalation, Item};
use super::store::{Receipt, StoreError, now_ms};

const COLUMNS: &str = "id, received_ms, created_ms, text, intent, reason, stage, confidence, probabilities, \
                       redactions, truncated, handled_ms, corrected_intent";

/// Which messages, and in which order.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// Only ids below this, highest first.
    pub(super) before: Option<i64>,
    /// Only ids above this, lowest first.
    pub(super) after: Option<i64>,
    pub(super) intent: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) handled: Option<bool>,
    /// Only those that an agent gave a label.
    pub(super) corrected: bool,
    pub(super) limit: u32,
}

impl Filter {
    /// The statement and its parameters.
    fn statement(&self) -> (String, Vec<Value>) {
        let mut wheres = vec!["1"];
        let mut values: Vec<Value> = Vec::new();
        if let Some(before) = self.before {
            wheres.push("id < ?");
            values.push(before.into());
        }
        if let Some(after) = self.after {
            wheres.push("id > ?");
            values.push(after.into());
        }
        for (column, wanted) in [("intent = ?", &self.intent), ("reason = ?", &self.reason)] {
            if let Some(wanted) = wanted {
                wheres.push(column);
                values.push(wanted.clone().into());
            }
        }
        match self.handled {
            Some(true) => wheres.push("handled_ms IS NOT NULL"),
            Some(false) => wheres.push("handled_ms IS NULL"),
            None => {}
        }
        if self.corrected {
            wheres.push("corrected_intent IS NOT NULL");
        }
        let order = if self.after.is_some() { "ASC" } else { "DESC" };
        values.push(i64::from(self.limit).into());
        let wheres = wheres.join(" AND ");
        (format!("SELECT {COLUMNS} FROM escalations WHERE {wheres} ORDER BY id {order} LIMIT ?"), values)
    }
}

pub(super) fn list(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<Item>> {
    let (statement, values) = filter.statement();
    let mut statement = connection.prepare(&statement)?;
    let rows = statement.query_map(params_from_iter(values), item)?;
    rows.collect()
}

pub(super) fn get(connection: &Connection, id: i64) -> rusqlite::Result<Item> {
    connection.query_row(&format!("SELECT {COLUMNS} FROM escalations WHERE id = ?"), [id], item)
}

pub(super) fn last_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(id), 0) FROM escalations", [], |row| row.get(0))
}

/// Stores a message under its key, once.
pub(super) fn submit(
    connection: &Connection,
    key: &str,
    digest: &[u8],
    escalation: &Escalation,
) -> Result<Receipt, StoreError> {
    let known = "SELECT escalation, received_ms, digest FROM deliveries WHERE key = ?";
    let found = connection
        .query_row(known, [key], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Vec<u8>>(2)?)))
        .optional()?;
    match found {
        Some((id, received_ms, stored)) if stored == digest => {
            Ok(Receipt { id, received_ms, duplicate: true })
        }
        Some(_) => Err(StoreError::Mismatch),
        None => {
            let received_ms = now_ms();
            let id = insert(connection, received_ms, escalation)?;
            let delivery =
                "INSERT INTO deliveries (key, escalation, received_ms, digest) VALUES (?, ?, ?, ?)";
            connection.execute(delivery, (key, id, received_ms, digest))?;
            Ok(Receipt { id, received_ms, duplicate: false })
        }
    }
}

fn insert(connection: &Connection, received_ms: i64, escalation: &Escalation) -> Result<i64, StoreError> {
    let json =
        |value: serde_json::Result<String>| value.map_err(|error| StoreError::Storage(error.to_string()));
    let created_ms = i64::try_from(escalation.created_ms).unwrap_or(i64::MAX);
    let probabilities = escalation.probabilities.as_ref().map(serde_json::to_string).transpose();
    let probabilities = probabilities.map_err(|error| StoreError::Storage(error.to_string()))?;
    let statement = "INSERT INTO escalations (received_ms, created_ms, text, intent, reason, stage, confidence, \
                     probabilities, redactions, truncated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    connection.execute(
        statement,
        (
            received_ms,
            created_ms,
            &escalation.text,
            &escalation.intent,
            &escalation.reason,
            &escalation.stage,
            escalation.confidence,
            probabilities,
            json(serde_json::to_string(&escalation.redactions))?,
            escalation.truncated,
        ),
    )?;
    Ok(connection.last_insert_rowid())
}

/// Makes an agent's change; the time of handling is that of the first mark.
pub(super) fn change(connection: &Connection, id: i64, change: &Change) -> Result<Item, StoreError> {
    if let Some(handled) = change.handled {
        let now = handled.then(now_ms);
        let statement = "UPDATE escalations SET handled_ms = iif(?1 IS NULL, NULL, coalesce(handled_ms, ?1)) WHERE id = ?2";
        connection.execute(statement, (now, id))?;
    }
    if let Some(label) = &change.corrected_intent {
        connection.execute("UPDATE escalations SET corrected_intent = ? WHERE id = ?", (label, id))?;
    }
    Ok(get(connection, id)?)
}

fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    let probabilities: Option<String> = row.get(8)?;
    let created_ms: i64 = row.get(2)?;
    Ok(Item {
        id: row.get(0)?,
        received_ms: row.get(1)?,
        escalation: Escalation {
            created_ms: u64::try_from(created_ms).unwrap_or_default(),
            text: row.get(3)?,
            intent: row.get(4)?,
            reason: row.get(5)?,
            stage: row.get(6)?,
            confidence: row.get(7)?,
            probabilities: probabilities.map(|text| json(8, &text)).transpose()?,
            redactions: json(9, &row.get::<_, String>(9)?)?,
            truncated: row.get(10)?,
        },
        handled_ms: row.get(11)?,
        corrected_intent: row.get(12)?,
    })
}

fn json<T: DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
