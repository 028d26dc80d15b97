//! What can go wrong between a sink and its destination, and what each case means for the events.

use crate::net::secret::SecretFailure;
use crate::net::tls::TlsFailure;
use crate::sink::FailureKind;
use std::time::Duration;

/// Why a destination did not take what it was offered. None of these is a verdict on an event.
#[derive(Debug, thiserror::Error)]
pub enum NetFailure {
    /// The name has no address.
    #[error("cannot resolve {host}: {source}")]
    Name {
        /// As configured.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// No connection came about.
    #[error("cannot connect to {peer}: {source}")]
    Connect {
        /// Host and port, or path.
        peer: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{peer}: no {what} within {} s", limit.as_secs_f32())]
    TimedOut {
        /// Host and port, or path.
        peer: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// One side does not trust the other, or they do not speak the same TLS.
    #[error("{peer}: TLS: {source}")]
    Tls {
        /// Host and port.
        peer: String,
        /// What was wrong.
        source: rustls::Error,
    },
    /// Files of TLS cannot be used.
    #[error(transparent)]
    TlsFiles(#[from] TlsFailure),
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretFailure),
    /// The proxy refused.
    #[error("proxy {proxy}: {reply}")]
    Proxy {
        /// Host and port.
        proxy: String,
        /// Status line, escaped.
        reply: String,
        /// The proxy's decision will stay as it is until somebody mends something.
        forbids: bool,
    },
    /// A connection that was there broke.
    #[error("{peer}: {source}")]
    Broken {
        /// Host and port, or path.
        peer: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The other side closed the connection.
    #[error("{peer}: closed the connection")]
    Closed {
        /// Host and port, or path.
        peer: String,
    },
    /// The other side said no, for a reason that is not any one event's.
    #[error("{peer}: refuses: {reply}")]
    Refused {
        /// Host and port, or path.
        peer: String,
        /// What it said, escaped.
        reply: String,
    },
    /// The other side does not take it now.
    #[error("{peer}: does not take it now: {reply}")]
    Busy {
        /// Host and port.
        peer: String,
        /// What it said, escaped.
        reply: String,
    },
    /// The other side said something that makes no sense.
    #[error("{peer}: senseless reply: {reply}")]
    Senseless {
        /// Host and port.
        peer: String,
        /// What is wrong with it, escaped.
        reply: String,
    },
}

impl NetFailure {
    /// An error of a stream that may or may not carry TLS.
    pub fn of_stream(peer: &str, error: std::io::Error) -> Self {
        let peer = peer.to_owned();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(source) => Self::Tls { peer, source: source.clone() },
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => Self::Closed { peer },
            None => Self::Broken { peer, source: error },
        }
    }

    /// Whether it may pass by itself or a person is needed. Events are kept in both cases.
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::Name { .. }
            | Self::Tls { .. }
            | Self::TlsFiles(_)
            | Self::Secret(_)
            | Self::Proxy { forbids: true, .. }
            | Self::Refused { .. } => FailureKind::NeedsHelp,
            Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::Proxy { forbids: false, .. }
            | Self::Broken { .. }
            | Self::Closed { .. }
            | Self::Busy { .. }
            | Self::Senseless { .. } => FailureKind::Passing,
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Name { .. } => "check the address in the sink's configuration and the resolver",
            Self::Connect { .. } => "check the address and port, the server, and firewalls between",
            Self::TimedOut { .. } => "check that the server is alive and not overloaded",
            Self::Tls { source, .. } => crate::net::tls::hint(source),
            Self::TlsFiles(failure) => failure.hint(),
            Self::Secret(failure) => failure.hint(),
            Self::Proxy { .. } => "check the sink's proxy and what it allows",
            Self::Broken { .. } | Self::Closed { .. } => {
                "the server or something between closed it; it is tried again"
            }
            Self::Busy { .. } => "check the server's log and its queues; it is tried again",
            Self::Refused { .. } => "check the server's log and configuration",
            Self::Senseless { .. } => "check that the address and port are those of such a server",
        }
    }
}
