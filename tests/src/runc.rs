//! Containers of runc itself: a state directory, bundles and cgroups of their own.

use crate::place;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Where containers are made. Dropped, they end.
#[derive(Debug)]
pub struct Runc {
    dir: TempDir,
    /// Cgroups of this test alone.
    cgroup: String,
}

impl Runc {
    /// A place of this name; no other test of the same program may have it.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("hostward-runc.").tempdir()?;
        std::fs::create_dir(dir.path().join("state"))?;
        Ok(Self { dir, cgroup: format!("/hostward-{name}-{}", std::process::id()) })
    }

    /// Where runc keeps the states of its containers.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Path of a container's cgroup.
    pub fn cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.cgroup)
    }

    /// Writes a bundle in which busybox runs `args`; `change` may alter its configuration.
    ///
    /// # Errors
    /// It cannot be written, or runc makes no configuration.
    pub fn bundle(&self, id: &str, args: &[&str], change: impl FnOnce(&mut Value)) -> Result<PathBuf> {
        let bundle = self.dir.path().join(format!("bundle-{id}"));
        let bin = bundle.join("rootfs/bin");
        std::fs::create_dir_all(&bin)?;
        std::fs::copy("/bin/busybox", bin.join("busybox"))?;
        self.call(&["spec", "--bundle", &bundle.display().to_string()])?;
        let file = bundle.join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let mut put = |pointer: &str, key: &str, value: Value| {
            let place = spec.pointer_mut(pointer).and_then(Value::as_object_mut);
            place.map(|object| object.insert(key.to_owned(), value)).context("runc's configuration")
        };
        put("/process", "terminal", json!(false))?;
        put("/process", "args", json!(args))?;
        // Some machines forbid raising any.
        put("/process", "rlimits", json!([]))?;
        put("/linux", "cgroupsPath", json!(self.cgroup(id)))?;
        change(&mut spec);
        std::fs::write(&file, spec.to_string())?;
        Ok(bundle)
    }

    /// Makes a container whose program does not run yet; gives its pid.
    ///
    /// # Errors
    /// As [`Runc::call`].
    pub fn create(&self, id: &str, bundle: &Path) -> Result<u32> {
        let pid = self.dir.path().join(format!("{id}.pid"));
        let (bundle, pid_file) = (bundle.display().to_string(), pid.display().to_string());
        self.call(&["create", "--bundle", &bundle, "--pid-file", &pid_file, id])?;
        Ok(std::fs::read_to_string(pid)?.trim().parse()?)
    }

    /// Any command of runc.
    ///
    /// # Errors
    /// It fails; the message has its log.
    pub fn call(&self, args: &[&str]) -> Result<()> {
        let status = self.command(args).status().context("runc")?;
        let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        ensure!(status.success(), "runc {args:?}: {}", log());
        Ok(())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.state_dir()).arg("--log").arg(self.dir.path().join("log")).args(args);
        // What it starts keeps these.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.state_dir()).into_iter().flatten().flatten() {
            let id = entry.file_name().into_string().unwrap_or_default();
            drop(self.command(&["delete", "--force", &id]).status());
        }
        place::remove_cgroup(&self.cgroup);
    }
}
