//! Which package a program came with, as dpkg's own files and rpm's database tell.
//!
//! # How it works
//! `/var/lib/dpkg/info/PACKAGE.list` names the files of a package, `/var/lib/dpkg/status` its version, and
//! `/var/lib/dpkg/diversions` the files that were moved aside for another package's. From these an index is
//! built: a keyed hash of each path and the number of its package, 16 bytes a file. Documentation, manuals and
//! translations are left out; they are no programs.
//!
//! On a merged `/usr`, lists may name `/bin/ls` where the kernel tells `/usr/bin/ls`, or the other way round.
//! Where `/bin` is a link, both are the same.
//!
//! # What can go wrong
//! - *The path is not the file*: somebody who replaces `/usr/bin/ssh` leaves its path with its package. That a
//!   file is the packaged one takes its hash, which is not compared here.
//! - *Cost*: the first index of a large system reads 10 MB in 3,000 files. Not for the event path.
//!
//! # Not here
//! apk, snap and flatpak; rpm's databases before SQLite (see rpm.rs); packages inside of containers.

mod rpm;

use crate::read_bounded;
use hostward_event::Text;
pub use hostward_event::program::Package;
use rustix::fs::{readlink, stat};
use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

/// Debian's whole archive has 60,000 packages; nobody installs them all.
const MAX_PACKAGES: usize = 65_536;
const MAX_FILES: usize = 4_000_000;
const MAX_LIST_BYTES: u64 = 32 << 20;
const MAX_STATUS_BYTES: u64 = 256 << 20;
const INFO: &str = "var/lib/dpkg/info";
const STATUS: &str = "var/lib/dpkg/status";
const DIVERSIONS: &str = "var/lib/dpkg/diversions";
/// No program is below these.
const PASSED_OVER: [&[u8]; 3] = [b"/usr/share/doc/", b"/usr/share/man/", b"/usr/share/locale/"];
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What changes with the packages.
const STAMPED: [&str; 5] = [STATUS, INFO, DIVERSIONS, rpm::PLACES[0], rpm::PLACES[1]];

/// inode, size, time of change of each file.
type Stamp = [Option<(u64, i64, i64, u64)>; STAMPED.len()];

/// See the module.
#[derive(Debug)]
pub struct Packages {
    root: PathBuf,
    seen: Option<Stamp>,
    packages: Vec<Package>,
    /// Hash of a path, and the number of its package; sorted.
    files: Vec<(u64, u32)>,
    /// Top directories that are links into /usr.
    merged: Vec<&'static str>,
    hash: RandomState,
}

impl Packages {
    /// Packages below `root` (`/` for the host). Nothing is read before [`Packages::refresh`].
    pub fn new(root: &Path) -> Self {
        let (packages, files, merged) = (Vec::new(), Vec::new(), Vec::new());
        Self { root: root.to_owned(), seen: None, packages, files, merged, hash: RandomState::new() }
    }

    /// Reads all anew if packages changed since; true: they did. Costs five calls of stat(2) otherwise.
    pub fn refresh(&mut self) -> bool {
        let stamp = STAMPED.map(|name| {
            let stat = stat(self.root.join(name)).ok()?;
            Some((stat.st_ino, stat.st_size, stat.st_ctime, stat.st_ctime_nsec))
        });
        if self.seen == Some(stamp) {
            return false;
        }
        // Taken before the read: a change in between is read twice rather than never.
        self.seen = Some(stamp);
        self.load();
        true
    }

    /// The package that brought the file at this path, which is the host's and absolute, without links.
    pub fn owner(&self, path: &[u8]) -> Option<&Package> {
        let hash = self.hash_of(path);
        let at = self.files.partition_point(|(other, _)| *other < hash);
        let (_, package) = self.files.get(at).filter(|(other, _)| *other == hash)?;
        self.packages.get(usize::try_from(*package).ok()?)
    }

    /// False on a system of which nothing is known: none whose packages can be read.
    pub fn is_known(&self) -> bool {
        !self.packages.is_empty()
    }

    /// How many files are in the index.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    fn load(&mut self) {
        self.packages.clear();
        self.files.clear();
        let is_link = |name: &&str| {
            readlink(self.root.join(name), Vec::new()).is_ok_and(|to| {
                let to = to.as_bytes();
                to.strip_prefix(b"/").unwrap_or(to) == format!("usr/{name}").as_bytes()
            })
        };
        self.merged = MERGED.into_iter().filter(is_link).collect();
        self.load_dpkg();
        self.load_rpm();
        // Directories belong to many, and are no programs: which one is told of them is of no interest.
        self.files.sort_unstable();
        self.files.dedup_by_key(|(hash, _)| *hash);
        self.files.shrink_to_fit();
    }

    fn load_dpkg(&mut self) {
        let versions = versions(&read_bounded(&self.root.join(STATUS), MAX_STATUS_BYTES).unwrap_or_default());
        let moved = read_bounded(&self.root.join(DIVERSIONS), MAX_LIST_BYTES).unwrap_or_default();
        let moved = diversions(&moved);
        let Ok(folder) = fs::read_dir(self.root.join(INFO)) else { return };
        for entry in folder.filter_map(Result::ok) {
            if self.packages.len() >= MAX_PACKAGES || self.files.len() >= MAX_FILES {
                break;
            }
            let file_name = entry.file_name();
            let Some(full) = file_name.as_encoded_bytes().strip_suffix(b".list") else { continue };
            let Ok(list) = read_bounded(&entry.path(), MAX_LIST_BYTES) else { continue };
            let name = full.split(|byte| *byte == b':').next().unwrap_or(full);
            let number = u32::try_from(self.packages.len()).unwrap_or(u32::MAX);
            let told = versions.get(full).or_else(|| versions.get(name)).cloned().unwrap_or_default();
            self.packages.push(Package { name: Text::copy(name), version: told.0, architecture: told.1 });
            for path in list.split(|byte| *byte == b'\n') {
                if is_of_interest(path) && self.files.len() < MAX_FILES {
                    let moved_to = moved.get(path).filter(|(_, by)| *by != name).map(|(to, _)| *to);
                    self.files.push((self.hash_of(moved_to.unwrap_or(path)), number));
                }
            }
        }
    }

    fn load_rpm(&mut self) {
        let root = self.root.clone();
        rpm::installed(&root, |package, paths| {
            let number = u32::try_from(self.packages.len()).unwrap_or(u32::MAX);
            self.packages.push(package);
            for path in paths.iter().filter(|path| is_of_interest(path)) {
                if self.files.len() < MAX_FILES {
                    self.files.push((self.hash_of(path), number));
                }
            }
            self.packages.len() < MAX_PACKAGES
        });
    }

    fn hash_of(&self, path: &[u8]) -> u64 {
        let top = path.strip_prefix(b"/").and_then(|path| path.split(|byte| *byte == b'/').next());
        let is_merged = top.is_some_and(|top| self.merged.iter().any(|name| name.as_bytes() == top));
        if is_merged {
            self.hash.hash_one([b"/usr", path].concat())
        } else {
            self.hash.hash_one(path.to_vec())
        }
    }
}

fn is_of_interest(path: &[u8]) -> bool {
    path.len() > 1 && !PASSED_OVER.iter().any(|dir| path.starts_with(dir))
}

/// Versions and architectures by name, and by `NAME:ARCHITECTURE`, of what deb-control(5) paragraphs say is installed.
fn versions(status: &[u8]) -> HashMap<Vec<u8>, (Text, Text)> {
    let mut versions = HashMap::new();
    let mut paragraph: [&[u8]; 3] = [b""; 3];
    // An empty line ends a paragraph, and so does the end.
    for line in status.split(|byte| *byte == b'\n').chain([&b""[..]]) {
        if line.is_empty() {
            let [name, architecture, version] = std::mem::take(&mut paragraph);
            if !name.is_empty() && !version.is_empty() {
                let told = (Text::copy(version), Text::copy(architecture));
                versions.insert([name, b":", architecture].concat(), told.clone());
                versions.insert(name.to_vec(), told);
            }
            continue;
        }
        let [name, architecture, version] = &mut paragraph;
        let fields = [(&b"Package: "[..], name), (b"Architecture: ", architecture), (b"Version: ", version)];
        for (key, value) in fields {
            if let Some(told) = line.strip_prefix(key) {
                *value = told.trim_ascii();
            }
        }
    }
    versions
}

/// By path: where the file is now, and for whose package it was moved. Three lines each, as
/// dpkg-divert(1) writes them.
fn diversions(file: &[u8]) -> HashMap<&[u8], (&[u8], &[u8])> {
    let lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
    let triples = lines.chunks_exact(3);
    triples
        .filter_map(|lines| if let [from, to, by] = lines { Some((*from, (*to, *by))) } else { None })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn system(lists: &[(&str, &str)], status: &str, diversions: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(INFO)).unwrap();
        for (name, list) in lists {
            fs::write(root.path().join(INFO).join(name), list).unwrap();
        }
        fs::write(root.path().join(STATUS), status).unwrap();
        fs::write(root.path().join(DIVERSIONS), diversions).unwrap();
        root
    }

    fn told(packages: &Packages, path: &str) -> String {
        packages.owner(path.as_bytes()).map(|of| format!("{} {}", of.name, of.version)).unwrap_or_default()
    }

    const STATUS_FILE: &str = "Package: coreutils\nStatus: install ok installed\nArchitecture: amd64\nDescription: x\n \
                               Package: no\nVersion: 9.1-1\n\nPackage: libc6\nArchitecture: i386\nVersion: 2.36-8\n\nPackage: \
                               libc6\nArchitecture: amd64\nVersion: 2.36-9\n\nPackage: dash\nVersion: 0.5\n";

    #[test]
    fn a_program_has_its_package_also_on_a_merged_usr() {
        let lists = [
            ("coreutils.list", "/.\n/bin\n/bin/ls\n/usr/bin/env\n/usr/share/doc/coreutils/README\n"),
            ("libc6:amd64.list", "/usr/lib/x86_64-linux-gnu/libc.so.6\n"),
            ("libc6:i386.list", "/usr/lib/i386-linux-gnu/libc.so.6\n"),
            ("dash.list", "/usr/bin/sh\n"),
            ("bash.list", "/usr/bin/sh\n/usr/bin/bash\n"),
            ("dash.postinst", "/usr/bin/evil\n"),
        ];
        let root = system(&lists, STATUS_FILE, "/usr/bin/sh\n/usr/bin/sh.distrib\nbash\n");
        let mut packages = Packages::new(root.path());
        assert!(packages.refresh() && !packages.refresh());
        assert_eq!(told(&packages, "/bin/ls"), "coreutils 9.1-1");
        assert_eq!(told(&packages, "/usr/bin/ls"), "", "two directories here");
        assert_eq!(told(&packages, "/usr/bin/env"), "coreutils 9.1-1");
        assert_eq!(told(&packages, "/usr/lib/i386-linux-gnu/libc.so.6"), "libc6 2.36-8");
        assert_eq!(told(&packages, "/usr/lib/x86_64-linux-gnu/libc.so.6"), "libc6 2.36-9");
        assert_eq!(
            (told(&packages, "/usr/bin/sh"), told(&packages, "/usr/bin/sh.distrib")),
            ("bash ".into(), "dash 0.5".into())
        );
        for path in ["/usr/bin/evil", "/usr/share/doc/coreutils/README", "/usr/bin/other", "", "/", "ls"] {
            assert_eq!(told(&packages, path), "", "{path}");
        }

        std::os::unix::fs::symlink("usr/bin", root.path().join("bin")).unwrap();
        fs::write(root.path().join(INFO).join("new.list"), "/usr/bin/new\n").unwrap();
        assert!(packages.refresh());
        for path in ["/bin/ls", "/usr/bin/ls", "/bin/env", "/usr/bin/env"] {
            assert_eq!(told(&packages, path), "coreutils 9.1-1", "{path}");
        }
        assert_eq!(told(&packages, "/usr/bin/new"), "new ");
    }

    #[test]
    fn this_system_is_told_as_dpkg_tells_it() {
        let Ok(query) = Command::new("dpkg-query").args(["-W", "-f=${Version}", "dpkg"]).output() else {
            let test = "packages::this_system_is_told_as_dpkg_tells_it";
            return hostward_tests::need::skip("dpkg", test, "there is no dpkg-query");
        };
        let version = String::from_utf8(query.stdout).unwrap();
        let mut packages = Packages::new(Path::new("/"));
        packages.refresh();
        assert_eq!(told(&packages, "/usr/bin/dpkg"), format!("dpkg {version}"));
        assert!(packages.files() > 1_000 && packages.owner(b"/usr/bin/hostward-no-such").is_none());
    }

    #[test]
    fn a_system_without_dpkg_has_no_packages() {
        let root = tempfile::tempdir().unwrap();
        let mut packages = Packages::new(root.path());
        assert!(packages.refresh() && !packages.refresh());
        assert_eq!((packages.files(), packages.owner(b"/bin/ls")), (0, None));
    }

    proptest! {
        #[test]
        fn any_files_are_read(status: Vec<u8>, moved: Vec<u8>, text in "(Package|Version|Architecture|: |\n|a){0,40}") {
            let _ = (versions(&status), diversions(&moved));
            let _ = (versions(text.as_bytes()), diversions(text.as_bytes()));
        }

        #[test]
        fn every_listed_file_is_found(names in prop::collection::btree_set("[a-z/]{1,12}", 1..20)) {
            let list: String = names.iter().map(|name| format!("/opt/{name}\n")).collect();
            let root = system(&[("p.list", &list)], "Package: p\nVersion: 1\n", "");
            let mut packages = Packages::new(root.path());
            packages.refresh();
            for name in names {
                prop_assert_eq!(told(&packages, &format!("/opt/{name}")), "p 1");
                let other = format!("/opt/{name}0");
                prop_assert_eq!(told(&packages, &other), "");
            }
        }
    }
}
