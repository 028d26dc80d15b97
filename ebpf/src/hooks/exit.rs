//! The last thread of a process ended.

use crate::{PROCESS, Reads};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::BtfTracePointContext;
use hostward_abi::maps::ENDED_KEPT;
use hostward_abi::record::{ExitRecord, kind};
use hostward_ebpf::kernel::signal::Signal;
use hostward_ebpf::kernel::task::Task;
use hostward_ebpf::{out, record, setting};

/// include/uapi/linux/bpf.h.
const BPF_NOEXIST: u64 = 1;

/// Processes whose end was told, by number and start, before 6.17.
#[map]
static ENDED: LruHashMap<[u64; 2], u8> = LruHashMap::with_max_entries(ENDED_KEPT, 0);

/// `TP_PROTO(struct task_struct *p)`, since 6.17 with `bool group_dead`; include/trace/events/sched.h.
/// It runs in the ending thread, after `signal->live` was counted down and the status was set.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn exit(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the verifier checks every access; arguments are as the prototype says.
    unsafe {
        let task = Task(ctx.arg(0));
        let signal = task.signal::<Reads>();
        if !is_end(&ctx, task, signal) {
            return 0;
        }
        let Some(ticket) = out::attempt(kind::EXIT) else {
            return 0;
        };
        let Some(mut entry) = PROCESS.reserve::<ExitRecord>(0) else {
            ticket.settle(false);
            return 0;
        };
        let record = entry.as_mut_ptr();
        record::header::<Reads>(&raw mut (*record).header, task, kind::EXIT, ticket.seq);
        (*record).header.len = size_of::<ExitRecord>() as u32;
        // The leader may have ended before its last thread; wait(2) then tells the leader's status.
        let leader = task.group_leader::<Reads>();
        let status = match signal.group_exit_code::<Reads>() {
            Some(code) => code,
            None => leader.exit_code::<Reads>(),
        };
        // Threads that are reaped, this one, and the leader, which is not reaped before its parent
        // asks. A thread between its end and its reaping is missed.
        let (gone, own) = (signal.times::<Reads>(), task.times::<Reads>());
        let mut all = (gone.0 + own.0, gone.1 + own.1, gone.2 + own.2);
        let (gone, own) = (signal.faults::<Reads>(), task.faults::<Reads>());
        let mut faults = (gone.0 + own.0, gone.1 + own.1);
        if task.pid::<Reads>() != task.tgid::<Reads>() {
            let first = leader.times::<Reads>();
            all = (all.0 + first.0, all.1 + first.1, all.2 + first.2);
            let first = leader.faults::<Reads>();
            faults = (faults.0 + first.0, faults.1 + first.1);
        }
        (*record).body.max_rss_pages = signal.max_rss::<Reads>();
        (*record).body.minor_faults = faults.0;
        (*record).body.major_faults = faults.1;
        (*record).body.utime_ns = all.0;
        (*record).body.stime_ns = all.1;
        (*record).body.runtime_ns = all.2;
        (*record).body.status = status;
        (*record).body.reserved = 0;
        entry.submit(0);
        ticket.settle(true);
    }
    0
}

/// With this thread the process ends, and that is not told yet. Of threads that end together each may find that no other
/// lives.
#[inline(always)]
unsafe fn is_end(ctx: &BtfTracePointContext, task: Task, signal: Signal) -> bool {
    if setting!(group_dead) != 0 {
        return ctx.arg::<u64>(1) as u8 != 0;
    }
    if signal.live_threads::<Reads>() != 0 {
        return false;
    }
    let start = task.group_leader::<Reads>().start::<Reads>();
    ENDED.insert([task.tgid::<Reads>() as u64, start], 0, BPF_NOEXIST).is_ok()
}
