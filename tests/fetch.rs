//! `fetch` against a hub on this machine: whole, cut, corrupted, stalled and misbehaving transfers.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod fetch_hub;

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fetch_hub::case::{Case, FILE, SIZE, bytes, digest, from_byte, hub, quiet, watched};
use fetch_hub::{Fault, Hub};
use relayops_intent::IntentError;
use relayops_intent::fetch::{CATALOG, FetchRequest, Phase, Progress, Source, find};
use relayops_testkit::not_run;

#[test]
fn a_clean_download_reports_progress_and_leaves_only_the_file() {
    let case = Case::new(1);
    let hub = hub(&case.body);
    let (got, progress) = watched(&case.from(&hub));
    case.assert_whole(&got);
    assert_eq!(hub.ranges(), [None]);
    let total = SIZE as u64;
    assert!(progress.iter().all(|step| step.total == total && step.done <= total));
    let done: Vec<_> =
        progress.iter().filter(|step| step.phase == Phase::Download).map(|step| step.done).collect();
    assert!(done.is_sorted() && done.first() == Some(&0) && done.last() == Some(&total), "{done:?}");
    assert_eq!(progress.last(), Some(&Progress { phase: Phase::Done, done: total, total }));
}

#[test]
fn a_cut_connection_is_continued_with_the_missing_bytes_alone() {
    let seed = bytes(99, 16);
    let random = seed.chunks(2).map(|pair| usize::from(pair[0]) * 256 + usize::from(pair[1]));
    let mut seeded: Vec<usize> = random.map(|n| n * SIZE / 65_536).collect();
    let mut offsets = vec![0, 1, 4_095, 131_072, SIZE / 2, SIZE - 1];
    offsets.append(&mut seeded);
    for cut in offsets {
        let case = Case::new(2);
        let hub = hub(&case.body).with(|state| state.faults.push_back(Fault::Cut(cut)));
        case.assert_whole(&quiet(&case.from(&hub)));
        assert_eq!(hub.ranges(), [None, from_byte(cut)], "cut at {cut}");
    }
}

#[test]
fn several_cuts_add_up() {
    let case = Case::new(3);
    let hub = hub(&case.body).with(|state| state.faults.extend([Fault::Cut(1_000); 3]));
    case.assert_whole(&quiet(&case.from(&hub)));
    assert_eq!(hub.ranges(), [None, from_byte(1_000), from_byte(2_000), from_byte(3_000)]);
}

#[test]
fn tries_are_bounded_but_a_transfer_that_moves_goes_on() {
    let case = Case::new(4);
    let hub = hub(&case.body).with(|state| state.always = Fault::Cut(10));
    let error = case.assert_failed(quiet(&case.from(&hub)), "network");
    assert!(error.contains("4 tries") && error.contains("40 of 300001 bytes"), "{error}");
    assert_eq!(hub.ranges().len(), 4);

    // Nine cuts, but more than 1 MiB between them: more than the four tries in a row allow.
    let mut case = Case::new(4);
    case.body = bytes(4, 12 << 20);
    let moving = self::hub(&case.body).with(|state| state.faults.extend([Fault::Cut(5 << 18); 9]));
    case.assert_whole(&quiet(&case.from(&moving)));
    assert_eq!(moving.ranges().len(), 10);
}

#[test]
fn a_later_process_continues_the_part() {
    let case = Case::new(5);
    let hub = hub(&case.body).with(|state| state.faults.push_back(Fault::Cut(70_000)));
    let mut request = case.from(&hub);
    request.retry.tries = 1;
    case.assert_failed(quiet(&request), "network");
    assert_eq!(fs::metadata(case.path(".part")).unwrap().len(), 70_000);
    let (got, progress) = watched(&request);
    case.assert_whole(&got);
    assert_eq!(hub.ranges(), [None, from_byte(70_000)]);
    let first = progress.iter().find(|step| step.phase == Phase::Download).unwrap();
    assert_eq!(first.done, 70_000);
}

#[test]
fn a_part_of_another_version_or_of_no_known_version_is_not_continued() {
    for forget_note in [false, true] {
        let old = Case::new(6);
        let source = hub(&old.body).with(|state| state.faults.push_back(Fault::Cut(5_000)));
        let mut request = old.from(&source);
        request.retry.tries = 1;
        old.assert_failed(quiet(&request), "network");

        let mut new = Case::new(7);
        new.folder = old.folder;
        if forget_note {
            fs::remove_file(new.path(".part.json")).unwrap();
        }
        let source = hub(&new.body);
        new.assert_whole(&quiet(&new.from(&source)));
        assert_eq!(source.ranges(), [None]);
    }
}

#[test]
fn damage_to_the_part_on_disk_is_found_and_healed() {
    let case = Case::new(8);
    let hub = hub(&case.body).with(|state| state.faults.push_back(Fault::Cut(70_000)));
    let mut request = case.from(&hub);
    request.retry.tries = 1;
    case.assert_failed(quiet(&request), "network");
    let mut part = fs::read(case.path(".part")).unwrap();
    part[123] ^= 1;
    fs::write(case.path(".part"), part).unwrap();
    let (got, progress) = watched(&request);
    case.assert_whole(&got);
    assert_eq!(hub.ranges(), [None, from_byte(70_000), None]);
    assert!(progress.iter().any(|step| step.phase == Phase::Corrupted));
}

#[test]
fn a_corrupted_transfer_heals_once() {
    let case = Case::new(9);
    let hub = hub(&case.body).with(|state| state.faults.push_back(Fault::Corrupt));
    let (got, progress) = watched(&case.from(&hub));
    case.assert_whole(&got);
    assert_eq!(hub.ranges(), [None, None]);
    assert_eq!(progress.iter().filter(|step| step.phase == Phase::Corrupted).count(), 1);
}

#[test]
fn what_stays_corrupted_is_refused_and_removed() {
    let case = Case::new(10);
    let hub = hub(&case.body).with(|state| state.always = Fault::Corrupt);
    let error = quiet(&case.from(&hub)).unwrap_err();
    let mut corrupted = case.body.clone();
    corrupted[SIZE - 1] ^= 1;
    match &error {
        IntentError::Checksum { file, expected, actual } => {
            assert!(file.ends_with(FILE), "{file}");
            assert_eq!((expected, actual), (&digest(&case.body), &digest(&corrupted)));
        }
        other => panic!("expected a checksum error, got {other}"),
    }
    assert_eq!(hub.ranges(), [None, None]);
    assert_eq!(fs::read_dir(&case.folder).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_server_without_ranges_starts_over() {
    let case = Case::new(11);
    let hub = hub(&case.body).with(|state| {
        state.ranges = false;
        state.faults.push_back(Fault::Cut(9_000));
    });
    case.assert_whole(&quiet(&case.from(&hub)));
    assert_eq!(hub.ranges(), [None, from_byte(9_000)]);
}

#[test]
fn a_refused_or_wrong_range_starts_over() {
    for fault in [Fault::Status(416), Fault::WrongRange] {
        let case = Case::new(12);
        let hub = hub(&case.body).with(|state| state.faults.extend([Fault::Cut(9_000), fault]));
        case.assert_whole(&quiet(&case.from(&hub)));
        assert_eq!(hub.ranges(), [None, from_byte(9_000), None], "{fault:?}");
    }
}

#[test]
fn server_errors_are_retried_on_head_and_get() {
    let case = Case::new(13);
    let hub = hub(&case.body).with(|state| {
        state.heads.extend([503, 500]);
        state.faults.extend([Fault::Status(502), Fault::Status(429)]);
    });
    let (got, progress) = watched(&case.from(&hub));
    case.assert_whole(&got);
    let waits = |step: &&Progress| matches!(step.phase, Phase::Wait { .. });
    assert_eq!(progress.iter().filter(waits).count(), 4);

    let down = self::hub(&case.body).with(|state| state.always = Fault::Status(503));
    fs::remove_file(case.path("")).unwrap();
    let error = case.assert_failed(quiet(&case.from(&down)), "network");
    assert!(error.contains("503"), "{error}");
    assert_eq!(down.ranges().len(), 4);
}

#[test]
fn pauses_grow_within_their_bounds() {
    let case = Case::new(14);
    let hub = hub(&case.body).with(|state| state.always = Fault::Status(500));
    let mut request = case.from(&hub);
    request.retry.tries = 5;
    let (_, progress) = watched(&request);
    let pauses: Vec<_> = progress
        .into_iter()
        .filter_map(|step| if let Phase::Wait { pause, .. } = step.phase { Some(pause) } else { None })
        .collect();
    for (pause, ceiling) in pauses.iter().zip([2, 4, 8, 16]) {
        let ceiling = Duration::from_millis(ceiling);
        assert!(*pause >= ceiling / 2 && *pause <= ceiling, "{pauses:?}");
    }
    assert_eq!(pauses.len(), 4);
}

#[test]
fn a_stalled_connection_is_given_up_and_continued() {
    let case = Case::new(15);
    let hub = hub(&case.body).with(|state| state.faults.push_back(Fault::Stall(20_000)));
    let mut request = case.from(&hub);
    request.retry.read_timeout = Duration::from_millis(300);
    let start = Instant::now();
    case.assert_whole(&quiet(&request));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(hub.ranges(), [None, from_byte(20_000)]);
}

#[test]
fn a_missing_file_names_both_addresses() {
    let case = Case::new(16);
    let hub = hub(&case.body).with(|state| state.path = "/elsewhere".to_owned());
    let error = case.assert_failed(quiet(&case.from(&hub)), "network");
    let (hub_path, plain) =
        (format!("{}/Owner/Repo-GGUF/resolve/main/{FILE}", hub.url), format!("{}/{FILE}", hub.url));
    assert!(error.contains(&hub_path) && error.contains(&plain) && error.contains("404"), "{error}");
    assert_eq!(hub.seen().len(), 2, "a 404 is not retried");
}

#[test]
fn a_refusal_names_the_token_variable() {
    let case = Case::new(17);
    let hub = hub(&case.body).with(|state| state.heads.push_back(401));
    let error = case.assert_failed(quiet(&case.from(&hub)), "network");
    assert!(error.contains("401") && error.contains("HF_TOKEN"), "{error}");
    assert_eq!(hub.seen().len(), 1, "a refusal is not retried");
}

#[test]
fn wrong_sizes_are_refused() {
    let case = Case::new(18);
    let larger = hub(&case.body).with(|state| state.size += 7);
    let error = case.assert_failed(quiet(&case.from(&larger)), "network");
    assert!(error.contains("300001 bytes, expected 300008"), "{error}");

    let short = hub(&case.body).with(|state| state.always = Fault::Short);
    let error = case.assert_failed(quiet(&case.from(&short)), "network");
    assert!(error.contains("300000 bytes, expected 300001"), "{error}");

    let endless = hub(&case.body).with(|state| state.always = Fault::Overrun(1 << 20));
    let error = case.assert_failed(quiet(&case.from(&endless)), "network");
    assert!(error.contains("more than the expected 300001"), "{error}");
    assert!(fs::metadata(case.path(".part")).unwrap().len() <= SIZE as u64);
}

#[test]
fn the_token_goes_to_the_source_and_not_to_where_it_redirects() {
    let case = Case::new(19);
    let hub = hub(&case.body);
    let mut request = case.from(&hub);
    request.token = Some("hf_example".to_owned());
    case.assert_whole(&quiet(&request));
    let (storage, source): (Vec<_>, Vec<_>) = hub.seen().into_iter().partition(|seen| seen.storage);
    assert!(
        source.len() == 2 && source.iter().all(|seen| seen.token.as_deref() == Some("Bearer hf_example"))
    );
    assert!(storage.len() == 1 && storage.iter().all(|seen| seen.token.is_none()));
}

#[test]
fn a_token_is_not_sent_in_the_clear_or_misshapen() {
    let case = Case::new(20);
    let mut request = case.request(Source::Url("http://models.example".to_owned()));
    request.token = Some("hf_example".to_owned());
    let error = case.assert_failed(quiet(&request), "invalid_argument");
    assert!(error.contains("plain http") && !error.contains("hf_example"), "{error}");
    let hub = hub(&case.body);
    let mut request = case.from(&hub);
    request.token = Some("two\r\nlines".to_owned());
    let error = case.assert_failed(quiet(&request), "invalid_argument");
    assert!(!error.contains("lines"), "{error}");
    assert!(hub.seen().is_empty());
}

#[test]
fn what_is_there_and_verifies_is_kept_without_a_request() {
    let case = Case::new(21);
    let hub = hub(&case.body);
    fs::write(case.path(""), &case.body).unwrap();
    case.assert_whole(&quiet(&case.from(&hub)));
    assert!(hub.seen().is_empty());

    let mut broken = case.body.clone();
    broken[0] ^= 1;
    for wrong in [&broken[..], &case.body[..100]] {
        fs::write(case.path(""), wrong).unwrap();
        case.assert_whole(&quiet(&case.from(&hub)));
    }
    assert_eq!(hub.ranges(), [None, None]);
}

#[test]
fn the_hubs_digest_is_the_one_that_counts() {
    // The hub has a newer file than the catalog knows.
    let mut case = Case::new(22);
    let newer = bytes(23, SIZE + 11);
    let hub = hub(&newer);
    let request = case.from(&hub);
    let (got, progress) = watched(&request);
    case.body = newer;
    case.assert_whole(&got);
    let told = Phase::OtherVersion { sha256: digest(&case.body) };
    assert!(progress.iter().any(|step| step.phase == told));
    // Asked again, the newer file is kept.
    case.assert_whole(&quiet(&request));
    assert_eq!(hub.ranges(), [None]);
}

#[test]
fn a_hub_that_reports_no_usable_digest_leaves_the_catalogs() {
    for tag in ["not-a-digest", ""] {
        let case = Case::new(24);
        let good = hub(&case.body).with(|state| state.digest = tag.to_owned());
        case.assert_whole(&quiet(&case.from(&good)));
        fs::remove_file(case.path("")).unwrap();
        let mut other = case.body.clone();
        other[77] ^= 1;
        let bad = hub(&other).with(|state| state.digest = tag.to_owned());
        case.assert_failed(quiet(&case.from(&bad)), "checksum");
    }
}

#[test]
fn a_static_folder_serves_as_a_mirror_and_resumes() {
    let case = Case::new(25);
    let mirror = Hub::start(&format!("/files/{FILE}"), &case.body, "").with(|state| {
        state.hub = false;
        state.faults.push_back(Fault::Cut(1_234));
    });
    let request = case.request(Source::Url(format!("{}/files/", mirror.url)));
    case.assert_whole(&quiet(&request));
    assert_eq!(mirror.ranges(), [None, from_byte(1_234)]);
    let paths: Vec<_> = mirror.seen().into_iter().map(|seen| (seen.method, seen.path)).collect();
    assert_eq!(paths[0], ("HEAD".into(), format!("/files/Owner/Repo-GGUF/resolve/main/{FILE}")));
    assert_eq!(paths[1], ("HEAD".into(), format!("/files/{FILE}")));
}

#[test]
fn nobody_listening_is_a_network_error() {
    let case = Case::new(26);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let request = case.request(Source::Url(format!("http://{port}")));
    case.assert_failed(quiet(&request), "network");
}

#[test]
fn a_folder_is_copied_verified_and_left_alone() {
    let case = Case::new(27);
    let shelf = tempfile::tempdir().unwrap();
    let kept = shelf.path().join(FILE);
    let request = case.request(Source::Dir(shelf.path().to_owned()));

    let error = case.assert_failed(quiet(&request), "io");
    assert!(error.contains(FILE), "{error}");
    fs::write(&kept, &case.body[1..]).unwrap();
    let error = case.assert_failed(quiet(&request), "invalid_argument");
    assert!(error.contains("300000 bytes, expected 300001"), "{error}");
    let mut broken = case.body.clone();
    broken[5] ^= 1;
    fs::write(&kept, broken).unwrap();
    case.assert_failed(quiet(&request), "checksum");
    assert_eq!(fs::read_dir(&case.folder).unwrap().count(), 0, "nothing is left");

    fs::write(&kept, &case.body).unwrap();
    let (got, progress) = watched(&request);
    case.assert_whole(&got);
    assert_eq!(fs::read(&kept).unwrap(), case.body);
    assert!(progress.iter().any(|step| step.phase == Phase::Copy && step.done == SIZE as u64));
}

#[test]
fn a_folder_that_is_also_the_destination_keeps_its_file() {
    let case = Case::new(28);
    let mut broken = case.body.clone();
    broken[5] ^= 1;
    fs::write(case.path(""), &broken).unwrap();
    let request = case.request(Source::Dir(case.folder.path().to_owned()));
    assert_eq!(quiet(&request).unwrap_err().code(), "checksum");
    assert_eq!(fs::read(case.path("")).unwrap(), broken);
}

#[test]
fn two_transfers_of_one_file_do_not_mix() {
    let case = Case::new(29);
    let hub = hub(&case.body);
    let other = fs::File::create(case.path(".part")).unwrap();
    other.lock().unwrap();
    let error = case.assert_failed(quiet(&case.from(&hub)), "unavailable");
    assert!(error.contains("another process"), "{error}");
    drop(other);
    case.assert_whole(&quiet(&case.from(&hub)));
}

#[test]
fn arguments_are_checked() {
    let case = Case::new(30);
    for name in ["../up.gguf", "a/b.gguf", "..", "", "a\\b"] {
        let mut request = case.request(Source::Dir(PathBuf::from(".")));
        request.artifact.file = Cow::Owned(name.to_owned());
        assert_eq!(quiet(&request).unwrap_err().code(), "invalid_argument", "{name}");
    }
}

#[test]
fn sources_and_names_parse() {
    let parse = |text: &str| text.parse::<Source>();
    assert_eq!(parse("https://mirror.example/x/").unwrap(), Source::Url("https://mirror.example/x".into()));
    assert_eq!(parse("models/here").unwrap(), Source::Dir("models/here".into()));
    for bad in ["ftp://mirror.example", "", "http://", "file:///models"] {
        assert_eq!(parse(bad).unwrap_err().code(), "invalid_argument", "{bad}");
    }
    let error = find("qwen").unwrap_err();
    assert!(CATALOG.iter().all(|artifact| error.to_string().contains(artifact.name.as_ref())), "{error}");
    assert_eq!(find("qwen2.5-0.5b").unwrap(), CATALOG[0]);
}

#[test]
fn the_catalog_is_what_the_real_file_is() {
    const NAME: &str = "the_catalog_is_what_the_real_file_is";
    let Some(models) = std::env::var_os("RELAYOPS_TEST_MODELS") else {
        return not_run(NAME, "RELAYOPS_TEST_MODELS names no folder");
    };
    let models = Path::new(&models);
    let present: Vec<_> =
        CATALOG.into_iter().filter(|artifact| models.join(artifact.file.as_ref()).exists()).collect();
    if present.is_empty() {
        return not_run(NAME, "the folder that RELAYOPS_TEST_MODELS names has no model of the catalog");
    }
    for artifact in present {
        // Already there: verified against size and digest, or it would be fetched from nowhere.
        let mut request = FetchRequest::new(artifact, models);
        request.from = Some(Source::Dir(PathBuf::from("/nonexistent")));
        quiet(&request).unwrap();
    }
}
