//! A connection to the server, and watching it.

use crate::net::failure::NetFailure;
use crate::net::link::{self, Route, Stream, Target};
use crate::net::proxy;
use crate::net::tls::Tls;
use crate::syslog::config::SyslogConfig;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

/// What the kernel may hold of a stream without acks. The kernel doubles it and counts its own
/// overhead; the tail that is kept (see [`crate::syslog::line`]) is larger than what fits.
const SEND_BUFFER_BYTES: u32 = 64 << 10;
/// A server that does not answer our end in this time is left.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// Makes connections.
pub(super) struct Dialer {
    sink: String,
    route: Route,
    tls: Option<Tls>,
    pub(super) peer: String,
    /// Of the server without any progress.
    pub(super) send_limit: Duration,
}

impl Dialer {
    pub(super) fn new(config: &SyslogConfig, target: &Target, is_acked: bool) -> Self {
        let route = Route {
            target: target.clone(),
            proxy: config.proxy.as_deref().and_then(|url| proxy::parse(url).ok()),
            send_buffer_bytes: (!is_acked).then_some(SEND_BUFFER_BYTES),
            connect_limit: Duration::from_secs(config.connect_timeout_s),
        };
        Self {
            sink: config.name.clone(),
            route,
            tls: config.address.is_encrypted().then(|| Tls::new(config.tls())),
            peer: target.to_string(),
            send_limit: Duration::from_secs(config.send_timeout_s),
        }
    }

    pub(super) async fn dial(&mut self) -> Result<Stream, NetFailure> {
        let Some(tls) = &mut self.tls else {
            return link::connect(&self.route).await.map(Stream::Plain);
        };
        tls.tell_insecure(&self.sink);
        // Before the connection: a file that is missing must not cost the server anything.
        let client = tls.client()?;
        let name = tls.server_name(&self.route.target.host)?;
        let stream = link::connect(&self.route).await?;
        let limit = self.route.connect_limit;
        let stream = link::secure(stream, client, name, &self.peer, limit).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// True when files of TLS changed since the last connection was made.
    pub(super) fn is_stale(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::is_stale)
    }

    /// Called now and then, so that a connection that lives long does not hide `insecure_skip_verify`.
    pub(super) fn remind(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.tell_insecure(&self.sink);
        }
    }

    pub(super) fn timed_out(&self, what: &'static str) -> NetFailure {
        NetFailure::TimedOut { peer: self.peer.clone(), what, limit: self.send_limit }
    }

    pub(super) fn broken(&self, error: io::Error) -> NetFailure {
        NetFailure::of_stream(&self.peer, error)
    }
}

/// Reads what is there, without waiting: how many bytes; none: nothing is there now.
///
/// # Errors
/// The connection broke, or ended (`UnexpectedEof`).
fn poll_bytes(stream: &mut Stream, cx: &mut Context<'_>, bytes: &mut [u8]) -> io::Result<Option<usize>> {
    let mut buffer = ReadBuf::new(bytes);
    match Pin::new(stream).poll_read(cx, &mut buffer) {
        Poll::Pending => Ok(None),
        Poll::Ready(Err(error)) => Err(error),
        Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
        Poll::Ready(Ok(())) => Ok(Some(buffer.filled().len())),
    }
}

/// What one step of an exchange did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes came; they were appended.
    Read(usize),
    /// All that was to be sent is with the kernel.
    Sent,
}

/// Reads and writes until something came or all is written; `written` counts on in `out`. The reader
/// comes first: a peer that says why it ends is heard before a write fails for it. TLS may have taken
/// all of `out` long before the kernel has: only a flush says that it is sent.
pub(super) async fn exchange(
    stream: &mut Stream,
    out: &[u8],
    written: &mut usize,
    received: &mut Vec<u8>,
) -> io::Result<Step> {
    let mut bytes = [0; 4_096];
    std::future::poll_fn(|cx| {
        if let Some(count) = poll_bytes(stream, cx, &mut bytes)? {
            received.extend_from_slice(bytes.get(..count).unwrap_or_default());
            return Poll::Ready(Ok(Step::Read(count)));
        }
        while let Some(rest) = out.get(*written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => *written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        match Pin::new(&mut *stream).poll_flush(cx) {
            Poll::Ready(Ok(())) if !out.is_empty() => Poll::Ready(Ok(Step::Sent)),
            // Nothing was to be sent: only what comes is waited for.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    })
    .await
}

/// Looks, without waiting, whether the peer said something or closed.
pub(super) async fn glance(stream: &mut Stream, received: &mut Vec<u8>) -> io::Result<()> {
    let mut bytes = [0; 4_096];
    std::future::poll_fn(|cx| {
        Poll::Ready(loop {
            match poll_bytes(stream, cx, &mut bytes) {
                Ok(Some(count)) => received.extend_from_slice(bytes.get(..count).unwrap_or_default()),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            if received.len() > 64 << 10 {
                break Err(io::Error::other("it speaks without being asked"));
            }
        })
    })
    .await
}

/// Ends our side and waits for the peer's end. True: it closed in order, so it has read all of it; a
/// kernel answers bytes that nobody read with a reset.
pub(super) async fn farewell(mut stream: Stream) -> bool {
    let end = async {
        stream.shutdown().await?;
        let mut ignored = Vec::new();
        loop {
            match exchange(&mut stream, &[], &mut 0, &mut ignored).await {
                Ok(_) => ignored.clear(),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    matches!(timeout(FAREWELL_LIMIT, end).await, Ok(Ok(())))
}
