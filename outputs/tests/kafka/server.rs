//! A real broker.

use crate::proxy::FaultProxy;
use crate::service::Service;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A broker takes 400 MB: one at a time.
static ONE: Mutex<()> = Mutex::new(());

/// See the module.
pub(crate) struct Broker {
    pub(crate) service: Service,
    _turn: MutexGuard<'static, ()>,
}

impl Broker {
    /// With these lines at the end of its settings. None: skipped by name.
    pub(crate) fn start(test: &str, settings: &str) -> Option<Self> {
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let service = Service::start("kafka", test, |data| {
            std::fs::write(data.join("extra.properties"), settings).unwrap();
        })?;
        Some(Self { service, _turn: turn })
    }

    /// Behind a proxy: brokers name themselves to clients, so this one names the proxy's address.
    pub(crate) fn start_behind_proxy(test: &str) -> Option<(Self, FaultProxy)> {
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let port = free_ports();
        let proxy = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], port)));
        let service = Service::start("kafka", test, |data| {
            std::fs::write(data.join("port"), format!("{port}\n")).unwrap();
            let (sasl, mtls, proxied) = (port + 1, port + 2, proxy.address());
            let names = format!("PLAINTEXT://{proxied},SASL_SSL://127.0.0.1:{sasl},MTLS://127.0.0.1:{mtls}");
            std::fs::write(data.join("extra.properties"), format!("advertised.listeners={names}\n")).unwrap();
        })?;
        Some((Self { service, _turn: turn }, proxy))
    }

    /// Address of the listener without TLS.
    pub(crate) fn plain(&self) -> &str {
        self.service.fact("plaintext")
    }

    /// Keys of a sink on that listener.
    pub(crate) fn plain_keys(&self) -> String {
        format!("brokers = [{:?}]\n", self.plain())
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
            .arg(self.service.data())
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
        let users = std::fs::read_to_string(self.service.fact("users")).unwrap();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let user = users.lines().map(words).find(|words| words[0] == mechanism).unwrap();
        (user[1].clone(), user[2].clone())
    }
}

/// The first of four ports in a row that are free now.
fn free_ports() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(20_000..30_000))
        .find(|first| (*first..first + 4).all(is_free))
        .unwrap()
}
