//! The library's producer with our settings, and the ear that it talks to.

use super::access::Means;
use super::config::{KafkaConfig, Mechanism};
use super::journal::Journal;
use super::meaning::escaped;
use super::signs::Signs;
use super::token::TokenSource;
use hostward_event::EventId;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the library may hold, KiB. The spool is where events wait.
const QUEUE_KIB: usize = 16 << 10;
/// How many records that may be.
const QUEUE_EVENTS: usize = 65_536;
/// How often the library tells its statistics, ms.
const STATISTICS_MS: usize = 5_000;
/// The library's default, which is also the most.
pub(super) const BATCH_BYTES: usize = 1_000_000;

/// Of these (one tells of a whole batch) so many are heard at once.
const MAX_SAYINGS: usize = 256;

/// A producer cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProducerFailure {
    /// The password cannot be handed to the library.
    #[error("the password is no text")]
    Password,
    /// The library refuses.
    #[error("cannot set up the Kafka client: {reason}")]
    Library {
        /// Its words, escaped; they show no secret.
        reason: String,
    },
}

impl ProducerFailure {
    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::Password => "use a password in UTF-8 without NUL",
            Self::Library { .. } => "check ca_file, cert_file, key_file and the system's certificate store",
        }
    }
}

pub(super) type Producer = BaseProducer<Ear>;

/// Makes a producer: it begins to connect at once. `batch_bytes` bounds a batch, not a record.
pub(super) fn make(
    config: &KafkaConfig,
    means: &Means,
    batch_bytes: usize,
) -> Result<Producer, ProducerFailure> {
    let settings = settings(config, means, batch_bytes)?;
    settings.create_with_context(Ear::new(config)).map_err(|error| {
        let reason = match &error {
            // The value could be a password.
            KafkaError::ClientConfig(_, what, key, _) => format!("{key}: {what}"),
            error => error.to_string(),
        };
        ProducerFailure::Library { reason: escaped(&reason) }
    })
}

/// The promises stand here: `acks=all` and idempotence, no expiry of a record (the spool decides how long
/// an event waits), and little memory.
fn settings(
    config: &KafkaConfig,
    means: &Means,
    batch_bytes: usize,
) -> Result<ClientConfig, ProducerFailure> {
    let brokers: Vec<String> = config.targets().map(|target| target.to_string()).collect();
    let mut settings = ClientConfig::new();
    settings.set_log_level(RDKafkaLogLevel::Notice);
    let mut set = |key: &str, value: &str| {
        settings.set(key, value);
    };
    set("bootstrap.servers", &brokers.join(","));
    set("client.id", "hostward");
    set("acks", "all");
    set("enable.idempotence", "true");
    set("message.timeout.ms", "0");
    set("message.max.bytes", &config.message_max_bytes.to_string());
    set("batch.size", &batch_bytes.to_string());
    set("queue.buffering.max.kbytes", &QUEUE_KIB.to_string());
    set("queue.buffering.max.messages", &QUEUE_EVENTS.to_string());
    set("linger.ms", "5");
    set("partitioner", "murmur2_random");
    set("compression.codec", config.compression.name());
    set("statistics.interval.ms", &STATISTICS_MS.to_string());
    set("socket.keepalive.enable", "true");
    set("socket.nagle.disable", "true");
    set("socket.connection.setup.timeout.ms", "10000");
    set("reconnect.backoff.ms", "500");
    set("reconnect.backoff.max.ms", "5000");
    // A topic that is not there is told after this.
    set("topic.metadata.propagation.max.ms", "10000");
    set("log.connection.close", "false");
    let mechanism = config.mechanism();
    set(
        "security.protocol",
        match (config.uses_tls(), mechanism) {
            (false, None) => "plaintext",
            (true, None) => "ssl",
            (false, Some(_)) => "sasl_plaintext",
            (true, Some(_)) => "sasl_ssl",
        },
    );
    if config.uses_tls() {
        let files = [
            ("ssl.ca.location", &config.ca_file),
            ("ssl.certificate.location", &config.cert_file),
            ("ssl.key.location", &config.key_file),
        ];
        for (key, file) in files {
            if let Some(file) = file {
                set(key, &file.to_string_lossy());
            }
        }
        if config.insecure_skip_verify {
            set("enable.ssl.certificate.verification", "false");
        }
    }
    if let Some(mechanism) = mechanism {
        set("sasl.mechanism", mechanism.name());
        if mechanism != Mechanism::OauthBearer {
            let password = means.secret.as_ref().map(|secret| std::str::from_utf8(secret.expose()));
            let Some(Ok(password)) = password.filter(|text| text.is_ok_and(|text| !text.contains('\0')))
            else {
                return Err(ProducerFailure::Password);
            };
            set("sasl.username", config.username.as_deref().unwrap_or_default());
            set("sasl.password", password);
        }
    }
    Ok(settings)
}

/// Takes in what the library says when it is polled.
pub(super) struct Ear {
    sink: String,
    /// Grows with everything that the library says.
    heard: AtomicU64,
    signs: Mutex<Signs>,
    journal: Mutex<Journal>,
    token: Option<TokenSource>,
}

impl Ear {
    fn new(config: &KafkaConfig) -> Self {
        let bearer = config.mechanism() == Some(Mechanism::OauthBearer);
        let principal = config.username.clone().unwrap_or_else(|| "hostward".to_owned());
        Self {
            sink: config.name.clone(),
            heard: AtomicU64::new(0),
            signs: Mutex::new(Signs::new()),
            journal: Mutex::new(Journal::default()),
            token: config.secret().filter(|_| bearer).map(|source| TokenSource::new(source, principal)),
        }
    }

    fn hear(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn signs(&self) -> MutexGuard<'_, Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Ear {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.hear();
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).write(&self.sink, level, facility, line);
    }

    fn stats_raw(&self, json: &[u8]) {
        self.hear();
        match serde_json::from_slice(json) {
            Ok(statistics) => self.signs().statistics(&statistics),
            Err(error) => {
                tracing::debug!(sink = %self.sink, %error, "statistics of the library make no sense")
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.hear();
        if let Some(code) = error.rdkafka_error_code() {
            self.signs().error(code, reason);
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let source = self.token.as_ref().ok_or("no token is configured")?;
        Ok(source.current()?)
    }
}

impl ProducerContext for Ear {
    type DeliveryOpaque = Box<EventId>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Box<EventId>) {
        self.hear();
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        };
        self.signs().report(*id, result);
    }
}

/// Has the library say what it has to say now. The binding's `poll` goes round and round through the last millisecond
/// of its time-out and would take the CPU from the library itself: who wants to wait sleeps between two calls.
pub(super) fn listen(producer: &Producer) {
    let ear = producer.client().context();
    for _ in 0..MAX_SAYINGS {
        let before = ear.heard.load(Ordering::Relaxed);
        producer.poll(Duration::ZERO);
        if ear.heard.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// Ends a producer. What it held comes as reports, purged or delivered.
pub(super) fn end(producer: Producer) -> Vec<super::signs::Report> {
    let ear = std::sync::Arc::clone(producer.client().context());
    drop(producer);
    ear.signs().take_reports()
}
