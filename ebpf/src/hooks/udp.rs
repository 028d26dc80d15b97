//! A process sends UDP to an address for the first time.
//!
//! These hooks see sends that name their address; a socket that was connected before is the connect's event. Each is
//! asked for its verdict, which is always 1: go on.

use crate::{NETWORK, alone};
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{cgroup_sock_addr, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::SockAddrContext;
use hostward_abi::record::{UdpRecord, kind};
use hostward_ebpf::kernel::socket::{self, AF_INET, AF_INET6};
use hostward_ebpf::kernel::{Probe, task};
use hostward_ebpf::{agent, record};

const GO_ON: i32 = 1;
const SOCK_DGRAM: u16 = 2;
const BPF_NOEXIST: u64 = 1;

/// A process and whom it sends to.
#[repr(C)]
struct Peer {
    start_boot_ns: u64,
    pid: u32,
    /// In network byte order, as the hook has it; the family in the upper half.
    port: u32,
    address: [u32; 4],
}

/// Who sent where. A pair that had to make room is told again at its next send.
#[map]
static PEERS: LruHashMap<Peer, u64> = LruHashMap::with_max_entries(16_384, 0);

/// `BPF_CGROUP_UDP4_SENDMSG`, include/net/udp.h; since 4.18. Also of an IPv6 socket that sends to an IPv4 address.
#[cgroup_sock_addr(sendmsg4)]
pub fn udp_send4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the verifier checks every access to the context.
    unsafe {
        let sent = ctx.sock_addr;
        let address = [core::ptr::read_volatile(&raw const (*sent).user_ip4), 0, 0, 0];
        sends(sent, AF_INET, address);
    }
    GO_ON
}

/// `BPF_CGROUP_UDP6_SENDMSG`; since 4.18.
#[cgroup_sock_addr(sendmsg6)]
pub fn udp_send6(ctx: SockAddrContext) -> i32 {
    // SAFETY: the verifier checks every access to the context.
    unsafe {
        let sent = ctx.sock_addr;
        let part = |at: usize| core::ptr::read_volatile((&raw const (*sent).user_ip6).cast::<u32>().add(at));
        sends(sent, AF_INET6, [part(0), part(1), part(2), part(3)]);
    }
    GO_ON
}

#[inline(always)]
unsafe fn sends(sent: *mut bpf_sock_addr, family: u16, address: [u32; 4]) {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let task = task::probed();
    let start_boot_ns = task.group_leader::<Probe>().start::<Probe>();
    if agent::is(pid, start_boot_ns) {
        return;
    }
    let port = core::ptr::read_volatile(&raw const (*sent).user_port) & 0xffff;
    let peer = Peer { start_boot_ns, pid, port: port | (family as u32) << 16, address };
    // The lookup is what keeps a pair that is used from making room.
    if PEERS.get_ptr(&peer).is_some() || PEERS.insert(&peer, &0, BPF_NOEXIST).is_err() {
        return;
    }
    let Some(alone) = alone::attempt(kind::UDP_SEND) else {
        let _ = PEERS.remove(&peer);
        return;
    };
    let Some(mut entry) = NETWORK.reserve::<UdpRecord>(0) else {
        // The next send is told in its place.
        let _ = PEERS.remove(&peer);
        alone.settle(false);
        return;
    };
    let record = entry.as_mut_ptr();
    let header = &raw mut (*record).header;
    record::header::<Probe>(header, task, kind::UDP_SEND, alone.ticket.seq);
    (*header).len = size_of::<UdpRecord>() as u32;
    let facts = &raw mut (*record).body.socket;
    socket::clear(facts);
    (*facts).family = family;
    (*facts).socket_type = SOCK_DGRAM;
    (*facts).protocol = core::ptr::read_volatile(&raw const (*sent).protocol) as u16;
    (*facts).remote_port = port as u16;
    let remote = (&raw mut (*facts).remote).cast::<u32>();
    core::ptr::write_volatile(remote, address[0]);
    core::ptr::write_volatile(remote.add(1), address[1]);
    core::ptr::write_volatile(remote.add(2), address[2]);
    core::ptr::write_volatile(remote.add(3), address[3]);
    let sock = core::ptr::read_volatile((&raw const (*sent).__bindgen_anon_1.sk));
    if !sock.is_null() {
        (*facts).local_port = core::ptr::read_volatile(&raw const (*sock).src_port) as u16;
    }
    entry.submit(0);
    alone.settle(true);
}
