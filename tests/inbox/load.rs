//! Many at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::kit::{Site, key, message};

const CLIENTS: u64 = 50;
const EACH: u64 = 40;

/// Bound on the slowest hundredth of the requests that were taken: generous, for busy machines.
const P99: Duration = Duration::from_secs(5);

/// What the server lets through from the one address of all clients. Low enough that any machine runs into it: fifty
/// clients pass 200 a second as soon as an answer takes less than 250 ms.
const RATE: u32 = 200;
const BURST: u32 = 200;

/// What one client saw: time of each request that was taken, and how often it was told 429.
fn client(site: &Site, number: u64) -> (Vec<Duration>, usize) {
    let client = site.client();
    let (mut times, mut refused) = (Vec::new(), 0);
    for message_number in number * EACH..(number + 1) * EACH {
        let body = message(&format!("message {message_number}"));
        loop {
            let start = Instant::now();
            let answer = client.submit(&key(message_number), &body);
            match answer.status {
                201 => break times.push(start.elapsed()),
                status @ (429 | 503) => {
                    refused += usize::from(status == 429);
                    let seconds = answer.header("retry-after").parse().unwrap();
                    std::thread::sleep(Duration::from_secs(seconds));
                }
                status => panic!("{status}: {}", answer.body),
            }
        }
    }
    (times, refused)
}

#[test]
fn two_thousand_messages_of_fifty_clients_are_stored_once_each() {
    let site = Site::start(|options| {
        options.rate = RATE.try_into().unwrap();
        options.burst = BURST.try_into().unwrap();
    });
    let start = Instant::now();
    let (mut times, mut refused) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let site = &site;
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(site, number))).collect();
        for client in clients {
            let (more, waits) = client.join().unwrap();
            times.extend(more);
            refused += waits;
        }
    });
    let wall = start.elapsed();
    times.sort();
    let at = |share: usize| times[(times.len() * share).div_ceil(100).saturating_sub(1)];
    let (p50, p99) = (at(50), at(99));
    println!(
        "MEASURED inbox under load: {} escalations by {CLIENTS} clients in {:.2} s, {refused} answered 429 and sent again, \
         p50 {:.1} ms, p99 {:.1} ms",
        times.len(),
        wall.as_secs_f64(),
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
    );
    assert!(refused > 0, "no client was refused: that they send again is not tested");
    let items = site.client().all();
    let texts: BTreeSet<_> = items.iter().map(|item| item["text"].as_str().unwrap().to_owned()).collect();
    let expected: BTreeSet<_> = (0..CLIENTS * EACH).map(|number| format!("message {number}")).collect();
    assert_eq!(items.len(), expected.len(), "none doubled");
    assert_eq!(texts, expected, "none lost");
    assert!(p99 < P99, "p99 is {p99:?}");
}
