//! The verbs besides `run`.

pub mod check;
pub mod cost;
pub mod doctor;
pub mod events;
pub mod fields;
pub mod replay;
pub mod rules;
pub mod setup;
pub mod spool;
pub mod status;
pub mod workloads;
