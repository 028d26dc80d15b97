//! The verbs besides `run`.

pub mod check;
pub mod cost;
pub mod doctor;
pub mod events;
pub mod explain;
pub mod fields;
pub mod replay;
pub mod rules;
pub mod rules_test;
pub mod setup;
pub mod spool;
pub mod status;
pub mod workloads;
