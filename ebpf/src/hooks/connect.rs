//! A connect(2) returned.
//!
//! Addresses come from the socket when the call succeeded or is under way: that is where packets
//! go. Of a refused call they come from the caller's memory, where another thread can have changed
//! them since. A unix name always comes from there.

use crate::BULK;
use crate::exit::{self, Exit};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use core::mem::MaybeUninit;
use hostward_abi::record::{ConnectBody, kind};
use hostward_ebpf::kernel::socket::{AF_INET, AF_INET6, AF_UNIX, UNIX_NAME_BYTES};
use hostward_ebpf::kernel::task::{self, Task};
use hostward_ebpf::kernel::{Current, regs, socket};
use hostward_ebpf::mem::{Slot, claim, release};
use hostward_ebpf::{out, record, setting};

const EINPROGRESS: i64 = -115;

/// Attached to the exit of connect.
#[tracepoint]
pub fn connect(ctx: TracePointContext) -> u32 {
    // SAFETY: the context is of a system call's exit.
    unsafe { returned(exit::tracepoint(&ctx)) }
    0
}

/// The same at the return of its function. It is verified once and attached nowhere: what is attached calls it.
#[fexit]
pub fn connect_fexit(ctx: FExitContext) -> i32 {
    // SAFETY: the context is of a system call's function.
    unsafe { returned(exit::function(&ctx)) }
    0
}

#[inline(always)]
unsafe fn returned(exit: Exit) {
    if (bpf_get_current_pid_tgid() >> 32) as u32 == setting!(agent_tgid) {
        return;
    }
    let Some(ticket) = out::attempt(kind::CONNECT) else {
        return;
    };
    let Some(slot) = claim() else {
        ticket.starve();
        return;
    };
    let task = task::current();
    let (header, body) = record::begin::<ConnectBody>(slot);
    record::header::<Current>(header, task, kind::CONNECT, ticket.seq);
    (*header).flags |= exit.flags;
    collect(slot, body, task, exit.result);
    ticket.output(&BULK, slot);
    release(slot);
}

#[inline(always)]
unsafe fn user<T: Copy>(from: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, from as *const _);
    // The helper fills the buffer with zeros when it fails.
    value.assume_init()
}

#[inline(always)]
unsafe fn collect(slot: *mut Slot, body: *mut ConnectBody, task: Task, result: i64) {
    let regs = regs::of(task);
    let fd = regs.argument::<0>() as u32;
    let address = regs.argument::<1>();
    let address_bytes = regs.argument::<2>() as u32 as u64;
    let family: u16 = if address_bytes >= 2 { user(address) } else { 0 };

    (*body).result = result;
    (*body).fd = fd as i32;
    (*body).family = family;
    (*body).reserved = 0;
    (*body).text_bytes = [0; 4];
    let facts = &raw mut (*body).socket;
    socket::clear(facts);

    let went_out = result == 0 || result == EINPROGRESS;
    let mut from_socket = false;
    if let Some((socket_type, sock)) = socket::behind(task.open_file(fd)) {
        sock.fill(socket_type, facts);
        let socket_family = (*facts).family;
        from_socket = went_out && (socket_family == AF_INET || socket_family == AF_INET6);
        append_unix(slot, body, family, address, address_bytes);
        if socket_family == AF_UNIX
            && let Some((name, bytes)) = sock.unix_name()
        {
            (*body).text_bytes[1] = record::append_kernel::<UNIX_NAME_BYTES>(slot, name, bytes as u64);
        }
    }
    if !from_socket {
        (*facts).remote_port = 0;
        let remote = (&raw mut (*facts).remote).cast::<u32>();
        core::ptr::write_volatile(remote, 0);
        core::ptr::write_volatile(remote.add(1), 0);
        core::ptr::write_volatile(remote.add(2), 0);
        core::ptr::write_volatile(remote.add(3), 0);
        if family == AF_INET || family == AF_INET6 {
            (*facts).remote_port = user(address.wrapping_add(2));
            let at = address.wrapping_add(if family == AF_INET { 4 } else { 8 });
            if family == AF_INET {
                bpf_probe_read_user(remote.cast(), 4, at as *const _);
            } else {
                bpf_probe_read_user(remote.cast(), 16, at as *const _);
            }
        }
    }
}

#[inline(always)]
unsafe fn append_unix(
    slot: *mut Slot,
    body: *mut ConnectBody,
    family: u16,
    address: u64,
    address_bytes: u64,
) {
    if family == AF_UNIX && address_bytes > 2 {
        let (from, bytes) = (address.wrapping_add(2), address_bytes - 2);
        (*body).text_bytes[0] = record::append_user::<UNIX_NAME_BYTES>(slot, from, bytes);
    }
}
