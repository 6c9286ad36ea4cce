//! The inbox on disk: SQLite with a write-ahead log.
//!
//! One thread writes. It takes all that waits into one transaction and acknowledges after the commit, which is flushed to
//! the disk (`synchronous = FULL`): what was acknowledged survives the end of the process and of the machine, and many
//! clients at once share a flush. Reading has a connection of its own and waits for no writer.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::message::{Change, Escalation, Item};
use super::rows::{self, Filter};
use super::writer::{Job, Writer};
use crate::{IntentError, Result};

/// Most messages that wait to be stored; more are refused until there is room.
const QUEUE: usize = 1_024;

/// Most changes that a live stream may be behind before it reads anew.
const CHANGES: usize = 256;

/// Version of the tables, kept in the file.
const VERSION: i64 = 1;

const TABLES: &str = "
    CREATE TABLE escalations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        received_ms INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        text TEXT NOT NULL,
        intent TEXT NOT NULL,
        reason TEXT NOT NULL,
        stage TEXT,
        confidence REAL,
        probabilities TEXT,
        redactions TEXT NOT NULL,
        truncated INTEGER NOT NULL,
        handled_ms INTEGER,
        corrected_intent TEXT
    ) STRICT;
    CREATE INDEX escalations_by_time ON escalations (received_ms);
    CREATE INDEX escalations_by_intent ON escalations (intent, id);
    CREATE INDEX escalations_by_reason ON escalations (reason, id);
    -- Outlives the message, without its text: a late repeat is still one.
    CREATE TABLE deliveries (
        key TEXT PRIMARY KEY,
        escalation INTEGER NOT NULL,
        received_ms INTEGER NOT NULL,
        digest BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX deliveries_by_time ON deliveries (received_ms);
    PRAGMA user_version = 1;
";

/// What became of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) id: i64,
    pub(super) received_ms: i64,
    /// Whether it had been stored before.
    pub(super) duplicate: bool,
}

/// What was deleted because it was old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) messages: usize,
    /// Whether there may be more to delete.
    pub(super) more: bool,
}

/// What happened in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    Stored,
    Changed(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoreError {
    /// Too much waits already, or the store is closed.
    Busy,
    /// The key belongs to another message.
    Mismatch,
    /// There is no such message.
    Missing,
    /// What SQLite said.
    Storage(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::QueryReturnedNoRows => Self::Missing,
            other => Self::Storage(other.to_string()),
        }
    }
}

/// The inbox.
#[derive(Debug)]
pub(super) struct Store {
    jobs: mpsc::Sender<Job>,
    reader: Mutex<Connection>,
    happened: broadcast::Sender<Happened>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the file, which is made where it is missing, and starts the writer.
    pub(super) fn open(file: &Path) -> Result<Self> {
        let failed = |error: rusqlite::Error| {
            IntentError::io(file.display(), std::io::Error::other(error.to_string()))
        };
        make_private(file)?;
        let writing = Connection::open(file).map_err(failed)?;
        prepare(&writing).map_err(failed)?;
        let found = version(&writing).map_err(failed)?;
        if found == 0 {
            writing.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} COMMIT;")).map_err(failed)?;
        } else if found != VERSION {
            let detail = format!("{} has tables of version {found}, this program {VERSION}", file.display());
            return Err(IntentError::argument("inbox", detail));
        }
        let reading = Connection::open(file).map_err(failed)?;
        prepare(&reading).and_then(|()| reading.pragma_update(None, "query_only", true)).map_err(failed)?;
        let (happened, _) = broadcast::channel(CHANGES);
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let writer = Writer::new(writing, waiting, happened.clone());
        let thread = std::thread::Builder::new().name("inbox".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|error| IntentError::io(file.display(), error))?;
        Ok(Self { jobs, reader: Mutex::new(reading), happened, thread: Mutex::new(Some(thread)) })
    }

    /// Returns when the message is on disk.
    pub(super) async fn submit(
        &self,
        key: String,
        escalation: Escalation,
    ) -> std::result::Result<Receipt, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Submit { key, escalation: Box::new(escalation), reply };
        self.jobs.try_send(job).map_err(|_| StoreError::Busy)?;
        answer.await.unwrap_or(Err(StoreError::Busy))
    }

    pub(super) async fn change(&self, id: i64, change: Change) -> std::result::Result<Item, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(Job::Change { id, change, reply }).map_err(|_| StoreError::Busy)?;
        answer.await.unwrap_or(Err(StoreError::Busy)).map(|item| *item)
    }

    /// Deletes some of the messages received before `messages_ms` and of the keys of those received before `keys_ms`.
    pub(super) async fn expire(
        &self,
        messages_ms: i64,
        keys_ms: i64,
    ) -> std::result::Result<Expired, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Expire { messages_ms, keys_ms, reply };
        self.jobs.send(job).await.map_err(|_| StoreError::Busy)?;
        answer.await.unwrap_or(Err(StoreError::Busy))
    }

    /// Messages that pass `filter`, in its order.
    pub(super) fn list(&self, filter: &Filter) -> std::result::Result<Vec<Item>, StoreError> {
        Ok(rows::list(&self.reading(), filter)?)
    }

    pub(super) fn get(&self, id: i64) -> std::result::Result<Item, StoreError> {
        Ok(rows::get(&self.reading(), id)?)
    }

    /// The highest id so far; 0 before the first message.
    pub(super) fn last_id(&self) -> std::result::Result<i64, StoreError> {
        Ok(rows::last_id(&self.reading())?)
    }

    /// Fails where nothing can be read, or nothing will be stored any more.
    pub(super) fn check(&self) -> std::result::Result<(), StoreError> {
        self.last_id()?;
        // Not even the end of its thread, by a panic, closes the store.
        let ended = || StoreError::Storage("the thread that writes has ended".to_owned());
        if self.jobs.is_closed() { Err(ended()) } else { Ok(()) }
    }

    /// What happens from now on.
    pub(super) fn watch(&self) -> broadcast::Receiver<Happened> {
        self.happened.subscribe()
    }

    /// Stores what was taken and closes the file; what comes later is refused.
    pub(super) fn close(&self) {
        // Refused only where the writer has ended already.
        drop(self.jobs.blocking_send(Job::Close));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            tracing::error!("the inbox's thread panicked");
        }
    }

    /// A panic between two statements of a read leaves nothing half done.
    fn reading(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// An empty file that only this user reads; SQLite gives its log the same rights.
fn make_private(file: &Path) -> Result<()> {
    let failed = |error| IntentError::io(file.display(), error);
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop).map_err(failed)
}

/// Settings of every connection.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What is deleted is overwritten.
    connection.pragma_update(None, "secure_delete", true)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::super::writer::EXPIRE;
    use super::*;

    /// An inbox with so many messages and keys of long ago.
    fn store(folder: &Path, old: usize) -> Store {
        let file = folder.join("inbox.sqlite3");
        Store::open(&file).unwrap().close();
        let connection = Connection::open(&file).unwrap();
        let fill = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {old}) \
             INSERT INTO escalations (received_ms, created_ms, text, intent, reason, redactions, truncated) \
             SELECT 1, 1, 'old', 'billing', 'intent:billing', '[]', 0 FROM n; \
             INSERT INTO deliveries (key, escalation, received_ms, digest) SELECT 'key ' || id, id, 1, x'00' FROM escalations;"
        );
        connection.execute_batch(&fill).unwrap();
        Store::open(&file).unwrap()
    }

    fn expire(store: &Store, messages_ms: i64, keys_ms: i64) -> Expired {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(store.expire(messages_ms, keys_ms)).unwrap()
    }

    fn keys(folder: &Path) -> usize {
        let connection = Connection::open(folder.join("inbox.sqlite3")).unwrap();
        let count: i64 =
            connection.query_row("SELECT count(*) FROM deliveries", [], |row| row.get(0)).unwrap();
        usize::try_from(count).unwrap()
    }

    #[test]
    fn old_messages_and_keys_go_some_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 2 * EXPIRE + 1);
        for (messages, more, left) in [(EXPIRE, true, EXPIRE + 1), (EXPIRE, true, 1), (1, false, 0)] {
            assert_eq!(expire(&store, 2, 2), Expired { messages, more });
            assert_eq!(keys(folder.path()), left);
        }
        store.close();
    }

    #[test]
    fn keys_alone_are_old_enough_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), EXPIRE + 1);
        assert_eq!(expire(&store, 0, 2), Expired { messages: 0, more: true });
        assert_eq!(expire(&store, 0, 2), Expired { messages: 0, more: false });
        assert_eq!(keys(folder.path()), 0);
        store.close();
    }

    #[test]
    fn a_store_whose_writer_has_ended_does_not_pass_for_sound() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 1);
        assert_eq!(store.check(), Ok(()));
        store.close();
        assert!(matches!(store.check(), Err(StoreError::Storage(_))));
        assert_eq!(store.last_id(), Ok(1), "it can still be read");
    }
}
