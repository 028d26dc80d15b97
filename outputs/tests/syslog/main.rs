//! The syslog and journald sinks against real servers, faults of the network between.

#[cfg(test)]
#[path = "../support/certs.rs"]
mod certs;
#[cfg(test)]
mod faults;
#[cfg(test)]
#[path = "../support/feed.rs"]
mod feed;
#[cfg(test)]
mod journald;
#[cfg(test)]
mod moody;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of other sinks, which use the rest")]
#[path = "../support/proxy.rs"]
mod proxy;
#[cfg(test)]
mod server;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of other sinks, which use the rest")]
#[path = "../support/service.rs"]
mod service;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod tunnel;
#[cfg(test)]
mod wire;
