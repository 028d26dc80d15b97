//! A POST to whatever takes one: chat bridges, automation, a receiver of one's own.
//!
//! # How it works
//! One event per request, or a JSON array of them. The receiver can tell a repeat by its
//! `Idempotency-Key` and a forgery by its `X-Hostward-Signature`; see [`signature`].
//!
//! # What can go wrong
//! - *Twice*: a reply that is lost makes the request go out again, with the same key over the same
//!   events.
//! - *The secret is changed* here and at the receiver at different moments: for five minutes requests
//!   carry a signature by the old one as well.

pub mod config;
pub mod signature;

pub use config::{Mode, WebhookConfig};

use crate::http::client::{Client, Opener, Request};
use crate::http::courier::Courier;
use crate::http::outcome::Outcome;
use crate::http::wire::Wire;
use crate::http::{Part, check as http_check};
use crate::net::check::CheckStep;
use crate::net::failure::NetFailure;
use crate::net::secret::{Secret, SecretReader};
use hostward_event::encode::{Encoding, Form};
use hostward_event::{Event, EventId};
use reqwest::header::{HeaderName, HeaderValue};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const EVENTS: HeaderName = HeaderName::from_static("x-hostward-events");
const SCHEMA: HeaderName = HeaderName::from_static("x-hostward-schema");
const SIGNATURE: HeaderName = HeaderName::from_static("x-hostward-signature");
/// A secret that was replaced signs along for so long.
const OLD_SECRET: Duration = Duration::from_secs(300);

/// See the module.
pub(crate) struct Webhook {
    mode: Mode,
    encoding: Encoding,
    signer: Mutex<Option<Signer>>,
}

#[derive(Debug)]
struct Signer {
    reader: SecretReader,
    current: Option<Secret>,
    /// And since when it is old.
    old: Option<(Secret, Instant)>,
}

/// The sink of this configuration.
pub(crate) fn sink(config: &WebhookConfig, form: Form) -> Courier<Webhook> {
    let mut settings = config.http();
    if config.mode == Mode::Event {
        settings.request_events = 1;
    }
    Courier::new(Webhook::new(config), form, settings, config.login())
}

/// Tries name, connection and TLS. Whether the receiver takes events cannot be known without one.
pub async fn check(config: &WebhookConfig) -> Vec<CheckStep> {
    let mut opener = Opener::new(config.http(), config.login());
    let (mut steps, client) = http_check::reach(&mut opener).await;
    let webhook = Webhook::new(config);
    if let Err(failure) = webhook.prepare() {
        steps.push(CheckStep::failed("read the secret", format!("{failure}; {}", failure.hint())));
    } else if client.is_some() {
        let why = "not tried: a receiver of webhooks can only be asked by an event";
        steps.push(CheckStep::ok("send an event", why));
    }
    steps
}

/// The key of a request: an event's id, or a hash over those of several.
pub fn idempotency_key(ids: &[EventId]) -> String {
    if let [id] = ids {
        return id.to_string();
    }
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for id in ids {
        hash.update(format!("{id}\n").as_bytes());
    }
    signature::hex(hash.finish().as_ref().get(..16).unwrap_or_default())
}

impl Webhook {
    fn new(config: &WebhookConfig) -> Self {
        let signer = config.secret_source().map(|source| Signer {
            reader: SecretReader::new(source),
            current: None,
            old: None,
        });
        Self { mode: config.mode, encoding: config.encoding, signer: Mutex::new(signer) }
    }

    fn signer(&self) -> MutexGuard<'_, Option<Signer>> {
        self.signer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn body(&self, part: &Part) -> Vec<u8> {
        let (before, between, after): (&[u8], &[u8], &[u8]) = match (self.mode, self.encoding.is_json()) {
            (Mode::Event, _) => (b"", b"", b""),
            (Mode::Batch, true) => (b"[", b",", b"]"),
            (Mode::Batch, false) => (b"", b"\n", b"\n"),
        };
        let mut body = before.to_vec();
        for (nth, (_, bytes)) in part.records().enumerate() {
            if nth > 0 {
                body.extend_from_slice(between);
            }
            body.extend_from_slice(bytes);
        }
        body.extend_from_slice(after);
        body
    }

    fn signed(&self, body: &[u8], now_s: u64) -> Option<HeaderValue> {
        let signer = self.signer();
        let signer = signer.as_ref()?;
        let old = signer.old.as_ref().filter(|(_, since)| since.elapsed() < OLD_SECRET).map(|(old, _)| old);
        let secrets: Vec<&Secret> = signer.current.iter().chain(old).collect();
        HeaderValue::from_str(&signature::header(&secrets, now_s, body)).ok()
    }
}

impl Wire for Webhook {
    fn prepare(&self) -> Result<(), NetFailure> {
        let mut signer = self.signer();
        let Some(Signer { reader, current, old }) = signer.as_mut() else { return Ok(()) };
        let read = reader.current()?.clone();
        if current.as_ref() != Some(&read)
            && let Some(before) = current.replace(read)
        {
            *old = Some((before, Instant::now()));
        }
        Ok(())
    }

    fn record(&self, form: &Form, event: &Event, out: &mut Vec<u8>) {
        form.encode(event, out);
    }

    async fn exchange(&self, client: &Client, part: &Part) -> Outcome {
        let ids: Vec<EventId> = part.records().map(|(record, _)| record.id).collect();
        let body = self.body(part);
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = self.signed(&body, now_s);
        let mut request = Request::post("", self.encoding.content_type(), body)
            .header(EVENTS, HeaderValue::from(ids.len()))
            .header(SCHEMA, HeaderValue::from_static(self.encoding.schema()));
        if let Ok(key) = HeaderValue::from_str(&idempotency_key(&ids)) {
            request = request.header(KEY, key);
        }
        if let Some(signature) = signature {
            request = request.header(SIGNATURE, signature);
        }
        match client.send(&request).await {
            Ok(reply) => reply.failure().unwrap_or(Outcome::Delivered),
            Err(failure) => failure.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_event::{EventKind, IdMint};

    #[test]
    fn the_key_is_the_id_or_a_hash_that_anybody_can_make() {
        let mint = IdMint::new("m", "b");
        let ids: Vec<EventId> = (0..2).map(|seq| mint.event(EventKind::Fork, 0, seq, 0)).collect();
        assert_eq!(idempotency_key(&ids[..1]), ids[0].to_string());
        // printf '%s\n' ID ID | sha256sum | cut -c1-32
        let lines = format!("{}\n{}\n", ids[0], ids[1]);
        let digest = ring::digest::digest(&ring::digest::SHA256, lines.as_bytes());
        assert_eq!(idempotency_key(&ids), signature::hex(digest.as_ref())[..32]);
        assert_ne!(idempotency_key(&ids), idempotency_key(&[ids[1], ids[0]]), "order counts");
    }
}
