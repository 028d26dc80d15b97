//! Where events leave the agent: one bounded queue and one thread per sink.
//!
//! # Why it exists
//! A terminal that nobody reads, a disk that is full, a server that is gone: none of them may delay
//! the pipeline, a response, or another sink, and none may lose an event without saying so.
//!
//! # How it works
//! [`Outputs::push`] offers an `Arc<Event>` to every sink: its filter decides, then the event lands
//! in the sink's own bounded queue. Pushing never waits; what does not fit is dropped by a policy
//! and counted. Alerts have a lane and reserved room of their own, and telemetry goes first. Each
//! sink lives on a named thread with its own single-threaded runtime. A driver there takes a
//! [`Batch`], awaits [`Sink::send`], and settles every event by the answer: delivered, to be tried
//! again (back at the head of its lane), or rejected. Awaiting is for sinks that talk to a network;
//! one that blocks, as a file does, blocks only its own thread.
//!
//! The law, which [`SinkStatus::law_holds`] states and the tests assert at every moment they can
//! read: `accepted = delivered + queued + in_flight + dropped{lane, reason}`.
//!
//! With a spool ([`Outputs::start_spooled`]) the events of all sinks but stdout wait on disk instead of in
//! memory, with a cursor per sink behind the same take-and-settle calls: see [`spool`]. What is still in memory when
//! a sink asks for it is not decoded again. Retry is per batch;
//! network sinks bring their own pause in [`SendFailure::retry_after`].
//!
//! # What can go wrong
//! - *A sink fails*: the events go back to the queue, the driver waits as long as the sink says and
//!   tries again, for ever. Health says since when and why. Only the queue's bound drops.
//! - *A sink hangs inside a call*: after two seconds health is degraded and says so; at the end
//!   [`Outputs::close`] leaves the thread behind and counts its events as dropped by shutdown.
//! - *A reader goes away* (closed pipe): that sink ends and takes no more events; this is no fault.
//! - *A sink's thread panics*: its state is failed, and what it is offered is counted as dropped.
//!
//! # Not here
//! The rule language: a filter arrives compiled, as a closure, since that belongs to `hostward-policy`.

mod backlog;
mod condition;
pub mod config;
mod connect;
mod driver;
pub mod elastic;
pub mod file;
#[cfg(test)]
mod fuzz;
pub mod hec;
pub mod http;
pub mod journald;
pub mod kafka;
mod ledger;
pub mod net;
pub mod otlp;
mod outputs;
mod queue;
mod recent;
mod sink;
mod slot;
pub mod spool;
mod status;
pub mod stdout;
pub mod syslog;
pub mod webhook;
mod weight;

pub use config::{Config, Problem};
pub use ledger::{DropRange, Dropped, Lane, Reason};
pub use net::vitals::Condition;
pub use outputs::{Closed, Filter, Outputs, SinkSpec, StartFailure};
pub use sink::{Ack, Batch, Encoder, FailureKind, SendFailure, Sink, Verdict};
pub use status::{Health, LastError, SinkStatus, State};
