//! Encoders: an [`crate::Event`] to bytes.

mod compact;
mod ecs;
mod json;

pub use compact::compact;
pub use ecs::ecs;
