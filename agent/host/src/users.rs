//! Names of users and groups, from the files of passwd(5) and group(5).
//!
//! The files are read, not the name service: a lookup in LDAP can take seconds, loads
//! foreign libraries into a root process, and would make the agent depend on the network it watches.

use crate::read_bounded;
use hostward_event::Text;
use hostward_event::process::UserTable;
use rustix::fs::stat;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A table of 100,000 users has about 6 MB.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Reads `etc/passwd` and `etc/group` below `root` (`/` for the host). A file that cannot be read, and
/// lines that make no sense, give no names.
pub fn users(root: &Path) -> UserTable {
    let read = |name: &str| read_bounded(&root.join(name), MAX_FILE_BYTES).unwrap_or_default();
    UserTable { users: names(&read("etc/passwd")), groups: names(&read("etc/group")) }
}

/// `NAME:PASSWORD:ID:…`, the first of an id wins as it does for getpwuid(3).
pub(crate) fn names(file: &[u8]) -> BTreeMap<u32, Text> {
    let mut names = BTreeMap::new();
    for line in file.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b':');
        let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let id = str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        // `+` and `-` lines ask the name service.
        if let Some(id) = id
            && !matches!(name.first(), None | Some(b'+' | b'-' | b'#'))
        {
            names.entry(id).or_insert_with(|| Text::copy(name));
        }
    }
    names
}

/// Inode, size, and times of change: useradd(8) renames a new file over the old, an editor may not.
type Stamp = [Option<(u64, i64, i64, u64, i64, u64)>; 2];

/// Tells when the names changed.
#[derive(Debug)]
pub struct UserWatch {
    root: PathBuf,
    seen: Option<Stamp>,
}

impl UserWatch {
    /// Watches the files below `root`. The first [`UserWatch::poll`] gives the table.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), seen: None }
    }

    /// The table, if a file changed since the last call. Costs two calls of stat(2) otherwise.
    pub fn poll(&mut self) -> Option<UserTable> {
        let stamp = ["etc/passwd", "etc/group"].map(|name| {
            let stat = stat(self.root.join(name)).ok()?;
            let (mtime_s, mtime_ns) = (stat.st_mtime, stat.st_mtime_nsec);
            Some((stat.st_ino, stat.st_size, mtime_s, mtime_ns, stat.st_ctime, stat.st_ctime_nsec))
        });
        if self.seen == Some(stamp) {
            return None;
        }
        // Taken before the read: a change in between is read twice rather than never.
        self.seen = Some(stamp);
        Some(users(&self.root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    #[test]
    fn names_are_bytes_and_bad_lines_are_passed_over() {
        let file = b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n\n+::::::\nno\nbad:x:-1:\nbig:x:4294967296:0\nj\xf6rg:x:1000:1000\n#a:b:7\n:x:8:\nlast:x:9";
        let table = names(file);
        let told: Vec<(u32, &[u8])> = table.iter().map(|(id, name)| (*id, name.as_bytes())).collect();
        assert_eq!(told, [(0, &b"root"[..]), (9, b"last"), (1000, b"j\xf6rg")]);
    }

    #[test]
    fn a_change_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = UserWatch::new(root.path());
        assert_eq!(watch.poll(), Some(UserTable::default()), "no files, no names");
        assert_eq!(watch.poll(), None);
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "a:x:7:7\n").unwrap();
        assert_eq!(watch.poll().unwrap().users.get(&7), Some(&Text::from("a")));
        assert_eq!(watch.poll(), None);
        fs::write(root.path().join("etc/new"), "b:x:7:7\n").unwrap();
        fs::rename(root.path().join("etc/new"), root.path().join("etc/passwd")).unwrap();
        fs::write(root.path().join("etc/group"), "g:x:8:\n").unwrap();
        let table = watch.poll().unwrap();
        assert_eq!((table.users.get(&7), table.groups.get(&8)), (Some(&"b".into()), Some(&"g".into())));
    }

    proptest! {
        #[test]
        fn any_file_is_read(file: Vec<u8>) {
            let _ = names(&file);
        }
    }
}
