//! Keys that all HTTP sinks have, and what is wrong with their values.

use crate::config::QueueConfig;
use crate::net::secret::{Secret, SecretSource};
use crate::net::tls::TlsConfig;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// Coding of request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// `Content-Encoding: gzip`.
    Gzip,
    /// As they are.
    None,
}

/// What the courier and the client need to know, whatever the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// The sink's name.
    pub name: String,
    /// Servers, tried in turn.
    pub urls: Vec<String>,
    /// TLS.
    pub tls: TlsConfig,
    /// `http://HOST:PORT`; none: as the environment says; empty: none at all.
    pub proxy: Option<String>,
    /// Of request bodies.
    pub compression: Compression,
    /// Requests in flight at most.
    pub concurrency: usize,
    /// Bytes of one request at most, before compression.
    pub request_bytes: usize,
    /// Events of one request at most.
    pub request_events: usize,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Until a reply is there as a whole.
    pub request_timeout: Duration,
}

/// A key, what is wrong with its value, what to do.
pub(crate) type Report<'a> = dyn FnMut(&'static str, String, &'static str) + 'a;

impl HttpSettings {
    /// The DNS name of `server_name`, which TLS can ask a server for. An address is verified, and
    /// never asked for (RFC 6066).
    pub(crate) fn sni(&self) -> Option<String> {
        let name = rustls::pki_types::ServerName::try_from(self.tls.server_name.as_deref()?).ok()?;
        match name {
            rustls::pki_types::ServerName::DnsName(name) => Some(name.as_ref().to_ascii_lowercase()),
            _ => None,
        }
    }

    /// Tells everything that is wrong with the common keys. `url_key` is `url` or `urls`.
    pub(crate) fn validate(&self, url_key: &'static str, report: &mut Report<'_>) {
        const SHAPE: &str = "use https://HOST:PORT or http://HOST:PORT, with a path if the server has one";
        if self.urls.is_empty() || self.urls.len() > 64 {
            report(url_key, format!("names {} servers", self.urls.len()), SHAPE);
        }
        for url in &self.urls {
            match parse(url) {
                Err(what) => report(url_key, what, SHAPE),
                Ok(url) if url.scheme() == "http" && self.tls.is_set() => {
                    let what = format!("{url} has no TLS, and keys of TLS are set");
                    report(url_key, what, "use https://, or drop the keys of TLS");
                }
                Ok(_) => {}
            }
        }
        self.tls.validate(report);
        if let Some(proxy) = self.proxy.as_deref().filter(|proxy| !proxy.is_empty()) {
            if reqwest::Proxy::all(proxy).is_err() {
                // It may hold a password.
                report("proxy", "is no URL of a proxy".to_owned(), "use http://HOST:PORT, or \"\" for none");
            }
            if self.sni().is_some() {
                let what = "stands beside a proxy, which would be asked for that name".to_owned();
                report("server_name", what, "use a URL with a name from the server's certificate instead");
            }
        }
        if !(1..=64).contains(&self.concurrency) {
            report("concurrency", format!("is {}", self.concurrency), "use 1 to 64");
        }
        if !(16 << 10..=64 << 20).contains(&self.request_bytes) {
            let hint = "use 16384 (16 KiB) to 67108864 (64 MiB)";
            report("request_bytes", format!("is {}", self.request_bytes), hint);
        }
        if !(1..=16_384).contains(&self.request_events) {
            report("request_events", format!("is {}", self.request_events), "use 1 to 16384");
        }
        for (key, value) in
            [("connect_timeout_s", self.connect_timeout), ("request_timeout_s", self.request_timeout)]
        {
            if !(1..=600).contains(&value.as_secs()) {
                report(key, format!("is {}", value.as_secs()), "use 1 to 600");
            }
        }
    }
}

/// A URL that requests can be sent to.
pub(crate) fn parse(text: &str) -> Result<reqwest::Url, String> {
    // A password in it must not come back in a message.
    let url = reqwest::Url::parse(text).map_err(|error| format!("holds what is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("has the scheme {:?}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password".to_owned());
    }
    if url.fragment().is_some() {
        return Err(format!("{url} has a fragment"));
    }
    Ok(url)
}

/// The source of a secret of four keys, or nothing with what is wrong told.
pub(crate) fn secret(
    key: &'static str,
    inline: Option<&Secret>,
    file: Option<&Path>,
    env: Option<&str>,
    credential: Option<&str>,
    report: &mut Report<'_>,
) -> Option<SecretSource> {
    match SecretSource::choose(inline, file, env, credential) {
        Ok(source) => source,
        Err(what) => {
            report(key, what.to_owned(), "set one of NAME, NAME_file, NAME_env, NAME_credential");
            None
        }
    }
}

/// Of a sink's keys those that are set and hold a secret; a proxy does when its URL has a password.
pub(crate) fn inline<const N: usize>(
    keys: [(&'static str, &Option<Secret>); N],
    proxy: Option<&str>,
) -> Vec<&'static str> {
    let set = keys.into_iter().filter(|(_, secret)| secret.is_some()).map(|(key, _)| key);
    let has_password = proxy.is_some_and(|proxy| proxy.contains('@'));
    set.chain(has_password.then_some("proxy")).collect()
}

/// Bounds that suit requests: a batch gives work to several of them.
pub(crate) fn queue() -> QueueConfig {
    QueueConfig { batch_events: 4_096, batch_bytes: 4 << 20, ..QueueConfig::default() }
}

/// A sink's table: its own keys, the four of each of its secrets, and those that all HTTP sinks have (tables
/// cannot share keys through serde without losing the refusal of unknown ones). A secret also gets a method
/// that gives its source and reports what is wrong with it.
macro_rules! http_sink {
    (
        $(#[$doc:meta])*
        $config:ident, $kind:literal, urls: $urls:expr, request_events: $events:expr, compression: $compression:ident;
        secrets: [$($what:literal: $secret:ident, $file:ident, $env:ident, $credential:ident => $source:ident),*];
        $($(#[$key_doc:meta])* $key:ident: $ty:ty = $default:expr,)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $config {
            #[doc = concat!("Name in status and in messages. Default `", $kind, "`.")]
            pub name: String,
            /// Condition in the rule language; events that match are sent. Default: all.
            pub filter: Option<String>,
            /// Wire form. Default `ecs`.
            pub encoding: hostward_event::encode::Encoding,
            /// Fields that this sink does not get: names of rules or of ECS, or their beginnings up to a
            /// dot. Default none.
            pub redact: Vec<String>,
            $($(#[$key_doc])* pub $key: $ty,)*
            $(
                #[doc = concat!("The ", $what, ". Better: one of the three below.")]
                pub $secret: Option<$crate::net::secret::Secret>,
                #[doc = concat!("File that holds the ", $what, ".")]
                pub $file: Option<std::path::PathBuf>,
                #[doc = concat!("Variable of the environment that holds the ", $what, ".")]
                pub $env: Option<String>,
                #[doc = concat!("Credential of systemd that holds the ", $what, ".")]
                pub $credential: Option<String>,
            )*
            /// Authorities that may vouch for the server, PEM. Default: those of the system.
            pub ca_file: Option<std::path::PathBuf>,
            /// Our certificate, PEM, with `key_file`.
            pub cert_file: Option<std::path::PathBuf>,
            /// The key of our certificate, PEM.
            pub key_file: Option<std::path::PathBuf>,
            /// Name in the server's certificate. Default: that of the URL.
            pub server_name: Option<String>,
            /// Base64 of SHA-256 of SubjectPublicKeyInfos: the server's key is among them. Default: any.
            pub pin_sha256: Vec<String>,
            /// Trust any server: told in the log each hour. Default false.
            pub insecure_skip_verify: bool,
            /// `http://HOST:PORT`, `""` for none. Default: HTTPS_PROXY and NO_PROXY of the environment.
            pub proxy: Option<String>,
            /// Coding of request bodies: `gzip` or `none`. Default `gzip`, for webhooks `none`.
            pub compression: $crate::http::Compression,
            /// Requests in flight at most. Default 4.
            pub concurrency: usize,
            /// Bytes of one request at most, before compression. Default 4 MiB.
            pub request_bytes: usize,
            #[doc = concat!("Events of one request at most. Default ", stringify!($events), ".")]
            pub request_events: usize,
            /// Until a connection stands. Default 10.
            pub connect_timeout_s: u64,
            /// Until a reply is there as a whole. Default 60.
            pub request_timeout_s: u64,
            /// Its queue.
            pub queue: $crate::config::QueueConfig,
        }

        impl Default for $config {
            fn default() -> Self {
                Self {
                    name: $kind.to_owned(),
                    filter: None,
                    encoding: hostward_event::encode::Encoding::Ecs,
                    redact: Vec::new(),
                    $($key: $default,)*
                    $($secret: None, $file: None, $env: None, $credential: None,)*
                    ca_file: None,
                    cert_file: None,
                    key_file: None,
                    server_name: None,
                    pin_sha256: Vec::new(),
                    insecure_skip_verify: false,
                    proxy: None,
                    compression: $crate::http::Compression::$compression,
                    concurrency: 4,
                    request_bytes: 4 << 20,
                    request_events: $events,
                    connect_timeout_s: 10,
                    request_timeout_s: 60,
                    queue: $crate::http::config::queue(),
                }
            }
        }

        impl $config {
            $(fn $source(
                &self,
                report: &mut $crate::http::config::Report<'_>,
            ) -> Option<$crate::net::secret::SecretSource> {
                $crate::http::config::secret(
                    stringify!($secret),
                    self.$secret.as_ref(),
                    self.$file.as_deref(),
                    self.$env.as_deref(),
                    self.$credential.as_deref(),
                    report,
                )
            })*

            /// Of the keys those that are set and hold a secret.
            pub(crate) fn inline_secrets(&self) -> Vec<&'static str> {
                let secrets = [$((stringify!($secret), &self.$secret)),*];
                $crate::http::config::inline(secrets, self.proxy.as_deref())
            }

            /// What the courier and the client need.
            pub fn http(&self) -> $crate::http::HttpSettings {
                $crate::http::HttpSettings {
                    name: self.name.clone(),
                    urls: ($urls)(self),
                    tls: $crate::net::tls::TlsConfig {
                        ca_file: self.ca_file.clone(),
                        cert_file: self.cert_file.clone(),
                        key_file: self.key_file.clone(),
                        server_name: self.server_name.clone(),
                        pin_sha256: self.pin_sha256.clone(),
                        insecure_skip_verify: self.insecure_skip_verify,
                    },
                    proxy: self.proxy.clone(),
                    compression: self.compression,
                    concurrency: self.concurrency,
                    request_bytes: self.request_bytes,
                    request_events: self.request_events,
                    connect_timeout: std::time::Duration::from_secs(self.connect_timeout_s),
                    request_timeout: std::time::Duration::from_secs(self.request_timeout_s),
                }
            }
        }
    };
}
pub(crate) use http_sink;
