//! A private Docker or Podman: daemon, socket, data and image in a directory of its own.

use crate::{child, place, until};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A daemon on a loaded machine.
const UP: Duration = Duration::from_secs(60);
/// What the image is called; it holds busybox and nothing else.
const IMAGE: &str = "docker.io/bench/busybox:1";

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Docker, with a containerd of its own.
    Docker,
    /// Podman's service.
    Podman,
}

/// A running engine. Dropped, its containers and its daemon end.
#[derive(Debug)]
pub struct Engine {
    kind: Kind,
    dir: TempDir,
    daemon: Child,
}

impl Engine {
    /// Starts one and loads the image.
    ///
    /// # Errors
    /// It does not come up; the message names its log, which lies in its directory.
    pub fn start(kind: Kind) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("hostward-engine.").tempdir()?;
        images(&dir.path().join("images"))?;
        let daemon = spawn(kind, dir.path())?;
        let engine = Self { kind, dir, daemon };
        engine.wait()?;
        let tar = engine.dir.path().join("images/busybox.tar");
        engine.call(&["load", "-i", &tar.display().to_string()])?;
        Ok(engine)
    }

    /// Its API socket.
    pub fn socket(&self) -> PathBuf {
        socket(self.dir.path())
    }

    /// As `[runtime]` of the agent's configuration names it.
    pub fn config(&self) -> String {
        let kind = if self.kind == Kind::Docker { "docker" } else { "podman" };
        format!("[runtime]\nsockets = [\"{kind}:{}\"]\n", self.socket().display())
    }

    /// Runs a program in a new container to its end, or in the background with `-d` among the options.
    ///
    /// # Errors
    /// The engine refuses it, or the program fails.
    pub fn run(&self, name: &str, options: &[&str], program: &[&str]) -> Result<String> {
        let mut args = vec!["run", "--name", name];
        match self.kind {
            Kind::Docker => args.extend(["--network", "none"]),
            // Its defaults raise limits, which a machine may forbid.
            Kind::Podman => {
                args.extend([
                    "--network",
                    "host",
                    "--ulimit",
                    "nofile=1024:1024",
                    "--ulimit",
                    "nproc=1024:1024",
                ]);
            }
        }
        args.extend(options);
        args.push(IMAGE);
        args.extend(program);
        self.call(&args)
    }

    /// Any command of the engine's client; gives its output.
    ///
    /// # Errors
    /// It fails; the message has what it said.
    pub fn call(&self, args: &[&str]) -> Result<String> {
        let mut command = client(self.kind, self.dir.path());
        let output = command.args(args).stdin(Stdio::null()).output().context("no client of the engine")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{:?} {args:?}: {said}", self.kind);
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Kills the daemon as a crash would; containers live on.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.kill()?;
        self.daemon.wait()?;
        Ok(())
    }

    /// Starts the daemon again on the same data.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.daemon = spawn(self.kind, self.dir.path())?;
        self.wait()
    }

    fn wait(&self) -> Result<()> {
        let up = until("the engine to answer", UP, || {
            let connected = std::os::unix::net::UnixStream::connect(self.socket()).is_ok();
            Ok((connected && self.call(&["ps"]).is_ok()).then_some(()))
        });
        let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        up.with_context(|| format!("{:?}:\n{}", self.kind, log()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Ok(ids) = self.call(&["ps", "-aq"]) {
            for id in ids.split_whitespace() {
                drop(self.call(&["rm", "-f", id]));
            }
        }
        // TERM, so that Docker ends its containerd, too.
        drop(Command::new("kill").arg(self.daemon.id().to_string()).status());
        let ended = until("the engine's end", Duration::from_secs(20), || Ok(self.daemon.try_wait()?));
        if ended.is_err() {
            drop(self.daemon.kill());
            drop(self.daemon.wait());
        }
        unmount(self.dir.path());
    }
}

/// Makes the archives `busybox.tar` and `pause.tar` in `dir`, for any engine to load; see [`Part::Images`].
///
/// # Errors
/// A program that it takes is missing; the message has what the script said.
///
/// [`Part::Images`]: crate::Part::Images
pub fn images(dir: &Path) -> Result<()> {
    child::output(Command::new("sh").arg(place::shared("vm/mkimages.sh")).arg(dir)).context("the images")?;
    Ok(())
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("engine.sock")
}

fn client(kind: Kind, dir: &Path) -> Command {
    match kind {
        Kind::Docker => {
            let mut command = Command::new("docker");
            command.arg("-H").arg(format!("unix://{}", socket(dir).display()));
            command
        }
        Kind::Podman => {
            let mut command = Command::new("podman");
            command.arg("--root").arg(dir.join("root")).arg("--runroot").arg(dir.join("runroot"));
            command.arg("--tmpdir").arg(dir.join("tmp"));
            command.args(["--cgroup-manager=cgroupfs", "--runtime", "runc", "--events-backend", "file"]);
            command
        }
    }
}

fn spawn(kind: Kind, dir: &Path) -> Result<Child> {
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    let address = format!("unix://{}", socket(dir).display());
    let mut command = match kind {
        Kind::Docker => {
            let mut command = Command::new("dockerd");
            command.args(["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]);
            command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "-H", &address]);
            command.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
            command.arg("-p").arg(dir.join("pid"));
            command
        }
        Kind::Podman => {
            let mut command = client(kind, dir);
            command.args(["system", "service", "--time", "0", &address]);
            command
        }
    };
    // A socket that a killed daemon left behind would make Podman's service refuse to start.
    let _ = std::fs::remove_file(socket(dir));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("{kind:?}"))
}

/// What the engine mounted below its directory, the last first.
fn unmount(dir: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let prefix = dir.display().to_string();
    let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| point.starts_with(&prefix)) {
        drop(Command::new("umount").arg("-l").arg(point).status());
    }
}
