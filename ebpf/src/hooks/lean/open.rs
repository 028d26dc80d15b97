//! A call of the open family returned, seen at the function that all of them share.
//!
//! What was opened is what the kernel wrote down while the call ran (`opened.rs`). Of a failed open nothing is known but
//! that it failed, and of one with O_PATH nothing is written down, so neither is told.

use crate::filter::Filter;
use crate::{BULK, Reads, opened};
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fentry, fexit};
use aya_ebpf::programs::{FEntryContext, FExitContext};
use hostward_abi::maps::open_class;
use hostward_abi::record::{OpenBody, header_flag, kind, open_bit, open_call};
use hostward_ebpf::kernel::{Access, regs, task};
use hostward_ebpf::mem::{Slot, claim, release};
use hostward_ebpf::{agent, get, off, out, record, setting};

const O_ACCMODE: u64 = 3;
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;

/// `long do_sys_openat2(int dfd, const char __user *filename, struct open_how *how)`, fs/open.c; since 5.6.
#[fentry]
pub fn open_begins(_: FEntryContext) -> i32 {
    // What the thread opened otherwise is not of this call.
    opened::forget(opened::thread());
    0
}

/// The same function's end.
#[fexit]
pub fn open_ends(ctx: FExitContext) -> i32 {
    // SAFETY: the verifier checks every access; arguments are as the prototype says, the result behind them.
    unsafe {
        if !agent::is_current::<Reads>(task::current)
            && let Some(filter) = Filter::load()
        {
            let context = ctx.as_ptr().cast::<u64>();
            let how = core::ptr::read_volatile(context.add(2).cast::<*const u8>());
            let flags: u64 = Reads::load(how, off!(open_how_flags));
            let mode: u64 = Reads::load(how, off!(open_how_mode));
            let result = core::ptr::read_volatile(context.add(3)) as i64;
            let class = class(flags);
            if result >= 0 && filter.may_want(class) {
                let dirfd = core::ptr::read_volatile(context) as i32;
                told(filter, class, dirfd, flags, mode, result);
            }
        }
        opened::forget(opened::thread());
    }
    0
}

/// As `hooks/open.rs` has it.
#[inline(always)]
fn class(flags: u64) -> u32 {
    let access = flags & O_ACCMODE;
    let mut class = 0;
    if access != 1 {
        class |= open_class::READ;
    }
    if access != 0 || flags & (O_CREAT | O_TRUNC) != 0 {
        class |= open_class::WRITE;
    }
    class
}

#[inline(always)]
unsafe fn told(filter: Filter, class: u32, dirfd: i32, flags: u64, mode: u64, result: i64) {
    let key = opened::thread();
    let Some(kept) = opened::find(key) else {
        return;
    };
    let number = regs::of(task::current()).number();
    let call = if number == setting!(nr_open) {
        open_call::OPEN
    } else if number == setting!(nr_creat) {
        open_call::CREAT
    } else if number == setting!(nr_openat2) {
        open_call::OPENAT2
    } else {
        open_call::OPENAT
    };
    let row = kind::of_open(call);
    let Some(slot) = claim() else {
        if let Some(ticket) = out::attempt(row) {
            ticket.starve();
        }
        return;
    };
    let (header, body) = record::begin::<OpenBody>(slot);
    (*body).flags = flags;
    (*body).result = result;
    (*body).mode = mode as u32;
    (*body).dirfd = dirfd;
    (*body).call = call;
    (&raw mut (*body).text_bytes).cast::<u64>().write(0);
    (*body).inode = (*kept).inode;
    (*body).bits = open_bit::FILE | if (*kept).created != 0 { open_bit::CREATED } else { 0 };
    let path_at = get!((*slot).cursor);
    let bytes = opened::append(slot, key);
    (*body).text_bytes[2] = bytes;
    if is_wanted(slot, filter, class, path_at, bytes)
        && let Some(ticket) = out::attempt(row)
    {
        record::header::<Reads>(header, task::current(), row, ticket.seq);
        (*header).flags |= header_flag::LEAN | header_flag::FEXIT;
        if task::current().mm::<Reads>().users::<Reads>() > 1 {
            (*header).flags |= header_flag::SHARED_MEMORY;
        }
        ticket.output(&BULK, slot);
    }
    release(slot);
}

/// By the path alone it is told whether the open is wanted, and without one, as it is too long, it is.
#[inline(always)]
unsafe fn is_wanted(slot: *mut Slot, filter: Filter, class: u32, path_at: u64, bytes: u16) -> bool {
    if filter.wants_all(class) || bytes == 0 {
        return true;
    }
    // The scan ends at a NUL, which is not told.
    record::terminate(slot, 0);
    filter.wants_text(slot, path_at, class)
}
