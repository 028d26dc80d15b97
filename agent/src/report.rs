//! What `hostward status` and systemd's status line tell.

use crate::health::{StageHealth, State};
use crate::pipeline::Counts;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// Counters of one kind of event in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCount {
    /// Kind of event.
    pub kind: String,
    /// Events that the programs wanted to hand over.
    pub attempted: u64,
    /// Of these, events for which the ring had no room.
    pub dropped: u64,
}

/// One sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkReport {
    /// Its name.
    pub name: String,
    /// Its type and where it writes.
    pub target: String,
    /// How it is.
    pub state: State,
    /// Why it is not ok; empty when it is.
    pub last_error: String,
    /// Events accepted for it.
    pub accepted: u64,
    /// Events it has acknowledged.
    pub delivered: u64,
    /// Events that wait.
    pub queued: u64,
    /// Events handed to it and not yet acknowledged.
    pub in_flight: u64,
    /// Events dropped, by reason.
    pub dropped: Vec<(String, u64)>,
    /// Age of the oldest event that waits, ms.
    pub oldest_age_ms: u64,
}

/// The whole report, made once a second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of the agent.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it was ready, ns since the epoch.
    pub started_ns: i64,
    /// When this report was made, ns since the epoch.
    pub made_ns: i64,
    /// The worst of all stages.
    pub state: State,
    /// The stages in the order of the path.
    pub stages: Vec<StageHealth>,
    /// Hooks that are attached.
    pub hooks: usize,
    /// Kinds of probe in use, e.g. `btf_tracepoint`.
    pub rungs: Vec<String>,
    /// Events per second over the last second.
    pub events_per_second: u64,
    /// Rules in force.
    pub rules: usize,
    /// Responses in force.
    pub responses: usize,
    /// Counters of the pipeline.
    pub counts: Counts,
    /// Counters of the kernel, by kind.
    pub kernel: Vec<KernelCount>,
    /// Processes that the agent knows.
    pub processes: usize,
    /// The sinks.
    pub sinks: Vec<SinkReport>,
}

impl Report {
    /// What is told before the first report is made.
    pub fn starting(now_ns: i64) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_ns: now_ns,
            made_ns: now_ns,
            state: State::Failed,
            stages: Vec::new(),
            hooks: 0,
            rungs: Vec::new(),
            events_per_second: 0,
            rules: 0,
            responses: 0,
            counts: Counts::default(),
            kernel: Vec::new(),
            processes: 0,
            sinks: Vec::new(),
        }
    }

    /// One line for `systemctl status`.
    pub fn line(&self) -> String {
        let mut line = format!(
            "sensing {} hooks ({}) · {} ev/s · {} lost · {} rules",
            self.hooks,
            self.rungs.join(", "),
            thousands(self.events_per_second),
            thousands(self.counts.lost),
            self.rules
        );
        for sink in &self.sinks {
            // Writing to a String cannot fail.
            let _ = match (sink.state, sink.queued) {
                (State::Ok, _) => write!(line, " · {} ok", sink.name),
                (_, queued) => {
                    write!(line, " · {} {} waiting ({})", sink.name, thousands(queued), sink.last_error)
                }
            };
        }
        let bad = self.stages.iter().filter(|stage| stage.state != State::Ok);
        for why in bad.flat_map(|stage| stage.why.first()) {
            let _ = write!(line, " · {why}");
        }
        line
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "hostward {}, process {}, ready since {}",
            self.version,
            self.pid,
            when(self.started_ns)
        )?;
        for stage in &self.stages {
            let since = if stage.state == State::Ok {
                String::new()
            } else {
                format!(" since {}", when(stage.since_ns))
            };
            writeln!(f, "  {:<14} {}{since}", stage.stage.name(), word(stage.state))?;
            for why in &stage.why {
                writeln!(f, "  {:<14}   {why}", "")?;
            }
            for note in &stage.notes {
                writeln!(f, "  {:<14}   note: {note}", "")?;
            }
        }
        let counts = &self.counts;
        writeln!(
            f,
            "events: {} received = {} emitted + {} filtered; {} alerts ({} waiting); {} lost in the kernel",
            counts.received,
            counts.emitted,
            counts.filtered,
            counts.alerts,
            counts.alerts_waiting,
            counts.lost
        )?;
        writeln!(
            f,
            "rules: {}, responses: {}, processes known: {}",
            self.rules, self.responses, self.processes
        )?;
        for sink in &self.sinks {
            let dropped: u64 = sink.dropped.iter().map(|(_, n)| n).sum();
            writeln!(
                f,
                "sink {} ({}): {}; {} accepted = {} delivered + {} queued + {} in flight + {} dropped",
                sink.name,
                sink.target,
                word(sink.state),
                sink.accepted,
                sink.delivered,
                sink.queued,
                sink.in_flight,
                dropped
            )?;
            for (reason, n) in &sink.dropped {
                writeln!(f, "  dropped {n}: {reason}")?;
            }
            if !sink.last_error.is_empty() {
                writeln!(f, "  last error: {}", sink.last_error)?;
            }
        }
        Ok(())
    }
}

const fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Degraded => "degraded",
        State::Failed => "failed",
    }
}

fn when(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(ns.into()).map_or_else(|_| "?".into(), |time| format!("{time:.0}"))
}

/// `1204` as `1,204`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_groups() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1204), "1,204");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
