//! A TCP connection ended.
//!
//! # Whose it was
//! Its last state change mostly happens in an interrupt, where the current task is any. So the owner
//! is noted where a process is at work for sure: when it sends its SYN, else when it closes.
//! Of a connection that the far end resets before either, nobody knows the owner, and the record
//! says so. A connection that never stood has no end: connect(2) told how it failed.

use crate::NETWORK;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::BtfTracePointContext;
use core::mem::MaybeUninit;
use hostward_abi::record::{ConnectionRecord, Header, connection_bit, kind};
use hostward_ebpf::kernel::socket::{self, Sock};
use hostward_ebpf::kernel::{Current, Typed, task, tcp};
use hostward_ebpf::{agent, out, record};

const IPPROTO_TCP: u16 = 6;
const SOCK_STREAM: u16 = 1;
// include/net/tcp_states.h
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const FIN_WAIT1: i32 = 4;
const CLOSE: i32 = 7;
const CLOSE_WAIT: i32 = 8;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;
const NEW_SYN_RECV: i32 = 12;

/// What is known of a connection that lives.
#[repr(C)]
struct Connection {
    /// Whose it is, as a record's front.
    owner: Header,
    since_boot_ns: u64,
    bits: u64,
}

/// By the socket's address. One that had to make room is told at its end as one of unknown owner and age.
#[map]
static CONNECTIONS: LruHashMap<u64, Connection> = LruHashMap::with_max_entries(32_768, 0);

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`, include/trace/events/sock.h;
/// since 4.16.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn connection(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the verifier checks every access; arguments are as the prototype says.
    unsafe {
        let sock = Sock::from_argument(ctx.arg(0));
        let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
        if sock.protocol::<Typed>() != IPPROTO_TCP {
            return 0;
        }
        match new {
            SYN_SENT => note(sock, connection_bit::CLIENT),
            ESTABLISHED => stands(sock),
            FIN_WAIT1 | LAST_ACK => closes(sock),
            CLOSE => {
                if (old == ESTABLISHED || old == CLOSE_WAIT) && tcp::is_shut::<Typed>(sock) {
                    closes(sock);
                }
                if !matches!(old, SYN_SENT | SYN_RECV | CLOSE | LISTEN | NEW_SYN_RECV) {
                    ended(sock);
                }
                let _ = CONNECTIONS.remove(sock.key());
            }
            _ => {}
        }
    }
    0
}

/// The current task is the owner.
#[inline(always)]
unsafe fn note(sock: Sock, bits: u32) {
    let mut value = MaybeUninit::<Connection>::uninit();
    let noted = value.as_mut_ptr();
    record::header::<Current>(&raw mut (*noted).owner, task::current(), kind::CONNECTION_END, 0);
    (*noted).since_boot_ns = 0;
    (*noted).bits = (bits | connection_bit::OWNER) as u64;
    let _ = CONNECTIONS.insert(sock.key(), value.assume_init_ref(), 0);
}

#[inline(always)]
unsafe fn stands(sock: Sock) {
    if let Some(known) = CONNECTIONS.get_ptr_mut(sock.key()) {
        (*known).since_boot_ns = bpf_ktime_get_boot_ns();
        (*known).bits |= connection_bit::SINCE as u64;
        return;
    }
    // Made in an interrupt, before any process accepts it.
    let mut value = MaybeUninit::<Connection>::uninit();
    let noted = value.as_mut_ptr();
    record::clear_header(&raw mut (*noted).owner);
    (*noted).since_boot_ns = bpf_ktime_get_boot_ns();
    (*noted).bits = (connection_bit::SINCE | connection_bit::SERVER) as u64;
    let _ = CONNECTIONS.insert(sock.key(), value.assume_init_ref(), 0);
}

/// The current task closes or shuts it down.
#[inline(always)]
unsafe fn closes(sock: Sock) {
    let Some(known) = CONNECTIONS.get_ptr_mut(sock.key()) else {
        note(sock, 0);
        return;
    };
    if (*known).bits & connection_bit::OWNER as u64 == 0 {
        record::header::<Current>(&raw mut (*known).owner, task::current(), kind::CONNECTION_END, 0);
        (*known).bits |= connection_bit::OWNER as u64;
    }
}

#[inline(always)]
unsafe fn ended(sock: Sock) {
    let known = CONNECTIONS.get_ptr(sock.key());
    if let Some(known) = known
        && agent::is((*known).owner.pid, (*known).owner.start_boot_ns)
    {
        return;
    }
    let Some(ticket) = out::attempt(kind::CONNECTION_END) else {
        return;
    };
    let Some(mut entry) = NETWORK.reserve::<ConnectionRecord>(0) else {
        ticket.settle(false);
        return;
    };
    let record = entry.as_mut_ptr();
    let (header, body) = (&raw mut (*record).header, &raw mut (*record).body);
    let mut bits = 0;
    (*body).since_boot_ns = 0;
    match known {
        Some(known) => {
            record::copy_header(&raw const (*known).owner, header);
            (*body).since_boot_ns = (*known).since_boot_ns;
            bits = (*known).bits as u32;
        }
        None => record::clear_header(header),
    }
    record::stamp(header, kind::CONNECTION_END, ticket.seq);
    (*header).len = size_of::<ConnectionRecord>() as u32;
    let facts = &raw mut (*body).socket;
    socket::clear(facts);
    sock.fill::<Typed>(SOCK_STREAM, facts);
    // The port is given back before the state changes.
    (*facts).local_port = tcp::local_port(sock);
    (*body).sent_bytes = 0;
    (*body).received_bytes = 0;
    if let Some((sent, received)) = tcp::bytes(sock) {
        (*body).sent_bytes = sent;
        (*body).received_bytes = received;
        bits |= connection_bit::BYTES;
    }
    (*body).bits = bits;
    (*body).reserved = 0;
    entry.submit(0);
    ticket.settle(true);
}
