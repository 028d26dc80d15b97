//! TLS as a sink wants it: whom to trust, who we are, and both kept current.
//!
//! # How it works
//! [`Tls::client`] is asked before every connection. It looks at the files, and builds a new
//! configuration when one of them changed. Files that change into something unusable (half a
//! rotation: the new certificate is there, its key not yet) leave the last good one in use, and the log
//! says so. TLS 1.2 and 1.3, rustls with ring.
//!
//! # Pins
//! A pin is the SHA-256 of a SubjectPublicKeyInfo (RFC 7469) of the server's own certificate. It is
//! asked in addition to the chain. With `insecure_skip_verify` the pin alone decides, which suits a
//! self-signed server; then nobody in between can pass for it, since the handshake's signature is
//! verified in every case.

mod failure;
mod verifier;

pub use failure::TlsFailure;
pub(crate) use failure::hint;

use crate::net::stamp::Stamp;
use base64::Engine;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use verifier::Verifier;
use zeroize::Zeroizing;

/// The system's store has no one file to look at; it is read again at this age.
const SYSTEM_STORE_AGE: Duration = Duration::from_secs(3_600);
/// `insecure_skip_verify` is told this often.
const INSECURE_INTERVAL: Duration = Duration::from_secs(3_600);
/// A file of certificates or a key is no larger.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The keys of a sink that concern TLS. All may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Authorities to trust, PEM; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate with its chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM, not encrypted.
    pub key_file: Option<PathBuf>,
    /// Name that the server's certificate must have, and SNI; none: the host of the address.
    pub server_name: Option<String>,
    /// Base64 of the SHA-256 of SubjectPublicKeyInfos; the server's must be among them. Empty: any.
    pub pin_sha256: Vec<String>,
    /// Takes any server for the right one (with pins: any that has one of them).
    pub insecure_skip_verify: bool,
}

impl TlsConfig {
    /// Tells all that is wrong: key, what, what to do. No file is looked at.
    pub fn validate(&self, report: &mut dyn FnMut(&'static str, String, &'static str)) {
        if self.cert_file.is_some() != self.key_file.is_some() {
            let key = if self.cert_file.is_some() { "cert_file" } else { "key_file" };
            report(key, "stands alone".to_owned(), "give both cert_file and key_file, or neither");
        }
        if let Some(name) = &self.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            report("server_name", format!("is {name:?}"), "use a DNS name or an IP address");
        }
        for pin in self.pin_sha256.iter().filter(|pin| parse_pin(pin).is_none()) {
            report(
                "pin_sha256",
                format!("has {pin:?}"),
                "use the base64 of a SHA-256: openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin \
                 -outform der | openssl dgst -sha256 -binary | base64",
            );
        }
        if self.insecure_skip_verify && self.ca_file.is_some() {
            let what = "is set although a ca_file is given".to_owned();
            report("insecure_skip_verify", what, "remove one of the two");
        }
    }

    /// True when any key is set.
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

fn parse_pin(pin: &str) -> Option<[u8; 32]> {
    base64::engine::general_purpose::STANDARD.decode(pin).ok()?.try_into().ok()
}

/// See the module.
#[derive(Debug)]
pub struct Tls {
    config: TlsConfig,
    client: Option<Arc<ClientConfig>>,
    stamps: [Option<Stamp>; 3],
    built_at: Option<Instant>,
    generation: u64,
    told_insecure_at: Option<Instant>,
}

impl Tls {
    /// Nothing is read before it is needed.
    pub const fn new(config: TlsConfig) -> Self {
        let stamps = [None; 3];
        Self { config, client: None, stamps, built_at: None, generation: 0, told_insecure_at: None }
    }

    /// The configuration for the next connection.
    ///
    /// # Errors
    /// When the files are of no use and never were.
    pub fn client(&mut self) -> Result<Arc<ClientConfig>, TlsFailure> {
        if let Some(client) = self.client.as_ref().filter(|_| !self.is_stale()) {
            return Ok(Arc::clone(client));
        }
        // Taken before the files are read: a change in between is seen the next time.
        let stamps = self.stamps_now();
        match (build(&self.config), &self.client) {
            (Ok(client), _) => {
                let client = Arc::new(client);
                self.client = Some(Arc::clone(&client));
                self.generation += 1;
                self.remember(stamps);
                Ok(client)
            }
            (Err(failure), Some(last)) => {
                tracing::error!(
                    "the files of TLS changed into something unusable; the last good ones stay in use: {failure}; {}",
                    failure.hint()
                );
                let last = Arc::clone(last);
                self.remember(stamps);
                Ok(last)
            }
            (Err(failure), None) => Err(failure),
        }
    }

    /// Grows by one each time that new files came into use.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// True when the next [`Tls::client`] reads files again: a connection that lives long may want to
    /// be made anew.
    pub fn is_stale(&self) -> bool {
        let aged = self.built_at.is_none_or(|at| at.elapsed() > SYSTEM_STORE_AGE);
        let system = self.config.ca_file.is_none() && !self.config.insecure_skip_verify;
        (system && aged) || self.stamps_now() != self.stamps
    }

    /// The name to ask the server for.
    ///
    /// # Errors
    /// When neither `server_name` nor the host is a DNS name or an address.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsFailure> {
        let name = self.config.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| TlsFailure::ServerName { name: name.to_owned() })
    }

    /// Tells in the log, at most each hour, that this sink believes any server. Called per connection
    /// and from maintenance.
    pub fn tell_insecure(&mut self, sink: &str) {
        let due = self.told_insecure_at.is_none_or(|at| at.elapsed() >= INSECURE_INTERVAL);
        if self.config.insecure_skip_verify && due {
            self.told_insecure_at = Some(Instant::now());
            let pinned = !self.config.pin_sha256.is_empty();
            tracing::warn!(
                sink,
                pinned,
                "insecure_skip_verify is set: the server's certificate is not verified"
            );
        }
    }

    fn stamps_now(&self) -> [Option<Stamp>; 3] {
        let TlsConfig { ca_file, cert_file, key_file, .. } = &self.config;
        [ca_file, cert_file, key_file].map(|path| path.as_deref().and_then(Stamp::of))
    }

    fn remember(&mut self, stamps: [Option<Stamp>; 3]) {
        self.stamps = stamps;
        self.built_at = Some(Instant::now());
    }
}

/// Reads all files and builds a configuration.
fn build(config: &TlsConfig) -> Result<ClientConfig, TlsFailure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsFailure::Setup { source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(config, &provider)?));
    let (Some(cert_file), Some(key_file)) = (&config.cert_file, &config.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(cert_file)?;
    let key = key(key_file)?;
    let pair = |source| TlsFailure::Pair { cert: cert_file.clone(), key: key_file.clone(), source };
    builder.with_client_auth_cert(chain, key).map_err(pair)
}

fn verifier(config: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsFailure> {
    let pins = config.pin_sha256.iter().filter_map(|pin| parse_pin(pin)).collect();
    if config.insecure_skip_verify {
        return Ok(Verifier::new(None, None, pins, provider));
    }
    let roots = match &config.ca_file {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                let unfit = |source| TlsFailure::Authority { path: path.clone(), source };
                roots.add(certificate).map_err(unfit)?;
            }
            roots
        }
        None => system_roots()?,
    };
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|source| TlsFailure::Verifier { source })?;
    // HTTP clients dial by the URL and cannot be told another name.
    let name = config.server_name.clone().and_then(|name| ServerName::try_from(name).ok());
    Ok(Verifier::new(Some(chain), name, pins, provider))
}

/// One bad certificate in the system's store is no reason to trust none of it.
fn system_roots() -> Result<RootCertStore, TlsFailure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "it is empty".to_owned(), ToString::to_string);
        return Err(TlsFailure::SystemStore { why });
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFailure> {
    let bytes = read(path)?;
    let unreadable = |why: String| TlsFailure::Content { path: path.to_owned(), why };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| unreadable(error.to_string()))?;
    if all.is_empty() {
        return Err(unreadable("it holds no certificate in PEM".to_owned()));
    }
    Ok(all)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFailure> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        // The parser's own words could quote a line of the key.
        let why = "it holds no key in PEM that is not encrypted".to_owned();
        TlsFailure::Content { path: path.to_owned(), why }
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsFailure> {
    use rustix::fs::{Mode, OFlags};
    let failure = |source: std::io::Error| TlsFailure::File { path: path.to_owned(), source };
    // Non-blocking: a FIFO in its place must not hold the sink for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failure(errno.into()))?;
    let file = std::fs::File::from(fd);
    let bytes = file.metadata().map_err(failure)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(TlsFailure::Content { path: path.to_owned(), why: "it is larger than 4 MiB".to_owned() });
    }
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(bytes).unwrap_or(0) + 1));
    file.take(MAX_FILE_BYTES).read_to_end(&mut content).map_err(failure)?;
    Ok(content)
}

#[cfg(test)]
mod tests;
