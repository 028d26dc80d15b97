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
    /// Containers, and pods, of which facts are kept. A few KiB each, by their labels.
    pub max_containers: NonZeroUsize,
    /// ms of event time for which the first events of a container wait until it is known; then they go out
    /// marked `enrichment.partial`. 0: nothing waits.
    pub context_wait_ms: u32,
    /// ms of event time for which the exec of a file that is not known yet waits for its hash; then it goes out
    /// without. 0: nothing waits, and a file has its hash from its second exec on.
    pub program_wait_ms: u32,
    /// Files of programs of which hash and package are kept. About 300 bytes each.
    pub max_programs: NonZeroUsize,
    /// Addresses of which the name is remembered that a process asked DNS for. About 200 bytes each.
    pub max_domains: NonZeroUsize,
    /// Events that wait at the same time, of all containers, and of all programs; at the bound those that wait
    /// longest go out.
    pub max_held_events: NonZeroUsize,
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
            max_containers: bound(8_192),
            context_wait_ms: 2_000,
            program_wait_ms: 500,
            max_programs: bound(16_384),
            max_domains: bound(16_384),
            max_held_events: bound(16_384),
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
    /// Containers of which facts are known.
    pub containers: usize,
    /// Pods of which facts are known.
    pub pods: usize,
    /// Events that wait for their container or their program.
    pub held: usize,
    /// Events of containers that were sent with all that was waited for.
    pub complete: u64,
    /// Events of containers that were sent without.
    pub partial: u64,
    /// Files of programs of which something is known.
    pub programs: usize,
    /// Execs that were sent before their file was read.
    pub late: u64,
}
