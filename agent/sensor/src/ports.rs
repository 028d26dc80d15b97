//! Ports whose connects are wanted, as the programs hold them.

use crate::error::ApplyError;
use crate::plan;
use aya::Ebpf;
use aya::maps::{Array, MapData, MapError};
use hostward_abi::maps::PORT_WORDS;
use hostward_event::plan::KernelPlan;

const MAP: &str = "CONNECT_PORTS";

/// One bit per port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports(Box<[u64; PORT_WORDS]>);

impl Default for Ports {
    fn default() -> Self {
        Self(Box::new([0; PORT_WORDS]))
    }
}

impl Ports {
    pub(crate) fn new(plan: &KernelPlan) -> Self {
        let Some(ports) = &plan.connect_ports else { return Self(Box::new([u64::MAX; PORT_WORDS])) };
        let mut wanted = Self::default();
        for port in ports {
            if let Some(word) = wanted.0.get_mut(usize::from(port >> 6)) {
                *word |= 1 << (port & 63);
            }
        }
        wanted
    }

    /// What lies in the map of programs that another agent has loaded.
    pub(crate) fn in_force(object: &Ebpf) -> Result<Self, ApplyError> {
        let map: Array<&MapData, [u64; PORT_WORDS]> = plan::found(object, MAP)?;
        map.get(&0, 0).map(|words| Self(Box::new(words))).map_err(|cause| ApplyError { map: MAP, cause })
    }

    fn union(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.0.iter_mut().zip(other.0.iter()).for_each(|(word, more)| *word |= more);
        both
    }
}

/// Swaps the ports of `object` from `old` to `new`: first either's, as a map's value is not written at once.
pub(crate) fn swap(object: &mut Ebpf, old: &Ports, new: &Ports) -> Result<(), ApplyError> {
    let failed = |cause| ApplyError { map: MAP, cause };
    let absent = || failed(MapError::InvalidName { name: MAP.to_owned() });
    let map = object.map_mut(MAP).ok_or_else(absent)?;
    let mut map: Array<&mut MapData, [u64; PORT_WORDS]> = Array::try_from(map).map_err(failed)?;
    map.set(0, *old.union(new).0, 0).map_err(failed)?;
    map.set(0, *new.0, 0).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_port_is_one_bit() {
        let of = |ports: &[u16]| {
            let connect_ports = Some(ports.iter().copied().collect::<BTreeSet<_>>());
            Ports::new(&KernelPlan { connect_ports, ..KernelPlan::default() })
        };
        let ports = of(&[0, 443, 65_535]);
        assert_eq!((ports.0[0], ports.0[6], ports.0[1023]), (1, 1 << 59, 1 << 63));
        assert_eq!(ports.0.iter().map(|word| word.count_ones()).sum::<u32>(), 3);
        assert_eq!(of(&[1]).union(&of(&[64])), of(&[1, 64]));
        assert!(Ports::new(&KernelPlan::default()).0.iter().all(|word| *word == u64::MAX));
    }
}
