//! A private containerd with its CRI plugin, driven by the few calls that a kubelet makes.

use hyper_util::rt::TokioIo;
use prost::Message;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, Message)]
struct Namespaces {
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxSecurity {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxLinux {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security: Option<SandboxSecurity>,
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
pub(crate) struct SandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodMetadata>,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(map = "string, string", tag = "6")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "7")]
    annotations: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<SandboxLinux>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandbox {
    #[prost(message, optional, tag = "1")]
    config: Option<SandboxConfig>,
}

/// Answers and requests that are an id and nothing else.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Id>,
    #[prost(message, optional, tag = "2")]
    image: Option<Image>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(map = "string, string", tag = "9")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    sandbox: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

/// Why there is none here; none: there is.
pub(crate) fn missing() -> Option<String> {
    if !script("host-cri.sh").is_file() {
        return Some(format!("{} is not there", script("host-cri.sh").display()));
    }
    if !rustix::process::geteuid().is_root() {
        return Some("a container runtime needs root".into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let wanted = ["containerd", "ctr", "runc", "busybox", "python3", "cc"];
    let missing: Vec<&str> = wanted.into_iter().filter(|program| !has(program)).collect();
    (!missing.is_empty()).then(|| format!("{} not installed", missing.join(", ")))
}

/// Programs of another Debian suite's containerd, fetched once into the build directory; an error says why there are none.
pub(crate) fn programs(suite: &str) -> Result<PathBuf, String> {
    // Two tests may want the same.
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/containerd");
    let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runtime/get-containerd.sh");
    let output = Command::new("bash").arg(fetch).arg(suite).arg(root.join(suite)).output();
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(root.join(suite).join("usr/bin")) } else { Err(said.trim().to_owned()) }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vm").join(name)
}

/// Dropped, it ends with all its pods.
pub(crate) struct Containerd {
    dir: tempfile::TempDir,
    /// Where its programs are looked for first; empty: where all programs are.
    bin: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Containerd {
    pub(crate) fn start() -> Self {
        Self::of(PathBuf::new())
    }

    /// With the programs in this directory.
    pub(crate) fn of(bin: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let made =
            Command::new("sh").arg(script("mkimages.sh")).arg(dir.path().join("images")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let containerd = Self { dir, bin, runtime };
        containerd.up();
        containerd
    }

    /// Starts the daemon, again if it was killed.
    pub(crate) fn up(&self) {
        let _ = std::fs::remove_file(self.socket());
        let mut start = self.command("bash");
        start.arg(script("host-cri.sh")).arg("start");
        start.args([self.dir.path(), &self.dir.path().join("images")]);
        assert!(start.stdout(Stdio::null()).status().unwrap().success());
    }

    /// A program, of its own version if it is one of its own.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if self.bin.is_dir() {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let all = std::iter::once(self.bin.clone()).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(all).unwrap());
        }
        command
    }

    /// Major and minor version.
    pub(crate) fn version(&self) -> (u32, u32) {
        let output = self.command("sh").args(["-c", "containerd --version"]).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let version = told.split(' ').nth(2).unwrap().trim_start_matches('v');
        let mut numbers = version.split('.').map(|number| number.parse().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    /// Gives the test's image a digest, as one has that was pulled by it.
    pub(crate) fn digest(&self) -> String {
        let image = "docker.io/bench/busybox";
        let list = self.ctr("k8s.io", &["images", "ls", &format!("name=={image}:1")]);
        let digest = list.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
        self.ctr("k8s.io", &["images", "tag", &format!("{image}:1"), &format!("{image}@{digest}")]);
        digest.to_owned()
    }

    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.dir.path().join("pid")).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    fn call<Q, A>(&self, method: &'static str, request: Q) -> A
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = self.socket();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        self.runtime.block_on(async move {
            let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
            let channel = endpoint.connect_with_connector(connector).await.unwrap();
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.unwrap();
            let path = PathAndQuery::from_static(method);
            let answer = grpc.unary(tonic::Request::new(request), path, ProstCodec::<Q, A>::default()).await;
            answer.unwrap_or_else(|status| panic!("{method}: {status}")).into_inner()
        })
    }

    pub(crate) fn config(&self, name: &str, uid: &str) -> SandboxConfig {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        SandboxConfig {
            metadata: Some(PodMetadata { name: name.into(), uid: uid.into(), namespace: "prod".into() }),
            log_directory: self.dir.path().display().to_string(),
            labels: [pair("app", "web")].into(),
            annotations: [pair("hostward.io/owner", "team-a")].into(),
            linux: Some(SandboxLinux {
                // Removed by the script that stops the daemon.
                cgroup_parent: format!("/kubepods/besteffort/pod{uid}"),
                // The node's network: there is no plugin that would make another.
                security: Some(SandboxSecurity { namespaces: Some(Namespaces { network: 2 }) }),
            }),
        }
    }

    /// Makes a pod; gives its sandbox.
    pub(crate) fn pod(&self, config: &SandboxConfig) -> String {
        let request = RunPodSandbox { config: Some(config.clone()) };
        self.call::<_, Id>("/runtime.v1.RuntimeService/RunPodSandbox", request).id
    }

    /// Starts a container that runs `command`.
    pub(crate) fn container(
        &self,
        sandbox: &str,
        config: &SandboxConfig,
        name: &str,
        command: &[&str],
    ) -> String {
        let id = self.create(sandbox, config, name, command);
        self.launch(&id);
        id
    }

    pub(crate) fn launch(&self, id: &str) {
        let _: Nothing = self.call("/runtime.v1.RuntimeService/StartContainer", Id { id: id.into() });
    }

    /// Makes a container that does not run yet.
    pub(crate) fn create(
        &self,
        sandbox: &str,
        config: &SandboxConfig,
        name: &str,
        command: &[&str],
    ) -> String {
        let container = ContainerConfig {
            metadata: Some(Id { id: name.into() }),
            image: Some(Image { image: "docker.io/bench/busybox:1".into() }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            labels: [("tier".to_owned(), "front".to_owned())].into(),
        };
        let request = CreateContainer {
            sandbox: sandbox.into(),
            config: Some(container),
            sandbox_config: Some(config.clone()),
        };
        self.call::<_, Id>("/runtime.v1.RuntimeService/CreateContainer", request).id
    }

    /// A command of containerd's own client, in a namespace.
    pub(crate) fn ctr(&self, space: &str, args: &[&str]) -> String {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.socket()).args(["-n", space]).args(args);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "ctr {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Puts the test's image into a namespace.
    pub(crate) fn import(&self, space: &str) {
        let tar = self.dir.path().join("images/busybox.tar");
        self.ctr(space, &["images", "import", &tar.display().to_string()]);
    }

    pub(crate) fn remove(&self, sandbox: &str) {
        let id = || Id { id: sandbox.into() };
        let _: Nothing = self.call("/runtime.v1.RuntimeService/StopPodSandbox", id());
        let _: Nothing = self.call("/runtime.v1.RuntimeService/RemovePodSandbox", id());
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // The script ends containers through the daemon: one that was killed has to be there once more.
        if std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            let mut start = self.command("bash");
            start.arg(script("host-cri.sh")).arg("start");
            drop(start.args([self.dir.path(), &self.dir.path().join("images")]).output());
        }
        let stop = Command::new("bash").arg(script("host-cri.sh")).arg("stop").arg(self.dir.path()).output();
        drop(stop);
    }
}
