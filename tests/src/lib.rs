//! What the tests of the whole agent share.
//!
//! # Why it exists
//! These tests treat Hostward as a user does: they start the binary, cause something real, and read
//! what came out. Starting, waiting, reading and cleaning up is the same each time and is here once.
//!
//! # How it works
//! - [`place`] knows where things lie: the checkout, cargo's target directory, the published data.
//! - [`binary`] builds `hostward` once per test program and tells its path.
//! - [`Agent`] is a running `hostward` with directories of its own; it is ready when made and gone when dropped.
//! - [`Feed`] reads `events.jsonl` and its rotated files; a [`Record`] is one event, asked by its ECS field.
//! - [`Receiver`] takes webhooks and keeps them.
//! - [`Engine`] is a private Docker or Podman, with an image of its own; [`Containerd`] one of pods, and [`Runc`] a
//!   place for containers of nobody else.
//! - [`child`] makes processes that do a chosen thing.
//! - [`need`] skips a test by name when the machine lacks a part, or fails it when `HOSTWARD_REQUIRE` names the part.
//! - [`guest`] builds the package and runs a script in a QEMU guest.
//!
//! # What can go wrong
//! Two agents must not share a state directory, so none here is shared. Everything that waits has a limit, and
//! what it says when the limit is reached names the agent's log.
//!
//! # Not here
//! Assertions: they belong to the tests. Speed: that is `tests/bench`.

pub mod binary;
pub mod child;
pub mod containerd;
pub mod guest;
pub mod need;
pub mod place;

mod agent;
mod engine;
mod feed;
mod receiver;
mod runc;
pub mod wait;

pub use agent::{Agent, Setup};
pub use containerd::Containerd;
pub use engine::{Engine, Kind, images};
pub use feed::{Feed, Record};
pub use need::{Part, lacks};
pub use receiver::Receiver;
pub use runc::Runc;
pub use wait::until;
