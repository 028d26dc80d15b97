//! Entries in the journal of this machine, by its native protocol.
//!
//! # Why it exists
//! A machine without a SIEM still has a journal, and people who know how to ask it: an alert there is
//! found by `journalctl -t hostward`, by its priority, its rule and its id.
//!
//! # How it works
//! Each event is one datagram to the journal's socket (`entry`). One that is larger than the kernel
//! takes goes as a sealed memory file whose descriptor is sent instead. Delivered means that the kernel
//! has it; it survives a restart of journald, because systemd keeps the socket.
//!
//! # What can go wrong
//! - *No such socket, nobody behind it*: the sink backs off, and the events wait.
//! - *journald is slow*: its queue fills, the call waits, then backs off.
//! - *journald drops what exceeds its own rate limit* (`RateLimitBurst=` in journald.conf) and tells nobody but
//!   the journal: a `filter` for alerts keeps a sink below it.
//!
//! # Not here
//! The agent's own log, which goes to the journal by another way.

mod config;
mod entry;

pub use config::JournaldConfig;

use crate::net::check::CheckStep;
use crate::net::failure::NetFailure;
use crate::net::link;
use crate::net::vitals::Vitals;
use crate::sink::{Ack, Batch, SendFailure, Sink};
use entry::Writer;
use hostward_event::encode::Form;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

/// journald takes nothing for this long: it hangs.
const SEND_LIMIT: Duration = Duration::from_secs(30);

/// See the module.
pub struct JournaldSink {
    socket: PathBuf,
    writer: Writer,
    open: Option<UnixDatagram>,
    vitals: Vitals,
    by_file: u64,
    bytes: Vec<u8>,
}

impl JournaldSink {
    /// Nothing is opened before it is driven.
    pub fn new(config: &JournaldConfig, form: Form) -> Self {
        Self {
            socket: config.socket.clone(),
            writer: Writer::new(config, form),
            open: None,
            vitals: Vitals::new(config.name.clone()),
            by_file: 0,
            bytes: Vec::new(),
        }
    }

    async fn send_all(&mut self, batch: &Batch, delivered: &mut usize) -> Result<(), NetFailure> {
        // Taken out while it is in use: after a failure a new one is tried.
        let socket = match self.open.take() {
            Some(socket) => socket,
            None => link::unix_datagram(&self.socket)?,
        };
        let peer = || self.socket.display().to_string();
        for event in batch.events() {
            self.bytes.clear();
            self.writer.write(event, &mut self.bytes);
            match timeout(SEND_LIMIT, send(&socket, &self.bytes)).await {
                Ok(Ok(by_file)) => self.by_file += u64::from(by_file),
                Ok(Err(source)) => return Err(NetFailure::Broken { peer: peer(), source }),
                Err(_) => {
                    return Err(NetFailure::TimedOut {
                        peer: peer(),
                        what: "room for entries",
                        limit: SEND_LIMIT,
                    });
                }
            }
            *delivered += 1;
        }
        self.open = Some(socket);
        Ok(())
    }
}

impl Sink for JournaldSink {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        let mut delivered = 0;
        match self.send_all(batch, &mut delivered).await {
            Ok(()) => {
                self.vitals.acked();
                Ok(Ack::All)
            }
            Err(failure) => Err(SendFailure { delivered, ..self.vitals.failed(&failure) }),
        }
    }

    async fn maintain(&mut self) -> Result<(), SendFailure> {
        if self.open.is_none() {
            let socket = link::unix_datagram(&self.socket);
            self.open = Some(socket.map_err(|failure| self.vitals.failed(&failure))?);
            self.vitals.acked();
        }
        Ok(())
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.vitals.counters();
        counters.push(("entries_by_file", self.by_file));
        counters
    }
}

/// Sends one entry; true when it had to go as a file.
async fn send(socket: &UnixDatagram, entry: &[u8]) -> io::Result<bool> {
    match socket.send(entry).await {
        Ok(_) => return Ok(false),
        Err(error) if is_too_large(&error) => {}
        Err(error) => return Err(error),
    }
    let file = sealed(entry)?;
    let pass = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        // The room is for one.
        control.push(SendAncillaryMessage::ScmRights(&files));
        Ok(sendmsg(socket, &[], &mut control, SendFlags::NOSIGNAL)?)
    };
    socket.async_io(Interest::WRITABLE, pass).await.map(|_| true)
}

/// EMSGSIZE: larger than the socket's buffer; ENOBUFS: no memory in one piece for it.
fn is_too_large(error: &io::Error) -> bool {
    [Errno::MSGSIZE, Errno::NOBUFS].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A file in memory that nobody can change any more: journald takes no other.
fn sealed(bytes: &[u8]) -> io::Result<File> {
    let fd = rustix::fs::memfd_create("hostward-entry", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// `hostward config check --connect`: whether the socket takes datagrams. No entry is written.
pub async fn check(config: &JournaldConfig) -> Vec<CheckStep> {
    let what = format!("connect to {}", config.socket.display());
    vec![match link::unix_datagram(&config.socket) {
        Ok(_) => CheckStep::ok(what, "the socket takes datagrams"),
        Err(failure) => CheckStep::failed(what, format!("{failure}; {}", failure.hint())),
    }]
}
