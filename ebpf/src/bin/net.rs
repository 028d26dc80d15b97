//! Object `net`: what sockets do, from hooks that cost other system calls nothing.
#![no_std]
#![no_main]

use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;

#[path = "../hooks/connection.rs"]
mod connection;

/// Sized by the agent.
#[map]
static NETWORK: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
