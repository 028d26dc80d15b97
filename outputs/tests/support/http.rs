//! An HTTP/1.1 server that answers as a test says, byte for byte if need be, and remembers what it got.
//!
//! It is strict: a request that is not as the specification has it ends in a panic of its own thread,
//! and [`Fake::requests`] then fails the test.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a client sent.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Without gzip.
    pub(crate) body: Vec<u8>,
    /// The name that TLS asked for; empty: none.
    pub(crate) sni: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// So many bytes of the body are sent, then the connection is closed.
    cut_at: Option<usize>,
    /// The body goes out byte by byte with this pause.
    drip: Option<Duration>,
    delay: Duration,
    /// The request is taken and the connection closed.
    hang_up: bool,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let (headers, body) = (Vec::new(), body.into());
        Self { status, headers, body, cut_at: None, drip: None, delay: Duration::ZERO, hang_up: false }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn cut_at(self, bytes: usize) -> Self {
        Self { cut_at: Some(bytes), ..self }
    }

    pub(crate) fn drip(self, pause: Duration) -> Self {
        Self { drip: Some(pause), ..self }
    }

    pub(crate) fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    pub(crate) fn hang_up() -> Self {
        Self { hang_up: true, ..Self::new(200, "") }
    }
}

type Handler = dyn Fn(&Received, usize) -> Answer + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    /// The TLS of the next connection; none: no TLS at all.
    tls: Mutex<Option<Arc<ServerConfig>>>,
    received: Mutex<Vec<Received>>,
    count: AtomicUsize,
    flying: AtomicUsize,
    most_flying: AtomicUsize,
    broken: Mutex<Vec<String>>,
    ended: AtomicBool,
}

/// See the module.
pub(crate) struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Fake {
    /// `handler` gets each request with its number, from 0.
    pub(crate) fn start(handler: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(None, handler)
    }

    /// As [`Fake::start`], by TLS.
    pub(crate) fn start_tls(
        tls: Arc<ServerConfig>,
        handler: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Some(tls), handler)
    }

    fn start_with(
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            tls: Mutex::new(tls),
            received: Mutex::default(),
            count: AtomicUsize::new(0),
            flying: AtomicUsize::new(0),
            most_flying: AtomicUsize::new(0),
            broken: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&accepting));
                std::thread::spawn(move || {
                    if let Err(why) = connect(stream, &shared) {
                        shared.broken.lock().unwrap().push(why);
                    }
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        let is_tls = self.shared.tls.lock().unwrap().is_some();
        format!("{}://{}", if is_tls { "https" } else { "http" }, self.address)
    }

    /// The next connection is by this TLS.
    pub(crate) fn set_tls(&self, tls: Arc<ServerConfig>) {
        *self.shared.tls.lock().unwrap() = Some(tls);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    ///
    /// # Panics
    /// When one of them was no proper request.
    pub(crate) fn requests(&self) -> Vec<Received> {
        let broken = self.shared.broken.lock().unwrap();
        assert!(broken.is_empty(), "improper requests: {broken:?}");
        self.shared.received.lock().unwrap().clone()
    }

    /// Most requests that were under way at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most_flying.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// With TLS or without.
fn connect(stream: TcpStream, shared: &Shared) -> Result<(), String> {
    let tls = shared.tls.lock().unwrap().clone();
    let Some(tls) = tls else { return serve(stream, "", shared) };
    let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
    // A client that does not trust us, or we not it, is what some tests are about.
    if stream.conn.complete_io(&mut stream.sock).is_err() {
        let _ = stream.sock.shutdown(std::net::Shutdown::Both);
        return Ok(());
    }
    let sni = stream.conn.server_name().unwrap_or_default().to_owned();
    serve(stream, &sni, shared)
}

/// Requests of one connection until the client ends it, or we do by dropping it.
fn serve(stream: impl Read + Write, sni: &str, shared: &Shared) -> Result<(), String> {
    let mut reader = BufReader::new(stream);
    loop {
        let Some(received) = read(&mut reader, sni)? else { return Ok(()) };
        let number = shared.count.fetch_add(1, Ordering::SeqCst);
        let flying = shared.flying.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_flying.fetch_max(flying, Ordering::SeqCst);
        let answer = (shared.handler)(&received, number);
        shared.received.lock().unwrap().push(received);
        std::thread::sleep(answer.delay);
        let goes_on = write(reader.get_mut(), &answer);
        shared.flying.fetch_sub(1, Ordering::SeqCst);
        if !goes_on {
            return Ok(());
        }
    }
}

/// None: the client closed the connection, or broke off (a client may, and takes the consequences).
fn read(reader: &mut BufReader<impl Read>, sni: &str) -> Result<Option<Received>, String> {
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return Ok(None);
    }
    let words: Vec<&str> = line.trim_end().split(' ').collect();
    let [method, path, "HTTP/1.1"] = words[..] else { return Err(format!("no request line: {line:?}")) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.trim_end().split_once(": ").ok_or(format!("no header: {line:?}"))?;
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    if header("host").is_empty() || !header("user-agent").starts_with("hostward/") {
        return Err(format!("no host or user agent: {headers:?}"));
    }
    let length: usize = match header("content-length") {
        "" if method == "GET" || method == "HEAD" => 0,
        digits => digits.parse().map_err(|_| format!("no length: {headers:?}"))?,
    };
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return Ok(None);
    }
    match header("content-encoding") {
        "" => {}
        "gzip" => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..])
                .read_to_end(&mut plain)
                .map_err(|error| format!("bad gzip: {error}"))?;
            body = plain;
        }
        other => return Err(format!("coding {other}")),
    }
    Ok(Some(Received { method, path, headers, body, sni: sni.to_owned() }))
}

/// Whether the connection goes on.
fn write(stream: &mut impl Write, answer: &Answer) -> bool {
    if answer.hang_up {
        return false;
    }
    let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let body = answer.cut_at.map_or(&answer.body[..], |cut| &answer.body[..cut]);
    let mut sent = stream.write_all(head.as_bytes());
    match answer.drip {
        None => sent = sent.and_then(|()| stream.write_all(body)),
        Some(pause) => {
            for byte in body {
                sent = sent.and_then(|()| stream.write_all(&[*byte]));
                std::thread::sleep(pause);
            }
        }
    }
    sent = sent.and_then(|()| stream.flush());
    sent.is_ok() && answer.cut_at.is_none()
}
