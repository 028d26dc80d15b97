//! A real broker.

use crate::proxy::FaultProxy;
use crate::service::Service;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A broker takes 400 MB and seconds to start: one runs at a time, and most tests borrow the same one.
/// It ends with this process (the script watches over it); its data are below the target directory.
static LENT: Mutex<Option<Service>> = Mutex::new(None);

/// The turn of a test, with the broker that it uses.
enum Held {
    Lent(MutexGuard<'static, Option<Service>>),
    Own { service: Service, _turn: MutexGuard<'static, Option<Service>> },
}

/// See the module.
pub(crate) struct Broker {
    held: Held,
    /// A topic of this test's own.
    pub(crate) topic: String,
}

/// Takes bearer tokens, too: unsecured ones (RFC 7515 appendix A.5), which Kafka has for tests.
const BEARER: &str = "sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER\n\
    listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=\
    org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
    unsecuredLoginStringClaim_sub=\"broker\";\n";

fn turn() -> MutexGuard<'static, Option<Service>> {
    LENT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Broker {
    /// The one that tests share, running, with a topic for this test. None: skipped by name.
    pub(crate) fn borrow(test: &str) -> Option<Self> {
        let mut lent = turn();
        match &*lent {
            // A test that failed may have left it paused or dead.
            Some(service) => service.revive(),
            None => {
                *lent = Some(Service::start_for_good("kafka", test, |data| {
                    std::fs::write(data.join("extra.properties"), BEARER).unwrap();
                })?);
            }
        }
        Some(Self { held: Held::Lent(lent), topic: test.to_owned() })
    }

    /// One of its own with these lines at the end of its settings.
    pub(crate) fn start(test: &str, settings: &str) -> Option<Self> {
        let turn = vacant();
        let service = Service::start("kafka", test, |data| {
            std::fs::write(data.join("extra.properties"), settings).unwrap();
        })?;
        Some(Self { held: Held::Own { service, _turn: turn }, topic: test.to_owned() })
    }

    /// Behind a proxy: brokers name themselves to clients, so this one names the proxy's address.
    pub(crate) fn start_behind_proxy(test: &str) -> Option<(Self, FaultProxy)> {
        let turn = vacant();
        let port = free_ports(4);
        let proxy = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], port)));
        let service = Service::start("kafka", test, |data| {
            std::fs::write(data.join("port"), format!("{port}\n")).unwrap();
            let (sasl, mtls, proxied) = (port + 1, port + 2, proxy.address());
            let names = format!("PLAINTEXT://{proxied},SASL_SSL://127.0.0.1:{sasl},MTLS://127.0.0.1:{mtls}");
            std::fs::write(data.join("extra.properties"), format!("advertised.listeners={names}\n")).unwrap();
        })?;
        Some((Self { held: Held::Own { service, _turn: turn }, topic: test.to_owned() }, proxy))
    }

    /// The server itself.
    pub(crate) fn service(&self) -> &Service {
        match &self.held {
            Held::Lent(lent) => lent.as_ref().unwrap(),
            Held::Own { service, .. } => service,
        }
    }

    /// Address of the listener without TLS.
    pub(crate) fn plain(&self) -> &str {
        self.service().fact("plaintext")
    }

    /// Keys of a sink on that listener, with this test's topic.
    pub(crate) fn plain_keys(&self) -> String {
        format!("brokers = [{:?}]\ntopic = {:?}\n", self.plain(), self.topic)
    }

    /// Keys of a sink on a listener with TLS, with this test's topic.
    pub(crate) fn keys(&self, listener: &str) -> String {
        format!("brokers = [{:?}]\ntopic = {:?}\n", self.service().fact(listener), self.topic)
    }

    /// Makes a topic by Kafka's own tool.
    pub(crate) fn create_topic(&self, name: &str, settings: &[&str]) {
        let mut words = vec!["--create", "--topic", name, "--partitions", "3"];
        words.extend(settings.iter().flat_map(|setting| ["--config", setting]));
        self.tool("org.apache.kafka.tools.TopicCommand", &words);
    }

    pub(crate) fn tool(&self, class: &str, words: &[&str]) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let output = Command::new(root.join("../shared/services/kafka.sh"))
            .arg("tool")
            .arg(root.join("target/services/kafka"))
            .arg(self.service().data())
            .arg(class)
            .args(words)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{class} {words:?}: {told}{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    /// Name and password of a user that logs in by this mechanism.
    pub(crate) fn user(&self, mechanism: &str) -> (String, String) {
        let users = std::fs::read_to_string(self.service().fact("users")).unwrap();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let user = users.lines().map(words).find(|words| words[0] == mechanism).unwrap();
        (user[1].clone(), user[2].clone())
    }
}

/// A turn with no broker running: the one that is lent rests meanwhile.
pub(crate) fn vacant() -> MutexGuard<'static, Option<Service>> {
    let lent = turn();
    if let Some(service) = &*lent {
        service.stop();
    }
    lent
}

/// The first of so many ports in a row that are free now.
pub(crate) fn free_ports(count: u16) -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(20_000..30_000))
        .find(|first| (*first..first + count).all(is_free))
        .unwrap()
}
