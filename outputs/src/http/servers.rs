//! Several servers for one sink: whose turn it is, and which of them rests.

use crate::net::backoff::Backoff;
use reqwest::Url;
use std::time::Instant;

/// A server, and until when it rests.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: Url,
    /// Host and port, for messages.
    pub(super) peer: String,
    backoff: Backoff,
    rests_until: Option<Instant>,
}

/// All of a sink.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) list: Vec<Server>,
    next: usize,
}

impl Server {
    pub(super) fn new(url: Url) -> Self {
        let port = url.port_or_known_default().unwrap_or_default();
        let peer = format!("{}:{port}", url.host_str().unwrap_or_default());
        Self { url, peer, backoff: Backoff::new(), rests_until: None }
    }

    /// It does not answer: it is left alone for a while that grows.
    pub(super) fn rest(&mut self) {
        let wait = self.backoff.wait(None);
        self.rests_until = Some(Instant::now() + wait);
    }

    /// It answers.
    pub(super) const fn wake(&mut self) {
        self.backoff.reset();
        self.rests_until = None;
    }

    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }
}

impl Servers {
    pub(super) const fn new(list: Vec<Server>) -> Self {
        Self { list, next: 0 }
    }

    /// All servers in the order in which they are to be asked: those that do not rest, in turn, then
    /// the one whose rest ends first. Never none unless no server is configured.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<usize> {
        let count = self.list.len().max(1);
        let start = self.next;
        self.next = (self.next + 1) % count;
        let all = (0..self.list.len()).map(|at| (start + at) % count);
        let awake: Vec<usize> =
            all.clone().filter(|at| self.list.get(*at).is_some_and(|server| !server.rests(now))).collect();
        if !awake.is_empty() {
            return awake;
        }
        all.min_by_key(|at| self.list.get(*at).and_then(|server| server.rests_until)).into_iter().collect()
    }
}

/// The host, without brackets.
pub(super) fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// Host and, unless it is the scheme's own, port: what the `Host` header says.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_rests_is_left_out_unless_all_do() {
        let url = |text| Server::new(Url::parse(text).unwrap());
        let mut servers = Servers::new(vec![url("http://a:1"), url("http://b"), url("https://[::1]")]);
        let peers: Vec<_> = servers.list.iter().map(|server| server.peer.as_str()).collect();
        assert_eq!(peers, ["a:1", "b:80", "[::1]:443"]);
        assert_eq!(host(&servers.list[2].url), "::1");
        assert_eq!(authority(&servers.list[2].url), "[::1]");
        let now = Instant::now();
        assert_eq!([servers.turn(now), servers.turn(now)], [[0, 1, 2], [1, 2, 0]]);
        servers.list[2].rest();
        assert_eq!(servers.turn(now), [0, 1]);
        servers.list[0].rest();
        servers.list[1].rest();
        assert_eq!(servers.turn(now).len(), 1, "the one whose rest ends first");
        servers.list[1].wake();
        assert_eq!(servers.turn(now), [1]);
    }
}
