use super::*;

fn authority(name: &str) -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn files_that_change_are_used_and_half_a_rotation_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let write_pair = |which: &str| {
        let pair = rcgen::generate_simple_self_signed(vec![which.to_owned()]).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    };
    std::fs::write(path("ca.pem"), authority("a").pem()).unwrap();
    let (cert, key) = write_pair("one");
    std::fs::write(path("cert.pem"), cert).unwrap();
    std::fs::write(path("key.pem"), key).unwrap();
    let mut tls = Tls::new(TlsConfig {
        ca_file: Some(path("ca.pem")),
        cert_file: Some(path("cert.pem")),
        key_file: Some(path("key.pem")),
        ..TlsConfig::default()
    });
    let first = tls.client().unwrap();
    assert!(Arc::ptr_eq(&first, &tls.client().unwrap()), "nothing changed, nothing is read");

    let (cert, key) = write_pair("two");
    std::fs::write(path("cert.pem"), cert).unwrap();
    assert!(tls.is_stale());
    assert!(Arc::ptr_eq(&first, &tls.client().unwrap()), "the key does not fit yet");
    assert_eq!(tls.generation(), 1);
    std::fs::write(path("key.pem"), key).unwrap();
    assert!(!Arc::ptr_eq(&first, &tls.client().unwrap()));
    assert_eq!((tls.generation(), tls.is_stale()), (2, false));
}

#[test]
fn each_useless_file_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let mut tls = Tls::new(TlsConfig { ca_file: Some(path.clone()), ..TlsConfig::default() });
    let mut told = || {
        let failure = tls.client().unwrap_err();
        assert!(!failure.hint().is_empty());
        failure.to_string()
    };
    assert!(told().contains("No such file"));
    std::fs::write(&path, "hello").unwrap();
    assert!(told().ends_with("it holds no certificate in PEM"));
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(told().contains("of no use as an authority"));
    std::fs::write(&path, authority("a").pem()).unwrap();
    assert!(tls.client().is_ok(), "mended without a restart");
}

#[test]
fn all_problems_of_the_keys_are_told_at_once() {
    let config = TlsConfig {
        ca_file: Some("ca.pem".into()),
        cert_file: Some("cert.pem".into()),
        server_name: Some("not a name".into()),
        pin_sha256: vec!["AAAA".into(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".into()],
        insecure_skip_verify: true,
        ..TlsConfig::default()
    };
    let mut keys = Vec::new();
    config.validate(&mut |key, _, _| keys.push(key));
    assert_eq!(keys, ["cert_file", "server_name", "pin_sha256", "insecure_skip_verify"]);
}
