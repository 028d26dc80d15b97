//! The first steps of `hostward config check --connect`, the same for every HTTP sink.

use super::client::{Client, Opener, Request};
use super::outcome::Outcome;
use crate::net::check::CheckStep;
use crate::net::link::{Target, resolve};
use std::time::Duration;

/// Secrets and files, names, then a request to each server whose reply may be anything at all. No client:
/// a step failed.
pub(crate) async fn reach(opener: &mut Opener) -> (Vec<CheckStep>, Option<Client>) {
    let mut steps = Vec::new();
    let client = match opener.client() {
        Ok(client) => client,
        Err(failure) => {
            let why = format!("{failure}; {}", failure.hint());
            return (vec![CheckStep::failed("read secrets and the files of TLS", why)], None);
        }
    };
    for server in 0..client.server_count() {
        let (host, port) = client.address(server);
        let what = format!("resolve {host}");
        // Behind a proxy it is the proxy that has to know the name.
        if !opener.uses_proxy() {
            match resolve(&Target { host, port }, Duration::from_secs(10)).await {
                Ok(addresses) => {
                    let found: Vec<String> =
                        addresses.iter().map(|address| address.ip().to_string()).collect();
                    steps.push(CheckStep::ok(what, found.join(", ")));
                }
                Err(failure) => {
                    steps.push(CheckStep::failed(what, format!("{failure}; {}", failure.hint())));
                    return (steps, None);
                }
            }
        }
        let how = if client.is_secure(server) { " by TLS" } else { "" };
        let what = format!("connect to {}{how}", client.peer(server));
        match client.send_to(server, &Request::get("")).await {
            Ok(reply) if reply.status == 407 => {
                steps.push(CheckStep::failed(what, "the proxy wants a password; put it into proxy"));
                return (steps, None);
            }
            Ok(_) => steps.push(CheckStep::ok(what, "it answers")),
            Err(failure) => {
                steps.push(CheckStep::failed(what, format!("{failure}; {}", failure.hint())));
                return (steps, None);
            }
        }
    }
    (steps, Some(client))
}

/// Why something was not taken.
pub(crate) fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refused(why) | Outcome::TooLarge(why) => why,
        Outcome::Kept(failure) => failure.message,
        Outcome::Delivered | Outcome::Items(_) => "it was taken".to_owned(),
    }
}
