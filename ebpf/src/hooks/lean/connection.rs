//! A TCP connection ended. As `hooks/connection.rs`, by loads alone.
//!
//! # Whose it was
//! Its last state change mostly happens in an interrupt, where the current task is any. So the owner
//! is noted where a process is at work for sure: when it sends its SYN, else when it closes.
//! Of a connection that the far end resets before either, nobody knows the owner, and the record
//! says so. A connection that never stood has no end: connect(2) told how it failed.

use crate::connections::{self, Connection};
use crate::{BULK, Reads};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::BtfTracePointContext;
use core::mem::MaybeUninit;
use hostward_abi::record::{ConnectionRecord, SocketFacts, connection_bit, header_flag, kind};
use hostward_ebpf::kernel::socket::{self, Sock};
use hostward_ebpf::kernel::{task, tcp};
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

/// By thread: connects that are under way.
#[map]
static BEGUN: LruHashMap<u32, SocketFacts> = LruHashMap::with_max_entries(1024, 0);

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`, include/trace/events/sock.h;
/// since 4.16.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn connection(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the verifier checks every access; arguments are as the prototype says.
    unsafe {
        let sock = Sock::from_argument(ctx.arg(0));
        let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
        if sock.protocol::<Reads>() != IPPROTO_TCP {
            return 0;
        }
        match new {
            SYN_SENT => {
                begins(sock);
                connections::note::<Reads>(sock, connection_bit::CLIENT);
            }
            ESTABLISHED => connections::stands(sock, old == SYN_SENT),
            FIN_WAIT1 | LAST_ACK => connections::closes::<Reads>(sock),
            CLOSE => {
                let known = connections::find(sock);
                if !matches!(old, SYN_SENT | SYN_RECV | CLOSE | LISTEN | NEW_SYN_RECV) {
                    let closes = (old == ESTABLISHED || old == CLOSE_WAIT) && tcp::is_shut::<Reads>(sock);
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

/// The socket that the current thread's connect is about, which has its far end by now.
#[inline(always)]
unsafe fn begins(sock: Sock) {
    let mut value = MaybeUninit::<SocketFacts>::uninit();
    let facts = value.as_mut_ptr();
    socket::clear(facts);
    sock.fill::<Reads>(SOCK_STREAM, facts);
    let _ = BEGUN.insert(thread(), value.assume_init_ref(), 0);
}

#[inline(always)]
fn thread() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// What the current thread's connect is about.
#[inline(always)]
pub fn begun() -> Option<*const SocketFacts> {
    BEGUN.get_ptr(thread())
}

/// It is told.
#[inline(always)]
pub fn forget() {
    let _ = BEGUN.remove(thread());
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
        None => closes && agent::is_current::<Reads>(task::current),
    };
    if is_agents {
        return;
    }
    let Some(ticket) = out::attempt(kind::CONNECTION_END) else {
        return;
    };
    let Some(mut entry) = BULK.reserve::<ConnectionRecord>(0) else {
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
        record::owner::<Reads>(header, task::current());
        bits |= connection_bit::OWNER;
    }
    record::stamp(header, kind::CONNECTION_END, ticket.seq);
    (*header).flags |= header_flag::LEAN;
    (*header).len = size_of::<ConnectionRecord>() as u32;
    let facts = &raw mut (*body).socket;
    socket::clear(facts);
    sock.fill::<Reads>(SOCK_STREAM, facts);
    // The port is given back before the state changes.
    (*facts).local_port = tcp::typed_port::<Reads>(sock).unwrap_or((*facts).local_port);
    (*body).sent_bytes = 0;
    (*body).received_bytes = 0;
    if let Some((sent, received)) = tcp::typed_bytes::<Reads>(sock) {
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
