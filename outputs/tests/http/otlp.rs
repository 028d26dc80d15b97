//! OTLP: the shape of requests, partial success, and which statuses are tried again.

use crate::feed::{events, missing, push, settled, start, tally};
use crate::support::http::{Answer, Fake};
use hostward_outputs::Reason;

fn block(fake: &Fake, more: &str) -> String {
    format!("[[sink]]\ntype = \"otlp\"\nurl = \"{}/otlp\"\nproxy = \"\"\n{more}\n", fake.url())
}

fn records(fake: &Fake) -> Vec<serde_json::Value> {
    let records = |request: &crate::support::http::Received| {
        assert_eq!(request.path, "/otlp/v1/logs");
        assert_eq!(request.header("content-type"), "application/json");
        let json = request.json();
        let resource = &json["resourceLogs"][0];
        assert_eq!(attribute(&resource["resource"], "service.name"), "hostward");
        assert_eq!(attribute(&resource["resource"], "os.type"), "linux");
        resource["scopeLogs"][0]["logRecords"].as_array().unwrap().clone()
    };
    fake.requests().iter().flat_map(records).collect()
}

fn attribute(of: &serde_json::Value, key: &str) -> String {
    let list = of["attributes"].as_array().unwrap();
    let found = list.iter().find(|attribute| attribute["key"] == key);
    found.map_or(String::new(), |found| found["value"]["stringValue"].as_str().unwrap().to_owned())
}

#[test]
fn a_record_per_event_with_its_urgency_and_its_body() {
    let fake = Fake::start(|_, _| Answer::new(200, "{}"));
    let outputs = start(&block(&fake, ""));
    let sent = events(1..=100);
    push(&outputs, &sent);
    settled(&outputs, 100);
    let records = records(&fake);
    let tally = tally(records.iter().map(|record| attribute(record, "event.id")));
    assert_eq!((tally.len(), missing(&sent, &tally), records.len()), (100, 0, 100));
    let alert = records.iter().find(|record| attribute(record, "event.kind") == "alert").unwrap();
    assert_eq!((&alert["severityNumber"], &alert["severityText"]), (&18.into(), &"Critical".into()));
    assert_eq!(attribute(alert, "rule.name"), "r");
    assert_eq!(attribute(alert, "schema"), "ecs/9.4.0");
    assert_eq!(alert["eventName"], "fork");
    assert_eq!(alert["timeUnixNano"], sent[0].time_ns.to_string());
    let body: serde_json::Value =
        serde_json::from_str(alert["body"]["stringValue"].as_str().unwrap()).unwrap();
    assert_eq!(body["event"]["kind"], "alert");
}

#[test]
fn a_partial_success_costs_the_refused_record_alone() {
    let sent = events(1..=64);
    let bad = sent[40].id.to_string();
    let poison = bad.clone();
    let fake = Fake::start(move |request, _| {
        if request.text().contains(&poison) {
            let partial =
                r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"attribute too long"}}"#;
            return Answer::new(200, partial);
        }
        Answer::new(200, r#"{"partialSuccess":{"rejectedLogRecords":"0","errorMessage":"please slow down"}}"#)
    });
    let outputs = start(&block(&fake, ""));
    push(&outputs, &sent);
    let status = settled(&outputs, 64);
    assert_eq!(
        (status.delivered, status.dropped[0].reason, status.dropped[0].events),
        (63, Reason::Rejected, 1)
    );
    assert!(status.last_error.unwrap().message.contains("attribute too long"));
}

#[test]
fn statuses_that_may_pass_are_tried_again_and_lose_nothing() {
    let fake = Fake::start(|_, number| match number {
        0 => Answer::new(429, "").header("Retry-After", "0"),
        1 => Answer::new(502, ""),
        2 => Answer::new(503, ""),
        3 => Answer::new(504, ""),
        4 => Answer::new(200, "OK"),
        _ => Answer::new(200, ""),
    });
    let outputs = start(&block(&fake, "queue = { linger_ms = 0 }"));
    let sent = events(1..=1);
    push(&outputs, &sent);
    let status = settled(&outputs, 1);
    assert_eq!((status.delivered, status.failed_sends), (1, 5));
    assert_eq!(records(&fake).len(), 6);
}
