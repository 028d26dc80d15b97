//! What holds for every form: one line, UTF-8, JSON where it says so, and nothing of what is redacted.

use crate::samples;
use hostward_event::encode::{Encoding, Form};
use hostward_event::redact::Redaction;
use hostward_event::{Event, Text};
use serde_json::Value;
use std::sync::Arc;

fn encode(form: &Form, event: &Event) -> String {
    let mut out = Vec::new();
    form.encode(event, &mut out);
    String::from_utf8(out).unwrap()
}

fn ecs(form: &Form, event: &Event) -> Value {
    serde_json::from_str(&encode(form, event)).unwrap()
}

#[test]
fn every_record_is_one_line_and_json_where_it_says_so() {
    for (name, event) in samples::all() {
        for encoding in Encoding::ALL {
            let record = encode(&Form::new(encoding), &event);
            let breaks = ['\n', '\r', '\0', '\x1b'];
            assert!(!record.is_empty() && !record.contains(breaks), "{name} {encoding:?}: {record:?}");
            if encoding.is_json() {
                let json: Value =
                    serde_json::from_str(&record).unwrap_or_else(|e| panic!("{name} {e}: {record}"));
                assert!(json.is_object() && !has_empty(&json), "{name} {encoding:?}: {record}");
            }
        }
    }
}

/// True when a null or an empty object is in there; Falco's `null` says that a field is missing.
fn has_empty(json: &Value) -> bool {
    match json {
        Value::Object(members) => {
            members.is_empty()
                || members.iter().any(|(name, inner)| name != "output_fields" && has_empty(inner))
        }
        Value::Null => true,
        _ => false,
    }
}

/// A secret in every text that the names cover; it must not be seen in any form.
#[test]
fn what_is_redacted_is_in_no_form() {
    const SECRET: &[u8] = b"hunter2";
    let names = ["process.args", "process.parent", "file.path", "destination.address"];
    let redaction = Redaction::parse(&names).unwrap();
    for (name, event) in samples::all() {
        let event = with_secret(event, SECRET);
        for encoding in Encoding::ALL {
            let whole = encode(&Form::new(encoding), &event);
            let form = Form::new(encoding).redacted(redaction.clone());
            let record = encode(&form, &event);
            assert!(!record.contains("hunter2"), "{name} {encoding:?}: {record}");
            if encoding.is_json() {
                assert!(serde_json::from_str::<Value>(&record).is_ok(), "{name} {encoding:?}: {record}");
            }
            if name == "open/alert" && encoding == Encoding::Ecs {
                assert!(whole.contains("hunter2"), "the test has lost its secret");
            }
        }
    }
}

/// The event with the secret in arguments, the file, the unix socket, the parent, and the alert's text.
fn with_secret(mut event: Event, secret: &[u8]) -> Event {
    use hostward_event::event::Body;
    use hostward_event::raw::{Args, Endpoint};
    let text = Text::copy(secret);
    let args = Args { raw: Text::from([b"x\0", secret, b"\0"].concat()), total_bytes: 0 };
    if let Some(process) = event.process.as_deref() {
        let mut process = process.clone();
        process.args = args.clone();
        event.process = Some(Arc::new(process.clone()));
        (process.comm, process.path, process.args) = (text.clone(), text.clone(), args);
        event.lineage = [Arc::new(process)].into();
    }
    match &mut event.body {
        Body::Open(open) => {
            open.arg = Text::from([b"/", secret].concat());
            open.path = open.arg.clone();
        }
        Body::Connect(connect) => connect.remote = Some(Endpoint::Unix(text.clone())),
        _ => {}
    }
    if let Some(alert) = event.alert.as_deref() {
        let mut alert = alert.clone();
        alert.message = text;
        // What the rule's output uses is what its message may show.
        let mut rule = alert.rule.as_ref().clone();
        rule.output_fields = vec![Text::from("toupper(proc.cmdline)")];
        alert.rule = Arc::new(rule);
        event.alert = Some(Arc::new(alert));
    }
    event
}

#[test]
fn a_redacted_text_says_so_and_other_values_are_left_out() {
    let (_, event) = samples::all().into_iter().find(|(name, _)| name == "open/alert").unwrap();
    let redaction = Redaction::parse(&["process.args", "process.pid", "user.name", "host"]).unwrap();
    let json = ecs(&Form::new(Encoding::Ecs).redacted(redaction), &event);
    assert_eq!(json["process"]["args"], serde_json::json!(["<redacted>"]));
    assert_eq!(json["process"]["command_line"], "<redacted>");
    assert_eq!(json["user"]["name"], "<redacted>");
    assert_eq!(json["message"], "Shell spawned by web server [output redacted]");
    assert_eq!((&json["process"]["pid"], &json["host"]["os"]["type"]), (&Value::Null, &"linux".into()));
    assert_eq!(json["file"]["path"], "/etc/passwd");
    assert_eq!(json["event"]["id"], event.id.to_string());
}

#[test]
fn a_message_stays_when_its_rule_uses_nothing_redacted() {
    let (_, mut event) = samples::all().into_iter().find(|(name, _)| name == "open/alert").unwrap();
    let mut alert = event.alert.as_deref().unwrap().clone();
    let mut rule = alert.rule.as_ref().clone();
    rule.output_fields = vec![Text::from("user.name")];
    alert.rule = Arc::new(rule);
    event.alert = Some(Arc::new(alert));
    let form = Form::new(Encoding::Ecs).redacted(Redaction::parse(&["process.args"]).unwrap());
    assert_eq!(ecs(&form, &event)["message"], "shell sh started by nginx (sh -c id)");
}

#[test]
fn the_namespace_of_a_sink_is_that_of_its_documents() {
    let (_, event) = samples::all().into_iter().next().unwrap();
    let form = Form::new(Encoding::Ecs).namespace("prod");
    assert_eq!(ecs(&form, &event)["data_stream"]["namespace"], "prod");
    assert_eq!(ecs(&Form::new(Encoding::Ecs), &event)["data_stream"]["namespace"], "default");
}
