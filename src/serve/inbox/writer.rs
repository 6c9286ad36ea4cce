//! The thread that writes.

use rusqlite::{Connection, TransactionBehavior};
use sha2::{Digest, Sha256};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::message::{Change, Escalation, Item};
use super::rows;
use super::store::{Expired, Happened, Receipt, StoreError};

/// Most jobs of one transaction.
const BATCH: usize = 256;

/// Most messages, and most keys, deleted at once: others wait meanwhile.
pub(super) const EXPIRE: usize = 1_000;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked for. A reply that nobody waits for any more is dropped.
#[derive(Debug)]
pub(super) enum Job {
    Submit { key: String, escalation: Box<Escalation>, reply: Reply<Receipt> },
    Change { id: i64, change: Change, reply: Reply<Box<Item>> },
    Expire { messages_ms: i64, keys_ms: i64, reply: Reply<Expired> },
    Close,
}

/// A job that was done within a transaction, to be told of after its commit.
enum Done {
    Submit(Result<Receipt, StoreError>, Reply<Receipt>),
    Change(Result<Box<Item>, StoreError>, Reply<Box<Item>>),
}

impl Done {
    fn storage_failed(&self) -> Option<&StoreError> {
        let error = match self {
            Self::Submit(done, _) => done.as_ref().err(),
            Self::Change(done, _) => done.as_ref().err(),
        };
        error.filter(|error| matches!(error, StoreError::Storage(_)))
    }

    fn fail(self, error: StoreError) {
        // Nobody waits any more where sending fails.
        match self {
            Self::Submit(_, reply) => drop(reply.send(Err(error))),
            Self::Change(_, reply) => drop(reply.send(Err(error))),
        }
    }

    /// Tells the caller; what others are to be told.
    fn tell(self) -> Option<Happened> {
        match self {
            Self::Submit(done, reply) => {
                let new = done.as_ref().is_ok_and(|receipt| !receipt.duplicate);
                drop(reply.send(done));
                new.then_some(Happened::Stored)
            }
            Self::Change(done, reply) => {
                let changed = done.as_ref().ok().map(|item| Happened::Changed(item.id));
                drop(reply.send(done));
                changed
            }
        }
    }
}

pub(super) struct Writer {
    connection: Connection,
    jobs: mpsc::Receiver<Job>,
    happened: broadcast::Sender<Happened>,
    /// Whether the log may still hold what was deleted.
    has_traces: bool,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        jobs: mpsc::Receiver<Job>,
        happened: broadcast::Sender<Happened>,
    ) -> Self {
        Self { connection, jobs, happened, has_traces: false }
    }

    /// Works until it is told to close and nothing waits any more.
    pub(super) fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            let count = self.jobs.blocking_recv_many(&mut batch, BATCH);
            if count == 0 {
                break;
            }
            self.work(&mut batch);
        }
        let checkpoint = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        if let Err(error) = checkpoint.and_then(|()| self.connection.close().map_err(|(_, error)| error)) {
            tracing::warn!(detail = %error, "the inbox could not be tidied; it is complete all the same");
        }
    }

    fn work(&mut self, batch: &mut Vec<Job>) {
        let mut expiries = Vec::new();
        let mut rest = Vec::with_capacity(batch.len());
        for job in batch.drain(..) {
            match job {
                // What was sent before is still done.
                Job::Close => self.jobs.close(),
                Job::Expire { messages_ms, keys_ms, reply } => expiries.push((messages_ms, keys_ms, reply)),
                job => rest.push(job),
            }
        }
        if !rest.is_empty() {
            self.write(rest);
        }
        for (messages_ms, keys_ms, reply) in expiries {
            drop(reply.send(self.expire(messages_ms, keys_ms).map_err(StoreError::from)));
        }
    }

    /// All of them or, where the disk refuses, none.
    fn write(&mut self, jobs: Vec<Job>) {
        let mut done = Vec::with_capacity(jobs.len());
        let committed = match self.connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => {
                done.extend(jobs.into_iter().filter_map(|job| perform(&transaction, job)));
                match done.iter().find_map(Done::storage_failed) {
                    // Dropping the transaction rolls it back.
                    Some(error) => Err(error.clone()),
                    None => transaction.commit().map_err(StoreError::from),
                }
            }
            Err(error) => {
                let error = StoreError::from(error);
                jobs.into_iter().for_each(|job| refuse(job, &error));
                Err(error)
            }
        };
        match committed {
            Ok(()) => {
                for happened in done.into_iter().filter_map(Done::tell) {
                    // An error means that nobody watches.
                    drop(self.happened.send(happened));
                }
            }
            Err(error) => done.into_iter().for_each(|done| done.fail(error.clone())),
        }
    }

    /// Deletes some of the old messages and keys, and after the last of them the traces in the log.
    fn expire(&mut self, messages_ms: i64, keys_ms: i64) -> rusqlite::Result<Expired> {
        let some = |table: &str, key: &str| {
            format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE received_ms < ? LIMIT {EXPIRE})"
            )
        };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let messages = transaction.execute(&some("escalations", "id"), [messages_ms])?;
        let keys = transaction.execute(&some("deliveries", "key"), [keys_ms])?;
        transaction.commit()?;
        self.has_traces |= messages + keys > 0;
        let more = messages.max(keys) == EXPIRE;
        if self.has_traces && !more {
            self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
            self.has_traces = false;
        }
        Ok(Expired { messages, more })
    }
}

fn perform(connection: &Connection, job: Job) -> Option<Done> {
    match job {
        Job::Submit { key, escalation, reply } => {
            let submitted = match serde_json::to_vec(&escalation) {
                Ok(bytes) => rows::submit(connection, &key, &Sha256::digest(bytes), &escalation),
                Err(error) => Err(StoreError::Storage(error.to_string())),
            };
            Some(Done::Submit(submitted, reply))
        }
        Job::Change { id, change, reply } => {
            Some(Done::Change(rows::change(connection, id, &change).map(Box::new), reply))
        }
        Job::Expire { .. } | Job::Close => None,
    }
}

fn refuse(job: Job, error: &StoreError) {
    match job {
        Job::Submit { reply, .. } => drop(reply.send(Err(error.clone()))),
        Job::Change { reply, .. } => drop(reply.send(Err(error.clone()))),
        Job::Expire { .. } | Job::Close => {}
    }
}
