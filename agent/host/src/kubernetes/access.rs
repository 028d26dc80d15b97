//! Which server, whom to trust, and who we are; kept current as files change.

use super::config::{KubernetesConfig, parse_server};
use super::{files, kubeconfig};
use reqwest::header::HeaderValue;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A token's file is read again at this age. kubelet renews a projected token at the latest two minutes
/// before its end.
const TOKEN_AGE: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(15);
const USER_AGENT: &str = concat!("hostward/", env!("CARGO_PKG_VERSION"));

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Where kubeadm, other installers, and k3s and RKE2's common ancestor put the kubelet's kubeconfig.
const KUBELET_FILES: [&str; 3] = [
    "/etc/kubernetes/kubelet.conf",
    "/var/lib/kubelet/kubeconfig",
    "/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
];

/// Credentials cannot be found, read or used.
#[derive(Debug, thiserror::Error)]
pub enum AccessFailure {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check that it exists and the agent may read it", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A kubeconfig is not usable.
    #[error("kubeconfig {}: {what}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// Certificates, a key or a token are not what they should be.
    #[error("{what} of {at}: {why}")]
    Material {
        /// What it should be.
        what: &'static str,
        /// Its place.
        at: String,
        /// Why it is not.
        why: String,
    },
    /// No place has credentials.
    #[error(
        "no credentials were found: give kubeconfig, or server with ca_file and token_file (looked at: the service \
         account of a pod and the kubelet's own kubeconfig)"
    )]
    NotFound,
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

/// Bytes of a file, or from inside a kubeconfig.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Material {
    File(PathBuf),
    Inline(Arc<Zeroizing<Vec<u8>>>),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at())
    }
}

impl Material {
    fn at(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Inline(_) => "the kubeconfig".to_owned(),
        }
    }

    fn read(&self) -> Result<Cow<'_, Zeroizing<Vec<u8>>>, AccessFailure> {
        match self {
            Self::Inline(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::File(path) => match files::read(path) {
                Ok(bytes) => Ok(Cow::Owned(bytes)),
                Err(source) => Err(AccessFailure::File { path: path.clone(), source }),
            },
        }
    }

    fn unfit(&self, what: &'static str, why: impl fmt::Display) -> AccessFailure {
        AccessFailure::Material { what, at: self.at(), why: why.to_string() }
    }
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Token(Material),
    Certificate { cert: Material, key: Material },
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) server: reqwest::Url,
    pub(super) ca: Material,
    pub(super) identity: Identity,
}

impl Access {
    /// As configured, or found. None: switched off, or neither wanted nor found.
    pub(super) fn find(config: &KubernetesConfig) -> Result<Option<Self>, AccessFailure> {
        if config.enabled == Some(false) {
            return Ok(None);
        }
        if let Some(path) = &config.kubeconfig {
            return kubeconfig::read(path).map(Some);
        }
        if let Some(Ok(server)) = config.server.as_deref().map(parse_server) {
            let file = |named: &Option<PathBuf>, name: &str| {
                Material::File(named.clone().unwrap_or_else(|| Path::new(SERVICE_ACCOUNT).join(name)))
            };
            let identity = Identity::Token(file(&config.token_file, "token"));
            return Ok(Some(Self { server, ca: file(&config.ca_file, "ca.crt"), identity }));
        }
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let service = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
        if let Some(access) = of_service_account(service, Path::new(SERVICE_ACCOUNT)) {
            return Ok(Some(access));
        }
        let mut kubelets = KUBELET_FILES.into_iter().map(Path::new).filter(|path| files::is_of_root(path));
        match (kubelets.next(), config.enabled) {
            (Some(path), _) => kubeconfig::read(path).map(Some),
            (None, Some(true)) => Err(AccessFailure::NotFound),
            (None, _) => Ok(None),
        }
    }
}

/// As client-go's rest.InClusterConfig has it.
fn of_service_account((host, port): (Option<String>, Option<String>), dir: &Path) -> Option<Access> {
    let (host, port, token) = (host?, port?, dir.join("token"));
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let server = parse_server(&format!("https://{host}:{port}")).ok()?;
    let identity = token.is_file().then_some(Identity::Token(Material::File(token)))?;
    Some(Access { server, ca: Material::File(dir.join("ca.crt")), identity })
}

/// A client as the files are now.
#[derive(Debug)]
pub(super) struct Door {
    access: Access,
    client: Option<(Vec<Zeroizing<Vec<u8>>>, reqwest::Client)>,
    token: Option<(Instant, HeaderValue)>,
}

impl Door {
    pub(super) const fn new(access: Access) -> Self {
        Self { access, client: None, token: None }
    }

    pub(super) const fn server(&self) -> &reqwest::Url {
        &self.access.server
    }

    /// The token's file is read again at the next request, however young what was read is.
    pub(super) fn forget_token(&mut self) {
        self.token = None;
    }

    /// For a watch that begins: files of certificates are looked at again.
    pub(super) fn renew(&mut self) -> Result<(), AccessFailure> {
        let (cert, key) = match &self.access.identity {
            Identity::Certificate { cert, key } => (Some(cert), Some(key)),
            Identity::Token(_) => (None, None),
        };
        let mut bytes = vec![self.access.ca.read()?.into_owned()];
        for material in [cert, key].into_iter().flatten() {
            bytes.push(material.read()?.into_owned());
        }
        if self.client.as_ref().is_some_and(|(last, _)| *last == bytes) {
            return Ok(());
        }
        let client = build(&self.access, &bytes)?;
        self.client = Some((bytes, client));
        Ok(())
    }

    /// The client, and the header that says who we are.
    pub(super) fn open(&mut self) -> Result<(reqwest::Client, Option<HeaderValue>), AccessFailure> {
        if self.client.is_none() {
            self.renew()?;
        }
        let Some((_, client)) = &self.client else { return Err(AccessFailure::Client(String::new())) };
        let client = client.clone();
        let Identity::Token(material) = &self.access.identity else { return Ok((client, None)) };
        if let Some((_, token)) = self.token.as_ref().filter(|(read_at, _)| read_at.elapsed() < TOKEN_AGE) {
            return Ok((client, Some(token.clone())));
        }
        let token = header(material)?;
        self.token = Some((Instant::now(), token.clone()));
        Ok((client, Some(token)))
    }
}

fn header(material: &Material) -> Result<HeaderValue, AccessFailure> {
    let bytes = material.read()?;
    let token = bytes.trim_ascii();
    if token.is_empty() {
        return Err(material.unfit("the token", "it is empty"));
    }
    let mut line = Zeroizing::new(Vec::with_capacity(token.len() + 7));
    line.extend_from_slice(b"Bearer ");
    line.extend_from_slice(token);
    // A token with a line end in it would be another header.
    let value = HeaderValue::from_bytes(&line);
    let mut value = value.map_err(|_| material.unfit("the token", "it has bytes that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `bytes`: of the authorities, and of certificate and key if these are who we are.
fn build(access: &Access, bytes: &[Zeroizing<Vec<u8>>]) -> Result<reqwest::Client, AccessFailure> {
    let mut bytes = bytes.iter().map(|bytes| bytes.as_slice());
    let mut next = || bytes.next().unwrap_or_default();
    let mut roots = RootCertStore::empty();
    for authority in certificates(&access.ca, next())? {
        roots.add(authority).map_err(|error| access.ca.unfit("a certificate authority", error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| AccessFailure::Client(error.to_string()))?
        .with_root_certificates(roots);
    let tls = match &access.identity {
        Identity::Token(_) => tls.with_no_client_auth(),
        Identity::Certificate { cert, key } => {
            let chain = certificates(cert, next())?;
            // The parser's own words could quote a line of the key.
            let pair = PrivateKeyDer::from_pem_slice(next())
                .map_err(|_| key.unfit("the client key", "it is no key in PEM that is not encrypted"))?;
            tls.with_client_auth_cert(chain, pair)
                .map_err(|error| cert.unfit("the client certificate", error))?
        }
    };
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_nodelay(true)
        .pool_max_idle_per_host(1)
        .retry(reqwest::retry::never())
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| AccessFailure::Client(error.to_string()))
}

fn certificates(from: &Material, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, AccessFailure> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(from.unfit("the certificates", "there is none in PEM, or one is broken")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_finds_its_service_account() {
        let dir = tempfile::tempdir().unwrap();
        let service = |host: &str| (Some(host.to_owned()), Some("443".to_owned()));
        assert_eq!(of_service_account(service("10.96.0.1"), dir.path()), None, "no token");
        std::fs::write(dir.path().join("token"), "t").unwrap();
        let access = of_service_account(service("fd00::1"), dir.path()).unwrap();
        assert_eq!(access.server.as_str(), "https://[fd00::1]/");
        assert_eq!(access.identity, Identity::Token(Material::File(dir.path().join("token"))));
        assert_eq!(of_service_account((None, Some("443".to_owned())), dir.path()), None, "not in a pod");
    }

    #[test]
    fn what_is_not_wanted_or_not_there() {
        let off =
            KubernetesConfig { enabled: Some(false), server: Some("https://a".into()), ..Default::default() };
        assert_eq!(Access::find(&off).unwrap(), None);
        let named = KubernetesConfig { kubeconfig: Some("/nowhere".into()), ..Default::default() };
        let failure = Access::find(&named).unwrap_err();
        assert!(matches!(failure, AccessFailure::File { .. }), "{failure}");
    }

    #[test]
    fn a_token_is_read_again_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let ca = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let mut door = Door::new(Access {
            server: parse_server("https://127.0.0.1:1").unwrap(),
            ca: Material::Inline(Zeroizing::new(ca.pem().into_bytes()).into()),
            identity: Identity::Token(Material::File(path.clone())),
        });
        let mut token = || (door.open().unwrap().1.unwrap().as_bytes().to_vec(), format!("{door:?}"));
        assert_eq!(token().0, b"Bearer first");
        std::fs::write(&path, "second").unwrap();
        let (value, shown) = token();
        assert_eq!(value, b"Bearer first", "not read for each request");
        assert!(!shown.contains("first"), "{shown}");
        door.forget_token();
        assert_eq!(door.open().unwrap().1.unwrap(), "Bearer second");
        door.forget_token();
        std::fs::write(&path, "a\nX-Header: b").unwrap();
        let failure = door.open().unwrap_err().to_string();
        assert!(failure.contains("the token of") && !failure.contains("X-Header"), "{failure}");
        std::fs::remove_file(&path).unwrap();
        assert!(door.open().is_err(), "a token that was taken away is not used any more");
    }
}
