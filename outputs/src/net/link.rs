//! Connections: to a host by name, through a proxy or not, with TLS or not.

use crate::net::failure::NetFailure;
use crate::net::proxy;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixDatagram};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A peer that answers nothing for this long is probed by the kernel, then given up.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
/// Bytes that the peer's kernel does not take for this long end the connection (TCP_USER_TIMEOUT).
const UNACKED_LIMIT_MS: u32 = 30_000;
/// A TLS 1.3 server may refuse our certificate only after the handshake; its session tickets say that
/// it did not. A server that sends none costs this long, once per connection.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Target {
    /// Reads `HOST:PORT`, `[ADDRESS]:PORT`, and without a port when there is a default.
    pub fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, port)
            }
            None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            None if port.is_empty() => default_port?,
            _ => return None,
        };
        let shaped = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        let is_host = !host.is_empty() && host.len() <= 253 && host.chars().all(shaped);
        (is_host && port != 0).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How to reach a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub target: Target,
    /// A proxy before it.
    pub proxy: Option<Target>,
    /// Bytes that the kernel may hold unsent or unacknowledged; none: the kernel's choice.
    pub send_buffer_bytes: Option<u32>,
    /// For the name, all addresses and the proxy together.
    pub connect_limit: Duration,
}

/// All addresses of a name, never none.
///
/// # Errors
/// When the name has none or the resolver takes too long.
pub async fn resolve(target: &Target, limit: Duration) -> Result<Vec<SocketAddr>, NetFailure> {
    let lookup = tokio::net::lookup_host((target.host.as_str(), target.port));
    let host = target.host.clone();
    match timeout(limit, lookup).await {
        Err(_) => Err(NetFailure::TimedOut { peer: host, what: "answer of the resolver", limit }),
        Ok(Err(source)) => Err(NetFailure::Name { host, source }),
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if addresses.is_empty() {
                return Err(NetFailure::Name { host, source: std::io::ErrorKind::NotFound.into() });
            }
            Ok(addresses)
        }
    }
}

/// Connects by TCP, each address in its turn.
///
/// # Errors
/// When none of the addresses answers, or the proxy refuses.
pub async fn connect(route: &Route) -> Result<TcpStream, NetFailure> {
    let deadline = Instant::now() + route.connect_limit;
    let first = route.proxy.as_ref().unwrap_or(&route.target);
    let addresses = resolve(first, route.connect_limit).await?;
    let mut stream = connect_any(&addresses, first, route, deadline).await?;
    if let Some(proxy) = &route.proxy {
        let left = deadline.saturating_duration_since(Instant::now());
        match timeout(left, proxy::tunnel(&mut stream, proxy, &route.target)).await {
            Ok(result) => result?,
            Err(_) => {
                let limit = route.connect_limit;
                return Err(NetFailure::TimedOut {
                    peer: proxy.to_string(),
                    what: "reply of the proxy",
                    limit,
                });
            }
        }
    }
    Ok(stream)
}

/// An address that swallows everything must not use up the time of the others.
async fn connect_any(
    addresses: &[SocketAddr],
    host: &Target,
    route: &Route,
    deadline: Instant,
) -> Result<TcpStream, NetFailure> {
    let mut failure = None;
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let peer = if host.host == address.ip().to_string() {
            host.to_string()
        } else {
            format!("{host} ({address})")
        };
        match timeout(share, connect_one(*address, route)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => failure = Some(NetFailure::Connect { peer, source }),
            Err(_) => failure = Some(NetFailure::TimedOut { peer, what: "connection", limit: share }),
        }
    }
    let none = || NetFailure::Name { host: host.host.clone(), source: std::io::ErrorKind::NotFound.into() };
    Err(failure.unwrap_or_else(none))
}

async fn connect_one(address: SocketAddr, route: &Route) -> std::io::Result<TcpStream> {
    use rustix::net::sockopt;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Before the connection: the window is fixed then.
    if let Some(bytes) = route.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(&socket, UNACKED_LIMIT_MS)?;
    socket.connect(address).await
}

/// Opens a socket of this machine that takes datagrams. Must be called inside a tokio runtime.
///
/// # Errors
/// When there is none, nobody listens, it takes streams, or we may not.
pub fn unix_datagram(path: &Path) -> Result<UnixDatagram, NetFailure> {
    let connect = || {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(socket)
    };
    connect().map_err(|source: std::io::Error| {
        let peer = path.display().to_string();
        match source.kind() {
            std::io::ErrorKind::PermissionDenied => NetFailure::Refused { peer, reply: source.to_string() },
            // EPROTOTYPE: it takes streams.
            _ if source.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
                NetFailure::Refused { peer, reply: "it takes streams and not datagrams".to_owned() }
            }
            _ => NetFailure::Connect { peer, source },
        }
    })
}

/// Puts TLS over a connection, and waits until the server accepted our certificate as far as that can
/// be told.
///
/// # Errors
/// When one side does not trust the other, or the handshake takes longer than `limit`.
pub async fn secure(
    stream: TcpStream,
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
    peer: &str,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, NetFailure> {
    let handshake = TlsConnector::from(client).connect(name, stream);
    let mut stream = match timeout(limit, handshake).await {
        Ok(result) => result.map_err(|error| NetFailure::of_stream(peer, error))?,
        Err(_) => return Err(NetFailure::TimedOut { peer: peer.to_owned(), what: "TLS handshake", limit }),
    };
    settle(&mut stream).await.map_err(|error| NetFailure::of_stream(peer, error))?;
    Ok(stream)
}

/// Reads until the server's tickets are there. No protocol of ours lets the server speak first.
async fn settle(stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    let is_13 = stream.get_ref().1.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    let deadline = Instant::now() + SETTLE_LIMIT;
    while is_13 && stream.get_ref().1.tls13_tickets_received() == 0 && Instant::now() < deadline {
        let mut byte = [0];
        match timeout(SETTLE_POLL, stream.read(&mut byte)).await {
            // Still nothing, or a ticket.
            Err(_) => {}
            Ok(Ok(0)) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => return Err(std::io::Error::other("it speaks before it is spoken to")),
            Ok(Err(error)) => return Err(error),
        }
    }
    Ok(())
}

/// A connection with or without TLS.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_and_a_port() {
        let parse = |text| Target::parse(text, Some(514)).map(|target| target.to_string());
        assert_eq!(parse("log.example:6514").as_deref(), Some("log.example:6514"));
        assert_eq!(parse("log.example").as_deref(), Some("log.example:514"));
        assert_eq!(parse("[2001:db8::1]:601").as_deref(), Some("[2001:db8::1]:601"));
        assert_eq!(parse("[::1]").as_deref(), Some("[::1]:514"));
        for wrong in ["", ":514", "h:", "h:0", "h:70000", "h:+1", "::1", "h:1:2", "[h]:1", "a b:1", "h/x:1"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(Target::parse("h", None), None);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_live_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        let dead: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let target = Target { host: "h".into(), port: alive.port() };
        let limit = Duration::from_secs(5);
        let route =
            Route { target: target.clone(), proxy: None, send_buffer_bytes: None, connect_limit: limit };
        let stream = connect_any(&[dead, alive], &target, &route, Instant::now() + limit).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
    }
}
