//! The syslog and journald sinks against real servers, faults of the network between.

#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
