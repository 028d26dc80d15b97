//! CRI as a server of the test's own speaks it, over HTTP/2: what happens when is the test's choice.

use bytes::Bytes;
use h2::server::SendResponse;
use prost::Message;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;

pub(crate) const SANDBOX: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
pub(crate) const UID: &str = "f4bcdb5f-4b5b-4b5b-9d5c-0a1b2c3d4e5f";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Version {
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<PodMetadata>,
    #[prost(map = "string, string", tag = "7")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct One {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<One>,
    #[prost(int64, tag = "5")]
    started_ns: i64,
    #[prost(message, optional, tag = "8")]
    image: Option<One>,
    #[prost(string, tag = "9")]
    image_ref: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(int32, tag = "2")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "4")]
    pub(crate) sandbox: Option<Sandbox>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) containers: Vec<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Listed {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    sandbox: String,
    #[prost(int32, tag = "6")]
    state: i32,
}

#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Listed>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<Sandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct StatusAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, repeated, tag = "3")]
    digests: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageAnswer {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

pub(crate) fn sandbox() -> Sandbox {
    Sandbox {
        id: SANDBOX.into(),
        metadata: Some(PodMetadata { name: "web-1".into(), uid: UID.into(), namespace: "prod".into() }),
        labels: [("app".to_owned(), "web".to_owned())].into(),
    }
}

pub(crate) fn status(id: &str) -> Status {
    Status {
        id: id.into(),
        metadata: Some(One { name: format!("app-{}", &id[..2]) }),
        started_ns: 0,
        image: Some(One { name: "docker.io/library/nginx:1.27".into() }),
        image_ref: "docker.io/library/nginx@sha256:aa".into(),
    }
}

/// How the server answers who asks for the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// It says nothing until something happens, as containerd does.
    Open,
    /// Unimplemented.
    Lacking,
    /// It ends at once, as cri-o does where it is switched off.
    Ends,
    /// What it sends is no message.
    Nonsense,
}

/// A server; dropped, it ends.
pub(crate) struct Server {
    _dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

pub(crate) struct Shared {
    version: Version,
    stream: Stream,
    pub(crate) events: broadcast::Sender<Option<Event>>,
    /// What is there beside the sandbox, which always is.
    pub(crate) containers: Mutex<Vec<String>>,
    /// Status of a container is answered.
    pub(crate) tells: AtomicBool,
    pub(crate) opened: AtomicUsize,
    pub(crate) lists: AtomicUsize,
    pub(crate) image_calls: AtomicUsize,
}

impl Server {
    pub(crate) fn start(name: &str, version: &str, stream: Stream) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cri.sock");
        let shared = Arc::new(Shared {
            version: Version { name: name.into(), version: version.into() },
            stream,
            events: broadcast::channel(64).0,
            containers: Mutex::default(),
            tells: AtomicBool::new(true),
            opened: AtomicUsize::new(0),
            lists: AtomicUsize::new(0),
            image_calls: AtomicUsize::new(0),
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let own = Arc::clone(&shared);
        let _guard = runtime.enter();
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let own = Arc::clone(&own);
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(Arc::clone(&own).serve(request, respond));
                    }
                });
            }
        });
        drop(_guard);
        Self { _dir: dir, path, shared, runtime: Some(runtime) }
    }

    /// Waits until somebody listens to events.
    pub(crate) fn wait_for_listener(&self) {
        while self.shared.events.receiver_count() == 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    pub(crate) fn send(&self, id: &str, kind: i32, containers: Vec<Status>) {
        let event = Event { id: id.into(), kind, sandbox: Some(sandbox()), containers };
        self.shared.events.send(Some(event)).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// gRPC's code for a thing that is not there, and for a call that is not.
const NOT_FOUND: u32 = 5;
const UNIMPLEMENTED: u32 = 12;

impl Shared {
    async fn serve(self: Arc<Self>, request: http::Request<h2::RecvStream>, respond: SendResponse<Bytes>) {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let mut body = request.into_body();
        let mut asked = Vec::new();
        while let Some(Ok(part)) = body.data().await {
            let _ = body.flow_control().release_capacity(part.len());
            asked.extend_from_slice(&part);
        }
        let asked = asked.get(5..).unwrap_or_default();
        if method == "GetContainerEvents" {
            return self.stream(respond).await;
        }
        answer(respond, self.call(&method, asked));
    }

    fn call(&self, method: &str, asked: &[u8]) -> Result<Vec<u8>, u32> {
        let id = || One::decode(asked).unwrap().name;
        let containers = self.containers.lock().unwrap().clone();
        let listed = |id: String| Listed { id, sandbox: SANDBOX.into(), state: 0 };
        Ok(match method {
            "Version" => self.version.encode_to_vec(),
            "ListPodSandbox" => List { items: vec![listed(SANDBOX.into())] }.encode_to_vec(),
            "ListContainers" => {
                self.lists.fetch_add(1, Ordering::SeqCst);
                List { items: containers.into_iter().map(listed).collect() }.encode_to_vec()
            }
            "PodSandboxStatus" => SandboxAnswer { status: Some(sandbox()) }.encode_to_vec(),
            "ContainerStatus" if self.tells.load(Ordering::SeqCst) => {
                StatusAnswer { status: Some(status(&id())) }.encode_to_vec()
            }
            "ContainerStatus" => return Err(NOT_FOUND),
            "ImageStatus" => {
                self.image_calls.fetch_add(1, Ordering::SeqCst);
                let digests = vec!["docker.io/library/nginx@sha256:aa".into()];
                ImageAnswer { image: Some(Image { id: "sha256:cc".into(), digests }) }.encode_to_vec()
            }
            _ => return Err(UNIMPLEMENTED),
        })
    }

    async fn stream(&self, mut respond: SendResponse<Bytes>) {
        let mut events = self.events.subscribe();
        self.opened.fetch_add(1, Ordering::SeqCst);
        match self.stream {
            Stream::Lacking => return answer(respond, Err(UNIMPLEMENTED)),
            Stream::Ends => {
                let mut stream = respond.send_response(head(), false).unwrap();
                return drop(stream.send_trailers(trailers(0)));
            }
            Stream::Nonsense => {
                let mut stream = respond.send_response(head(), false).unwrap();
                return drop(stream.send_data(frame(&[0xff; 1000]), false));
            }
            Stream::Open => {}
        }
        let mut stream = None;
        while let Ok(Some(event)) = events.recv().await {
            if stream.is_none() {
                stream = respond.send_response(head(), false).ok();
            }
            let Some(stream) = &mut stream else { return };
            if stream.send_data(frame(&event.encode_to_vec()), false).is_err() {
                return;
            }
        }
        if let Some(mut stream) = stream {
            drop(stream.send_trailers(trailers(0)));
        }
    }
}

fn head() -> http::Response<()> {
    http::Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn trailers(code: u32) -> http::HeaderMap {
    [(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from(code))].into_iter().collect()
}

/// A message as gRPC sends it: not compressed, its length, itself.
fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Bytes::from([&[0][..], &length, message].concat())
}

fn answer(mut respond: SendResponse<Bytes>, result: Result<Vec<u8>, u32>) {
    let Ok(mut stream) = respond.send_response(head(), false) else { return };
    let code = match result {
        Ok(message) => {
            let _ = stream.send_data(frame(&message), false);
            0
        }
        Err(code) => code,
    };
    let _ = stream.send_trailers(trailers(code));
}
