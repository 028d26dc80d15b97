//! Object `sys`: the open family and connect, from the exit tracepoints of exactly these calls.
#![no_std]
#![no_main]

use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;

#[path = "../hooks/connect.rs"]
mod connect;
#[path = "../filter.rs"]
mod filter;
#[path = "../hooks/open.rs"]
mod open;

/// Sized by the agent.
#[map]
static BULK: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
