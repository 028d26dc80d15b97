//! SHA-256 of programs.
//!
//! A program is read as a whole, which takes seconds for a large one on a slow disk: never on the event path.
//! It is read through `/proc/PID/exe` where that can be, which leads to the file that runs, also after another
//! has its name. What was read is kept by device, inode, time of change and size; the time of change cannot be
//! set by whoever writes a file, so that a file that was changed is read again. It is exact to a tick of the
//! kernel only, and so what changed within the last ticks is not kept.

use hostward_event::raw::Inode;
use ring::digest::{Context, SHA256};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const CHUNK_BYTES: usize = 128 * 1024;
/// Two changes within one tick of the kernel (at most 10 ms) have the same time.
const SETTLED_NS: i64 = 20_000_000;

/// Non-blocking: a FIFO in the place of a file must not hold the caller for ever.
pub(crate) const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// A SHA-256.
pub type Sha256 = [u8; 32];

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub enum HashFailure {
    /// The file cannot be opened or read; mostly because its process ended.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is a directory, a device, a pipe.
    #[error("is no regular file")]
    NotRegular,
    /// It is another file than the one that was meant, or was written to meanwhile.
    #[error("is another file than the one that was meant")]
    Another,
    /// It is larger than the limit.
    #[error("has {bytes} bytes, more than the limit")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
}

/// The file of a program as it was when it was executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Executed {
    pub ino: u64,
    pub ctime_ns: i64,
    pub mtime_ns: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    dev: u64,
    ino: u64,
    ctime_ns: i64,
    bytes: u64,
}

/// Hashes files, and remembers the hashes of those that were asked for last.
#[derive(Debug)]
pub struct Hasher {
    max_file_bytes: u64,
    /// Half of what is remembered; the older half is dropped when the younger is full.
    half: usize,
    young: HashMap<Key, Sha256>,
    old: HashMap<Key, Sha256>,
    files_read: u64,
}

impl Hasher {
    /// Files larger than `max_file_bytes` have no hash; at most `max_entries` hashes are remembered, 80 bytes
    /// each.
    pub fn new(max_file_bytes: u64, max_entries: usize) -> Self {
        let (young, old) = (HashMap::new(), HashMap::new());
        Self { max_file_bytes, half: max_entries.div_ceil(2).max(1), young, old, files_read: 0 }
    }

    /// The hash of the file at `path`, which may be `/proc/PID/exe`. With `expected`, only of the file with this
    /// inode and time of change: a process can exec another program between its event and this call. Devices
    /// are not compared, since stat(2) on btrfs and overlayfs tells others than the kernel's records do.
    ///
    /// # Errors
    /// See [`HashFailure`]. Each is about this file only.
    pub fn sha256(&mut self, path: &Path, expected: Option<&Inode>) -> Result<Sha256, HashFailure> {
        let file = File::from(rustix::fs::open(path, FLAGS, Mode::empty()).map_err(io::Error::from)?);
        let key = Key::of(&stat_regular(&file)?);
        if expected.is_some_and(|inode| (inode.ino, inode.ctime_ns) != (key.ino, key.ctime_ns)) {
            return Err(HashFailure::Another);
        }
        if let Some(hash) = self.known(&key) {
            return Ok(hash);
        }
        let (hash, is_settled) = self.read(&file, &key)?;
        // Written to while it was read: the hash would be of no file that ever was.
        if Key::of(&fstat(&file).map_err(io::Error::from)?) != key {
            return Err(HashFailure::Another);
        }
        if is_settled {
            self.keep(key, hash);
        }
        Ok(hash)
    }

    /// The hash of the file that was executed, which `file` should be; and whether it is that of everybody who
    /// executes a file that looks so.
    ///
    /// A program may delete or rename itself as soon as it runs, which is a change of the inode. Nobody can write
    /// to a file that runs, so that the content is known to be the same for as long as `runs` says that the
    /// process is still at it, and the time of modification agrees.
    ///
    /// # Errors
    /// See [`HashFailure`].
    pub(crate) fn executed(
        &mut self,
        file: &File,
        exe: Executed,
        runs: &dyn Fn() -> bool,
    ) -> Result<(Sha256, bool), HashFailure> {
        let before = stat_regular(file)?;
        let key = Key::of(&before);
        let is_same_content = |stat: &Stat| {
            let mtime_ns = crate::proc::time_ns(stat.st_mtime, stat.st_mtime_nsec);
            (stat.st_ino, stat.st_size, mtime_ns) == (exe.ino, before.st_size, exe.mtime_ns)
        };
        let is_untouched = (key.ino, key.ctime_ns) == (exe.ino, exe.ctime_ns);
        if !(is_untouched || is_same_content(&before) && runs()) {
            return Err(HashFailure::Another);
        }
        if is_untouched && let Some(hash) = self.known(&key) {
            return Ok((hash, true));
        }
        let (hash, is_settled) = self.read(file, &key)?;
        let after = fstat(file).map_err(io::Error::from)?;
        if is_untouched && Key::of(&after) == key {
            if is_settled {
                self.keep(key, hash);
            }
            return Ok((hash, is_settled));
        }
        if is_same_content(&after) && runs() { Ok((hash, false)) } else { Err(HashFailure::Another) }
    }

    fn read(&mut self, file: &File, key: &Key) -> Result<(Sha256, bool), HashFailure> {
        if key.bytes > self.max_file_bytes {
            return Err(HashFailure::TooLarge { bytes: key.bytes });
        }
        self.files_read += 1;
        let now_ns = crate::clock_offset_ns().saturating_add_unsigned(crate::boot_ns());
        let is_settled = now_ns.saturating_sub(key.ctime_ns) > SETTLED_NS;
        Ok((digest(file, key.bytes)?, is_settled))
    }

    /// How many files were read; the others were known.
    pub const fn files_read(&self) -> u64 {
        self.files_read
    }

    fn known(&mut self, key: &Key) -> Option<Sha256> {
        if let Some(hash) = self.young.get(key) {
            return Some(*hash);
        }
        let hash = self.old.remove(key)?;
        self.keep(*key, hash);
        Some(hash)
    }

    fn keep(&mut self, key: Key, hash: Sha256) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, hash);
    }
}

impl Key {
    fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            ctime_ns: crate::proc::time_ns(stat.st_ctime, stat.st_ctime_nsec),
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
        }
    }
}

fn stat_regular(file: &File) -> Result<Stat, HashFailure> {
    let stat = fstat(file).map_err(io::Error::from)?;
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_regular { Ok(stat) } else { Err(HashFailure::NotRegular) }
}

/// Of exactly so many bytes: a file that grows meanwhile does not hold us.
fn digest(file: &File, bytes: u64) -> Result<Sha256, HashFailure> {
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut rest = file.take(bytes);
    loop {
        let got = rest.read(&mut chunk)?;
        let Some(part) = chunk.get(..got).filter(|part| !part.is_empty()) else { break };
        context.update(part);
    }
    let digest = context.finish();
    digest.as_ref().try_into().map_err(|_| HashFailure::Io(io::Error::other("a hash of another length")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn settle() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }

    fn hex(hash: &Sha256) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_known_file_has_its_known_hash_and_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, "abc").unwrap();
        settle();
        let mut hasher = Hasher::new(1 << 20, 8);
        // FIPS 180-4, the example of one block.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&hasher.sha256(&path, None).unwrap()), abc);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(hex(&hasher.sha256(&link, None).unwrap()), abc);
        assert_eq!(hasher.files_read(), 1, "the same file by another name");

        // Changed, with its size and time of modification as before.
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "abd").unwrap();
        File::open(&path).unwrap().set_modified(before).unwrap();
        assert_ne!(hex(&hasher.sha256(&path, None).unwrap()), abc);
        assert_eq!(hasher.files_read(), 2);
    }

    #[test]
    fn a_file_that_changes_all_the_time_is_never_mistaken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let mut hasher = Hasher::new(1 << 20, 8);
        for round in 0..2_000_u32 {
            // In place: device, inode and size stay, and many rounds fall into one tick.
            fs::write(&path, round.to_ne_bytes()).unwrap();
            let expected = ring::digest::digest(&SHA256, &round.to_ne_bytes());
            assert_eq!(hasher.sha256(&path, None).unwrap(), expected.as_ref(), "round {round}");
        }
    }

    #[test]
    fn this_program_is_hashed_through_proc() {
        let exe = Path::new("/proc/self/exe");
        let facts = fs::metadata(exe).unwrap();
        let ctime_ns = facts.ctime() * 1_000_000_000 + facts.ctime_nsec();
        let inode = Inode { ino: facts.ino(), ctime_ns, ..Inode::default() };
        let mut hasher = Hasher::new(u64::MAX, 8);
        let hash = hasher.sha256(exe, Some(&inode)).unwrap();
        let whole = ring::digest::digest(&SHA256, &fs::read(std::env::current_exe().unwrap()).unwrap());
        assert_eq!(hash, whole.as_ref());
        let other = Inode { ctime_ns: ctime_ns + 1, ..inode };
        assert!(matches!(hasher.sha256(exe, Some(&other)), Err(HashFailure::Another)), "though it is known");
    }

    #[test]
    fn what_has_no_hash() {
        let dir = tempfile::tempdir().unwrap();
        let mut hasher = Hasher::new(2, 8);
        let path = dir.path().join("x");
        assert!(matches!(hasher.sha256(&path, None), Err(HashFailure::Io(_))));
        assert!(matches!(hasher.sha256(dir.path(), None), Err(HashFailure::NotRegular)));
        fs::write(&path, "abc").unwrap();
        assert!(matches!(hasher.sha256(&path, None), Err(HashFailure::TooLarge { bytes: 3 })));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(hasher.sha256(&fifo, None), Err(HashFailure::NotRegular)), "and nobody waits");
        assert_eq!(hasher.files_read(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// However files are asked for, hashes are right and no more are remembered than may be.
        #[test]
        fn the_memory_has_a_bound(asked in prop::collection::vec(0u8..12, 0..60), max in 1usize..6) {
            let dir = tempfile::tempdir().unwrap();
            for number in 0..12 {
                fs::write(dir.path().join(number.to_string()), [number]).unwrap();
            }
            settle();
            let mut hasher = Hasher::new(1 << 20, max);
            for number in asked {
                let path = dir.path().join(number.to_string());
                let expected = ring::digest::digest(&SHA256, &[number]);
                prop_assert_eq!(&hasher.sha256(&path, None).unwrap(), expected.as_ref());
                let read = hasher.files_read();
                hasher.sha256(&path, None).unwrap();
                prop_assert_eq!(hasher.files_read(), read, "the last one is always known");
                prop_assert!(hasher.young.len() + hasher.old.len() <= 2 * max.div_ceil(2));
            }
        }
    }
}
