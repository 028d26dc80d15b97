//! `struct tcp_sock`, which begins with its `struct sock`.

use super::socket::Sock;
use super::{Access, Probe};
use crate::off;
use hostward_abi::offsets::ABSENT;

/// `RCV_SHUTDOWN | SEND_SHUTDOWN`, include/net/sock.h.
const SHUTDOWN_BOTH: u8 = 3;

/// Payload that was sent and received; none where the kernel does not count it.
///
/// # Safety
/// `sock` is a TCP socket.
#[inline(always)]
pub unsafe fn bytes(sock: Sock) -> Option<(u64, u64)> {
    if off!(tcp_bytes_sent) == ABSENT || off!(tcp_bytes_received) == ABSENT {
        return None;
    }
    let mut sent: u64 = Probe::load(sock.0, off!(tcp_bytes_sent));
    if off!(tcp_bytes_retrans) != ABSENT {
        let again: u64 = Probe::load(sock.0, off!(tcp_bytes_retrans));
        sent = sent.wrapping_sub(again);
    }
    let mut received: u64 = Probe::load(sock.0, off!(tcp_bytes_received));
    // The kernel counts the far end's FIN as a byte.
    if off!(sock_flags) != ABSENT && off!(sock_done) != ABSENT {
        let flags: u64 = Probe::load(sock.0, off!(sock_flags));
        received = received.wrapping_sub(flags >> (off!(sock_done) & 63) & 1);
    }
    Some((sent, received))
}

/// The near port, which stays here after the socket gave it back.
///
/// # Safety
/// `sock` is an internet socket.
#[inline(always)]
pub unsafe fn local_port(sock: Sock) -> u16 {
    if off!(inet_sport) == ABSENT {
        return sock.local_port();
    }
    u16::from_be(Probe::load(sock.0, off!(inet_sport)))
}

/// A process gave up both directions: on the way to the state CLOSE only close(2) says so before.
///
/// # Safety
/// `sock` is a socket.
#[inline(always)]
pub unsafe fn is_shut(sock: Sock) -> bool {
    off!(sock_shutdown) != ABSENT && Probe::load::<u8>(sock.0, off!(sock_shutdown)) == SHUTDOWN_BOTH
}
