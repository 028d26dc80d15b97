//! Verdicts on single items, replayed from replies of real servers.

use crate::common::wait;
use crate::engine::{self, Store, block, documents};
use crate::feed::{config, counter, events, push, settled, start};
use crate::support::http::{Answer, Fake};
use hostward_outputs::config::Config;
use hostward_outputs::{Reason, State, elastic};
use std::time::Duration;

/// A server that answers `error` for the ids in `which` the first `times` times.
fn odd_items(which: Vec<String>, error: &'static str, times: usize) -> (Fake, Store) {
    let store = Store::default();
    let shared = store.clone();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::start(move |request, _| {
        let mut items = Vec::new();
        let mut hit = false;
        let is_odd = asked.load(std::sync::atomic::Ordering::SeqCst) < times;
        for (stream, id, _) in documents(request) {
            if which.contains(&id) && is_odd {
                hit = true;
                items.push(error.to_owned());
            } else {
                shared.insert(&stream, &id);
                items.push(r#"{"create":{"status":201}}"#.to_owned());
            }
        }
        if hit {
            asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
        Answer::new(200, format!(r#"{{"errors":{hit},"items":[{}]}}"#, items.join(",")))
    });
    (fake, store)
}

#[test]
fn a_throttled_item_is_sent_again_and_the_others_are_not() {
    let sent = events(1..=40);
    let throttled: Vec<String> = sent[5..8].iter().map(|event| event.id.to_string()).collect();
    let error = r#"{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"queue is full"}}}"#;
    let (fake, store) = odd_items(throttled.clone(), error, 2);
    let outputs = start(&block(&fake, "concurrency = 1"));
    push(&outputs, &sent);
    let status = settled(&outputs, 40);
    assert_eq!((status.delivered, store.ids().len(), status.failed_sends), (40, 40, 2));
    let all: Vec<String> = fake.requests().iter().flat_map(documents).map(|(_, id, _)| id).collect();
    for id in sent.iter().map(|event| event.id.to_string()) {
        let expected = if throttled.contains(&id) { 3 } else { 1 };
        assert_eq!(all.iter().filter(|other| **other == id).count(), expected);
    }
}

#[test]
fn a_mapping_error_is_a_dead_letter_with_its_reason_and_a_missing_right_is_not() {
    let sent = events(1..=20);
    let odd = vec![sent[3].id.to_string()];
    let mapping = r#"{"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:9] failed to parse\u001b[31m"}}}"#;
    let (fake, _) = odd_items(odd.clone(), mapping, usize::MAX);
    let outputs = start(&block(&fake, ""));
    push(&outputs, &sent);
    let status = settled(&outputs, 20);
    assert_eq!(
        (status.delivered, status.dropped[0].reason, status.dropped[0].events),
        (19, Reason::Rejected, 1)
    );
    let message = status.last_error.unwrap().message;
    assert!(message.contains("document_parsing_exception") && !message.contains('\x1b'), "{message}");

    let right = r#"{"create":{"status":403,"error":{"type":"security_exception","reason":"unauthorized"}}}"#;
    let (fake, store) = odd_items(odd, right, 1);
    let outputs = start(&block(&fake, ""));
    push(&outputs, &sent);
    let held = wait(&outputs, "held", |status| status.health.state == State::Failed);
    assert_eq!((held.dropped_events(), held.queued + held.in_flight), (0, 1));
    assert_eq!(settled(&outputs, 20).delivered, 20);
    assert_eq!(store.ids().len(), 20);
}

#[test]
fn what_the_failure_store_took_is_delivered_and_counted() {
    let sent = events(1..=5);
    let error = r#"{"create":{"status":201,"failure_store":"used"}}"#;
    let (fake, _) = odd_items(vec![sent[0].id.to_string()], error, usize::MAX);
    let outputs = start(&block(&fake, ""));
    push(&outputs, &sent);
    let status = settled(&outputs, 5);
    assert_eq!((status.delivered, counter(&status, "failure_store_events")), (5, 1));
}

#[test]
fn all_problems_of_a_block_are_told_and_a_short_one_has_none() {
    #[derive(serde::Deserialize)]
    struct Sinks {
        sink: Vec<Config>,
    }
    config(
        "[[sink]]\ntype = \"elastic\"\nurls = [\"https://127.0.0.1:9200\"]\nca_file = \"/ca.pem\"\nusername = \"u\"\npassword_file = \"/p\"\n",
    );
    config("[[sink]]\ntype = \"splunk_hec\"\nurls = [\"https://127.0.0.1:8088\"]\ntoken_file = \"/t\"\n");
    config("[[sink]]\ntype = \"otlp\"\nurl = \"http://127.0.0.1:4318\"\n");
    config("[[sink]]\ntype = \"webhook\"\nurl = \"https://127.0.0.1/hook\"\nencoding = \"falco\"\n");
    let wrong = "[[sink]]\ntype = \"elastic\"\nurls = [\"ftp://h\", \"https://u:secret@h\"]\nnamespace = \"A-b\"\n\
                 encoding = \"cef\"\nusername = \"u\"\napi_key_file = \"/k\"\ntoken = \"t\"\ntoken_env = \"T\"\nconcurrency = 0\n\
                 pin_sha256 = [\"x\"]\n";
    let sinks = toml::from_str::<Sinks>(wrong).unwrap().sink;
    let problems = Config::validate(&sinks);
    let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
    for key in ["urls", "namespace", "encoding", "username", "token", "concurrency", "pin_sha256"] {
        assert!(keys.contains(&key), "{key}: {keys:?}");
    }
    assert!(problems.iter().all(|problem| !problem.to_string().contains("secret")), "{problems:?}");
    assert!(!format!("{sinks:?}").contains("\"t\""), "an inline token is not shown");
    let hec = toml::from_str::<Sinks>("[[sink]]\ntype = \"splunk_hec\"\n").unwrap().sink;
    let keys: Vec<_> = Config::validate(&hec).iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["urls", "token"]);
    let unknown =
        toml::from_str::<Sinks>("[[sink]]\ntype = \"otlp\"\nurls = []\n").err().unwrap().to_string();
    assert!(unknown.contains("`url`"), "{unknown}");
}

#[tokio::test]
async fn the_check_stops_where_the_trouble_is() {
    let elastic = |text: &str| match config(text).remove(0) {
        Config::Elastic(config) => *config,
        other => panic!("{other:?}"),
    };
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let steps = elastic::check(&elastic(&format!(
        "[[sink]]\ntype = \"elastic\"\nproxy = \"\"\nurls = [\"http://{dead}\"]\n"
    )))
    .await;
    let last = steps.last().unwrap();
    assert!(!last.ok && last.what.starts_with("connect to") && last.why.contains("refused"), "{steps:?}");

    let fake = Fake::start(|_, _| Answer::new(401, r#"{"error":"who?"}"#).delay(Duration::ZERO));
    let steps = elastic::check(&elastic(&block(&fake, ""))).await;
    let told: Vec<_> = steps.iter().map(|step| (step.what.split(' ').next().unwrap(), step.ok)).collect();
    assert_eq!(told, [("resolve", true), ("connect", true), ("log", false)], "{steps:?}");
}

#[tokio::test]
async fn the_check_names_a_missing_right() {
    let (fake, _) = engine::start(|request, _| {
        Some(match request.path.as_str() {
            "/_security/user/_has_privileges" => Answer::new(200, r#"{"has_all_requested":false}"#),
            _ => Answer::new(200, "{}").header("X-elastic-product", "Elasticsearch"),
        })
    });
    let Config::Elastic(elastic) = config(&block(&fake, "")).remove(0) else { panic!() };
    let steps = elastic::check(&elastic).await;
    let last = steps.last().unwrap();
    assert!(!last.ok && last.why.contains("create_doc"), "{steps:?}");
}
