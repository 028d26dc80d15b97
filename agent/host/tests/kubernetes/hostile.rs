//! A server that means harm, or is another than the one that is meant.

use crate::agent::Agent;
use crate::fake::{Answer, Fake, Piece, event, list, ok, pod, refused};
use hostward_host::SourceState;
use hostward_host::kubernetes::KubernetesConfig;
use serde_json::{Value, json};

#[test]
fn another_server_is_not_believed() {
    let fake = Fake::start(|_| list("10", "", &[pod("a", "5")]));
    let other = Fake::start(|_| list("10", "", &[pod("a", "5")]));
    let mut agent = Agent::start(&KubernetesConfig { ca_file: fake.config().ca_file, ..other.config() });
    agent.wait_degraded("invalid peer certificate");
    assert!(agent.pods.is_empty() && other.requests().is_empty(), "and no token was shown to it");
}

/// Whatever it answers, what was known stays, and a sane answer is believed again.
#[test]
fn nonsense_changes_nothing() {
    let nonsense: Vec<Value> = vec![
        json!(null),
        json!([]),
        json!("x"),
        json!({"items": []}),
        json!({"metadata": {}, "items": []}),
        json!({"metadata": {"resourceVersion": "1"}, "items": null}),
        json!({"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {"uid": 7}}]}),
        json!({"metadata": {"resourceVersion": ["1"]}, "items": []}),
        json!({"kind": "Status", "code": 200, "message": "fine"}),
    ];
    let count = nonsense.len();
    let fake = Fake::start(move |request| match (request.is_watch(), request.nth) {
        (false, 0) => list("10", "", &[pod("a", "5")]),
        // Each makes all be listed again.
        (true, 0) => Answer::Pieces(vec![Piece::Text("{\"type\":\"ADDED\",\"object\":7}\n".to_owned())]),
        (false, nth) if nth <= count => ok(&nonsense[nth - 1]),
        (false, nth) if nth == count + 1 => Answer::Whole(200, "", "[".repeat(1 << 20)),
        (false, nth) if nth == count + 2 => Answer::Whole(200, "", "{\"metadata\":".to_owned()),
        (false, nth) if nth == count + 3 => {
            Answer::Whole(302, "Location: https://127.0.0.1:1/\r\n", String::new())
        }
        (false, nth) if nth == count + 4 => Answer::Whole(200, "", "\u{1b}]0;x\u{7}".to_owned()),
        (false, _) => list("11", "", &[pod("a", "5"), pod("b", "11")]),
        (true, _) => Answer::Pieces(vec![event("ADDED", &pod("c", "12")), Piece::Open]),
    });
    let mut agent = Agent::start(&fake.config());
    agent.wait("the pod", |agent| agent.has("a"));
    agent.wait_degraded("makes no sense");
    assert!(!agent.report().why.contains('\u{1b}'));
    agent.wait("what is sane", |agent| agent.has("b") && agent.has("c"));
    agent.wait_ok();
    assert_eq!((agent.pods.len(), agent.told), (3, 3), "a was never taken back and told once");
}

#[test]
fn a_line_without_an_end_is_left() {
    let fake = Fake::start(|request| match (request.is_watch(), request.nth) {
        (false, _) => list("10", "", &[pod("a", "5")]),
        (true, 0) => Answer::Pieces(vec![Piece::Flood("x".repeat(65_536))]),
        (true, _) => Answer::Pieces(vec![event("ADDED", &pod("b", "12")), Piece::Open]),
    });
    let mut agent = Agent::start(&fake.config());
    agent.wait_degraded("longer than 8 MiB");
    agent.wait("the next watch", |agent| agent.has("b"));
    agent.wait_ok();
}

#[test]
fn a_list_without_an_end_is_left() {
    let fake = Fake::start(|request| match request.nth {
        _ if request.is_watch() => Answer::Pieces(vec![Piece::Open]),
        nth if nth < 24 => list("10", "more", &[]),
        _ => list("10", "", &[pod("a", "5")]),
    });
    let mut agent = Agent::start(&KubernetesConfig { max_pods: 4, ..fake.config() });
    agent.wait_degraded("the list does not end");
    agent.wait("the next list", |agent| agent.has("a"));
    assert_eq!(fake.lists().len(), 25, "24 pages for 4 pods, and the list after that");
}

#[test]
fn more_pods_than_there_is_room_for() {
    let fake = Fake::start(|request| match request.is_watch() {
        false => list("10", "", &(0..5).map(|n| pod(&format!("p{n}"), "5")).collect::<Vec<_>>()),
        true => Answer::Pieces(vec![
            event("ADDED", &pod("one-more", "11")),
            event("DELETED", &pod("p0", "12")),
            event("ADDED", &pod("after", "13")),
            Piece::Open,
        ]),
    });
    let mut agent = Agent::start(&KubernetesConfig { max_pods: 3, ..fake.config() });
    agent.wait("the room that was made", |agent| agent.has("after"));
    assert_eq!(agent.pods.len(), 3, "{:?}", agent.pods.keys());
    agent.wait_degraded("pods or more beyond 3, or 64 MiB, are not named; raise [kubernetes] max_pods");
}

#[test]
fn pods_of_another_node_are_not_taken() {
    let mut foreign = pod("b", "12");
    foreign["spec"]["nodeName"] = "node-b".into();
    let listed = foreign.clone();
    let fake = Fake::start(move |request| match (request.is_watch(), request.nth) {
        (false, _) => list("10", "", &[pod("a", "5"), listed.clone()]),
        (true, 0) => Answer::Pieces(vec![event("ADDED", &foreign), Piece::Open]),
        (true, _) => Answer::Pieces(vec![event("ADDED", &pod("c", "13")), Piece::Open]),
    });
    let mut agent = Agent::start(&fake.config());
    agent.wait_degraded("one of another node");
    agent.wait("the next watch", |agent| agent.has("c"));
    assert!(agent.has("a") && !agent.has("b"));
}

#[test]
fn forbidden_tells_what_to_do() {
    let fake = Fake::start(|_| refused(403, ""));
    let mut agent = Agent::start(&fake.config());
    agent.wait_degraded("grant get, list and watch on pods to the agent's account");
    let report = agent.report();
    assert_eq!((report.state, report.pods), (SourceState::Degraded, 0));
    assert_eq!(report.at, fake.config().server.unwrap());
}
