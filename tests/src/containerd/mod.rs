//! A private containerd with its CRI plugin, driven by the few calls that a kubelet makes.

mod messages;

use crate::place;
use anyhow::{Context, Result, ensure};
use hyper_util::rt::TokioIo;
pub use messages::SandboxConfig;
use messages::{
    ContainerConfig, CreateContainer, Id, Image, Namespaces, Nothing, PodMetadata, RunPodSandbox,
    SandboxLinux, SandboxSecurity,
};
use prost::Message;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

/// Each removes empty cgroups when it stops, also those that another one has just made: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The image that containers are made of; it holds busybox and nothing else.
pub const IMAGE: &str = "docker.io/bench/busybox:1";

/// A running containerd. Dropped, it ends with all its pods.
#[derive(Debug)]
pub struct Containerd {
    dir: TempDir,
    /// Where its programs are looked for first; none: where all programs are.
    bin: Option<PathBuf>,
    runtime: tokio::runtime::Runtime,
    /// Namespaces beside Kubernetes' own.
    spaces: Mutex<Vec<String>>,
    _alone: MutexGuard<'static, ()>,
}

impl Containerd {
    /// Starts this machine's, with the test's images.
    ///
    /// # Errors
    /// It does not come up; the message has what the script said.
    pub fn start() -> Result<Self> {
        Self::of(None)
    }

    /// Starts the one whose programs lie in this directory.
    ///
    /// # Errors
    /// As [`Containerd::start`].
    pub fn of(bin: Option<PathBuf>) -> Result<Self> {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::Builder::new().prefix("hostward-containerd.").tempdir()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let script = place::shared("vm/mkimages.sh");
        let made = Command::new("sh").arg(&script).arg(dir.path().join("images")).output()?;
        ensure!(made.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&made.stderr));
        let containerd = Self { dir, bin, runtime, spaces: Mutex::default(), _alone };
        containerd.up()?;
        Ok(containerd)
    }

    /// Starts the daemon, again if it was killed.
    ///
    /// # Errors
    /// As [`Containerd::start`].
    pub fn up(&self) -> Result<()> {
        let _ = std::fs::remove_file(self.socket());
        let output =
            self.script("start").arg(self.dir.path().join("images")).stdout(Stdio::null()).status()?;
        let log = || std::fs::read_to_string(self.dir.path().join("containerd.log")).unwrap_or_default();
        ensure!(output.success(), "containerd does not start:\n{}", log());
        Ok(())
    }

    fn script(&self, action: &str) -> Command {
        let mut command = self.command("bash");
        command.arg(place::shared("vm/host-cri.sh")).arg(action).arg(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// A program, of its own version if it is one of its own.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(bin) = &self.bin {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let all = std::iter::once(bin.clone()).chain(std::env::split_paths(&path));
            if let Ok(path) = std::env::join_paths(all) {
                command.env("PATH", path);
            }
        }
        command
    }

    /// Kills the daemon as a crash would; containers live on.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&self) -> Result<()> {
        let pid = std::fs::read_to_string(self.dir.path().join("pid"))?;
        ensure!(Command::new("kill").args(["-9", pid.trim()]).status()?.success(), "kill {pid}");
        Ok(())
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    /// Major and minor version.
    ///
    /// # Errors
    /// The program tells none.
    pub fn version(&self) -> Result<(u32, u32)> {
        let output = self.command("sh").args(["-c", "containerd --version"]).output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = told.split(' ').nth(2).unwrap_or_default().trim_start_matches('v');
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        numbers.next().zip(numbers.next()).with_context(|| told.clone())
    }

    /// A command of containerd's own client, in a namespace; gives its output.
    ///
    /// # Errors
    /// It fails; the message has what it said.
    pub fn ctr(&self, space: &str, args: &[&str]) -> Result<String> {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.socket()).args(["-n", space]).args(args);
        let output = command.stdin(Stdio::null()).output().context("ctr")?;
        ensure!(output.status.success(), "ctr {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Puts the test's image into a namespace, which ends with this containerd.
    ///
    /// # Errors
    /// As [`Containerd::ctr`].
    pub fn import(&self, space: &str) -> Result<()> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner).push(space.to_owned());
        let tar = self.dir.path().join("images/busybox.tar");
        self.ctr(space, &["images", "import", &tar.display().to_string()]).map(drop)
    }

    /// Gives the test's image a digest, as one has that was pulled by it.
    ///
    /// # Errors
    /// As [`Containerd::ctr`].
    pub fn digest(&self) -> Result<String> {
        let list = self.ctr("k8s.io", &["images", "ls", &format!("name=={IMAGE}")])?;
        let digest = list.split_whitespace().find(|word| word.starts_with("sha256:"));
        let digest = digest.with_context(|| list.clone())?;
        let name = IMAGE.rsplit_once(':').map_or(IMAGE, |(name, _)| name);
        self.ctr("k8s.io", &["images", "tag", IMAGE, &format!("{name}@{digest}")])?;
        Ok(digest.to_owned())
    }

    fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A>
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
            let mut grpc = tonic::client::Grpc::new(endpoint.connect_with_connector(connector).await?);
            grpc.ready().await?;
            let path = PathAndQuery::from_static(method);
            let answer = grpc.unary(tonic::Request::new(request), path, ProstCodec::<Q, A>::default()).await;
            Ok(answer.context(method)?.into_inner())
        })
    }

    /// A pod of the namespace `prod` with a label `app=web` and an annotation of its owner.
    pub fn config(&self, name: &str, uid: &str) -> SandboxConfig {
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
    ///
    /// # Errors
    /// The runtime refuses it.
    pub fn pod(&self, config: &SandboxConfig) -> Result<String> {
        let request = RunPodSandbox { config: Some(config.clone()) };
        Ok(self.call::<_, Id>("/runtime.v1.RuntimeService/RunPodSandbox", request)?.id)
    }

    /// Makes a container that does not run yet, with a label `tier=front`; gives its id.
    ///
    /// # Errors
    /// The runtime refuses it.
    pub fn create(
        &self,
        sandbox: &str,
        config: &SandboxConfig,
        name: &str,
        command: &[&str],
    ) -> Result<String> {
        let container = ContainerConfig {
            metadata: Some(Id { id: name.into() }),
            image: Some(Image { image: IMAGE.into() }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            labels: [("tier".to_owned(), "front".to_owned())].into(),
        };
        let request = CreateContainer {
            sandbox: sandbox.into(),
            config: Some(container),
            sandbox_config: Some(config.clone()),
        };
        Ok(self.call::<_, Id>("/runtime.v1.RuntimeService/CreateContainer", request)?.id)
    }

    /// Runs the command of a container that was made.
    ///
    /// # Errors
    /// The runtime refuses it.
    pub fn launch(&self, id: &str) -> Result<()> {
        let _: Nothing = self.call("/runtime.v1.RuntimeService/StartContainer", Id { id: id.into() })?;
        Ok(())
    }

    /// Makes a container and runs its command; gives its id.
    ///
    /// # Errors
    /// The runtime refuses it.
    pub fn container(
        &self,
        sandbox: &str,
        config: &SandboxConfig,
        name: &str,
        command: &[&str],
    ) -> Result<String> {
        let id = self.create(sandbox, config, name, command)?;
        self.launch(&id)?;
        Ok(id)
    }

    /// Stops and removes a pod with its containers.
    ///
    /// # Errors
    /// The runtime refuses it.
    pub fn remove(&self, sandbox: &str) -> Result<()> {
        let id = || Id { id: sandbox.into() };
        let _: Nothing = self.call("/runtime.v1.RuntimeService/StopPodSandbox", id())?;
        let _: Nothing = self.call("/runtime.v1.RuntimeService/RemovePodSandbox", id())?;
        Ok(())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // The script ends containers through the daemon: one that was killed has to be there once more.
        if std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            drop(self.script("start").arg(self.dir.path().join("images")).output());
        }
        let spaces = std::mem::take(&mut *self.spaces.lock().unwrap_or_else(PoisonError::into_inner));
        for space in &spaces {
            for task in self.ctr(space, &["task", "ls", "-q"]).unwrap_or_default().split_whitespace() {
                drop(self.ctr(space, &["task", "rm", "-f", task]));
            }
        }
        drop(self.script("stop").output());
        for space in &spaces {
            let _ = std::fs::remove_dir(Path::new("/run/containerd/runc").join(space));
            place::remove_cgroup(space);
        }
    }
}

/// Programs of another Debian suite's containerd, fetched once into the build directory.
///
/// # Errors
/// The archive cannot be reached, or has none.
pub fn programs(suite: &str) -> Result<PathBuf> {
    // Two tests may want the same.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = place::target()?.join("containerd").join(suite);
    let fetch = place::checkout().join("tests/containers/get-containerd.sh");
    let output = Command::new("bash").arg(fetch).arg(suite).arg(&dir).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(Path::new(&dir).join("usr/bin"))
}
