//! What the tests of the network sinks share: a TCP proxy that misbehaves on demand, real servers
//! started by the published scripts, and certificates of a test authority.
//!
//! Every test program takes it in by `#[path = "../support/mod.rs"] mod support;`.

pub(crate) mod certs;
pub(crate) mod http;
pub(crate) mod proxy;
pub(crate) mod service;
