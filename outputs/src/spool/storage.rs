//! What the spool needs of a filesystem: few calls, so that tests can simulate a disk that loses pages,
//! tears sectors and fills up. No mmap and no io_uring: an I/O error must be an answer, not a signal.

use super::segment::parse_name;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Room of a filesystem, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What a user without privileges could still write.
    pub free_bytes: u64,
}

/// The directory of one lane.
pub trait Storage: Send + Sync {
    /// Names of the files in the directory, in no order; no directories.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self) -> Result<Vec<String>, Errno>;

    /// Makes a file that must not exist, for reading and writing.
    ///
    /// # Errors
    /// As the system says.
    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>, Errno>;

    /// Opens a file for reading and writing; one that is no regular file is refused.
    ///
    /// # Errors
    /// As the system says.
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>, Errno>;

    /// Renames within the directory.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &str, to: &str) -> Result<(), Errno>;

    /// Moves a file to `quarantine/` and gives up the oldest there beyond `keep`.
    ///
    /// # Errors
    /// As the system says.
    fn quarantine(&self, name: &str, keep: usize) -> Result<(), Errno>;

    /// Unlinks a file.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, name: &str) -> Result<(), Errno>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// As the system says.
    fn sync_dir(&self) -> Result<(), Errno>;

    /// Room of the filesystem.
    ///
    /// # Errors
    /// As the system says.
    fn space(&self) -> Result<Space, Errno>;
}

/// An open file. Calls may be short, and an interrupted one is repeated by the implementation.
#[expect(clippy::len_without_is_empty, reason = "a call that may fail, not a container's length")]
pub trait StorageFile: Send + Sync {
    /// Reads at an offset; 0 at the end of the file.
    ///
    /// # Errors
    /// As the system says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, Errno>;

    /// Writes at an offset, maybe less than all.
    ///
    /// # Errors
    /// As the system says.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno>;

    /// Makes the content durable (fdatasync).
    ///
    /// # Errors
    /// As the system says. The pages that failed may be gone.
    fn sync(&self) -> Result<(), Errno>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// As the system says.
    fn set_len(&self, length: u64) -> Result<(), Errno>;

    /// Reserves room for the first `length` bytes without changing the file's length.
    ///
    /// # Errors
    /// As the system says; a filesystem that cannot reserve says EOPNOTSUPP.
    fn reserve(&self, length: u64) -> Result<(), Errno>;

    /// The file's length, bytes.
    ///
    /// # Errors
    /// As the system says.
    fn len(&self) -> Result<u64, Errno>;
}

/// Opening a lane's directory failed.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailure {
    /// Another process has it.
    #[error("spool {path}: held by process {pid}", path = .path.display())]
    Held {
        /// The directory.
        path: PathBuf,
        /// What the holder wrote into LOCK; `?` when nothing.
        pid: String,
    },
    /// More sinks than a lane's state has room for.
    #[error("spool {path}: {sinks} sinks, and it serves {most}", path = .path.display(), most = super::MAX_SINKS)]
    TooManySinks {
        /// The directory.
        path: PathBuf,
        /// How many were asked for.
        sinks: usize,
    },
    /// A system call failed.
    #[error("spool {path}: cannot {what}: {source}", path = .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The cause.
        source: Errno,
    },
}

impl OpenFailure {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Held { .. } => "stop the other agent, or give this one a state directory of its own",
            Self::TooManySinks { .. } => "configure fewer sinks, or let one destination forward to others",
            Self::Io { source: Errno::ACCESS | Errno::PERM, .. } => {
                "give the agent's user the right to write there (ReadWritePaths= in the unit)"
            }
            Self::Io { source: Errno::LOOP | Errno::NOTDIR, .. } => {
                "something that is no directory is in the way: remove it"
            }
            Self::Io { source: Errno::ROFS, .. } => {
                "the filesystem is read-only: remount it, or name another [spool] dir"
            }
            Self::Io { source: Errno::NOSPC | Errno::DQUOT, .. } => "make room on the filesystem",
            Self::Io { .. } => "check the path and its filesystem (dmesg)",
        }
    }
}

const DIR: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags =
    OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
const DIR_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Opens a directory below `parent`, made when missing.
pub(crate) fn sub_dir(parent: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(&parent, name, DIR_MODE) {
        Ok(()) => rustix::fs::fsync(&parent)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    rustix::fs::openat(&parent, name, DIR, Mode::empty())
}

/// Opens a directory by path, made with its parents when missing.
pub(crate) fn root_dir(path: &Path) -> Result<OwnedFd, OpenFailure> {
    use std::os::unix::fs::DirBuilderExt;
    let io = |what, source| OpenFailure::Io { path: path.to_owned(), what, source };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| io("make", Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    rustix::fs::open(path, DIR, Mode::empty()).map_err(|error| io("open", error))
}

/// Names of the entries of a directory that are regular files.
pub(crate) fn files_in(dir: impl AsFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let regular =
            matches!(entry.file_type(), rustix::fs::FileType::RegularFile | rustix::fs::FileType::Unknown);
        // Names of ours are plain ASCII; whatever else lies there is not ours to touch.
        if regular && let Ok(name) = entry.file_name().to_str() {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// A lane's directory on a real filesystem, held by a descriptor and a lock.
#[derive(Debug)]
pub struct DirStorage {
    dir: OwnedFd,
    quarantine: Option<OwnedFd>,
    /// Held as long as this lives.
    _lock: Option<OwnedFd>,
}

impl DirStorage {
    /// Opens `root/name`, made when missing, and takes its lock.
    ///
    /// # Errors
    /// Held by another process, or a system call failed.
    pub fn open(root: &Path, name: &str) -> Result<Self, OpenFailure> {
        let path = root.join(name);
        let io = |what| {
            let path = path.clone();
            move |source| OpenFailure::Io { path, what, source }
        };
        let dir = sub_dir(root_dir(root)?, name).map_err(io("open"))?;
        let lock = rustix::fs::openat(&dir, "LOCK", FILE | OFlags::CREATE, FILE_MODE)
            .map_err(io("open the LOCK of"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = [0; 20];
                let read = rustix::io::pread(&lock, &mut text, 0).unwrap_or(0);
                let digits = text.get(..read).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit());
                let pid: String = digits.map(|digit| char::from(*digit)).collect();
                let pid = if pid.is_empty() { "?".to_owned() } else { pid };
                return Err(OpenFailure::Held { path, pid });
            }
            Err(error) => return Err(io("lock")(error)),
        }
        let pid = format!("{}\n", std::process::id());
        // The pid is for people; a full disk must not keep the agent from starting.
        let _ = rustix::fs::ftruncate(&lock, 0);
        let _ = rustix::io::pwrite(&lock, pid.as_bytes(), 0);
        let quarantine = sub_dir(&dir, "quarantine").map_err(io("make the quarantine of"))?;
        Ok(Self { dir, quarantine: Some(quarantine), _lock: Some(lock) })
    }

    /// Opens `root/name` to look at it beside a running agent: no lock, nothing is made.
    ///
    /// # Errors
    /// A system call failed.
    pub fn look(root: &Path, name: &str) -> Result<Self, OpenFailure> {
        let path = root.join(name);
        let dir = rustix::fs::open(&path, DIR, Mode::empty()).map_err(|source| OpenFailure::Io {
            path,
            what: "open",
            source,
        })?;
        Ok(Self { dir, quarantine: None, _lock: None })
    }
}

/// Copies a lane's file to `root/stamp/lane/`, durably.
pub(crate) fn backup_file(
    root: &Path,
    stamp: &str,
    lane: &str,
    storage: &dyn Storage,
    name: &str,
) -> Result<(), Errno> {
    let root = rustix::fs::open(root, DIR, Mode::empty())?;
    let dir = sub_dir(sub_dir(root, stamp)?, lane)?;
    let file = storage.open(name)?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 1 << 20];
    // What is no segment of ours is not copied without end.
    while bytes.len() < 64 << 20 {
        let read = file.read_at(super::bytes::len64(bytes.len()), &mut chunk)?;
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    let copy = FdFile(rustix::fs::openat(&dir, name, FILE | OFlags::CREATE | OFlags::EXCL, FILE_MODE)?);
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match copy.write_at(super::bytes::len64(done), rest)? {
            0 => return Err(Errno::NOSPC),
            written => done += written,
        }
    }
    copy.sync()?;
    rustix::fs::fsync(dir)
}

impl Storage for DirStorage {
    fn list(&self) -> Result<Vec<String>, Errno> {
        files_in(&self.dir)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>, Errno> {
        let fd = rustix::fs::openat(&self.dir, name, FILE | OFlags::CREATE | OFlags::EXCL, FILE_MODE)?;
        Ok(Arc::new(FdFile(fd)))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>, Errno> {
        let flags =
            if self._lock.is_some() { FILE } else { FILE.difference(OFlags::RDWR).union(OFlags::RDONLY) };
        let open = |name: &str| rustix::fs::openat(&self.dir, name, flags, Mode::empty());
        let fd = match (open(name), name.strip_suffix(".open")) {
            // Who only looks has no lock, and the agent has sealed the segment meanwhile.
            (Err(Errno::NOENT), Some(id)) if self._lock.is_none() => open(&format!("{id}.seg"))?,
            (opened, _) => opened?,
        };
        let mode = rustix::fs::fstat(&fd)?.st_mode;
        if rustix::fs::FileType::from_raw_mode(mode) != rustix::fs::FileType::RegularFile {
            return Err(Errno::NXIO);
        }
        Ok(Arc::new(FdFile(fd)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        rustix::fs::renameat(&self.dir, from, &self.dir, to)
    }

    fn quarantine(&self, name: &str, keep: usize) -> Result<(), Errno> {
        let quarantine = self.quarantine.as_ref().ok_or(Errno::ROFS)?;
        rustix::fs::renameat(&self.dir, name, quarantine, name)?;
        let mut held: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for name in files_in(quarantine)? {
            if let Some((id, _)) = parse_name(&name) {
                held.entry(id).or_default().push(name);
            }
        }
        let surplus = held.len().saturating_sub(keep);
        for name in held.into_values().take(surplus).flatten() {
            rustix::fs::unlinkat(quarantine, &name, AtFlags::empty())?;
        }
        rustix::fs::fsync(quarantine)
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.dir, name, AtFlags::empty())
    }

    fn sync_dir(&self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.dir)
    }

    fn space(&self) -> Result<Space, Errno> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(Space {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

#[derive(Debug)]
struct FdFile(OwnedFd);

fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

impl StorageFile for FdFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        again(|| rustix::io::pread(&self.0, &mut *into, offset))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        again(|| rustix::io::pwrite(&self.0, bytes, offset))
    }

    fn sync(&self) -> Result<(), Errno> {
        again(|| rustix::fs::fdatasync(&self.0))
    }

    fn set_len(&self, length: u64) -> Result<(), Errno> {
        again(|| rustix::fs::ftruncate(&self.0, length))
    }

    fn reserve(&self, length: u64) -> Result<(), Errno> {
        again(|| rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, 0, length))
    }

    fn len(&self) -> Result<u64, Errno> {
        u64::try_from(rustix::fs::fstat(&self.0)?.st_size).map_err(|_| Errno::IO)
    }
}
