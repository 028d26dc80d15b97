//! Messages on a stream without acks: TCP and TLS.
//!
//! A write that went well says that the kernel has the bytes, not that the server read them. So the
//! latest bytes are kept, and sent again on the next connection: more of them than our kernel can
//! hold. What the server's kernel held when the server died is covered as far as it is part of them. A
//! server that gets some twice knows them by `event.id`.
//!
//! A server that ends quiet connections must not get the same bytes again each time. One that closed in
//! order had read all (a kernel answers bytes that nobody read with a reset), and after a quiet minute
//! it has dealt with them, too.

use crate::net::failure::NetFailure;
use crate::net::link::Stream;
use crate::sink::{Batch, Verdict};
use crate::syslog::Outcome;
use crate::syslog::config::Framing;
use crate::syslog::dial::{self, Dialer, Step};
use crate::syslog::frame::Framer;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Kept and sent again: larger than our kernel's buffer, see [`dial`].
const TAIL_BYTES: usize = 512 << 10;
/// Messages are handed to the kernel in pieces of this size.
const CHUNK_BYTES: usize = 16 << 10;
/// A connection that the server ends sooner than this is a refusal; later, it is its idle time-out.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// What a server read so long before it ended the connection in order is not sent again.
const QUIET: Duration = Duration::from_secs(60);

/// Whole messages, as they are on the wire.
struct Chunk {
    bytes: Vec<u8>,
    messages: u64,
}

pub(super) struct Line {
    dialer: Dialer,
    framing: Framing,
    open: Option<(Stream, Instant)>,
    tail: VecDeque<Chunk>,
    tail_bytes: usize,
    /// When the connection last took bytes.
    wrote_at: Instant,
    connections: u64,
    resent: u64,
}

impl Line {
    pub(super) fn new(dialer: Dialer, framing: Framing) -> Self {
        Self {
            dialer,
            framing,
            open: None,
            tail: VecDeque::new(),
            tail_bytes: 0,
            wrote_at: Instant::now(),
            connections: 0,
            resent: 0,
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
        // Taken out while it is in use: a call that is cut short leaves half a message, and then the
        // connection must not be used again.
        let (mut stream, since) = self.connected().await?;
        let mut events = batch.events().peekable();
        while events.peek().is_some() {
            let mut chunk = Chunk { bytes: Vec::with_capacity(CHUNK_BYTES * 2), messages: 0 };
            while chunk.bytes.len() < CHUNK_BYTES
                && let Some(event) = events.next()
            {
                *trimmed += u64::from(framer.framed(event, self.framing, &mut chunk.bytes));
                chunk.messages += 1;
            }
            write(&self.dialer, &mut stream, &chunk.bytes).await?;
            verdicts.extend((0..chunk.messages).map(|_| Verdict::Delivered));
            self.keep(chunk);
        }
        self.open = Some((stream, since));
        Ok(())
    }

    /// The open connection, or a new one on which the tail was sent again.
    async fn connected(&mut self) -> Result<(Stream, Instant), NetFailure> {
        if self.dialer.is_stale()
            && let Some((stream, _)) = self.open.take()
            && dial::farewell(stream).await
        {
            self.forget_tail();
        }
        if let Some((mut stream, since)) = self.open.take() {
            match dial::glance(&mut stream, &mut Vec::new()).await {
                Ok(()) => return Ok((stream, since)),
                Err(error) if since.elapsed() < SHORT_LIFE => return Err(self.dialer.broken(error)),
                Err(error) => {
                    tracing::debug!(peer = %self.dialer.peer, %error, "the server ended the connection");
                    let in_order = error.kind() == std::io::ErrorKind::UnexpectedEof;
                    if in_order && self.wrote_at.elapsed() >= QUIET {
                        self.forget_tail();
                    }
                }
            }
        }
        let mut stream = self.dialer.dial().await?;
        self.connections += 1;
        for chunk in &self.tail {
            write(&self.dialer, &mut stream, &chunk.bytes).await?;
            self.resent += chunk.messages;
            self.wrote_at = Instant::now();
        }
        Ok((stream, Instant::now()))
    }

    fn keep(&mut self, chunk: Chunk) {
        self.wrote_at = Instant::now();
        self.tail_bytes += chunk.bytes.len();
        self.tail.push_back(chunk);
        while let Some(oldest) = self.tail.front().map(|chunk| chunk.bytes.len())
            && self.tail_bytes - oldest >= TAIL_BYTES
        {
            self.tail.pop_front();
            self.tail_bytes -= oldest;
        }
    }

    fn forget_tail(&mut self) {
        self.tail.clear();
        self.tail_bytes = 0;
    }

    /// Connects at the start, and again as soon as a server that may not have read the tail is gone:
    /// on a quiet machine the next event may be hours away.
    pub(super) async fn maintain(&mut self) -> Result<(), NetFailure> {
        self.dialer.remind();
        let open = self.connected().await?;
        self.open = Some(open);
        Ok(())
    }

    pub(super) async fn close(&mut self) {
        if let Some((stream, _)) = self.open.take()
            && dial::farewell(stream).await
        {
            self.forget_tail();
        }
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("connections", self.connections), ("resent_messages", self.resent)]
    }
}

/// Writes all; the time limit starts anew with each piece.
async fn write(dialer: &Dialer, stream: &mut Stream, bytes: &[u8]) -> Result<(), NetFailure> {
    let mut ignored = Vec::new();
    for piece in bytes.chunks(CHUNK_BYTES) {
        let mut written = 0;
        loop {
            let step = dial::exchange(stream, piece, &mut written, &mut ignored);
            match timeout(dialer.send_limit, step).await {
                Err(_) => return Err(dialer.timed_out("room for messages")),
                Ok(Err(error)) => return Err(dialer.broken(error)),
                Ok(Ok(Step::Sent)) => break,
                // A syslog server has nothing to say.
                Ok(Ok(Step::Read(_))) => ignored.clear(),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syslog::config::{Address, SyslogConfig};
    use std::io::Read;

    #[test]
    fn the_tail_is_sent_again_unless_the_server_ended_a_quiet_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::parse(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
        let Address::Tcp(target) = address.clone() else { panic!() };
        let config = SyslogConfig { address, ..SyslogConfig::default() };
        let mut line = Line::new(Dialer::new(&config, &target, false), Framing::Lf);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            line.maintain().await.unwrap();
            line.keep(Chunk { bytes: b"one\n".to_vec(), messages: 1 });
            for (quiet, got, again) in [(Duration::ZERO, &b""[..], true), (QUIET, b"one\n", false)] {
                // The server reads all and ends the connection in order.
                let (mut server, _) = listener.accept().unwrap();
                let mut bytes = vec![0; got.len()];
                server.read_exact(&mut bytes).unwrap();
                assert_eq!(bytes, got);
                drop(server);
                let Some((Stream::Plain(stream), since)) = line.open.as_mut() else { panic!() };
                stream.readable().await.unwrap();
                *since = since.checked_sub(SHORT_LIFE).unwrap();
                line.wrote_at = Instant::now().checked_sub(quiet).unwrap();
                line.maintain().await.unwrap();
                assert_eq!((line.resent, line.tail_bytes), (1, if again { 4 } else { 0 }));
            }
            line.close().await;
        });
        let mut got = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"", "the third connection got nothing again");
    }

    #[test]
    fn the_tail_is_bounded_and_holds_more_than_our_kernel() {
        let config = SyslogConfig { address: Address::parse("tcp://h").unwrap(), ..SyslogConfig::default() };
        let Address::Tcp(target) = config.address.clone() else { panic!() };
        let mut line = Line::new(Dialer::new(&config, &target, false), Framing::OctetCounting);
        for _ in 0..200 {
            line.keep(Chunk { bytes: vec![b'x'; CHUNK_BYTES], messages: 1 });
        }
        assert!((TAIL_BYTES..TAIL_BYTES + CHUNK_BYTES).contains(&line.tail_bytes), "{}", line.tail_bytes);
        assert_eq!(line.tail.len() * CHUNK_BYTES, line.tail_bytes);
    }
}
