//! TLS of the HTTP sinks: names, pins, client certificates, and files that change while the sink runs.

use crate::engine::{self, Store};
use crate::feed::{events, push, settled, start, within};
use crate::support::certs::{Authority, Dates, Identity};
use crate::support::http::{Answer, Fake};
use base64::Engine as _;
use hostward_outputs::{Outputs, State};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// A server that is `identity` and, with an authority, wants a certificate by it.
fn server(identity: &Identity, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(chain(&authority.pem()).remove(0)).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(chain(&identity.certificate_pem), key).unwrap())
}

fn serve(tls: Arc<ServerConfig>) -> (Fake, Store) {
    let kept = Store::default();
    let shared = kept.clone();
    let fake = Fake::start_tls(tls, move |request, _| Answer::new(200, engine::store(request, &shared)));
    (fake, kept)
}

fn block(fake: &Fake, dir: &Path, more: &str) -> String {
    let ca = dir.join("ca.pem");
    engine::block(fake, &format!("ca_file = \"{}\"\nqueue = {{ linger_ms = 10 }}\n{more}", ca.display()))
}

/// What status says when the sink holds its one batch.
fn held(outputs: &Outputs) -> String {
    let held =
        within(outputs, Duration::from_secs(60), "held", |status| status.health.state == State::Failed);
    assert_eq!((held.delivered, held.dropped_events()), (0, 0));
    held.health.reason
}

#[test]
fn a_server_name_is_asked_for_and_verified_and_the_host_stays_that_of_the_url() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("a");
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    let identity = authority.issue_for(&["siem.example"], "siem", Dates::Valid);
    let (fake, store) = serve(server(&identity, None));

    let stranger = start(&block(&fake, dir.path(), ""));
    push(&stranger, &events(1..=2));
    let why = held(&stranger);
    assert!(why.contains("server_name"), "{why}");

    let named = start(&block(&fake, dir.path(), "server_name = \"SIEM.example\""));
    push(&named, &events(3..=12));
    assert_eq!(settled(&named, 10).delivered, 10);
    assert_eq!(store.ids().len(), 10);
    for request in fake.requests() {
        assert_eq!(request.sni, "siem.example");
        assert_eq!(request.header("host"), fake.address().to_string());
    }
}

#[test]
fn a_pin_decides_beside_the_chain_and_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("a");
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    let identity = authority.issue("server", Dates::Valid);
    let pin = |identity: &Identity| {
        let hash = ring::digest::digest(&ring::digest::SHA256, &identity.spki_der);
        base64::engine::general_purpose::STANDARD.encode(hash)
    };
    let (fake, _) = serve(server(&identity, None));
    let other = pin(&authority.issue("other", Dates::Valid));
    let wrong = start(&block(&fake, dir.path(), &format!("pin_sha256 = [\"{other}\"]")));
    push(&wrong, &events(1..=2));
    let why = held(&wrong);
    assert!(why.contains("pin"), "{why}");
    let right =
        start(&block(&fake, dir.path(), &format!("pin_sha256 = [\"{other}\", \"{}\"]", pin(&identity))));
    push(&right, &events(3..=4));
    assert_eq!(settled(&right, 2).delivered, 2);

    // A certificate that nobody vouches for: the pin alone.
    let more = format!("insecure_skip_verify = true\npin_sha256 = [\"{}\"]", pin(&identity));
    let alone = start(&engine::block(&fake, &more));
    push(&alone, &events(5..=6));
    assert_eq!(settled(&alone, 2).delivered, 2);
    let more = format!("insecure_skip_verify = true\npin_sha256 = [\"{other}\"]");
    let forged = start(&engine::block(&fake, &more));
    push(&forged, &events(7..=8));
    assert!(held(&forged).contains("pin"));
}

#[test]
fn a_client_certificate_that_is_refused_holds_and_its_successor_is_used_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, others) = (Authority::new("a"), Authority::new("b"));
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    let (fake, store) = serve(server(&authority.issue("server", Dates::Valid), Some(&authority)));
    others.issue("client", Dates::Valid).write(dir.path(), "client");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let more = format!("cert_file = \"{}\"\nkey_file = \"{}\"", file("client.pem"), file("client.key"));
    let outputs = start(&block(&fake, dir.path(), &more));
    push(&outputs, &events(1..=5));
    let why = held(&outputs);
    assert!(why.contains("TLS") && why.contains("our certificate"), "{why}");
    authority.issue("client", Dates::Valid).write(dir.path(), "client");
    assert_eq!(settled(&outputs, 5).delivered, 5);
    assert_eq!(store.ids().len(), 5);

    // And again while it is healthy: the next connection shows the new one, and nothing is lost.
    authority.issue("next", Dates::Valid).write(dir.path(), "client");
    push(&outputs, &events(6..=9));
    assert_eq!(settled(&outputs, 9).delivered, 9);
}

#[test]
fn a_server_whose_certificate_ended_holds_until_it_has_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("a");
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    let (fake, store) = serve(server(&authority.issue("server", Dates::Expired), None));
    let outputs = start(&block(&fake, dir.path(), ""));
    push(&outputs, &events(1..=5));
    let why = held(&outputs);
    assert!(why.contains("expired") && why.contains("renew"), "{why}");
    fake.set_tls(server(&authority.issue("server", Dates::Valid), None));
    assert_eq!(settled(&outputs, 5).delivered, 5);
    assert_eq!(store.ids().len(), 5);
}

/// A proxy that answers its first CONNECT by `first` and makes a tunnel of each other.
fn tunnelling(first: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
            if number == 0 {
                client
                    .write_all(format!("HTTP/1.1 {first}\r\nContent-Length: 0\r\n\r\n").as_bytes())
                    .unwrap();
                continue;
            }
            let server = TcpStream::connect(target).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    address
}

#[test]
fn a_tunnel_carries_tls_and_a_proxy_that_wants_a_password_holds() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("a");
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    let (fake, store) = serve(server(&authority.issue("server", Dates::Valid), None));
    for (first, state) in
        [("407 Proxy Authentication Required", State::Failed), ("503 Service Unavailable", State::Degraded)]
    {
        let proxy = tunnelling(first);
        let text =
            block(&fake, dir.path(), "").replace("proxy = \"\"", &format!("proxy = \"http://{proxy}\""));
        let outputs = start(&text);
        push(&outputs, &events(1..=5));
        let refused = within(&outputs, Duration::from_secs(60), "refused", |status| status.failed_sends > 0);
        let error = refused.last_error.unwrap().message;
        assert!(error.contains("proxy") && refused.health.state == state, "{:?}: {error}", refused.health);
        assert_eq!(settled(&outputs, 5).delivered, 5);
    }
    assert_eq!(store.ids().len(), 5);
}
