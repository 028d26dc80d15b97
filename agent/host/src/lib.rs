//! Facts from outside the kernel's rings: /proc, cgroup trees, users, clocks, the machine.
//!
//! # Why it exists
//! The pure part of the agent reads nothing and knows no time. What it must know of the host comes
//! through here as a [`Fact`](hostward_event::fact::Fact), so that a capture has it too.
//!
//! # How it works
//! At the start the agent sends [`host_facts`], [`agent_facts`], the clock ([`clock_offset_ns`]),
//! the [`users`] and a seed for each process, which [`Host::complete`] fills with what the task
//! iterator does not tell; without an iterator [`Host::seeds`] reads all from /proc. Later
//! [`Host::answer`] answers what enrichment asks, [`Programs`] what takes a file to be read, and a
//! [`UserWatch`] tells when names changed.
//!
//! A process is read through a descriptor of its directory in /proc, and its start is compared. The
//! kernel never lets such a descriptor show another process, so what is read is of the one that
//! was meant, or the read fails: a process that ends meanwhile is no error but a missing fact.
//!
//! All parsers take bytes. Names in /proc are chosen by whoever runs a program: they may be no UTF-8,
//! hold blanks, parentheses and line feeds, and be made to look like other fields.
//!
//! # What can go wrong
//! - *`hidepid`, or no CAP_SYS_PTRACE*: foreign processes have no readable cwd, program or arguments;
//!   these stay empty.
//! - *An agent in a container*: paths of cgroups are told relative to its cgroup namespace, pids to
//!   its pid namespace. The unit file runs it in the initial ones.
//! - *Slow files*: each read is bounded, but /proc takes locks of the process that it shows. Nothing
//!   here may run on the event path.
//!
//! # Not here
//! What the paths mean (`hostward-enrich`).

mod body;
mod cgroups;
mod clock;
mod domains;
mod hash;
mod host;
mod inside;
pub mod kubernetes;
mod machine;
mod pace;
mod packages;
mod place;
mod proc;
mod programs;
mod runtime;
mod sources;
mod users;

pub use cgroups::{CgroupMode, Hierarchies};
pub use clock::{boot_ns, clock_offset_ns};
pub use domains::Domains;
pub use hash::{HashFailure, Hasher, Sha256};
pub use host::{Host, ProcError};
pub use machine::{agent_facts, host_facts};
pub use packages::{Package, Packages};
pub use programs::{Programs, ProgramsConfig};
pub use runtime::{CriEvents, RuntimeConfig, RuntimeProblem, Runtimes};
pub use sources::{Board, SourceReport, SourceState};
pub use users::{UserWatch, users};

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a file up to a bound, so that a fifo or a file somebody lets grow cannot take our memory.
fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}
