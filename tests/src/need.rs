//! Parts that not every machine has.

use crate::place;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Something real that a test needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The host's kernel lets us load BPF programs: root, BTF.
    Kernel,
    /// QEMU guests: the scripts and the programs that they use.
    Vm,
    /// A directory where a small tmpfs can be mounted.
    Mount,
    /// Docker's daemon, and what makes the test image.
    Docker,
    /// Podman, and what makes the test image.
    Podman,
    /// containerd with its client and runc, and what makes the test image.
    Containerd,
    /// runc, and a busybox for its containers.
    Runc,
    /// What makes the test images for a container runtime in a guest.
    Images,
}

impl Part {
    /// The word in `HOSTWARD_REQUIRE`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Vm => "vm",
            Self::Mount => "mount",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Runc => "runc",
            Self::Images => "images",
        }
    }

    /// Why this machine does not have the part; none: it has.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Kernel => match capabilities() {
                None => Some("/proc/self/status tells no capabilities".into()),
                Some(caps) if caps & CAP_BPF_PERFMON != CAP_BPF_PERFMON => {
                    Some("CAP_BPF and CAP_PERFMON are needed: run as root".into())
                }
                Some(_) if !Path::new("/sys/kernel/btf/vmlinux").exists() => {
                    Some("the kernel has no BTF: /sys/kernel/btf/vmlinux is not there".into())
                }
                Some(_) => None,
            },
            Self::Vm => vm_missing(),
            Self::Docker => runtime_missing(&["dockerd", "docker", "runc"]),
            Self::Podman => runtime_missing(&["podman", "runc"]),
            Self::Containerd => runtime_missing(&["containerd", "ctr", "runc"]),
            Self::Runc => runtime_missing(&["runc"]),
            Self::Images => runtime_missing(&[]),
            Self::Mount => match capabilities() {
                Some(caps) if caps & CAP_SYS_ADMIN != 0 => None,
                _ => Some("mounting needs CAP_SYS_ADMIN: run as root".into()),
            },
        }
    }
}

/// linux/capability.h: bits 38 and 39.
const CAP_BPF_PERFMON: u64 = 1 << 39 | 1 << 38;
/// linux/capability.h: bit 21.
const CAP_SYS_ADMIN: u64 = 1 << 21;

fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn runtime_missing(programs: &[&str]) -> Option<String> {
    let script = place::shared("vm/mkimages.sh");
    if !script.is_file() {
        return Some(format!("{} is not there", script.display()));
    }
    if capabilities().is_none_or(|caps| caps & CAP_SYS_ADMIN == 0) {
        return Some("a container runtime needs root".into());
    }
    let all = programs.iter().chain(&["busybox", "python3", "cc"]);
    let missing: Vec<&str> = all.copied().filter(|program| !in_path(program)).collect();
    (!missing.is_empty()).then(|| format!("{} not installed: ./dev setup", missing.join(", ")))
}

fn vm_missing() -> Option<String> {
    let scripts = place::shared("vm");
    if !scripts.join("run-guest.sh").is_file() {
        return Some(format!("{} is not there", scripts.join("run-guest.sh").display()));
    }
    if capabilities().is_none_or(|caps| caps & CAP_SYS_ADMIN == 0) {
        return Some("building the guest's disk needs root".into());
    }
    let programs = ["qemu-system-x86_64", "mmdebstrap", "mke2fs", "depmod", "cpio", "busybox"];
    let missing: Vec<&str> = programs.into_iter().filter(|program| !in_path(program)).collect();
    (!missing.is_empty()).then(|| format!("{} not installed: ./dev setup", missing.join(", ")))
}

/// True when a program of this name is in PATH, or where Debian keeps root's.
pub fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let roots = ["/usr/sbin".into(), "/sbin".into()];
    std::env::split_paths(&path).chain(roots).any(|dir| dir.join(program).is_file())
}

/// True when the machine lacks `part`: the test `name` then returns at once.
///
/// The skip is told on the real stderr, which the test harness does not swallow, and in the file that
/// `HOSTWARD_SKIPS` names, from which `./dev test` makes its summary.
///
/// # Panics
/// `HOSTWARD_REQUIRE` (a list with commas) names the part: this machine was said to have it.
pub fn lacks(part: Part, name: &str) -> bool {
    let Some(reason) = part.missing() else { return false };
    skip(part.name(), name, &reason);
    true
}

/// Tells that `test` is skipped for want of `part`.
///
/// # Panics
/// `HOSTWARD_REQUIRE` names the part.
pub fn skip(part: &str, test: &str, reason: &str) {
    let required = std::env::var("HOSTWARD_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|word| word.trim() == part);
    assert!(!required, "HOSTWARD_REQUIRE says that this machine has `{part}`, and it has not: {reason}");
    let line = format!("SKIPPED {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("HOSTWARD_SKIPS") {
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}
