//! Logging in: each mechanism, what is wrong and mended later, certificates that change.

use crate::certs::{Authority, Dates};
use crate::feed::{Count, Feed};
use crate::reader::{count, read};
use crate::server::Broker;
use base64::Engine;
use hostward_outputs::State;
use hostward_outputs::kafka::{self, KafkaConfig};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&next, path).unwrap();
}

#[test]
fn each_mechanism_logs_in_and_a_wrong_password_is_mended_later() {
    let name = "each_mechanism_logs_in_and_a_wrong_password_is_mended_later";
    let Some(broker) = Broker::borrow(name) else { return };
    let dir = tempfile::tempdir().unwrap();
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] {
        let (user, password) = broker.user(mechanism);
        let secret = dir.path().join(mechanism);
        private(&secret, "wrong");
        let topic = format!("{}-{mechanism}", broker.topic);
        let feed = Feed::start(
            "kafka",
            &format!(
                "brokers = [{:?}]\ntopic = {topic:?}\nca_file = {:?}\nsasl = {mechanism:?}\nusername = {user:?}\n\
             password_file = {secret:?}\n",
                broker.service().fact("sasl_ssl"),
                broker.service().fact("ca"),
            ),
        );
        feed.send(100, 200);
        let status = feed.wait("it is an alarm", |status| status.health.state == State::Failed);
        let reason = &status.health.reason;
        assert!(reason.contains("check sasl, username and the password"), "{reason}");
        assert!(!format!("{status:?}").contains("wrong"), "the password is not shown");
        private(&secret, &format!("{password}\n"));
        let status = feed.wait_delivered();
        assert_eq!(status.dropped_events(), 0, "a wrong password costs no event");
        assert_eq!(count(&feed, &read(broker.plain(), &topic)), Count::once(100), "{mechanism}");
    }
}

#[test]
fn a_bearer_token_logs_in_and_one_that_ended_is_told() {
    let name = "a_bearer_token_logs_in_and_one_that_ended_is_told";
    let Some(broker) = Broker::borrow(name) else { return };
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // An unsecured token (RFC 7515 appendix A.5), which Kafka's own validator for tests takes.
    let token = |ends_s: u64| {
        let coded = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let claims = format!(r#"{{"sub":"shipper","iat":{},"exp":{ends_s}}}"#, ends_s - 3_600);
        format!("{}.{}.", coded(r#"{"alg":"none"}"#), coded(&claims))
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    private(&file, &token(now_s - 60));
    let feed = Feed::start(
        "kafka",
        &format!(
            "{}ca_file = {:?}\ntoken_file = {file:?}\n",
            broker.keys("sasl_ssl"),
            broker.service().fact("ca"),
        ),
    );
    feed.send(100, 200);
    let status = feed.wait("it is an alarm", |status| status.health.state == State::Failed);
    assert!(status.health.reason.contains("the token ended"), "{}", status.health.reason);
    private(&file, &token(now_s + 3_600));
    feed.wait_delivered();
    assert_eq!(count(&feed, &read(broker.plain(), &broker.topic)), Count::once(100));
}

#[test]
fn certificates_decide_on_both_sides_and_change_without_a_restart() {
    let name = "certificates_decide_on_both_sides_and_change_without_a_restart";
    let Some(broker) = Broker::borrow(name) else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let stranger = Authority::new("stranger");
    private(&at("ca.pem"), &stranger.pem());
    stranger.issue("nobody", Dates::Valid).write(dir.path(), "client");
    let feed = Feed::start(
        "kafka",
        &format!(
            "{}ca_file = {:?}\ncert_file = {:?}\nkey_file = {:?}\n",
            broker.keys("mtls"),
            at("ca.pem"),
            at("client.pem"),
            at("client.key"),
        ),
    );
    feed.send(100, 200);
    let status = feed.wait("we do not trust it", |status| status.health.state == State::Failed);
    assert!(status.health.reason.contains("certificate"), "{}", status.health.reason);

    private(&at("ca.pem"), &std::fs::read_to_string(broker.service().fact("ca")).unwrap());
    let ours = feed.status().counters;
    let status = feed.wait("it does not trust us", |status| {
        status.counters != ours && status.health.reason.contains("alert")
    });
    assert_eq!(status.health.state, State::Failed, "{}", status.health.reason);

    for name in ["client.key", "client.pem"] {
        private(&at(name), &std::fs::read_to_string(broker.service().data().join(name)).unwrap());
    }
    feed.wait_delivered();
    let producers = feed.counter("producers");

    // Renewed while all is well: the next connection is made with it.
    for name in ["client.key", "client.pem"] {
        let renewed = std::fs::read_to_string(at(name)).unwrap();
        private(&at(name), &format!("{renewed}\n"));
    }
    feed.send(100, 200);
    feed.wait_delivered();
    feed.wait("a new producer", |status| status.counters[0] > ("producers", producers));
    assert_eq!(count(&feed, &read(broker.plain(), &broker.topic)), Count::once(200));
    assert_eq!(feed.status().dropped_events(), 0);
}

#[test]
fn a_check_names_the_step_that_fails() {
    let Some(broker) = Broker::borrow("a_check_names_the_step_that_fails") else { return };
    broker.create_topic(&broker.topic, &[]);
    let (user, password) = broker.user("SCRAM-SHA-512");
    let check = |user: &str, password: &str, topic: &str, broker_address: &str| {
        let config: KafkaConfig = toml::from_str(&format!(
            "brokers = [{broker_address:?}]\nca_file = {:?}\nusername = {user:?}\npassword = {password:?}\ntopic = {topic:?}",
            broker.service().fact("ca")
        ))
        .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let steps = runtime.block_on(kafka::check(&config));
        assert!(steps.iter().rev().skip(1).all(|step| step.ok), "{steps:?}");
        let last = steps.last().unwrap();
        (last.ok, format!("{}: {}", last.what, last.why))
    };
    let address = broker.service().fact("sasl_ssl");
    let (ok, told) = check(&user, &password, &broker.topic, address);
    assert!(ok && told == format!("find topic {}: 3 partitions", broker.topic), "{told}");
    let (ok, told) = check(&user, &password, "absent", address);
    assert!(!ok && told.contains("create it"), "{told}");
    let (ok, told) = check(&user, "wrong", &broker.topic, address);
    assert!(!ok && told.contains("check sasl, username and the password"), "{told}");
    let (ok, told) = check(&user, &password, &broker.topic, "no-such-host.invalid:1");
    assert!(!ok && told.starts_with("resolve no-such-host.invalid"), "{told}");
    // A port where nobody listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (ok, told) = check(&user, &password, &broker.topic, &free.to_string());
    assert!(!ok && told.contains("refused"), "{told}");
}
