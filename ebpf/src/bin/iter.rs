//! Object `iter`: the processes that live already.
#![no_std]
#![no_main]

#[path = "../hooks/process.rs"]
mod process;
#[path = "../hooks/seed.rs"]
mod seed;
