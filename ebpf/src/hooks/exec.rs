//! A process replaced its program.

use crate::{PROCESS, kill, process};
use aya_ebpf::helpers::generated::bpf_send_signal;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::BtfTracePointContext;
use hostward_abi::record::{ProcessBody, TEXT_BYTES_MAX, kind, process_flag};
use hostward_ebpf::kernel::task::Task;
use hostward_ebpf::kernel::{Access, Typed};
use hostward_ebpf::mem::{Slot, claim, release};
use hostward_ebpf::{agent, get, off, out, path, record};

const SIGKILL: u32 = 9;

/// 1: somebody wants the environment of programs that start.
#[map]
static ENVIRONMENT: Array<u32> = Array::with_max_entries(1, 0);

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`,
/// include/trace/events/sched.h; the same from 5.10 to 6.18. It runs in the process, after the
/// point of no return and before the first instruction of the new program.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn exec(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the verifier checks every access; arguments are as the prototype says.
    unsafe {
        if let Some(ticket) = out::attempt(kind::EXEC) {
            match claim() {
                Some(slot) => {
                    collect(slot, Task(ctx.arg(0)), ctx.arg(2), ticket.seq);
                    ticket.output(&PROCESS, slot);
                    release(slot);
                }
                None => ticket.starve(),
            }
        }
    }
    0
}

#[inline(always)]
unsafe fn collect(slot: *mut Slot, task: Task, bprm: *const u8, seq: u64) {
    let (header, body) = record::begin::<ProcessBody>(slot);
    let cgroup = record::header::<Typed>(header, task, kind::EXEC, seq);
    process::fixed(body, task);

    let filename: *const u8 = Typed::load(bprm, off!(bprm_filename));
    (*body).text_bytes[0] = record::append_kernel_str::<TEXT_BYTES_MAX>(slot, filename);
    let interpreter: *const u8 = Typed::load(bprm, off!(bprm_interp));
    if interpreter != filename {
        (*body).flags |= process_flag::SCRIPT;
    }

    let path_at = get!((*slot).cursor);
    process::program(slot, body, task);
    let path_bytes = (*body).text_bytes[1];

    let (start, end) = task.mm::<Typed>().args::<Typed>();
    let bytes = end.wrapping_sub(start);
    (*body).args_bytes = bytes;
    (*body).text_bytes[2] = record::append_user::<{ TEXT_BYTES_MAX as u64 }>(slot, start, bytes);

    let (bytes, cut) = path::append(slot, task.cwd::<Typed>(), task.root::<Typed>());
    (*body).text_bytes[3] = bytes;
    if cut {
        (*body).flags |= process_flag::CWD_CUT;
    }
    process::cgroup_names(slot, body, cgroup);

    if let Some(1) = ENVIRONMENT.get(0) {
        let (start, end) = task.mm::<Typed>().environment::<Typed>();
        let bytes = end.wrapping_sub(start);
        (*body).text_bytes[6] = record::append_user::<{ TEXT_BYTES_MAX as u64 }>(slot, start, bytes);
    }

    let pid = (*header).pid;
    let whole = (*body).flags & process_flag::PATH_CUT == 0;
    let path_bytes = if whole { path_bytes as u64 } else { 0 };
    if pid != 1
        && !agent::is(pid, (*header).start_boot_ns)
        && kill::must_die::<false>(slot, path_at, path_bytes, &raw const (*header).comm)
        && bpf_send_signal(SIGKILL) == 0
    {
        (*body).flags |= process_flag::KILLED;
    }
}
