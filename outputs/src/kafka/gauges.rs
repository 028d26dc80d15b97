//! What of the library's statistics goes to status.

use serde::Deserialize;
use std::collections::HashMap;

/// The part that is read of the library's JSON (STATISTICS.md of librdkafka); the rest is skipped.
#[derive(Debug, Deserialize)]
pub(super) struct Statistics {
    msg_cnt: u64,
    msg_size: u64,
    tx_bytes: u64,
    #[serde(default)]
    brokers: HashMap<String, Broker>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    state: String,
    #[serde(default)]
    connects: u64,
    #[serde(default)]
    disconnects: u64,
    #[serde(default)]
    txretries: u64,
    #[serde(default)]
    req_timeouts: u64,
    rtt: Option<Window>,
}

#[derive(Debug, Deserialize)]
struct Window {
    p99: i64,
}

/// See the module. Sums are of one producer's life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gauges {
    pub(super) library_events: u64,
    pub(super) library_bytes: u64,
    pub(super) brokers_up: u64,
    pub(super) round_trip_p99_us: u64,
    pub(super) sums: Sums,
}

/// What only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) sent_bytes: u64,
    pub(super) connects: u64,
    pub(super) disconnects: u64,
    pub(super) request_retries: u64,
    pub(super) request_timeouts: u64,
}

impl Sums {
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            sent_bytes: self.sent_bytes.saturating_add(other.sent_bytes),
            connects: self.connects.saturating_add(other.connects),
            disconnects: self.disconnects.saturating_add(other.disconnects),
            request_retries: self.request_retries.saturating_add(other.request_retries),
            request_timeouts: self.request_timeouts.saturating_add(other.request_timeouts),
        }
    }
}

impl From<&Statistics> for Gauges {
    fn from(statistics: &Statistics) -> Self {
        let sum = |of: fn(&Broker) -> u64| {
            statistics.brokers.values().fold(0_u64, |sum, broker| sum.saturating_add(of(broker)))
        };
        let p99 =
            statistics.brokers.values().filter_map(|broker| broker.rtt.as_ref()).map(|rtt| rtt.p99).max();
        Self {
            library_events: statistics.msg_cnt,
            library_bytes: statistics.msg_size,
            brokers_up: sum(|broker| u64::from(broker.state == "UP")),
            round_trip_p99_us: p99.and_then(|us| u64::try_from(us).ok()).unwrap_or(0),
            sums: Sums {
                sent_bytes: statistics.tx_bytes,
                connects: sum(|broker| broker.connects),
                disconnects: sum(|broker| broker.disconnects),
                request_retries: sum(|broker| broker.txretries),
                request_timeouts: sum(|broker| broker.req_timeouts),
            },
        }
    }
}
