//! Splunk's collector, as its documentation has it: replies, codes, acknowledgments.

use crate::common::wait;
use crate::feed::{config, counter, events, missing, push, settled, start, tally};
use crate::support::http::{Answer, Fake, Received};
use hostward_outputs::config::Config;
use hostward_outputs::{Reason, State, hec};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

const TOKEN: &str = "Splunk 11111111-2222-3333-4444-555555555555";

/// A collector. Numbers below `lost` are never acknowledged.
#[derive(Default)]
struct Collector {
    is_without_acks: bool,
    lost: u64,
    asked: Mutex<u64>,
    /// Channel and number of what was taken.
    taken: Mutex<Vec<(String, u64)>>,
}

impl Collector {
    fn answer(&self, request: &Received) -> Answer {
        if request.header("authorization") != TOKEN {
            return Answer::new(403, r#"{"text":"Invalid token","code":4}"#);
        }
        if !request.path.starts_with("/services/collector/") {
            return Answer::new(
                404,
                r#"{"text":"The requested URL was not found on this server.","code":404}"#,
            );
        }
        let channel = request.header("x-splunk-request-channel").to_owned();
        assert_eq!(channel.len(), 36, "{channel}");
        match request.path.as_str() {
            "/services/collector/event" if request.body.is_empty() => {
                Answer::new(400, r#"{"text":"No data","code":5}"#)
            }
            "/services/collector/event" => {
                let mut taken = self.taken.lock().unwrap();
                let number = u64::try_from(taken.len()).unwrap();
                taken.push((channel, number));
                let ack = if self.is_without_acks { String::new() } else { format!(r#","ackId":{number}"#) };
                Answer::new(200, format!(r#"{{"text":"Success","code":0{ack}}}"#))
            }
            "/services/collector/ack" if self.is_without_acks => {
                Answer::new(400, r#"{"text":"ACK is disabled","code":14}"#)
            }
            "/services/collector/ack" => {
                *self.asked.lock().unwrap() += 1;
                let taken = self.taken.lock().unwrap();
                let asked = request.json()["acks"].as_array().unwrap().clone();
                let acks: serde_json::Map<_, _> = asked
                    .iter()
                    .map(|number| {
                        let number = number.as_u64().unwrap();
                        // Numbers are of a channel.
                        let known = taken.contains(&(channel.clone(), number));
                        (number.to_string(), (known && number >= self.lost).into())
                    })
                    .collect();
                Answer::new(200, serde_json::json!({ "acks": acks }).to_string())
            }
            other => Answer::new(404, format!("no {other}")),
        }
    }
}

fn collector(collector: Collector) -> (Fake, Arc<Collector>) {
    let collector = Arc::new(collector);
    let shared = Arc::clone(&collector);
    (Fake::start(move |request, _| shared.answer(request)), collector)
}

fn block(fake: &Fake, more: &str) -> String {
    let token = TOKEN.strip_prefix("Splunk ").unwrap();
    format!(
        "[[sink]]\ntype = \"splunk_hec\"\nurls = [\"{}\"]\nproxy = \"\"\ntoken = \"{token}\"\n{more}\n",
        fake.url()
    )
}

/// Events of all requests, each a JSON object behind the other.
fn received(fake: &Fake) -> Vec<serde_json::Value> {
    let requests = fake.requests();
    let events = requests.iter().filter(|request| request.path.ends_with("/event"));
    events
        .flat_map(|request| {
            serde_json::Deserializer::from_slice(&request.body)
                .into_iter::<serde_json::Value>()
                .collect::<Result<Vec<_>, _>>()
                .unwrap()
        })
        .collect()
}

fn id(event: &serde_json::Value) -> String {
    event["fields"]["event_id"].as_str().unwrap().to_owned()
}

#[test]
fn events_count_when_the_indexer_has_them() {
    let (fake, _) = collector(Collector::default());
    let outputs = start(&block(&fake, "index = \"security\""));
    let sent = events(1..=500);
    push(&outputs, &sent);
    assert_eq!(settled(&outputs, 500).delivered, 500);
    let received = received(&fake);
    let tally = tally(received.iter().map(id));
    assert_eq!((tally.len(), missing(&sent, &tally)), (500, 0));
    assert!(tally.values().all(|times| *times == 1));
    let first = &received[0];
    assert_eq!(first["sourcetype"], "hostward:ecs");
    assert_eq!((&first["source"], &first["index"]), (&"hostward".into(), &"security".into()));
    assert_eq!(first["event"]["event"]["id"], first["fields"]["event_id"]);
    let seconds = first["time"].as_f64().unwrap();
    let expected = sent[0].time_ns / 1_000_000;
    assert!((seconds * 1_000.0 - expected as f64).abs() < 1_000.0, "{seconds}");
}

#[test]
fn what_is_not_acknowledged_goes_out_again_on_another_channel() {
    let (fake, collector) = collector(Collector { lost: 1, ..Collector::default() });
    let outputs = start(&block(&fake, "ack_timeout_s = 1\nqueue = { linger_ms = 50 }"));
    let sent = events(1..=20);
    push(&outputs, &sent);
    let unacked = wait(&outputs, "the time-out", |status| status.failed_sends > 0);
    assert!(unacked.last_error.unwrap().message.contains("no acknowledgment"));
    let status = settled(&outputs, 20);
    assert_eq!(status.delivered, 20);
    assert!(counter(&status, "unacked_events") > 0);
    let tally = tally(received(&fake).iter().map(id));
    assert_eq!(missing(&sent, &tally), 0);
    assert!(tally.values().any(|times| *times == 2), "twice is possible, and the id tells");
    let channels: BTreeSet<_> =
        collector.taken.lock().unwrap().iter().map(|(channel, _)| channel.clone()).collect();
    assert_eq!(channels.len(), 2);
}

#[test]
fn a_token_without_acknowledgments_gets_nothing_until_somebody_decides() {
    let (fake, collector) = collector(Collector { is_without_acks: true, ..Collector::default() });
    let outputs = start(&block(&fake, ""));
    push(&outputs, &events(1..=5));
    let held = wait(&outputs, "held", |status| status.health.state == State::Failed);
    assert!(held.health.reason.contains("acks = false"), "{}", held.health.reason);
    assert!(collector.taken.lock().unwrap().is_empty(), "nothing was sent that nobody would confirm");
    drop(outputs);

    let outputs = start(&block(&fake, "acks = false"));
    push(&outputs, &events(1..=5));
    assert_eq!(settled(&outputs, 5).delivered, 5);
    assert_eq!(*collector.asked.lock().unwrap(), 0);
}

#[test]
fn an_event_that_the_collector_cannot_read_costs_itself_alone_and_a_busy_one_nothing() {
    let sent = events(1..=60);
    let bad = sent[7].id.to_string();
    let poison = bad.clone();
    let inner = Collector::default();
    let fake = Fake::start(move |request, number| {
        if number == 1 {
            return Answer::new(503, r#"{"text":"Server is busy","code":9}"#);
        }
        if request.path.ends_with("/event") && request.text().contains(&poison) {
            return Answer::new(400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":7}"#);
        }
        inner.answer(request)
    });
    let outputs = start(&block(&fake, ""));
    push(&outputs, &sent);
    let status = settled(&outputs, 60);
    assert_eq!(
        (status.delivered, status.dropped[0].reason, status.dropped[0].events),
        (59, Reason::Rejected, 1)
    );
}

#[test]
fn text_forms_travel_as_strings_and_redacted_names_do_not_travel() {
    let (fake, _) = collector(Collector::default());
    let outputs = start(&block(&fake, "encoding = \"cef\"\nredact = [\"host\"]"));
    push(&outputs, &events(1..=3));
    settled(&outputs, 3);
    for event in received(&fake) {
        assert!(event["event"].as_str().unwrap().starts_with("CEF:0|Hostward|"));
        assert_eq!((event.get("host"), &event["sourcetype"]), (None, &"hostward:cef".into()));
    }
}

#[tokio::test]
async fn the_check_tells_a_wrong_token_and_missing_acknowledgments() {
    let hec = |text: &str| match config(text).remove(0) {
        Config::SplunkHec(config) => *config,
        other => panic!("{other:?}"),
    };
    let (fake, _) = collector(Collector::default());
    let steps = hec::check(&hec(&block(&fake, ""))).await;
    assert!(steps.iter().all(|step| step.ok) && steps.len() == 4, "{steps:?}");
    let wrong = block(&fake, "").replace("1111", "0000");
    let steps = hec::check(&hec(&wrong)).await;
    assert!(steps.last().unwrap().why.contains("Invalid token"), "{steps:?}");
    let (fake, _) = collector(Collector { is_without_acks: true, ..Collector::default() });
    let steps = hec::check(&hec(&block(&fake, ""))).await;
    assert!(!steps.last().unwrap().ok && steps.last().unwrap().why.contains("ACK is disabled"), "{steps:?}");
}
