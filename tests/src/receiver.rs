//! Something that takes webhooks.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A body is smaller; a larger one is no webhook of ours.
const MAX_BODY_BYTES: u64 = 64 << 20;

#[derive(Debug)]
struct Shared {
    status: AtomicU16,
    ended: AtomicBool,
    bodies: Mutex<Vec<Vec<u8>>>,
}

/// A plain HTTP server that keeps what is posted to it, and answers each request with one status.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Listens at `address`; port 0: any. It answers with `status`.
    ///
    /// # Errors
    /// The address is taken.
    pub fn start(address: SocketAddr, status: u16) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            status: AtomicU16::new(status),
            ended: AtomicBool::new(false),
            bodies: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A client that breaks off takes the consequences.
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers from now on.
    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// All events that it answered with a 2xx, in the order of arrival: each body is a JSON array.
    ///
    /// # Errors
    /// A body was none.
    pub fn events(&self) -> Result<Vec<Value>> {
        let bodies = self.shared.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = Vec::new();
        for body in bodies.iter() {
            let batch: Vec<Value> = serde_json::from_slice(body).context("a body that is no JSON array")?;
            events.extend(batch);
        }
        Ok(events)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// Requests of one connection until the client ends it.
fn serve(mut stream: &TcpStream, shared: &Shared) -> Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let header = line.to_ascii_lowercase();
            if let Some(digits) = header.strip_prefix("content-length:") {
                length = digits.trim().parse()?;
            }
        }
        ensure!(length <= MAX_BODY_BYTES, "a body of {length} bytes");
        let mut body = Vec::new();
        reader.by_ref().take(length).read_to_end(&mut body)?;
        let status = shared.status.load(Ordering::SeqCst);
        if (200..300).contains(&status) && length > 0 {
            shared.bodies.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        }
        stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
    }
}
