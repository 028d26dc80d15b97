//! Object `lean`: what can be told where the kernel lets no program read its memory by a helper, as with
//! lockdown=confidentiality. Fields are loaded through pointers whose type the kernel knows, paths are had from
//! `bpf_d_path` where it is allowed. Programs' own memory is not read either: the loader takes a kernel that refuses the
//! one helper for one that is too old for the other.
//!
//! # Not here
//! What lies behind arrays and other pointers without a type: the files of descriptors, names of cgroups, numbers of
//! processes in inner pid namespaces, layers of overlay file systems. It is left out, never made up.
#![no_std]
#![no_main]

use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;
use hostward_ebpf::kernel::Direct as Reads;

#[path = "../hooks/lean/connect.rs"]
mod connect;
#[path = "../hooks/lean/connection.rs"]
mod connection;
#[path = "../connections.rs"]
mod connections;
#[path = "../hooks/lean/exec.rs"]
mod exec;
#[path = "../hooks/exit.rs"]
mod exit;
#[path = "../filter.rs"]
mod filter;
#[path = "../hooks/lean/fork.rs"]
mod fork;
#[path = "../kill.rs"]
mod kill;
#[path = "../hooks/lean/open.rs"]
mod open;
#[path = "../hooks/lean/opened.rs"]
mod opened;

/// Sized by the agent.
#[map]
static PROCESS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Sized by the agent.
#[map]
static BULK: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
