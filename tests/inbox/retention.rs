//! What is deleted in time, what is on disk, and what a stop leaves behind.

use std::time::{Duration, Instant};

use crate::kit::{Site, inbox_file, key, message};

#[test]
fn old_messages_are_deleted_and_their_repeats_still_known() {
    let site = Site::start(|_| {});
    site.client().submit(&key(1), &message("a secret that has to go"));
    let folder = site.stop();
    std::thread::sleep(Duration::from_millis(5));
    // Looked for at every start.
    let site = Site::over(folder, |options| options.keep = Some(Duration::from_millis(1)));
    let client = site.client();
    let start = Instant::now();
    while !client.all().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "still there");
        std::thread::sleep(Duration::from_millis(10));
    }
    let again = client.submit(&key(1), &message("a secret that has to go"));
    assert_eq!((again.status, again.json()["duplicate"].as_bool()), (200, Some(true)));
    assert!(client.all().is_empty());
    let folder = site.stop();
    let left = std::fs::read(inbox_file(folder.path())).unwrap();
    assert!(!left.windows(8).any(|window| window == b"a secret"), "it is overwritten");
}

#[test]
fn what_was_taken_is_there_after_a_stop_and_only_for_its_user() {
    let site = Site::start(|_| {});
    site.client().submit(&key(1), &message("kept"));
    let folder = site.stop();
    let file = inbox_file(folder.path());
    assert!(!file.with_extension("sqlite3-wal").exists(), "the log is tidied away");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let site = Site::over(folder, |_| {});
    assert_eq!(site.client().all()[0]["text"], "kept");
    assert_eq!(site.client().submit(&key(1), &message("kept")).status, 200);
    assert_eq!(site.client().submit(&key(2), &message("next")).json()["id"], 2);
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let site = Site::start(|_| {});
    let folder = site.stop();
    let file = inbox_file(folder.path());
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let options = crate::kit::serve_options(folder.path(), crate::kit::inbox(folder.path()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(relayops_intent::serve::bind(options)).unwrap_err();
    assert!(error.to_string().starts_with("inbox:") && error.to_string().contains("version 2"), "{error}");
}
