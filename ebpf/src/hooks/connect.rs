//! A connect(2) returned.
//!
//! Addresses come from the socket when the call succeeded or is under way: that is where packets
//! go. Of a refused call they come from the caller's memory, where another thread can have changed
//! them since. A unix name always comes from there.

use crate::BULK;
use crate::exit::{self, Exit};
use crate::ignore;
use crate::sample;
use crate::uring::Asked;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::{fexit, map, tracepoint};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{FExitContext, TracePointContext};
use core::mem::MaybeUninit;
use hostward_abi::maps::{PORT_WORDS, sampled_class};
use hostward_abi::record::{ConnectBody, header_flag, kind};
use hostward_ebpf::kernel::file::File;
use hostward_ebpf::kernel::socket::{AF_INET, AF_INET6, AF_UNIX, UNIX_NAME_BYTES};
use hostward_ebpf::kernel::task;
use hostward_ebpf::kernel::{Current, Probe, copy, regs, socket};
use hostward_ebpf::mem::{Slot, claim, masked, release};
use hostward_ebpf::{agent, get, out, record};

const EINPROGRESS: i64 = -115;

/// One entry: ports of the far end whose connects are wanted, written by the agent.
#[map]
static CONNECT_PORTS: Array<[u64; PORT_WORDS]> = Array::with_max_entries(1, 0);

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

/// `int __sys_connect(int fd, struct sockaddr *uservaddr, int addrlen)`, net/socket.c, from 5.10 to 7.2: what both ways
/// come by that i386 has, of which socketcall(2) passes the arguments in memory. Other calls are told by their own function.
#[fexit]
pub fn connect_ia32(ctx: FExitContext) -> i32 {
    // SAFETY: the context is of that function's return: the arguments, then the result.
    unsafe {
        let context = ctx.as_ptr().cast::<u64>();
        let word = |at: usize| core::ptr::read_volatile(context.add(at));
        if task::current().in_32_bit_call::<Current>() {
            told(word(0) as i32, word(1), word(2) as u32 as u64, word(3) as i32 as i64, header_flag::FEXIT);
        }
    }
    0
}

#[inline(always)]
unsafe fn returned(exit: Exit) {
    let regs = regs::of(task::current());
    let (fd, address) = (regs.argument::<0>() as i32, regs.argument::<1>());
    told(fd, address, regs.argument::<2>() as u32 as u64, exit.result, exit.flags);
}

#[inline(always)]
unsafe fn told(fd: i32, address: u64, bytes: u64, result: i64, flags: u32) {
    if agent::is_current::<Current>(task::current) {
        return;
    }
    let Some(slot) = claim() else {
        // Whether it is ignored is not known, so it counts as lost.
        if let Some(ticket) = out::attempt(kind::CONNECT) {
            ticket.starve();
        }
        return;
    };
    let task = task::current();
    let (header, body) = record::begin::<ConnectBody>(slot);
    collect::<false>(slot, body, task.open_file(fd as u32), fd, address, bytes, result);
    if wants_port(u16::from_be(get!((*body).socket.remote_port)))
        && is_wanted(slot, body)
        && !is_ignored(slot, body)
        && !sample::left_out(sampled_class::CONNECT, kind::CONNECT_SAMPLED)
        && let Some(ticket) = out::attempt(kind::CONNECT)
    {
        record::header::<Current>(header, task, kind::CONNECT, ticket.seq);
        (*header).flags |= flags;
        ticket.output(&BULK, slot);
    }
    release(slot);
}

/// Some rule may match a connect to this port; 0 stands for all that has none.
#[inline(always)]
unsafe fn wants_port(port: u16) -> bool {
    let Some(ports) = CONNECT_PORTS.get(0) else {
        return true;
    };
    let words = core::ptr::from_ref(ports).cast::<u64>();
    let word = get!(*words.add(masked::<{ PORT_WORDS as u64 - 1 }>((port >> 6) as u64) as usize));
    word >> (port & 63) & 1 != 0
}

/// Some rule may match: the far end is judged as it is told.
#[inline(always)]
unsafe fn is_wanted(slot: *mut Slot, body: *mut ConnectBody) -> bool {
    let facts = &raw const (*body).socket;
    let (asked, had) = (get!((*body).family), get!((*facts).family));
    let result = get!((*body).result);
    let went_out = result == 0 || result == EINPROGRESS;
    let family = if went_out && (had == AF_INET || had == AF_INET6) { had } else { asked };
    let known = family == AF_INET || family == AF_INET6;
    ignore::is_wanted_connect(slot, kind::CONNECT, known.then_some((family == AF_INET, facts)))
}

/// What the caller's memory alone tells, of a refused call, is not what an event is left out for.
#[inline(always)]
unsafe fn is_ignored(slot: *mut Slot, body: *mut ConnectBody) -> bool {
    let left = ignore::by_task(slot, kind::CONNECT);
    if left == 0 {
        return false;
    }
    let (result, facts) = (get!((*body).result), &raw const (*body).socket);
    let family = get!((*facts).family);
    let known = (result == 0 || result == EINPROGRESS) && (family == AF_INET || family == AF_INET6);
    ignore::by_address(slot, left, known.then_some((family == AF_INET, facts)))
}

/// The same was done through io_uring, which has sockets without a descriptor as well: none is told.
///
/// # Safety
/// `asked` is a map's value, `file` a file or null.
#[inline(always)]
pub unsafe fn through_uring(asked: *const Asked, result: i64, file: File) {
    if sample::left_out(sampled_class::CONNECT, kind::CONNECT_SAMPLED) {
        return;
    }
    let Some(ticket) = out::attempt(kind::CONNECT | kind::URING) else {
        return;
    };
    let Some(slot) = claim() else {
        ticket.starve();
        return;
    };
    let (header, body) = record::begin::<ConnectBody>(slot);
    record::header::<Current>(header, task::current(), kind::CONNECT, ticket.seq);
    (*header).flags |= header_flag::URING;
    let (address, bytes) = ((&raw const (*asked).first) as u64, get!((*asked).address_bytes) as u64);
    collect::<true>(slot, body, file, -1, address, bytes, result);
    ticket.output(&BULK, slot);
    release(slot);
}

/// Reads an address, in a program's memory or as the kernel has copied it.
#[inline(always)]
unsafe fn read<const COPIED: bool>(to: *mut u8, bytes: u32, from: u64) {
    if COPIED {
        copy(to, bytes, from as *const u8);
    } else {
        bpf_probe_read_user(to.cast(), bytes, from as *const _);
    }
}

#[inline(always)]
unsafe fn value<const COPIED: bool, T: Copy>(from: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    read::<COPIED>(value.as_mut_ptr().cast(), size_of::<T>() as u32, from);
    // The helpers fill the buffer with zeros when they fail.
    value.assume_init()
}

#[inline(always)]
unsafe fn collect<const COPIED: bool>(
    slot: *mut Slot,
    body: *mut ConnectBody,
    file: File,
    fd: i32,
    address: u64,
    address_bytes: u64,
    result: i64,
) {
    let family: u16 = if address_bytes >= 2 { value::<COPIED, _>(address) } else { 0 };

    (*body).result = result;
    (*body).fd = fd;
    (*body).family = family;
    (*body).reserved = 0;
    (*body).text_bytes = [0; 4];
    let facts = &raw mut (*body).socket;
    socket::clear(facts);

    let went_out = result == 0 || result == EINPROGRESS;
    let mut from_socket = false;
    if let Some((socket_type, sock)) = socket::behind(file) {
        sock.fill::<Probe>(socket_type, facts);
        let socket_family = (*facts).family;
        from_socket = went_out && (socket_family == AF_INET || socket_family == AF_INET6);
        append_unix::<COPIED>(slot, body, family, address, address_bytes);
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
            (*facts).remote_port = value::<COPIED, _>(address.wrapping_add(2));
            let at = address.wrapping_add(if family == AF_INET { 4 } else { 8 });
            if family == AF_INET {
                read::<COPIED>(remote.cast(), 4, at);
            } else {
                read::<COPIED>(remote.cast(), 16, at);
            }
        }
    }
}

#[inline(always)]
unsafe fn append_unix<const COPIED: bool>(
    slot: *mut Slot,
    body: *mut ConnectBody,
    family: u16,
    address: u64,
    address_bytes: u64,
) {
    if family == AF_UNIX && address_bytes > 2 {
        let (from, bytes) = (address.wrapping_add(2), address_bytes - 2);
        (*body).text_bytes[0] = if COPIED {
            record::append_kernel::<UNIX_NAME_BYTES>(slot, from as *const u8, bytes)
        } else {
            record::append_user::<UNIX_NAME_BYTES>(slot, from, bytes)
        };
    }
}
