//! HTTP CONNECT, for sinks that speak something other than HTTP.
//!
//! A tunnel has to be asked for by the sink's `proxy`. `HTTPS_PROXY` is for HTTP sinks: what is set
//! there for a package manager seldom lets syslog through.

use crate::net::failure::NetFailure;
use crate::net::link::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A proxy's reply is no longer than this.
const MAX_REPLY_BYTES: usize = 8 << 10;

/// Reads `http://HOST:PORT`.
///
/// # Errors
/// What is wrong, as a fragment behind the key.
pub fn parse(url: &str) -> Result<Target, String> {
    let rest =
        url.strip_prefix("http://").ok_or_else(|| format!("is {url:?}: it must begin with http://"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err("holds a user: a proxy that wants a password is for HTTP sinks only".to_owned());
    }
    Target::parse(authority, None).ok_or_else(|| format!("is {url:?}: it must be http://HOST:PORT"))
}

/// Asks the proxy at the other end of `stream` for a tunnel. What follows the reply's head is the
/// destination's, and nothing of it is read here.
///
/// # Errors
/// When the proxy refuses or makes no sense.
pub(crate) async fn tunnel(
    stream: &mut TcpStream,
    proxy: &Target,
    target: &Target,
) -> Result<(), NetFailure> {
    let peer = proxy.to_string();
    let broken = |error| NetFailure::of_stream(&peer, error);
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_REPLY_BYTES {
            return Err(NetFailure::Senseless { peer, reply: "a head without an end".to_owned() });
        }
        // One by one: a byte too many would be the destination's. It is once per connection.
        head.push(stream.read_u8().await.map_err(broken)?);
    }
    match status(&head) {
        Some(200..=299) => Ok(()),
        status => {
            let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let reply = hostward_event::Text::copy(line.get(..200).unwrap_or(line)).to_string();
            Err(match status {
                Some(code) => NetFailure::Proxy { proxy: peer, reply, forbids: matches!(code, 400..=407) },
                None => NetFailure::Senseless { peer, reply },
            })
        }
    }
}

/// The code of a status line of HTTP/1.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let code = std::str::from_utf8(rest.get(2..5)?).ok()?;
    code.bytes().all(|byte| byte.is_ascii_digit()).then(|| code.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        assert_eq!(parse("http://proxy:3128/").unwrap().to_string(), "proxy:3128");
        assert_eq!(parse("http://[::1]:3128").unwrap().to_string(), "[::1]:3128");
        for wrong in ["proxy:3128", "https://proxy:3128", "http://proxy", "http://u:p@proxy:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_status_line_has_a_code() {
        assert_eq!(status(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), Some(407));
        assert_eq!(status(b"HTTP/1.0 200 OK\r\n\r\n"), Some(200));
        for none in [&b"HTTP/2 200"[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2", b"HTTP/1.1 +20 \r\n\r\n"] {
            assert_eq!(status(none), None);
        }
    }

    proptest! {
        #[test]
        fn any_reply_is_read_without_a_panic(head: Vec<u8>) {
            let _ = status(&head);
        }
    }
}
