//! `struct tcp_sock`, which begins with its `struct sock`.

use super::socket::Sock;
use super::{Access, Probe, Typed};
use crate::off;
use hostward_abi::offsets::ABSENT;

/// `RCV_SHUTDOWN | SEND_SHUTDOWN`, include/net/sock.h.
const SHUTDOWN_BOTH: u8 = 3;

/// Payload that was sent and received; none where the kernel does not count it.
///
/// # Safety
/// `sock` is a TCP socket, of a typed argument.
#[inline(always)]
pub unsafe fn bytes(sock: Sock) -> Option<(u64, u64)> {
    if is_counted() { Some(counted::<Probe>(sock, sock.0)) } else { None }
}

/// The same socket as one of TCP, which the kernel's types tell it is.
#[inline(always)]
unsafe fn typed(sock: Sock) -> *const u8 {
    aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock(sock.0.cast_mut().cast()) as *const u8
}

/// [`bytes`] by loads alone.
///
/// # Safety
/// `sock` is a hook's typed argument and a TCP socket.
#[inline(always)]
pub unsafe fn typed_bytes<A: Access>(sock: Sock) -> Option<(u64, u64)> {
    if !is_counted() {
        return None;
    }
    let tcp = typed(sock);
    if tcp.is_null() { None } else { Some(counted::<A>(sock, tcp)) }
}

#[inline(always)]
fn is_counted() -> bool {
    off!(tcp_bytes_sent) != ABSENT && off!(tcp_bytes_received) != ABSENT
}

/// [`bytes`] of `sock`, whose fields behind those of every socket `A` loads from `tcp`.
#[inline(always)]
unsafe fn counted<A: Access>(sock: Sock, tcp: *const u8) -> (u64, u64) {
    let mut sent: u64 = A::load(tcp, off!(tcp_bytes_sent));
    if off!(tcp_bytes_retrans) != ABSENT {
        let again: u64 = A::load(tcp, off!(tcp_bytes_retrans));
        sent = sent.wrapping_sub(again);
    }
    let mut received: u64 = A::load(tcp, off!(tcp_bytes_received));
    // The kernel counts the far end's FIN as a byte.
    if off!(sock_flags) != ABSENT && off!(sock_done) != ABSENT {
        let flags: u64 = Typed::load(sock.0, off!(sock_flags));
        received = received.wrapping_sub(flags >> (off!(sock_done) & 63) & 1);
    }
    (sent, received)
}

/// [`local_port`] by loads alone.
///
/// # Safety
/// As [`typed_bytes`].
#[inline(always)]
pub unsafe fn typed_port<A: Access>(sock: Sock) -> Option<u16> {
    let tcp = typed(sock);
    if off!(inet_sport) == ABSENT || tcp.is_null() {
        return None;
    }
    Some(u16::from_be(A::load(tcp, off!(inet_sport))))
}

/// The near port, which stays here after the socket gave it back.
///
/// # Safety
/// `sock` is an internet socket, of a typed argument.
#[inline(always)]
pub unsafe fn local_port(sock: Sock) -> u16 {
    if off!(inet_sport) == ABSENT {
        return sock.local_port::<Typed>();
    }
    u16::from_be(Probe::load(sock.0, off!(inet_sport)))
}

/// A process gave up both directions: on the way to the state CLOSE only close(2) says so before.
///
/// # Safety
/// `sock` is one that `A` may load from.
#[inline(always)]
pub unsafe fn is_shut<A: Access>(sock: Sock) -> bool {
    off!(sock_shutdown) != ABSENT && A::load::<u8>(sock.0, off!(sock_shutdown)) == SHUTDOWN_BOTH
}
