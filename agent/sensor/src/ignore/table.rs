//! The blocks as the programs hold them.

use super::Ignore;
use super::pattern::{Network, Pattern, is_in};
use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use hostward_abi::maps::{IGNORE_KEY_BYTES, IGNORE_KEYS_MAX, KINDS, block_table, ignore_key};
use hostward_event::raw::{RawBody, RawCgroupChange, RawEvent};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Words of an `IgnoreSpec`: two numbers of 32 bits each.
const SPEC_WORDS: usize = KINDS / 2 + 4;
/// Deeper cgroups are not looked for.
const MAX_DEPTH: usize = 64;

type Bytes = [u8; IGNORE_KEY_BYTES];
pub(super) type Trie<T> = LpmTrie<T, Bytes, u32>;

/// What is written before anything is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its number, of [`block_table`].
    number: u32,
    /// By row of the counters.
    pub(super) kinds: BTreeMap<u8, u32>,
    /// Blocks that look at a comm, uid, cgroup, exe, path, address, port.
    pub(super) looks: [u32; 7],
    /// Data and how many bits of it count, with the blocks that have it.
    pub(super) keys: BTreeMap<(Vec<u8>, u32), u32>,
    cgroups: Vec<(Vec<u8>, u32)>,
}

impl Table {
    pub(crate) fn new(blocks: &[Ignore]) -> Self {
        let mut table = Self::of(block_table::IGNORED);
        for (at, block) in blocks.iter().enumerate() {
            table.add(block, 1 << (at & 31));
        }
        table.settle();
        table
    }

    /// An empty one.
    pub(super) fn of(number: u32) -> Self {
        Self { number, ..Self::default() }
    }

    fn add(&mut self, block: &Ignore, bit: u32) {
        for row in block.rows() {
            *self.kinds.entry(row).or_default() |= bit;
        }
        let looked = [
            !block.comm.is_empty(),
            !block.uid.is_empty(),
            !block.cgroup.is_empty(),
            !block.exe.is_empty(),
            !block.path.is_empty(),
            !block.destination.is_empty(),
            !block.port.is_empty(),
        ];
        for (looks, _) in self.looks.iter_mut().zip(looked).filter(|(_, looked)| *looked) {
            *looks |= bit;
        }
        for comm in &block.comm {
            let mut value = comm.clone().into_bytes();
            value.resize(16, 0);
            self.key(ignore_key::COMM, value, bit);
        }
        for uid in &block.uid {
            self.key(ignore_key::UID, uid.to_ne_bytes().into(), bit);
        }
        for port in &block.port {
            self.key(ignore_key::PORT, port.to_be_bytes().into(), bit);
        }
        let [exes, paths] =
            [&block.exe, &block.path].map(|list| list.iter().flat_map(|text| Pattern::parse(text)));
        let exes = exes.map(|pattern| (ignore_key::EXE, pattern));
        for (what, pattern) in exes.chain(paths.map(|pattern| (ignore_key::PATH, pattern))) {
            match pattern {
                Pattern::Exact(bytes) | Pattern::Front(bytes) => self.key(what, bytes, bit),
                Pattern::End(bytes) => self.key(ignore_key::TAIL, bytes, bit),
            }
        }
        for network in block.destination.iter().filter_map(|text| Network::parse(text)) {
            let data = [&self.front(ignore_key::ADDRESS)[..], &network.address].concat();
            self.bits(data, 32 + network.bits, bit);
        }
        self.cgroups.extend(block.cgroup.iter().map(|wanted| (wanted.clone().into_bytes(), bit)));
    }

    /// What keys of this kind begin with.
    pub(super) fn front(&self, what: u32) -> [u8; 4] {
        block_table::key(self.number, what).to_ne_bytes()
    }

    pub(super) fn key(&mut self, what: u32, value: Vec<u8>, block: u32) {
        let data = [&self.front(what)[..], &value].concat();
        let bits = u32::try_from(data.len() * 8).unwrap_or(u32::MAX);
        self.bits(data, bits, block);
    }

    pub(super) fn bits(&mut self, mut data: Vec<u8>, bits: u32, block: u32) {
        // What does not count is zero, so that one network is one key.
        for (at, byte) in data.iter_mut().enumerate() {
            let before = u32::try_from(at * 8).unwrap_or(u32::MAX);
            let counted = bits.saturating_sub(before).min(8);
            *byte &= u8::try_from(0xff00_u32 >> counted & 0xff).unwrap_or(u8::MAX);
        }
        *self.keys.entry((data, bits)).or_default() |= block;
    }

    /// The trie gives the longest key alone, so each has the blocks of those that are a front of it as well.
    pub(super) fn settle(&mut self) {
        let all = self.keys.clone();
        for ((data, bits), blocks) in &mut self.keys {
            for ((front, front_bits), more) in all.iter().filter(|((_, front_bits), _)| *front_bits < *bits) {
                if is_front(front, *front_bits, data) {
                    *blocks |= more;
                }
            }
        }
    }

    pub(super) fn words(&self) -> [u64; SPEC_WORDS] {
        let mut halves = [0_u32; SPEC_WORDS * 2];
        for (row, blocks) in &self.kinds {
            if let Some(half) = halves.get_mut(usize::from(*row)) {
                *half = *blocks;
            }
        }
        for (half, blocks) in halves.iter_mut().skip(KINDS).zip(self.looks) {
            *half = blocks;
        }
        let mut words = [0; SPEC_WORDS];
        for (word, pair) in words.iter_mut().zip(halves.chunks_exact(2)) {
            if let [first, second] = pair {
                let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
                *word = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
            }
        }
        words
    }

    /// Puts it in force. Gives what keeps the cgroups up to date; none when no block asks for one.
    pub(crate) fn write(&self, object: &mut Ebpf) -> Result<Option<Cgroups>, MapError> {
        let mut trie = trie_of(object)?;
        for (key, blocks) in &self.keys {
            trie.insert(&key_of(key), blocks, 0)?;
        }
        let cgroups = if self.cgroups.is_empty() {
            None
        } else {
            let Some(Map::LpmTrie(map)) = object.map("IGNORE_KEYS") else {
                return Err(absent("IGNORE_KEYS"));
            };
            let fd = map.fd().as_fd().try_clone_to_owned().map_err(MapError::from)?;
            let trie = LpmTrie::try_from(Map::LpmTrie(MapData::from_fd(fd)?))?;
            Some(Cgroups { trie, wanted: self.cgroups.clone(), left: IGNORE_KEYS_MAX / 2 })
        };
        spec_of(object)?.set(self.number, self.words(), 0)?;
        Ok(cgroups)
    }
}

fn absent(name: &str) -> MapError {
    MapError::InvalidName { name: name.to_owned() }
}

/// The programs' specs, by table.
pub(super) fn spec_of(object: &mut Ebpf) -> Result<Array<&mut MapData, [u64; SPEC_WORDS]>, MapError> {
    object.map_mut("IGNORE").ok_or_else(|| absent("IGNORE"))?.try_into()
}

/// The programs' keys.
pub(super) fn trie_of(object: &mut Ebpf) -> Result<Trie<&mut MapData>, MapError> {
    object.map_mut("IGNORE_KEYS").ok_or_else(|| absent("IGNORE_KEYS"))?.try_into()
}

/// A key of [`Table::keys`] as the trie has it.
pub(super) fn key_of((data, bits): &(Vec<u8>, u32)) -> Key<Bytes> {
    Key::new(*bits, padded(data))
}

fn padded(data: &[u8]) -> Bytes {
    let mut bytes = [0; IGNORE_KEY_BYTES];
    for (to, from) in bytes.iter_mut().zip(data) {
        *to = *from;
    }
    bytes
}

/// The first `bits` of `front` are those of `data`.
fn is_front(front: &[u8], bits: u32, data: &[u8]) -> bool {
    front.iter().zip(data).enumerate().all(|(at, (one, two))| {
        let counted = bits.saturating_sub(u32::try_from(at * 8).unwrap_or(u32::MAX)).min(8);
        let mask = u8::try_from(0xff00_u32 >> counted & 0xff).unwrap_or(u8::MAX);
        (one ^ two) & mask == 0
    })
}

/// How many events each block left out, all CPUs together.
pub(crate) fn counts(object: &Ebpf, blocks: &[Ignore]) -> Result<Vec<(String, u64)>, MapError> {
    let Some(map) = object.map("IGNORED").filter(|_| !blocks.is_empty()) else {
        return Ok(Vec::new());
    };
    let map: PerCpuArray<&MapData, u64> = map.try_into()?;
    let count = |(at, block): (usize, &Ignore)| {
        let each = map.get(&u32::try_from(at).unwrap_or(u32::MAX), 0)?;
        Ok((block.title(at), each.iter().sum()))
    };
    blocks.iter().enumerate().map(count).collect()
}

/// Keeps the programs' keys of cgroups: their numbers, of those that are there and those that are made.
pub(crate) struct Cgroups {
    trie: Trie<MapData>,
    wanted: Vec<(Vec<u8>, u32)>,
    /// Room that is left for them.
    left: u32,
}

impl Cgroups {
    /// Takes those that are there; call it when those that are made are told already.
    pub(crate) fn scan(&mut self, root: &Path) {
        self.scan_below(root, b"", MAX_DEPTH);
    }

    fn scan_below(&mut self, directory: &Path, path: &[u8], depth: usize) {
        // One that is gone meanwhile has no processes.
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let below = [path, b"/", entry.file_name().as_bytes()].concat();
            if let Ok(meta) = entry.metadata() {
                self.made(meta.ino(), &below);
            }
            if depth > 0 {
                self.scan_below(&entry.path(), &below, depth - 1);
            }
        }
    }

    /// Heeds what the kernel tells of cgroups.
    pub(crate) fn heed(&mut self, event: &RawEvent) {
        let RawBody::Cgroup(RawCgroupChange { id, path, v1: false, removed }) = &event.body else { return };
        if *removed {
            if self.blocks(path.as_bytes()) != 0 && self.trie.remove(&key(*id)).is_ok() {
                self.left += 1;
            }
        } else {
            self.made(*id, path.as_bytes());
        }
    }

    fn blocks(&self, path: &[u8]) -> u32 {
        let own = self.wanted.iter().filter(|(wanted, _)| is_in(path, wanted));
        own.fold(0, |all, (_, blocks)| all | blocks)
    }

    fn made(&mut self, id: u64, path: &[u8]) {
        let blocks = self.blocks(path);
        if blocks == 0 || self.trie.get(&key(id), 0).is_ok_and(|known| known == blocks) {
            return;
        }
        // Without room its events are told.
        if self.left > 0 && self.trie.insert(&key(id), blocks, 0).is_ok() {
            self.left -= 1;
        }
    }
}

fn key(id: u64) -> Key<Bytes> {
    let front = block_table::key(block_table::IGNORED, ignore_key::CGROUP);
    let data = [&front.to_ne_bytes()[..], &id.to_ne_bytes()].concat();
    Key::new(12 * 8, padded(&data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_key_has_the_blocks_of_its_fronts() {
        let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let wide = Ignore { destination: list(&["10.0.0.0/8"]), exe: list(&["/usr/*"]), ..Ignore::default() };
        let narrow =
            Ignore { destination: list(&["10.1.2.3"]), exe: list(&["/usr/bin/x"]), ..Ignore::default() };
        let table = Table::new(&[wide, narrow]);
        let blocks: Vec<u32> = table.keys.values().copied().collect();
        // By their bytes: /usr/, /usr/bin/x, the network, the address.
        assert_eq!(blocks, [1, 3, 1, 3]);
        let other = Ignore { destination: list(&["10.9.9.9/8", "10.0.0.0/8"]), ..Ignore::default() };
        assert_eq!(Table::new(&[other]).keys.len(), 1, "what does not count makes no difference");
        assert_eq!(table.looks, [0, 0, 0, 3, 0, 3, 0]);
        assert_eq!(table.words()[KINDS / 2..], [0, 3 << 32, 3 << 32, 0]);
    }
}
