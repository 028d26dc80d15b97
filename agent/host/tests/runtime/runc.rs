//! Containers of runc itself: a state directory, bundles and cgroups of their own.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Why there is none here; none: there is.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("a container runtime needs root".into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let missing: Vec<&str> = ["runc", "busybox"].into_iter().filter(|program| !has(program)).collect();
    (!missing.is_empty()).then(|| format!("{} not installed", missing.join(", ")))
}

/// Dropped, its containers end.
pub(crate) struct Runc {
    dir: tempfile::TempDir,
    /// Cgroups of this test alone.
    cgroup: String,
}

impl Runc {
    pub(crate) fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("state")).unwrap();
        Self { dir, cgroup: format!("/hostward-{name}-{}", std::process::id()) }
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.cgroup)
    }

    /// Writes a bundle in which busybox runs `args`.
    pub(crate) fn bundle(&self, id: &str, args: &[&str], change: impl FnOnce(&mut Value)) -> PathBuf {
        let bundle = self.dir.path().join(format!("bundle-{id}"));
        let bin = bundle.join("rootfs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        self.call(&["spec", "--bundle", &bundle.display().to_string()]);
        let file = bundle.join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(args);
        // Some machines forbid raising any.
        spec["process"]["rlimits"] = json!([]);
        spec["linux"]["cgroupsPath"] = json!(self.cgroup(id));
        change(&mut spec);
        std::fs::write(&file, spec.to_string()).unwrap();
        bundle
    }

    /// Makes a container whose program does not run yet; gives its pid.
    pub(crate) fn create(&self, id: &str, bundle: &Path) -> u32 {
        let pid = self.dir.path().join(format!("{id}.pid"));
        let (bundle, pid_file) = (bundle.display().to_string(), pid.display().to_string());
        self.call(&["create", "--bundle", &bundle, "--pid-file", &pid_file, id]);
        std::fs::read_to_string(pid).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn call(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        // What it makes keeps its standard error: a pipe would be held open.
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        assert!(output.status.success(), "runc {args:?}: {log}");
        output
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.state_dir()).arg("--log").arg(self.dir.path().join("log")).args(args);
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
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
            let _ = std::fs::remove_dir(hierarchy.join(self.cgroup.trim_start_matches('/')));
        }
    }
}
