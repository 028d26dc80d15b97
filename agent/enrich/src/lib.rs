//! Context for events: which process, which ancestors, which container or unit.
//!
//! # Why it exists
//! A kernel record says what one task did. A rule and an analyst ask who that task was: its
//! program and arguments, what started it, where it runs. The answers lie in earlier records, in
//! processes that lived before the agent, and in the names of cgroups. This crate keeps them.
//!
//! # How it works
//! [`Enricher::handle`] takes one [`Input`] and appends what follows from it: for every ring record
//! exactly one [`Event`], in the order of the inputs, and now and then a [`Lookup`] that somebody
//! with access to the host answers by a [`Fact`]. Events go out with what is known, and the answer serves
//! the events after it. There are two exceptions. The first events of a container of which nobody told
//! anything yet wait for [`Config::context_wait_ms`], in order, and only while somebody can be asked. What
//! was sent without is marked, and followed by one event `update` when the container is known. And the exec of a
//! file that is not known yet, with what its process does meanwhile, waits for [`Config::program_wait_ms`] until
//! somebody has read the file ([`Fact::Programs`] says that somebody does).
//!
//! Processes are kept by pid, and told apart by their start. /proc tells a start to 10 ms, so starts
//! are compared by that tick. A process is learnt from four sources, and whichever comes first, the
//! better one stands in the end: its exec, a seed (task iterator or /proc), its fork (it inherits
//! from its parent), or, failing all, the record of something it did. A few former images of a
//! process are kept, so that a record of the slower ring is told with the program that ran then.
//!
//! Ancestors are those that created a process, not those it was handed to. When a process
//! ends, its children take its snapshot over, so a daemon keeps its ancestry however long it lives.
//! The ended process itself is kept for a while ([`Config::ended_ttl_s`]) for records that come late.
//!
//! # What can go wrong
//! - *More processes than [`Config::max_processes`]*: the one that did nothing for longest is
//!   forgotten (counted in [`Stats::processes_evicted`]); when it acts again it is asked for anew.
//! - *Lost exits*: a gap of exits leaves ended processes in the table until their pid comes
//!   up again or the bound pushes them out.
//! - *Lost execs*: the process keeps its former program until its next exec.
//! - *Seeds scattered over the stream*, not given at once: a child forked from a process whose seed
//!   ran ahead of its records may inherit the program of later. Give seeds first.
//! - *A program's file takes long to read, or is gone*: the exec goes out without its hash, counted in
//!   [`Stats::late`]; no later record brings it.
//! - *A setuid without an exec* is seen at the next open or connect, and only in the effective ids.
//! - *A container that nobody tells of*: its first events are late by the wait, all are marked partial, and it is
//!   asked about again each minute.
//! - *Facts of the machine come late*: ids are minted from them, so [`Fact::Host`] and
//!   [`Fact::Clock`] must be the first inputs; processes met before keep ids of no machine.
//! - *An agent in a time namespace of its own* would read other starts from /proc than the kernel
//!   records; run it in the initial one.
//!
//! # Not here
//! Reading anything of the host (`hostward-host`), deciding anything (`hostward-policy`).

mod backlog;
mod bounded;
mod claims;
mod config;
mod domains;
mod enricher;
mod hold;
mod image;
mod owners;
mod programs;
mod table;
mod workload;

pub use config::{Config, Stats};
pub use enricher::Enricher;
#[doc(no_inline)]
pub use hostward_event::fact::{Fact, Input, Lookup};

use hostward_event::Event;
use hostward_event::registry::Awaited;
use std::sync::Arc;

/// Most ancestors of a process that an event tells.
pub const MAX_LINEAGE: usize = 16;

/// What follows from an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// An event, complete as far as it is known now.
    Event(Arc<Event>),
    /// An event that waits until its container or its program is known, as far as it is known now, and what may
    /// be told yet. It comes again, as [`Output::Event`] with the same id, and may come as this before a second
    /// time: this one is for what cannot wait.
    Early(Arc<Event>, Awaited),
    /// A question to the host; its answer comes back as a [`Fact`], or never.
    Lookup(Lookup),
}
