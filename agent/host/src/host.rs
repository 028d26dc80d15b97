//! Processes of this host, and answers about them.

use crate::cgroups::Hierarchies;
use crate::proc::{PidDir, cgroup_lines};
use hostward_event::Text;
use hostward_event::fact::{Fact, Lookup, SeedProcess};
use hostward_event::process::UserTable;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// /proc could not be listed.
#[derive(Debug, thiserror::Error)]
#[error("processes in {path:?} cannot be listed: {source}")]
pub struct ProcError {
    /// The directory.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

impl ProcError {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        "mount procfs there (`mount -t proc proc /proc`); in a container, give it the host's pid namespace"
    }
}

/// The host as /proc shows it.
#[derive(Clone, Debug)]
pub struct Host {
    proc: PathBuf,
    hierarchies: Hierarchies,
    tick_ns: u64,
}

impl Default for Host {
    fn default() -> Self {
        Self::new(Path::new("/proc"))
    }
}

impl Host {
    /// The host whose procfs is at `proc`. The mounted cgroup hierarchies are read once.
    pub fn new(proc: &Path) -> Self {
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        Self { proc: proc.to_owned(), hierarchies: Hierarchies::read(proc), tick_ns }
    }

    /// The mounted cgroup hierarchies.
    pub const fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// All processes, by pid, threads of the kernel among them: for where there is no task iterator.
    ///
    /// # Errors
    /// /proc cannot be listed. Processes that end meanwhile are left out.
    pub fn seeds(&self) -> Result<Vec<SeedProcess>, ProcError> {
        let fail = |source| ProcError { path: self.proc.clone(), source };
        let mut pids: Vec<u32> = fs::read_dir(&self.proc)
            .map_err(fail)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        Ok(pids.into_iter().filter_map(|pid| self.seed(pid)).collect())
    }

    /// One process; none when there is no such process. Its start is exact to the clock tick.
    pub fn seed(&self, pid: u32) -> Option<SeedProcess> {
        let dir = PidDir::open(&self.proc, pid).ok()?;
        let stat = dir.stat().ok()?;
        let status = dir.status().ok()?;
        let cgroup = dir.cgroup().unwrap_or_default();
        let mut seed = SeedProcess {
            pid,
            ppid: stat.ppid,
            start_boot_ns: stat.start_ticks.saturating_mul(self.tick_ns),
            comm: dir.comm().ok()?,
            creds: status.creds,
            ns: dir.namespaces(),
            tty: stat.tty,
            loginuid: dir.number("loginuid").unwrap_or(u32::MAX),
            audit_session: dir.number("sessionid").unwrap_or(u32::MAX),
            sid: stat.sid,
            pgid: stat.pgid,
            vpid: status.vpid,
            cgroup: self.hierarchies.cgroup(&cgroup_lines(&cgroup)),
            ..SeedProcess::default()
        };
        self.fill(&dir, &mut seed);
        Some(seed)
    }

    /// Fills what a seed of the task iterator lacks: arguments, working directory, program, cgroup
    /// path. False, and nothing changed, when that process is gone.
    pub fn complete(&self, seed: &mut SeedProcess) -> bool {
        let Some(dir) = self.open(seed.pid, seed.start_boot_ns) else { return false };
        self.fill(&dir, seed);
        true
    }

    /// Answers a question; none when the process or cgroup is gone.
    pub fn answer(&self, lookup: &Lookup) -> Option<Fact> {
        match *lookup {
            Lookup::Process { pid, start_boot_ns } => {
                let mut seed =
                    self.seed(pid).filter(|seed| self.same_start(seed.start_boot_ns, start_boot_ns))?;
                // The kernel's, which is the finer one.
                seed.start_boot_ns = start_boot_ns;
                Some(Fact::Process(Box::new(seed)))
            }
            Lookup::CgroupPath { cgroup_id, pid, start_boot_ns } => {
                let path = self.cgroup_path(cgroup_id, pid, start_boot_ns)?;
                Some(Fact::CgroupPath { cgroup_id, path, pid, start_boot_ns })
            }
            // Runtimes and the Kubernetes API are asked, each on a task of its own; files are read by
            // [`crate::Programs`].
            Lookup::Container { .. }
            | Lookup::Claim { .. }
            | Lookup::Program { .. }
            | Lookup::Names { .. } => None,
        }
    }

    /// Names of users and groups as this process has them, which for one of a container are the image's. Reads
    /// at most 1 MiB of each file and nothing outside of the process's root. None: that process is gone. Empty
    /// also where the kernel has no openat2(2), before 5.6.
    pub fn users_inside(&self, pid: u32, start_boot_ns: u64) -> Option<UserTable> {
        Some(crate::inside::users(&self.open(pid, start_boot_ns)?))
    }

    /// The directory of any process of this pid.
    pub(crate) fn open_any(&self, pid: u32) -> Option<PidDir> {
        PidDir::open(&self.proc, pid).ok()
    }

    fn cgroup_path(&self, cgroup_id: u64, pid: u32, start_boot_ns: u64) -> Option<Text> {
        let of_process = self.open(pid, start_boot_ns).and_then(|dir| {
            let file = dir.cgroup().ok()?;
            self.hierarchies.path(&cgroup_lines(&file), cgroup_id)
        });
        // It ended or was moved; its cgroup may still be there, and others in it.
        of_process.or_else(|| if cgroup_id > 1 { self.hierarchies.find(cgroup_id) } else { None })
    }

    /// The directory of the process that began then.
    pub(crate) fn open(&self, pid: u32, start_boot_ns: u64) -> Option<PidDir> {
        let dir = PidDir::open(&self.proc, pid).ok()?;
        let start = dir.stat().ok()?.start_ticks.saturating_mul(self.tick_ns);
        self.same_start(start, start_boot_ns).then_some(dir)
    }

    const fn same_start(&self, one_ns: u64, other_ns: u64) -> bool {
        one_ns / self.tick_ns == other_ns / self.tick_ns
    }

    /// Each part may be refused or gone by itself, and then stays as it is.
    fn fill(&self, dir: &PidDir, seed: &mut SeedProcess) {
        if seed.args.raw.is_empty()
            && let Ok(args) = dir.args()
        {
            seed.args = args;
        }
        if seed.cwd.is_empty()
            && let Ok(cwd) = dir.cwd()
        {
            seed.cwd = cwd;
        }
        if (seed.path.is_empty() || seed.exe.ino == 0)
            && let Ok((path, inode)) = dir.exe()
        {
            if seed.path.is_empty() {
                seed.path = path;
            }
            if seed.exe.ino == 0 {
                seed.exe = inode;
            }
        }
        if seed.cgroup_path.is_empty()
            && let Ok(file) = dir.cgroup()
        {
            seed.cgroup_path =
                self.hierarchies.path(&cgroup_lines(&file), seed.cgroup.id).unwrap_or_default();
        }
    }
}
