//! The keys of a sink of type `kafka`.

use crate::config::QueueConfig;
use crate::net::link::Target;
use crate::net::secret::{Secret, SecretSource};
use crate::net::tls::TlsConfig;
use hostward_event::encode::Encoding;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Port of a broker that is named without one.
const DEFAULT_PORT: u16 = 9092;

/// What decides to which partition an event goes: events of one key keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Key {
    /// The machine.
    #[serde(rename = "host.id")]
    HostId,
    /// The process: spreads one busy host over all partitions.
    #[serde(rename = "process.entity_id")]
    ProcessEntityId,
    /// None: spread at random.
    #[serde(rename = "none")]
    None,
}

impl Key {
    /// The field that it shows.
    pub(super) const fn field(self) -> Option<&'static str> {
        match self {
            Self::HostId => Some("host.id"),
            Self::ProcessEntityId => Some("process.entity_id"),
            Self::None => None,
        }
    }
}

/// Coding of record batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// The smallest; brokers since 2.1.
    Zstd,
    /// Cheaper for the CPU.
    Lz4,
    /// For brokers or readers that know nothing else.
    Snappy,
    /// As they are.
    None,
}

impl Codec {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
            Self::None => "none",
        }
    }
}

/// How the agent proves who it is (SASL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// The password itself, so with TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A proof of the password.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A proof of the password.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// A bearer token (RFC 7628), so with TLS only.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

impl Mechanism {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    /// Who listens to the connection has the secret.
    const fn shows_secret(self) -> bool {
        matches!(self, Self::Plain | Self::OauthBearer)
    }
}

/// Records in a topic of Apache Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Name in status and in messages. Default `kafka`.
    pub name: String,
    /// Condition in the rule language; events that match are sent. Default: all.
    pub filter: Option<String>,
    /// Wire form. Default `ecs`.
    pub encoding: Encoding,
    /// Fields that this sink does not get: names of rules or of ECS, or their beginnings up to a
    /// dot. Default none.
    pub redact: Vec<String>,
    /// Brokers to ask first, `HOST:PORT`; they name the others. Required.
    pub brokers: Vec<String>,
    /// The topic. Default `hostward`.
    pub topic: String,
    /// What decides the partition. Default `host.id`.
    pub key: Key,
    /// Coding of record batches. Default `zstd`.
    pub compression: Codec,
    /// A record with its key and headers is no longer than this; keep it at or below the topic's
    /// `max.message.bytes`. Default 1000000.
    pub message_max_bytes: usize,
    /// Connect by TLS. Default: true when a key of TLS is set.
    pub tls: Option<bool>,
    /// Authorities that may vouch for the brokers, PEM. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM, with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The key of our certificate, PEM.
    pub key_file: Option<PathBuf>,
    /// Trust any broker: told in the log each hour. Default false.
    pub insecure_skip_verify: bool,
    /// How to log in. Default: `SCRAM-SHA-512` when a user is named, `OAUTHBEARER` when a token is, else
    /// not at all.
    pub sasl: Option<Mechanism>,
    /// Who logs in.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// File with its password.
    pub password_file: Option<PathBuf>,
    /// Variable of the environment with its password.
    pub password_env: Option<String>,
    /// Credential of systemd with its password.
    pub password_credential: Option<String>,
    /// Bearer token; one that ends should come from a file that somebody renews.
    pub token: Option<Secret>,
    /// File with the bearer token.
    pub token_file: Option<PathBuf>,
    /// Variable of the environment with the bearer token.
    pub token_env: Option<String>,
    /// Credential of systemd with the bearer token.
    pub token_credential: Option<String>,
    /// Its queue.
    pub queue: QueueConfig,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            name: "kafka".to_owned(),
            filter: None,
            encoding: Encoding::Ecs,
            redact: Vec::new(),
            brokers: Vec::new(),
            topic: "hostward".to_owned(),
            key: Key::HostId,
            compression: Codec::Zstd,
            message_max_bytes: 1_000_000,
            tls: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            insecure_skip_verify: false,
            sasl: None,
            username: None,
            password: None,
            password_file: None,
            password_env: None,
            password_credential: None,
            token: None,
            token_file: None,
            token_env: None,
            token_credential: None,
            // A batch is what may be unacknowledged at once, so it is large.
            queue: QueueConfig { batch_events: 8_192, batch_bytes: 8 << 20, ..QueueConfig::default() },
        }
    }
}

/// A key, what is wrong with its value, what to do.
type Report<'a> = dyn FnMut(&'static str, String, &'static str) + 'a;

impl KafkaConfig {
    /// The keys of TLS. What the library cannot do (a pin, another name) has no key here.
    pub fn tls_config(&self) -> TlsConfig {
        TlsConfig {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            insecure_skip_verify: self.insecure_skip_verify,
            ..TlsConfig::default()
        }
    }

    /// True when brokers are reached by TLS.
    pub fn uses_tls(&self) -> bool {
        self.tls.unwrap_or_else(|| self.tls_config().is_set())
    }

    /// Keys that hold a secret itself.
    pub(crate) fn inline_secrets(&self) -> Vec<&'static str> {
        let keys = [("password", &self.password), ("token", &self.token)];
        keys.into_iter().filter(|(_, secret)| secret.is_some()).map(|(key, _)| key).collect()
    }

    /// How to log in; none: not at all.
    pub fn mechanism(&self) -> Option<Mechanism> {
        let named = self.username.as_ref().map(|_| Mechanism::ScramSha512);
        let bearer = matches!(self.token_source(), Ok(Some(_))).then_some(Mechanism::OauthBearer);
        self.sasl.or(bearer).or(named)
    }

    /// The secret that goes with [`KafkaConfig::mechanism`].
    pub(super) fn secret(&self) -> Option<SecretSource> {
        match self.mechanism()? {
            Mechanism::OauthBearer => self.token_source(),
            _ => self.password_source(),
        }
        .ok()
        .flatten()
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = Target> {
        self.brokers.iter().filter_map(|broker| Target::parse(broker, Some(DEFAULT_PORT)))
    }

    fn password_source(&self) -> Result<Option<SecretSource>, &'static str> {
        choose(&self.password, &self.password_file, &self.password_env, &self.password_credential)
    }

    fn token_source(&self) -> Result<Option<SecretSource>, &'static str> {
        choose(&self.token, &self.token_file, &self.token_env, &self.token_credential)
    }

    /// Tells everything that is wrong with the keys. No file is looked at.
    pub(crate) fn validate(&self, report: &mut Report<'_>) {
        const BROKERS: &str = "use brokers = [\"HOST:PORT\", …]";
        if self.brokers.is_empty() || self.brokers.len() > 64 {
            report("brokers", format!("names {} brokers", self.brokers.len()), BROKERS);
        }
        for broker in self.brokers.iter().filter(|name| Target::parse(name, Some(DEFAULT_PORT)).is_none()) {
            report("brokers", format!("has {broker:?}"), BROKERS);
        }
        if !is_topic(&self.topic) {
            let hint = "use 1 to 249 letters, digits, '-', '_' or '.'";
            report("topic", format!("is {:?}", self.topic), hint);
        }
        if !(1_024..=8 << 20).contains(&self.message_max_bytes) {
            let hint = "use 1024 to 8388608 (8 MiB)";
            report("message_max_bytes", format!("is {}", self.message_max_bytes), hint);
        }
        let tls = self.tls_config();
        if self.tls == Some(false) && tls.is_set() {
            report(
                "tls",
                "is false, and keys of TLS are set".to_owned(),
                "drop those keys, or use tls = true",
            );
        }
        tls.validate(report);
        self.validate_login(report);
    }

    fn validate_login(&self, report: &mut Report<'_>) {
        const ONE: &str = "set one of NAME, NAME_file, NAME_env, NAME_credential";
        let sources = [("password", self.password_source()), ("token", self.token_source())];
        let [password, token] = sources.map(|(key, source)| match source {
            Ok(source) => source.is_some(),
            Err(what) => {
                report(key, what.to_owned(), ONE);
                true
            }
        });
        let mechanism = self.mechanism();
        if mechanism == Some(Mechanism::OauthBearer) {
            if !token {
                report("sasl", "is OAUTHBEARER, and there is no token".to_owned(), "set token_file");
            }
            if password {
                let hint = "drop it, or use another sasl";
                report("password", "is not used by OAUTHBEARER".to_owned(), hint);
            }
        } else if let Some(mechanism) = mechanism {
            if self.username.as_deref().is_none_or(str::is_empty) {
                let what = format!("is missing for {}", mechanism.name());
                report("username", what, "name the user that brokers know");
            }
            if !password {
                let what = format!("is missing for {}", mechanism.name());
                report("password", what, "set password_file");
            }
            if token {
                let what = format!("is not used by {}", mechanism.name());
                report("token", what, "drop it, or use sasl = \"OAUTHBEARER\"");
            }
        } else if password {
            report("username", "is missing".to_owned(), "name the user that the password belongs to");
        }
        if let Some(mechanism) = mechanism
            && mechanism.shows_secret()
            && !self.uses_tls()
        {
            let what = format!("is {}, which shows the secret to the network without TLS", mechanism.name());
            report("sasl", what, "use tls = true, or SCRAM-SHA-512");
        }
    }
}

fn choose(
    inline: &Option<Secret>,
    file: &Option<PathBuf>,
    env: &Option<String>,
    credential: &Option<String>,
) -> Result<Option<SecretSource>, &'static str> {
    let file: Option<&Path> = file.as_deref();
    SecretSource::choose(inline.as_ref(), file, env.as_deref(), credential.as_deref())
}

/// What brokers take as a name (org.apache.kafka.common.internals.Topic).
fn is_topic(name: &str) -> bool {
    let shaped = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.chars().all(shaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let config: KafkaConfig = toml::from_str(text).unwrap();
        let mut told = Vec::new();
        config.validate(&mut |key, what, _| told.push(format!("{key} {what}")));
        told
    }

    #[test]
    fn the_shortest_block_is_enough() {
        assert_eq!(problems("brokers = [\"127.0.0.1:9092\", \"kafka.example\", \"[::1]:1\"]"), [""; 0]);
        let config: KafkaConfig = toml::from_str("brokers = [\"h\"]\nca_file = \"/ca.pem\"").unwrap();
        assert!(config.uses_tls() && config.mechanism().is_none());
        assert_eq!(config.targets().next().unwrap().to_string(), "h:9092");
    }

    #[test]
    fn a_login_needs_both_parts_and_a_secret_is_not_shown_to_the_network() {
        let base = "brokers = [\"h\"]\n";
        let scram = format!("{base}username = \"u\"\npassword_file = \"/p\"\n");
        assert_eq!(problems(&scram), [""; 0]);
        let config: KafkaConfig = toml::from_str(&scram).unwrap();
        assert_eq!(config.mechanism(), Some(Mechanism::ScramSha512));
        assert_eq!(problems(&format!("{base}username = \"u\"\n")), ["password is missing for SCRAM-SHA-512"]);
        assert_eq!(problems(&format!("{base}password_env = \"P\"\n")), ["username is missing"]);
        assert_eq!(
            problems(&format!("{scram}sasl = \"PLAIN\"\n")),
            ["sasl is PLAIN, which shows the secret to the network without TLS"]
        );
        assert_eq!(problems(&format!("{scram}sasl = \"PLAIN\"\ntls = true\n")), [""; 0]);
        assert_eq!(
            problems(&format!("{scram}password = \"x\"\n")),
            ["password is given in more than one way"]
        );
        assert_eq!(problems(&format!("{base}tls = true\ntoken_file = \"/t\"\n")), [""; 0]);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let told = problems(
            "brokers = [\"a b\"]\ntopic = \"..\"\nmessage_max_bytes = 1\ntls = false\ncert_file = \"/c\"",
        );
        let keys: Vec<_> = told.iter().map(|line| line.split_once(' ').unwrap().0).collect();
        assert_eq!(keys, ["brokers", "topic", "message_max_bytes", "tls", "cert_file"]);
        assert!(toml::from_str::<KafkaConfig>("server_name = \"x\"").is_err(), "the library cannot do that");
        assert!(toml::from_str::<KafkaConfig>("key = \"host.name\"").is_err());
    }
}
