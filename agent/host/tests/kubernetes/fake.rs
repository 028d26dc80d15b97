//! A small API server over TLS that says what a test wants it to say.

use crate::agent::Loop;
use hostward_host::kubernetes::KubernetesConfig;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A request that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    /// Path and query.
    pub(crate) target: String,
    /// Value of `Authorization`.
    pub(crate) authorization: String,
    /// How many of the same kind (list, watch) came before.
    pub(crate) nth: usize,
}

impl Request {
    pub(crate) fn is_watch(&self) -> bool {
        self.target.starts_with("/api/v1/pods?watch=1&")
    }

    /// It is for an owner or a namespace.
    fn is_about_relations(&self) -> bool {
        self.target.starts_with("/apis/") || self.target.starts_with("/api/v1/namespaces/")
    }

    pub(crate) fn is_list(&self) -> bool {
        self.target.starts_with("/api/v1/pods?") && !self.is_watch()
    }

    /// A value of the query, as it is on the wire.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|pair| pair.0 == key).map(|pair| pair.1)
    }
}

/// What is answered.
pub(crate) enum Answer {
    /// Status, headers (each with its line end), body.
    Whole(u16, &'static str, String),
    /// Status 200 and these pieces, then the end.
    Pieces(Vec<Piece>),
    /// Nothing, for ever.
    Nothing,
}

pub(crate) enum Piece {
    Text(String),
    /// The same again and again, until nobody reads it.
    Flood(String),
    Pause(Duration),
    /// The connection stays open until the client leaves.
    Open,
    /// The connection ends as if its cable were cut.
    Cut,
}

pub(crate) fn ok(body: &Value) -> Answer {
    Answer::Whole(200, "", body.to_string())
}

pub(crate) fn refused(status: u16, headers: &'static str) -> Answer {
    Answer::Whole(
        status,
        headers,
        json!({"kind": "Status", "message": "no \u{1b}[31mway", "code": status}).to_string(),
    )
}

/// A list of these pods.
pub(crate) fn list(version: &str, next: &str, pods: &[Value]) -> Answer {
    ok(&json!({"metadata": {"resourceVersion": version, "continue": next}, "items": pods}))
}

/// A pod; its uid is its name.
pub(crate) fn pod(name: &str, version: &str) -> Value {
    let meta = json!({"name": name, "namespace": "default", "uid": name, "resourceVersion": version});
    json!({"metadata": meta, "spec": {"nodeName": "node-a"}, "status": {}})
}

/// A line of a watch.
pub(crate) fn event(kind: &str, object: &Value) -> Piece {
    Piece::Text(format!("{}\n", json!({"type": kind, "object": object})))
}

/// Answers a list or a watch; other requests are answered as a healthy server would.
type Script = dyn Fn(&Request) -> Answer + Send + Sync;

pub(crate) struct Fake {
    dir: tempfile::TempDir,
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    _loop: Loop,
}

impl Fake {
    pub(crate) fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(script, |_| ok(&json!({"metadata": {"uid": "1"}})))
    }

    /// With answers about owners and namespaces.
    pub(crate) fn start_with(
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
        relations: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let script = move |request: &Request| match request.is_about_relations() {
            true => relations(request),
            false => script(request),
        };
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.crt"), certificate.pem()).unwrap();
        std::fs::write(dir.path().join("token"), "secret-token").unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let tls =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls = tls.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));

        let on = Loop::start();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let taken = Arc::clone(&requests);
        on.handle().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (acceptor, script, taken) = (acceptor.clone(), Arc::clone(&script), Arc::clone(&taken));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    // That the client leaves early is its right.
                    let _ = serve(stream, &*script, &taken).await;
                });
            }
        });
        Self { dir, port, requests, _loop: on }
    }

    pub(crate) fn config(&self) -> KubernetesConfig {
        KubernetesConfig {
            server: Some(format!("https://127.0.0.1:{}", self.port)),
            ca_file: Some(self.dir.path().join("ca.crt")),
            token_file: Some(self.dir.path().join("token")),
            node_name: "node-a".to_owned(),
            retry_max_s: 1,
            ..KubernetesConfig::default()
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn lists(&self) -> Vec<Request> {
        self.requests().into_iter().filter(Request::is_list).collect()
    }

    pub(crate) fn relations(&self) -> Vec<Request> {
        self.requests().into_iter().filter(Request::is_about_relations).collect()
    }

    pub(crate) fn watches(&self) -> Vec<Request> {
        self.requests().into_iter().filter(Request::is_watch).collect()
    }
}

async fn serve(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    script: &Script,
    taken: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let authorization = head.lines().find_map(|line| line.strip_prefix("authorization: "));
    let mut request = Request {
        at: Instant::now(),
        target: head.split(' ').nth(1).unwrap().to_owned(),
        authorization: authorization.unwrap_or_default().to_owned(),
        nth: 0,
    };
    {
        let mut taken = taken.lock().unwrap();
        let same =
            |other: &&Request| (other.is_list(), other.is_watch()) == (request.is_list(), request.is_watch());
        request.nth = taken.iter().filter(same).count();
        taken.push(request.clone());
    }
    let answer = match request.target.as_str() {
        _ if request.is_list() || request.is_watch() || request.is_about_relations() => script(&request),
        "/version" => ok(&json!({"gitVersion": "v1.0.0-fake"})),
        _ => ok(&json!({"metadata": {"uid": "1"}})),
    };
    match answer {
        Answer::Whole(status, headers, body) => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        Answer::Pieces(pieces) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await?;
            for piece in pieces {
                match piece {
                    Piece::Text(text) => stream.write_all(text.as_bytes()).await?,
                    Piece::Flood(text) => loop {
                        stream.write_all(text.as_bytes()).await?;
                    },
                    Piece::Pause(time) => tokio::time::sleep(time).await,
                    Piece::Open => {
                        stream.flush().await?;
                        stream.read_u8().await?;
                    }
                    Piece::Cut => {
                        stream.flush().await?;
                        return Ok(());
                    }
                }
                stream.flush().await?;
            }
        }
        Answer::Nothing => {
            stream.read_u8().await?;
        }
    }
    stream.shutdown().await
}
