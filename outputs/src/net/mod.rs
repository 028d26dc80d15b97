//! What all network sinks share: TLS, secrets, connections, back-off, and what a failure means.
//!
//! # Why it exists
//! Shippers lose events at this place: a 401 is taken for a verdict on the batch, a certificate that
//! was renewed is seen after a restart only, a fleet that lost its server comes back in one instant.
//! Each of these is decided once, here.
//!
//! # How it works
//! A sink connects with [`link`], by the configuration that [`tls::Tls`] keeps current, with secrets
//! that [`secret::SecretReader`] keeps current. What goes wrong is a [`failure::NetFailure`], which
//! knows whether it may pass or a person is needed, and what to do. [`vitals::Vitals`] turns it into
//! the sink's answer: how long to wait, what status says, what the log says and how often.
//!
//! # What can go wrong
//! - *DNS, TLS, a password, a permission*: the sink holds its events and is failed until it is mended.
//!   Files are read again before each try, so mending needs no restart.
//! - *Anything else between here and there*: the sink backs off and tries again, for ever.
//!
//! # Not here
//! HTTP, and what a reply means, belong to each sink. Nothing here drops an event.

pub mod backoff;
pub mod check;
pub mod failure;
pub mod link;
pub mod proxy;
pub mod secret;
mod stamp;
pub mod tls;
pub mod vitals;
