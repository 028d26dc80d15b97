//! A proxy between: CONNECT, granted or not.

use crate::certs::{Authority, Dates};
use crate::feed::{Count, Feed};
use crate::server::Server;
use hostward_outputs::State;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A proxy that grants CONNECT, or answers 403.
struct Proxy {
    address: SocketAddr,
    grants: Arc<AtomicBool>,
    /// First lines of requests.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Its threads end with the test program.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let grants = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (granting, asking) = (Arc::clone(&grants), Arc::clone(&asked));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (grants, asked) = (Arc::clone(&granting), Arc::clone(&asking));
                std::thread::spawn(move || serve(client.unwrap(), &grants, &asked));
            }
        });
        Self { address, grants, asked }
    }
}

fn serve(mut client: TcpStream, grants: &AtomicBool, asked: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap().to_owned();
    let place = line.strip_prefix("CONNECT ").unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    asked.lock().unwrap().push(line);
    if !grants.load(Ordering::SeqCst) {
        let _ = client.write_all(b"HTTP/1.1 403 not \x1b[31mfor you\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    let mut server = TcpStream::connect(place).unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let up = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
    let _ = up.join();
}

#[test]
fn through_a_proxy_that_first_refuses() {
    let authority = Authority::new("ours");
    let Some(server) = Server::start_with("through_a_proxy_that_first_refuses", &authority, Dates::Valid)
    else {
        return;
    };
    let proxy = Proxy::start();
    for (scheme, input, keys) in
        [("relp", "relp", String::new()), ("tls", "mtls", server.identity()), ("tcp", "tcp", String::new())]
    {
        proxy.grants.store(false, Ordering::SeqCst);
        let keys = format!("{}{keys}proxy = \"http://{}\"\n", server.keys(scheme, input), proxy.address);
        let feed = Feed::start("syslog", &keys);
        feed.send(100, 100);
        let status = feed.wait("the refusal is told", |status| status.health.state == State::Failed);
        let reason = &status.health.reason;
        assert!(reason.contains("403 not") && reason.contains("check the sink's proxy"), "{reason}");
        assert!(!reason.contains('\u{1b}'), "what the proxy says cannot drive a terminal: {reason:?}");
        proxy.grants.store(true, Ordering::SeqCst);
        feed.wait_delivered();
        assert_eq!(server.wait_all(&feed, input), Count::once(100), "{scheme}");
        let asked = proxy.asked.lock().unwrap();
        assert_eq!(asked.last().unwrap(), &format!("CONNECT {} HTTP/1.1", server.service.fact(input)));
    }
}
