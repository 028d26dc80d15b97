//! A regular file that was open for writing is closed by the last that held it.
//!
//! # How it works
//! Whoever lets a file go, the kernel takes it apart in one place, and a program at a function that is called there sees
//! each, with path and inode as they were. Where no program may be at a function the entries of close, dup2 and dup3 are
//! looked at, and a close is told when the descriptor is all that holds the file.
//!
//! # Whose it is
//! The task's that let the file go, most often at the end of its system call. At the end of a process its root directory
//! is gone by then, so that a path is told up to the root of the mount namespace, and so is its program's file. What
//! an interrupt or a thread of the kernel lets go is told of the kernel's thread that takes the file apart.
//!
//! # What can go wrong
//! At the entries a file is not told that is mapped or that another thread uses at that moment, nor one that the end of a
//! process, an exec, close_range or io_uring lets go.

use crate::BULK;
use crate::filter::Filter;
use crate::ignore;
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fentry, tracepoint};
use aya_ebpf::programs::{FEntryContext, TracePointContext};
use hostward_abi::maps::open_class;
use hostward_abi::record::{CloseBody, close_bit, header_flag, kind};
use hostward_ebpf::kernel::dentry::Location;
use hostward_ebpf::kernel::file::File;
use hostward_ebpf::kernel::task;
use hostward_ebpf::kernel::{Current, Probe, Typed, regs};
use hostward_ebpf::mem::{Slot, claim, release};
use hostward_ebpf::{agent, out, path, record, setting};

/// `void locks_remove_file(struct file *filp)`, fs/locks.c, which `__fput` calls of every file that was opened; the same
/// from 5.10 to 6.18. It may sleep, and so runs in no interrupt.
#[fentry]
pub fn close_fentry(ctx: FEntryContext) -> i32 {
    // SAFETY: the verifier checks every access; the argument is as the prototype says.
    unsafe {
        let file = File(ctx.arg(0));
        if file.is_written::<Typed>() && file.inode::<Typed>().is_regular::<Typed>() {
            closed(file, -1, header_flag::FEXIT);
        }
    }
    0
}

/// Attached to the entries of close, dup2 and dup3. It runs in the caller.
/// `struct syscall_trace_enter { struct trace_entry ent; int nr; ... }`, kernel/trace/trace.h; the same from 5.10 to 6.18.
#[tracepoint]
pub fn close(ctx: TracePointContext) -> u32 {
    // SAFETY: the context is of a system call's entry.
    unsafe {
        let number: u32 = core::ptr::read_volatile(ctx.as_ptr().cast::<u8>().add(8).cast());
        let task = task::current();
        let regs = regs::of(task);
        let mut fd = regs.argument::<0>() as u32;
        if number != setting!(nr_close) {
            // Of the others the second one is closed, if the call succeeds.
            let old = fd;
            fd = regs.argument::<1>() as u32;
            if old == fd || task.open_file(old).0.is_null() {
                return 0;
            }
        }
        let file = task.open_file(fd);
        if !file.0.is_null()
            && file.is_written::<Probe>()
            && file.is_held_once::<Probe>()
            && file.inode::<Probe>().is_regular::<Probe>()
        {
            closed(file, fd as i32, 0);
        }
    }
    0
}

#[inline(always)]
unsafe fn closed(file: File, fd: i32, rung: u32) {
    const KIND: u8 = kind::CLOSE_WRITE;
    if agent::is_current::<Current>(task::current) {
        return;
    }
    let Some(filter) = Filter::load() else {
        return;
    };
    if !filter.may_want(open_class::CLOSE) {
        return;
    }
    let Some(slot) = claim() else {
        // Whether anybody wanted it is not known, so it counts as lost.
        if let Some(ticket) = out::attempt(KIND) {
            ticket.starve();
        }
        return;
    };
    let task = task::current();
    let (from, root) = (file.probe_location(), task.root::<Current>());
    let wanted = ignore::is_wanted(slot, KIND)
        && (filter.wants_all(open_class::CLOSE)
            || filter.wants_location(slot, from, root, open_class::CLOSE));
    let left = if wanted { ignore::by_task(slot, KIND) } else { 0 };
    let ignored = left != 0 && ignore::by_path(slot, left, from, root);
    if wanted
        && !ignored
        && let Some(ticket) = out::attempt(KIND)
    {
        let (header, body) = record::begin::<CloseBody>(slot);
        record::header::<Current>(header, task, KIND, ticket.seq);
        (*header).flags |= rung;
        collect(slot, body, file, from, root);
        (*body).fd = fd;
        ticket.output(&BULK, slot);
    }
    release(slot);
}

#[inline(always)]
unsafe fn collect(slot: *mut Slot, body: *mut CloseBody, file: File, from: Location, root: Location) {
    let inode = file.inode::<Probe>();
    inode.fill::<Probe>(&raw mut (*body).inode);
    (*body).size_bytes = inode.size::<Probe>();
    (*body).flags = file.flags::<Probe>();
    let (bytes, cut) = path::append(slot, from, root);
    (*body).text_bytes = [bytes, 0];
    (*body).bits =
        if file.was_created() { close_bit::CREATED } else { 0 } | if cut { close_bit::PATH_CUT } else { 0 };
}
