//! Answers about programs' files and about names in containers, which take files to be read.
//!
//! # How it works
//! An exec says which inode it was, when that was changed last, and by which path. While the process lives, its file
//! is read through `/proc/PID/exe`, which leads to it also when it was deleted or another has its name. When the
//! process has ended, the path is looked up in the root of its parent and in the host's, and what is found there
//! must be that inode, not changed since. What is not certain is not told.
//!
//! # What can go wrong
//! - *A program that ends at once in a container's own root*, started from outside of it: nobody has its root any
//!   longer, and there is no hash.
//! - *A kernel that lets running programs be written to* (6.11, and the first of 6.12): a file that was deleted or
//!   renamed since its exec has no hash there.
//! - *A file system of the network or of user space that hangs* holds whoever calls this: a thread of its own.

use crate::hash::{Executed, FLAGS, HashFailure, Hasher, Sha256};
use crate::inside::{regular_file, users_of_container};
use crate::{Host, Packages};
use hostward_event::Text;
use hostward_event::fact::{Fact, Lookup};
use hostward_event::program::{ProgramFacts, ProgramKey};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, statat};
use serde::Deserialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Hashes that are remembered, 80 bytes each.
const MAX_HASHES: usize = 32_768;
/// A program is told to be nobody's for good only when it is that old: a package manager at work puts a file in
/// place before it tells whose it is.
const UNOWNED_AFTER_NS: i64 = 60_000_000_000;

/// `[programs]`: what is read of the files of programs. Every key may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProgramsConfig {
    /// SHA-256 of each program that is executed.
    pub hash: bool,
    /// Larger files have no hash; bytes.
    pub max_file_bytes: u64,
    /// Which package brought it, by dpkg's lists. The index of a large system takes some MB and a second to read.
    pub packages: bool,
}

impl Default for ProgramsConfig {
    fn default() -> Self {
        Self { hash: true, max_file_bytes: 128 << 20, packages: false }
    }
}

impl ProgramsConfig {
    /// Everything that cannot be used: the key below `programs`, and why.
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let is_bad = self.hash && self.max_file_bytes == 0;
        let why = "0 would hash nothing; switch it off with `hash = false`".to_owned();
        is_bad.then_some(("max_file_bytes", why)).into_iter().collect()
    }

    /// False: no file of a program is read.
    pub const fn wants_files(&self) -> bool {
        self.hash || self.packages
    }
}

/// Reads files. Whoever calls it may wait for long.
#[derive(Debug)]
pub struct Programs {
    host: Host,
    root: PathBuf,
    hasher: Option<Hasher>,
    packages: Option<Packages>,
    running_is_read_only: bool,
}

/// What was asked.
struct Question<'a> {
    key: &'a ProgramKey,
    exe: Executed,
    pid: u32,
    start_boot_ns: u64,
    ppid: u32,
}

impl Programs {
    /// Answers of the host whose root is `root`.
    pub fn new(config: &ProgramsConfig, host: Host, root: &Path) -> Self {
        let release = rustix::system::uname();
        Self {
            host,
            root: root.to_owned(),
            hasher: config.hash.then(|| Hasher::new(config.max_file_bytes, MAX_HASHES)),
            packages: config.packages.then(|| Packages::new(root)),
            running_is_read_only: running_is_read_only(&release.release().to_string_lossy()),
        }
    }

    /// The answer to a [`Lookup::Program`] or [`Lookup::Names`]; none to others.
    pub fn answer(&mut self, lookup: &Lookup) -> Option<Fact> {
        match lookup {
            Lookup::Program { key, mtime_ns, pid, start_boot_ns, ppid, on_host } => {
                let exe = Executed { ino: key.ino, ctime_ns: key.ctime_ns, mtime_ns: *mtime_ns };
                let (pid, start_boot_ns) = (*pid, *start_boot_ns);
                let question = Question { key, exe, pid, start_boot_ns, ppid: *ppid };
                let (facts, keep) = self.read(&question, *on_host);
                Some(Fact::Program { key: key.clone(), pid, start_boot_ns, facts: Arc::new(facts), keep })
            }
            Lookup::Names { container, pid, start_boot_ns } => {
                let dir = self.host.open(*pid, *start_boot_ns);
                let names = dir.as_ref().and_then(users_of_container).map(Arc::new);
                Some(Fact::Names { container: container.clone(), names })
            }
            Lookup::CgroupPath { .. }
            | Lookup::Container { .. }
            | Lookup::Claim { .. }
            | Lookup::Process { .. } => None,
        }
    }

    /// What to tell when nobody has the time to read: that nothing is known, to none but who asked.
    pub fn refusal(lookup: &Lookup) -> Option<Fact> {
        match lookup {
            Lookup::Program { key, pid, start_boot_ns, .. } => Some(Fact::Program {
                key: key.clone(),
                pid: *pid,
                start_boot_ns: *start_boot_ns,
                facts: Arc::default(),
                keep: false,
            }),
            Lookup::Names { container, .. } => {
                Some(Fact::Names { container: container.clone(), names: None })
            }
            Lookup::CgroupPath { .. }
            | Lookup::Container { .. }
            | Lookup::Claim { .. }
            | Lookup::Process { .. } => None,
        }
    }

    fn read(&mut self, question: &Question<'_>, on_host: bool) -> (ProgramFacts, bool) {
        let mut facts = ProgramFacts::default();
        let mut keep = true;
        if let Some(hasher) = &mut self.hasher {
            match hash(hasher, &self.host, &self.root, self.running_is_read_only, question) {
                Ok((hash, is_settled)) => {
                    facts.sha256 = hex(&hash);
                    keep = is_settled;
                }
                Err(HashFailure::TooLarge { .. } | HashFailure::NotRegular) => {}
                Err(HashFailure::Io(_) | HashFailure::Another) => keep = false,
            }
        }
        if let Some(packages) = self.packages.as_mut().filter(|_| on_host)
            && is_at(&self.root, question)
        {
            packages.refresh();
            facts.package = packages.owner(question.key.path.as_bytes()).cloned();
            facts.packaged = packages.is_known().then_some(facts.package.is_some());
            let now_ns = crate::clock_offset_ns().saturating_add_unsigned(crate::boot_ns());
            let is_old = now_ns.saturating_sub(question.exe.ctime_ns) > UNOWNED_AFTER_NS;
            keep &= facts.package.is_some() || is_old;
        }
        (facts, keep)
    }
}

fn hash(
    hasher: &mut Hasher,
    host: &Host,
    root: &Path,
    running_is_read_only: bool,
    question: &Question<'_>,
) -> Result<(Sha256, bool), HashFailure> {
    let gone =
        || HashFailure::Io(std::io::Error::other("its process has ended and its path leads elsewhere"));
    if let Some(dir) = host.open(question.pid, question.start_boot_ns)
        && let Ok(file) = openat(dir.as_fd(), "exe", FLAGS, Mode::empty()).map(File::from)
        && let Ok(opened) = fstat(&file)
    {
        let runs = || {
            let now = statat(dir.as_fd(), "exe", AtFlags::empty());
            running_is_read_only
                && now.is_ok_and(|now| (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino))
        };
        match hasher.executed(&file, question.exe, &runs) {
            // It has become another program, or ended: what it was may still be where it was.
            Err(HashFailure::Another) => {}
            told => return told,
        }
    }
    let parent = host.open_any(question.ppid).and_then(|dir| dir.root());
    let own = open_root(root);
    let mut last = Err(gone());
    for root in [parent, own].into_iter().flatten() {
        if let Some(file) = regular_file(&root, question.key.path.as_bytes()) {
            last = hasher.executed(&file, question.exe, &|| false);
            if !matches!(last, Err(HashFailure::Another)) {
                return last;
            }
        }
    }
    last
}

fn open_root(root: &Path) -> Option<OwnedFd> {
    rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// The file is where its path says on this host: only then are the host's lists about it.
fn is_at(root: &Path, question: &Question<'_>) -> bool {
    let path = question.key.path.as_bytes();
    let Some(relative) = path.strip_prefix(b"/").filter(|path| !path.is_empty()) else { return false };
    let Some(root) = open_root(root) else { return false };
    statat(&root, relative, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        let ctime_ns = crate::proc::time_ns(stat.st_ctime, stat.st_ctime_nsec);
        (stat.st_ino, ctime_ns) == (question.exe.ino, question.exe.ctime_ns)
    })
}

fn hex(hash: &Sha256) -> Text {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    Text::from(hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<Vec<u8>>())
}

/// Linux refuses to open a running program for writing, but for 6.11 and the first releases of 6.12.
fn running_is_read_only(release: &str) -> bool {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or_default());
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(6), Some(11), _) => false,
        (Some(6), Some(12), patch) => patch.unwrap_or_default() >= 5,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_let_running_programs_be_written_to() {
        let table = [
            ("6.1.0-18-amd64", true),
            ("6.11.0-26-generic", false),
            ("6.12.0", false),
            ("6.12.4+deb13", false),
            ("6.12.48+deb13-amd64", true),
            ("6.13.1", true),
            ("5.10", true),
            ("", true),
        ];
        for (release, expected) in table {
            assert_eq!(running_is_read_only(release), expected, "{release}");
        }
    }
}
