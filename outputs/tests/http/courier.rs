//! What holds for every HTTP sink: nothing is lost, nothing hot-loops, one bad event costs itself alone.

use crate::common::{alert, telemetry_of, wait};
use crate::engine::{self, block, documents};
use crate::feed::{config, counter, events, push, settled, start, within};
use crate::support::http::{Answer, Fake};
use crate::support::proxy::{Fault, FaultProxy};
use hostward_outputs::spool::SpoolConfig;
use hostward_outputs::{Outputs, Reason, SinkSpec, SinkStatus, State};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn ids(events: &[std::sync::Arc<hostward_event::Event>]) -> BTreeSet<String> {
    events.iter().map(|event| event.id.to_string()).collect()
}

#[test]
fn every_event_arrives_once_compressed_and_in_its_stream() {
    let (fake, store) = engine::start(|_, _| None);
    let outputs = start(&block(&fake, "namespace = \"prod\""));
    let sent = events(1..=3_000);
    push(&outputs, &sent);
    settled(&outputs, 3_000);
    assert_eq!(store.ids(), ids(&sent));
    assert_eq!(store.streams(), ["logs-hostward.alert-prod", "logs-hostward.process-prod"]);
    let requests = fake.requests();
    assert!(requests.iter().all(|request| request.header("content-encoding") == "gzip"));
    let all: Vec<_> = requests.iter().flat_map(documents).collect();
    assert_eq!(all.len(), 3_000, "nothing twice");
    assert!(all.iter().all(|(_, _, document)| document["data_stream"]["namespace"] == "prod"));
    assert!(requests.iter().all(|request| documents(request).len() <= 1_024));
}

#[test]
fn several_requests_fly_and_not_more_than_configured() {
    let slow = Fake::start(|_, _| {
        let taken = r#"{"errors":false,"items":[{"create":{"status":201}}]}"#;
        Answer::new(200, taken).delay(Duration::from_millis(30))
    });
    let outputs = start(&block(&slow, "request_events = 1\nconcurrency = 3\nqueue = { linger_ms = 200 }"));
    push(&outputs, &events(1..=60));
    settled(&outputs, 60);
    assert!((2..=3).contains(&slow.most_at_once()), "{}", slow.most_at_once());
}

#[test]
fn the_number_of_requests_follows_what_the_server_can_take() {
    let throttles = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&throttles);
    let fake = Fake::start(move |_, _| {
        if shared.load(Ordering::SeqCst) {
            return Answer::new(429, "");
        }
        Answer::new(200, r#"{"errors":false,"items":[{"create":{"status":201}}]}"#)
    });
    let outputs = start(&block(&fake, "request_events = 1\nconcurrency = 4\nqueue = { linger_ms = 100 }"));
    push(&outputs, &events(1..=30));
    assert_eq!(counter(&settled(&outputs, 30), "requests_at_once"), 4);
    throttles.store(true, Ordering::SeqCst);
    push(&outputs, &events(31..=60));
    let throttled = wait(&outputs, "throttled", |status| status.failed_sends > 0);
    // Four were under way, and each was pushed back.
    assert_eq!(counter(&throttled, "requests_at_once"), 1, "{throttled:#?}");
    throttles.store(false, Ordering::SeqCst);
    let healed = settled(&outputs, 60);
    assert_eq!((healed.delivered, counter(&healed, "requests_at_once")), (60, 4));
}

#[test]
fn alerts_go_out_before_telemetry_in_a_request_of_their_own() {
    let (fake, _) = engine::start(|_, number| (number == 0).then(|| Answer::new(503, "")));
    let outputs = start(&block(&fake, "concurrency = 1\nqueue = { linger_ms = 300 }"));
    let telemetry: Vec<_> = (1..=50).map(|sequence| telemetry_of(sequence, 10)).collect();
    push(&outputs, &telemetry);
    outputs.push(&alert(51));
    settled(&outputs, 51);
    let first = fake
        .requests()
        .into_iter()
        .find(|request| documents(request).iter().any(|(stream, ..)| stream.contains("alert")))
        .unwrap();
    assert!(documents(&first).iter().all(|(stream, ..)| stream == "logs-hostward.alert-default"));
}

#[test]
fn an_alert_does_not_wait_for_the_request_that_is_under_way() {
    overtakes(start);
}

#[test]
fn nor_does_an_alert_that_comes_from_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    overtakes(|text| {
        let specs = config(text).into_iter().map(|config| SinkSpec { config, filter: None }).collect();
        Outputs::start_spooled(specs, &SpoolConfig::default().resolved(dir.path())).unwrap()
    });
}

fn overtakes(start: impl Fn(&str) -> Outputs) {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let is_alert = |request: &crate::support::http::Received| {
        documents(request).iter().all(|(stream, ..)| stream.contains("alert"))
    };
    let has_refused = AtomicBool::new(false);
    let (fake, store) = engine::start(move |request, _| {
        // A throttled server: it sits on telemetry, and refuses the first alert that overtakes it.
        let is_alert = is_alert(request);
        while !is_alert && !open.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        (is_alert && !has_refused.swap(true, Ordering::SeqCst)).then(|| Answer::new(503, ""))
    });
    let outputs = start(&block(&fake, "concurrency = 1\nqueue = { linger_ms = 300 }"));
    push(&outputs, &events(1..=5));
    wait(&outputs, "telemetry is under way", |status| status.in_flight == 5);
    let overtaking: Vec<_> = (6..=8).map(alert).collect();
    push(&outputs, &overtaking);
    let overtaken = wait(&outputs, "the alerts are there", |status| status.delivered == 3);
    assert_eq!((overtaken.in_flight, overtaken.failed_sends), (5, 1));
    assert_eq!(store.ids(), ids(&overtaking));
    assert!(counter(&settled_by(&outputs, &gate, 8), "alert_slot_calls") >= 2);

    // The grace period of the end counts for both.
    gate.store(false, Ordering::SeqCst);
    push(&outputs, &events(11..=15));
    wait(&outputs, "telemetry is under way", |status| status.in_flight == 5);
    outputs.push(&alert(16));
    let closed = outputs.close(Duration::from_millis(500)).remove(0);
    assert!(closed.status.law_holds());
    assert_eq!((closed.status.delivered, closed.left), (9, 5), "{:#?}", closed.status);
    gate.store(true, Ordering::SeqCst);
}

fn settled_by(outputs: &hostward_outputs::Outputs, gate: &AtomicBool, accepted: u64) -> SinkStatus {
    gate.store(true, Ordering::SeqCst);
    settled(outputs, accepted)
}

#[test]
fn a_cut_reply_or_none_at_all_is_offered_again_and_nothing_is_there_twice() {
    let (fake, store) = {
        let store = engine::Store::default();
        let shared = store.clone();
        let fake = Fake::start(move |request, number| {
            // The server commits, and then its word is lost in each way there is.
            let reply = engine::store(request, &shared);
            let length = reply.len();
            match number {
                0 => Answer::new(200, reply).cut_at(length / 2),
                1 => Answer::hang_up(),
                2 => Answer::new(200, &reply.as_bytes()[..length - 1]),
                3 => Answer::new(200, "<html>please log in</html>"),
                4 => Answer::new(200, r#"{"errors":false,"items":[]}"#),
                _ => Answer::new(200, reply),
            }
        });
        (fake, store)
    };
    let outputs = start(&block(&fake, "queue = { linger_ms = 100 }"));
    let sent = events(1..=9);
    push(&outputs, &sent);
    let status = settled(&outputs, 9);
    assert_eq!((status.delivered, store.ids()), (9, ids(&sent)));
    assert_eq!(counter(&status, "already_there_events"), 9);
    assert_eq!(status.health.state, State::Ok);
    assert!(fake.requests().len() >= 6);
}

#[test]
fn one_bad_event_among_many_costs_itself_alone() {
    let sent = events(1..=300);
    let bad = sent[122].id.to_string();
    let poison = bad.clone();
    let (fake, store) = engine::start(move |request, _| {
        request.text().contains(&poison).then(|| Answer::new(400, "a server that refuses all for one"))
    });
    let outputs = start(&block(&fake, ""));
    push(&outputs, &sent);
    let status = settled(&outputs, 300);
    assert_eq!((status.delivered, status.dropped_events()), (299, 1));
    assert_eq!(status.dropped[0].reason, Reason::Rejected);
    assert!(status.last_error.unwrap().message.contains("refuses all for one"));
    assert!(!store.ids().contains(&bad));
    assert!(fake.requests().len() < 40, "halving needs few requests: {}", fake.requests().len());
}

#[test]
fn a_server_that_refuses_everything_gets_nothing_given_up() {
    let fake = Fake::start(|_, _| Answer::new(400, "no such server"));
    let outputs = start(&block(&fake, ""));
    push(&outputs, &events(1..=20));
    let status = wait(&outputs, "held", |status| status.health.state == State::Failed);
    assert_eq!((status.delivered, status.dropped_events()), (0, 0));
    assert!(status.health.reason.contains("check the URL"), "{}", status.health.reason);
}

#[test]
fn what_is_too_large_is_halved_and_remembered() {
    let (fake, store) =
        engine::start(|request, _| (request.body.len() > 60_000).then(|| Answer::new(413, "")));
    let outputs = start(&block(&fake, "concurrency = 1"));
    let sent: Vec<_> = (1..=200).map(|sequence| telemetry_of(sequence, 1_000)).collect();
    push(&outputs, &sent);
    let status = settled(&outputs, 200);
    assert_eq!((status.delivered, store.ids()), (200, ids(&sent)));
    let limit = counter(&status, "request_bytes_limit");
    assert!(limit < 4 << 20, "{limit}");
    let before = fake.requests().iter().filter(|request| request.body.len() > 60_000).count();
    let more: Vec<_> = (201..=400).map(|sequence| telemetry_of(sequence, 1_000)).collect();
    push(&outputs, &more);
    settled(&outputs, 400);
    let after = fake.requests().iter().filter(|request| request.body.len() > 60_000).count();
    assert!(after - before <= 2, "it did not learn: {before}, then {after}");

    // One event alone that is too large is refused for good: nothing can make it smaller.
    outputs.push(&telemetry_of(401, 100_000));
    assert_eq!(settled(&outputs, 401).dropped[0].reason, Reason::Rejected);
}

#[test]
fn retry_after_is_obeyed() {
    let (fake, _) =
        engine::start(|_, number| (number == 0).then(|| Answer::new(429, "").header("Retry-After", "2")));
    let outputs = start(&block(&fake, "queue = { linger_ms = 0 }"));
    let start = Instant::now();
    outputs.push(&telemetry_of(1, 10));
    let throttled = wait(&outputs, "throttled", |status| status.failed_sends > 0);
    assert_eq!(throttled.health.state, State::Degraded);
    settled(&outputs, 1);
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(fake.requests().len(), 2, "it did not knock in between");
}

#[test]
fn statuses_that_need_a_person_hold_everything_without_a_hot_loop() {
    for status in [301, 401, 403, 404, 405, 407] {
        let (fake, store) = engine::start(move |_, number| {
            (number < 2).then(|| Answer::new(status, "no").header("Location", "https://elsewhere.example/"))
        });
        let outputs = start(&block(&fake, "queue = { linger_ms = 50 }"));
        let sent = events(1..=5);
        push(&outputs, &sent);
        wait(&outputs, "held", |told| told.health.state == State::Failed);
        let healed = settled(&outputs, 5);
        assert_eq!((healed.delivered, healed.health.state), (5, State::Ok), "{status}");
        assert_eq!(store.ids(), ids(&sent));
        assert!(fake.requests().len() <= 4, "{status}: {} requests", fake.requests().len());
    }
}

#[test]
fn one_byte_a_second_is_given_up_in_time_and_nothing_is_lost() {
    let (fake, store) = engine::start(|_, number| {
        let body = r#"{"errors":false,"items":[{"create":{"status":201}}]}"#;
        (number == 0).then(|| Answer::new(200, body).drip(Duration::from_secs(1)))
    });
    let outputs = start(&block(&fake, "request_timeout_s = 2\nqueue = { linger_ms = 0 }"));
    let start = Instant::now();
    let sent = events(1..=1);
    push(&outputs, &sent);
    let slow = wait(&outputs, "the time-out", |status| status.failed_sends > 0);
    assert!(slow.last_error.unwrap().message.contains("within 2 s"));
    assert_eq!(settled(&outputs, 1).delivered, 1);
    assert_eq!(store.ids(), ids(&sent));
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_dead_server_of_two_rests_and_the_other_takes_all() {
    let (fake, store) = engine::start(|_, _| None);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Fake::start(|_, _| Answer::new(502, "bad gateway"));
    let urls = format!("urls = [\"http://{dead}\", \"{}\", \"{}\"]", gateway.url(), fake.url());
    let outputs = start(&format!("[[sink]]\ntype = \"opensearch\"\nproxy = \"\"\n{urls}\n"));
    let sent = events(1..=500);
    push(&outputs, &sent);
    let status = settled(&outputs, 500);
    assert_eq!((status.delivered, status.failed_sends), (500, 0), "{status:#?}");
    assert_eq!(store.ids(), ids(&sent));
}

#[test]
fn resets_half_open_connections_and_lost_replies_lose_nothing() {
    let (fake, store) = engine::start(|_, _| None);
    let proxy = FaultProxy::start(fake.address());
    let text = format!(
        "[[sink]]\ntype = \"elastic\"\nurls = [\"http://{}\"]\nproxy = \"\"\nrequest_timeout_s = 1\nqueue = {{ linger_ms = 10 }}\n",
        proxy.address()
    );
    let outputs = start(&text);
    let sent = events(1..=900);
    let faults = [
        Fault::Refuse,
        Fault::ResetAfter(500),
        Fault::Silence,
        Fault::LoseReply,
        Fault::Slow(50),
        Fault::None,
    ];
    for (fault, part) in faults.into_iter().zip(sent.chunks(150)) {
        let before = crate::common::status(&outputs);
        proxy.set(fault);
        push(&outputs, part);
        if fault != Fault::None {
            let failed = |status: &SinkStatus| status.failed_sends > before.failed_sends;
            within(&outputs, Duration::from_secs(60), "the fault is felt", failed);
        }
        proxy.set(Fault::None);
        proxy.cut();
        settled(&outputs, before.accepted + 150);
    }
    let status = crate::common::status(&outputs);
    assert_eq!((status.delivered, status.dropped_events()), (900, 0));
    assert_eq!(store.ids(), ids(&sent));
    assert!(status.failed_sends >= 5 && proxy.resets() > 0, "{status:#?}");
}

#[test]
fn a_wrong_password_holds_and_a_mended_file_is_used_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "wrong\n").unwrap();
    // hostward:right
    let (fake, store) = engine::start(|request, _| {
        (request.header("authorization") != "Basic aG9zdHdhcmQ6cmlnaHQ=").then(|| Answer::new(401, "{}"))
    });
    let more = format!("username = \"hostward\"\npassword_file = \"{}\"", password.display());
    let outputs = start(&block(&fake, &more));
    let sent = events(1..=30);
    push(&outputs, &sent);
    let held = wait(&outputs, "held", |status| status.health.state == State::Failed);
    assert!(held.health.reason.contains("credentials"), "{}", held.health.reason);
    assert!(!format!("{held:?}").contains("wrong"), "the password is told to nobody");
    std::fs::write(&password, "right\n").unwrap();
    assert_eq!(settled(&outputs, 30).delivered, 30);
    assert_eq!(store.ids(), ids(&sent));
}

#[test]
fn a_proxy_carries_requests_and_its_refusal_holds() {
    let (fake, _) = engine::start(|_, _| None);
    // A proxy for http:// gets the absolute URL as the path.
    let upstream = fake.url();
    let proxy = Fake::start(move |request, number| {
        if number == 0 {
            return Answer::new(407, "who are you");
        }
        let expected = format!("{upstream}/_bulk?");
        assert!(request.path.starts_with(&expected), "{}", request.path);
        Answer::new(200, r#"{"errors":false,"items":[{"create":{"status":201}}]}"#)
    });
    let text = format!(
        "[[sink]]\ntype = \"elastic\"\nurls = [\"{}\"]\nproxy = \"{}\"\nqueue = {{ linger_ms = 0 }}\n",
        fake.url(),
        proxy.url()
    );
    let outputs = start(&text);
    push(&outputs, &events(1..=1));
    let held = wait(&outputs, "held", |status| status.failed_sends > 0);
    assert!(held.last_error.unwrap().message.contains("proxy's credentials"));
    assert_eq!(settled(&outputs, 1).delivered, 1);
    assert_eq!(proxy.requests().len(), 2);
    assert!(fake.requests().is_empty());
}

#[test]
fn a_name_that_nobody_knows_holds() {
    let text = "[[sink]]\ntype = \"elastic\"\nurls = [\"http://no-such-host.invalid:9200\"]\nproxy = \"\"\n";
    let outputs = start(text);
    push(&outputs, &events(1..=3));
    let held =
        within(&outputs, Duration::from_secs(40), "held", |status| status.health.state == State::Failed);
    assert!(held.health.reason.contains("no-such-host.invalid"), "{}", held.health.reason);
    assert_eq!(held.dropped_events(), 0);
}
