//! Hostward's BPF programs.
//!
//! # Why it exists
//! What a process does is seen at the kernel's own objects, before user space can lie about it, and
//! what nobody asked for is left out before it costs a copy.
//!
//! # How it works
//! One bin is one object, loaded and degraded alone: `base` (exec, fork, exit), `sys` (the open
//! family, connect, other calls, closes), `net` (ends of connections, first UDP sends, DNS), `iter` (processes that live already), and `lean` in
//! place of the first three where no program may read kernel memory. A hook is thin: claim scratch
//! ([`mem`]), ask the filter, collect through [`kernel`], append to the [`record`](mod@record), hand
//! it over ([`out`]). A map that only one object needs is declared in files that only its bin
//! includes (`filter.rs`, `kill.rs`), as the loader creates every map of an object. Nothing outside `kernel/` adds an offset to a
//! kernel pointer.
//!
//! # What can go wrong
//! - *The verifier refuses*: the object fails alone and the agent says which and why. Loop state
//!   lives in map memory, lengths are bounded by inline assembly at the place of use, because LLVM
//!   drops the checks that it can prove and the verifier cannot.
//! - *A layout nobody foresaw*: offsets come from the running kernel's BTF; one that is missing is
//!   `ABSENT` and the fact is left out, or the agent refuses to load the object.
//! - *Reads of freed memory*: every read is fault-safe (helper, or BTF-typed load), so the worst is
//!   a wrong fact, never a crash.
//!
//! # Not here
//! Meaning and policy. Records are bytes and numbers; the sensor crate makes events of them.
#![no_std]
#![feature(asm_experimental_arch)]

#[macro_use]
pub mod mem;

pub mod agent;
pub mod kernel;
pub mod out;
pub mod path;
pub mod record;
pub mod settings;

/// Helpers that read kernel memory are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
pub static LICENSE: [u8; 7] = *b"GPL v2\0";

/// Never reached: the verifier refuses a program that could come here, as it never ends.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
