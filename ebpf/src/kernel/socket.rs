//! `struct socket`, `struct sock` and, for unix sockets, `struct unix_sock`.

use super::{Access, Probe, copy};
use crate::off;
use hostward_abi::offsets::ABSENT;
use hostward_abi::record::ConnectBody;

/// A socket's protocol half.
#[derive(Clone, Copy)]
pub struct Sock(*const u8);

/// The socket behind `file->private_data`: its SOCK_* type and its protocol half.
///
/// # Safety
/// `socket` is the private data of a socket's file.
#[inline(always)]
pub unsafe fn of(socket: *const u8) -> (u16, Sock) {
    (Probe::load(socket, off!(socket_type)), Sock(Probe::load(socket, off!(socket_sk))))
}

#[expect(clippy::missing_safety_doc, reason = "all: self is of `of`, `to` is map memory")]
impl Sock {
    #[inline(always)]
    pub unsafe fn family(self) -> u16 {
        Probe::load(self.0, off!(sock_family))
    }

    #[inline(always)]
    pub unsafe fn protocol(self) -> u16 {
        Probe::load(self.0, off!(sock_protocol))
    }

    #[inline(always)]
    pub unsafe fn local_port(self) -> u16 {
        Probe::load(self.0, off!(sock_num))
    }

    #[inline(always)]
    pub unsafe fn remote_port(self) -> u16 {
        Probe::load(self.0, off!(sock_dport))
    }

    #[inline(always)]
    unsafe fn address<const BYTES: u32>(self, to: *mut [u8; 16], offset: u32) {
        copy(to.cast(), BYTES, self.0.wrapping_add(offset as usize));
    }

    #[inline(always)]
    pub unsafe fn local_v4(self, to: *mut ConnectBody) {
        self.address::<4>(&raw mut (*to).local, off!(sock_rcv_saddr));
    }

    #[inline(always)]
    pub unsafe fn remote_v4(self, to: *mut ConnectBody) {
        self.address::<4>(&raw mut (*to).remote, off!(sock_daddr));
    }

    #[inline(always)]
    pub unsafe fn local_v6(self, to: *mut ConnectBody) {
        if off!(sock_v6_rcv_saddr) != ABSENT {
            self.address::<16>(&raw mut (*to).local, off!(sock_v6_rcv_saddr));
        }
    }

    #[inline(always)]
    pub unsafe fn remote_v6(self, to: *mut ConnectBody) {
        if off!(sock_v6_daddr) != ABSENT {
            self.address::<16>(&raw mut (*to).remote, off!(sock_v6_daddr));
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
