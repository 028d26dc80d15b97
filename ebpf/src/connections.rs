//! What is known of TCP connections that live. Part of the objects that tell their ends, which alone have these maps.
//!
//! A kernel's hash map takes a lock and a list's to take an entry and to give it back, which were half of what the end of
//! a connection cost. So most have a place of their own that the socket's address tells, and only those whose place is
//! taken share such a map.
//!
//! # Taking a place
//! The claim is as the slot pool's ([`hostward_ebpf::mem`]). Two sockets that take one at once may both be sent on to the map,
//! but never both have it. Only the holder writes to a place, and nothing but that it is free when it gives it back, so
//! that no late write of its own meets the next one's.
//!
//! # What can go wrong
//! - *An end is missed*, as while the program was not attached: the place stays taken until a socket has the same address
//!   again, and others go to the map. A socket that begins never has what was left by another.
//! - *The map is full*: the one that was not looked at for longest makes room, and is told at its end as one of unknown owner
//!   and age.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};
use hostward_abi::record::{Header, connection_bit};
use hostward_ebpf::kernel::socket::Sock;
use hostward_ebpf::kernel::{Access, task};
use hostward_ebpf::mem::add;
use hostward_ebpf::{get, record, set};

/// What is known of one.
#[repr(C)]
pub struct Connection {
    /// Whose it is, as a record's front.
    pub owner: Header,
    pub since_boot_ns: u64,
    pub bits: u64,
}

#[repr(C)]
struct Place {
    claim: u64,
    /// The socket whose it is; 0: nobody's.
    socket: u64,
    connection: Connection,
}

const PLACE_BITS: u32 = 13;

#[map]
static PLACES: Array<Place> = Array::with_max_entries(1 << PLACE_BITS, 0);

/// By the socket's address: those without a place.
#[map]
static CONNECTIONS: LruHashMap<u64, Connection> = LruHashMap::with_max_entries(32_768, 0);

#[inline(always)]
unsafe fn place(sock: Sock) -> Option<*mut Place> {
    /// 2^64 by the golden ratio: addresses that are near each other get places far apart.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let at = sock.distance_from(PLACES.get_ptr(0)?.cast());
    PLACES.get_ptr_mut((at.wrapping_mul(SPREAD) >> (64 - PLACE_BITS)) as u32)
}

/// What is known of this one.
///
/// # Safety
/// The socket's state changes.
#[inline(always)]
pub unsafe fn find(sock: Sock) -> Option<*mut Connection> {
    let place = place(sock)?;
    if get!((*place).socket) == sock.key() {
        return Some(&raw mut (*place).connection);
    }
    CONNECTIONS.get_ptr_mut(sock.key())
}

/// For a connection of which nothing is known yet.
///
/// # Safety
/// As [`find`].
#[inline(always)]
unsafe fn begin(sock: Sock) -> Option<*mut Connection> {
    let place = place(sock)?;
    if get!((*place).socket) == sock.key() || take(place, sock) {
        let connection = &raw mut (*place).connection;
        clear(connection);
        return Some(connection);
    }
    let mut value = core::mem::MaybeUninit::<Connection>::uninit();
    clear(value.as_mut_ptr());
    let _ = CONNECTIONS.insert(sock.key(), value.assume_init_ref(), 0);
    CONNECTIONS.get_ptr_mut(sock.key())
}

#[inline(always)]
unsafe fn take(place: *mut Place, sock: Sock) -> bool {
    if get!((*place).socket) != 0 {
        return false;
    }
    add(&raw mut (*place).claim, 1);
    // Looked at again, as a processor may show the end of a claim before what was written under it.
    if get!((*place).claim) == 1 && get!((*place).socket) == 0 {
        set!((*place).socket, sock.key());
        return true;
    }
    add(&raw mut (*place).claim, -1);
    false
}

#[inline(always)]
unsafe fn clear(connection: *mut Connection) {
    record::clear_header(&raw mut (*connection).owner);
    (*connection).since_boot_ns = 0;
    (*connection).bits = 0;
}

/// The current task is the owner.
///
/// # Safety
/// As [`find`], by what the current task does; `A` may load from it.
#[inline(always)]
pub unsafe fn note<A: Access>(sock: Sock, bits: u32) {
    if let Some(new) = begin(sock) {
        record::owner::<A>(&raw mut (*new).owner, task::current());
        (*new).bits = (bits | connection_bit::OWNER) as u64;
    }
}

/// It stands; `called`: from here, by whom [`note`] said.
///
/// # Safety
/// As [`find`].
#[inline(always)]
pub unsafe fn stands(sock: Sock, called: bool) {
    const CALLED: u64 = (connection_bit::CLIENT | connection_bit::OWNER) as u64;
    let known = match find(sock) {
        // With its time too where programs of two agents share what they know, for a moment.
        Some(known) if called && (*known).bits & CALLED == CALLED => known,
        // Both ends called each other.
        Some(known) if (*known).bits == CALLED => known,
        // Made in an interrupt, before any process accepts it.
        _ => {
            let Some(new) = begin(sock) else {
                return;
            };
            (*new).bits = connection_bit::SERVER as u64;
            new
        }
    };
    (*known).since_boot_ns = bpf_ktime_get_boot_ns();
    (*known).bits |= connection_bit::SINCE as u64;
}

/// The current task closes or shuts it down.
///
/// # Safety
/// As [`note`].
#[inline(always)]
pub unsafe fn closes<A: Access>(sock: Sock) {
    let Some(known) = find(sock) else {
        note::<A>(sock, 0);
        return;
    };
    if (*known).bits & connection_bit::OWNER as u64 == 0 {
        record::owner::<A>(&raw mut (*known).owner, task::current());
        (*known).bits |= connection_bit::OWNER as u64;
    }
}

/// It ended.
///
/// # Safety
/// As [`find`]; what was found is not used after.
#[inline(always)]
pub unsafe fn forget(sock: Sock) {
    let Some(place) = place(sock) else {
        return;
    };
    if get!((*place).socket) == sock.key() {
        set!((*place).socket, 0);
        add(&raw mut (*place).claim, -1);
    } else {
        let _ = CONNECTIONS.remove(sock.key());
    }
}
