//! The spool without an agent: what is in it, is it whole, and what a person may do about it.
//!
//! [`status`], [`check`] and [`export`] only look, also beside a running agent: they see what was written
//! when they looked. [`repair`] and [`drop_waiting`] change the spool and need it for themselves: while an
//! agent has it they refuse, with its process id.

use super::block::{Entry, decode_block, entries, unpack};
use super::bytes::size;
use super::cursor::Outcome;
use super::log::{LaneCounters, Log, Setup};
use super::segment::{Header, file_name, parse_name, read_exact, read_footer, read_header, scan};
use super::state::{STATE, read as read_state};
use super::storage::{DirStorage, Storage, StorageFile, backup_file};
use super::{OpenFailure, SpoolConfig, SpoolStatus, new_uuid, now_ns};
use crate::{Lane, Reason};
use hostward_event::{canonical, encode};
use rustix::io::Errno;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LANES: [Lane; 2] = [Lane::Alert, Lane::Telemetry];
/// Records that an export holds in memory at a time.
const EXPORT_EVENTS: usize = 1_024;
const EXPORT_BYTES: u64 = 8 << 20;

/// The spool cannot be looked at, or not be changed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineFailure {
    /// A lane's directory cannot be opened, or an agent holds it.
    #[error(transparent)]
    Open(#[from] OpenFailure),
    /// What is in it cannot be read or written.
    #[error("spool {path}: cannot {what}: {source}", path = .path.display())]
    Content {
        /// The lane's directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The cause.
        source: Errno,
    },
    /// The export's output takes no more.
    #[error("cannot write the export: {0}")]
    Output(#[from] std::io::Error),
    /// The spool does not know this sink.
    #[error("spool {path}: no sink {sink:?}; it has {known}", path = .path.display())]
    NoSink {
        /// The spool's directory.
        path: PathBuf,
        /// What was asked for.
        sink: String,
        /// Names that it knows, with commas between.
        known: String,
    },
}

impl OfflineFailure {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Open(OpenFailure::Held { .. }) => "stop the agent first: it writes to the spool",
            Self::Open(failure) => failure.hint(),
            Self::Content { .. } => "check the filesystem (dmesg), and that you may read the directory",
            Self::Output(_) => "make room where the export goes",
            Self::NoSink { .. } => "name a sink that `hostward spool status` lists",
        }
    }
}

/// One segment's file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FileCheck {
    /// Its name.
    pub name: String,
    /// Its size, bytes.
    pub bytes: u64,
    /// It has a valid footer.
    pub sealed: bool,
    /// Blocks of records that are whole.
    pub blocks: u64,
    /// Records in them.
    pub records: u64,
    /// Number of the first record.
    pub first_seq: u64,
    /// Number behind the last record.
    pub end_seq: u64,
    /// Blocks that cannot be read back, and stretches that are no block.
    pub bad_blocks: u64,
    /// Bytes behind the last good block of a file without a footer. The next start cuts them off; after a
    /// crash they are normal.
    pub torn_bytes: u64,
    /// Nothing in it can be read; why.
    pub unreadable: Option<&'static str>,
}

impl FileCheck {
    /// Nothing is wrong with it, or only what any crash leaves.
    pub const fn is_whole(&self) -> bool {
        self.bad_blocks == 0 && self.unreadable.is_none()
    }
}

/// One lane.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LaneCheck {
    /// Which.
    pub lane: Lane,
    /// Oldest first.
    pub files: Vec<FileCheck>,
    /// Slots of the state that do not validate; one may be torn by a crash.
    pub bad_state_slots: u64,
    /// No slot of the state validates.
    pub no_state: bool,
    /// What a start would find and do.
    pub counters: LaneCounters,
}

impl LaneCheck {
    /// Nothing is wrong, or only what any crash leaves.
    pub fn is_whole(&self) -> bool {
        let state = self.files.is_empty() || !self.no_state;
        state && self.files.iter().all(FileCheck::is_whole)
    }
}

fn path_of(root: &Path, lane: Lane) -> PathBuf {
    root.join(lane.name())
}

fn content(root: &Path, lane: Lane, what: &'static str) -> impl Fn(Errno) -> OfflineFailure {
    let path = path_of(root, lane);
    move |source| OfflineFailure::Content { path: path.clone(), what, source }
}

fn open_log(
    root: &Path,
    lane: Lane,
    storage: Arc<dyn Storage>,
    sinks: Option<&[String]>,
) -> Result<Log, OfflineFailure> {
    let mut config = SpoolConfig { dir: root.to_owned(), ..SpoolConfig::default() };
    // Who repairs is not to lose by a cap.
    config.alert.max_bytes = Some(u64::MAX);
    config.telemetry.max_bytes = Some(u64::MAX);
    let setup = Setup {
        lane,
        config: config.lane(lane),
        min_free_bytes: Some(0),
        sinks: sinks.unwrap_or_default(),
        storage: Some(storage),
        uuid: new_uuid(),
        look: sinks.is_none(),
        now: now_ns(),
    };
    Log::open(setup).map_err(|(what, source)| content(root, lane, what)(source))
}

fn look(root: &Path, lane: Lane) -> Result<Log, OfflineFailure> {
    open_log(root, lane, Arc::new(DirStorage::look(root, lane.name())?), None)
}

fn names(log: &Log) -> Vec<String> {
    log.status(now_ns()).sinks.into_iter().map(|sink| sink.sink).collect()
}

fn no_sink(root: &Path, sink: &str, known: &[String]) -> OfflineFailure {
    OfflineFailure::NoSink { path: root.to_owned(), sink: sink.to_owned(), known: known.join(", ") }
}

/// The books as the disk has them.
///
/// # Errors
/// A lane cannot be opened or read.
pub fn status(root: &Path) -> Result<SpoolStatus, OfflineFailure> {
    let lane = |lane| look(root, lane).map(|log| log.status(now_ns()));
    Ok(SpoolStatus { lanes: LANES.into_iter().map(lane).collect::<Result<_, _>>()? })
}

/// Blocks of a file, in their order.
struct Blocks {
    header: Header,
    sealed: bool,
    index: Vec<super::segment::Indexed>,
    bad_stretches: u64,
    torn_bytes: u64,
    /// Where the last good block ends.
    end: u64,
}

fn blocks(file: &dyn StorageFile) -> Result<Option<Blocks>, Errno> {
    let Some(header) = read_header(file)? else { return Ok(None) };
    if let Some((footer, end)) = read_footer(file, &header.seed())? {
        let index = footer.index;
        return Ok(Some(Blocks { header, sealed: true, index, bad_stretches: 0, torn_bytes: 0, end }));
    }
    let scan = scan(file, &header)?;
    Ok(Some(Blocks {
        header,
        sealed: false,
        index: scan.footer.index,
        bad_stretches: scan.bad_stretches,
        torn_bytes: scan.torn_bytes,
        end: scan.end,
    }))
}

/// The raw payload of a block, when it is whole.
fn payload(file: &dyn StorageFile, header: &Header, block: &super::segment::Indexed) -> Option<Arc<[u8]>> {
    let offset = u64::from(block.offset);
    let bytes = read_exact(file, offset, size(block.len)).ok()?;
    let packed = decode_block(&bytes, &header.seed(), offset)?;
    let raw = unpack(&packed.head, &packed.stored)?;
    let whole = u64::from(block.records) == super::bytes::len64(entries(block.first_seq, &raw).count());
    whole.then_some(raw)
}

/// None: every sink was done with it, and the agent has let go of it since it was listed.
fn check_file(storage: &dyn Storage, name: &str) -> Option<FileCheck> {
    let mut check = FileCheck {
        name: name.to_owned(),
        bytes: 0,
        sealed: false,
        blocks: 0,
        records: 0,
        first_seq: 0,
        end_seq: 0,
        bad_blocks: 0,
        torn_bytes: 0,
        unreadable: None,
    };
    let opened = storage.open(name).and_then(|file| {
        check.bytes = file.len()?;
        Ok((blocks(&*file)?, file))
    });
    match opened {
        Err(Errno::NOENT) => return None,
        Err(_) => check.unreadable = Some("it cannot be read"),
        Ok((None, _)) => check.unreadable = Some("its header is not valid"),
        Ok((Some(found), file)) => {
            check.sealed = found.sealed;
            check.bad_blocks = found.bad_stretches;
            check.torn_bytes = found.torn_bytes;
            check.first_seq = found.index.first().map_or(found.header.first_seq, |block| block.first_seq);
            check.end_seq = found.index.last().map_or(check.first_seq, super::segment::Indexed::end_seq);
            for block in &found.index {
                if payload(&*file, &found.header, block).is_some() {
                    check.blocks += 1;
                    check.records += u64::from(block.records);
                } else {
                    check.bad_blocks += 1;
                }
            }
        }
    }
    Some(check)
}

fn segments(storage: &dyn Storage) -> Result<Vec<(u64, bool)>, Errno> {
    let mut names: Vec<(u64, bool)> = storage.list()?.iter().filter_map(|name| parse_name(name)).collect();
    names.sort_unstable();
    Ok(names)
}

fn check_lane(root: &Path, lane: Lane, storage: &dyn Storage) -> Result<LaneCheck, OfflineFailure> {
    let names = segments(storage).map_err(content(root, lane, "list"))?;
    let check = |(id, sealed)| check_file(storage, &file_name(id, sealed));
    let files = names.into_iter().filter_map(check).collect();
    let state = match storage.open(STATE) {
        Ok(file) => read_state(&*file, lane).map_err(content(root, lane, "read the state of"))?,
        Err(Errno::NOENT) => super::state::Read::default(),
        Err(error) => return Err(content(root, lane, "open the state of")(error)),
    };
    let counters = look(root, lane)?.status(now_ns()).counters;
    Ok(LaneCheck { lane, files, bad_state_slots: state.bad_slots, no_state: state.state.is_none(), counters })
}

/// Reads everything and says what is not whole. Changes nothing.
///
/// # Errors
/// A lane cannot be opened or listed.
pub fn check(root: &Path) -> Result<Vec<LaneCheck>, OfflineFailure> {
    let lane = |lane| check_lane(root, lane, &DirStorage::look(root, lane.name())?);
    LANES.into_iter().map(lane).collect()
}

/// What an export holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// One lane alone; none: alerts, then telemetry.
    pub lane: Option<Lane>,
    /// What waits for this sink; none: every record that is there, whoever it is for.
    pub sink: Option<String>,
}

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Exported {
    /// Events, one line each.
    pub events: u64,
    /// Records that this version cannot decode: a line with `record_hex` each.
    pub undecodable: u64,
    /// Blocks that cannot be read back.
    pub bad_blocks: u64,
}

fn line(record: &[u8], out: &mut dyn Write, exported: &mut Exported) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    match canonical::decode(record) {
        Ok(event) => {
            encode::ecs(&event, &mut bytes);
            exported.events += 1;
        }
        Err(error) => {
            let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
            let line = serde_json::json!({ "error": error.to_string(), "record_hex": hex });
            bytes = line.to_string().into_bytes();
            exported.undecodable += 1;
        }
    }
    bytes.push(b'\n');
    out.write_all(&bytes)
}

/// Writes events as ECS documents, one line each, in the order of each lane. Changes nothing.
///
/// # Errors
/// A lane cannot be read, it does not know the sink, or the output takes no more.
pub fn export(root: &Path, selection: &Selection, out: &mut dyn Write) -> Result<Exported, OfflineFailure> {
    let mut exported = Exported::default();
    for lane in LANES.into_iter().filter(|lane| selection.lane.is_none_or(|only| only == *lane)) {
        match &selection.sink {
            Some(sink) => export_waiting(root, lane, sink, out, &mut exported)?,
            None => export_all(root, lane, out, &mut exported)?,
        }
    }
    out.flush()?;
    Ok(exported)
}

fn export_waiting(
    root: &Path,
    lane: Lane,
    sink: &str,
    out: &mut dyn Write,
    exported: &mut Exported,
) -> Result<(), OfflineFailure> {
    let log = look(root, lane)?;
    let slot = log.slot(sink).ok_or_else(|| no_sink(root, sink, &names(&log)))?;
    // The cursor that moves here is a copy in memory.
    while log.books(slot, now_ns()).is_some_and(|books| books.in_spool > 0) {
        let taken = log.take(slot, EXPORT_EVENTS, EXPORT_BYTES, now_ns());
        for record in &taken {
            line(record.bytes(), out, exported)?;
        }
        log.settle(slot, taken.iter().map(|record| (record.seq, Outcome::Delivered)), now_ns());
    }
    exported.bad_blocks += log.status(now_ns()).counters.bad_blocks;
    Ok(())
}

fn export_all(
    root: &Path,
    lane: Lane,
    out: &mut dyn Write,
    exported: &mut Exported,
) -> Result<(), OfflineFailure> {
    let storage = DirStorage::look(root, lane.name())?;
    // A block that was written again after a failed sync is there twice.
    let mut next = 0;
    for (id, sealed) in segments(&storage).map_err(content(root, lane, "list"))? {
        let found = storage.open(&file_name(id, sealed)).and_then(|file| Ok((blocks(&*file)?, file)));
        let (found, file) = match found {
            Ok((Some(found), file)) => (found, file),
            // Every sink was done with it, and the agent has let go of it since it was listed.
            Err(Errno::NOENT) => continue,
            Ok((None, _)) | Err(_) => {
                exported.bad_blocks += 1;
                continue;
            }
        };
        exported.bad_blocks += found.bad_stretches;
        for block in &found.index {
            let Some(raw) = payload(&*file, &found.header, block) else {
                exported.bad_blocks += 1;
                continue;
            };
            for Entry { start, end, seq, .. } in entries(block.first_seq, &raw) {
                if seq >= next {
                    line(raw.get(start..end).unwrap_or_default(), out, exported)?;
                    next = seq + 1;
                }
            }
        }
    }
    Ok(())
}

/// What a repair did to a lane.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Repaired {
    /// Which.
    pub lane: Lane,
    /// Files as they were before, if any was changed; safe to remove after a look.
    pub backup: Option<PathBuf>,
    /// Files that were changed or put aside.
    pub files: Vec<String>,
    /// What was found.
    pub counters: LaneCounters,
}

/// Makes a spool whole: cuts torn tails, takes bad blocks out of the books (as dropped, reason `damaged`),
/// puts aside what cannot be read, writes the state anew. Copies what it changes to
/// `repair-<ms since the epoch>/` first.
///
/// # Errors
/// An agent holds the spool, or it cannot be read or written.
pub fn repair(root: &Path) -> Result<Vec<Repaired>, OfflineFailure> {
    let stamp = format!("repair-{}", now_ns() / 1_000_000);
    LANES.into_iter().map(|lane| repair_lane(root, lane, &stamp)).collect()
}

fn repair_lane(root: &Path, lane: Lane, stamp: &str) -> Result<Repaired, OfflineFailure> {
    let storage = DirStorage::open(root, lane.name())?;
    let check = check_lane(root, lane, &storage)?;
    let sinks = names(&look(root, lane)?);
    let mut files: Vec<String> = check
        .files
        .iter()
        .filter(|file| !file.is_whole() || file.torn_bytes > 0)
        .map(|file| file.name.clone())
        .collect();
    if check.bad_state_slots > 0 {
        files.push(STATE.to_owned());
    }
    for name in &files {
        backup_file(root, stamp, lane.name(), &storage, name).map_err(content(root, lane, "back up"))?;
    }
    for file in check.files.iter().filter(|file| file.sealed && file.bad_blocks > 0) {
        // Without its footer the file is scanned, and what the scan skips is counted.
        let cut = storage.open(&file.name).and_then(|open| {
            let Some(found) = blocks(&*open)? else { return Ok(()) };
            open.set_len(found.end)?;
            open.sync()
        });
        cut.map_err(content(root, lane, "repair"))?;
    }
    let log = open_log(root, lane, Arc::new(storage), Some(&sinks))?;
    log.finish(now_ns());
    let counters = log.status(now_ns()).counters;
    let backup = (!files.is_empty()).then(|| root.join(stamp).join(lane.name()));
    Ok(Repaired { lane, backup, files, counters })
}

/// Gives up all that waits for a sink in a lane; counted as dropped, reason `operator`, which the next agent
/// tells. Gives how many records that were.
///
/// # Errors
/// An agent holds the spool, the lane does not know the sink, or it cannot be read or written.
pub fn drop_waiting(root: &Path, lane: Lane, sink: &str) -> Result<u64, OfflineFailure> {
    let storage = DirStorage::open(root, lane.name())?;
    let sinks = names(&look(root, lane)?);
    let log = open_log(root, lane, Arc::new(storage), Some(&sinks))?;
    let slot = log.slot(sink).ok_or_else(|| no_sink(root, sink, &sinks))?;
    let dropped = log.drop_waiting(slot, Reason::Operator, now_ns());
    log.finish(now_ns());
    Ok(dropped)
}
