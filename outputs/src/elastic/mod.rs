//! Elasticsearch and OpenSearch: bulk requests into data streams.
//!
//! # Why it exists
//! A bulk reply is 200 although items in it failed. Shippers that look at the status alone lose what
//! was throttled, and those that retry all write twice.
//!
//! # How it works
//! Each event is a `create` with `_id = event.id` into `logs-DATASET-NAMESPACE`: what was already there
//! answers 409 and counts as delivered, so that a lost reply costs nothing. [`bulk`] reads the verdict
//! on each item; an item without one is offered again. [`setup()`] installs what the streams need,
//! from [`mapping`], which is made of the field registry.
//!
//! # What can go wrong
//! - *No template*: OpenSearch, and Elasticsearch with auto-creation off, answer 404 per item or make a
//!   plain index. `hostward setup elastic` first.
//! - *A document that no mapping takes*: its item is refused, and goes to the dead letters.
//! - *A blocked index* (flood stage, read-only): items are kept until the block is gone.
//! - *A failure store* takes what the mapping refuses: delivered, and counted by
//!   `failure_store_events`.
//!
//! # Not here
//! Requests, retries and halving belong to [`crate::http`].

pub mod bulk;
pub mod check;
pub mod config;
pub mod mapping;
pub mod setup;

pub use check::check;
pub use config::ElasticConfig;
pub use setup::{SetupFailure, SetupOptions, SetupStep, setup};

use crate::http::client::{Client, Request};
use crate::http::courier::Courier;
use crate::http::outcome::{Failure, Item, Outcome};
use crate::http::wire::Wire;
use crate::http::{Part, Reply};
use hostward_event::encode::Form;
use hostward_event::registry::{self, Arg, Value};
use hostward_event::{Event, EventId};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Statuses, reasons and failure stores, and nothing else of each item.
const BULK: &str = "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,\
                    items.*.failure_store";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// See the module.
pub(crate) struct Elastic {
    namespace: String,
    failure_store_events: AtomicU64,
    already_there_events: AtomicU64,
}

/// The sink of this configuration.
pub(crate) fn sink(config: &ElasticConfig, form: Form) -> Courier<Elastic> {
    let form = form.namespace(&config.namespace);
    Courier::new(Elastic::new(config.namespace.clone()), form, config.http(), config.login())
}

impl Elastic {
    fn new(namespace: String) -> Self {
        Self { namespace, failure_store_events: AtomicU64::new(0), already_there_events: AtomicU64::new(0) }
    }
}

/// The line before a document.
fn action(dataset: &[u8], namespace: &str, id: EventId, out: &mut Vec<u8>) {
    let dataset = String::from_utf8_lossy(dataset);
    // Writing to a Vec cannot fail. Neither name has a character that JSON escapes.
    let _ = writeln!(out, r#"{{"create":{{"_index":"logs-{dataset}-{namespace}","_id":"{id}"}}}}"#);
}

fn dataset(event: &Event) -> Value<'_> {
    registry::find("event.dataset").map_or(Value::Missing, |field| field.value(event, &Arg::None))
}

impl Wire for Elastic {
    fn record(&self, form: &Form, event: &Event, out: &mut Vec<u8>) {
        match dataset(event) {
            Value::Text(dataset) => action(&dataset, &self.namespace, event.id, out),
            _ => action(b"hostward.agent", &self.namespace, event.id, out),
        }
        form.encode(event, out);
        out.push(b'\n');
    }

    async fn exchange(&self, client: &Client, part: &Part) -> Outcome {
        let mut body = Vec::with_capacity(part.bytes());
        part.records().for_each(|(_, bytes)| body.extend_from_slice(bytes));
        match client.send(&Request::post(BULK, NDJSON, body)).await {
            Ok(reply) => self.judge(&reply, part.len()),
            Err(failure) => failure.into(),
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("already_there_events", self.already_there_events.load(Ordering::Relaxed)),
            ("failure_store_events", self.failure_store_events.load(Ordering::Relaxed)),
        ]
    }
}

impl Elastic {
    fn judge(&self, reply: &Reply, events: usize) -> Outcome {
        if !reply.is_success() {
            return bulk::refusal(reply);
        }
        if reply.is_cut {
            let said = format!("{}: the reply is longer than 1 MiB", reply.peer);
            // Of one event it is senseless, and no verdict.
            return if events > 1 { Outcome::TooLarge(said) } else { Failure::passing(said).into() };
        }
        match bulk::read(reply, events) {
            Ok(read) => {
                self.already_there_events.fetch_add(read.already_there, Ordering::Relaxed);
                self.failure_store_events.fetch_add(read.in_failure_store, Ordering::Relaxed);
                if read.items.iter().all(|item| *item == Item::Delivered) {
                    return Outcome::Delivered;
                }
                Outcome::Items(read.items)
            }
            Err(failure) => failure.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reply::reply;

    #[test]
    fn a_reply_that_is_too_long_to_read_is_no_verdict_on_an_event() {
        let elastic = Elastic::new("default".to_owned());
        let mut cut = reply(200, br#"{"items":[{"create":{"status":400}}"#);
        cut.is_cut = true;
        assert!(matches!(elastic.judge(&cut, 2), Outcome::TooLarge(_)), "half of it has a shorter reply");
        assert!(matches!(elastic.judge(&cut, 1), Outcome::Kept(_)));
    }
}
