//! Replies of bulk endpoints, Splunk collectors and OTLP receivers, arbitrary and damaged: whatever they are, no
//! parser panics, each event has exactly one verdict, and none is called delivered, or refused for good, unless a
//! second reading of the same bytes says so.

use super::outcome::{Item, Outcome};
use super::reply::reply;
use crate::elastic::bulk;
use crate::fuzz::{damage, edits, runs};
use crate::hec::reply as hec;
use crate::otlp::reply as otlp;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What turns the meaning of a reply when it lands in the right place.
const WORDS: &[&str] = &[
    "\"create\":",
    "\"index\":",
    "\"status\":",
    "\"error\":",
    "\"items\":",
    "\"type\":",
    "201",
    "200",
    "409",
    "400",
    "429",
    "null",
    "true",
    "false",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "\\",
    "1.5",
    "-1",
    "99999999999999999999",
    "\"code\":0",
    "\"ackId\":7",
    "\"acks\":",
    "\"7\":true",
    "\"7\":false",
    "\u{0}",
    "\u{feff}",
    "\"partialSuccess\":",
    "\"rejectedLogRecords\":",
    "{\"create\":{\"status\":201}},",
];

fn item() -> impl Strategy<Value = Value> {
    let statuses = [200_u16, 201, 400, 401, 403, 404, 408, 409, 413, 429, 500, 503, 0, 65_535];
    let kinds = [
        "version_conflict_engine_exception",
        "mapper_parsing_exception",
        "illegal_argument_exception",
        "cluster_block_exception",
        "security_exception",
        "es_rejected_execution_exception",
        "",
    ];
    let verb = prop_oneof![9 => Just("create"), 1 => Just("index")];
    let error = prop::option::of((prop::sample::select(kinds.to_vec()), "\\PC{0,20}"));
    (verb, prop::sample::select(statuses.to_vec()), error, any::<bool>()).prop_map(
        |(verb, status, error, stored)| {
            let mut entry = json!({"_id": "x", "status": status});
            if let Some((kind, reason)) = error {
                entry["error"] = json!({"type": kind, "reason": reason});
            }
            if stored {
                entry["failure_store"] = "used".into();
            }
            json!({verb: entry})
        },
    )
}

/// Another reading of a reply. The parsers skip texts that they do not need without a look at their encoding.
fn again(body: &[u8]) -> Option<Value> {
    serde_json::from_str(&String::from_utf8_lossy(body)).ok()
}

/// The status of an item.
fn status_of(body: &[u8], at: usize) -> Option<u64> {
    let value = again(body)?;
    // A struct may be written as an array of its fields, too; nobody does.
    let field = |value: &Value, name: &str| value.get(name).or_else(|| value.get(0)).cloned();
    field(&field(field(&value, "items")?.get(at)?, "create")?, "status")?.as_u64()
}

fn judge_bulk(body: &[u8], events: usize) -> Result<(), TestCaseError> {
    let Ok(read) = bulk::read(&reply(200, body), events) else { return Ok(()) };
    prop_assert_eq!(read.items.len(), events, "one verdict per event");
    let delivered = read.items.iter().filter(|item| **item == Item::Delivered).count();
    prop_assert!(usize::try_from(read.already_there + read.in_failure_store).unwrap() <= 2 * delivered);
    for (at, item) in read.items.iter().enumerate() {
        let status = status_of(body, at);
        match item {
            Item::Delivered => prop_assert!(matches!(status, Some(200..=299 | 409)), "{status:?}"),
            Item::Rejected(_) => prop_assert!(matches!(status, Some(400 | 413)), "{status:?}"),
            Item::Kept(_) => {}
        }
    }
    Ok(())
}

/// What a refusal may do to events: never call them delivered, and blame them under few statuses alone.
fn judge_refusal(outcome: &Outcome, status: u16) -> Result<(), TestCaseError> {
    match outcome {
        Outcome::Delivered | Outcome::Items(_) => prop_assert!(false, "{status} delivers: {outcome:?}"),
        Outcome::Refused(_) => prop_assert!(matches!(status, 400 | 422), "{status} blames the events"),
        Outcome::TooLarge(_) => prop_assert_eq!(status, 413),
        Outcome::Kept(_) => {}
    }
    Ok(())
}

fn judge_hec(body: &[u8]) -> Result<(), TestCaseError> {
    let told = reply(200, body);
    let value = again(body).unwrap_or_default();
    let field =
        |name: &str, place: usize| value.get(name).or_else(|| value.get(place)).cloned().unwrap_or_default();
    if hec::Code::of(&told) == hec::Code::Success {
        prop_assert_eq!(field("code", 0).as_u64(), Some(0));
    }
    if let Some(number) = hec::ack_id(&told) {
        prop_assert_eq!(field("ackId", 1).as_u64(), Some(number));
    }
    for number in [0, 7, u64::MAX] {
        if hec::is_acked(&told, number) {
            let acks = field("acks", 0);
            prop_assert_eq!(acks.get(number.to_string()), Some(&Value::Bool(true)), "{}", number);
        }
    }
    Ok(())
}

fn judge_otlp(body: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(partial) = otlp::read(&reply(200, body)) {
        prop_assert!(body.trim_ascii().is_empty() || again(body).is_some());
        prop_assert!(partial.message.len() <= 300 * 12, "shown short");
    }
    Ok(())
}

proptest! {
    #![proptest_config(runs(4_000))]

    #[test]
    fn a_whole_bulk_reply_gives_each_event_its_verdict(items in prop::collection::vec(item(), 0..12), errors: bool) {
        let body = json!({"took": 3, "errors": errors, "items": items}).to_string();
        let read = bulk::read(&reply(200, body.as_bytes()), items.len()).map_err(|failure| TestCaseError::fail(failure.message))?;
        for (told, item) in items.iter().zip(&read.items) {
            let status = told["create"]["status"].as_u64();
            let kind = told["create"]["error"]["type"].as_str().unwrap_or_default();
            let is_there = match status {
                Some(200..=299) => true,
                Some(409) => matches!(kind, "" | "version_conflict_engine_exception"),
                _ => false,
            };
            prop_assert_eq!(*item == Item::Delivered, is_there, "{}: {:?}", told, item);
        }
        judge_bulk(body.as_bytes(), items.len())?;
    }

    #[test]
    fn a_damaged_bulk_reply_invents_no_verdict(
        items in prop::collection::vec(item(), 0..6),
        edits in edits(WORDS, 4),
        more in 0_usize..3,
        status in 300_u16..600,
    ) {
        let mut body = json!({"errors": true, "items": items}).to_string().into_bytes();
        damage(&mut body, &edits);
        judge_bulk(&body, items.len())?;
        judge_bulk(&body, (items.len() + more).saturating_sub(1))?;
        judge_refusal(&bulk::refusal(&reply(status, &body)), status)?;
    }

    #[test]
    fn arbitrary_bytes_are_no_reply(body: Vec<u8>, events in 0_usize..4, status in 300_u16..600) {
        judge_bulk(&body, events)?;
        judge_hec(&body)?;
        judge_otlp(&body)?;
        judge_refusal(&bulk::refusal(&reply(status, &body)), status)?;
        judge_refusal(&hec::refusal(&reply(status, &body)), status)?;
    }

    #[test]
    fn a_damaged_collector_acknowledges_nothing_that_it_does_not_say(
        code in prop_oneof![Just(0_u32), 0_u32..30, any::<u32>()],
        ack in prop::option::of(any::<u64>()),
        acks in prop::collection::btree_map(prop_oneof![Just(7_u64), any::<u64>()], any::<bool>(), 0..4),
        edits in edits(WORDS, 4),
        status in 300_u16..600,
    ) {
        let mut said = json!({"text": "x", "code": code});
        if let Some(ack) = ack {
            said["ackId"] = ack.into();
        }
        let acks = json!({"acks": acks.into_iter().map(|(n, is)| (n.to_string(), is.into())).collect::<serde_json::Map<_, _>>()});
        for whole in [said, acks] {
            let mut body = whole.to_string().into_bytes();
            damage(&mut body, &edits);
            judge_hec(&body)?;
            judge_refusal(&hec::refusal(&reply(status, &body)), status)?;
        }
    }

    #[test]
    fn a_damaged_otlp_reply_is_read_or_not(rejected in prop::option::of(any::<u64>()), message in "\\PC{0,40}", edits in edits(WORDS, 4)) {
        let whole = json!({"partialSuccess": {"rejectedLogRecords": rejected, "errorMessage": message}});
        let mut body = whole.to_string().into_bytes();
        damage(&mut body, &edits);
        judge_otlp(&body)?;
    }
}
