//! Secrets and certificates of this sink, and whether they are still those that a producer was made with.
//!
//! The library reads them when a producer is made and never again.

use super::config::{KafkaConfig, Mechanism};
use crate::net::failure::NetFailure;
use crate::net::secret::{Secret, SecretReader};
use crate::net::tls::Tls;

/// See the module.
#[derive(Debug)]
pub(super) struct Access {
    tls: Option<Tls>,
    secret: Option<SecretReader>,
    mechanism: Option<Mechanism>,
}

/// What a producer is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Means {
    tls_generation: u64,
    pub(super) secret: Option<Secret>,
}

impl Access {
    pub(super) fn new(config: &KafkaConfig) -> Self {
        Self {
            tls: config.uses_tls().then(|| Tls::new(config.tls_config())),
            secret: config.secret().map(SecretReader::new),
            mechanism: config.mechanism(),
        }
    }

    /// Files and secrets as they are now. The library's words about a file that it cannot use say little,
    /// so rustls looks first.
    pub(super) fn current(&mut self) -> Result<Means, NetFailure> {
        let tls_generation = match &mut self.tls {
            Some(tls) => tls.client().map(|_| tls.generation())?,
            None => 0,
        };
        let secret = match &mut self.secret {
            Some(secret) => Some(secret.current()?.clone()),
            None => None,
        };
        Ok(Means { tls_generation, secret })
    }

    /// True when a producer that was made with `before`, and that works, should make way for one with
    /// `now`. A bearer token is given to the library when it asks.
    pub(super) fn has_moved(&self, before: &Means, now: &Means) -> bool {
        before.tls_generation != now.tls_generation
            || (self.mechanism != Some(Mechanism::OauthBearer) && before.secret != now.secret)
    }

    /// Reads secrets again in any case: what was used was refused.
    pub(super) fn forget(&mut self) {
        if let Some(secret) = &mut self.secret {
            secret.forget();
        }
    }

    /// `insecure_skip_verify` is told each hour.
    pub(super) fn tell_insecure(&mut self, sink: &str) {
        if let Some(tls) = &mut self.tls {
            tls.tell_insecure(sink);
        }
    }
}
