//! A process was created.

use crate::PROCESS;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use hostward_abi::record::{ForkRecord, kind};
use hostward_ebpf::kernel::Typed;
use hostward_ebpf::kernel::task::Task;
use hostward_ebpf::{out, record};

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`, include/trace/events/sched.h;
/// the same from 5.10 to 6.18. It runs in the caller of clone, before the child's first instruction.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn fork(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the verifier checks every access; arguments are as the prototype says.
    unsafe {
        let child = Task(ctx.arg(1));
        // Threads share the process.
        if child.pid::<Typed>() != child.tgid::<Typed>() {
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
        record::header::<Typed>(&raw mut (*record).header, child, kind::FORK, ticket.seq);
        (*record).header.len = size_of::<ForkRecord>() as u32;
        let inner = child.thread_pid::<Typed>().inner::<Typed>();
        (*record).body.vpid = inner.nr;
        (*record).body.pid_ns = inner.namespace_inode();
        let parent = child.real_parent::<Typed>().group_leader::<Typed>();
        (*record).body.parent_start_boot_ns = parent.start::<Typed>();
        entry.submit(0);
        ticket.settle(true);
    }
    0
}
