//! The sensor's part of the configuration.

use serde::Deserialize;

/// Page size that ring sizes must be a multiple of; larger pages round up in the kernel.
const PAGE_BYTES: u64 = 4096;
const RING_BYTES_MAX: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// `[sensor]` in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Size of the ring for exec, fork and exit, bytes: a power of two of at least 4096. Default:
    /// 2 MiB per CPU, from 4 to 16 MiB, at most a 256th of the memory.
    pub process_ring_bytes: Option<u64>,
    /// Size of the ring for privileged calls (ids, namespaces, memory of others, modules, signals), bytes, as above.
    /// Default: 1 MiB per CPU, from 1 to 8 MiB, at most a 512th of the memory.
    pub urgent_ring_bytes: Option<u64>,
    /// Size of the ring for files and sockets, bytes, as above. Default: 4 MiB per CPU, from 8 to
    /// 32 MiB, at most a 128th of the memory.
    pub bulk_ring_bytes: Option<u64>,
    /// Size of the ring for ends of connections, bytes, as above. Default: 1 MiB per CPU, from 1 to 8 MiB, at most a
    /// 512th of the memory.
    pub network_ring_bytes: Option<u64>,
    /// See system calls at the return of their own functions where the kernel has trampolines, in place of tracepoints.
    /// Off by default: it is being tried.
    pub trampolines: bool,
}

impl Config {
    /// Every value that cannot be used, as sentences that begin with the key.
    pub fn problems(&self) -> Vec<String> {
        let keys = [
            ("process_ring_bytes", self.process_ring_bytes),
            ("urgent_ring_bytes", self.urgent_ring_bytes),
            ("bulk_ring_bytes", self.bulk_ring_bytes),
            ("network_ring_bytes", self.network_ring_bytes),
        ];
        let wrong = |bytes: u64| !bytes.is_power_of_two() || !(PAGE_BYTES..=RING_BYTES_MAX).contains(&bytes);
        keys.into_iter()
            .filter_map(|(key, bytes)| bytes.filter(|bytes| wrong(*bytes)).map(|bytes| (key, bytes)))
            .map(|(key, bytes)| {
                format!("{key}: {bytes} is not a power of two from {PAGE_BYTES} to {RING_BYTES_MAX}")
            })
            .collect()
    }

    /// Sizes of the rings. They are mapped into the agent and count as its resident memory, hence the ceilings.
    pub(crate) fn ring_bytes(&self, cpus: u64, memory_bytes: u64) -> RingBytes {
        let by_size = |per_cpu: u64, floor: u64, ceiling: u64, share: u64| {
            let wanted = (per_cpu * cpus).clamp(floor, ceiling).min(memory_bytes / share).max(PAGE_BYTES);
            // The largest power of two that is not above.
            1 << wanted.ilog2()
        };
        let process = self.process_ring_bytes.unwrap_or_else(|| by_size(2 * MIB, 4 * MIB, 16 * MIB, 256));
        let urgent = self.urgent_ring_bytes.unwrap_or_else(|| by_size(MIB, MIB, 8 * MIB, 512));
        let bulk = self.bulk_ring_bytes.unwrap_or_else(|| by_size(4 * MIB, 8 * MIB, 32 * MIB, 128));
        let network = self.network_ring_bytes.unwrap_or_else(|| by_size(MIB, MIB, 8 * MIB, 512));
        let fit = |bytes: u64| u32::try_from(bytes.min(RING_BYTES_MAX)).unwrap_or(1 << 22);
        RingBytes { process: fit(process), urgent: fit(urgent), bulk: fit(bulk), network: fit(network) }
    }
}

/// Sizes of the rings, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingBytes {
    pub(crate) process: u32,
    pub(crate) urgent: u32,
    pub(crate) bulk: u32,
    pub(crate) network: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_machine_within_bounds() {
        let auto = Config::default();
        let bytes = |config: &Config, cpus, memory| {
            let RingBytes { process, urgent, bulk, .. } = config.ring_bytes(cpus, memory);
            (process, urgent, bulk)
        };
        assert_eq!(bytes(&auto, 2, 24 << 30), (4 << 20, 2 << 20, 8 << 20));
        assert_eq!(bytes(&auto, 6, 24 << 30), (8 << 20, 4 << 20, 16 << 20));
        assert_eq!(bytes(&auto, 256, 1 << 40), (16 << 20, 8 << 20, 32 << 20));
        assert_eq!(bytes(&auto, 2, 512 << 20), (2 << 20, 1 << 20, 4 << 20));
        let told = Config { process_ring_bytes: Some(4096), bulk_ring_bytes: Some(1 << 16), ..auto };
        assert_eq!(bytes(&told, 2, 24 << 30), (4096, 2 << 20, 1 << 16));
    }

    #[test]
    fn every_wrong_size_is_named() {
        let wrong =
            Config { process_ring_bytes: Some(5000), bulk_ring_bytes: Some(2048), ..Config::default() };
        let problems = wrong.problems();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("process_ring_bytes: 5000"));
        assert!(Config::default().problems().is_empty());
    }
}
