//! A process was created. See `hooks/fork.rs`.

use crate::{PROCESS, Reads};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use hostward_abi::record::{ForkRecord, header_flag, kind};
use hostward_ebpf::kernel::task::Task;
use hostward_ebpf::{out, record};

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`, include/trace/events/sched.h.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn fork(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the verifier checks every access; arguments are as the prototype says.
    unsafe {
        let child = Task(ctx.arg(1));
        // Threads share the process.
        if child.pid::<Reads>() != child.tgid::<Reads>() {
            return 0;
        }
        let Some(ticket) = out::attempt(kind::FORK) else {
            return 0;
        };
        let Some(mut entry) = PROCESS.reserve::<ForkRecord>(0) else {
            ticket.settle(false);
            return 0;
        };
        let record = entry.as_mut_ptr();
        record::header::<Reads>(&raw mut (*record).header, child, kind::FORK, ticket.seq);
        (*record).header.len = size_of::<ForkRecord>() as u32;
        (*record).header.flags |= header_flag::LEAN;
        let (vpid, pid_ns) = child.thread_pid::<Reads>().outermost::<Reads>().unwrap_or((0, 0));
        (*record).body.vpid = vpid;
        (*record).body.pid_ns = pid_ns;
        let parent = child.real_parent::<Reads>().group_leader::<Reads>();
        (*record).body.parent_start_boot_ns = parent.start::<Reads>();
        entry.submit(0);
        ticket.settle(true);
    }
    0
}
