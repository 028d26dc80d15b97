//! Files that were put aside: compressed off the write path, kept up to a bound.
//!
//! Rotation renames the live file to `STEM-TIME-N.EXT` and kicks this thread. It looks at the
//! directory rather than at a list in memory, so a start after a crash finishes what was begun:
//! compress to `.STEM-TIME-N.EXT.zst.partial`, sync, rename into place, remove the plain file.
//! Only names of exactly that form are ever touched.

use super::open::FILE_MODE;
use rustix::fs::OFlags;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What failed (the disk was full) is tried again.
const RETRY: Duration = Duration::from_secs(60);
const ZSTD_LEVEL: i32 = 3;

/// Where put-aside files are and how many stay.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    /// The live file's name up to its last dot.
    pub(super) stem: String,
    /// From its last dot on, e.g. `.jsonl`; may be empty.
    pub(super) ext: String,
    pub(super) keep_files: usize,
    pub(super) keep_bytes: u64,
}

/// Which stage of its life a put-aside file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Plain,
    Partial,
    Done,
}

impl Place {
    pub(super) fn new(path: &Path, keep_files: u32, keep_bytes: u64) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (stem, ext) = match name.rfind('.') {
            Some(dot) => name.split_at(dot),
            None => (name.as_str(), ""),
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self {
            dir: dir.to_owned(),
            stem: stem.to_owned(),
            ext: ext.to_owned(),
            keep_files: usize::try_from(keep_files).unwrap_or(usize::MAX),
            keep_bytes,
        }
    }

    fn name(&self, key: &str, stage: Stage) -> String {
        let Self { stem, ext, .. } = self;
        match stage {
            Stage::Plain => format!("{stem}-{key}{ext}"),
            Stage::Partial => format!(".{stem}-{key}{ext}.zst.partial"),
            Stage::Done => format!("{stem}-{key}{ext}.zst"),
        }
    }

    fn path(&self, key: &str, stage: Stage) -> PathBuf {
        self.dir.join(self.name(key, stage))
    }

    /// A name for the file that is put aside now.
    pub(super) fn aside(&self, now: SystemTime) -> PathBuf {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let stamp = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        let stamp = stamp.unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
        // Bounded: retention keeps far fewer files than this per second.
        let free = |key: &String| [Stage::Plain, Stage::Done].iter().all(|s| !self.path(key, *s).exists());
        let key = (0..100_000).map(|n| format!("{stamp}-{n:02}")).find(free);
        self.path(&key.unwrap_or_else(|| format!("{stamp}-x")), Stage::Plain)
    }

    /// The `TIME-N` of a file name, if it has our form.
    fn parse(&self, name: &[u8]) -> Option<(String, Stage)> {
        let name = std::str::from_utf8(name).ok()?;
        let (name, stage) = if let Some(partial) = name.strip_suffix(".zst.partial") {
            (partial.strip_prefix('.')?, Stage::Partial)
        } else if let Some(done) = name.strip_suffix(".zst") {
            (done, Stage::Done)
        } else {
            (name, Stage::Plain)
        };
        let key = name.strip_prefix(&self.stem)?.strip_prefix('-')?.strip_suffix(&self.ext)?;
        let (stamp, n) = key.split_once('-')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (day, time) = stamp.split_once('T')?;
        let time = time.strip_suffix('Z')?;
        let ours = day.len() == 8 && time.len() == 6 && [day, time, n].into_iter().all(digits);
        ours.then(|| (key.to_owned(), stage))
    }

    fn list(&self) -> io::Result<Vec<(String, Stage)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            found.extend(self.parse(entry?.file_name().as_bytes()));
        }
        found.sort_by(|(a, _), (b, _)| age_order(a).cmp(&age_order(b)));
        Ok(found)
    }

    /// One pass: finish, compress, forget.
    fn tidy(&self, counters: &Counters) -> io::Result<()> {
        for (key, stage) in self.list()? {
            match stage {
                Stage::Partial => remove(&self.path(&key, Stage::Partial))?,
                // Renamed into place before the crash: the plain one is the copy.
                Stage::Plain if self.path(&key, Stage::Done).exists() => {
                    remove(&self.path(&key, Stage::Plain))?
                }
                Stage::Plain | Stage::Done => {}
            }
        }
        self.forget(counters)?;
        for (key, stage) in self.list()? {
            if stage == Stage::Plain
                && let Err(error) = self.compress(&key)
            {
                // A broken half would only take room away.
                let _ = std::fs::remove_file(self.path(&key, Stage::Partial));
                return Err(error);
            }
        }
        self.forget(counters)
    }

    fn compress(&self, key: &str) -> io::Result<()> {
        let (plain, partial) = (self.path(key, Stage::Plain), self.path(key, Stage::Partial));
        let read = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut from = File::from(rustix::fs::open(&plain, read, rustix::fs::Mode::empty())?);
        let make = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::CREATE | OFlags::EXCL;
        let to = File::from(rustix::fs::open(&partial, make, FILE_MODE)?);
        rustix::fs::fchmod(&to, FILE_MODE)?;
        let mut encoder = zstd::stream::write::Encoder::new(to, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        io::copy(&mut from, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        std::fs::rename(&partial, self.path(key, Stage::Done))?;
        sync_dir(&self.dir)?;
        remove(&plain)
    }

    /// Removes the oldest beyond the bounds.
    fn forget(&self, counters: &Counters) -> io::Result<()> {
        let mut kept = 0_usize;
        let mut bytes = 0_u64;
        for (key, stage) in self.list()?.into_iter().rev().filter(|(_, stage)| *stage != Stage::Partial) {
            let path = self.path(&key, stage);
            bytes = bytes.saturating_add(std::fs::symlink_metadata(&path).map_or(0, |meta| meta.len()));
            kept += 1;
            // The newest stays however large it is.
            if kept > self.keep_files || (bytes > self.keep_bytes && kept > 1) {
                remove(&path)?;
                counters.removed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Time first, then the number: 10 comes after 9.
fn age_order(key: &str) -> (&str, u64) {
    let (stamp, n) = key.split_once('-').unwrap_or((key, ""));
    (stamp, n.parse().unwrap_or(u64::MAX))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a rename durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, rustix::fs::Mode::empty())?;
    Ok(rustix::fs::fsync(dir)?)
}

/// What the thread did.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) removed: AtomicU64,
    pub(super) failures: AtomicU64,
}

/// The thread that compresses. It ends when this is dropped, after the file it is at.
pub(super) struct Archive {
    kick: SyncSender<()>,
    pub(super) counters: Arc<Counters>,
}

impl Archive {
    pub(super) fn start(place: Place) -> io::Result<Self> {
        let (kick, kicked) = sync_channel::<()>(1);
        let counters = Arc::new(Counters::default());
        let counted = Arc::clone(&counters);
        std::thread::Builder::new().name("sink-zstd".to_owned()).spawn(move || {
            let mut failed = false;
            loop {
                let more = if failed { kicked.recv_timeout(RETRY) } else { kicked.recv().map_err(Into::into) };
                if more == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                let result = place.tidy(&counted);
                failed = result.is_err();
                if let Err(error) = result {
                    counted.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(dir = %place.dir.display(), %error, "cannot compress a rotated file; it stays as it is, next attempt in a minute");
                }
            }
        })?;
        let archive = Self { kick, counters };
        archive.kick();
        Ok(archive)
    }

    /// There is work. One kick that waits stands for all.
    pub(super) fn kick(&self) {
        let _ = self.kick.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> Place {
        Place::new(&dir.join("events.jsonl"), 3, 1 << 20)
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_crash_left_is_finished_and_others_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        put("events-20260101T000000Z-00.jsonl", "plain, to be compressed\n");
        put(".events-20260101T000000Z-00.jsonl.zst.partial", "half");
        put("events-20260101T000001Z-00.jsonl", "renamed but not yet removed\n");
        put("events-20260101T000001Z-00.jsonl.zst", "done");
        put("events-mine.jsonl", "an operator's copy");
        put("events.jsonl", "live");
        place(dir.path()).tidy(&Counters::default()).unwrap();
        assert_eq!(
            names(dir.path()),
            [
                "events-20260101T000000Z-00.jsonl.zst",
                "events-20260101T000001Z-00.jsonl.zst",
                "events-mine.jsonl",
                "events.jsonl"
            ]
        );
        let packed = File::open(dir.path().join("events-20260101T000000Z-00.jsonl.zst")).unwrap();
        assert_eq!(zstd::decode_all(packed).unwrap(), b"plain, to be compressed\n");
        assert_eq!(std::fs::read(dir.path().join("events-20260101T000001Z-00.jsonl.zst")).unwrap(), b"done");
    }

    #[test]
    fn the_oldest_go_first_by_count_and_by_bytes() {
        let dir = tempfile::tempdir().unwrap();
        for n in [0, 1, 9, 10, 11] {
            std::fs::write(dir.path().join(format!("events-20260101T000000Z-{n:02}.jsonl.zst")), "x")
                .unwrap();
        }
        let counters = Counters::default();
        place(dir.path()).tidy(&counters).unwrap();
        assert_eq!(names(dir.path()).first().unwrap(), "events-20260101T000000Z-09.jsonl.zst");
        assert_eq!(counters.removed.load(Ordering::Relaxed), 2);
        let small = Place { keep_bytes: 1, ..place(dir.path()) };
        small.tidy(&counters).unwrap();
        assert_eq!(names(dir.path()), ["events-20260101T000000Z-11.jsonl.zst"]);
    }

    #[test]
    fn two_rotations_in_one_second_get_two_names() {
        let dir = tempfile::tempdir().unwrap();
        let first = place(dir.path()).aside(UNIX_EPOCH);
        std::fs::write(&first, "").unwrap();
        let second = place(dir.path()).aside(UNIX_EPOCH);
        assert!(first.ends_with("events-19700101T000000Z-00.jsonl"), "{}", first.display());
        assert!(second.ends_with("events-19700101T000000Z-01.jsonl"), "{}", second.display());
    }
}
