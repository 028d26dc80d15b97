//! Opening the live file: made with its directory when missing, never through a symlink, held
//! against a second writer, and its last line mended when a crash tore it.

use crate::sink::{FailureKind, SendFailure};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

/// A tail without a line end up to this long is taken for a torn line of ours (an event is far
/// smaller); a longer one is somebody else's text, which is left alone.
const MAX_TORN_BYTES: u64 = 1 << 20;
/// Owner writes, group reads.
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// The live file.
pub(super) struct Live {
    pub(super) file: File,
    pub(super) dev: u64,
    pub(super) ino: u64,
    /// When it was begun, for rotation by age.
    pub(super) born: SystemTime,
    /// A torn line was cut off.
    pub(super) mended: bool,
}

/// The failure of an operation on `path`, with what to do about it.
pub(super) fn failure(what: &str, path: &Path, error: Errno) -> SendFailure {
    let (kind, hint) = match error {
        Errno::NOSPC => (FailureKind::Passing, "make room on its filesystem"),
        Errno::DQUOT => (FailureKind::Passing, "raise the quota or make room"),
        Errno::IO => (FailureKind::Passing, "check the disk (dmesg)"),
        Errno::FBIG => (FailureKind::Passing, "raise the file size limit (LimitFSIZE=)"),
        Errno::MFILE | Errno::NFILE => (FailureKind::Passing, "raise the limit of open files (LimitNOFILE=)"),
        Errno::LOOP => (FailureKind::NeedsHelp, "it is a symlink: name the file itself"),
        Errno::ROFS => {
            (FailureKind::NeedsHelp, "its filesystem is read-only: remount it, or name another path")
        }
        Errno::ACCESS | Errno::PERM => (
            FailureKind::NeedsHelp,
            "give the agent's user the right to write there (ReadWritePaths= in the unit)",
        ),
        Errno::NOTDIR | Errno::ISDIR | Errno::NXIO => {
            (FailureKind::NeedsHelp, "name a regular file in a directory")
        }
        Errno::WOULDBLOCK => {
            (FailureKind::NeedsHelp, "another process writes this file: stop it, or name another path")
        }
        _ => (FailureKind::Passing, "check the path and its filesystem"),
    };
    SendFailure::new(kind, format!("{}: cannot {what}: {error}; {hint}", path.display()))
}

/// Turns std's error, which carries an errno whenever the kernel was asked.
pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Opens `path` for appending.
pub(super) fn open(path: &Path) -> Result<Live, SendFailure> {
    let fail = |what: &'static str| move |error| failure(what, path, error);
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o750).create(dir);
        made.map_err(|error| failure("make the directory of", path, errno(&error)))?;
    }
    // O_NONBLOCK: a fifo put in our place must not hang us. RDWR: the tail is read.
    let flags = OFlags::RDWR
        | OFlags::APPEND
        | OFlags::CLOEXEC
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY;
    let fd = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            let fd = rustix::fs::open(path, flags | OFlags::CREATE | OFlags::EXCL, FILE_MODE);
            let fd = fd.map_err(fail("make"))?;
            // The umask may have taken the group's bit.
            rustix::fs::fchmod(&fd, FILE_MODE).map_err(fail("set the mode of"))?;
            fd
        }
        opened => opened.map_err(fail("open"))?,
    };
    let stat = rustix::fs::fstat(&fd).map_err(fail("stat"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(failure("write", path, Errno::NXIO));
    }
    rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(fail("lock"))?;
    let file = File::from(fd);
    let mended = mend(&file).map_err(|error| failure("mend the last line of", path, errno(&error)))?;
    let meta = file.metadata().map_err(|error| failure("stat", path, errno(&error)))?;
    let born = meta.created().or_else(|_| meta.modified()).unwrap_or_else(|_| SystemTime::now());
    let born = if meta.len() == 0 { SystemTime::now() } else { born };
    Ok(Live { dev: meta.dev(), ino: meta.ino(), born, mended, file })
}

/// Makes the file end in a whole line. A torn JSON line is cut off: its event was never
/// acknowledged, and a reader of JSON lines would stumble over it. A whole document that lacks
/// only its line end gets it. Text that is not ours is kept and closed by a line end. Tells whether a
/// line was cut.
fn mend(file: &File) -> std::io::Result<bool> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(MAX_TORN_BYTES);
    let mut tail = Vec::new();
    // Backwards in steps, since the usual answer is in the last byte.
    let mut from = length;
    let mut step = 1;
    let line_start = loop {
        if let Some(at) = tail.iter().rposition(|byte| *byte == b'\n') {
            break Some(at + 1);
        }
        if from == start {
            break (start == 0).then_some(0);
        }
        let next = from.saturating_sub(step).max(start);
        let mut piece = vec![0; usize::try_from(from - next).unwrap_or(0)];
        file.read_exact_at(&mut piece, next)?;
        piece.extend_from_slice(&tail);
        tail = piece;
        from = next;
        step = (step * 2).max(4096);
    };
    let last = line_start.and_then(|at| tail.get(at..));
    if last.is_some_and(<[u8]>::is_empty) {
        return Ok(false);
    }
    // After a power loss a tail may be zeros.
    let ours = last.filter(|line| matches!(line.first(), Some(b'{' | 0)));
    let Some(line) = ours.filter(|line| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err())
    else {
        std::io::Write::write_all(&mut &*file, b"\n")?;
        return Ok(false);
    };
    file.set_len(length - u64::try_from(line.len()).unwrap_or(0))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mended(content: &[u8]) -> (Vec<u8>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        std::fs::write(&path, content).unwrap();
        let live = open(&path).unwrap();
        (std::fs::read(&path).unwrap(), live.mended)
    }

    #[test]
    fn a_torn_line_is_cut_and_whole_ones_stay() {
        assert_eq!(mended(b"{\"a\":1}\n{\"a\":"), (b"{\"a\":1}\n".to_vec(), true));
        assert_eq!(mended(b"{\"a\":"), (b"".to_vec(), true));
        assert_eq!(mended(b"{\"a\":1}\n\0\0\0\0"), (b"{\"a\":1}\n".to_vec(), true));
        assert_eq!(mended(b"{\"a\":1}\n{\"a\":2}"), (b"{\"a\":1}\n{\"a\":2}\n".to_vec(), false));
        assert_eq!(mended(b"{\"a\":1}\n"), (b"{\"a\":1}\n".to_vec(), false));
        assert_eq!(mended(b""), (b"".to_vec(), false));
        let long = [&b"{}\n"[..], &vec![b'{'; 300_000]].concat();
        assert_eq!(mended(&long), (b"{}\n".to_vec(), true));
    }

    #[test]
    fn text_of_others_is_not_cut() {
        assert_eq!(mended(b"somebody's notes"), (b"somebody's notes\n".to_vec(), false));
        let huge = vec![b'{'; 2 << 20];
        let (kept, cut) = mended(&huge);
        assert_eq!((kept.len(), cut), (huge.len() + 1, false));
    }

    #[test]
    fn the_file_and_its_directory_get_their_modes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/events.jsonl");
        open(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir.path().join("a/b"))), (0o640, 0o750));
    }

    #[test]
    fn a_symlink_a_fifo_and_a_second_writer_are_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let path = dir.path().join("events.jsonl");
        let _held = open(&path).unwrap();
        for (path, words) in [(&link, "is a symlink"), (&fifo, "a regular file"), (&path, "another process")]
        {
            let refused = open(path).err().unwrap();
            assert_eq!(refused.kind, FailureKind::NeedsHelp);
            assert!(refused.message.contains(words), "{}", refused.message);
        }
    }
}
