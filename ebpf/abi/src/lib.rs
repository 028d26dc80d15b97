//! The binary contract between the BPF programs and the agent.
//!
//! # Why it exists
//! Both sides are built apart (other target, other compiler flags) and meet only in shared memory:
//! ring records, map values, read-only globals. Each of these is one type here, so that the two
//! builds cannot disagree.
//!
//! # How it works
//! - [`record`]: what a program writes into a ring, and the parser that reads it back.
//! - [`maps`]: values of the maps that the agent fills and the programs read, and the counters.
//! - [`offsets`]: which field of which kernel struct a program reads; the agent resolves them from
//!   the running kernel's BTF and loads them as a read-only global.
//!
//! Structs are made by the `wire!` macro: `repr(C)`, integers only, no padding (asserted), read
//! field by field without `unsafe`.
//!
//! # What can go wrong
//! An object of another build: [`VERSION`] is in every record and the parser refuses others.
//!
//! # Not here
//! Meaning. The agent's sensor turns records into typed events.
#![no_std]

#[macro_use]
mod wire;

pub mod maps;
pub mod offsets;
pub mod record;

pub use wire::{Reader, Wire};

/// Raised with every change of a record, a map value or a global.
pub const VERSION: u8 = 5;
