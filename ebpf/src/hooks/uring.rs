//! Operations through io_uring that are system calls elsewhere: they open, connect, remove, rename, link and make
//! directories, and no system call is made for them.
//!
//! A request is noted when it is submitted, with its texts as the kernel took them, and told when it has ended, with its
//! result: as the call that does the same, with the same filter. One whose success its program does not want to hear of
//! is told when it is submitted. It runs in the program that asked, or in a thread that the kernel made for it.

use crate::call;
use crate::connect;
use crate::open;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{Array, LruHashMap};
use aya_ebpf::programs::BtfTracePointContext;
use hostward_abi::maps::{URING_OPS, uring_call};
use hostward_abi::record::{TEXT_BYTES_MAX, kind};
use hostward_ebpf::kernel::Current;
use hostward_ebpf::kernel::file::File;
use hostward_ebpf::kernel::task;
use hostward_ebpf::kernel::uring::Request;
use hostward_ebpf::mem::{claim, clamped, release};
use hostward_ebpf::{agent, off, out};

/// Bytes of a socket address that are kept.
const ADDRESS_BYTES: u64 = 128;

// include/uapi/linux/io_uring.h, `enum io_uring_op`.
const CONNECT: u32 = 16;
const OPENAT: u32 = 18;
const OPENAT2: u32 = 28;
const RENAMEAT: u32 = 35;
const UNLINKAT: u32 = 36;
const MKDIRAT: u32 = 37;
const SYMLINKAT: u32 = 38;
const LINKAT: u32 = 39;

/// A request under way.
#[repr(C)]
pub struct Asked {
    /// As those of the system call, but for texts; an open's fifth is the place in the table of fixed files.
    pub args: [u64; 6],
    /// Bytes of the address, in `first`.
    pub address_bytes: u32,
    pub reserved: u32,
    pub first: [u8; TEXT_BYTES_MAX as usize],
    pub second: [u8; TEXT_BYTES_MAX as usize],
}

/// By operation, which call it stands for and whether anybody wants it, written by the agent.
#[map]
static URING: Array<u32> = Array::with_max_entries(URING_OPS, 0);

/// By the request's address. A request that had to make room is counted as lost at its end.
#[map]
static ASKED: LruHashMap<u64, Asked> = LruHashMap::with_max_entries(256, 0);

/// `TP_PROTO(struct io_kiocb *req)`, include/trace/events/io_uring.h, since 6.4; before it `io_uring_submit_sqe`, whose
/// first argument is the request since 5.19. It runs after the request was read.
#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn uring_submit(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the verifier checks every access; the argument is as the prototype says.
    unsafe { submitted(ctx.arg(0)) }
    0
}

/// `TP_PROTO(struct io_ring_ctx *ctx, void *req, ...)`; the result is taken from the request, as the other arguments differ.
#[btf_tracepoint(function = "io_uring_complete")]
pub fn uring_complete(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: as above.
    unsafe { completed(ctx.arg(1)) }
    0
}

/// What is wanted of an operation; see [`uring_call`].
#[inline(always)]
unsafe fn wanted(op: u32) -> u32 {
    match URING.get(op) {
        Some(call) => *call,
        None => uring_call::UNWANTED,
    }
}

/// Whether anybody wanted it is not known, so it counts as lost.
#[inline(always)]
unsafe fn starve(call: u32) {
    if let Some(ticket) = out::attempt(uring_call::row(call)) {
        ticket.starve();
    }
}

#[inline(always)]
unsafe fn submitted(key: u64) {
    let request = Request(key as *const u8);
    let op = request.opcode();
    let call = wanted(op);
    if call == uring_call::UNWANTED || agent::is_current::<Current>(task::current) {
        return;
    }
    let Some(slot) = claim() else {
        starve(call);
        return;
    };
    let asked = (&raw mut (*slot).record).cast::<Asked>();
    read(request, op, asked);
    let kept = ASKED.insert(key, &*asked, 0).is_ok();
    release(slot);
    if !kept {
        starve(call);
    } else if request.is_silent() {
        ended(key, call, None, File(core::ptr::null()));
    }
}

#[inline(always)]
unsafe fn completed(key: u64) {
    let request = Request(key as *const u8);
    let call = wanted(request.opcode());
    if call != uring_call::UNWANTED && !request.is_silent() {
        ended(key, call, Some(request.result()), request.file());
    }
}

/// `result`: none when only the success is known. `file`: what the request is about, or null.
#[inline(always)]
unsafe fn ended(key: u64, call: u32, result: Option<i64>, file: File) {
    let (known, result) = (result.is_some(), result.unwrap_or(0));
    let Some(asked) = ASKED.get_ptr(key) else {
        starve(call);
        return;
    };
    let number = uring_call::number(call);
    match uring_call::row(call) & !kind::URING {
        kind::CONNECT => connect::through_uring(asked, result, file),
        kind::OPEN | kind::OPEN_APART..=kind::OPEN_LAST => open::through_uring(asked, number, result, known),
        _ => call::through_uring(asked, number, result),
    }
    let _ = ASKED.remove(key);
}

#[inline(always)]
unsafe fn read(request: Request, op: u32, asked: *mut Asked) {
    let first = (&raw mut (*asked).first).cast::<u8>();
    let second = (&raw mut (*asked).second).cast::<u8>();
    let args = (&raw mut (*asked).args).cast::<u64>();
    let mut at = 0;
    while at < 6 {
        core::ptr::write_volatile(args.add(at), 0);
        at += 1;
    }
    (*asked).address_bytes = 0;
    (*asked).reserved = 0;
    let directory = |at: usize, offset| {
        let descriptor: i32 = request.field(offset);
        core::ptr::write_volatile(args.add(at), descriptor as i64 as u64);
    };
    let flags = |at: usize, offset| {
        core::ptr::write_volatile(args.add(at), request.field::<u32>(offset) as u64);
    };
    match op {
        OPENAT | OPENAT2 => {
            directory(0, off!(uring_open_dfd));
            text(first, request.name(off!(uring_open_name)));
            let [how_flags, mode]: [u64; 2] = request.field(off!(uring_open_how));
            core::ptr::write_volatile(args.add(2), how_flags);
            core::ptr::write_volatile(args.add(3), mode);
            flags(4, off!(uring_open_slot));
        }
        UNLINKAT => {
            directory(0, off!(uring_unlink_dfd));
            text(first, request.name(off!(uring_unlink_name)));
            flags(2, off!(uring_unlink_flags));
        }
        MKDIRAT => {
            directory(0, off!(uring_mkdir_dfd));
            text(first, request.name(off!(uring_mkdir_name)));
            core::ptr::write_volatile(args.add(2), request.field::<u16>(off!(uring_mkdir_mode)) as u64);
        }
        RENAMEAT => {
            directory(0, off!(uring_rename_old_dfd));
            text(first, request.name(off!(uring_rename_old)));
            directory(2, off!(uring_rename_new_dfd));
            text(second, request.name(off!(uring_rename_new)));
            flags(4, off!(uring_rename_flags));
        }
        LINKAT => {
            directory(0, off!(uring_link_old_dfd));
            text(first, request.name(off!(uring_link_old)));
            directory(2, off!(uring_link_new_dfd));
            text(second, request.name(off!(uring_link_new)));
            flags(4, off!(uring_link_flags));
        }
        SYMLINKAT => {
            text(first, request.name(off!(uring_link_old)));
            directory(1, off!(uring_link_new_dfd));
            text(second, request.name(off!(uring_link_new)));
        }
        CONNECT => {
            let from: u64 = request.field(off!(uring_connect_addr));
            let bytes = clamped::<ADDRESS_BYTES>(request.field::<u32>(off!(uring_connect_len)) as u64);
            if bpf_probe_read_user(first.cast(), bytes as u32, from as *const _) == 0 {
                (*asked).address_bytes = bytes as u32;
            }
        }
        _ => {}
    }
}

#[inline(always)]
unsafe fn text(to: *mut u8, from: *const u8) {
    if bpf_probe_read_kernel_str(to.cast(), TEXT_BYTES_MAX, from.cast()) <= 0 {
        core::ptr::write_volatile(to, 0);
    }
}
