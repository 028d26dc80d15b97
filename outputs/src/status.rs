//! How a sink is, for `hostward status`.

use crate::ledger::{DropRange, Dropped};
use crate::net::vitals::Condition;
use serde::Serialize;

/// Health in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Events flow.
    Ok,
    /// It may pass by itself: events are queued, or some were lost a moment ago.
    Degraded,
    /// A person has to do something; events are queued as far as the bound goes.
    Failed,
    /// The destination went away and that is no fault; the sink takes no more events.
    Ended,
}

/// Health with since and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// In one word.
    pub state: State,
    /// Since when, ms since the epoch.
    pub since_unix_ms: i64,
    /// Why; empty when ok.
    pub reason: String,
}

/// The latest failure, kept after it passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// What it was.
    pub message: String,
    /// When it was last seen, ms since the epoch.
    pub unix_ms: i64,
}

/// Everything there is to tell of a sink at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SinkStatus {
    /// Its name in the configuration.
    pub name: String,
    /// `file`, `stdout`.
    pub kind: &'static str,
    /// How it is.
    pub health: Health,
    /// What happens to its events. A call that hangs and a loss are `health` alone.
    pub condition: Condition,
    /// The latest failure, kept after it passed.
    pub last_error: Option<LastError>,
    /// Events that passed the filter and were offered to the sink. With a spool these counts begin when
    /// the sink was first configured, else at the agent's start.
    pub accepted: u64,
    /// Events that the destination has.
    pub delivered: u64,
    /// Events that wait: in memory, or in the spool.
    pub queued: u64,
    /// Their size, bytes: an estimate of memory, or the records' length in the spool.
    pub queued_bytes: u64,
    /// Events in the call that runs now.
    pub in_flight: u64,
    /// Events in dead-letter files; always 0 without a spool, where `dropped` has them as `rejected`.
    pub dlq: u64,
    /// Events lost, by lane and reason.
    pub dropped: Vec<Dropped>,
    /// Latest runs of lost events, oldest first.
    pub recent_drops: Vec<DropRange>,
    /// Events that the filter held back; not part of `accepted`.
    pub filtered: u64,
    /// Estimated memory of queued and in-flight events.
    pub held_bytes: u64,
    /// Age of the oldest event that waits or is in flight.
    pub oldest_age_ms: Option<u64>,
    /// Calls that failed as a whole.
    pub failed_sends: u64,
    /// Counters of this kind of sink.
    pub counters: Vec<(&'static str, u64)>,
}

impl SinkStatus {
    /// Events lost for any reason.
    pub fn dropped_events(&self) -> u64 {
        self.dropped.iter().map(|dropped| dropped.events).sum()
    }

    /// The law of delivery: every accepted event is in exactly one place.
    pub fn law_holds(&self) -> bool {
        self.accepted == self.delivered + self.queued + self.in_flight + self.dropped_events() + self.dlq
    }
}
