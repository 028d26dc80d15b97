//! A datagram per message: UDP and unix sockets. Nobody confirms anything.

use crate::net::failure::NetFailure;
use crate::net::link::{self, Target};
use crate::sink::{Batch, Verdict};
use crate::syslog::Outcome;
use crate::syslog::config::SyslogConfig;
use crate::syslog::frame::Framer;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::timeout;

/// A name may get another address, and nothing would tell us.
const RESOLVE_AGAIN: Duration = Duration::from_secs(300);

pub(super) enum Place {
    Udp(Target),
    Unix(PathBuf),
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

pub(super) struct Datagram {
    place: Place,
    peer: String,
    connect_limit: Duration,
    send_limit: Duration,
    open: Option<(Socket, Instant)>,
}

impl Datagram {
    pub(super) fn new(config: &SyslogConfig, place: Place) -> Self {
        let peer = match &place {
            Place::Udp(target) => target.to_string(),
            Place::Unix(path) => path.display().to_string(),
        };
        let connect_limit = Duration::from_secs(config.connect_timeout_s);
        Self {
            place,
            peer,
            connect_limit,
            send_limit: Duration::from_secs(config.send_timeout_s),
            open: None,
        }
    }

    pub(super) async fn send(&mut self, batch: &Batch, framer: &Framer, trimmed: &mut u64) -> Outcome {
        let mut verdicts = Vec::with_capacity(batch.len());
        let failure = self.send_all(batch, framer, trimmed, &mut verdicts).await.err();
        Outcome { verdicts, failure }
    }

    async fn send_all(
        &mut self,
        batch: &Batch,
        framer: &Framer,
        trimmed: &mut u64,
        verdicts: &mut Vec<Verdict>,
    ) -> Result<(), NetFailure> {
        let (socket, since) = self.connected().await?;
        let mut message = Vec::new();
        for event in batch.events() {
            message.clear();
            *trimmed += u64::from(framer.message(event, &mut message));
            let sent = match &socket {
                Socket::Udp(socket) => timeout(self.send_limit, socket.send(&message)).await,
                Socket::Unix(socket) => timeout(self.send_limit, socket.send(&message)).await,
            };
            match sent {
                Ok(Ok(_)) => verdicts.push(Verdict::Delivered),
                Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                    let why = format!(
                        "{}: a message of {} bytes is larger than a datagram; lower max_message",
                        self.peer,
                        message.len()
                    );
                    verdicts.push(Verdict::Rejected(why));
                }
                Ok(Err(source)) => {
                    // An ICMP refusal is told with the message after the one that it is about.
                    if source.kind() == io::ErrorKind::ConnectionRefused
                        && let Some(last) = verdicts.last_mut().filter(|last| **last == Verdict::Delivered)
                    {
                        *last = Verdict::Retry;
                    }
                    return Err(NetFailure::Broken { peer: self.peer.clone(), source });
                }
                Err(_) => {
                    let (peer, limit) = (self.peer.clone(), self.send_limit);
                    return Err(NetFailure::TimedOut { peer, what: "room for messages", limit });
                }
            }
        }
        self.open = Some((socket, since));
        Ok(())
    }

    async fn connected(&mut self) -> Result<(Socket, Instant), NetFailure> {
        match self.open.take() {
            Some((Socket::Unix(socket), since)) => return Ok((Socket::Unix(socket), since)),
            Some((socket, since)) if since.elapsed() < RESOLVE_AGAIN => return Ok((socket, since)),
            _ => {}
        }
        let failed = |source| NetFailure::Connect { peer: self.peer.clone(), source };
        let socket = match &self.place {
            Place::Udp(target) => {
                let mut addresses = link::resolve(target, self.connect_limit).await?.into_iter();
                let address = addresses.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
                Socket::Udp(udp(address).await.map_err(failed)?)
            }
            Place::Unix(path) => Socket::Unix(link::unix_datagram(path)?),
        };
        Ok((socket, Instant::now()))
    }

    pub(super) async fn maintain(&mut self) -> Result<(), NetFailure> {
        let open = self.connected().await?;
        self.open = Some(open);
        Ok(())
    }
}

async fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}
