//! What rpm's database tells: the installed packages with their files.
//!
//! # How it works
//! Since 4.16 (RHEL 9, Fedora 33) the database is one of SQLite: a table `Packages` with a header per package. A header
//! is an index of tags with their types and places, and behind it the values; numbers are big-endian.
//!
//! # What can go wrong
//! - *A transaction under way*: the file is read as it is, without a lock or a log beside it, since the service may
//!   write nothing there. What is not yet in it is seen when it has changed again.
//! - *A header that makes no sense*: its package is left out.
//!
//! # Not here
//! Databases of Berkeley DB (`Packages`, RHEL 8) and ndb (`Packages.db`, SUSE).

use super::Package;
use hostward_event::Text;
use rusqlite::{Connection, OpenFlags};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the database lies, below the root.
pub(super) const PLACES: [&str; 2] = ["var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite"];

/// A kernel with its modules has 6,000 files and some MiB.
const MAX_HEADER_BYTES: usize = 64 << 20;
const ENTRY_BYTES: usize = 16;

/// Tags and types, rpmtag.h.
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCHITECTURE: u32 = 1022;
const DIRECTORY_OF: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIRECTORIES: u32 = 1118;
const INT32: u32 = 4;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;

/// Hands each installed package and its paths to `each`, until that says no. Nothing where there is no such database.
pub(super) fn installed(root: &Path, mut each: impl FnMut(Package, Vec<Vec<u8>>) -> bool) {
    let Some(path) = PLACES.iter().map(|place| root.join(place)).find(|path| path.exists()) else { return };
    let _ = read(&path, &mut each);
}

fn read(path: &Path, each: &mut dyn FnMut(Package, Vec<Vec<u8>>) -> bool) -> rusqlite::Result<()> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(uri(path), flags)?;
    let mut query = database.prepare("SELECT blob FROM Packages")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let header = row.get_ref(0)?.as_blob().unwrap_or_default();
        if let Some((package, files)) = package(header)
            && !each(package, files)
        {
            break;
        }
    }
    Ok(())
}

/// The file as it is: no lock is taken and nothing is written beside it.
fn uri(path: &Path) -> PathBuf {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte))
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?mode=ro&immutable=1");
    PathBuf::from(uri)
}

/// A header's index and values.
struct Header<'a> {
    index: &'a [u8],
    values: &'a [u8],
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

impl<'a> Header<'a> {
    fn new(blob: &'a [u8]) -> Option<Self> {
        if blob.len() > MAX_HEADER_BYTES {
            return None;
        }
        let entries = usize::try_from(number(blob, 0)?).ok()?;
        let bytes = usize::try_from(number(blob, 4)?).ok()?;
        let (index, rest) = blob.get(8..)?.split_at_checked(entries.checked_mul(ENTRY_BYTES)?)?;
        Some(Self { index, values: rest.get(..bytes)? })
    }

    /// The values from the first of a tag on, and how many are its own.
    fn find(&self, tag: u32, kind: u32) -> Option<(&'a [u8], usize)> {
        let of = |entry: &&[u8]| number(entry, 0) == Some(tag) && number(entry, 4) == Some(kind);
        let entry = self.index.chunks_exact(ENTRY_BYTES).find(of)?;
        let at = usize::try_from(number(entry, 8)?).ok()?;
        Some((self.values.get(at..)?, usize::try_from(number(entry, 12)?).ok()?))
    }

    fn text(&self, tag: u32) -> Option<&'a [u8]> {
        self.find(tag, STRING).and_then(|(values, _)| values.split(|byte| *byte == 0).next())
    }

    fn texts(&self, tag: u32) -> Option<Vec<&'a [u8]>> {
        let (values, count) = self.find(tag, STRING_ARRAY)?;
        Some(values.split(|byte| *byte == 0).take(count).collect())
    }

    fn numbers(&self, tag: u32) -> Option<impl Iterator<Item = u32>> {
        let (values, count) = self.find(tag, INT32)?;
        Some(values.chunks_exact(4).take(count).filter_map(|bytes| number(bytes, 0)))
    }
}

fn package(blob: &[u8]) -> Option<(Package, Vec<Vec<u8>>)> {
    let header = Header::new(blob)?;
    let name = header.text(NAME)?;
    let mut version =
        header.numbers(EPOCH).and_then(|mut all| all.next()).map_or(String::new(), |n| format!("{n}:"));
    version.push_str(&String::from_utf8_lossy(header.text(VERSION)?));
    version.push('-');
    version.push_str(&String::from_utf8_lossy(header.text(RELEASE)?));
    let package = Package {
        name: Text::copy(name),
        version: Text::from(version),
        architecture: Text::copy(header.text(ARCHITECTURE).unwrap_or_default()),
    };
    // A package of packages has no files.
    let names = header.texts(BASE_NAMES).unwrap_or_default();
    let directories = header.texts(DIRECTORIES).unwrap_or_default();
    let indexes = header.numbers(DIRECTORY_OF);
    let path = |(name, directory): (&&[u8], u32)| {
        let directory = directories.get(usize::try_from(directory).ok()?)?;
        Some([*directory, name].concat())
    };
    let files = indexes.map(|indexes| names.iter().zip(indexes).filter_map(path).collect());
    Some((package, files.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::Packages;
    use proptest::prelude::*;
    use std::process::{Command, Output};

    const SPEC: &str = "Name: hw-tool\nEpoch: 2\nVersion: 1.4\nRelease: 7\nSummary: x\nLicense: none\nBuildArch: noarch\n\
                        %description\nx\n%install\nmkdir -p %{buildroot}/usr/bin %{buildroot}/opt/hw\n\
                        echo x >%{buildroot}/usr/bin/hw-tool\necho x >%{buildroot}/opt/hw/other\n\
                        %files\n/usr/bin/hw-tool\n/opt/hw/other\n";

    fn run(command: &mut Command) -> Output {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    #[test]
    fn a_database_that_rpm_itself_made_is_read() {
        let test = "packages::rpm::a_database_that_rpm_itself_made_is_read";
        if Command::new("rpmbuild").arg("--version").output().is_err() {
            return hostward_tests::need::skip("rpm", test, "there is no rpmbuild");
        }
        let place = tempfile::tempdir().unwrap();
        let (top, root) = (place.path().join("build"), place.path().join("root with blank"));
        std::fs::create_dir_all(&root).unwrap();
        let spec = place.path().join("hw.spec");
        std::fs::write(&spec, SPEC).unwrap();
        let define = format!("_topdir {}", top.display());
        run(Command::new("rpmbuild").args(["-bb", "--define", &define]).arg(&spec));
        let built = top.join("RPMS/noarch/hw-tool-1.4-7.noarch.rpm");
        let mut install = Command::new("rpm");
        install.arg("--root").arg(&root).args(["--dbpath", "/var/lib/rpm", "--define", "_db_backend sqlite"]);
        run(install.args(["--nodeps", "-i"]).arg(&built));

        let mut packages = Packages::new(&root);
        assert!(packages.refresh() && !packages.refresh());
        for path in ["/usr/bin/hw-tool", "/opt/hw/other"] {
            let of = packages.owner(path.as_bytes()).unwrap();
            let told = [&of.name, &of.version, &of.architecture].map(ToString::to_string);
            assert_eq!(told, ["hw-tool", "2:1.4-7", "noarch"], "{path}");
        }
        assert!(packages.is_known() && packages.owner(b"/usr/bin/hw-toolx").is_none());
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_left_out(
            entries in prop::collection::vec((0_usize..9, 0_usize..4, any::<u32>(), any::<u32>(), any::<bool>()), 0..12),
            values in prop::collection::vec(any::<u8>(), 0..200),
            lie in any::<u32>(),
        ) {
            const TAGS: [u32; 9] =
                [NAME, VERSION, RELEASE, EPOCH, ARCHITECTURE, DIRECTORY_OF, BASE_NAMES, DIRECTORIES, 5];
            let mut blob = Vec::new();
            let honest = lie % 4 != 0;
            let told = if honest { u32::try_from(entries.len()).unwrap() } else { lie };
            blob.extend_from_slice(&told.to_be_bytes());
            blob.extend_from_slice(&u32::try_from(values.len()).unwrap().to_be_bytes());
            for (tag, kind, at, count, near) in entries {
                let at = if near { at % 200 } else { at };
                for word in [TAGS[tag], [INT32, STRING, STRING_ARRAY, 9][kind], at, count] {
                    blob.extend_from_slice(&word.to_be_bytes());
                }
            }
            blob.extend_from_slice(&values);
            let _ = package(&blob);
        }

        #[test]
        fn any_bytes_are_no_header(blob in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = package(&blob);
        }
    }
}
