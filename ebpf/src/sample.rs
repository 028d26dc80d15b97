//! What is left out while there is too much. Part of object `sys`, which alone has these maps.
//!
//! Whole classes would hide a quiet program behind a loud one, so a class in force costs only those processes that tell
//! more of it in a second than they may.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};
use hostward_abi::maps::{SAMPLED_CLASSES, SAMPLED_PROCESSES};
use hostward_ebpf::{get, out, set};

/// By class: how many events a process may tell in a second; 0: all. Written by the agent.
#[map]
static SAMPLED: Array<u32> = Array::with_max_entries(SAMPLED_CLASSES, 0);

/// By process and class: the second, and how many events were in it.
#[map]
static LOUD: LruHashMap<u64, [u64; 2]> = LruHashMap::with_max_entries(SAMPLED_PROCESSES, 0);

/// True when this event of the current process is too much; it is then counted in `row`.
///
/// # Safety
/// In a program of a task.
#[inline(always)]
pub unsafe fn left_out(class: u32, row: u8) -> bool {
    let Some(most) = SAMPLED.get_ptr(class) else {
        return false;
    };
    let most = get!(*most) as u64;
    if most == 0 {
        return false;
    }
    let key = bpf_get_current_pid_tgid() >> 32 << 32 | class as u64;
    // 2^30 ns are a second here.
    let second = bpf_ktime_get_boot_ns() >> 30;
    let Some(seen) = LOUD.get_ptr_mut(key) else {
        // Without room it is told.
        let _ = LOUD.insert(key, [second, 1], 0);
        return false;
    };
    if get!((*seen)[0]) != second {
        set!((*seen)[0], second);
        set!((*seen)[1], 0);
    }
    // Two CPUs may count one event both or not at all, which a limit can bear.
    let told = get!((*seen)[1]) + 1;
    set!((*seen)[1], told);
    if told <= most {
        return false;
    }
    out::leave_out(row);
    true
}
