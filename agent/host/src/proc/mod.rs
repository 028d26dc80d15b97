//! One process in /proc.

mod parse;

pub(crate) use parse::{Line, Stat, Status, cgroup_lines, decimal, namespace};

use hostward_event::Text;
use hostward_event::raw::{Args, Inode, Namespaces};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Stat as FileStat, openat, readlinkat, statat};
use std::io;
use std::path::Path;

/// Arguments that are kept, as in the records of the ring.
const MAX_ARGS_BYTES: usize = 4096;
/// Arguments that are counted: the kernel takes no more than 6 MiB of them by default.
const MAX_COUNTED_BYTES: usize = 8 * 1024 * 1024;
/// No stat, status or cgroup file of a process comes near this.
const MAX_FILE_BYTES: usize = 64 * 1024;
/// Bytes of a command name without its NUL.
const MAX_COMM_BYTES: usize = 15;

/// The directory of one process. What is read through it is of this process or fails, also when the
/// pid is used again.
#[derive(Debug)]
pub(crate) struct PidDir {
    fd: OwnedFd,
}

impl PidDir {
    pub(crate) fn open(proc: &Path, pid: u32) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(proc.join(pid.to_string()), flags, Mode::empty())?;
        Ok(Self { fd })
    }

    /// The directory, to open what is in it.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads on to the end or to `max_bytes`.
    pub(crate) fn read(&self, name: &str, max_bytes: usize) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(self.fd.as_fd(), name, flags, Mode::empty())?;
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        while bytes.len() < max_bytes {
            let got = rustix::io::read(&file, &mut chunk[..])?;
            let Some(part) = chunk.get(..got).filter(|part| !part.is_empty()) else { break };
            bytes.extend_from_slice(part);
        }
        bytes.truncate(max_bytes);
        Ok(bytes)
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        let file = self.read("stat", MAX_FILE_BYTES)?;
        Stat::parse(&file).ok_or_else(|| io::Error::other("stat of a process has an unknown form"))
    }

    pub(crate) fn status(&self) -> io::Result<Status> {
        Ok(Status::parse(&self.read("status", MAX_FILE_BYTES)?))
    }

    /// The name with all its bytes: stat and status show a line feed and a backslash escaped.
    pub(crate) fn comm(&self) -> io::Result<Text> {
        let file = self.read("comm", MAX_FILE_BYTES)?;
        let name = file.strip_suffix(b"\n").unwrap_or(&file);
        // A worker of the kernel is shown with what it works on.
        Ok(Text::copy(name.get(..MAX_COMM_BYTES).unwrap_or(name)))
    }

    pub(crate) fn args(&self) -> io::Result<Args> {
        let all = self.read("cmdline", MAX_COUNTED_BYTES)?;
        let kept = all.get(..MAX_ARGS_BYTES).unwrap_or(&all);
        Ok(Args { raw: Text::copy(kept), total_bytes: u32::try_from(all.len()).unwrap_or(u32::MAX) })
    }

    /// The unsigned number that is all of a file.
    pub(crate) fn number(&self, name: &str) -> io::Result<u32> {
        decimal(&self.read(name, 64)?).ok_or_else(|| io::Error::other("no number"))
    }

    pub(crate) fn cgroup(&self) -> io::Result<Vec<u8>> {
        self.read("cgroup", MAX_FILE_BYTES)
    }

    pub(crate) fn cwd(&self) -> io::Result<Text> {
        let link = self.link("cwd")?;
        let stat = statat(self.fd.as_fd(), "cwd", AtFlags::empty()).ok();
        Ok(self.without_mark(link, stat.as_ref()))
    }

    /// Path and file of the program. Neither exists for a thread of the kernel.
    pub(crate) fn exe(&self) -> io::Result<(Text, Inode)> {
        let link = self.link("exe")?;
        let stat = statat(self.fd.as_fd(), "exe", AtFlags::empty())?;
        let inode = Inode {
            ino: stat.st_ino,
            dev: kernel_dev(stat.st_dev),
            mode: stat.st_mode,
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            uid: stat.st_uid,
            gid: stat.st_gid,
            ctime_ns: time_ns(stat.st_ctime, stat.st_ctime_nsec),
            mtime_ns: time_ns(stat.st_mtime, stat.st_mtime_nsec),
        };
        Ok((self.without_mark(link, Some(&stat)), inode))
    }

    pub(crate) fn namespaces(&self) -> Namespaces {
        let id = |name: &str| self.link(name).ok().and_then(|link| namespace(&link)).unwrap_or_default();
        Namespaces {
            mnt: id("ns/mnt"),
            pid: id("ns/pid"),
            net: id("ns/net"),
            uts: id("ns/uts"),
            ipc: id("ns/ipc"),
            cgroup: id("ns/cgroup"),
            user: id("ns/user"),
        }
    }

    fn link(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(readlinkat(self.fd.as_fd(), name, Vec::new())?.into_bytes())
    }

    /// The kernel appends ` (deleted)` to the path of a file that has lost this name. A file may
    /// also be called so. It is the mark unless the path, taken whole, leads to the file.
    fn without_mark(&self, link: Vec<u8>, stat: Option<&FileStat>) -> Text {
        let Some(bare) = link.strip_suffix(b" (deleted)") else { return Text::from(link) };
        let named = stat.filter(|stat| stat.st_nlink > 0).is_some_and(|stat| {
            let inside = [b"root".as_slice(), &link].concat();
            statat(self.fd.as_fd(), inside.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|found| (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino))
        });
        if named { Text::from(link) } else { Text::copy(bare) }
    }
}

/// As the kernel keeps it: major << 20 | minor.
fn kernel_dev(dev: u64) -> u32 {
    (rustix::fs::major(dev) << 20) | (rustix::fs::minor(dev) & 0xf_ffff)
}

pub(crate) fn time_ns(seconds: i64, ns: u64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(ns).unwrap_or_default())
}
