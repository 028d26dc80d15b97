//! JSON lines in a file that rotates: the default output, useful without a line of configuration.
//!
//! # How it works
//! A batch is encoded into chunks of whole lines, each written by one append. Before each batch the
//! path is compared with the open file, so that a logrotate that renamed or removed it is followed. When
//! it is too large or too old it is renamed aside and compressed by a thread of its own
//! (`archive`). Alerts are on the disk before they count as delivered, telemetry within a second;
//! see [`SyncPolicy`].
//!
//! # What can go wrong
//! - *Disk full, quota, I/O error, short write*: the file is cut back to its last whole line, the
//!   whole lines count as delivered, the rest goes back to the queue, and each second is a new attempt.
//! - *kill -9 or power loss in the middle of a line*: `open` cuts the torn line off at the next start.
//! - *fdatasync fails*: the kernel may have thrown the pages away, so the file is put aside, a new
//!   one begun, and the batch written again: twice rather than never.
//! - *File size limit reached* (EFBIG): the file is put aside early.

mod archive;
mod open;

use crate::config::{FileConfig, SyncPolicy};
use crate::sink::{Ack, Batch, Encoder, SendFailure, Sink};
use archive::{Archive, Place};
use open::{Live, errno, failure};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

/// Bytes encoded before they are written.
const CHUNK_BYTES: usize = 256 << 10;

/// See the module.
pub struct FileSink {
    config: FileConfig,
    encoder: Encoder,
    place: Place,
    archive: Option<Archive>,
    live: Option<Live>,
    chunk: Chunk,
    /// Written but not forced to the disk since then.
    dirty_since: Option<Instant>,
    sync: fn(BorrowedFd<'_>) -> rustix::io::Result<()>,
    counts: Counts,
}

/// Whole lines that wait to be written.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Offset of each line's end.
    ends: Vec<usize>,
}

impl Chunk {
    /// Lines that are whole within the first `written` bytes, and the offset where they end.
    fn whole(&self, written: usize) -> (usize, usize) {
        let lines = self.ends.iter().take_while(|end| **end <= written).count();
        (lines, lines.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| *end))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        // One huge event must not keep its buffer for ever.
        self.bytes.shrink_to(2 * CHUNK_BYTES);
        self.ends.clear();
    }
}

#[derive(Default)]
struct Counts {
    bytes_written: u64,
    rotations: u64,
    reopens: u64,
    torn_lines: u64,
    sync_errors: u64,
}

impl FileSink {
    /// Nothing is opened before the first maintenance or batch. A relative path is relative to the
    /// working directory: see [`crate::Config::resolved`].
    pub fn new(config: FileConfig, encoder: Encoder) -> Self {
        let place = Place::new(&config.path, config.keep_files, config.keep_bytes);
        Self {
            config,
            encoder,
            place,
            archive: None,
            live: None,
            chunk: Chunk::default(),
            dirty_since: None,
            sync: |fd| rustix::fs::fdatasync(fd),
            counts: Counts::default(),
        }
    }

    fn fail(&self, what: &str, error: Errno) -> SendFailure {
        failure(what, &self.config.path, error)
    }

    /// The live file, open, and still the one that the path names.
    fn ready(&mut self) -> Result<(), SendFailure> {
        if let Some(live) = &self.live {
            match std::fs::symlink_metadata(&self.config.path) {
                Ok(meta) if meta.dev() == live.dev && meta.ino() == live.ino => return Ok(()),
                // Moved or removed under us. Whoever did it has the old file; what is in it counts.
                _ => {
                    let forced = self.force();
                    self.live = None;
                    self.counts.reopens += 1;
                    forced?;
                }
            }
        }
        let live = open::open(&self.config.path)?;
        self.counts.torn_lines += u64::from(live.mended);
        self.live = Some(live);
        if self.config.sync != SyncPolicy::Never {
            // The name has to survive a power loss, too.
            archive::sync_dir(&self.place.dir)
                .map_err(|error| self.fail("sync the directory of", errno(&error)))?;
        }
        if self.archive.is_none() {
            let archive = Archive::start(self.place.clone());
            self.archive =
                Some(archive.map_err(|error| self.fail("start the compressor of", errno(&error)))?);
        }
        Ok(())
    }

    fn file(&self) -> Result<&File, SendFailure> {
        self.live.as_ref().map(|live| &live.file).ok_or_else(|| self.fail("write", Errno::BADF))
    }

    fn size(&self) -> Result<u64, SendFailure> {
        let meta = self.file()?.metadata().map_err(|error| self.fail("stat", errno(&error)))?;
        Ok(meta.len())
    }

    fn age_is_up(&self) -> bool {
        let limit = Duration::from_secs(self.config.rotate_age_s);
        let age = self.live.as_ref().and_then(|live| live.born.elapsed().ok());
        !limit.is_zero() && age.is_some_and(|age| age >= limit)
    }

    /// Puts the live file aside and begins a new one.
    fn rotate(&mut self) -> Result<(), SendFailure> {
        let forced = self.force();
        self.put_aside()?;
        self.ready()?;
        forced
    }

    fn put_aside(&mut self) -> Result<(), SendFailure> {
        let aside = self.place.aside(SystemTime::now());
        std::fs::rename(&self.config.path, aside).map_err(|error| self.fail("put aside", errno(&error)))?;
        self.live = None;
        self.counts.rotations += 1;
        if let Some(archive) = &self.archive {
            archive.kick();
        }
        Ok(())
    }

    /// Forces what was written to the disk. After a failure the file must not be written any more: a
    /// later sync would report success for pages that are gone (fsync(2), NOTES).
    fn force(&mut self) -> Result<(), SendFailure> {
        if self.dirty_since.take().is_none() || self.config.sync == SyncPolicy::Never {
            return Ok(());
        }
        (self.sync)(self.file()?.as_fd()).map_err(|error| {
            self.counts.sync_errors += 1;
            let mut failure = self.fail("force to disk", error);
            failure.message.push_str("; what was written in the moments before may be missing after a crash");
            failure
        })
    }

    /// Forces, and puts the file aside when that fails.
    fn force_or_abandon(&mut self) -> Result<(), SendFailure> {
        let forced = self.force();
        if forced.is_err() {
            self.put_aside()?;
        }
        forced
    }

    /// Writes the chunk. A failure tells how many of its lines are in the file.
    fn write_chunk(&mut self) -> Result<usize, SendFailure> {
        let lines = self.chunk.ends.len();
        let length = u64::try_from(self.chunk.bytes.len()).unwrap_or(u64::MAX);
        let size = self.size()?;
        if size > 0 && (size.saturating_add(length) > self.config.rotate_bytes || self.age_is_up()) {
            self.rotate()?;
        }
        let mut done = 0;
        loop {
            match self.append(done) {
                Ok(()) => break,
                Err((whole, Errno::FBIG)) if self.size()? > 0 => {
                    // The limit is the file's, not the disk's.
                    done = whole;
                    let (delivered, _) = self.chunk.whole(whole);
                    self.rotate().map_err(|failure| SendFailure { delivered, ..failure })?;
                }
                Err((whole, error)) => {
                    let (delivered, _) = self.chunk.whole(whole);
                    return Err(SendFailure { delivered, ..self.fail("write", error) });
                }
            }
        }
        self.chunk.clear();
        Ok(lines)
    }

    /// Appends the chunk from offset `start`. A failure leaves the file at a whole line and tells up
    /// to which offset of the chunk it has it.
    fn append(&mut self, start: usize) -> Result<(), (usize, Errno)> {
        let Some(live) = &self.live else { return Err((start, Errno::BADF)) };
        // Asked anew: somebody may have truncated the file (logrotate's copytruncate).
        let size = rustix::fs::fstat(&live.file).map_err(|error| (start, error))?.st_size;
        let mut done = start;
        let failed = loop {
            let Some(rest) = self.chunk.bytes.get(done..).filter(|rest| !rest.is_empty()) else { break None };
            match rustix::io::write(&live.file, rest) {
                Ok(0) => break Some(Errno::NOSPC),
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(error) => break Some(error),
            }
        };
        let whole = match failed {
            None => done,
            // A line that ends before `start` was written to the file before.
            Some(_) => self.chunk.whole(done).1.max(start),
        };
        if whole > start {
            self.dirty_since.get_or_insert_with(Instant::now);
            self.counts.bytes_written += u64::try_from(whole - start).unwrap_or(0);
        }
        let Some(error) = failed else { return Ok(()) };
        if done > whole {
            let keep = u64::try_from(size).unwrap_or(0) + u64::try_from(whole - start).unwrap_or(0);
            // Should even this fail, the next open mends the line: the file is opened anew.
            if rustix::fs::ftruncate(&live.file, keep).is_err() {
                self.live = None;
            }
        }
        Err((whole, error))
    }

    /// Writes a batch. A failure tells how many events from its front are in the file.
    fn write_batch(&mut self, batch: &Batch) -> Result<(), SendFailure> {
        let mut delivered = 0;
        let mut events = batch.events().peekable();
        // A chunk is never split between two files.
        let half = usize::try_from(self.config.rotate_bytes / 2).unwrap_or(usize::MAX);
        let enough = CHUNK_BYTES.min(half);
        self.chunk.clear();
        while let Some(event) = events.next() {
            (self.encoder)(event, &mut self.chunk.bytes);
            self.chunk.bytes.push(b'\n');
            self.chunk.ends.push(self.chunk.bytes.len());
            if self.chunk.bytes.len() >= enough || events.peek().is_none() {
                match self.write_chunk() {
                    Ok(lines) => delivered += lines,
                    Err(failure) => {
                        let delivered = delivered + failure.delivered;
                        return Err(SendFailure { delivered, ..failure });
                    }
                }
            }
        }
        Ok(())
    }
}

impl Sink for FileSink {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        self.ready()?;
        let written = self.write_batch(batch);
        let now = match self.config.sync {
            SyncPolicy::Always => true,
            SyncPolicy::Alerts => batch.has_alert(),
            SyncPolicy::Never => false,
        };
        if now {
            // None of the batch counts when this fails: all of it is written again.
            self.force_or_abandon()?;
        }
        written.map(|()| Ack::All)
    }

    fn maintenance_due(&self) -> Option<Instant> {
        let interval = Duration::from_millis(self.config.sync_interval_ms);
        self.dirty_since.map(|since| since + interval)
    }

    async fn maintain(&mut self) -> Result<(), SendFailure> {
        self.ready()?;
        self.force_or_abandon()
    }

    async fn close(&mut self) -> Result<(), SendFailure> {
        self.force()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let Counts { bytes_written, rotations, reopens, torn_lines, sync_errors } = self.counts;
        let archive = self.archive.as_ref().map(|archive| &archive.counters);
        let load = |pick: fn(&archive::Counters) -> u64| archive.map_or(0, |counters| pick(counters));
        vec![
            ("bytes_written", bytes_written),
            ("rotations", rotations),
            ("reopens", reopens),
            ("torn_lines_cut", torn_lines),
            ("sync_errors", sync_errors),
            ("archives_removed", load(|counters| counters.removed.load(Ordering::Relaxed))),
            ("archive_failures", load(|counters| counters.failures.load(Ordering::Relaxed))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lane;
    use crate::sink::Item;
    use hostward_event::event::{Body, Surroundings};
    use hostward_event::{Event, EventId};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    fn batch(sequence: u64, lane: Lane) -> Batch {
        let event = Event {
            id: EventId::default(),
            sequence,
            time_ns: 0,
            created_ns: 0,
            source: None,
            tid: 0,
            process: None,
            lineage: Arc::default(),
            session_leader: None,
            around: Arc::new(Surroundings::default()),
            body: Body::Fork,
            partial: false,
            program: None,
            inside: None,
            domain: None,
            alert: None,
        };
        Batch { items: vec![Item { event: Arc::new(event), lane, bytes: 1, queued_at: Instant::now() }] }
    }

    fn line(event: &Event, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{{\"n\":{}}}", event.sequence).as_bytes());
    }

    #[tokio::test]
    async fn a_failed_fdatasync_puts_the_file_aside_and_the_alert_is_written_again() {
        static BROKEN: AtomicBool = AtomicBool::new(true);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let config = FileConfig { path: path.clone(), ..FileConfig::default() };
        let mut sink = FileSink::new(config, Arc::new(line));
        sink.sync = |_| if BROKEN.load(Ordering::Relaxed) { Err(Errno::IO) } else { Ok(()) };

        assert_eq!(
            sink.send(&batch(1, Lane::Telemetry)).await,
            Ok(Ack::All),
            "telemetry does not wait for the disk"
        );
        let failed = sink.send(&batch(2, Lane::Alert)).await.unwrap_err();
        assert_eq!(failed.delivered, 0, "an alert that may not be on the disk is not delivered");
        assert!(!path.exists(), "the file that lost pages is put aside");
        BROKEN.store(false, Ordering::Relaxed);
        assert_eq!(sink.send(&batch(2, Lane::Alert)).await, Ok(Ack::All));
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"n\":2}\n");
        assert!(sink.counters().contains(&("sync_errors", 1)));
    }
}
