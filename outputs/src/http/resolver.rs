//! Names to addresses, with an error that can be told from others.

use crate::net::failure::NetFailure;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolver {
    /// A name, and the host whose addresses are meant by it.
    stand_in: Option<(String, String)>,
}

impl Resolver {
    /// `name` has the addresses of `host`: a server is asked for another name than the one it is found by.
    pub(super) fn standing_for(name: &str, host: String) -> Self {
        Self { stand_in: Some((name.to_owned(), host)) }
    }
}

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {host}: {source}")]
pub(super) struct UnknownName {
    host: String,
    source: std::io::Error,
}

impl UnknownName {
    pub(super) fn failure(&self) -> NetFailure {
        let source = std::io::Error::new(self.source.kind(), self.source.to_string());
        NetFailure::Name { host: self.host.clone(), source }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = match &self.stand_in {
            Some((stand_in, host)) if stand_in.eq_ignore_ascii_case(name.as_str()) => host.clone(),
            _ => name.as_str().to_owned(),
        };
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await.map(Iterator::collect::<Vec<_>>);
            match found {
                Ok(found) => Ok(Box::new(found.into_iter()) as Addrs),
                Err(source) => Err(UnknownName { host, source }.into()),
            }
        })
    }
}
