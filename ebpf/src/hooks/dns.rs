//! DNS over UDP as the asker sees it: datagrams to port 53 that leave, from port 53 that arrive.
//!
//! # Whose it was
//! A datagram leaves in its sender's context, mostly; it arrives in an interrupt, where the current task is any. So the
//! asker is noted by the socket's cookie when it asks. Of an answer to a socket that never asked (or asked before anyone
//! looked, or so long ago that it had to make room) nobody knows the owner, and the record says so.
//!
//! # Not here
//! Meaning: user space parses what it gets. DNS over TCP, TLS or HTTPS, and UDP behind IPv6 extension headers.

use crate::{NETWORK, alone};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skb_load_bytes};
use aya_ebpf::macros::{cgroup_skb, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::SkBuffContext;
use core::mem::MaybeUninit;
use hostward_abi::record::{DNS_ANSWER_BYTES, DNS_QUESTION_BYTES, DnsBody, DnsRecord, Header, dns_bit, kind};
use hostward_ebpf::kernel::socket::{self, AF_INET, AF_INET6};
use hostward_ebpf::kernel::{Probe, task};
use hostward_ebpf::mem::{clamped, not_zero};
use hostward_ebpf::{agent, record};

const GO_ON: i32 = 1;
const SOCK_DGRAM: u16 = 2;
const IPPROTO_UDP: u8 = 17;
// include/uapi/linux/if_ether.h, in network byte order.
const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;
/// Port 53 in network byte order.
const DNS_PORT: u16 = 53_u16.to_be();
const UDP_HEADER_BYTES: u32 = 8;

/// Who asked, as a record's front, by the socket's cookie.
#[map]
static ASKERS: LruHashMap<u64, Header> = LruHashMap::with_max_entries(4_096, 0);

#[repr(C)]
struct Question {
    front: DnsRecord,
    payload: [u8; DNS_QUESTION_BYTES],
}

#[repr(C)]
struct Answer {
    front: DnsRecord,
    payload: [u8; DNS_ANSWER_BYTES],
}

/// `BPF_CGROUP_INET_EGRESS`, net/ipv4/ip_output.c; since 4.10. The verdict is always 1: go on.
#[cgroup_skb(egress)]
pub fn dns_question(ctx: SkBuffContext) -> i32 {
    // SAFETY: the verifier checks every access to the context.
    unsafe { question(ctx.skb.skb) }
    GO_ON
}

/// `BPF_CGROUP_INET_INGRESS`, net/core/filter.c; since 4.10. The verdict is always 1: go on.
#[cgroup_skb(ingress)]
pub fn dns_answer(ctx: SkBuffContext) -> i32 {
    // SAFETY: the verifier checks every access to the context.
    unsafe { answer(ctx.skb.skb) }
    GO_ON
}

/// Where a UDP datagram's header is, and its ports: source, destination.
struct Datagram {
    family: u16,
    at: u32,
    ports: [u16; 2],
}

/// What the packet is; none for all but whole UDP.
#[inline(always)]
unsafe fn datagram(packet: *mut __sk_buff) -> Option<Datagram> {
    let protocol = core::ptr::read_volatile(&raw const (*packet).protocol);
    let (family, at, next): (u16, u32, u8) = if protocol == ETH_P_IP {
        let front: [u8; 12] = load(packet, 0)?;
        // A fragment that is not the first has no ports.
        if front[6] & 0x1f != 0 || front[7] != 0 {
            return None;
        }
        (AF_INET, (front[0] & 0xf) as u32 * 4, front[9])
    } else if protocol == ETH_P_IPV6 {
        (AF_INET6, 40, load(packet, 6)?)
    } else {
        return None;
    };
    if next != IPPROTO_UDP {
        return None;
    }
    let ports = load(packet, at)?;
    Some(Datagram { family, at, ports })
}

#[inline(always)]
unsafe fn load<T: Copy>(packet: *mut __sk_buff, at: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let failed = bpf_skb_load_bytes(packet.cast(), at, value.as_mut_ptr().cast(), size_of::<T>() as u32);
    if failed == 0 { Some(value.assume_init()) } else { None }
}

#[inline(always)]
unsafe fn question(packet: *mut __sk_buff) {
    let Some(datagram) = datagram(packet) else {
        return;
    };
    if datagram.ports[1] != DNS_PORT {
        return;
    }
    let mut owner = MaybeUninit::<Header>::uninit();
    let header = owner.as_mut_ptr();
    record::clear_header(header);
    record::owner::<Probe>(header, task::probed());
    let cookie = bpf_get_socket_cookie(packet.cast());
    // The agent's own too: its answers are known by it.
    let _ = ASKERS.insert(&cookie, owner.assume_init_ref(), 0);
    if agent::is((*header).pid, (*header).start_boot_ns) {
        return;
    }
    let Some(alone) = alone::attempt(kind::DNS_QUESTION) else {
        return;
    };
    let Some(mut entry) = NETWORK.reserve::<Question>(0) else {
        alone.settle(false);
        return;
    };
    let record = entry.as_mut_ptr();
    let to = &raw mut (*record).front.header;
    record::copy_header(header, to);
    record::stamp(to, kind::DNS_QUESTION, alone.ticket.seq);
    (*to).len = size_of::<Question>() as u32;
    let (body, payload) = (&raw mut (*record).front.body, &raw mut (*record).payload);
    (*body).bits = dns_bit::OWNER;
    ends(packet, &datagram, body, true);
    take::<{ DNS_QUESTION_BYTES as u64 }>(packet, &datagram, body, payload.cast());
    entry.submit(0);
    alone.settle(true);
}

#[inline(always)]
unsafe fn answer(packet: *mut __sk_buff) {
    let Some(datagram) = datagram(packet) else {
        return;
    };
    if datagram.ports[0] != DNS_PORT {
        return;
    }
    let cookie = bpf_get_socket_cookie(packet.cast());
    let asker = ASKERS.get_ptr(&cookie);
    if let Some(asker) = asker
        && agent::is((*asker).pid, (*asker).start_boot_ns)
    {
        return;
    }
    let Some(alone) = alone::attempt(kind::DNS_ANSWER) else {
        return;
    };
    let Some(mut entry) = NETWORK.reserve::<Answer>(0) else {
        alone.settle(false);
        return;
    };
    let record = entry.as_mut_ptr();
    let to = &raw mut (*record).front.header;
    let (body, payload) = (&raw mut (*record).front.body, &raw mut (*record).payload);
    (*body).bits = 0;
    match asker {
        Some(asker) => {
            record::copy_header(asker, to);
            (*body).bits = dns_bit::OWNER;
        }
        None => record::clear_header(to),
    }
    record::stamp(to, kind::DNS_ANSWER, alone.ticket.seq);
    (*to).len = size_of::<Answer>() as u32;
    ends(packet, &datagram, body, false);
    take::<{ DNS_ANSWER_BYTES as u64 }>(packet, &datagram, body, payload.cast());
    entry.submit(0);
    alone.settle(true);
}

/// Both ends from the packet.
#[inline(always)]
unsafe fn ends(packet: *mut __sk_buff, datagram: &Datagram, body: *mut DnsBody, leaves: bool) {
    let facts = &raw mut (*body).socket;
    socket::clear(facts);
    (*facts).family = datagram.family;
    (*facts).socket_type = SOCK_DGRAM;
    (*facts).protocol = IPPROTO_UDP as u16;
    let [source, destination] = datagram.ports;
    let (near, far) = if leaves { (source, destination) } else { (destination, source) };
    (*facts).local_port = u16::from_be(near);
    (*facts).remote_port = far;
    let (local, remote) = ((&raw mut (*facts).local).cast(), (&raw mut (*facts).remote).cast());
    let (from, to) = if leaves { (local, remote) } else { (remote, local) };
    let packet = packet.cast();
    if datagram.family == AF_INET {
        bpf_skb_load_bytes(packet, 12, from, 4);
        bpf_skb_load_bytes(packet, 16, to, 4);
    } else {
        bpf_skb_load_bytes(packet, 8, from, 16);
        bpf_skb_load_bytes(packet, 24, to, 16);
    }
}

/// Copies the payload, at most `MAX` bytes.
#[inline(always)]
unsafe fn take<const MAX: u64>(
    packet: *mut __sk_buff,
    datagram: &Datagram,
    body: *mut DnsBody,
    payload: *mut u8,
) {
    (*body).reserved = 0;
    (*body).payload_bytes = 0;
    (*body).taken_bytes = 0;
    let from = datagram.at + UDP_HEADER_BYTES;
    let packet_bytes = core::ptr::read_volatile(&raw const (*packet).len);
    if packet_bytes <= from {
        return;
    }
    let bytes = packet_bytes - from;
    (*body).payload_bytes = bytes;
    let taken = not_zero(clamped::<MAX>(bytes as u64));
    if bpf_skb_load_bytes(packet.cast(), from, payload.cast(), taken as u32) == 0 {
        (*body).taken_bytes = taken as u32;
    }
}
