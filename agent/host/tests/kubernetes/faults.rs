//! Faults that a server has now and then.

use crate::agent::Agent;
use crate::fake::{Answer, Fake, Piece, event, list, pod, refused};
use hostward_host::kubernetes::KubernetesConfig;
use serde_json::json;
use std::time::Duration;

/// A watch that stays open.
fn quiet() -> Answer {
    Answer::Pieces(vec![Piece::Open])
}

#[test]
fn too_many_requests_are_answered_by_waiting() {
    let fake = Fake::start(|request| match (request.is_watch(), request.nth) {
        (true, _) => quiet(),
        (false, 0) => refused(429, "Retry-After: 2\r\n"),
        (false, 1) => refused(503, "Retry-After: 1\r\n"),
        (false, 2) => refused(500, ""),
        (false, _) => list("7", "", &[pod("a", "5")]),
    });
    let mut agent = Agent::start(&KubernetesConfig { retry_max_s: 10, ..fake.config() });
    agent.wait_degraded("it asks us to wait (429): no \\u{1b}[31mway");
    agent.wait("the pod", |agent| agent.has("a"));
    agent.wait_ok();
    let at: Vec<_> = fake.lists().iter().map(|request| request.at).collect();
    assert_eq!(at.len(), 4);
    assert!(at[1] - at[0] >= Duration::from_secs(2) && at[2] - at[1] >= Duration::from_secs(1), "{at:?}");
    assert!(fake.requests().iter().all(|request| request.authorization == "Bearer secret-token"));
}

#[test]
fn a_version_that_is_too_old_is_listed_again() {
    // By the status of the answer, and by an event inside of it.
    let fake = Fake::start(|request| match (request.is_watch(), request.nth) {
        (false, 0) => list("10", "", &[pod("a", "5"), pod("b", "6")]),
        (true, 0) => Answer::Pieces(vec![
            event("BOOKMARK", &json!({"metadata": {"resourceVersion": "20"}})),
            event(
                "ERROR",
                &json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}),
            ),
            Piece::Open,
        ]),
        (false, 1) => list("30", "", &[pod("b", "6"), pod("c", "25")]),
        (true, 1) => refused(410, ""),
        (false, _) => list("40", "", &[pod("c", "25"), pod("d", "35")]),
        (true, _) => quiet(),
    });
    let mut agent = Agent::start(&fake.config());
    agent.wait("the last list", |agent| agent.has("c") && agent.has("d") && agent.pods.len() == 2);
    agent.wait_ok();
    agent.wait("the last watch", |_| fake.watches().len() == 3);
    assert_eq!(agent.told, 6, "four pods came, and two went");
    let versions: Vec<_> =
        fake.watches().iter().map(|watch| watch.value("resourceVersion").unwrap().to_owned()).collect();
    assert_eq!(versions, ["10", "30", "40"]);
    let lists: Vec<_> =
        fake.lists().iter().map(|list| list.value("resourceVersion").map(str::to_owned)).collect();
    assert_eq!(
        lists,
        [Some("0".to_owned()), None, None],
        "a cache may be asked only by who knows nothing yet"
    );
}

#[test]
fn a_watch_that_is_cut_goes_on_where_it_was() {
    let half = format!("{{\"type\":\"ADDED\",\"object\":{}", pod("c", "13"));
    let fake = Fake::start(move |request| match (request.is_watch(), request.nth) {
        (false, 0) => list("10", "", &[pod("a", "5")]),
        (true, 0) => Answer::Pieces(vec![event("ADDED", &pod("b", "12")), Piece::Text(half.clone())]),
        (true, 1) => Answer::Pieces(vec![
            event("ADDED", &pod("c", "13")),
            event("LATER", &json!({"metadata": {"resourceVersion": "99"}})),
            event("BOOKMARK", &json!({"metadata": {"resourceVersion": "17"}})),
            Piece::Text("\n{\"type\":\"DEL".to_owned()),
            Piece::Cut,
        ]),
        (true, 2) => Answer::Pieces(vec![event("DELETED", &pod("a", "18")), Piece::Open]),
        _ => refused(500, ""),
    });
    let mut agent = Agent::start(&fake.config());
    agent.wait("all that was said", |agent| agent.has("b") && agent.has("c") && !agent.has("a"));
    agent.wait_ok();
    let versions: Vec<_> =
        fake.watches().iter().map(|watch| watch.value("resourceVersion").unwrap().to_owned()).collect();
    assert_eq!(versions, ["10", "12", "17"]);
    assert_eq!((fake.lists().len(), agent.told), (1, 4), "nothing is listed again, nothing told twice");
}

#[test]
fn a_long_list_comes_in_pages() {
    let fake = Fake::start(|request| match (request.is_watch(), request.value("continue")) {
        (true, _) => quiet(),
        (false, None) => list("10", "p 2&x", &[pod("a", "5"), pod("b", "6")]),
        (false, Some("p+2%26x")) => list("10", "p3", &[pod("c", "7")]),
        (false, Some("p3")) => list("10", "", &[pod("d", "8")]),
        (false, Some(_)) => refused(400, ""),
    });
    let mut agent = Agent::start(&fake.config());
    agent.wait("all pages", |agent| agent.pods.len() == 4);
    agent.wait_ok();
    let lists = fake.lists();
    assert_eq!(lists.len(), 3);
    assert!(
        lists.iter().all(|list| list.value("fieldSelector") == Some("spec.nodeName%3Dnode-a")),
        "{lists:?}"
    );
    assert_eq!(lists[1].value("resourceVersion"), None, "a page after the first is of the same version");
}

#[test]
fn a_page_that_is_too_long_is_asked_for_in_parts() {
    let fake = Fake::start(|request| {
        let limit: usize = request.value("limit").unwrap_or("0").parse().unwrap();
        match (request.is_watch(), limit) {
            (true, _) => quiet(),
            (false, 1) if request.value("continue").is_none() => list("10", "p2", &[pod("a", "5")]),
            (false, 1) => list("10", "", &[pod("b", "5")]),
            // 9 MiB and more.
            _ => Answer::Pieces(vec![
                Piece::Text("{\"items\":[".to_owned()),
                Piece::Flood("\"x\",".repeat(4096)),
            ]),
        }
    });
    let mut agent = Agent::start(&fake.config());
    agent.wait("both", |agent| agent.has("a") && agent.has("b"));
    agent.wait_ok();
    let limits: Vec<_> = fake.lists().iter().map(|list| list.value("limit").unwrap().to_owned()).collect();
    assert_eq!(limits, ["64", "8", "1", "1"]);
}

#[test]
fn a_server_that_takes_and_never_answers() {
    let fake = Fake::start(|request| match (request.is_watch(), request.nth) {
        (false, 0) => Answer::Nothing,
        (false, _) => list("10", "", &[pod("a", "5")]),
        // It says that it is there, and then nothing more, not even an end.
        (true, 0) => Answer::Pieces(vec![Piece::Pause(Duration::ZERO), Piece::Open]),
        (true, _) => Answer::Pieces(vec![event("ADDED", &pod("b", "12")), Piece::Open]),
    });
    let mut agent = Agent::start(&KubernetesConfig { request_timeout_s: 1, watch_s: 5, ..fake.config() });
    agent.wait_degraded("no answer within 1 s");
    agent.wait("the pod", |agent| agent.has("a"));
    agent.wait_degraded("no answer within 6 s");
    agent.wait("what the next watch tells", |agent| agent.has("b"));
    assert!(agent.has("a"));
    agent.wait_ok();
}
