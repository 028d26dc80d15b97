//! Certificates, names and pins: what is refused, that nothing is lost meanwhile, and that files which
//! are mended or renewed are used without a restart.

use crate::certs::{Authority, Dates};
use crate::feed::{Count, Feed};
use crate::server::Server;
use base64::Engine;
use hostward_outputs::State;
use std::path::Path;

/// Replaces a file at once, as whoever renews certificates does.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, path).unwrap();
}

#[test]
fn each_side_refuses_a_stranger_and_mended_files_need_no_restart() {
    let name = "each_side_refuses_a_stranger_and_mended_files_need_no_restart";
    let authority = Authority::new("ours");
    let stranger = Authority::new("stranger");
    let Some(server) = Server::start_with(name, &authority, Dates::Valid) else { return };
    for (scheme, input) in [("tls", "mtls"), ("relps", "relp_tls")] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("ca.pem"), stranger.pem()).unwrap();
        stranger.issue("nobody", Dates::Valid).write(dir.path(), "client");
        let keys = format!(
            "{}ca_file = {:?}\ncert_file = {:?}\nkey_file = {:?}\n",
            server.keys(scheme, input),
            at("ca.pem"),
            at("client.pem"),
            at("client.key")
        );
        let feed = Feed::start("syslog", &keys);
        feed.send(100, 100);
        let status = feed.wait("we do not trust it", |status| status.health.state == State::Failed);
        assert!(status.health.reason.contains("set ca_file to the authority"), "{}", status.health.reason);

        replace(&at("ca.pem"), &authority.pem());
        // librelp takes any client certificate as long as there is one.
        if scheme == "tls" {
            let status = feed.wait("it does not trust us", |status| {
                status.health.state == State::Failed && !status.health.reason.contains("set ca_file")
            });
            assert!(status.health.reason.contains("refuses our certificate"), "{}", status.health.reason);
            assert_eq!(status.delivered, 0);
        }

        let ours = authority.issue("client", Dates::Valid);
        replace(&at("client.key"), &ours.key_pem);
        replace(&at("client.pem"), &ours.certificate_pem);
        let status = feed.wait_delivered();
        assert_eq!(
            (status.dropped_events(), server.wait_all(&feed, input)),
            (0, Count::once(100)),
            "{scheme}"
        );

        // Renewed while all is well: the next batch goes over a new connection.
        let before = feed.counter("connections");
        let renewed = authority.issue("client", Dates::Valid);
        replace(&at("client.key"), &renewed.key_pem);
        replace(&at("client.pem"), &renewed.certificate_pem);
        feed.send(100, 100);
        feed.wait_delivered();
        assert_eq!(feed.counter("connections"), before + 1, "{scheme}");
        assert_eq!(server.wait_all(&feed, input), Count::once(200), "{scheme}");
    }
}

#[test]
fn a_certificate_that_ended_holds_the_events_until_it_is_renewed() {
    let name = "a_certificate_that_ended_holds_the_events_until_it_is_renewed";
    let authority = Authority::new("ours");
    let Some(server) = Server::start_with(name, &authority, Dates::Expired) else { return };
    let ca = format!("ca_file = {:?}\n", server.service.fact("ca"));
    let feed = Feed::start("syslog", &(server.keys("tls", "tls") + &ca));
    feed.send(100, 100);
    let status = feed.wait("it is an alarm", |status| status.health.state == State::Failed);
    assert!(status.health.reason.contains("renew the server's certificate"), "{}", status.health.reason);
    server.service.stop();
    authority.issue("server", Dates::Valid).write(server.service.data(), "server");
    server.service.start_again();
    let status = feed.wait_delivered();
    assert_eq!((status.dropped_events(), server.wait_all(&feed, "tls")), (0, Count::once(100)));
}

#[test]
fn a_name_and_a_pin_decide_beside_the_chain() {
    let name = "a_name_and_a_pin_decide_beside_the_chain";
    let authority = Authority::new("ours");
    let Some(server) = Server::start_with(name, &authority, Dates::Valid) else { return };
    let known = authority.issue("server", Dates::Valid);
    server.service.stop();
    known.write(server.service.data(), "server");
    server.service.start_again();
    let pin = |der: &[u8]| {
        let hash = ring::digest::digest(&ring::digest::SHA256, der);
        base64::engine::general_purpose::STANDARD.encode(hash)
    };
    let right = pin(&known.spki_der);
    let wrong = pin(b"another key");
    let ca = format!("ca_file = {:?}\n", server.service.fact("ca"));
    // Without a chain to trust: the pin alone decides.
    let blind = "insecure_skip_verify = true\n";
    for (keys, refusal) in [
        (format!("{ca}server_name = \"localhost\"\n"), None),
        (format!("{ca}server_name = \"other.example\"\n"), Some("set server_name")),
        (format!("{ca}pin_sha256 = [{wrong:?}, {right:?}]\n"), None),
        (format!("{ca}pin_sha256 = [{wrong:?}]\n"), Some("set pin_sha256")),
        (format!("{blind}pin_sha256 = [{right:?}]\n"), None),
        (format!("{blind}pin_sha256 = [{wrong:?}]\n"), Some("set pin_sha256")),
        (blind.to_owned(), None),
        (format!("pin_sha256 = [{right:?}]\n"), Some("set ca_file")),
    ] {
        let before = server.messages("tls").len();
        let feed = Feed::start("syslog", &(server.keys("tls", "tls") + &keys));
        feed.send(10, 100);
        match refusal {
            None => {
                feed.wait_delivered();
                server.wait_messages("tls", before + 10);
            }
            Some(hint) => {
                let status = feed.wait("it is refused", |status| status.health.state == State::Failed);
                assert!(status.health.reason.contains(hint), "{keys}: {}", status.health.reason);
                assert_eq!((status.delivered, server.messages("tls").len()), (0, before), "{keys}");
            }
        }
    }
}
