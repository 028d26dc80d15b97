//! An object in the kernel, with its rings.

use crate::config::RingBytes;
use crate::counters::Counters;
use crate::error::LoadError;
use crate::persist::Pinned;
use crate::reader::RingReader;
use crate::ring::Ring;
use crate::rungs::Object;
use crate::seeds::Identity;
use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError};
use std::os::fd::AsFd;

/// An object while it is loaded.
pub(crate) struct Loaded {
    pub(crate) object: Ebpf,
    pub(crate) counters: Counters,
    /// The most urgent first.
    pub(crate) readers: Vec<RingReader>,
    /// What of it outlives the agent.
    pub(crate) pins: Pinned,
}

impl Loaded {
    /// Maps the rings of `object`, and tells its programs who the agent is.
    pub(crate) fn new(mut object: Ebpf, of: Object, pins: Pinned, own: Identity) -> Result<Self, LoadError> {
        let failed = |cause| LoadError::Map { map: "AGENT", cause };
        let absent = || failed(MapError::InvalidName { name: "AGENT".to_owned() });
        let mut agent: Array<&mut MapData, [u64; 3]> =
            Array::try_from(object.map_mut("AGENT").ok_or_else(absent)?).map_err(failed)?;
        let (start, mask) = own.start_boot_ns.map_or((0, 0), |start| (start, u64::MAX));
        // Number and a half that is zero share a word.
        const { assert!(cfg!(target_endian = "little")) };
        agent.set(0, [u64::from(own.pid), start, mask], 0).map_err(failed)?;
        let counters = |kinds| {
            let map = data(&object, "COUNTERS")?;
            Counters::new(map, kinds).map_err(|cause| LoadError::Map { map: "COUNTERS", cause })
        };
        let (mut readers, mut all) = (Vec::new(), Vec::new());
        for ring in of.rings() {
            let failed = |cause| LoadError::Ring { ring: ring.name, cause };
            let map = data(&object, ring.map)?;
            let bytes = map.info().map_err(std::io::Error::other).map_err(failed)?.max_entries();
            let fd = map.fd().as_fd().try_clone_to_owned().map_err(failed)?;
            all.extend_from_slice(&ring.kinds);
            let mapped = Ring::new(fd, bytes).map_err(failed)?;
            readers.push(RingReader::new(ring.name, of.rung(), mapped, counters(ring.kinds)?));
        }
        Ok(Self { counters: counters(all)?, readers, object, pins })
    }
}

fn data<'a>(object: &'a Ebpf, name: &'static str) -> Result<&'a MapData, LoadError> {
    match object.map(name) {
        Some(Map::PerCpuArray(map) | Map::RingBuf(map)) => Ok(map),
        _ => Err(LoadError::Map { map: name, cause: MapError::InvalidName { name: name.to_owned() } }),
    }
}

/// Maps of `of` that are sized by the agent.
pub(crate) fn sizes(of: Object, rings: RingBytes) -> Vec<(&'static str, u32)> {
    match of {
        Object::Base => vec![("PROCESS", rings.process)],
        Object::Sys => vec![("URGENT", rings.urgent), ("BULK", rings.bulk)],
        // None of its programs takes scratch memory.
        Object::Net => vec![("NETWORK", rings.network), ("SLOTS", 1)],
        Object::Lean => vec![("PROCESS", rings.process), ("BULK", rings.bulk)],
    }
}
