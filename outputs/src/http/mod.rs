//! What the sinks that speak HTTP share: one courier, one client, one reading of status codes.
//!
//! # Why it exists
//! Elastic, Splunk, OTLP and webhook receivers differ in what a request looks like and what a reply
//! means. How many requests fly, how large they are, what happens to the rest when one is throttled, cut
//! or refused, must not differ: that is where shippers lose events.
//!
//! # How it works
//! A sink is a `wire::Wire` (records of events, a request of records, the meaning of a reply) driven
//! by a `courier::Courier`, which implements [`crate::Sink`]. It encodes a batch once, cuts it into
//! parts, alerts first, and keeps a few requests in flight through a [`client::Client`]. Each part ends
//! in an `outcome::Outcome`: verdicts on its events, a refusal as a whole, or a failure that is
//! nobody's fault. A refused part is cut in halves until the refusal concerns one event.
//!
//! - `pace` says how many requests fly at once, by what replies take.
//! - `room` says how large one may be, by what was too large.
//! - [`client`] keeps secrets and certificates current and knows which of several servers rests.
//!
//! # What can go wrong
//! - *A reply is lost, cut, or makes no sense*: the whole part is offered again. Twice is possible,
//!   unknown is not.
//! - *A server says 400 to everything*, because it is not what the URL promised: one event alone is
//!   given up only after the server has taken some other event, so such a server holds the sink instead.
//! - *One server of several dies*: it rests, the others are asked; only when none is left the sink waits.
//!
//! # Not here
//! Waiting between tries belongs to [`crate::net::vitals`], retry itself to the queue or spool.

pub(crate) mod check;
pub mod client;
pub mod config;
pub(crate) mod courier;
mod fault;
#[cfg(test)]
mod fuzz;
pub(crate) mod outcome;
mod pace;
mod record;
pub(crate) mod reply;
mod resolver;
mod room;
mod servers;
pub(crate) mod text;
pub(crate) mod wire;

pub use config::{Compression, HttpSettings};
pub use record::{Part, Record};
pub use reply::Reply;
