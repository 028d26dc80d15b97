//! Who the agent is: what it does itself is not told, and it is never killed.
//!
//! By number and start, as no two processes share both. Programs may outlive the agent, and whoever is given its number
//! then is nobody special.

use crate::kernel::{Access, task::Task};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use hostward_abi::maps::Agent;

/// One entry, written by the agent before anything is attached.
#[map]
static AGENT: Array<Agent> = Array::with_max_entries(1, 0);

/// Zero for the agent. Without a branch, as each doubles the ways through what comes behind it, and the verifier goes all.
#[inline(always)]
unsafe fn differs(agent: *const Agent, pid: u32, start: u64) -> u64 {
    (get!((*agent).tgid) ^ pid) as u64 | (get!((*agent).start_boot_ns) ^ start) & get!((*agent).start_mask)
}

/// The process of this number that began at `start` is the agent.
///
/// # Safety
/// In a program.
#[inline(always)]
pub unsafe fn is(pid: u32, start: u64) -> bool {
    match AGENT.get_ptr(0) {
        Some(agent) => differs(agent, pid, start) == 0,
        // An array has its entry. For the verifier, the shortest way.
        None => true,
    }
}

/// The current task, which `task` gives if its start has to be looked at, is of the agent.
///
/// # Safety
/// `A` may load from it.
#[inline(always)]
pub unsafe fn is_current<A: Access>(task: impl FnOnce() -> Task) -> bool {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    match AGENT.get_ptr(0) {
        Some(agent) if get!((*agent).tgid) != pid => false,
        Some(agent) => differs(agent, pid, task().group_leader::<A>().start::<A>()) == 0,
        None => true,
    }
}
