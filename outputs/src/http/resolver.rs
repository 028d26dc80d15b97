//! Names to addresses, with an error that can be told from others.

use crate::net::failure::NetFailure;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// See the module.
#[derive(Debug)]
pub(super) struct Resolver;

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
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await.map(Iterator::collect::<Vec<_>>);
            match found {
                Ok(found) => Ok(Box::new(found.into_iter()) as Addrs),
                Err(source) => Err(UnknownName { host, source }.into()),
            }
        })
    }
}
