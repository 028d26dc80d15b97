//! `hostward config check --connect` for syslog: name, connection, TLS, session. No message is sent.

use crate::net::check::CheckStep;
use crate::net::failure::NetFailure;
use crate::net::link;
use crate::net::proxy;
use crate::syslog::Transport;
use crate::syslog::config::{Address, SyslogConfig};
use std::time::Duration;

/// Tries all that can be tried without sending a message.
pub async fn check(config: &SyslogConfig) -> Vec<CheckStep> {
    let mut steps = Vec::new();
    if let Address::Udp(target)
    | Address::Tcp(target)
    | Address::Tls(target)
    | Address::Relp(target)
    | Address::Relps(target) = &config.address
    {
        let via = config.proxy.as_deref().and_then(|url| proxy::parse(url).ok());
        let first = via.as_ref().unwrap_or(target);
        let what = format!("resolve {}", first.host);
        match link::resolve(first, Duration::from_secs(config.connect_timeout_s)).await {
            Ok(found) => {
                let found: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
                steps.push(CheckStep::ok(what, found.join(", ")));
            }
            Err(failure) => {
                steps.push(failed(what, &failure));
                return steps;
            }
        }
    }
    let what = format!("connect to {}", config.address);
    let mut transport = Transport::new(config);
    steps.push(match transport.maintain().await {
        Ok(()) => CheckStep::ok(what, found(&config.address)),
        Err(failure) => failed(what, &failure),
    });
    transport.close().await;
    steps
}

fn failed(what: String, failure: &NetFailure) -> CheckStep {
    CheckStep::failed(what, format!("{failure}; {}", failure.hint()))
}

/// What a connection proves, and what it does not.
const fn found(address: &Address) -> &'static str {
    match address {
        Address::Udp(_) => "a datagram can be sent; whether one arrives, UDP does not tell",
        Address::Unix(_) => "the socket takes datagrams",
        Address::Tcp(_) => "connected; whether messages are read, the server does not tell",
        Address::Tls(_) => {
            "connected, and each side trusts the other; whether messages are read, the server does not tell"
        }
        Address::Relp(_) => "the server speaks RELP and takes syslog",
        Address::Relps(_) => "each side trusts the other; the server speaks RELP and takes syslog",
    }
}
