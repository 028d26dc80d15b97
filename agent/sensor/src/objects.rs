//! The BPF objects, built by `build.rs`.

use aya::include_bytes_aligned;

/// exec, fork, exit.
pub(crate) static BASE: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/base.o"));
/// The open family, connect.
pub(crate) static SYS: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sys.o"));
/// Ends of connections, first UDP sends, DNS.
pub(crate) static NET: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/net.o"));
/// All of it without a read of kernel memory, as far as that goes.
pub(crate) static LEAN: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lean.o"));
/// Processes that live already.
pub(crate) static ITER: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/iter.o"));
