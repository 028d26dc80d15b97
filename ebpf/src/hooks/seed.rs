//! One record per process for the reader of a task iterator.

use crate::process;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_seq_write;
use core::ffi::c_void;
use hostward_abi::record::{ProcessBody, kind, process_flag};
use hostward_ebpf::kernel::task::{self, Task};
use hostward_ebpf::kernel::{Access, Current, Typed};
use hostward_ebpf::mem::{Slot, claim, release};
use hostward_ebpf::{path, record};

/// `struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; }`,
/// kernel/bpf/task_iter.c, from 5.8. It runs in the task that reads the iterator, once per task and
/// at the end with none.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn seed(ctx: *mut c_void) -> i32 {
    // SAFETY: the verifier checks every access; the context is as the prototype says.
    unsafe {
        let ctx = ctx.cast::<*const u8>();
        let meta = core::ptr::read_volatile(ctx);
        let task = Task(core::ptr::read_volatile(ctx.add(1)));
        if task.0.is_null() {
            return 0;
        }
        // One record per process, and none for those that nobody has reaped yet.
        if task.pid::<Typed>() != task.tgid::<Typed>() || task.signal::<Typed>().live_threads::<Typed>() == 0
        {
            return 0;
        }
        let Some(slot) = claim() else {
            return 0;
        };
        collect(slot, task);
        let bytes = record::seal(slot);
        // `seq` is the first member of `struct bpf_iter_meta`.
        let seq: *mut u8 = Typed::load(meta, 0);
        // When the reader's buffer is full the kernel shows the same task again.
        bpf_seq_write(seq.cast(), (&raw const (*slot).record).cast(), bytes as u32);
        release(slot);
    }
    0
}

#[inline(always)]
unsafe fn collect(slot: *mut Slot, task: Task) {
    let (header, body) = record::begin::<ProcessBody>(slot);
    let cgroup = record::header::<Typed>(header, task, kind::SEED, 0);
    process::fixed(body, task);
    if task.is_kernel_thread::<Typed>() {
        (*body).flags |= process_flag::KERNEL_THREAD;
    }
    process::program(slot, body, task);
    let (bytes, cut) = path::append(slot, task.cwd::<Typed>(), task.root::<Typed>());
    (*body).text_bytes[3] = bytes;
    if cut {
        (*body).flags |= process_flag::CWD_CUT;
    }
    process::cgroup_names(slot, body, cgroup);
}

/// Tells the reader its process id in the initial pid namespace, which its own may hide from it, and when it began: the
/// program runs in the task that reads. 16 bytes per task; one is enough.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn reader(ctx: *mut c_void) -> i32 {
    // SAFETY: the verifier checks every access; the context is as the prototype above says.
    unsafe {
        let meta = core::ptr::read_volatile(ctx.cast::<*const u8>());
        let seq: *mut u8 = Typed::load(meta, 0);
        let began = task::current().group_leader::<Current>().start::<Current>();
        let own = [bpf_get_current_pid_tgid() >> 32, began];
        bpf_seq_write(seq.cast(), (&raw const own).cast(), size_of::<[u64; 2]>() as u32);
    }
    0
}
