//! Dead letters: events that a destination refused for good, as JSON lines for a person to read.
//! `docs/specs/spool.md` §8.

use super::bytes::len64;
use super::point;
use super::storage::{files_in, root_dir, sub_dir};
use crate::Lane;
use hostward_event::EventId;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A file is closed at this size.
const FILE_BYTES: u64 = 8 << 20;
/// Of one sink at most.
const SINK_BYTES: u64 = 64 << 20;

/// One refused event.
#[derive(Clone, Debug)]
pub struct DeadLetter<'a> {
    /// Its lane.
    pub lane: Lane,
    /// Its number there.
    pub seq: u64,
    /// Its time, ns since the epoch.
    pub time_ns: i64,
    /// `event.id`.
    pub id: EventId,
    /// What the destination said.
    pub reason: &'a str,
    /// The event as a JSON object; none when the record cannot be decoded.
    pub document: Option<&'a [u8]>,
    /// The record.
    pub record: &'a [u8],
}

impl DeadLetter<'_> {
    fn line(&self, now_ms: i64, out: &mut Vec<u8>) {
        let reason = serde_json::to_string(self.reason).unwrap_or_else(|_| "\"\"".to_owned());
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            r#"{{"time_ms":{now_ms},"lane":"{}","seq":{},"event_id":"{}","event_time_ns":{},"reason":{reason},"#,
            self.lane.name(),
            self.seq,
            self.id,
            self.time_ns,
        );
        match self.document {
            Some(document) => {
                out.extend_from_slice(b"\"event\":");
                out.extend_from_slice(document);
            }
            None => {
                out.extend_from_slice(b"\"record_hex\":\"");
                for byte in self.record {
                    let _ = write!(out, "{byte:02x}");
                }
                out.push(b'"');
            }
        }
        out.extend_from_slice(b"}\n");
    }
}

/// The dead letters of one sink.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    root: PathBuf,
    sink: String,
    open: Option<(OwnedFd, OwnedFd, u64)>,
    pub(crate) expired_files: u64,
}

/// The directory of a sink's dead letters below `dlq/`. A name must not lead out of it.
pub(crate) fn dir_name(sink: &str) -> String {
    let dots = if sink.starts_with('.') { "_" } else { "" };
    format!("{dots}{}", sink.replace('/', "_"))
}

impl DeadLetters {
    pub(crate) fn new(root: &Path, sink: &str) -> Self {
        Self { root: root.to_owned(), sink: dir_name(sink), open: None, expired_files: 0 }
    }

    /// Writes letters and forces them to the disk. After an error none of them counts as written.
    pub(crate) fn write(&mut self, letters: &[DeadLetter<'_>], now_ms: i64) -> Result<(), Errno> {
        let mut lines = Vec::new();
        for letter in letters {
            letter.line(now_ms, &mut lines);
        }
        let result = self.append(&lines, now_ms);
        if result.is_err() || self.open.as_ref().is_some_and(|(_, _, size)| *size >= FILE_BYTES) {
            self.open = None;
        }
        result
    }

    fn append(&mut self, lines: &[u8], now_ms: i64) -> Result<(), Errno> {
        if self.open.is_none() {
            let root = root_dir(&self.root).map_err(|_| Errno::IO)?;
            let dir = sub_dir(sub_dir(root, "dlq")?, &self.sink)?;
            self.expire(&dir)?;
            let file = create(&dir, now_ms)?;
            rustix::fs::fsync(&dir)?;
            self.open = Some((dir, file, 0));
        }
        let Some((_, file, size)) = &mut self.open else { return Err(Errno::BADF) };
        point::reached_within("letters half written", || {
            let _ = rustix::io::pwrite(&*file, lines.get(..lines.len() / 2).unwrap_or_default(), *size);
        });
        let mut done = 0;
        let written = loop {
            let Some(rest) = lines.get(done..).filter(|rest| !rest.is_empty()) else { break Ok(()) };
            match rustix::io::pwrite(&*file, rest, *size + len64(done)) {
                Ok(0) => break Err(Errno::NOSPC),
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = written.and_then(|()| rustix::fs::fdatasync(&*file)) {
            // Whole lines or none: the same letters come again.
            let _ = rustix::fs::ftruncate(&*file, *size);
            return Err(error);
        }
        point::reached("letters synced");
        *size += len64(lines.len());
        Ok(())
    }

    /// Lets the oldest files go, so that a new one has its room.
    fn expire(&mut self, dir: &OwnedFd) -> Result<(), Errno> {
        let mut held = BTreeMap::new();
        for name in files_in(dir)?.into_iter().filter(|name| name.ends_with(".jsonl")) {
            let stat = rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            held.insert(name, u64::try_from(stat.st_size).unwrap_or(0));
        }
        let mut total: u64 = held.values().sum();
        for (name, size) in held {
            if total + FILE_BYTES <= SINK_BYTES {
                break;
            }
            rustix::fs::unlinkat(dir, &name, AtFlags::empty())?;
            total -= size;
            self.expired_files += 1;
        }
        Ok(())
    }
}

/// A new file, named by the time; one that exists pushes the name a millisecond on.
fn create(dir: impl AsFd, now_ms: i64) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for later in 0..1_000 {
        let name = format!("{:013}.jsonl", now_ms.saturating_add(later));
        match rustix::fs::openat(&dir, &name, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => {}
            result => return result,
        }
    }
    Err(Errno::EXIST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn letters_are_lines_for_a_person_and_names_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let mut letters = DeadLetters::new(dir.path(), "..");
        let letter = |seq, document| DeadLetter {
            lane: Lane::Alert,
            seq,
            time_ns: 7,
            id: EventId::default(),
            reason: "mapper_parsing_exception: \"x\"\n",
            document,
            record: b"\x00\xff",
        };
        letters.write(&[letter(1, Some(b"{\"a\":1}".as_slice())), letter(2, None)], 5).unwrap();
        letters.write(&[letter(3, None)], 6).unwrap();
        let path = dir.path().join("dlq/_../0000000000005.jsonl");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[0]["event"]["a"], &lines[0]["seq"]), (&1.into(), &1.into()));
        assert_eq!(lines[1]["record_hex"], "00ff");
        assert!(lines[0]["reason"].as_str().unwrap().ends_with("\"x\"\n"));
    }
}
