//! The sensor: Hostward's programs in the kernel, and what they tell.
//!
//! # Why it exists
//! Everything the agent knows begins here. This crate alone speaks to the kernel's BPF side and is
//! the only user of aya; the rest of the agent sees [`hostward_event::fact::Input`].
//!
//! # How it works
//! 1. [`Preflight`] says whether this host can observe, and why not.
//! 2. [`Sensor::load`] resolves field offsets from the running kernel's BTF, loads the objects that
//!    `build.rs` made of `ebpf/`, puts the [`hostward_event::plan::KernelPlan`] in force, attaches.
//! 3. [`Sensor::ordered_rings`] gives the [`Rings`] for a thread of their own. They turn records into
//!    events and missing numbers into gaps, in the order of time.
//! 4. [`Sensor::seeds`] lists the processes that live already. Called after attaching, it cannot miss
//!    one: a process is in the list, or its fork is in the ring, or both.
//! 5. [`Sensor::apply`] swaps the plan without detaching; [`Sensor::detach`] ends the stream, after
//!    which [`Rings::drain`] gives the rest.
//! 6. With [`Config::persist`] the programs outlive all this: the next [`Sensor::load`] goes on with them, and
//!    [`Sensor::inherited`] and [`Rings::drained`] tell what they kept. Their reader notes in [`Marks`] what it handled.
//!
//! Process events have a ring of their own, so that a flood of opens cannot blind the process table.
//!
//! # What can go wrong
//! - *No privilege, no BTF, a refusal*: [`LoadError`] says what and [`LoadError::hint`] what to do.
//!   A single hook that is missing is logged once, shown by [`Sensor::ladder`], and survived.
//! - *A full ring*: the event is lost in the kernel, counted there, and told as a gap.
//! - *Hostile bytes*: names, arguments and paths are bytes all the way; the parser takes any input.
//!
//! # Blind spots
//! System calls of 32-bit programs on a 64-bit kernel where it has no trampolines, or no one function for them: it leaves
//! them out of the system call tracepoints. Their processes are seen like all others. What is done through io_uring before 6.0. DNS that is not UDP
//! on port 53.
//!
//! # Not here
//! Names of users, containers, parents: `hostward-enrich`. What is wanted: `hostward-policy`.

pub mod btf;
mod budget;
mod calls;
mod cast;
mod cgroup;
mod checks;
mod clock;
mod closes;
pub mod config;
mod counters;
mod decode;
mod dns;
pub mod error;
mod fexit;
mod ia32;
mod ignore;
mod ladder;
pub mod layout;
mod lean;
mod load;
mod loaded;
mod memory;
mod misses;
mod net;
mod objects;
mod persist;
mod plan;
mod ports;
pub mod preflight;
mod reader;
mod ring;
mod rings;
mod rungs;
mod sampling;
mod seeds;
mod sensor;
mod sequence;
mod tracepoint;
mod uring;

pub use config::Config;
pub use counters::KindCounters;
pub use error::{ApplyError, LoadError, RingError, SeedError};
pub use ignore::{Ignore, silenced};
pub use ladder::{ProbeState, ProbeStatus, unobservable};
pub use persist::{Inherited, Marks, pinned_at};
pub use preflight::{Check, Level, Preflight};
pub use reader::Drained;
pub use rings::Rings;
pub use sampling::{DegradeConfig, SampledClass};
pub use sensor::Sensor;
