//! The kafka sink against librdkafka's mock cluster and a real broker: every id is read back and counted.

#[cfg(test)]
mod access;
#[cfg(test)]
mod broker;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of other sinks, which use the rest")]
#[path = "../support/certs.rs"]
mod certs;
#[cfg(test)]
mod cluster;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of other sinks, which use the rest")]
#[path = "../support/feed.rs"]
mod feed;
#[cfg(test)]
mod mock;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of other sinks, which use the rest")]
#[path = "../support/proxy.rs"]
mod proxy;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod server;
#[cfg(test)]
#[path = "../support/service.rs"]
mod service;
