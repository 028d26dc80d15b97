//! OpenTelemetry logs over HTTP, in JSON.
//!
//! # How it works
//! A request is one resource (this host), one scope, and a log record per event whose body is the
//! encoded event. JSON and not protobuf: every receiver of OTLP over HTTP has to take it, and gzip
//! leaves little of the difference.
//!
//! # What can go wrong
//! - *Partial success*: the receiver counts what it refused and does not name it. The request is then
//!   halved until the refusal concerns one record, so that one bad record costs itself alone; the
//!   others arrive more than once, with the same `event.id`.
//!
//! # Not here
//! gRPC. Receivers that speak it speak HTTP as well.

pub mod config;
pub mod reply;

pub use config::OtlpConfig;

use crate::http::client::{Client, Opener, Request};
use crate::http::courier::Courier;
use crate::http::outcome::{Failure, Outcome};
use crate::http::wire::Wire;
use crate::http::{Part, Reply, check as http_check, text};
use crate::net::check::CheckStep;
use hostward_event::Event;
use hostward_event::encode::Form;
use hostward_event::event::Priority;
use hostward_event::redact::Redaction;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

const LOGS: &str = "/v1/logs";
const JSON: &str = "application/json";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// See the module.
pub(crate) struct Otlp {
    redaction: Redaction,
    warnings: AtomicU64,
}

/// The sink of this configuration.
pub(crate) fn sink(config: &OtlpConfig, form: Form) -> Courier<Otlp> {
    let otlp = Otlp { redaction: text::redaction(&config.redact), warnings: AtomicU64::new(0) };
    Courier::new(otlp, form, config.http(), config.login())
}

/// Tries name, connection, TLS, login, and whether the receiver takes logs. Nothing is written.
pub async fn check(config: &OtlpConfig) -> Vec<CheckStep> {
    let mut opener = Opener::new(config.http(), config.login());
    let (mut steps, client) = http_check::reach(&mut opener).await;
    let Some(client) = client else { return steps };
    for server in 0..client.server_count() {
        let what = format!("send no records to {}", client.peer(server));
        let empty = Request::post(LOGS, JSON, br#"{"resourceLogs":[]}"#.to_vec());
        steps.push(match client.send_to(server, &empty).await {
            Ok(reply) => match reply.failure() {
                None => CheckStep::ok(what, "it takes logs"),
                Some(outcome) => CheckStep::failed(what, http_check::words(outcome)),
            },
            Err(failure) => CheckStep::failed(what, format!("{failure}; {}", failure.hint())),
        });
    }
    steps
}

/// SeverityNumber, from the data model of OpenTelemetry logs.
const fn severity_number(priority: Priority) -> u8 {
    match priority {
        Priority::Emergency => 21,
        Priority::Alert => 19,
        Priority::Critical => 18,
        Priority::Error => 17,
        Priority::Warning => 13,
        Priority::Notice => 10,
        Priority::Informational => 9,
        Priority::Debug => 5,
    }
}

/// Appends an attribute; a comma stands before it unless it is the first.
fn attribute(key: &str, value: &[u8], is_first: bool, out: &mut Vec<u8>) {
    let comma = if is_first { "" } else { "," };
    // Writing to a Vec cannot fail.
    let _ = write!(out, r#"{comma}{{"key":"{key}","value":{{"stringValue":"#);
    text::json(value, out);
    out.extend_from_slice(b"}}");
}

impl Wire for Otlp {
    fn head(&self, event: &Event, out: &mut Vec<u8>) {
        attribute("service.name", b"hostward", true, out);
        attribute("service.version", VERSION.as_bytes(), false, out);
        attribute("os.type", b"linux", false, out);
        for name in ["host.id", "host.name"] {
            if let Some(value) = text::shown(&self.redaction, event, name) {
                attribute(name, &value, false, out);
            }
        }
    }

    fn record(&self, form: &Form, event: &Event, out: &mut Vec<u8>) {
        let priority = event.priority();
        // 64-bit integers are strings in OTLP's JSON; times before 1970 cannot be told.
        let _ = write!(
            out,
            r#"{{"timeUnixNano":"{}","observedTimeUnixNano":"{}","severityNumber":{},"severityText":"{}""#,
            event.time_ns.max(0),
            event.created_ns.max(0),
            severity_number(priority),
            priority.name(),
        );
        if let Some(action) = text::shown(&self.redaction, event, "event.action") {
            out.extend_from_slice(b",\"eventName\":");
            text::json(&action, out);
        }
        out.extend_from_slice(b",\"body\":{\"stringValue\":");
        text::string(form, event, out);
        out.extend_from_slice(b"},\"attributes\":[");
        attribute("event.id", event.id.to_string().as_bytes(), true, out);
        attribute("schema", form.encoding().schema().as_bytes(), false, out);
        for name in ["event.action", "event.dataset", "event.kind", "rule.name"] {
            if let Some(value) = text::shown(&self.redaction, event, name) {
                attribute(name, &value, false, out);
            }
        }
        out.extend_from_slice(b"]}");
    }

    async fn exchange(&self, client: &Client, part: &Part) -> Outcome {
        let mut body = Vec::with_capacity(part.bytes() + part.len() + 1_024);
        body.extend_from_slice(br#"{"resourceLogs":[{"resource":{"attributes":["#);
        body.extend_from_slice(part.head());
        let _ = write!(
            body,
            r#"]}},"scopeLogs":[{{"scope":{{"name":"hostward","version":"{VERSION}"}},"logRecords":["#
        );
        for (nth, (_, bytes)) in part.records().enumerate() {
            if nth > 0 {
                body.push(b',');
            }
            body.extend_from_slice(bytes);
        }
        body.extend_from_slice(b"]}]}]}");
        match client.send(&Request::post(LOGS, JSON, body)).await {
            Ok(reply) => self.judge(&reply),
            Err(failure) => failure.into(),
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("receiver_warnings", self.warnings.load(Ordering::Relaxed))]
    }
}

impl Otlp {
    fn judge(&self, reply: &Reply) -> Outcome {
        if let Some(outcome) = reply.failure() {
            return outcome;
        }
        match reply::read(reply) {
            Ok(partial) if partial.rejected > 0 => {
                let said = format!("{} of its records: {}", partial.rejected, partial.message);
                Outcome::Refused(format!("{}: refuses {said}", reply.peer))
            }
            Ok(partial) => {
                self.warnings.fetch_add(u64::from(!partial.message.is_empty()), Ordering::Relaxed);
                Outcome::Delivered
            }
            Err(why) => {
                let what = "its reply makes no sense, so that all of it is offered again";
                Failure::passing(format!("{}: {what}: {why}", reply.peer)).into()
            }
        }
    }
}
