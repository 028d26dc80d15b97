//! What `hostward status` and systemd's status line tell.

use crate::health::{StageHealth, State};
use crate::pipeline::Counts;
use hostward_outputs::Condition;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// Counters of one kind of event in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCount {
    /// Kind of event.
    pub kind: String,
    /// Events that the programs wanted to hand over.
    pub attempted: u64,
    /// Of these, events that did not reach the ring.
    pub dropped: u64,
    /// Of these, events that were left out on purpose, under overload.
    #[serde(default)]
    pub sampled: u64,
}

/// What a program in the kernel missed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedCount {
    /// What it hooks, or the program's name.
    pub hook: String,
    /// Runs that did not take place, as it was running already on that CPU.
    pub missed: u64,
}

/// What a block of `[[sensor.ignore]]` left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredCount {
    /// Its name, or its number.
    pub block: String,
    /// Events that the kernel did not tell for it.
    pub events: u64,
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
    /// What happens to its events.
    pub condition: Condition,
    /// Why it is not ok, or its latest failure; empty when there was none.
    pub last_error: String,
    /// When that was last seen, ms since the epoch.
    pub last_error_unix_ms: Option<i64>,
    /// Events accepted for it.
    pub accepted: u64,
    /// Events it has acknowledged.
    pub delivered: u64,
    /// Events that wait, in the spool or in memory.
    pub queued: u64,
    /// Their size, bytes.
    pub queued_bytes: u64,
    /// Events handed to it and not yet acknowledged.
    pub in_flight: u64,
    /// Events dropped, by reason.
    pub dropped: Vec<(String, u64)>,
    /// Events that the destination refused, kept in dead-letter files.
    pub dlq: u64,
    /// Age of the oldest event that waits, ms.
    pub oldest_age_ms: u64,
}

impl SinkReport {
    /// How far it is behind: ` · 1,204 waiting, oldest 35 s`; empty when it is not.
    fn lag(&self) -> String {
        match self.queued {
            0 => String::new(),
            waiting => format!("{} waiting, oldest {}", thousands(waiting), age(self.oldest_age_ms)),
        }
    }
}

/// The context of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextReport {
    /// Containers of which facts are known.
    pub containers: usize,
    /// Pods of which facts are known.
    pub pods: usize,
    /// Events that wait for their container or their program now.
    pub held: usize,
    /// Events of containers that were sent with name and image.
    pub complete: u64,
    /// Events of containers that were sent before these were known; an `update` event follows.
    pub partial: u64,
    /// Files of programs of which the hash or the package is known.
    #[serde(default)]
    pub programs: usize,
    /// Program starts that were sent before their file was read.
    #[serde(default)]
    pub late: u64,
}

/// One lane of the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneReport {
    /// `alert` or `telemetry`.
    pub lane: String,
    /// Its size on disk, bytes.
    pub disk_bytes: u64,
    /// Its size at most, bytes.
    pub max_bytes: u64,
    /// Why it keeps events in memory only; empty when it does not.
    pub degraded: String,
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
    /// Programs in the kernel that were not run when they should have been; empty when there are none.
    #[serde(default)]
    pub missed: Vec<MissedCount>,
    /// Memory that the programs' maps take in the kernel, bytes.
    #[serde(default)]
    pub kernel_bytes: u64,
    /// Events that were not told as the configuration asks, by block; empty when it has none.
    #[serde(default)]
    pub ignored: Vec<IgnoredCount>,
    /// Processes that the agent knows.
    pub processes: usize,
    /// Containers and pods of which facts are known, and how many events had them in time.
    #[serde(default)]
    pub context: ContextReport,
    /// The sinks.
    pub sinks: Vec<SinkReport>,
    /// The lanes of the spool; none when it is switched off.
    pub spool: Vec<LaneReport>,
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
            missed: Vec::new(),
            kernel_bytes: 0,
            ignored: Vec::new(),
            processes: 0,
            context: ContextReport::default(),
            sinks: Vec::new(),
            spool: Vec::new(),
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
            let _ = match (sink.state, sink.lag()) {
                (State::Ok, lag) if lag.is_empty() => write!(line, " · {} ok", sink.name),
                (State::Ok, lag) => write!(line, " · {} {lag}", sink.name),
                (_, lag) => write!(line, " · {} {lag} ({})", sink.name, sink.last_error),
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
            "rules: {}, responses: {}, processes known: {}; {} MiB of maps in the kernel",
            self.rules,
            self.responses,
            self.processes,
            self.kernel_bytes.div_ceil(1 << 20)
        )?;
        for ignored in &self.ignored {
            writeln!(f, "ignored by block {}: {} events", ignored.block, ignored.events)?;
        }
        let context = &self.context;
        if context.complete + context.partial > 0 {
            writeln!(
                f,
                "containers known: {}, pods: {}; events of containers: {} complete at first sending, {} partial, {} waiting",
                context.containers, context.pods, context.complete, context.partial, context.held
            )?;
        }
        if context.programs > 0 || context.late > 0 {
            writeln!(
                f,
                "programs known: {}; program starts sent before their file was read: {}",
                context.programs, context.late
            )?;
        }
        for sink in &self.sinks {
            let dropped: u64 = sink.dropped.iter().map(|(_, n)| n).sum();
            writeln!(
                f,
                "sink {} ({}): {} ({}); {} accepted = {} delivered + {} waiting + {} in flight + {} dropped + {} dead letters",
                sink.name,
                sink.target,
                word(sink.state),
                sink.condition,
                sink.accepted,
                sink.delivered,
                sink.queued,
                sink.in_flight,
                dropped,
                sink.dlq
            )?;
            if sink.queued > 0 {
                writeln!(f, "  {}, {} KiB", sink.lag(), sink.queued_bytes.div_ceil(1024))?;
            }
            for (reason, n) in &sink.dropped {
                writeln!(f, "  dropped {n}: {reason}")?;
            }
            if !sink.last_error.is_empty() {
                let seen = sink
                    .last_error_unix_ms
                    .map_or_else(String::new, |ms| format!(" ({})", when(ms.saturating_mul(1_000_000))));
                writeln!(f, "  last error{seen}: {}", sink.last_error)?;
            }
        }
        for lane in &self.spool {
            let (used, most) = (lane.disk_bytes.div_ceil(1 << 20), lane.max_bytes >> 20);
            writeln!(
                f,
                "spool, {} lane: {used} of {most} MiB{}",
                lane.lane,
                match lane.degraded.as_str() {
                    "" => String::new(),
                    why => format!("; in memory only: {why}"),
                }
            )?;
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

/// A time, to the second.
pub fn when(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(ns.into()).map_or_else(|_| "?".into(), |time| format!("{time:.0}"))
}

/// A time span in its largest unit.
pub fn age(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
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

    #[test]
    fn ages_are_read_in_their_largest_unit() {
        assert_eq!(age(999), "0 s");
        assert_eq!(age(119_999), "119 s");
        assert_eq!(age(120_000), "2 min");
        assert_eq!(age(7_200_000), "2 h");
        assert_eq!(age(432_000_000), "5 days");
    }
}
