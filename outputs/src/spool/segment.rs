//! Segment files: header, roster, footer, and the scan of a file that has no footer.

use super::block::{self, Head, Kind, Packed, Share, Shares, decode_block};
use super::bytes::{Fields, Put, Seed, len32, len64, size};
use super::storage::StorageFile;
use crate::Lane;
use rustix::io::Errno;

pub(crate) const HEADER_LEN: usize = 64;
const MAGIC: &[u8; 8] = b"HWSPOOLS";
const END_MAGIC: &[u8; 8] = b"HWSEALED";
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"HWF1");
const VERSION: u16 = 1;
const FOOTER_VERSION: u8 = 1;
/// CRC, length, end magic.
const TRAILER_LEN: usize = 16;
/// A segment is sealed at this many blocks, so that its index stays small.
pub(crate) const MAX_BLOCKS: usize = 8_192;
/// Longest footer that a valid segment can have.
const MAX_FOOTER: usize = 64 + 16 * block::MAX_SLOTS + MAX_BLOCKS * (40 + 8 * block::MAX_SLOTS) + 4096;
/// A file larger than this is not ours: a segment with one block of the greatest length, and more.
const MAX_FILE: u64 = 64 << 20;
/// How much a scan reads at a time.
const SCAN_CHUNK: usize = 4 << 20;

impl Lane {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Alert => 1,
            Self::Telemetry => 2,
        }
    }

    /// Its word in configuration, status, and the spool's directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Telemetry => "telemetry",
        }
    }
}

/// The name of a segment's file.
pub(crate) fn file_name(id: u64, sealed: bool) -> String {
    format!("{id:016x}.{}", if sealed { "seg" } else { "open" })
}

/// The id in a file's name, and whether the name says that it is sealed.
pub(crate) fn parse_name(name: &str) -> Option<(u64, bool)> {
    let (stem, sealed) = match name.split_once('.')? {
        (stem, "seg") => (stem, true),
        (stem, "open") => (stem, false),
        _ => return None,
    };
    let plain = stem.len() == 16 && stem.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u64::from_str_radix(stem, 16).ok()).flatten().map(|id| (id, sealed))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) lane: Lane,
    pub(crate) uuid: [u8; 16],
    pub(crate) id: u64,
    pub(crate) first_seq: u64,
    pub(crate) created_ns: i64,
}

impl Header {
    pub(crate) const fn seed(&self) -> Seed {
        Seed { uuid: self.uuid, segment: self.id }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.put(MAGIC);
        out.u16(VERSION);
        out.u8(self.lane.number());
        out.u8(0);
        out.u32(0);
        out.put(&self.uuid);
        out.u64(self.id);
        out.u64(self.first_seq);
        out.i64(self.created_ns);
        out.u32(0);
        let crc = self.seed().crc(0, &out);
        out.u32(crc);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        if fields.array()? != *MAGIC || fields.u16()? != VERSION {
            return None;
        }
        let lane = match fields.u8()? {
            1 => Lane::Alert,
            2 => Lane::Telemetry,
            _ => return None,
        };
        fields.take(5)?;
        let (uuid, id, first_seq, created_ns) =
            (fields.array()?, fields.u64()?, fields.u64()?, fields.i64()?);
        fields.take(4)?;
        let header = Self { lane, uuid, id, first_seq, created_ns };
        (fields.u32()? == header.seed().crc(0, bytes.get(..HEADER_LEN - 4)?)).then_some(header)
    }
}

/// A sink's bit in the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RosterEntry {
    pub(crate) slot: u8,
    pub(crate) name: String,
    /// From this seq on the bit means this sink.
    pub(crate) since: u64,
}

pub(crate) fn encode_roster(roster: &[RosterEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    out.u8(u8::try_from(roster.len()).unwrap_or(u8::MAX));
    for entry in roster {
        out.u8(entry.slot);
        put_name(&mut out, &entry.name);
        out.u64(entry.since);
    }
    out
}

pub(crate) fn decode_roster(bytes: &[u8]) -> Option<Vec<RosterEntry>> {
    let mut fields = Fields::new(bytes);
    let count = fields.u8()?;
    let mut roster = Vec::new();
    for _ in 0..count {
        let slot = fields.u8()?;
        let name = take_name(&mut fields)?;
        roster.push(RosterEntry { slot, name, since: fields.u64()? });
    }
    roster.iter().all(|entry| usize::from(entry.slot) < block::MAX_SLOTS).then_some(roster)
}

pub(crate) fn put_name(out: &mut Vec<u8>, name: &str) {
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    out.u8(length);
    out.put(name.as_bytes().get(..usize::from(length)).unwrap_or_default());
}

pub(crate) fn take_name(fields: &mut Fields<'_>) -> Option<String> {
    let length = fields.u8()?;
    let bytes = fields.take(usize::from(length))?;
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// Where a block lies, and whose records are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Indexed {
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) records: u32,
    pub(crate) first_seq: u64,
    pub(crate) min_time: i64,
    pub(crate) shares: Shares,
}

impl Indexed {
    pub(crate) fn of(head: &Head, offset: u64) -> Self {
        Self {
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            len: len32(head.block_len()),
            records: head.records,
            first_seq: head.first_seq,
            min_time: head.min_time,
            shares: head.shares,
        }
    }

    pub(crate) fn end_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.records))
    }
}

/// Records and their length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Amount {
    /// Records.
    pub events: u64,
    /// Their length, bytes.
    pub bytes: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, other: impl Into<Self>) {
        let other = other.into();
        self.events = self.events.saturating_add(other.events);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    pub(crate) fn take(&mut self, other: impl Into<Self>) {
        let other = other.into();
        self.events = self.events.saturating_sub(other.events);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

impl From<Share> for Amount {
    fn from(share: Share) -> Self {
        Self { events: share.events.into(), bytes: share.bytes.into() }
    }
}

pub(crate) type Amounts = [Amount; block::MAX_SLOTS];

/// What a footer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) damaged: bool,
    pub(crate) end_seq: u64,
    pub(crate) sealed_ns: i64,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) records: u64,
    pub(crate) totals: Amounts,
    pub(crate) index: Vec<Indexed>,
    pub(crate) roster: Vec<RosterEntry>,
}

impl Footer {
    /// Sums up blocks. Times of no block are 0.
    pub(crate) fn of(index: Vec<Indexed>, roster: Vec<RosterEntry>, first_seq: u64) -> Self {
        let mut footer = Self {
            damaged: false,
            end_seq: index.last().map_or(first_seq, Indexed::end_seq),
            sealed_ns: 0,
            min_time: index.iter().map(|block| block.min_time).min().unwrap_or(0),
            max_time: 0,
            records: 0,
            totals: Amounts::default(),
            index: Vec::new(),
            roster,
        };
        for block in &index {
            footer.count(block);
        }
        footer.index = index;
        footer
    }

    fn count(&mut self, block: &Indexed) {
        self.records += u64::from(block.records);
        for (total, share) in self.totals.iter_mut().zip(block.shares) {
            total.add(share);
        }
    }

    pub(crate) fn push(&mut self, block: Indexed, max_time: i64) {
        let first = self.index.is_empty();
        self.min_time = if first { block.min_time } else { self.min_time.min(block.min_time) };
        self.max_time = if first { max_time } else { self.max_time.max(max_time) };
        self.end_seq = block.end_seq();
        self.count(&block);
        self.index.push(block);
    }

    pub(crate) fn encode(&self, seed: &Seed, offset: u64) -> Vec<u8> {
        let roster = encode_roster(&self.roster);
        let slots =
            self.totals.iter().rposition(|total| *total != Amount::default()).map_or(0, |last| last + 1);
        let mut out = Vec::new();
        out.u32(FOOTER_MAGIC);
        out.u8(FOOTER_VERSION);
        out.u8(u8::try_from(slots).unwrap_or(u8::MAX));
        out.u16(u16::from(self.damaged));
        out.u32(len32(self.index.len()));
        out.u32(len32(roster.len()));
        out.u64(self.end_seq);
        out.i64(self.sealed_ns);
        out.i64(self.min_time);
        out.i64(self.max_time);
        out.u64(self.records);
        for total in self.totals.iter().take(slots) {
            out.u64(total.events);
            out.u64(total.bytes);
        }
        for block in &self.index {
            out.u32(block.offset);
            out.u32(block.len);
            out.u32(block.records);
            out.u32(0);
            out.u64(block.first_seq);
            out.i64(block.min_time);
            for share in block.shares.iter().take(slots) {
                out.u32(share.events);
                out.u32(share.bytes);
            }
        }
        out.put(&roster);
        let crc = seed.crc(offset, &out);
        out.u32(crc);
        out.u32(len32(out.len() + TRAILER_LEN - 4));
        out.put(END_MAGIC);
        out
    }

    /// Reads a whole footer that lies at `offset`.
    pub(crate) fn decode(bytes: &[u8], seed: &Seed, offset: u64) -> Option<Self> {
        let covered = bytes.len().checked_sub(TRAILER_LEN)?;
        let mut trailer = Fields::new(bytes.get(covered..)?);
        if trailer.u32()? != seed.crc(offset, bytes.get(..covered)?) {
            return None;
        }
        let mut fields = Fields::new(bytes.get(..covered)?);
        if fields.u32()? != FOOTER_MAGIC || fields.u8()? != FOOTER_VERSION {
            return None;
        }
        let slots = usize::from(fields.u8()?);
        let damaged = fields.u16()? & 1 != 0;
        let (blocks, roster_len) = (size(fields.u32()?), size(fields.u32()?));
        let (end_seq, sealed_ns, min_time, max_time, records) =
            (fields.u64()?, fields.i64()?, fields.i64()?, fields.i64()?, fields.u64()?);
        let mut totals = Amounts::default();
        if slots > totals.len() || blocks > MAX_BLOCKS {
            return None;
        }
        for total in totals.iter_mut().take(slots) {
            *total = Amount { events: fields.u64()?, bytes: fields.u64()? };
        }
        let mut index = Vec::with_capacity(blocks);
        for _ in 0..blocks {
            let (offset, len, records, _) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
            let (first_seq, min_time) = (fields.u64()?, fields.i64()?);
            let mut shares = Shares::default();
            for share in shares.iter_mut().take(slots) {
                *share = Share { events: fields.u32()?, bytes: fields.u32()? };
            }
            index.push(Indexed { offset, len, records, first_seq, min_time, shares });
        }
        let roster = decode_roster(fields.take(roster_len)?)?;
        Some(Self { damaged, end_seq, sealed_ns, min_time, max_time, records, totals, index, roster })
    }
}

/// Reads exactly `length` bytes.
pub(crate) fn read_exact(file: &dyn StorageFile, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        let rest = bytes.get_mut(done..).unwrap_or_default();
        match file.read_at(offset + len64(done), rest)? {
            0 => {
                bytes.truncate(done);
                break;
            }
            read => done += read,
        }
    }
    Ok(bytes)
}

/// The header of a segment's file. Ok(None): it has no valid one.
pub(crate) fn read_header(file: &dyn StorageFile) -> Result<Option<Header>, Errno> {
    Ok(Header::decode(&read_exact(file, 0, HEADER_LEN)?))
}

/// The footer of a sealed file, and where it begins. Ok(None): the file has no valid footer.
pub(crate) fn read_footer(file: &dyn StorageFile, seed: &Seed) -> Result<Option<(Footer, u64)>, Errno> {
    let length = file.len()?;
    let Some(trailer_at) =
        length.checked_sub(len64(TRAILER_LEN)).filter(|at| *at >= len64(HEADER_LEN) && length <= MAX_FILE)
    else {
        return Ok(None);
    };
    let trailer = read_exact(file, trailer_at, TRAILER_LEN)?;
    let mut fields = Fields::new(&trailer);
    let (Some(_), Some(footer_len), Some(magic)) = (fields.u32(), fields.u32(), fields.array::<8>()) else {
        return Ok(None);
    };
    let footer_len = size(footer_len);
    if magic != *END_MAGIC || footer_len > MAX_FOOTER {
        return Ok(None);
    }
    let Some(offset) = length.checked_sub(len64(footer_len)).filter(|at| *at >= len64(HEADER_LEN)) else {
        return Ok(None);
    };
    let bytes = read_exact(file, offset, footer_len)?;
    Ok(Footer::decode(&bytes, seed, offset).map(|footer| (footer, offset)))
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) footer: Footer,
    /// Behind the last good block.
    pub(crate) end: u64,
    /// Bad stretches between good blocks.
    pub(crate) bad_stretches: u64,
    /// Bytes behind the last good block.
    pub(crate) torn_bytes: u64,
}

/// Reads a file block by block. After a bad stretch it goes on at the next place where a header and
/// its payload validate: the seeded checksums leave no room for a false one.
pub(crate) fn scan(file: &dyn StorageFile, header: &Header) -> Result<Scan, Errno> {
    let length = file.len()?.min(MAX_FILE);
    let seed = header.seed();
    let mut scan = Scan {
        footer: Footer::of(Vec::new(), Vec::new(), header.first_seq),
        end: len64(HEADER_LEN),
        bad_stretches: 0,
        torn_bytes: 0,
    };
    let mut window = Window { file, length, start: 0, bytes: Vec::new() };
    let mut at = len64(HEADER_LEN);
    while at < length {
        let found = match window.block(&seed, at)? {
            Some(packed) => Some((at, packed)),
            None => window.resync(&seed, at + 1)?,
        };
        let Some((offset, packed)) = found else { break };
        scan.bad_stretches += u64::from(offset != at);
        at = offset + len64(packed.head.block_len());
        scan.end = at;
        match packed.head.kind {
            // A hole is told by the index alone; what overlaps what came before is not ours.
            Kind::Records if packed.head.first_seq >= scan.footer.end_seq => {
                if scan.footer.index.len() < MAX_BLOCKS {
                    scan.footer.push(Indexed::of(&packed.head, offset), packed.head.max_time);
                }
            }
            Kind::Records => scan.bad_stretches += 1,
            Kind::Roster => {
                if let Some(roster) = decode_roster(&packed.stored) {
                    scan.footer.roster = roster;
                }
            }
        }
    }
    scan.torn_bytes = length - scan.end.min(length);
    scan.footer.damaged = scan.bad_stretches > 0;
    Ok(scan)
}

/// A stretch of a file in memory.
struct Window<'a> {
    file: &'a dyn StorageFile,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes at `at`, at least `want` unless the file ends.
    fn at(&mut self, at: u64, want: usize) -> Result<&[u8], Errno> {
        let inside = at >= self.start && at + len64(want) <= self.start + len64(self.bytes.len());
        if !inside {
            let rest = size(self.length.saturating_sub(at));
            self.bytes = read_exact(self.file, at, rest.min(want.max(SCAN_CHUNK)))?;
            self.start = at;
        }
        Ok(self.bytes.get(size(at - self.start)..).unwrap_or_default())
    }

    fn block(&mut self, seed: &Seed, at: u64) -> Result<Option<Packed>, Errno> {
        let Some((head, _)) = Head::decode(self.at(at, block::MAX_HEAD)?, seed, at) else { return Ok(None) };
        Ok(decode_block(self.at(at, head.block_len())?, seed, at))
    }

    /// The first good block at or behind `from`.
    fn resync(&mut self, seed: &Seed, from: u64) -> Result<Option<(u64, Packed)>, Errno> {
        let magic = block::MAGIC.to_le_bytes();
        let mut at = from;
        while at + len64(magic.len()) <= self.length {
            let bytes = self.at(at, magic.len())?;
            let Some(ahead) = bytes.windows(magic.len()).position(|window| window == magic) else {
                // The magic may lie across the window's end.
                at += len64(bytes.len().saturating_sub(magic.len() - 1).max(1));
                continue;
            };
            at += len64(ahead);
            if let Some(packed) = self.block(seed, at)? {
                return Ok(Some((at, packed)));
            }
            at += 1;
        }
        Ok(None)
    }
}
