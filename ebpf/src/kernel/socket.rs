//! `struct socket`, `struct sock` and, for unix sockets, `struct unix_sock`.

use super::file::File;
use super::{Access, Probe};
use crate::off;
use hostward_abi::offsets::ABSENT;
use hostward_abi::record::SocketFacts;

/// Families whose addresses are told.
pub const AF_UNIX: u16 = 1;
/// IPv4.
pub const AF_INET: u16 = 2;
/// IPv6.
pub const AF_INET6: u16 = 10;
/// `sun_path`, include/uapi/linux/un.h.
pub const UNIX_NAME_BYTES: u64 = 108;
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// Nothing known yet.
///
/// # Safety
/// `facts` is map memory.
#[inline(always)]
pub unsafe fn clear(facts: *mut SocketFacts) {
    let words = facts.cast::<u32>();
    let mut at = 0;
    while at < size_of::<SocketFacts>() / 4 {
        core::ptr::write_volatile(words.add(at), 0);
        at += 1;
    }
}

/// The socket that `file` stands for, if it does.
///
/// # Safety
/// `file` is an open file of a task, or null.
#[inline(always)]
pub unsafe fn behind(file: File) -> Option<(u16, Sock)> {
    if file.inode::<Probe>().mode::<Probe>() & S_IFMT == S_IFSOCK {
        Some(of(file.private_data()))
    } else {
        None
    }
}

/// A socket's protocol half.
#[derive(Clone, Copy)]
pub struct Sock(pub(super) *const u8);

/// The socket behind `file->private_data`: its SOCK_* type and its protocol half.
///
/// # Safety
/// `socket` is the private data of a socket's file.
#[inline(always)]
unsafe fn of(socket: *const u8) -> (u16, Sock) {
    (Probe::load(socket, off!(socket_type)), Sock(Probe::load(socket, off!(socket_sk))))
}

#[expect(clippy::missing_safety_doc, reason = "all: self is one that `A` may load from, `to` is map memory")]
impl Sock {
    /// Of a hook's argument.
    #[inline(always)]
    pub const unsafe fn from_argument(sock: *const u8) -> Self {
        Self(sock)
    }

    /// Tells sockets apart as long as they live.
    #[inline(always)]
    pub fn key(self) -> u64 {
        self.0 as u64
    }

    /// [`Self::key`] to calculate with: the verifier lets nothing be made of a pointer but the distance from another.
    #[inline(always)]
    pub unsafe fn distance_from(self, other: *const u8) -> u64 {
        let distance: *const u8;
        core::arch::asm!("{x} -= {y}", x = inout(reg) self.0 => distance, y = in(reg) other, options(pure, nomem));
        distance as u64
    }

    #[inline(always)]
    pub unsafe fn family<A: Access>(self) -> u16 {
        A::load(self.0, off!(sock_family))
    }

    #[inline(always)]
    pub unsafe fn protocol<A: Access>(self) -> u16 {
        A::load(self.0, off!(sock_protocol))
    }

    #[inline(always)]
    pub unsafe fn local_port<A: Access>(self) -> u16 {
        A::load(self.0, off!(sock_num))
    }

    #[inline(always)]
    unsafe fn state<A: Access>(self) -> u8 {
        if off!(sock_state) == ABSENT { 0 } else { A::load(self.0, off!(sock_state)) }
    }

    /// All but the name of a unix socket.
    #[inline(always)]
    pub unsafe fn fill<A: Access>(self, socket_type: u16, to: *mut SocketFacts) {
        let family = self.family::<A>();
        (*to).family = family;
        (*to).socket_type = socket_type;
        (*to).protocol = self.protocol::<A>();
        (*to).state = self.state::<A>() as u32;
        if family == AF_INET || family == AF_INET6 {
            (*to).local_port = self.local_port::<A>();
            (*to).remote_port = A::load(self.0, off!(sock_dport));
        }
        let (local, remote) = (&raw mut (*to).local, &raw mut (*to).remote);
        if family == AF_INET {
            local.cast::<u32>().write_volatile(A::load(self.0, off!(sock_rcv_saddr)));
            remote.cast::<u32>().write_volatile(A::load(self.0, off!(sock_daddr)));
        } else if family == AF_INET6 && off!(sock_v6_rcv_saddr) != ABSENT && off!(sock_v6_daddr) != ABSENT {
            local.cast::<[u32; 4]>().write_volatile(A::load(self.0, off!(sock_v6_rcv_saddr)));
            remote.cast::<[u32; 4]>().write_volatile(A::load(self.0, off!(sock_v6_daddr)));
        }
    }

    /// The name a unix socket is bound to: where its bytes are, and how many.
    #[inline(always)]
    pub unsafe fn unix_name(self) -> Option<(*const u8, u32)> {
        if off!(unix_addr) == ABSENT || off!(unix_address_name) == ABSENT {
            return None;
        }
        let address: *const u8 = Probe::load(self.0, off!(unix_addr));
        if address.is_null() {
            return None;
        }
        let len: u32 = Probe::load(address, off!(unix_address_len));
        // sun_family comes first.
        let name = address.wrapping_add(off!(unix_address_name) as usize + 2);
        if len > 2 { Some((name, len - 2)) } else { None }
    }
}
