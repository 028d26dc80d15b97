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

/// The process of this number is the agent, if it began at `start`.
///
/// # Safety
/// In a program.
#[inline(always)]
pub unsafe fn is(pid: u32, start: impl FnOnce() -> u64) -> bool {
    let Some(agent) = AGENT.get_ptr(0) else {
        return false;
    };
    if get!((*agent).tgid) != pid {
        return false;
    }
    let began = get!((*agent).start_boot_ns);
    began == 0 || began == start()
}

/// The current task, which `task` gives if it has to be looked at, is of the agent.
///
/// # Safety
/// `A` may load from it.
#[inline(always)]
pub unsafe fn is_current<A: Access>(task: impl FnOnce() -> Task) -> bool {
    is((bpf_get_current_pid_tgid() >> 32) as u32, || task().group_leader::<A>().start::<A>())
}
