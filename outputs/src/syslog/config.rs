//! The keys of a sink of type `syslog`.

use crate::config::{Encoding, QueueConfig};
use crate::net::link::Target;
use crate::net::proxy;
use crate::net::tls::TlsConfig;
use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::path::PathBuf;

/// Where messages go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A datagram each; nobody says whether it came.
    Udp(Target),
    /// A stream; nobody says whether it was read.
    Tcp(Target),
    /// As TCP, encrypted (RFC 5425).
    Tls(Target),
    /// RELP: each message is acknowledged.
    Relp(Target),
    /// RELP over TLS.
    Relps(Target),
    /// Datagrams to a socket of this machine.
    Unix(PathBuf),
}

impl Address {
    /// Reads `udp://HOST[:514]`, `tcp://HOST[:514]`, `tls://HOST[:6514]`, `relp://HOST:PORT`,
    /// `relps://HOST:PORT`, `unix:///PATH`.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shape =
            "use udp://HOST, tcp://HOST, tls://HOST, relp://HOST:PORT, relps://HOST:PORT or unix:///PATH";
        let wrong = || format!("{text:?} is no address; {shape}");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        if scheme == "unix" {
            // sun_path of Linux has room for 107 bytes and a NUL.
            let fits = rest.starts_with('/') && rest.len() <= 107 && !rest.contains('\0');
            return if fits { Ok(Self::Unix(PathBuf::from(rest))) } else { Err(wrong()) };
        }
        let (make, port): (fn(Target) -> Self, _) = match scheme {
            "udp" => (Self::Udp, Some(514)),
            "tcp" => (Self::Tcp, Some(514)),
            "tls" => (Self::Tls, Some(6514)),
            "relp" => (Self::Relp, None),
            "relps" => (Self::Relps, None),
            _ => return Err(wrong()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        Target::parse(rest, port).map(make).ok_or_else(wrong)
    }

    /// True when TLS is spoken.
    pub const fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Relps(_))
    }

    const fn is_stream(&self) -> bool {
        !matches!(self, Self::Udp(_) | Self::Unix(_))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(target) => write!(f, "udp://{target}"),
            Self::Tcp(target) => write!(f, "tcp://{target}"),
            Self::Tls(target) => write!(f, "tls://{target}"),
            Self::Relp(target) => write!(f, "relp://{target}"),
            Self::Relps(target) => write!(f, "relps://{target}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// How a stream tells messages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// The length stands before each (RFC 6587 3.4.1, RFC 5425).
    OctetCounting,
    /// A line feed stands behind each (RFC 6587 3.4.2).
    Lf,
}

/// Messages of RFC 5424 to a syslog server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyslogConfig {
    /// Name in status and in messages. Default `syslog`.
    pub name: String,
    /// Condition in the rule language; events that match are sent. Default: all.
    pub filter: Option<String>,
    /// Wire form of the message's text. Default `ecs`.
    pub encoding: Encoding,
    /// Fields that this sink does not get: names of rules or of ECS, or their beginnings up to a
    /// dot. Default none.
    pub redact: Vec<String>,
    /// Where messages go. Default `unix:///dev/log`.
    pub address: Address,
    /// Syslog facility, 0 to 23. Default 13 (audit).
    pub facility: u8,
    /// How a stream of `tcp://` or `tls://` tells messages apart. Default `octet_counting`.
    pub framing: Framing,
    /// Bytes of a message at most, header included; a longer one is trimmed field by field. Default 8192.
    pub max_message: usize,
    /// Event id, action and lane as structured data. Default false.
    pub structured_data: bool,
    /// Private enterprise number of the structured data. Default 32473, which RFC 5612 has for examples.
    pub enterprise_id: u32,
    /// `http://HOST:PORT` that gives a tunnel (CONNECT) to the server. Default none.
    pub proxy: Option<String>,
    /// Authorities to trust, PEM. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate with its chain, PEM. Default none.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM, not encrypted.
    pub key_file: Option<PathBuf>,
    /// Name that the server's certificate must have. Default: the host of the address.
    pub server_name: Option<String>,
    /// Base64 of the SHA-256 of SubjectPublicKeyInfos; the server's must be among them. Default: any.
    pub pin_sha256: Vec<String>,
    /// Takes any server for the right one. Default false.
    pub insecure_skip_verify: bool,
    /// For the name, the connection and the TLS handshake, each. Default 10.
    pub connect_timeout_s: u64,
    /// Without any progress of a send or an ack. Default 30.
    pub send_timeout_s: u64,
    /// Its queue.
    pub queue: QueueConfig,
}

impl Default for SyslogConfig {
    fn default() -> Self {
        Self {
            name: "syslog".to_owned(),
            filter: None,
            encoding: Encoding::Ecs,
            redact: Vec::new(),
            address: Address::Unix(PathBuf::from("/dev/log")),
            facility: 13,
            framing: Framing::OctetCounting,
            max_message: 8_192,
            structured_data: false,
            enterprise_id: 32_473,
            proxy: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            server_name: None,
            pin_sha256: Vec::new(),
            insecure_skip_verify: false,
            connect_timeout_s: 10,
            send_timeout_s: 30,
            queue: QueueConfig::default(),
        }
    }
}

impl SyslogConfig {
    pub(crate) fn tls(&self) -> TlsConfig {
        TlsConfig {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            server_name: self.server_name.clone(),
            pin_sha256: self.pin_sha256.clone(),
            insecure_skip_verify: self.insecure_skip_verify,
        }
    }

    pub(crate) fn validate(&self, report: &mut dyn FnMut(&'static str, String, &'static str)) {
        let tls = self.tls();
        if tls.is_set() && !self.address.is_encrypted() {
            let what = format!("{} has no TLS, and keys of TLS are set", self.address);
            report("address", what, "use tls:// or relps://, or drop the keys of TLS");
        }
        tls.validate(report);
        if self.facility > 23 {
            report(
                "facility",
                format!("is {}", self.facility),
                "use 0 to 23, for example 13 (audit) or 16 (local0)",
            );
        }
        let is_udp = matches!(self.address, Address::Udp(_));
        // A UDP datagram over IPv4 carries 65,507 bytes.
        let most = if is_udp { 65_507 } else { 131_072 };
        if !(1_024..=most).contains(&self.max_message) {
            let hint = if is_udp { "use 1024 to 65507" } else { "use 1024 to 131072 (128 KiB)" };
            report("max_message", format!("is {}", self.max_message), hint);
        }
        let lf_is_used = matches!(self.address, Address::Tcp(_) | Address::Tls(_));
        if self.framing == Framing::Lf && !lf_is_used {
            report("framing", format!("is of no use for {}", self.address), "drop it");
        }
        match self.proxy.as_deref() {
            Some(_) if !self.address.is_stream() => {
                report("proxy", format!("cannot carry {}", self.address), "drop it");
            }
            Some(url) => {
                if let Err(what) = proxy::parse(url) {
                    report("proxy", what, "use http://HOST:PORT");
                }
            }
            None => {}
        }
        for (key, value) in
            [("connect_timeout_s", self.connect_timeout_s), ("send_timeout_s", self.send_timeout_s)]
        {
            if !(1..=600).contains(&value) {
                report(key, format!("is {value}"), "use 1 to 600");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_how_and_where() {
        for (text, whole) in [
            ("udp://log", "udp://log:514"),
            ("tcp://10.0.0.1:601/", "tcp://10.0.0.1:601"),
            ("tls://[::1]", "tls://[::1]:6514"),
            ("relps://log:2514", "relps://log:2514"),
            ("unix:///dev/log", "unix:///dev/log"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), whole);
        }
        for wrong in ["log:514", "relp://log", "http://log", "unix://dev/log", "tcp://", "udp://a b"] {
            let told = Address::parse(wrong).unwrap_err();
            assert!(told.contains(wrong) && told.contains("relp://HOST:PORT"), "{told}");
        }
    }

    #[test]
    fn a_short_block_is_enough_and_all_problems_are_told() {
        let config: SyslogConfig = toml::from_str("address = \"tls://127.0.0.1:6514\"").unwrap();
        let mut keys = Vec::new();
        config.validate(&mut |key, _, _| keys.push(key));
        assert_eq!(keys, Vec::<&str>::new());
        let config: SyslogConfig = toml::from_str(
            "address = \"udp://h\"\nca_file = \"x\"\nfacility = 24\nmax_message = 70000\nframing = \"lf\"\n\
             proxy = \"http://p:1\"\nsend_timeout_s = 0",
        )
        .unwrap();
        config.validate(&mut |key, _, _| keys.push(key));
        assert_eq!(keys, ["address", "facility", "max_message", "framing", "proxy", "send_timeout_s"]);
    }
}
