//! A call of the open family returned.
//!
//! Only the exit is hooked: the arguments are still in the saved registers, and what really
//! happened is in the file that the descriptor stands for. Only the text of the path argument is
//! read from user memory, where another thread can have changed it since; so it is never what
//! decides about a successful open, and of a failed one it is all there is.

use crate::BULK;
use crate::exit::{self, Exit};
use crate::filter::{Filter, TEXT_AT};
use crate::ignore;
use crate::look;
use crate::sample;
use crate::uring::Asked;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use core::mem::MaybeUninit;
use hostward_abi::maps::{ia32_row, open_class, sampled_class};
use hostward_abi::record::{OpenBody, header_flag, kind, open_bit, open_call};
use hostward_ebpf::kernel::dentry::Location;
use hostward_ebpf::kernel::file::File;
use hostward_ebpf::kernel::task::{self, Task};
use hostward_ebpf::kernel::{Current, Probe, regs};
use hostward_ebpf::mem::{Slot, claim, release};
use hostward_ebpf::{agent, get, out, path, record, setting};

const O_ACCMODE: u64 = 3;
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;
const AT_FDCWD: i32 = -100;

// arch/x86/entry/syscalls/syscall_32.tbl
const IA32_OPEN: u32 = ia32_row(5);
const IA32_CREAT: u32 = ia32_row(8);
const IA32_OPENAT: u32 = ia32_row(295);
const IA32_OPENAT2: u32 = ia32_row(437);

/// What was asked for.
#[derive(Clone, Copy)]
struct Request {
    call: u32,
    dirfd: i32,
    path: u64,
    flags: u64,
    mode: u32,
    result: i64,
    /// The result is a descriptor of the task's, or an error.
    has_file: bool,
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

/// The same of i386. Of all its calls these four are opens.
#[fexit]
pub fn open_ia32(ctx: FExitContext) -> i32 {
    // SAFETY: the context is of the function that all its calls come by.
    unsafe {
        let exit = exit::ia32(&ctx);
        let is_open = matches!(exit.number, IA32_OPEN | IA32_OPENAT | IA32_OPENAT2 | IA32_CREAT);
        if is_open {
            returned(exit);
        }
    }
    0
}

#[inline(always)]
unsafe fn returned(exit: Exit) {
    let Some(filter) = Filter::load() else {
        return;
    };
    // Before anything else is asked, as each call of a helper takes as long as a name of the path.
    let by_path =
        setting!(loads) != 0 && exit.result >= 0 && !filter.wants_all(open_class::READ | open_class::WRITE);
    if by_path && look::is_unwanted(task::current(), exit.result as u32) {
        return;
    }
    if agent::is_current::<Current>(task::current) {
        return;
    }
    let task = task::current();
    let request = request(task, exit.number, exit.result);
    let class = class(request);
    if filter.may_want(class) {
        seen::<false>(task, filter, class, request, exit.flags, 0);
    }
}

/// An open that was made through io_uring; `number` is the open call that it is told as.
///
/// # Safety
/// `asked` is a map's value.
#[inline(always)]
pub unsafe fn through_uring(asked: *const Asked, number: u32, result: i64, is_known: bool) {
    let Some(filter) = Filter::load() else {
        return;
    };
    // A fixed file has no descriptor.
    let has_file = is_known && get!((*asked).args[4]) == 0;
    let request = Request {
        call: number,
        dirfd: get!((*asked).args[0]) as i32,
        path: (&raw const (*asked).first) as u64,
        flags: get!((*asked).args[2]),
        mode: get!((*asked).args[3]) as u32,
        result,
        has_file,
    };
    let class = class(request);
    if filter.may_want(class) {
        seen::<true>(task::current(), filter, class, request, header_flag::URING, kind::URING);
    }
}

#[inline(always)]
unsafe fn request(task: Task, nr: u32, result: i64) -> Request {
    let regs = regs::of(task);
    if nr == setting!(nr_open) || nr == IA32_OPEN {
        let (path, flags, mode) = (regs.argument::<0>(), regs.argument::<1>(), regs.argument::<2>());
        Request {
            call: open_call::OPEN,
            dirfd: AT_FDCWD,
            path,
            flags: flags as u32 as u64,
            mode: mode as u32,
            result,
            has_file: true,
        }
    } else if nr == setting!(nr_creat) || nr == IA32_CREAT {
        let (path, mode) = (regs.argument::<0>(), regs.argument::<1>());
        let flags = O_CREAT | O_TRUNC | 1;
        Request {
            call: open_call::CREAT,
            dirfd: AT_FDCWD,
            path,
            flags,
            mode: mode as u32,
            result,
            has_file: true,
        }
    } else if nr == setting!(nr_openat2) || nr == IA32_OPENAT2 {
        let mut how = MaybeUninit::<[u64; 2]>::uninit();
        // On failure the helper leaves zeros: a read-only open, which is what fails to be special.
        bpf_probe_read_user(how.as_mut_ptr().cast(), 16, regs.argument::<2>() as *const _);
        let [flags, mode] = how.assume_init();
        let (dirfd, path) = (regs.argument::<0>() as i32, regs.argument::<1>());
        Request { call: open_call::OPENAT2, dirfd, path, flags, mode: mode as u32, result, has_file: true }
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
            has_file: true,
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
unsafe fn seen<const COPIED: bool>(
    task: Task,
    filter: Filter,
    class: u32,
    request: Request,
    flags: u32,
    apart: u8,
) {
    let row = kind::of_open(request.call) | apart;
    let Some(slot) = claim() else {
        // Whether anybody wanted it is not known, so it counts as lost.
        if let Some(ticket) = out::attempt(row) {
            ticket.starve();
        }
        return;
    };
    let root = task.root::<Current>();
    let failed = request.result < 0;
    let file = if failed | !request.has_file {
        File(core::ptr::null())
    } else {
        task.open_file(request.result as u32)
    };
    let (header, body) = record::begin::<OpenBody>(slot);
    let mut argument = 0;
    let wanted = if !COPIED && !ignore::is_wanted(slot, kind::of_open(request.call)) {
        false
    } else if filter.wants_all(class) {
        true
    } else if file.0.is_null() {
        // Also one that another thread closed before we looked: it may have a copy of the descriptor.
        argument = record::append_argument::<COPIED>(slot, request.path);
        filter.wants_text(slot, TEXT_AT as u64, class)
            || (is_relative(slot) && filter.wants_location(slot, base(task, request), root, class))
    } else {
        filter.wants_location(slot, file.probe_location(), root, class)
    };
    let left = if wanted & !COPIED { ignore::by_task(slot, kind::of_open(request.call)) } else { 0 };
    let ignored = left != 0 && ignore::by_path(slot, left, file.probe_location(), root);
    if wanted
        && !ignored
        && !is_left_out(class)
        && let Some(ticket) = out::attempt(row)
    {
        if argument == 0 {
            argument = record::append_argument::<COPIED>(slot, request.path);
        }
        record::header::<Current>(header, task, kind::of_open(request.call), ticket.seq);
        (*header).flags |= flags;
        if !COPIED && task.mm::<Current>().users::<Current>() > 1 {
            (*header).flags |= header_flag::SHARED_MEMORY;
        }
        collect(slot, body, task, root, file, request, argument);
        ticket.output(&BULK, slot);
    }
    release(slot);
}

/// Under overload, one that changes nothing.
#[inline(always)]
unsafe fn is_left_out(class: u32) -> bool {
    class & (open_class::WRITE | open_class::WRITE_FAILED) == 0
        && sample::left_out(sampled_class::OPEN_READ, kind::OPEN_SAMPLED)
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
