//! Object `net`: what sockets do, from hooks that cost other system calls nothing.
#![no_std]
#![no_main]

use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;

#[path = "../hooks/alone.rs"]
mod alone;
#[path = "../hooks/connection.rs"]
mod connection;
#[path = "../connections.rs"]
mod connections;
#[path = "../hooks/dns.rs"]
mod dns;
#[path = "../hooks/udp.rs"]
mod udp;

/// Sized by the agent.
#[map]
static NETWORK: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
