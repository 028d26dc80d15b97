//! What /proc tells of the process that is about to be killed.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// USER_HZ is 100 on every Linux port we build for.
const TICK_NS: u64 = 10_000_000;
/// `include/linux/sched.h`.
const PF_KTHREAD: u64 = 0x0020_0000;
/// What the kernel appends to the path of a program whose file is gone.
const DELETED: &[u8] = b" (deleted)";
/// Ancestors looked at; a real chain has a handful.
const MAX_ANCESTORS: usize = 64;

/// Fields of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) comm: Vec<u8>,
    pub(crate) ppid: u32,
    pub(crate) kernel_thread: bool,
    start_ticks: u64,
}

impl Stat {
    pub(crate) fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&text)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its stat cannot be read"))
    }

    /// proc_pid_stat(5). The name may hold anything, parentheses and blanks included, so the last
    /// parenthesis counts.
    fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let comm = text.get(open + 1..close)?.to_vec();
        // From field 3, the state, on.
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let ppid = fields.nth(1)?.parse().ok()?;
        let flags: u64 = fields.nth(4)?.parse().ok()?;
        let start_ticks = fields.nth(12)?.parse().ok()?;
        Some(Self { comm, ppid, kernel_thread: flags & PF_KTHREAD != 0, start_ticks })
    }

    /// True when this is the process that started then; both sides are exact to the clock tick.
    pub(crate) const fn started_at(&self, start_boot_ns: u64) -> bool {
        self.start_ticks == start_boot_ns / TICK_NS
    }

    #[cfg(test)]
    pub(crate) const fn start_boot_ns(&self) -> u64 {
        self.start_ticks * TICK_NS
    }
}

/// The process's program, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Path without the mark of a deleted file.
    pub(crate) path: Vec<u8>,
    /// The file under this path in the host's own root is the one that runs; for a file that was replaced
    /// by an upgrade: the directory is on the same filesystem.
    pub(crate) hosts_own: bool,
}

impl Program {
    pub(crate) fn read(pid: u32) -> io::Result<Self> {
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let mut path = fs::read_link(&link)?.into_os_string().into_vec();
        // Through the link, so that it is the file that runs whatever its path says.
        let runs = fs::metadata(&link)?;
        let deleted = path.ends_with(DELETED) && runs.nlink() == 0;
        if deleted {
            path.truncate(path.len() - DELETED.len());
        }
        let found = on_host(&path);
        let hosts_own = match found.and_then(fs::metadata) {
            Ok(file) if deleted => file.dev() == runs.dev(),
            Ok(file) => (file.dev(), file.ino()) == (runs.dev(), runs.ino()),
            Err(_) => false,
        };
        Ok(Self { path, hosts_own })
    }
}

/// The path below the root of pid 1: the agent may itself live in a container.
fn on_host(path: &[u8]) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let relative = path.strip_prefix("/").map_err(io::Error::other)?;
    let root = Path::new("/proc/1/root");
    Ok(if fs::metadata(root).is_ok() { root.join(relative) } else { path.to_owned() })
}

/// The parents of a process up to pid 1.
pub(crate) fn ancestors(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut at = pid;
    while found.len() < MAX_ANCESTORS {
        match Stat::read(at) {
            Ok(stat) if stat.ppid != 0 => {
                found.push(stat.ppid);
                at = stat.ppid;
            }
            _ => break,
        }
    }
    found
}

/// The agent's cgroups, when it is a systemd service of its own. From a shell it shares the session's
/// cgroup with everything the operator runs; that protects nobody.
pub(crate) fn own_service() -> Option<Vec<u8>> {
    let cgroups = fs::read("/proc/self/cgroup").ok()?;
    let service = cgroups.split(|byte| *byte == b'\n').any(|line| line.ends_with(b".service"));
    service.then_some(cgroups)
}

pub(crate) fn cgroups(pid: u32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cgroup")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_the_fields_behind_it() {
        let line = b"77 (a) R 1 1 (\xff) S 42 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 1 18446744073709551615\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((&stat.comm[..], stat.ppid, stat.kernel_thread), (&b"a) R 1 1 (\xff"[..], 42, false));
        assert!(stat.started_at(987_650_000_000) && stat.started_at(987_659_999_999));
        assert!(!stat.started_at(987_660_000_000));
        assert_eq!(Stat::parse(b"77 (a"), None);
        assert_eq!(Stat::parse(b"77 (a) R 1"), None);
    }

    #[test]
    fn kernel_threads_and_the_tests_own_program_are_known() {
        assert!(!Stat::read(std::process::id()).unwrap().kernel_thread);
        let own = Program::read(std::process::id()).unwrap();
        assert_eq!(own.path, std::env::current_exe().unwrap().into_os_string().into_vec());
        assert!(own.hosts_own);
        // kthreadd is 2 wherever the initial pid namespace is seen.
        if let Ok(stat) = Stat::read(2)
            && stat.comm == b"kthreadd"
        {
            assert!(stat.kernel_thread);
        }
    }
}
