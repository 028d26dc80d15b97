//! Blocks: records in memory, their payload, their place in a file. Layout: `docs/specs/spool.md` §3.

use super::bytes::{Fields, Put, Seed, len32, len64, size};
use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use zstd::bulk::Decompressor;
use zstd::dict::DecoderDictionary;

/// Sinks that a spool serves at most: one bit each.
pub(crate) const MAX_SLOTS: usize = 16;
/// A record is at most this long.
pub(crate) const MAX_RECORD: usize = 1 << 20;
/// A block that reaches this is closed.
pub(crate) const CLOSE_AT: usize = 64 << 10;
/// A raw payload is at most this long: one that closed just before a record of the greatest length.
pub(crate) const MAX_RAW: u32 = 2 << 20;
/// Before each record: length, slots, padding, time, id.
pub(crate) const RECORD_HEAD: usize = 32;
/// Least header, without slots and CRC.
pub(crate) const FIXED: usize = 48;
/// Longest header.
pub(crate) const MAX_HEAD: usize = FIXED + 8 * MAX_SLOTS + 4;
/// Behind the payload: its CRC, and the block's length again.
pub(crate) const TAIL: usize = 8;

pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"HWB1");
const VERSION: u8 = 1;
/// Below this, a dictionary says what a block is too short to learn.
const DICTIONARY_BELOW: usize = 32 << 10;
/// zstd's level: the pipeline's events have to fit one core many times over.
const LEVEL: i32 = 1;
static DICTIONARY_1: &[u8] = include_bytes!("dictionary-1.zstd");
/// Made ready once: blocks are small and many.
static DECODER_1: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(DICTIONARY_1));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Records = 1,
    Roster = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    None = 0,
    Zstd = 1,
    /// With dictionary 1.
    ZstdDictionary = 2,
}

/// One sink's records in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) events: u32,
    pub(crate) bytes: u32,
}

pub(crate) type Shares = [Share; MAX_SLOTS];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    pub(crate) records: u32,
    pub(crate) stored_len: u32,
    pub(crate) raw_len: u32,
    pub(crate) first_seq: u64,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) shares: Shares,
}

/// Highest slot in use plus one.
pub(crate) fn slots_used(shares: &Shares) -> usize {
    shares.iter().rposition(|share| share.events > 0).map_or(0, |last| last + 1)
}

impl Head {
    pub(crate) fn end_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.records))
    }

    fn encoded_len(&self) -> usize {
        FIXED + 8 * slots_used(&self.shares) + 4
    }

    /// Length of the whole block in a file.
    pub(crate) fn block_len(&self) -> usize {
        self.encoded_len() + size(self.stored_len) + TAIL
    }

    fn encode(&self, seed: &Seed, offset: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let slots = slots_used(&self.shares);
        out.u32(MAGIC);
        out.u8(VERSION);
        out.u8(self.kind as u8);
        out.u8(self.codec as u8);
        out.u8(u8::try_from(slots).unwrap_or(u8::MAX));
        out.u32(self.records);
        out.u32(self.stored_len);
        out.u32(self.raw_len);
        out.u32(0);
        out.u64(self.first_seq);
        out.i64(self.min_time);
        out.i64(self.max_time);
        for share in self.shares.iter().take(slots) {
            out.u32(share.events);
            out.u32(share.bytes);
        }
        let crc = seed.crc(offset, out.get(start..).unwrap_or_default());
        out.u32(crc);
    }

    /// Reads the header at the front of `bytes`, and gives its length. None: it is no valid one.
    pub(crate) fn decode(bytes: &[u8], seed: &Seed, offset: u64) -> Option<(Self, usize)> {
        let mut fields = Fields::new(bytes);
        if fields.u32()? != MAGIC || fields.u8()? != VERSION {
            return None;
        }
        let kind = match fields.u8()? {
            1 => Kind::Records,
            2 => Kind::Roster,
            _ => return None,
        };
        let codec = match fields.u8()? {
            0 => Codec::None,
            1 => Codec::Zstd,
            2 => Codec::ZstdDictionary,
            _ => return None,
        };
        let slots = usize::from(fields.u8()?);
        let (records, stored_len, raw_len, _) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        let (first_seq, min_time, max_time) = (fields.u64()?, fields.i64()?, fields.i64()?);
        let mut shares = Shares::default();
        if slots > shares.len() {
            return None;
        }
        for share in shares.iter_mut().take(slots) {
            *share = Share { events: fields.u32()?, bytes: fields.u32()? };
        }
        let covered = bytes.len() - fields.rest().len();
        let crc = fields.u32()?;
        if seed.crc(offset, bytes.get(..covered)?) != crc || raw_len > MAX_RAW || stored_len > MAX_RAW {
            return None;
        }
        let head = Self { kind, codec, records, stored_len, raw_len, first_seq, min_time, max_time, shares };
        Some((head, covered + 4))
    }
}

/// A block with its payload as it is stored, not yet in a place. Shared by the ring, the blocks that
/// wait for their sync, and the write that runs.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) head: Head,
    pub(crate) stored: Vec<u8>,
}

impl Packed {
    /// Appends the block as it lies at `offset`.
    pub(crate) fn place(&self, seed: &Seed, offset: u64, out: &mut Vec<u8>) {
        let start = out.len();
        self.head.encode(seed, offset, out);
        let payload_at = offset + len64(out.len() - start);
        out.put(&self.stored);
        out.u32(seed.crc(payload_at, &self.stored));
        out.u32(len32(self.head.block_len()));
    }
}

/// Reads and checks a whole block at the front of `bytes`, which lie at `offset`.
pub(crate) fn decode_block(bytes: &[u8], seed: &Seed, offset: u64) -> Option<Packed> {
    let (head, head_len) = Head::decode(bytes, seed, offset)?;
    let mut fields = Fields::new(bytes.get(head_len..)?);
    let stored = fields.take(size(head.stored_len))?;
    let crc = seed.crc(offset + len64(head_len), stored);
    if fields.u32()? != crc || size(fields.u32()?) != head.block_len() {
        return None;
    }
    let stored = stored.to_vec();
    Some(Packed { head, stored })
}

/// Records that wait to be packed.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) first_seq: u64,
    pub(crate) records: u32,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) shares: Shares,
    pub(crate) bytes: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(first_seq: u64) -> Self {
        Self {
            first_seq,
            records: 0,
            min_time: i64::MAX,
            max_time: i64::MIN,
            shares: Shares::default(),
            bytes: Vec::with_capacity(CLOSE_AT + (4 << 10)),
        }
    }

    pub(crate) fn push(&mut self, sinks: u16, time: i64, id: &[u8; 16], record: &[u8]) {
        self.bytes.u32(len32(record.len()));
        self.bytes.u16(sinks);
        self.bytes.u16(0);
        self.bytes.i64(time);
        self.bytes.put(id);
        self.bytes.put(record);
        self.records += 1;
        self.min_time = self.min_time.min(time);
        self.max_time = self.max_time.max(time);
        for (slot, share) in self.shares.iter_mut().enumerate() {
            if sinks & (1 << slot) != 0 {
                share.events += 1;
                share.bytes = share.bytes.saturating_add(len32(record.len()));
            }
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= CLOSE_AT || self.records == u32::from(u16::MAX)
    }
}

/// Compresses and decompresses, with its contexts kept.
pub(crate) struct Packer {
    plain: Option<zstd::bulk::Compressor<'static>>,
    dictionary: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    /// Without a context (no memory) blocks are stored as they are.
    pub(crate) fn new() -> Self {
        Self {
            plain: zstd::bulk::Compressor::new(LEVEL).ok(),
            dictionary: zstd::bulk::Compressor::with_dictionary(LEVEL, DICTIONARY_1).ok(),
        }
    }

    pub(crate) fn pack(&mut self, raw: &Raw) -> Packed {
        let (codec, compressor) = if raw.bytes.len() < DICTIONARY_BELOW {
            (Codec::ZstdDictionary, &mut self.dictionary)
        } else {
            (Codec::Zstd, &mut self.plain)
        };
        let compressed = compressor.as_mut().and_then(|compressor| compressor.compress(&raw.bytes).ok());
        let (codec, stored) = match compressed {
            Some(stored) if stored.len() < raw.bytes.len() => (codec, stored),
            _ => (Codec::None, raw.bytes.clone()),
        };
        let head = Head {
            kind: Kind::Records,
            codec,
            records: raw.records,
            stored_len: len32(stored.len()),
            raw_len: len32(raw.bytes.len()),
            first_seq: raw.first_seq,
            min_time: raw.min_time,
            max_time: raw.max_time,
            shares: raw.shares,
        };
        Packed { head, stored }
    }
}

/// A payload that says what is in its block.
pub(crate) fn roster_block(first_seq: u64, roster: Vec<u8>) -> Packed {
    let head = Head {
        kind: Kind::Roster,
        codec: Codec::None,
        records: 0,
        stored_len: len32(roster.len()),
        raw_len: len32(roster.len()),
        first_seq,
        min_time: 0,
        max_time: 0,
        shares: Shares::default(),
    };
    Packed { head, stored: roster }
}

thread_local! {
    /// With and without the dictionary, made when first needed: making one takes longer than most blocks do.
    static UNPACKERS: RefCell<[Option<Decompressor<'static>>; 2]> = const { RefCell::new([None, None]) };
}

/// The raw payload. None: it is not what the header says.
pub(crate) fn unpack(head: &Head, stored: &[u8]) -> Option<Arc<[u8]>> {
    let raw_len = size(head.raw_len.min(MAX_RAW));
    let decompress = |has_dictionary: bool| {
        UNPACKERS.with_borrow_mut(|[with, without]| {
            let (kept, make): (_, fn() -> _) = if has_dictionary {
                (with, || Decompressor::with_prepared_dictionary(&DECODER_1))
            } else {
                (without, Decompressor::new)
            };
            if kept.is_none() {
                *kept = make().ok();
            }
            kept.as_mut()?.decompress(stored, raw_len).ok()
        })
    };
    let raw = match head.codec {
        Codec::None => stored.to_vec(),
        Codec::Zstd => decompress(false)?,
        Codec::ZstdDictionary => decompress(true)?,
    };
    (raw.len() == raw_len).then(|| raw.into())
}

/// One record of a raw payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) sinks: u16,
    pub(crate) time: i64,
    pub(crate) id: [u8; 16],
    /// Where its bytes are in the payload.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The records of a raw payload; ends early where it is malformed.
pub(crate) fn entries(first_seq: u64, raw: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    let mut at = 0_usize;
    let mut seq = first_seq;
    std::iter::from_fn(move || {
        let mut fields = Fields::new(raw.get(at..)?);
        let (length, sinks, _) = (size(fields.u32()?), fields.u16()?, fields.u16()?);
        let (time, id) = (fields.i64()?, fields.array()?);
        fields.take(length)?;
        let start = at + RECORD_HEAD;
        let entry = Entry { seq, sinks, time, id, start, end: start + length };
        at = entry.end;
        seq += 1;
        Some(entry)
    })
}
