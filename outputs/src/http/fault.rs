//! What a failed request means, found in the chain of its causes.

use super::resolver::UnknownName;
use crate::net::failure::NetFailure;
use hostward_event::Text;
use std::error::Error;
use std::time::Duration;

/// Why a request to `peer` has no reply.
pub(super) fn failure(peer: &str, error: &reqwest::Error, limit: Duration) -> NetFailure {
    let peer = peer.to_owned();
    if let Some(name) = causes(error).find_map(|cause| find::<UnknownName>(cause)) {
        return name.failure();
    }
    if let Some(tls) = causes(error).find_map(|cause| find::<rustls::Error>(cause)) {
        return NetFailure::Tls { peer, source: tls.clone() };
    }
    // hyper-util keeps the type of a failed tunnel to itself. The outermost error has the URL in its words.
    let said = |words: &str| causes(error).skip(1).any(|cause| cause.to_string().contains(words));
    if said("tunnel error") {
        let reply = innermost(error);
        return NetFailure::Proxy {
            proxy: format!("to {peer}"),
            reply,
            forbids: said("authorization required"),
        };
    }
    if error.is_timeout() {
        let what = if error.is_connect() { "connection" } else { "whole reply" };
        return NetFailure::TimedOut { peer, what, limit };
    }
    let kernel = causes(error).find_map(|cause| find::<std::io::Error>(cause));
    let source = match kernel {
        Some(kernel) => std::io::Error::new(kernel.kind(), escaped(&kernel.to_string())),
        None => std::io::Error::other(innermost(error)),
    };
    match error.is_connect() {
        true => NetFailure::Connect { peer, source },
        false => NetFailure::Broken { peer, source },
    }
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'e (dyn Error + 'static)| error.source())
}

/// An I/O error hides what it wraps from [`Error::source`], and connectors wrap one in another.
fn find<'e, T: Error + 'static>(cause: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut cause = cause;
    loop {
        if let Some(found) = cause.downcast_ref::<T>() {
            return Some(found);
        }
        cause = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    }
}

fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(String::new, |cause| escaped(&cause.to_string()))
}

fn escaped(text: &str) -> String {
    Text::copy(text.as_bytes()).to_string()
}
