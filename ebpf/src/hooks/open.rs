//! A call of the open family returned.
//!
//! Only the exit is hooked: the arguments are still in the saved registers, and what really
//! happened is in the file that the descriptor stands for. Only the text of the path argument is
//! read from user memory, where another thread can have changed it since; so it is never what
//! decides about a successful open, and of a failed one it is all there is.

use crate::BULK;
use crate::exit::{self, Exit};
use crate::filter::{Filter, TEXT_AT};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use core::mem::MaybeUninit;
use hostward_abi::maps::open_class;
use hostward_abi::record::{OpenBody, kind, open_bit, open_call};
use hostward_ebpf::kernel::dentry::Location;
use hostward_ebpf::kernel::file::File;
use hostward_ebpf::kernel::task::{self, Task};
use hostward_ebpf::kernel::{Current, Probe, regs};
use hostward_ebpf::mem::{Slot, claim, release};
use hostward_ebpf::{get, out, path, record, setting};

const O_ACCMODE: u64 = 3;
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;
const AT_FDCWD: i32 = -100;

/// What was asked for.
#[derive(Clone, Copy)]
struct Request {
    call: u32,
    dirfd: i32,
    path: u64,
    flags: u64,
    mode: u32,
    result: i64,
}

/// Attached to the exits of open, openat, openat2 and creat. It runs in the caller.
#[tracepoint]
pub fn open(ctx: TracePointContext) -> u32 {
    // SAFETY: the context is of a system call's exit.
    unsafe { returned(exit::tracepoint(&ctx)) }
    0
}

/// The same at the return of their functions. It is verified once and attached nowhere: what is attached calls it.
#[fexit]
pub fn open_fexit(ctx: FExitContext) -> i32 {
    // SAFETY: the context is of a system call's function.
    unsafe { returned(exit::function(&ctx)) }
    0
}

#[inline(always)]
unsafe fn returned(exit: Exit) {
    if (bpf_get_current_pid_tgid() >> 32) as u32 == setting!(agent_tgid) {
        return;
    }
    let Some(filter) = Filter::load() else {
        return;
    };
    let task = task::current();
    let request = request(task, exit.number, exit.result);
    let class = class(request);
    if filter.may_want(class) {
        seen(task, filter, class, request, exit.flags);
    }
}

#[inline(always)]
unsafe fn request(task: Task, nr: u32, result: i64) -> Request {
    let regs = regs::of(task);
    if nr == setting!(nr_open) {
        let (path, flags, mode) = (regs.argument::<0>(), regs.argument::<1>(), regs.argument::<2>());
        Request {
            call: open_call::OPEN,
            dirfd: AT_FDCWD,
            path,
            flags: flags as u32 as u64,
            mode: mode as u32,
            result,
        }
    } else if nr == setting!(nr_creat) {
        let (path, mode) = (regs.argument::<0>(), regs.argument::<1>());
        let flags = O_CREAT | O_TRUNC | 1;
        Request { call: open_call::CREAT, dirfd: AT_FDCWD, path, flags, mode: mode as u32, result }
    } else if nr == setting!(nr_openat2) {
        let mut how = MaybeUninit::<[u64; 2]>::uninit();
        // On failure the helper leaves zeros: a read-only open, which is what fails to be special.
        bpf_probe_read_user(how.as_mut_ptr().cast(), 16, regs.argument::<2>() as *const _);
        let [flags, mode] = how.assume_init();
        let (dirfd, path) = (regs.argument::<0>() as i32, regs.argument::<1>());
        Request { call: open_call::OPENAT2, dirfd, path, flags, mode: mode as u32, result }
    } else {
        let (dirfd, path) = (regs.argument::<0>() as i32, regs.argument::<1>());
        let (flags, mode) = (regs.argument::<2>(), regs.argument::<3>());
        Request {
            call: open_call::OPENAT,
            dirfd,
            path,
            flags: flags as u32 as u64,
            mode: mode as u32,
            result,
        }
    }
}

/// By the flags and not by the file's mode, as rules read the flags too; O_PATH counts as reading.
#[inline(always)]
fn class(request: Request) -> u32 {
    let access = request.flags & O_ACCMODE;
    let mut class = 0;
    if access != 1 {
        class |= open_class::READ;
    }
    if access != 0 || request.flags & (O_CREAT | O_TRUNC) != 0 {
        class |= open_class::WRITE;
    }
    if request.result < 0 { class << 2 } else { class }
}

#[inline(always)]
unsafe fn seen(task: Task, filter: Filter, class: u32, request: Request, flags: u32) {
    let Some(slot) = claim() else {
        // Whether anybody wanted it is not known, so it counts as lost.
        if let Some(ticket) = out::attempt(kind::OPEN) {
            ticket.starve();
        }
        return;
    };
    let root = task.root::<Current>();
    let failed = request.result < 0;
    let file = if failed { File(core::ptr::null()) } else { task.open_file(request.result as u32) };
    let (header, body) = record::begin::<OpenBody>(slot);
    let mut argument = 0;
    let wanted = if filter.wants_all(class) {
        true
    } else if failed {
        argument = record::append_user_str(slot, request.path);
        filter.wants_text(slot, TEXT_AT as u64, class)
            || (is_relative(slot) && filter.wants_location(slot, base(task, request), root, class))
    } else {
        filter.wants_location(slot, file.probe_location(), root, class)
    };
    if wanted && let Some(ticket) = out::attempt(kind::OPEN) {
        if argument == 0 {
            argument = record::append_user_str(slot, request.path);
        }
        record::header::<Current>(header, task, kind::OPEN, ticket.seq);
        (*header).flags |= flags;
        collect(slot, body, task, root, file, request, argument);
        ticket.output(&BULK, slot);
    }
    release(slot);
}

/// Where a relative path starts; null when the directory descriptor is none.
#[inline(always)]
unsafe fn base(task: Task, request: Request) -> Location {
    if request.dirfd == AT_FDCWD {
        task.cwd::<Current>()
    } else {
        task.open_file(request.dirfd as u32).probe_location()
    }
}

/// The argument, which lies in the record, does not begin with a slash.
#[inline(always)]
unsafe fn is_relative(slot: *mut Slot) -> bool {
    get!((*slot).record[TEXT_AT]) != b'/'
}

#[inline(always)]
unsafe fn collect(
    slot: *mut Slot,
    body: *mut OpenBody,
    task: Task,
    root: Location,
    file: File,
    request: Request,
    argument: u16,
) {
    (*body).flags = request.flags;
    (*body).result = request.result;
    (*body).mode = request.mode;
    (*body).dirfd = request.dirfd;
    (*body).call = request.call;
    (&raw mut (*body).text_bytes).cast::<u64>().write(argument as u64);
    let mut bits = 0;
    if argument != 0 && is_relative(slot) {
        let base = base(task, request);
        if !base.dentry.is_null() {
            let (bytes, cut) = path::append(slot, base, root);
            (*body).text_bytes[1] = bytes;
            bits |= open_bit::BASE | if cut { open_bit::BASE_CUT } else { 0 };
        }
    }
    // Null too when another thread closed the descriptor before we looked.
    if !file.0.is_null() {
        file.inode::<Probe>().fill::<Probe>(&raw mut (*body).inode);
        let (bytes, cut) = path::append(slot, file.probe_location(), root);
        (*body).text_bytes[2] = bytes;
        bits |= open_bit::FILE
            | if cut { open_bit::PATH_CUT } else { 0 }
            | if file.was_created() { open_bit::CREATED } else { 0 };
    }
    (*body).bits = bits;
}
