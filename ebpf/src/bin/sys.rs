//! Object `sys`: the ends of exactly those system calls that are wanted, and of files that were written to, each seen by
//! the best probe that this kernel takes.
#![no_std]
#![no_main]

use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;

#[path = "../hooks/call.rs"]
mod call;
#[path = "../hooks/close.rs"]
mod close;
#[path = "../hooks/connect.rs"]
mod connect;
#[path = "../exit.rs"]
mod exit;
#[path = "../filter.rs"]
mod filter;
#[path = "../ignore.rs"]
mod ignore;
#[path = "../look.rs"]
mod look;
#[path = "../hooks/open.rs"]
mod open;
#[path = "../hooks/resolved.rs"]
mod resolved;
#[path = "../sample.rs"]
mod sample;
#[path = "../hooks/signal.rs"]
mod signal;
#[path = "../hooks/uring.rs"]
mod uring;

/// What must not wait behind a flood of files and connections. Sized by the agent.
#[map]
static URGENT: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Sized by the agent.
#[map]
static BULK: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
