//! How much memory the maps of the programs take in the kernel: by calculation, before they are made, and as the kernel
//! accounts it.

use aya::Ebpf;
use aya::maps::{Map, MapData};
use hostward_abi::maps::{Counter, KINDS, SLOTS_PER_CPU};
use std::os::fd::{AsFd, AsRawFd};

/// All of it, rings included, on a machine of up to 96 CPUs.
const ALL_BYTES: u64 = 64 << 20;
/// Scratch memory of one program run: `Slot` in `ebpf/src/mem.rs`.
const SLOT_BYTES: u64 = 38_376;
/// Objects with a pool of them, and objects with counters.
const POOLS: u64 = 2;
const COUNTERS: u64 = 3;
/// Tables that do not depend on the machine: connections, UDP peers and askers of DNS, requests of io_uring, resolved paths,
/// names, kill lists.
const FIXED_BYTES: u64 = 15 << 20;

/// What all maps but the rings take.
pub(crate) const fn without_rings(cpus: u64) -> u64 {
    let per_cpu =
        POOLS * SLOTS_PER_CPU as u64 * SLOT_BYTES + COUNTERS * (KINDS * size_of::<Counter>()) as u64;
    FIXED_BYTES + cpus * per_cpu
}

/// What is left for the rings.
pub(crate) const fn for_rings(cpus: u64) -> u64 {
    ALL_BYTES.saturating_sub(without_rings(cpus))
}

/// What the kernel accounts for the maps of an object, bytes.
pub(crate) fn of(object: &Ebpf) -> u64 {
    object.maps().filter_map(|(_, map)| accounted(data(map)?)).sum()
}

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// By the descriptor's line in /proc, which every kernel with maps has.
fn accounted(map: &MapData) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let facts = std::fs::read_to_string(path).ok()?;
    facts.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
}
