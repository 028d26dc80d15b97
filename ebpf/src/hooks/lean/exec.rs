//! A process replaced its program. See `hooks/exec.rs`.
//!
//! The path is the kernel's, from when the file was opened for this exec. Arguments and the working directory are for
//! user space to read, from /proc.

use crate::{PROCESS, Reads, kill, opened};
use aya_ebpf::helpers::generated::bpf_send_signal;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use hostward_abi::record::{ProcessBody, header_flag, kind, process_flag};
use hostward_ebpf::kernel::task::Task;
use hostward_ebpf::kernel::{Access, cred, namespace};
use hostward_ebpf::mem::{Slot, claim, release};
use hostward_ebpf::{agent, get, off, out, record};

const SIGKILL: u32 = 9;

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, include/trace/events/sched.h.
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
    record::header::<Reads>(header, task, kind::EXEC, seq);
    (*header).flags |= header_flag::LEAN;
    fixed(body, task);

    let filename: u64 = Reads::load(bprm, off!(bprm_filename));
    let interpreter: u64 = Reads::load(bprm, off!(bprm_interp));
    if interpreter != filename {
        (*body).flags |= process_flag::SCRIPT;
    }

    let path_at = get!((*slot).cursor);
    let file = task.mm::<Reads>().exe_file::<Reads>();
    file.inode::<Reads>().fill::<Reads>(&raw mut (*body).exe);
    let path_bytes = opened::append(slot, file.0 as u64);
    (*body).text_bytes[1] = path_bytes;
    opened::forget(file.0 as u64);

    let pid = (*header).pid;
    if pid != 1
        && !agent::is(pid, (*header).start_boot_ns)
        && kill::must_die::<true>(slot, path_at, path_bytes as u64, &raw const (*header).comm)
        && bpf_send_signal(SIGKILL) == 0
    {
        (*body).flags |= process_flag::KILLED;
    }
}

#[inline(always)]
unsafe fn fixed(body: *mut ProcessBody, task: Task) {
    (*body).flags = 0;
    (*body).args_bytes = 0;
    (*body).reserved = 0;
    (*body).init_start_boot_ns = 0;
    (*body).stdin_mode = 0;
    (*body).stdout_mode = 0;
    cred::load_all::<Reads>(task.cred::<Reads>(), body);
    let own = task.thread_pid::<Reads>().outermost::<Reads>();
    let (vpid, pid_namespace) = own.unwrap_or((0, 0));
    namespace::fill(task, pid_namespace, body);
    let signal = task.signal::<Reads>();
    let (sid, pgid) = (signal.sid::<Reads>().first::<Reads>(), signal.pgid::<Reads>().first::<Reads>());
    (*body).tty = signal.tty();
    (*body).vpid = vpid;
    (*body).sid = sid;
    (*body).pgid = pgid;
    // In the outermost namespace a process has one number.
    (*body).vsid = if vpid != 0 { sid } else { 0 };
    (*body).vpgid = if vpid != 0 { pgid } else { 0 };
    let (loginuid, session) = task.audit::<Reads>();
    (*body).loginuid = loginuid;
    (*body).audit_session = session;
    let texts = (&raw mut (*body).text_bytes).cast::<u32>();
    texts.write(0);
    texts.add(1).write(0);
    texts.add(2).write(0);
    texts.add(3).write(0);
}
