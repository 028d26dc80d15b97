//! Webhooks: keys, signatures, modes.

use crate::common::wait;
use crate::feed::{events, push, settled, start};
use crate::support::http::{Answer, Fake, Received};
use hostward_outputs::Reason;
use std::collections::BTreeSet;

fn block(fake: &Fake, more: &str) -> String {
    format!("[[sink]]\ntype = \"webhook\"\nurl = \"{}/hook?team=a\"\nproxy = \"\"\n{more}\n", fake.url())
}

/// As a receiver verifies: with its own hands, over the bytes it got.
fn is_signed_by(secret: &str, request: &Received) -> bool {
    let mut time = "";
    let mut signatures = Vec::new();
    for part in request.header("x-hostward-signature").split(',') {
        match part.split_once('=') {
            Some(("t", seconds)) => time = seconds,
            Some(("v1", hex)) => signatures.push(hex.to_owned()),
            _ => return false,
        }
    }
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, &[time.as_bytes(), b".", &request.body].concat());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    signatures.contains(&hex)
}

#[test]
fn one_event_per_request_with_its_id_as_the_key() {
    let fake = Fake::start(|_, _| Answer::new(204, ""));
    let outputs = start(&block(&fake, "secret = \"s3cret\""));
    let sent = events(1..=25);
    push(&outputs, &sent);
    assert_eq!(settled(&outputs, 25).delivered, 25);
    let requests = fake.requests();
    let keys: BTreeSet<_> =
        requests.iter().map(|request| request.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys, sent.iter().map(|event| event.id.to_string()).collect());
    for request in &requests {
        assert_eq!((request.path.as_str(), request.header("x-hostward-events")), ("/hook?team=a", "1"));
        assert_eq!(request.header("x-hostward-schema"), "ecs/9.4.0");
        assert_eq!(request.json()["event"]["id"], request.header("idempotency-key"));
        assert!(is_signed_by("s3cret", request) && !is_signed_by("other", request));
        assert_eq!(request.header("content-encoding"), "");
    }
}

#[test]
fn a_batch_that_is_sent_again_has_the_same_bytes_under_the_same_key() {
    let fake = Fake::start(|_, number| if number == 0 { Answer::hang_up() } else { Answer::new(200, "") });
    let more = "mode = \"batch\"\ncompression = \"gzip\"\nsecret = \"s\"\nconcurrency = 1\nqueue = { linger_ms = 300 }";
    let outputs = start(&block(&fake, more));
    push(&outputs, &events(1..=9));
    settled(&outputs, 9);
    let requests = fake.requests();
    let [lost, again] = &requests[..] else { panic!("{} requests", requests.len()) };
    assert_eq!(lost.header("idempotency-key"), again.header("idempotency-key"));
    assert_eq!(lost.body, again.body);
    assert_eq!(again.json().as_array().unwrap().len(), 9);
    assert_eq!(again.header("content-encoding"), "gzip");
    assert!(is_signed_by("s", again), "over the body before compression");
}

#[test]
fn lines_of_text_and_falco_alerts() {
    let fake = Fake::start(|_, _| Answer::new(200, ""));
    let outputs = start(&block(&fake, "mode = \"batch\"\nencoding = \"leef\"\nqueue = { linger_ms = 200 }"));
    push(&outputs, &events(1..=5));
    settled(&outputs, 5);
    let lines: Vec<String> = fake
        .requests()
        .iter()
        .flat_map(|r| r.text().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(lines.len() == 5 && lines.iter().all(|line| line.starts_with("LEEF:2.0|")), "{lines:?}");

    let fake = Fake::start(|_, _| Answer::new(200, ""));
    let outputs = start(&block(&fake, "encoding = \"falco\""));
    push(&outputs, &events(1..=20));
    let status = wait(&outputs, "two alerts", |status| status.delivered == 2);
    assert_eq!((status.accepted, status.filtered), (2, 18), "what the form does not carry is not accepted");
    let alert = fake.requests()[0].json();
    assert_eq!(
        (&alert["rule"], &alert["priority"], &alert["source"]),
        (&"r".into(), &"Critical".into(), &"syscall".into())
    );
}

#[test]
fn a_changed_secret_signs_beside_the_old_one_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "old").unwrap();
    let fake = Fake::start(|_, _| Answer::new(200, ""));
    let outputs =
        start(&block(&fake, &format!("secret_file = \"{}\"\nqueue = {{ linger_ms = 0 }}", secret.display())));
    push(&outputs, &events(1..=1));
    settled(&outputs, 1);
    std::fs::write(&secret, "new one").unwrap();
    push(&outputs, &events(2..=2));
    settled(&outputs, 2);
    let requests = fake.requests();
    assert!(is_signed_by("old", &requests[0]) && !is_signed_by("new one", &requests[0]));
    assert!(is_signed_by("old", &requests[1]) && is_signed_by("new one", &requests[1]));
}

#[test]
fn a_refused_event_is_a_dead_letter_once_the_receiver_has_taken_another() {
    let sent = events(1..=3);
    let bad = sent[0].id.to_string();
    let fake = Fake::start(move |request, _| {
        Answer::new(if request.header("idempotency-key") == bad { 422 } else { 200 }, "no thanks")
    });
    let outputs = start(&block(&fake, "queue = { linger_ms = 100 }"));
    push(&outputs, &sent);
    let status = settled(&outputs, 3);
    assert_eq!((status.delivered, status.dropped[0].reason), (2, Reason::Rejected));
}
