//! Faults that a server has now and then.

use crate::agent::{Agent, owners};
use crate::fake::{Answer, Fake, Piece, event, list, ok, pod, refused};
use hostward_host::kubernetes::KubernetesConfig;
use serde_json::{Value, json};
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

fn owned(name: &str, set: &str) -> Value {
    let mut pod = pod(name, "5");
    pod["metadata"]["labels"] = json!({"pod-template-hash": "7d4b9c"});
    let owner =
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": set, "controller": true});
    pod["metadata"]["ownerReferences"] = json!([owner]);
    pod
}

#[test]
fn an_owner_that_cannot_be_asked_holds_nobody_up() {
    let many: Vec<Value> = (0..40).map(|n| owned(&format!("web-{n}"), &format!("web{n}-7d4b9c"))).collect();
    let fake = Fake::start_with(
        move |request| if request.is_watch() { quiet() } else { list("10", "", &many) },
        |_| Answer::Nothing,
    );
    let mut agent = Agent::start(&fake.config());
    agent.wait("all pods", |agent| agent.pods.len() == 40);
    agent.wait_ok();
    assert_eq!(owners(agent.pod("web-7").unwrap()), ["ReplicaSet/web7-7d4b9c*", "Deployment/web7"]);
    // Each pod could have waited for three answers.
    assert!(fake.relations().len() < 20, "{} were asked for", fake.relations().len());
}

#[test]
fn an_owner_is_asked_for_once_and_only_believed_by_its_uid() {
    let pods = vec![
        owned("a", "web-7d4b9c"),
        owned("b", "web-7d4b9c"),
        owned("c", "old-7d4b9c"),
        owned("d", "x/../y-7d4b9c"),
    ];
    let fake = Fake::start_with(
        move |request| if request.is_watch() { quiet() } else { list("10", "", &pods) },
        |request| match request.target.rsplit('/').next().unwrap() {
            "web-7d4b9c" => {
                let owner = json!({"apiVersion": "r/v1", "kind": "Rollout", "name": "r", "uid": "9", "controller": true});
                ok(&json!({"metadata": {"uid": "web-7d4b9c", "ownerReferences": [owner]}}))
            }
            // Another of the same name, made since.
            "old-7d4b9c" => ok(&json!({"metadata": {"uid": "other", "ownerReferences": []}})),
            "default" => ok(&json!({"metadata": {"uid": "2", "labels": {"stage": "live"}}})),
            _ => ok(&json!({"metadata": {"uid": "cluster"}})),
        },
    );
    let mut agent = Agent::start(&fake.config());
    agent.wait("all pods", |agent| agent.pods.len() == 4);
    agent.wait_ok();
    for name in ["a", "b"] {
        assert_eq!(owners(agent.pod(name).unwrap()), ["ReplicaSet/web-7d4b9c*", "Rollout/r*"]);
    }
    assert_eq!(owners(agent.pod("c").unwrap()), ["ReplicaSet/old-7d4b9c*", "Deployment/old"]);
    assert_eq!(agent.pod("d").unwrap().cluster_id, "cluster".into());
    assert_eq!(agent.pod("d").unwrap().namespace_labels.get("stage".as_bytes()), Some(&"live".into()));
    let mut asked: Vec<_> = fake.relations().into_iter().map(|request| request.target).collect();
    asked.sort_unstable();
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let expected = ["/api/v1/namespaces/default", "/api/v1/namespaces/kube-system"].map(str::to_owned);
    let expected = expected.into_iter().chain(["old", "web"].map(|name| format!("{sets}/{name}-7d4b9c")));
    assert_eq!(asked, expected.collect::<Vec<_>>(), "each once, and no path that a name makes up");
}
