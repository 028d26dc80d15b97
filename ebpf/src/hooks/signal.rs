//! A process sent another one a signal.
//!
//! The calls that do it name their target by a number of the sender's pid namespace, or a whole group; here it is the
//! process itself, once for each that is reached.

use crate::URGENT;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use hostward_abi::record::{SignalRecord, kind};
use hostward_ebpf::kernel::task::{self, Task};
use hostward_ebpf::kernel::{Access, Current, Probe, Typed};
use hostward_ebpf::{agent, off, out, record};

/// SEND_SIG_NOINFO and SEND_SIG_PRIV, include/linux/sched/signal.h: no structs, and not of a program.
const SEND_SIG_PRIV: u64 = 1;

/// `TP_PROTO(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)`,
/// include/trace/events/signal.h; the same from 5.10 to 6.18. It runs in the sender when a program sent it.
#[btf_tracepoint(function = "signal_generate")]
pub fn signal(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the verifier checks every access; arguments are as the prototype says.
    unsafe {
        let info: u64 = ctx.arg(1);
        if info <= SEND_SIG_PRIV {
            return 0;
        }
        // Above 0 it is the kernel's own word: a fault, a timer, a child that ended.
        let code: i32 = Probe::load(info as *const u8, off!(siginfo_code));
        if code > 0 {
            return 0;
        }
        let target = Task(ctx.arg(2)).group_leader::<Typed>();
        let sender = (bpf_get_current_pid_tgid() >> 32) as u32;
        let pid = target.tgid::<Typed>();
        if pid == sender || sender == 0 || agent::is_current::<Current>(task::current) {
            return 0;
        }
        let Some(ticket) = out::attempt(kind::SIGNAL) else {
            return 0;
        };
        let Some(mut entry) = URGENT.reserve::<SignalRecord>(0) else {
            ticket.settle(false);
            return 0;
        };
        let record = entry.as_mut_ptr();
        record::header::<Current>(&raw mut (*record).header, task::current(), kind::SIGNAL, ticket.seq);
        (*record).header.len = size_of::<SignalRecord>() as u32;
        let body = &raw mut (*record).body;
        (*body).target_start_boot_ns = target.start::<Typed>();
        (*body).target_pid = pid;
        (*body).number = ctx.arg::<i32>(0) as u32;
        (*body).code = code;
        (*body).result = ctx.arg::<i32>(4) as u32;
        let comm = (&raw mut (*body).target_comm).cast::<u64>();
        comm.write_unaligned(0);
        comm.add(1).write_unaligned(0);
        bpf_probe_read_kernel_str(comm.cast(), 16, target.comm().cast());
        entry.submit(0);
        ticket.settle(true);
    }
    0
}
