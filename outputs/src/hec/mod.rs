//! Splunk's HTTP Event Collector, with the indexers' acknowledgment.
//!
//! # Why it exists
//! The collector says 200 when it has a request in memory. What a crash of the indexer then takes is
//! lost to a sender that stops there. With `useACK` the reply carries a number, and another call tells
//! when the events of that number are on the indexer's disk.
//!
//! # How it works
//! Requests go over one channel (a GUID, new at each start) and each waits for its own number: asked at
//! a tenth of a second, then less often down to each second. A number that is not told in time means
//! that its events may be lost: they are sent again, on a new channel. Before the first request the
//! collector is asked whether it acknowledges at all, so that nothing is sent again and again to one
//! that never will.
//!
//! # What can go wrong
//! - *Twice*: what was indexed and not told. Search with `dedup event_id`.
//! - *A balancer without stickiness*: numbers are asked at the URL that took the request; behind it the
//!   balancer has to lead to the same indexer.
//!
//! # Not here
//! Splunk itself has no server to test with here: replies are those of its documentation.

pub mod config;
pub mod reply;

pub use config::HecConfig;

use crate::http::client::{Client, Opener, Request};
use crate::http::courier::Courier;
use crate::http::outcome::{Failure, Outcome};
use crate::http::wire::Wire;
use crate::http::{Part, Reply, check as http_check, text};
use crate::net::check::CheckStep;
use hostward_event::Event;
use hostward_event::encode::Form;
use hostward_event::redact::Redaction;
use reply::Code;
use reqwest::header::{HeaderName, HeaderValue};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVENT: &str = "/services/collector/event";
const ACK: &str = "/services/collector/ack";
const JSON: &str = "application/json";
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");
const FIRST_POLL: Duration = Duration::from_millis(100);
const LAST_POLL: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Hec {
    index: Option<String>,
    redaction: Redaction,
    /// None: the 200 is enough.
    ack_timeout: Option<Duration>,
    channel: Mutex<HeaderValue>,
    /// The collector said that it acknowledges.
    is_acking: AtomicBool,
    unacked_events: AtomicU64,
}

/// The sink of this configuration.
pub(crate) fn sink(config: &HecConfig, form: Form) -> Courier<Hec> {
    Courier::new(Hec::new(config), form, config.http(), config.login())
}

/// Tries name, connection, TLS, the token, and whether it acknowledges. Nothing is written.
pub async fn check(config: &HecConfig) -> Vec<CheckStep> {
    let mut opener = Opener::new(config.http(), config.login());
    let (mut steps, client) = http_check::reach(&mut opener).await;
    let Some(client) = client else { return steps };
    let hec = Hec::new(config);
    for server in 0..client.server_count() {
        let what = format!("use the token at {}", client.peer(server));
        // Without an event the collector checks the token and says that there is no data.
        let empty = hec.on_channel(Request::post(EVENT, JSON, Vec::new())).1;
        match client.send_to(server, &empty).await {
            Ok(reply) if Code::of(&reply) == Code::NoData => steps.push(CheckStep::ok(what, "it is valid")),
            Ok(reply) => {
                steps.push(CheckStep::failed(what, http_check::words(reply::refusal(&reply))));
                return steps;
            }
            Err(failure) => {
                steps.push(CheckStep::failed(what, format!("{failure}; {}", failure.hint())));
                return steps;
            }
        }
    }
    if hec.ack_timeout.is_some() {
        let what = "ask for acknowledgments";
        steps.push(match hec.ask_for_acks(&client).await {
            Ok(()) => CheckStep::ok(what, "the token has them"),
            Err(failure) => CheckStep::failed(what, failure.message),
        });
    }
    steps
}

/// A random version 4 UUID.
fn guid() -> HeaderValue {
    let bits = (fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    let guid = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-");
    HeaderValue::from_str(&guid).unwrap_or_else(|_| HeaderValue::from_static("hostward"))
}

impl Hec {
    fn new(config: &HecConfig) -> Self {
        Self {
            index: config.index.clone(),
            redaction: text::redaction(&config.redact),
            ack_timeout: config.acks.then(|| Duration::from_secs(config.ack_timeout_s)),
            channel: Mutex::new(guid()),
            is_acking: AtomicBool::new(false),
            unacked_events: AtomicU64::new(0),
        }
    }

    /// The request on the channel of now.
    fn on_channel(&self, request: Request) -> (HeaderValue, Request) {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (channel.clone(), request.header(CHANNEL, channel))
    }

    /// A channel whose numbers did not come is left; once, though several requests waited on it.
    fn leave(&self, channel: &HeaderValue) {
        let mut current = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == *channel {
            *current = guid();
        }
    }

    /// Asks for the number 0, which a token without acknowledgments refuses.
    async fn ask_for_acks(&self, client: &Client) -> Result<(), Failure> {
        let (_, ask) = self.on_channel(Request::post(ACK, JSON, br#"{"acks":[0]}"#.to_vec()));
        let reply = client.send(&ask).await?;
        if reply.is_success() {
            return Ok(());
        }
        Err(match reply::refusal(&reply) {
            Outcome::Kept(failure) => failure,
            other => Failure::needs_help(http_check::words(other)),
        })
    }

    async fn acked(
        &self,
        client: &Client,
        sent: &Reply,
        channel: &HeaderValue,
        limit: Duration,
    ) -> Result<(), Failure> {
        let Some(number) = reply::ack_id(sent) else {
            let what = "the collector gives no ackId; it is sent again";
            return Err(Failure::passing(format!("{}: {what}: {}", sent.peer, sent.excerpt())));
        };
        let deadline = Instant::now() + limit;
        let ask = Request::post(ACK, JSON, format!(r#"{{"acks":[{number}]}}"#).into_bytes())
            .header(CHANNEL, channel.clone());
        let (mut pause, mut trouble) = (FIRST_POLL, String::new());
        while Instant::now() < deadline {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_POLL);
            match client.send_to(sent.server, &ask).await {
                Ok(reply) if reply.is_success() => {
                    if reply::is_acked(&reply, number) {
                        return Ok(());
                    }
                    trouble.clear();
                }
                Ok(reply) => trouble = reply.excerpt(),
                Err(failure) => trouble = failure.to_string(),
            }
        }
        let what = "no acknowledgment within";
        Err(Failure::overload(
            format!("{}: {what} {} s; it is sent again {trouble}", sent.peer, limit.as_secs()),
            None,
        ))
    }
}

impl Wire for Hec {
    fn record(&self, form: &Form, event: &Event, out: &mut Vec<u8>) {
        let encoding = form.encoding();
        let ms = event.time_ns.div_euclid(1_000_000);
        // Writing to a Vec cannot fail.
        let _ = write!(out, r#"{{"time":{}.{:03}"#, ms.div_euclid(1_000), ms.rem_euclid(1_000));
        if let Some(host) = text::shown(&self.redaction, event, "host.name") {
            out.extend_from_slice(b",\"host\":");
            text::json(&host, out);
        }
        let _ = write!(out, r#","source":"hostward","sourcetype":"hostward:{}""#, encoding.name());
        if let Some(index) = &self.index {
            out.extend_from_slice(b",\"index\":");
            text::json(index.as_bytes(), out);
        }
        out.extend_from_slice(b",\"event\":");
        text::record(form, event, out);
        let _ = write!(out, r#","fields":{{"event_id":"{}""#, event.id);
        if let Some(dataset) = text::shown(&self.redaction, event, "event.dataset") {
            out.extend_from_slice(b",\"dataset\":");
            text::json(&dataset, out);
        }
        out.extend_from_slice(b"}}");
    }

    async fn exchange(&self, client: &Client, part: &Part) -> Outcome {
        if self.ack_timeout.is_some() && !self.is_acking.load(Ordering::Relaxed) {
            match self.ask_for_acks(client).await {
                Ok(()) => self.is_acking.store(true, Ordering::Relaxed),
                Err(failure) => return failure.into(),
            }
        }
        let mut body = Vec::with_capacity(part.bytes());
        part.records().for_each(|(_, bytes)| body.extend_from_slice(bytes));
        let (channel, request) = self.on_channel(Request::post(EVENT, JSON, body));
        let reply = match client.send(&request).await {
            Ok(reply) => reply,
            Err(failure) => return failure.into(),
        };
        if !reply.is_success() {
            return reply::refusal(&reply);
        }
        if Code::of(&reply) != Code::Success {
            let what = "its reply makes no sense, so that all of it is offered again";
            return Failure::passing(format!("{}: {what}: {}", reply.peer, reply.excerpt())).into();
        }
        let Some(limit) = self.ack_timeout else { return Outcome::Delivered };
        match self.acked(client, &reply, &channel, limit).await {
            Ok(()) => Outcome::Delivered,
            Err(failure) => {
                self.leave(&channel);
                self.is_acking.store(false, Ordering::Relaxed);
                self.unacked_events
                    .fetch_add(u64::try_from(part.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
                failure.into()
            }
        }
    }

    /// An indexer that writes to its disk each few seconds is not overloaded.
    fn latency_tells(&self) -> bool {
        self.ack_timeout.is_none()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("unacked_events", self.unacked_events.load(Ordering::Relaxed))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_a_version_4_uuid() {
        let guid = guid();
        let text = guid.to_str().unwrap();
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(text.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&text.as_bytes()[19]), "{text}");
    }
}
