//! x
pub mod btf;
pub mod layout;
mod objects;
