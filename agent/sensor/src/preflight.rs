//! Can this host observe? One named answer per precondition, before anything is loaded.
//!
//! A check tells what was found and, when it matters, what to do. `fail` means that nothing can be
//! observed; `warn` that something will be missing or cannot be known. What the kernel refuses
//! although all checks pass is told by [`crate::Sensor::ladder`].

use crate::layout::BTF_PATH;
use std::fs;
use std::path::{Path, PathBuf};

/// How serious.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something will be missing, or is not known.
    Warn,
    /// Nothing can be observed.
    Fail,
}

impl Level {
    /// The word in `hostward doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Short name, e.g. `btf`.
    pub name: &'static str,
    /// How serious.
    pub level: Level,
    /// What was found, one sentence fragment.
    pub found: String,
    /// What to do; empty when nothing.
    pub hint: &'static str,
}

/// The state of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// All checks, in the order of the reference page.
    pub checks: Vec<Check>,
}

/// Oldest kernel with all that the base object needs: ring buffers, boot-time clock (5.8), BTF-typed
/// tracepoints; 5.10 is the oldest that was tried.
const OLDEST: (u32, u32) = (5, 8);
const TRIED: (u32, u32) = (5, 10);
/// The first that knows `ia32_emulation=`.
const HEEDS_IA32_EMULATION: (u32, u32) = (6, 7);

const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What this process may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Privileges {
    effective: Option<u64>,
}

impl Privileges {
    pub(crate) fn of_this_process() -> Self {
        Self::under(Path::new("/"))
    }

    fn under(root: &Path) -> Self {
        let status = text(root, "proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Self { effective: line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) }
    }

    fn has(self, capability: u32) -> bool {
        self.effective.is_some_and(|set| set >> capability & 1 != 0)
    }

    /// Names of what is missing for loading; none when enough is there, or when it is not known.
    pub(crate) fn missing(self) -> Option<String> {
        if self.effective.is_none() || self.has(CAP_SYS_ADMIN) {
            return None;
        }
        let names = [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")];
        let missing: Vec<&str> =
            names.into_iter().filter(|(cap, _)| !self.has(*cap)).map(|(_, name)| name).collect();
        if missing.is_empty() { None } else { Some(missing.join(", ")) }
    }
}

impl Preflight {
    /// Looks at this host. Reads a dozen small files; loads nothing.
    pub fn run() -> Self {
        Self::under(Path::new("/"))
    }

    /// Looks at a host whose files are below `root`.
    pub(crate) fn under(root: &Path) -> Self {
        let checks = vec![
            kernel(root),
            btf(root),
            capabilities(root),
            lockdown(root),
            lsm(root),
            cgroup(root),
            tracefs(root),
            perf(root),
            jit(root),
            compat(root),
        ];
        Self { checks }
    }

    /// The most serious level.
    pub fn worst(&self) -> Level {
        self.checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok)
    }
}

fn text(root: &Path, file: &str) -> Option<String> {
    let bytes = fs::read(path(root, file)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn path(root: &Path, file: &str) -> PathBuf {
    root.join(file.trim_start_matches('/'))
}

fn check(name: &'static str, level: Level, found: impl Into<String>, hint: &'static str) -> Check {
    Check { name, level, found: found.into(), hint: if level == Level::Ok { "" } else { hint } }
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel(root: &Path) -> Check {
    let hint = "use a kernel of 5.10 or later (Debian 11 and later have one)";
    let Some(release) = text(root, "proc/sys/kernel/osrelease") else {
        return check(
            "kernel",
            Level::Warn,
            "release unknown: /proc/sys/kernel/osrelease cannot be read",
            hint,
        );
    };
    let release = release.trim();
    let level = match version(release) {
        version if version < OLDEST => Level::Fail,
        version if version < TRIED => Level::Warn,
        _ => Level::Ok,
    };
    check("kernel", level, format!("Linux {release}"), hint)
}

fn btf(root: &Path) -> Check {
    let hint = "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, and mount /sys";
    match fs::metadata(path(root, BTF_PATH)) {
        Ok(file) => check("btf", Level::Ok, format!("{BTF_PATH}, {} KiB", file.len() / 1024), hint),
        Err(cause) => check("btf", Level::Fail, format!("{BTF_PATH}: {cause}"), hint),
    }
}

fn capabilities(root: &Path) -> Check {
    let hint = "run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE";
    let privileges = Privileges::under(root);
    if privileges.effective.is_none() {
        return check("capabilities", Level::Warn, "unknown: /proc/self/status cannot be read", hint);
    }
    if let Some(missing) = privileges.missing() {
        return check("capabilities", Level::Fail, format!("missing {missing}"), hint);
    }
    if !privileges.has(CAP_SYS_RESOURCE) {
        let found =
            "enough to load; no CAP_SYS_RESOURCE, which kernels before 5.11 need to raise RLIMIT_MEMLOCK";
        return check("capabilities", Level::Ok, found, hint);
    }
    check("capabilities", Level::Ok, "enough to load", hint)
}

const CONFIDENTIALITY: &str = "confidentiality";

/// The kernel lets no program read its memory, as far as it says so.
pub(crate) fn forbids_reads() -> bool {
    lockdown(Path::new("/")).found == CONFIDENTIALITY
}

fn lockdown(root: &Path) -> Check {
    let hint = "lockdown=confidentiality forbids programs to read kernel memory, so a reduced sensor runs; for all of it boot with lockdown=integrity or none";
    // Without the file system mounted nothing is known, which is no finding.
    let Some(modes) = text(root, "sys/kernel/security/lockdown") else {
        return check(
            "lockdown",
            Level::Ok,
            "unknown: securityfs is not mounted, or the kernel has no lockdown",
            hint,
        );
    };
    let mode = modes
        .split_whitespace()
        .find_map(|mode| mode.strip_prefix('[')?.strip_suffix(']'))
        .unwrap_or("unknown");
    let level = if mode == CONFIDENTIALITY { Level::Warn } else { Level::Ok };
    check("lockdown", level, mode, hint)
}

fn lsm(root: &Path) -> Check {
    let hint = "";
    let Some(list) = text(root, "sys/kernel/security/lsm") else {
        return check("lsm", Level::Ok, "unknown: securityfs is not mounted", hint);
    };
    let list = list.trim();
    let with = if list.split(',').any(|name| name == "bpf") { "with" } else { "without" };
    check("lsm", Level::Ok, format!("{list} ({with} bpf)"), hint)
}

fn cgroup(root: &Path) -> Check {
    let hint = "mount /sys/fs/cgroup; without it workloads are told by the kernel's record alone";
    let mounts = text(root, "proc/self/mounts").unwrap_or_default();
    let has = |kind: &str| mounts.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    match (has("cgroup2"), has("cgroup")) {
        (true, false) => check("cgroup", Level::Ok, "v2", hint),
        (true, true) => check("cgroup", Level::Ok, "hybrid", hint),
        (false, true) => check("cgroup", Level::Ok, "v1", hint),
        (false, false) => check("cgroup", Level::Warn, "no cgroup file system is mounted", hint),
    }
}

fn tracefs(root: &Path) -> Check {
    let hint = "mount -t tracefs nodev /sys/kernel/tracing; without it opens and connects are not seen";
    let places = ["sys/kernel/tracing", "sys/kernel/debug/tracing"];
    match places.into_iter().find(|place| path(root, place).join("events").is_dir()) {
        Some(place) => check("tracefs", Level::Ok, format!("/{place}"), hint),
        None if Privileges::under(root).has(CAP_SYS_ADMIN) => {
            check("tracefs", Level::Ok, "not mounted; the agent opens an instance of its own", hint)
        }
        None => check("tracefs", Level::Warn, "not mounted, and no CAP_SYS_ADMIN to open an instance", hint),
    }
}

/// Debian and Android go beyond the mainline's 2: from 3 on only CAP_SYS_ADMIN may open tracepoints.
fn perf(root: &Path) -> Check {
    let hint = "give CAP_SYS_ADMIN, or sysctl kernel.perf_event_paranoid=2; without it opens and connects are not seen";
    let told = text(root, "proc/sys/kernel/perf_event_paranoid");
    let Some(level) = told.and_then(|level| level.trim().parse::<i32>().ok()) else {
        return check("perf", Level::Ok, "unknown", hint);
    };
    let allowed = level <= 2 || Privileges::under(root).has(CAP_SYS_ADMIN);
    let grade = if allowed { Level::Ok } else { Level::Warn };
    check("perf", grade, format!("kernel.perf_event_paranoid={level}"), hint)
}

fn jit(root: &Path) -> Check {
    let hint = "sysctl net.core.bpf_jit_enable=1; interpreted programs cost several times as much";
    match text(root, "proc/sys/net/core/bpf_jit_enable").as_deref().map(str::trim) {
        Some("0") => check("jit", Level::Warn, "off", hint),
        Some(_) => check("jit", Level::Ok, "on", hint),
        None => check("jit", Level::Ok, "unknown", hint),
    }
}

/// The kernel takes system calls of i386. The file is there on x86-64 with CONFIG_IA32_EMULATION alone.
pub(crate) fn runs_ia32() -> bool {
    takes_ia32(Path::new("/"))
}

fn takes_ia32(root: &Path) -> bool {
    let line = text(root, "proc/cmdline").unwrap_or_default();
    let told = line.split_whitespace().filter_map(|word| word.strip_prefix("ia32_emulation=")).next_back();
    let off = told.is_some_and(|value| matches!(value, "0" | "n" | "N" | "no" | "off" | "false"));
    let release = text(root, "proc/sys/kernel/osrelease").unwrap_or_default();
    !(off && version(&release) >= HEEDS_IA32_EMULATION) && path(root, "proc/sys/abi/vsyscall32").exists()
}

/// A blind spot that nobody can mend in the agent is told, and is no fault of the host.
fn compat(root: &Path) -> Check {
    let found = if takes_ia32(root) {
        "32-bit programs run here: without BPF trampolines, or where the ladder lacks ia32_sys_call, their system calls \
         are not seen, their starts and ends are (ia32_emulation=0 on the kernel's command line, since 6.7, keeps them out)"
    } else if cfg!(target_arch = "x86_64") {
        "no 32-bit programs run here"
    } else {
        "unknown; where 32-bit programs run, their system calls are not seen"
    };
    check("compat", Level::Ok, found, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Preflight) {
        let root = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        let preflight = Preflight::under(root.path());
        (root, preflight)
    }

    fn level(preflight: &Preflight, name: &str) -> (Level, String) {
        let check = preflight.checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(check.level == Level::Ok, check.hint.is_empty(), "{check:?}: a finding needs a hint");
        (check.level, check.found.clone())
    }

    #[test]
    fn a_good_host_passes() {
        let (_root, preflight) = host(&[
            ("proc/sys/kernel/osrelease", "6.1.0-56-cloud-amd64\n"),
            ("sys/kernel/btf/vmlinux", "x"),
            ("proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n"),
            ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
            ("sys/kernel/security/lsm", "lockdown,capability,bpf"),
            ("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
            ("sys/kernel/tracing/events/enable", ""),
            ("proc/sys/net/core/bpf_jit_enable", "1\n"),
            ("proc/sys/kernel/perf_event_paranoid", "3\n"),
        ]);
        assert_eq!(preflight.worst(), Level::Ok, "{preflight:?}");
        assert_eq!(level(&preflight, "lockdown").1, "integrity");
        assert_eq!(level(&preflight, "cgroup").1, "v2");
        assert_eq!(level(&preflight, "compat").1, "no 32-bit programs run here");
        let (_root, preflight) = host(&[("proc/sys/abi/vsyscall32", "1\n")]);
        assert!(level(&preflight, "compat").1.contains("are not seen"));
        let off = ("proc/cmdline", "root=/dev/vda ia32_emulation=on ia32_emulation=0 quiet\n");
        for (release, heeds) in [("6.12.0\n", true), ("6.1.0-56-cloud-amd64\n", false)] {
            let release = ("proc/sys/kernel/osrelease", release);
            let (_root, preflight) = host(&[("proc/sys/abi/vsyscall32", "1\n"), off, release]);
            assert_eq!(level(&preflight, "compat").1 == "no 32-bit programs run here", heeds);
        }
    }

    #[test]
    fn what_makes_observing_impossible_fails() {
        let (_root, preflight) = host(&[
            ("proc/sys/kernel/osrelease", "4.19.0-27-amd64\n"),
            ("proc/self/status", "CapEff:\t0000008000000000\n"),
            ("sys/kernel/security/lockdown", "none integrity [confidentiality]\n"),
            ("proc/sys/kernel/perf_event_paranoid", "3\n"),
        ]);
        for name in ["kernel", "btf", "capabilities"] {
            assert_eq!(level(&preflight, name).0, Level::Fail, "{name}");
        }
        assert_eq!(level(&preflight, "lockdown"), (Level::Warn, "confidentiality".to_owned()));
        assert_eq!(level(&preflight, "capabilities").1, "missing CAP_PERFMON");
        assert_eq!(level(&preflight, "tracefs").0, Level::Warn);
        assert_eq!(level(&preflight, "cgroup").0, Level::Warn);
        assert_eq!(level(&preflight, "perf").0, Level::Warn);
    }

    #[test]
    fn an_unmounted_file_system_is_unknown_and_no_fault() {
        let (_root, preflight) = host(&[("proc/self/mounts", "c /a cgroup rw 0 0\nc /b cgroup2 rw 0 0\n")]);
        assert!(level(&preflight, "lsm").1.starts_with("unknown"));
        assert!(level(&preflight, "lockdown").1.starts_with("unknown"));
        assert_eq!(level(&preflight, "cgroup").1, "hybrid");
    }
}
