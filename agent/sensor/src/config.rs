//! The sensor's part of the configuration.

use crate::budget;
use crate::ignore::{self, Ignore};
use crate::sampling::DegradeConfig;
use serde::Deserialize;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Page size that ring sizes must be a multiple of; larger pages round up in the kernel.
const PAGE_BYTES: u64 = 4096;
const RING_BYTES_MAX: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// `[sensor]` in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Size of the ring for exec, fork and exit, bytes: a power of two of at least 4096. Default:
    /// 2 MiB per CPU, from 4 to 16 MiB, at most a 256th of the memory. All rings together leave all maps within 64 MiB.
    pub process_ring_bytes: Option<u64>,
    /// Size of the ring for privileged calls (ids, namespaces, memory of others, modules, signals), bytes, as above.
    /// Default: 1 MiB per CPU, from 1 to 8 MiB, at most a 512th of the memory.
    pub urgent_ring_bytes: Option<u64>,
    /// Size of the ring for files and sockets, bytes, as above. Default: 4 MiB per CPU, from 8 to
    /// 32 MiB, at most a 128th of the memory.
    pub bulk_ring_bytes: Option<u64>,
    /// Size of the ring for ends of connections, first UDP sends and DNS, bytes, as above. Default: 1 MiB per CPU, from 1 to 8 MiB, at most a
    /// 512th of the memory.
    pub network_ring_bytes: Option<u64>,
    /// See system calls at the return of their own functions where the kernel has trampolines, in place of tracepoints.
    pub trampolines: bool,
    /// Programs stay in force when the agent ends; the next one reads what they collected.
    pub persist: bool,
    /// Directory on a BPF file system where they are pinned, of this agent alone.
    pub persist_dir: PathBuf,
    /// What the kernel leaves out before it costs anything, for rules as well.
    pub ignore: Vec<Ignore>,
    /// What is left out when there is too much.
    pub degrade: DegradeConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            process_ring_bytes: None,
            urgent_ring_bytes: None,
            bulk_ring_bytes: None,
            network_ring_bytes: None,
            trampolines: true,
            persist: false,
            persist_dir: "/sys/fs/bpf/hostward".into(),
            ignore: Vec::new(),
            degrade: DegradeConfig::default(),
        }
    }
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
            .chain(self.persist_problem())
            .chain(ignore::problems(&self.ignore))
            .chain(self.degrade.problems())
            .collect()
    }

    fn persist_problem(&self) -> Option<String> {
        let dir = &self.persist_dir;
        let good = dir.is_absolute() && !dir.as_os_str().as_bytes().contains(&0);
        (!good).then(|| format!("persist_dir: {dir:?} is no absolute path"))
    }

    /// Sizes of the rings. They are the kernel's memory and, mapped, the agent's too, hence the ceilings.
    pub(crate) fn ring_bytes(&self, cpus: u64, memory_bytes: u64) -> RingBytes {
        // A slot pool for each CPU leaves the less for the rings the more CPUs there are; and a ring need not grow with
        // them without end, as one thread reads it.
        let left = budget::for_rings(cpus);
        let by_size = |per_cpu: u64, floor: u64, ceiling: u64, share: u64, part: u64| {
            let ceiling = ceiling.min(left / part).max(floor);
            let wanted = (per_cpu * cpus).clamp(floor, ceiling).min(memory_bytes / share).max(PAGE_BYTES);
            // The largest power of two that is not above.
            1 << wanted.ilog2()
        };
        let process = self.process_ring_bytes.unwrap_or_else(|| by_size(2 * MIB, 4 * MIB, 16 * MIB, 256, 4));
        let urgent = self.urgent_ring_bytes.unwrap_or_else(|| by_size(MIB, MIB, 8 * MIB, 512, 8));
        let bulk = self.bulk_ring_bytes.unwrap_or_else(|| by_size(4 * MIB, 8 * MIB, 32 * MIB, 128, 2));
        let network = self.network_ring_bytes.unwrap_or_else(|| by_size(MIB, MIB, 8 * MIB, 512, 8));
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
        assert_eq!(bytes(&auto, 96, 1 << 40), (4 << 20, 2 << 20, 8 << 20));
        assert_eq!(bytes(&auto, 256, 1 << 40), (4 << 20, 1 << 20, 8 << 20), "the least");
        assert_eq!(bytes(&auto, 2, 512 << 20), (2 << 20, 1 << 20, 4 << 20));
        let told = Config { process_ring_bytes: Some(4096), bulk_ring_bytes: Some(1 << 16), ..auto };
        assert_eq!(bytes(&told, 2, 24 << 30), (4096, 2 << 20, 1 << 16));
    }

    #[test]
    fn all_maps_of_96_cpus_are_within_64_mib() {
        for cpus in 1..=96 {
            let RingBytes { process, urgent, bulk, network } = Config::default().ring_bytes(cpus, 1 << 40);
            let rings = u64::from(process) + u64::from(urgent) + u64::from(bulk) + u64::from(network);
            let all = rings + budget::without_rings(cpus);
            assert!(all <= 64 * MIB, "{cpus} CPUs: {all}");
        }
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
