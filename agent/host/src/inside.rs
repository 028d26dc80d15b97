//! Names of users and groups as a container has them.
//!
//! The files are those of whoever made the image, and their owner may put anything there while they are read: a
//! link to the host's `/etc/shadow`, a pipe, a file without an end. They are opened by openat2(2) with the
//! container's root as the root of every link, regular files only, and up to a bound.

use crate::proc::PidDir;
use crate::users::names;
use hostward_event::Text;
use hostward_event::process::UserTable;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

/// An image with more users than these is none that anybody made for use.
const MAX_FILE_BYTES: u64 = 1 << 20;
const MAX_NAMES: usize = 4_096;
/// What is kept of the users, and of the groups, of one container: a thousand names.
const MAX_KEPT_BYTES: usize = 32 * 1024;
/// What a name takes in memory besides its bytes.
const NAME_COST_BYTES: usize = 32;
/// useradd(8) takes 32 bytes.
const MAX_NAME_BYTES: usize = 256;
/// The kernel takes 340 lines of at most 33 bytes.
const MAX_MAP_BYTES: usize = 16 * 1024;

/// Names below the root directory that the process of `dir` has. A file that cannot be read gives no names.
pub(crate) fn users(dir: &PidDir) -> UserTable {
    dir.root().map(|root| tables(&root)).unwrap_or_default()
}

/// Names of a container by the ids that the kernel tells, as a process in it has them; at most 32 KiB of each
/// kind. None: that process has the host's root still, as the runtime has that is about to start the container.
pub(crate) fn users_of_container(dir: &PidDir) -> Option<UserTable> {
    let root = dir.root()?;
    let place = |fd: &OwnedFd| fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = rustix::fs::open("/", flags, Mode::empty()).ok()?;
    if place(&root)? == place(&own)? {
        return None;
    }
    let UserTable { users, groups } = tables(&root);
    Some(UserTable {
        users: outside(users, &dir.id_map("uid_map")?),
        groups: outside(groups, &dir.id_map("gid_map")?),
    })
}

fn tables(root: &OwnedFd) -> UserTable {
    UserTable { users: table(root, "etc/passwd"), groups: table(root, "etc/group") }
}

/// One range of user_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdRange {
    inside: u32,
    outside: u32,
    count: u32,
}

/// Reads uid_map or gid_map. Lines that make no sense map nothing.
fn id_ranges(file: &[u8]) -> Vec<IdRange> {
    let range = |line: &[u8]| {
        let line = str::from_utf8(line).ok()?;
        let mut words = line.split_ascii_whitespace().map(|word| word.parse().ok());
        Some(IdRange { inside: words.next()??, outside: words.next()??, count: words.next()?? })
    };
    file.split(|byte| *byte == b'\n').filter_map(range).collect()
}

/// The names by the ids that the kernel tells. Those that no range maps can own no process.
fn outside(names: BTreeMap<u32, Text>, ranges: &[IdRange]) -> BTreeMap<u32, Text> {
    let map = |id: u32| {
        ranges.iter().find_map(|range| {
            let at = id.checked_sub(range.inside).filter(|at| *at < range.count)?;
            range.outside.checked_add(at)
        })
    };
    let mut room = MAX_KEPT_BYTES;
    let mut fits = |name: &Text| {
        let needed = name.as_bytes().len() + NAME_COST_BYTES;
        let fits = needed <= room;
        room = if fits { room - needed } else { 0 };
        fits
    };
    names
        .into_iter()
        .filter_map(|(id, name)| Some((map(id)?, name)))
        .take_while(|(_, name)| fits(name))
        .collect()
}

fn table(root: &OwnedFd, name: &str) -> BTreeMap<u32, Text> {
    let mut names = names(&read(root, name).unwrap_or_default());
    names.retain(|_, name| name.as_bytes().len() <= MAX_NAME_BYTES);
    if let Some((first, _)) = names.iter().nth(MAX_NAMES) {
        let first = *first;
        names.split_off(&first);
    }
    names
}

fn read(root: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    regular_file(root, name.as_bytes())?.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The regular file of this path below a root, which no link in it leads out of.
pub(crate) fn regular_file(root: &OwnedFd, name: &[u8]) -> Option<File> {
    // First for its kind: opening a device or a pipe can have effects of its own.
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(root.as_fd(), name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), within).ok()?;
    let kind = |fd: &OwnedFd| Some(FileType::from_raw_mode(fstat(fd).ok()?.st_mode));
    if kind(&found)? != FileType::RegularFile {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = openat2(root.as_fd(), name, flags, Mode::empty(), within).ok()?;
    if kind(&opened)? != FileType::RegularFile {
        return None;
    }
    Some(File::from(opened))
}

impl PidDir {
    fn id_map(&self, name: &str) -> Option<Vec<IdRange>> {
        Some(id_ranges(&self.read(name, MAX_MAP_BYTES).ok()?))
    }

    /// The root directory of the process.
    pub(crate) fn root(&self) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(self.as_fd(), "root", flags, Mode::empty()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn root(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    fn passwd(path: &Path) -> Vec<(u32, String)> {
        table(&root(path), "etc/passwd").into_iter().map(|(id, name)| (id, name.to_string())).collect()
    }

    #[test]
    fn nothing_outside_of_the_root_is_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "outside:x:1:\n").unwrap();
        let inner = dir.path().join("root");
        fs::create_dir_all(inner.join("etc")).unwrap();
        fs::create_dir_all(inner.join("usr/etc")).unwrap();
        let file = inner.join("etc/passwd");
        assert_eq!(passwd(&inner), []);
        for target in
            ["../../secret", "../../../../../../etc/passwd", "/proc/self/root/etc/passwd", "/secret"]
        {
            symlink(target, &file).unwrap();
            assert_eq!(passwd(&inner), [], "{target}");
            fs::remove_file(&file).unwrap();
        }
        // An image may keep it elsewhere in itself, by an absolute link also.
        fs::write(inner.join("usr/etc/passwd"), "inside:x:7:\n").unwrap();
        for target in ["../usr/etc/passwd", "/usr/etc/passwd", "../../../usr/etc/passwd"] {
            symlink(target, &file).unwrap();
            assert_eq!(passwd(&inner), [(7, "inside".to_owned())], "{target}");
            fs::remove_file(&file).unwrap();
        }
    }

    #[test]
    fn what_is_no_file_or_has_no_end() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let file = dir.path().join("etc/passwd");
        rustix::fs::mknodat(rustix::fs::CWD, &file, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(passwd(dir.path()), [], "and nobody waits");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(passwd(dir.path()), []);
        fs::remove_dir(&file).unwrap();
        let lines: String = (0..200_000).map(|id| format!("u{id}:x:{id}:\n")).collect();
        fs::write(&file, lines).unwrap();
        let names = passwd(dir.path());
        assert_eq!((names.len(), &names[7]), (MAX_NAMES, &(7, "u7".to_owned())));
        fs::write(&file, format!("{}:x:1:\nok:x:2:\n", "n".repeat(1000))).unwrap();
        assert_eq!(passwd(dir.path()), [(2, "ok".to_owned())]);
    }

    #[test]
    fn this_process_has_the_hosts_names() {
        let dir = PidDir::open(Path::new("/proc"), std::process::id()).unwrap();
        assert_eq!(users(&dir).users.get(&0), Some(&Text::from("root")));
    }

    #[test]
    fn names_go_by_the_numbers_of_the_host() {
        let map = id_ranges(
            b"         0     100000      65536\n     65536       1000          1\nno\n1 2\n4 4294967295 9\n",
        );
        let names = |ids: &[u32]| {
            ids.iter().map(|id| (*id, Text::from(format!("u{id}")))).collect::<BTreeMap<_, _>>()
        };
        let mapped = outside(names(&[0, 33, 65_535, 65_536, 65_537]), &map);
        let told: Vec<(u32, String)> = mapped.into_iter().map(|(id, name)| (id, name.to_string())).collect();
        let expected = [(1_000, "u65536"), (100_000, "u0"), (100_033, "u33"), (165_535, "u65535")];
        assert_eq!(told, expected.map(|(id, name)| (id, name.to_owned())));
        assert!(outside(names(&[5]), &id_ranges(b"4 4294967295 9\n")).is_empty(), "beyond all numbers");
        let many: Vec<u32> = (0..100_000).collect();
        let kept = outside(names(&many), &id_ranges(b"0 0 4294967295")).len();
        assert!((500..1_000).contains(&kept), "{kept}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_file_is_read(file: Vec<u8>) {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("etc")).unwrap();
            fs::write(dir.path().join("etc/passwd"), file).unwrap();
            let _ = passwd(dir.path());
        }
    }
}
