//! Bounds of the tables, and how full they are.

use serde::Deserialize;
use std::num::NonZeroUsize;

/// Bounds of the tables. Every key may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Processes that are remembered while they live. About 1 KiB each plus arguments and paths;
    /// 65,536 is twice the pid limit that most hosts run with.
    pub max_processes: NonZeroUsize,
    /// Ended processes that are remembered for late records.
    pub max_ended: NonZeroUsize,
    /// Seconds of event time for which an ended process is remembered. The bulk ring lags by
    /// milliseconds; a minute covers a stalled machine too.
    pub ended_ttl_s: u32,
    /// cgroups that are remembered.
    pub max_cgroups: NonZeroUsize,
    /// Ask for the cgroup path of each process that execs in the root cgroup. Wanted where a v1
    /// hierarchy may hold the container while the one that the sensor reads has it in the root;
    /// costs one read of /proc per such exec. Off by default: on v2 the root is the whole answer.
    pub root_lookups: bool,
}

impl Default for Config {
    fn default() -> Self {
        let bound = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        Self {
            max_processes: bound(65_536),
            max_ended: bound(8_192),
            ended_ttl_s: 60,
            max_cgroups: bound(8_192),
            root_lookups: false,
        }
    }
}

/// Levels and counts since the start, for health and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// Living processes in the table.
    pub processes: usize,
    /// Ended processes that are still remembered.
    pub ended: usize,
    /// cgroups in the table.
    pub cgroups: usize,
    /// Events made, of all kinds.
    pub events: u64,
    /// Processes that acted before anything else was known of them.
    pub inferred: u64,
    /// Seeds taken, and seeds of processes that were known better or had ended.
    pub seeds: u64,
    /// Living processes forgotten at [`Config::max_processes`].
    pub processes_evicted: u64,
    /// cgroups forgotten at [`Config::max_cgroups`].
    pub cgroups_evicted: u64,
    /// Processes that were replaced by a new one of the same pid: their exit was lost.
    pub exits_missed: u64,
    /// Lookups asked.
    pub lookups: u64,
    /// Answers about cgroups that came.
    pub answers: u64,
}
