//! Typed events, ids, the field registry and the encoders.
//!
//! # Why it exists
//! Everything that names a field (the rule language, ECS documents, `hostward fields`, the
//! reference page) reads one table, [`registry`], so that nothing about a field is written twice.
//! Everything that crosses a boundary inside the agent is a type of this crate.
//!
//! # How it works
//! The sensor decodes a record of the ring to a [`raw::RawEvent`]. `hostward-enrich` makes of it
//! an [`Event`]: a struct of optional sections, immutable and shared. Text stays bytes
//! ([`Text`]) until [`encode`] writes it.
//!
//! # Not here
//! No clock, file or socket: the crate is pure, so that a capture (a stream of [`fact::Input`])
//! replays to the same bytes.

pub mod call;
pub mod canonical;
pub mod encode;
pub mod event;
pub mod fact;
pub mod ids;
pub mod kind;
pub mod mask;
pub mod plan;
pub mod process;
pub mod program;
pub mod raw;
pub mod redact;
pub mod registry;
pub mod scope;
pub mod text;
pub mod workload;

pub use event::{Alert, Event};
pub use ids::{EntityId, EventId, IdMint, Starts};
pub use kind::{EventKind, KindSet};
pub use text::Text;
