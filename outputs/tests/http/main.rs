//! The HTTP sinks against strict fakes that replay recorded replies, and against real OpenSearch and
//! Elasticsearch: every id is read back and counted.

#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of other sinks, which use the rest")]
#[path = "../outputs/common.rs"]
mod common;
#[cfg(test)]
mod courier;
#[cfg(test)]
mod elastic;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod hec;
#[cfg(test)]
mod otlp;
#[cfg(test)]
mod real;
#[cfg(test)]
#[path = "../../../agent/event/tests/formats/samples.rs"]
mod samples;
#[cfg(test)]
mod setup;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of other sinks, which use the rest")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod webhook;
