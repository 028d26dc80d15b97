//! Reading files of runtimes: root's own, regular, of some size, and where they say they are.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A state or configuration is no longer. Pods with the most annotations that Kubernetes takes have some 300 KiB.
const MAX_BYTES: u64 = 1 << 20;

const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW);

/// A directory in which a runtime keeps its state.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

impl Root {
    /// Opens it. Whoever may write there could tell lies of any container, so it has to be root's.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
        own(&fstat(&fd)?)?;
        Ok(Self(fd))
    }

    /// Directories in the root, or in a directory of it, with their inodes: at most so many, and none whose name is no
    /// container's id.
    pub(super) fn names(&self, below: &str, most: usize) -> io::Result<Vec<(String, u64)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat2(self.0.as_fd(), below, flags, Mode::empty(), within())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(fd)? {
            if names.len() >= most {
                break;
            }
            let entry = entry?;
            let is_dir = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            let name = entry.file_name().to_str().ok().filter(|name| is_dir && is_id(name));
            names.extend(name.map(|name| (name.to_owned(), entry.ino())));
        }
        Ok(names)
    }

    /// Whether there is such a thing.
    pub(super) fn has(&self, below: &str) -> bool {
        openat2(self.0.as_fd(), below, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), within()).is_ok()
    }

    /// Inode of a directory in it.
    pub(super) fn inode(&self, below: &str) -> Option<u64> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat2(self.0.as_fd(), below, flags, Mode::empty(), within()).ok()?;
        Some(fstat(&fd).ok()?.st_ino)
    }

    /// A file in it, through no link.
    pub(super) fn read(&self, below: &str) -> io::Result<Vec<u8>> {
        content(openat2(self.0.as_fd(), below, FILE, Mode::empty(), within())?)
    }
}

const fn within() -> ResolveFlags {
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS)
}

/// A file that a state names. Its last name is no link; directories on the way may be, as /var/run is one.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    content(openat2(CWD, path, FILE, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?)
}

/// A name that runtimes take as an id, and that leads nowhere else.
pub(super) fn is_id(name: &str) -> bool {
    let free = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+');
    !name.is_empty() && name.len() <= 255 && !matches!(name, "." | "..") && name.bytes().all(free)
}

fn content(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let stat = fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused("it is no regular file"));
    }
    own(&stat)?;
    let mut bytes = Vec::new();
    File::from(fd).take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refused("it has more than 1 MiB"));
    }
    Ok(bytes)
}

/// Root's, or whose this agent is, and nobody else may write it.
fn own(stat: &Stat) -> io::Result<()> {
    let is_ours = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
    if is_ours && stat.st_mode & 0o022 == 0 { Ok(()) } else { Err(refused("others than root may write it")) }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_what_is_roots_own_is_read_and_nothing_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("runc");
        fs::create_dir_all(at.join("web")).unwrap();
        let file = at.join("web/state.json");
        fs::write(&file, "{}").unwrap();
        fs::write(dir.path().join("outside"), "secret").unwrap();
        let root = Root::open(&at).unwrap();
        assert_eq!(root.read("web/state.json").unwrap(), b"{}");
        assert!(root.has("web/state.json") && !root.has("web/status") && !root.has("../outside"));
        let names: Vec<String> = root.names(".", 10).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["web"]);
        assert!(root.read("../outside").is_err() && root.read("web").is_err());

        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(root.read("web/state.json").unwrap_err().to_string().contains("others than root"));
        fs::remove_file(&file).unwrap();
        symlink("../../outside", &file).unwrap();
        assert!(root.read("web/state.json").is_err() && read(&file).is_err());
        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(root.read("web/state.json").unwrap_err().to_string().contains("regular"));
        fs::remove_file(&file).unwrap();
        fs::write(&file, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(root.read("web/state.json").unwrap_err().to_string().contains("1 MiB"));

        symlink(&at, dir.path().join("link")).unwrap();
        assert!(Root::open(&dir.path().join("link")).is_err());
        fs::set_permissions(&at, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Root::open(&at).is_err());
    }

    #[test]
    fn an_id_is_one_name() {
        let ids = ["web-1", "a", "0123456789abcdef", "a.b_c+d"];
        assert!(ids.into_iter().all(is_id));
        let long = "x".repeat(256);
        let others = ["", ".", "..", "a/b", "a b", "a\n", "ä", long.as_str()];
        assert!(!others.into_iter().any(is_id));
    }
}
