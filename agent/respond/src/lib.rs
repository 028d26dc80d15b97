//! Carries out what responses demand: today, killing a process.
//!
//! # Why it exists
//! A kill that hits the wrong process does more harm than most attacks. Everything here is about
//! hitting exactly the process that the rule saw, never one the host cannot live without, and never
//! many by mistake.
//!
//! # How it works
//! [`Responder::submit`] queues a [`KillRequest`] and never waits. A thread of its own, apart from the
//! outputs so that a dead sink cannot delay a kill, opens a pidfd, reads the process's start
//! time *after* that (the pid may have been given to another process), asks the guard rails, sends
//! SIGKILL through the pidfd and waits for the exit. The result goes to a callback as an
//! [`ActionResult`](hostward_event::fact::ActionResult).
//!
//! Guard rails, in this order: pid 1; the agent and its ancestors (a shell, sudo, a container's init
//! or the service manager: their end would be the agent's); kernel threads; processes in the agent's
//! own service; [`Protected`] programs; the rate cap per response. A response that reaches its cap
//! falls back to monitor mode: it records what it would have done until [`Responder::rearm`].
//!
//! # What can go wrong
//! - *The pid was recycled*: the start time differs; the outcome is `already_gone`.
//! - *An attacker dresses up as a protected program*: a name is cheap, so nothing is protected by name
//!   unless configured, and a path protects only the file that the host itself has under this path. A
//!   container's own `/usr/sbin/sshd` is another file.
//! - *The process does not die* (uninterruptible sleep): waited for on the side; `failed` with the reason
//!   after `wait_ms`, and the signal stays pending.
//! - *More requests than the queue holds*: `failed`, and the reason says so.
//!
//! # Not here
//! Kills by the kernel program at exec are the sensor's; they are only counted here, by
//! [`Responder::kernel_killed`]. Which response applies to which event is the policy's decision.

mod config;
mod kill;
mod process;
mod protected;
mod rate;
mod responder;

pub use config::{Config, Problem};
pub use protected::Protected;
pub use responder::{KillRequest, Responder, StartFailure, Stats};
