//! Object `base`: exec, fork, exit and cgroups from BTF tracepoints, into a ring of their own, so that
//! a flood of file events cannot blind the process table.
#![no_std]
#![no_main]

use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;
use hostward_ebpf::kernel::Typed as Reads;

#[path = "../hooks/cgroup.rs"]
mod cgroup;
#[path = "../hooks/exec.rs"]
mod exec;
#[path = "../hooks/exit.rs"]
mod exit;
#[path = "../hooks/fork.rs"]
mod fork;
#[path = "../kill.rs"]
mod kill;
#[path = "../hooks/process.rs"]
mod process;

/// Sized by the agent.
#[map]
static PROCESS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
