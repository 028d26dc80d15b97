//! A TCP connection ended.
//!
//! # Whose it was
//! Its last state change mostly happens in an interrupt, where the current task is any. So the owner
//! is noted where a process is at work for sure: when it sends its SYN, else when it closes.
//! Of a connection that the far end resets before either, nobody knows the owner, and the record
//! says so. A connection that never stood has no end: connect(2) told how it failed.

use crate::NETWORK;
use crate::connections::{self, Connection};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use hostward_abi::record::{ConnectionRecord, connection_bit, kind};
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
            SYN_SENT => connections::note::<Current>(sock, connection_bit::CLIENT),
            ESTABLISHED => connections::stands(sock, old == SYN_SENT),
            FIN_WAIT1 | LAST_ACK => connections::closes::<Current>(sock),
            CLOSE => {
                let known = connections::find(sock);
                if !matches!(old, SYN_SENT | SYN_RECV | CLOSE | LISTEN | NEW_SYN_RECV) {
                    let closes = (old == ESTABLISHED || old == CLOSE_WAIT) && tcp::is_shut::<Typed>(sock);
                    ended(sock, known, closes);
                }
                if known.is_some() {
                    connections::forget(sock);
                }
            }
            _ => {}
        }
    }
    0
}

/// `closes`: by the current task, just now.
#[inline(always)]
unsafe fn ended(sock: Sock, known: Option<*mut Connection>, closes: bool) {
    let (mut bits, mut since_boot_ns, mut owner) = (0, 0, None);
    if let Some(known) = known {
        bits = (*known).bits as u32;
        since_boot_ns = (*known).since_boot_ns;
        if bits & connection_bit::OWNER != 0 {
            owner = Some(&raw const (*known).owner);
        }
    }
    let is_agents = match owner {
        Some(owner) => agent::is((*owner).pid, (*owner).start_boot_ns),
        None => closes && agent::is_current::<Current>(task::current),
    };
    if is_agents {
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
    match owner {
        Some(owner) => record::copy_header(owner, header),
        None => record::clear_header(header),
    }
    if closes && owner.is_none() {
        record::owner::<Current>(header, task::current());
        bits |= connection_bit::OWNER;
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
    (*body).since_boot_ns = since_boot_ns;
    (*body).bits = bits;
    (*body).reserved = 0;
    entry.submit(0);
    ticket.settle(true);
}
